//! Reads a text that may have one form only, left to right, and says where it leaves that form.
//!
//! There is no grammar to be lenient about: literals, strings without escapes, and minimal integers
//! stand where the format puts them. So duplicate or unknown keys, another order, whitespace,
//! escapes and nesting are not cases to detect; they are simply not the expected text.

/// Where a text leaves the only form it may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("at byte {offset}: expected {expected}")]
pub struct SyntaxError {
    /// Offset in bytes from the start of the text.
    pub offset: usize,
    /// What should stand there.
    pub expected: &'static str,
}

/// A position in a text.
pub(super) struct Reader<'a> {
    rest: &'a str,
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Reader<'a> {
        Reader {
            rest: text,
            offset: 0,
        }
    }

    /// The error that `expected` does not stand here.
    pub(super) fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError {
            offset: self.offset,
            expected,
        }
    }

    fn advance(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.rest = rest;
        self.offset = self.offset.saturating_add(taken.len());
        taken
    }

    /// Whether `literal` stands here; steps over it if so.
    pub(super) fn skip(&mut self, literal: &str) -> bool {
        let found = self.rest.starts_with(literal);
        if found {
            self.advance(literal.len());
        }
        found
    }

    /// Steps over `literal`.
    pub(super) fn literal(&mut self, literal: &'static str) -> Result<(), SyntaxError> {
        if self.skip(literal) {
            Ok(())
        } else {
            Err(self.error(literal))
        }
    }

    /// The characters up to the closing `"`, and steps over it. Printable ASCII without `\` only.
    pub(super) fn string(&mut self) -> Result<&'a str, SyntaxError> {
        let end = self
            .rest
            .bytes()
            .position(|byte| byte == b'"' || byte == b'\\' || !(0x20..=0x7e).contains(&byte));
        let taken = self.advance(end.unwrap_or(self.rest.len()));
        self.literal("\"")
            .map_err(|error| SyntaxError {
                expected: "printable ascii without escapes, then a closing quote",
                ..error
            })
            .map(|()| taken)
    }

    /// A string whose content `parse` accepts, and steps over its closing `"`.
    pub(super) fn parsed<T, E>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Result<T, SyntaxError> {
        let start = self.offset;
        let text = self.string()?;
        parse(text).map_err(|_| SyntaxError {
            offset: start,
            expected,
        })
    }

    /// A decimal integer without sign, fraction, exponent or leading zero.
    pub(super) fn integer(&mut self) -> Result<u64, SyntaxError> {
        const EXPECTED: &str = "an integer of 0 to 9007199254740991 in plain digits";
        let start = self.error(EXPECTED);
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = self.advance(length);
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return Err(start);
        }
        let value = digits.parse::<u64>().map_err(|_| start)?;
        if value > super::MAX_INTEGER {
            Err(start)
        } else {
            Ok(value)
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), SyntaxError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error("the end of the text"))
        }
    }
}
