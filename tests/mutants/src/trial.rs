//! A run: which mutants are due, which compile, and what the tests say to each.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Options, Source, Sources};
use crate::{
    build::{Built, Complaint, Program, build},
    error::Error,
    mutant::{Key, Listed},
    results::{Judged, Results, Verdict, Verdicts},
    suite::{self, Suite},
    switch::{Switched, chooser, switched},
};

/// The root of the crate that is mutated, which takes the chooser.
const ROOT: &str = "consensus/src/lib.rs";
/// Builds after which what still doesn't compile is no mutant's doing: the compiler names the errors of
/// one phase at a time.
const BUILDS: usize = 12;

const WHOLE: &[Suite] = &[Suite::Own, Suite::Scenarios, Suite::Seeds];
const QUICK: &[Suite] = &[Suite::Own, Suite::Scenarios];

/// A mutant that is due, under its number.
#[derive(Clone, Copy, Debug)]
struct Due<'a> {
    number: usize,
    file: &'a str,
    source: &'a Source,
    key: &'a Key,
    mutant: &'a Listed,
}

/// A run under way.
struct Trial<'a> {
    tree: PathBuf,
    target: PathBuf,
    results: &'a Results,
    bar: ProgressBar,
    until: Option<Instant>,
    suites: &'static [Suite],
}

/// Judges what is due, and keeps each verdict as soon as it is there.
///
/// # Errors
/// All of [`Error`].
#[expect(
    clippy::disallowed_methods,
    reason = "how long it may go on is time that passes, not a time of the protocol"
)]
pub(crate) fn hold(
    options: &Options,
    work: &Path,
    results: &Results,
    sources: &Sources,
) -> Result<(), Error> {
    let due = due(options, results, sources)?;
    if due.is_empty() {
        return Ok(());
    }
    let minutes = options.minutes.map(|minutes| minutes.saturating_mul(60));
    let bar = ProgressBar::new(due.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let trial = Trial {
        tree: work.join("tree"),
        target: work.join("target"),
        results,
        bar,
        suites: if options.quick { QUICK } else { WHOLE },
        until: minutes.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
    };
    let rest = trial.together(&due)?;
    for one in &due {
        trial.write(one.file, &one.source.text)?;
    }
    trial.alone(&rest)
}

fn due<'a>(
    options: &Options,
    results: &Results,
    sources: &'a Sources,
) -> Result<Vec<Due<'a>>, Error> {
    let (k, n) = options.shard;
    let (mut due, mut number) = (Vec::new(), 0_usize);
    for (file, source) in sources {
        let kept = results.read(file)?;
        let chosen = options.file.as_ref().is_none_or(|part| file.contains(part));
        for (key, mutant) in &source.mutants {
            number = number.saturating_add(1);
            let wanted = match kept.get(key) {
                None => true,
                Some(_) if !options.again => false,
                Some(judged) => {
                    options.file.is_some()
                        || judged.verdict == Verdict::Survived && judged.note.is_empty()
                }
            };
            if chosen && wanted && number % n == k {
                due.push(Due {
                    number,
                    file,
                    source,
                    key,
                    mutant,
                });
            }
        }
    }
    Ok(due)
}

impl Trial<'_> {
    /// Judges all that can be built together; gives back what can't.
    fn together<'a>(&self, due: &[Due<'a>]) -> Result<Vec<Due<'a>>, Error> {
        let mut left = due.to_vec();
        for _ in 0..BUILDS {
            self.bar
                .set_message(format!("building {} together", left.len()));
            let files = self.switch(&left)?;
            let complaints = match build(&self.tree, &self.target)? {
                Built::Programs(programs) => {
                    let functions: BTreeMap<usize, usize> = files
                        .into_values()
                        .flat_map(|file| file.functions)
                        .collect();
                    let (now, rest) = left
                        .into_iter()
                        .partition(|d| functions.contains_key(&d.number));
                    self.run(now, &programs, &functions)?;
                    return Ok(rest);
                }
                Built::Complaints(complaints) => complaints,
            };
            let unviable = at_fault(&files, complaints)?;
            for one in left.extract_if(.., |d| unviable.contains_key(&d.number)) {
                let note = unviable.get(&one.number).cloned().unwrap_or_default();
                // Nobody else writes a file of which no mutant is left.
                self.write(one.file, &one.source.text)?;
                self.keep(
                    one,
                    Judged {
                        verdict: Verdict::Unviable,
                        note,
                    },
                )?;
            }
        }
        Ok(left)
    }

    /// Writes the files with their mutants built in.
    fn switch(&self, due: &[Due<'_>]) -> Result<BTreeMap<String, Switched>, Error> {
        let mut by_file = BTreeMap::<&str, Vec<Due<'_>>>::new();
        for one in due {
            by_file.entry(one.file).or_default().push(*one);
        }
        let (mut files, mut functions) = (BTreeMap::new(), 0_usize);
        for (file, due) in by_file {
            let mutants: Vec<_> = due.iter().map(|d| (d.number, d.mutant)).collect();
            let Some(first) = due.first() else { continue };
            let new = switched(&first.source.text, &mutants, functions)?;
            let numbers: BTreeSet<_> = new.functions.values().collect();
            functions = functions.saturating_add(numbers.len());
            self.write(file, &new.text)?;
            files.insert(file.to_owned(), new);
        }
        let root = self.read(ROOT)?;
        let plain = root
            .split("\npub(crate) mod mutants_switch")
            .next()
            .unwrap_or(&root);
        self.write(ROOT, &format!("{plain}{}", chooser(functions)))?;
        Ok(files)
    }

    /// The tests against each mutant, on as many threads as there are processors.
    fn run(
        &self,
        due: Vec<Due<'_>>,
        programs: &[Program],
        functions: &BTreeMap<usize, usize>,
    ) -> Result<(), Error> {
        let mut entered = BTreeMap::new();
        for &suite in self.suites {
            self.bar
                .set_message(format!("{suite:?} without a mutation"));
            let list = self.target.join("entered");
            entered.insert(suite, suite::entered(suite, programs, &list)?);
        }
        let queue = Mutex::new(VecDeque::from(due));
        let next = || {
            queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
        };
        let work = || -> Result<(), Error> {
            while !self.is_over()
                && let Some(one) = next()
            {
                let enters = |suite: &Suite| {
                    let function = functions.get(&one.number);
                    entered
                        .get(suite)
                        .zip(function)
                        .is_some_and(|(all, f)| all.contains(f))
                };
                let suites = Suite::of(one.file).into_iter().filter(enters);
                self.keep(one, suite::judge(suites, programs, Some(one.number))?)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads = thread::available_parallelism().map_or(1, Into::into);
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            all.into_iter().try_for_each(|one| {
                one.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }

    /// Judges mutants with a build for each.
    fn alone(&self, due: &[Due<'_>]) -> Result<(), Error> {
        for one in due {
            if self.is_over() {
                return Ok(());
            }
            self.bar.set_message("building one alone".to_owned());
            let mut text = one.source.text.clone();
            text.replace_range(one.mutant.range(&text)?, &one.mutant.replacement);
            self.write(one.file, &text)?;
            let judged = match build(&self.tree, &self.target)? {
                Built::Programs(programs) => {
                    let suites = Suite::of(one.file).into_iter();
                    let suites = suites.filter(|suite| self.suites.contains(suite));
                    suite::judge(suites, &programs, None)?
                }
                Built::Complaints(complaints) => Judged {
                    verdict: Verdict::Unviable,
                    note: complaints
                        .into_iter()
                        .next()
                        .map_or_else(String::new, |c| c.what),
                },
            };
            self.write(one.file, &one.source.text)?;
            self.keep(*one, judged)?;
        }
        Ok(())
    }

    fn keep(&self, one: Due<'_>, judged: Judged) -> Result<(), Error> {
        if judged.verdict == Verdict::Survived {
            self.bar
                .suspend(|| eprintln!("survived: {}", one.mutant.name));
        }
        let listed: Vec<Key> = one
            .source
            .mutants
            .iter()
            .map(|(key, _)| key.clone())
            .collect();
        self.results.merge(
            one.file,
            &listed,
            Verdicts::from([(one.key.clone(), judged)]),
        )?;
        self.bar.set_message(one.file.to_owned());
        self.bar.inc(1);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "see `hold`")]
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() > until)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        let path = self.tree.join(file);
        fs::write(&path, text).map_err(|source| Error::File { path, source })
    }

    fn read(&self, file: &str) -> Result<String, Error> {
        let path = self.tree.join(file);
        fs::read_to_string(&path).map_err(|source| Error::File { path, source })
    }
}

/// The mutants whose bodies the compiler objects to, with what it says.
fn at_fault(
    files: &BTreeMap<String, Switched>,
    complaints: Vec<Complaint>,
) -> Result<BTreeMap<usize, String>, Error> {
    complaints
        .into_iter()
        .map(|complaint| {
            let bodies = files.get(&complaint.file).map(|file| &file.bodies);
            let mut bodies = bodies.into_iter().flatten();
            match bodies.find(|(lines, _)| lines.contains(&complaint.line)) {
                Some((_, number)) => Ok((*number, complaint.what)),
                None => {
                    let Complaint { file, line, what } = complaint;
                    Err(Error::Build { file, line, what })
                }
            }
        })
        .collect()
}
