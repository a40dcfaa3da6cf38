//! One mutant as cargo-mutants lists it, and the name under which its verdict is kept.
//!
//! A verdict must outlive edits elsewhere in the file and die with an edit of its own function: its key
//! is the function's name and text, and the place within that text. Line numbers are not in it.

use serde::Deserialize;

use crate::error::Error;

/// A position in a source file, both counted from 1.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Position {
    /// The line.
    pub(crate) line: usize,
    /// The column, in characters.
    pub(crate) column: usize,
}

/// From a position up to another, which is not part of it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its first character.
    pub(crate) start: Position,
    /// What follows its last character.
    pub(crate) end: Position,
}

/// The function that holds a mutant.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Function {
    /// Its path within the file, as `Reader<'a>::string`.
    pub(crate) function_name: String,
    /// Where it stands.
    pub(crate) span: Span,
}

/// A mutant as `cargo mutants --list --json` prints it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    /// `FILE:LINE:COLUMN: CHANGE`, which is also how the tool's `--re` chooses it.
    pub(crate) name: String,
    /// The source file, from the top of the workspace.
    pub(crate) file: String,
    /// Absent for a mutant outside of functions.
    pub(crate) function: Option<Function>,
    /// What is replaced.
    pub(crate) span: Span,
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

impl Listed {
    /// Its key, given the text of its file.
    ///
    /// # Errors
    /// [`Error::Listed`] for a name or span that does not fit the file.
    pub(crate) fn key(&self, source: &str) -> Result<Key, Error> {
        let wrong = || Error::Listed {
            name: self.name.clone(),
        };
        let outer = self.function.as_ref().map_or(self.span, |f| f.span);
        let lines = outer.start.line..=outer.end.line;
        let text: Vec<&str> = source
            .lines()
            .skip(outer.start.line.saturating_sub(1))
            .take(lines.count())
            .collect();
        if text.is_empty() {
            return Err(wrong());
        }
        let below = self.span.start.line.checked_sub(outer.start.line);
        Ok(Key {
            function: self
                .function
                .as_ref()
                .map_or("-", |f| f.function_name.as_str())
                .to_owned(),
            text: blake3::hash(text.join("\n").as_bytes())
                .to_hex()
                .chars()
                .take(16)
                .collect(),
            place: format!("+{}:{}", below.ok_or_else(wrong)?, self.span.start.column),
            change: self
                .name
                .split_once(": ")
                .map(|(_, change)| change)
                .ok_or_else(wrong)?
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Function, Listed, Position, Span};

    fn span(from: (usize, usize), to: (usize, usize)) -> Span {
        let position = |(line, column)| Position { line, column };
        Span {
            start: position(from),
            end: position(to),
        }
    }

    fn listed(top: usize) -> Listed {
        Listed {
            name: format!("a.rs:{}:8: replace == with != in same", top + 1),
            file: "a.rs".into(),
            function: Some(Function {
                function_name: "same".into(),
                span: span((top, 1), (top + 2, 2)),
            }),
            span: span((top + 1, 8), (top + 1, 10)),
        }
    }

    #[test]
    fn a_key_outlives_edits_elsewhere_and_no_edit_of_its_function() {
        let function = "fn same(a: u8, b: u8) -> bool {\n    a == b\n}\n";
        let here = listed(1).key(function).unwrap();
        assert_eq!(here.place, "+1:8");
        assert_eq!(here.change, "replace == with != in same");
        let moved = format!("//! A head.\n\n{function}");
        assert_eq!(listed(3).key(&moved).unwrap(), here);
        let edited = function.replace("a == b", "a == b || true");
        assert_ne!(listed(1).key(&edited).unwrap(), here);
    }

    #[test]
    fn a_span_outside_of_the_file_is_an_error() {
        assert!(listed(9).key("fn f() {}\n").is_err());
    }
}
