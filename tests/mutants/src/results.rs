//! The verdicts, a file of tab-separated lines for each source file, in `tests/mutants/results`.
//!
//! A line is function, text, place, change, verdict and a note: for a killed mutant the test that killed it
//! first, for a survivor the reason why nothing can or need kill it. A person writes that reason into the
//! file; it stays as long as the function does.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{error::Error, mutant::Key};

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A test failed.
    Caught,
    /// The tests did not end, or the build did not.
    Timeout,
    /// No test failed.
    Survived,
    /// It does not compile.
    Unviable,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caught => "caught",
            Self::Timeout => "timeout",
            Self::Survived => "survived",
            Self::Unviable => "unviable",
        })
    }
}

impl FromStr for Verdict {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Caught, Self::Timeout, Self::Survived, Self::Unviable]
            .into_iter()
            .find(|verdict| verdict.to_string() == text)
            .ok_or(())
    }
}

/// A verdict and its note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// What became of it.
    pub(crate) verdict: Verdict,
    /// The test that failed first, or the reason why it survives. May be empty.
    pub(crate) note: String,
}

/// The verdicts on one source file.
pub(crate) type Verdicts = BTreeMap<Key, Judged>;

/// The directory of results.
#[derive(Debug)]
pub(crate) struct Results(PathBuf);

impl Results {
    /// In this directory.
    #[must_use]
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    fn path(&self, source: &str) -> PathBuf {
        let name = source.trim_end_matches(".rs").replace('/', ".");
        self.0.join(format!("{name}.tsv"))
    }

    /// What is known of this source file; nothing, if it was never judged.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Line`].
    pub(crate) fn read(&self, source: &str) -> Result<Verdicts, Error> {
        let path = self.path(source);
        match fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Verdicts::new()),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// Adds verdicts, and drops those on mutants that are no longer `listed`. Several shards may do so at once.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Line`].
    pub(crate) fn merge(&self, source: &str, listed: &[Key], new: Verdicts) -> Result<(), Error> {
        let path = self.path(source);
        let failed = |source| Error::File {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&self.0).map_err(failed)?;
        let turn = File::open(&self.0).map_err(failed)?;
        turn.lock().map_err(failed)?;
        let mut all = self.read(source)?;
        for (key, mut judged) in new {
            if let Some(old) = all.get(&key)
                && old.verdict == judged.verdict
                && judged.note.is_empty()
            {
                judged.note.clone_from(&old.note);
            }
            all.insert(key, judged);
        }
        all.retain(|key, _| listed.contains(key));
        let whole = path.with_extension("tmp");
        let mut file = File::create(&whole).map_err(failed)?;
        for (key, judged) in &all {
            let Key {
                function,
                text,
                place,
                change,
            } = key;
            let Judged { verdict, note } = judged;
            writeln!(
                file,
                "{function}\t{text}\t{place}\t{change}\t{verdict}\t{note}"
            )
            .map_err(failed)?;
        }
        fs::rename(&whole, &path).map_err(failed)
    }
}

fn parse(path: &Path, text: &str) -> Result<Verdicts, Error> {
    text.lines()
        .enumerate()
        .map(|(at, line)| {
            let wrong = || Error::Line {
                path: path.to_owned(),
                line: at.saturating_add(1),
                found: line.to_owned(),
            };
            let fields: [&str; 6] = line
                .split('\t')
                .collect::<Vec<_>>()
                .try_into()
                .map_err(|_| wrong())?;
            let [function, text, place, change, verdict, note] = fields.map(str::to_owned);
            let key = Key {
                function,
                text,
                place,
                change,
            };
            let verdict = verdict.parse().map_err(|()| wrong())?;
            Ok((key, Judged { verdict, note }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Judged, Results, Verdict, Verdicts};
    use crate::mutant::Key;

    fn key(change: &str) -> Key {
        Key {
            function: "f".into(),
            text: "0123456789abcdef".into(),
            place: "+1:2".into(),
            change: change.into(),
        }
    }

    fn judged(verdict: Verdict, note: &str) -> Judged {
        Judged {
            verdict,
            note: note.into(),
        }
    }

    #[test]
    fn verdicts_are_kept_with_their_reasons_and_dropped_with_their_mutants() {
        let directory = tempfile::tempdir().unwrap();
        let results = Results::new(directory.path().to_owned());
        let keys = [key("a"), key("b")];
        let first = Verdicts::from([
            (
                key("a"),
                judged(Verdict::Survived, "the same by another way"),
            ),
            (key("b"), judged(Verdict::Survived, "")),
        ]);
        results.merge("c/src/x.rs", &keys, first.clone()).unwrap();
        assert_eq!(results.read("c/src/x.rs").unwrap(), first);
        let again = Verdicts::from([
            (key("a"), judged(Verdict::Survived, "")),
            (key("b"), judged(Verdict::Caught, "x::y")),
        ]);
        results.merge("c/src/x.rs", &keys, again).unwrap();
        let now = results.read("c/src/x.rs").unwrap();
        assert_eq!(now[&key("a")].note, "the same by another way");
        assert_eq!(now[&key("b")], judged(Verdict::Caught, "x::y"));
        results
            .merge("c/src/x.rs", &[key("b")], Verdicts::new())
            .unwrap();
        assert_eq!(results.read("c/src/x.rs").unwrap().len(), 1);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("c.src.x.tsv"), "f\tg\n").unwrap();
        let error = Results::new(directory.path().to_owned())
            .read("c/src/x.rs")
            .unwrap_err();
        assert!(
            error.to_string().contains("c.src.x.tsv:1: found \"f\\tg\""),
            "{error}"
        );
    }
}
