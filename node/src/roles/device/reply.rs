//! What a customer's typed line means.
//!
//! Decides that nothing is sent that was not clearly meant: a number has exactly two digits, since
//! there is one try, and "it wasn't me", which freezes the account, is a whole word.

/// An answer to a proposal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Approve, with the page's number: 0 to 99.
    Number(u8),
    /// Deny; `not_me` freezes the account too.
    Deny { not_me: bool },
    /// An empty line.
    Nothing,
    /// Anything else.
    Unclear,
}

impl Reply {
    /// Full-width letters and digits, as a Japanese keyboard gives them, count as their narrow ones.
    pub(crate) fn parse(line: &str) -> Self {
        match narrow(line).to_ascii_lowercase().as_str() {
            "" => Self::Nothing,
            "d" | "deny" | "拒否" => Self::Deny { not_me: false },
            "notme" | "not me" | "身に覚えがない" => Self::Deny { not_me: true },
            line => two_digits(line).map_or(Self::Unclear, Self::Number),
        }
    }
}

/// The page's number, 0 to 99, if the text is exactly its two digits, full-width ones included.
pub(crate) fn two_digits(text: &str) -> Option<u8> {
    let text = narrow(text);
    let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn narrow(text: &str) -> String {
    let narrow = |c| match c {
        '！'..='～' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    };
    text.trim().chars().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_digits_are_a_number() {
        for (line, number) in [("07", 7), (" 42 ", 42), ("４２", 42), ("　0７", 7)] {
            assert_eq!(Reply::parse(line), Reply::Number(number), "{line}");
        }
        for line in [
            "7", "007", "4 2", "-1", "+1", "4２3", "x", "dd", "\x1b[A", "yes",
        ] {
            assert_eq!(Reply::parse(line), Reply::Unclear, "{line}");
        }
        assert_eq!(Reply::parse(" \t"), Reply::Nothing);
    }

    #[test]
    fn denying_is_short_and_disowning_is_a_word() {
        for line in ["d", "D", "ｄ", "deny", "拒否"] {
            assert_eq!(Reply::parse(line), Reply::Deny { not_me: false }, "{line}");
        }
        for line in ["notme", "not me", "ＮＯＴＭＥ", "身に覚えがない"] {
            assert_eq!(Reply::parse(line), Reply::Deny { not_me: true }, "{line}");
        }
        assert_eq!(Reply::parse("n"), Reply::Unclear);
    }
}
