//! One mutant as cargo-mutants lists it, and the name under which its verdict is kept.
//!
//! A verdict must outlive edits elsewhere in the file and die with an edit of its own function: its key
//! is the function's name and text, and the place within that text. Line numbers are not in it.

use std::{
    ops::Range,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::error::Error;

/// The package that is mutated.
pub(crate) const MUTATED: &str = "warifu-consensus";

/// A position in a source file, both counted from 1.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Position {
    line: usize,
    /// In characters.
    column: usize,
}

/// From a position up to another, which is not part of it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Span {
    start: Position,
    end: Position,
}

/// The function that holds a mutant.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Function {
    /// Its path within the file, as `Reader<'a>::string`.
    function_name: String,
    span: Span,
}

/// A mutant as `cargo mutants --list --json` prints it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    /// `FILE:LINE:COLUMN: CHANGE`.
    pub(crate) name: String,
    /// The source file, from the top of the workspace.
    pub(crate) file: String,
    /// Absent for a mutant outside of functions.
    function: Option<Function>,
    /// What is replaced.
    span: Span,
    /// By what.
    pub(crate) replacement: String,
}

/// What a verdict is kept under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The function's path, or `-`.
    pub(crate) function: String,
    /// The first 8 bytes of BLAKE3 over the function's lines, in hexadecimal (16 characters).
    pub(crate) text: String,
    /// `+LINES:COLUMN` from the function's first line.
    pub(crate) place: String,
    /// What was changed, in the tool's words.
    pub(crate) change: String,
}

/// Every mutant of the checkout at `tree`, in the tool's order.
///
/// # Errors
/// [`Error::Program`], [`Error::Ended`], [`Error::Json`].
pub(crate) fn list(tree: &Path) -> Result<Vec<Listed>, Error> {
    let program = "cargo mutants";
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--package", MUTATED])
        .current_dir(tree)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::Program { program, source })?;
    if !output.status.success() {
        let status = output.status.to_string();
        return Err(Error::Ended { program, status });
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Listed {
    /// Its key, given the text of its file.
    ///
    /// # Errors
    /// [`Error::Listed`] for a name or span that does not fit the file.
    pub(crate) fn key(&self, source: &str) -> Result<Key, Error> {
        let outer = self.function.as_ref().map_or(self.span, |f| f.span);
        let lines = outer.start.line..=outer.end.line;
        let text: Vec<&str> = source
            .lines()
            .skip(outer.start.line.saturating_sub(1))
            .take(lines.count())
            .collect();
        let below = self.span.start.line.checked_sub(outer.start.line);
        let change = self.name.split_once(": ").map(|(_, change)| change);
        let (Some(below), Some(change), false) = (below, change, text.is_empty()) else {
            return Err(self.wrong());
        };
        let function = self.function.as_ref().map(|f| f.function_name.as_str());
        let text = blake3::hash(text.join("\n").as_bytes()).to_hex();
        Ok(Key {
            function: function.unwrap_or("-").to_owned(),
            text: text.chars().take(16).collect(),
            place: format!("+{below}:{}", self.span.start.column),
            change: change.to_owned(),
        })
    }

    /// The bytes of its file that it replaces.
    ///
    /// # Errors
    /// [`Error::Listed`] for a span that does not fit the file.
    pub(crate) fn range(&self, source: &str) -> Result<Range<usize>, Error> {
        let start = offset(source, self.span.start).ok_or_else(|| self.wrong())?;
        let end = offset(source, self.span.end).ok_or_else(|| self.wrong())?;
        if start > end {
            return Err(self.wrong());
        }
        Ok(start..end)
    }

    fn wrong(&self) -> Error {
        Error::Listed {
            name: self.name.clone(),
        }
    }
}

fn offset(source: &str, at: Position) -> Option<usize> {
    let mut begin = 0_usize;
    for (number, line) in source.split_inclusive('\n').enumerate() {
        if number.checked_add(1)? == at.line {
            let within = line
                .char_indices()
                .map(|(offset, _)| offset)
                .chain([line.len()])
                .nth(at.column.checked_sub(1)?)?;
            return begin.checked_add(within);
        }
        begin = begin.checked_add(line.len())?;
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Function, Listed, Position, Span};

    fn span(from: (usize, usize), to: (usize, usize)) -> Span {
        let position = |(line, column)| Position { line, column };
        Span {
            start: position(from),
            end: position(to),
        }
    }

    /// A mutant that replaces what stands between two positions of `a.rs`.
    pub(crate) fn replacing(from: (usize, usize), to: (usize, usize), by: &str) -> Listed {
        Listed {
            name: format!("a.rs:{}:{}: replace", from.0, from.1),
            file: "a.rs".into(),
            function: None,
            span: span(from, to),
            replacement: by.into(),
        }
    }

    fn listed(top: usize) -> Listed {
        Listed {
            name: format!("a.rs:{}:8: replace == with != in same", top + 1),
            function: Some(Function {
                function_name: "same".into(),
                span: span((top, 1), (top + 2, 2)),
            }),
            ..replacing((top + 1, 7), (top + 1, 9), "!=")
        }
    }

    #[test]
    fn a_key_outlives_edits_elsewhere_and_no_edit_of_its_function() {
        let function = "fn same(a: u8, b: u8) -> bool {\n    a == b\n}\n";
        let here = listed(1).key(function).unwrap();
        assert_eq!(here.place, "+1:7");
        assert_eq!(here.change, "replace == with != in same");
        let moved = format!("//! A head.\n\n{function}");
        assert_eq!(listed(3).key(&moved).unwrap(), here);
        let edited = function.replace("a == b", "a == b || true");
        assert_ne!(listed(1).key(&edited).unwrap(), here);
    }

    #[test]
    fn a_range_is_what_stands_there_counted_in_characters() {
        let source = "// 割符\n// 割符 == 1\n";
        let range = replacing((2, 7), (2, 9), "").range(source).unwrap();
        assert_eq!(&source[range], "==");
        for outside in [(4, 1), (1, 9), (0, 1)] {
            assert!(replacing(outside, (5, 1), "").range(source).is_err());
        }
    }
}
