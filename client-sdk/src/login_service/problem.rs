//! What can go wrong on the HTTP side, as problem documents (RFC 9457), one enum for both ends.
//!
//! Decides the stable names: programs branch on `type`, never on `detail`, which is for people.

use serde::{Deserialize, Serialize};

/// Media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $urn:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problem. Each has one `type` (`urn:warifu:problem:…`), one HTTP status and
        /// one title.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum ProblemKind {
            $($(#[$doc])* $name,)*
        }

        impl ProblemKind {
            /// All kinds, for documents and tests.
            pub const ALL: &'static [ProblemKind] = &[$(ProblemKind::$name),*];

            /// The `type` member: a URN that never changes.
            #[must_use]
            pub const fn urn(self) -> &'static str {
                match self {
                    $(ProblemKind::$name => concat!("urn:warifu:problem:", $urn),)*
                }
            }

            /// The HTTP status code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(ProblemKind::$name => $status,)* }
            }

            /// The `title` member: the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(ProblemKind::$name => $title,)* }
            }
        }
    };
}

kinds! {
    /// The request is not what the operation reads.
    Malformed = "malformed", 400, "the request is malformed";
    /// No bearer token, or one that nobody holds.
    NotAuthenticated = "not-authenticated", 401, "the caller is not authenticated";
    /// The caller's credential lacks the operation's scope.
    Scope = "scope", 403, "the caller's credential lacks a scope";
    /// No such path.
    NotFound = "not-found", 404, "there is no such resource";
    /// No such account at this broker.
    UnknownAccount = "unknown-account", 404, "the account is unknown";
    /// No such login of this caller; another caller's login is unknown too.
    UnknownLogin = "unknown-login", 404, "the login is unknown";
    /// No such enrolment session of this caller, or one that is over and forgotten.
    UnknownTicket = "unknown-ticket", 404, "the enrolment session is unknown";
    /// The path exists, the method does not.
    MethodNotAllowed = "method-not-allowed", 405, "the method is not allowed";
    /// Another login is open on this account.
    Busy = "busy", 409, "another login is open";
    /// The broker's lock is durable, or the login ended: it can't be cancelled.
    TooLate = "too-late", 409, "it is too late";
    /// The account is frozen: nothing is admitted but `unfreeze`.
    Frozen = "frozen", 409, "the account is frozen";
    /// `unfreeze` on an account that is not frozen.
    NotFrozen = "not-frozen", 409, "the account is not frozen";
    /// The account's device was revoked.
    Revoked = "revoked", 409, "the account's device is revoked";
    /// Another block comes first: a genesis, a freeze, a `restored` block.
    Pending = "pending", 409, "another block comes first";
    /// Conflicting blocks are on record; this broker admits nothing more for the account.
    Conflict = "conflict", 409, "conflicting blocks are on record";
    /// The six digits were wrong. Member `tries_left` says how many tries remain.
    WrongDigits = "wrong-digits", 409, "the six digits are wrong";
    /// The device does not show digits yet, or the session is over.
    NoDigits = "no-digits", 409, "no digits are expected now";
    /// The account is erased: its secrets are gone, its chain has ended.
    Erased = "erased", 410, "the account is erased";
    /// The request's body is too large.
    TooLarge = "too-large", 413, "the request is too large";
    /// Too many requests; `Retry-After` says when to try again.
    TooMany = "too-many", 429, "too many requests";
    /// This broker failed; its log says how.
    Internal = "internal", 500, "the broker failed";
    /// The trust operator can't be reached: nothing can be admitted.
    TrustOperatorUnreachable = "trust-operator-unreachable", 503, "the trust operator is unreachable";
    /// The broker is stopping or not ready.
    Stopping = "stopping", 503, "the broker is stopping";
    /// The broker's disk is nearly full: what only takes away is still taken.
    DiskNearlyFull = "disk-nearly-full", 503, "the broker's disk is nearly full";
    /// The broker doesn't hold its share of the account's key.
    ShareMissing = "share-missing", 503, "the broker holds no share of the account's key";
}

impl ProblemKind {
    /// The kind of a `type` member.
    #[must_use]
    pub fn of_urn(urn: &str) -> Option<ProblemKind> {
        ProblemKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.urn() == urn)
    }
}

/// A problem document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// See [`ProblemKind::urn`].
    #[serde(rename = "type")]
    pub urn: String,
    /// See [`ProblemKind::title`].
    #[serde(default)]
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// Found and expected, for people.
    #[serde(default)]
    pub detail: String,
    /// Extension: tries left after wrong digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u8>,
    /// Extension, and header `Retry-After`: seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of this kind; `detail` says found and expected, never a secret.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Problem {
        Problem {
            urn: kind.urn().to_owned(),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            tries_left: None,
            retry_after: None,
        }
    }

    /// The kind, if this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<ProblemKind> {
        ProblemKind::of_urn(&self.urn)
    }
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.detail.as_str(), self.title.as_str()) {
            ("", title) => f.write_str(title),
            (detail, title) if says(detail, title) => f.write_str(detail),
            (detail, title) => write!(f, "{title}: {detail}"),
        }
    }
}

/// Whether a detail holds every word of a title that says something: `account is frozen, which does not
/// allow ...` says `the account is frozen`, and need not hear it first.
fn says(detail: &str, title: &str) -> bool {
    const SILENT: [&str; 6] = ["a", "are", "is", "it", "now", "the"];
    let word = |text: &'_ str| text.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let said: Vec<String> = detail.split_whitespace().map(word).collect();
    title
        .split_whitespace()
        .filter(|word| !SILENT.contains(word))
        .all(|word| said.iter().any(|said| said == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_detail_says_is_not_said_before_it() {
        for (kind, detail, expected) in [
            (
                ProblemKind::Frozen,
                "account is frozen, which does not allow `login`",
                "account is frozen, which does not allow `login`",
            ),
            (
                ProblemKind::Frozen,
                "account waits for a `freeze` block first",
                "the account is frozen: account waits for a `freeze` block first",
            ),
            (
                ProblemKind::UnknownAccount,
                "account AAAA is unknown here",
                "account AAAA is unknown here",
            ),
            (
                ProblemKind::TooLate,
                "the proposal is locked, too late to cancel",
                "the proposal is locked, too late to cancel",
            ),
            (
                ProblemKind::WrongDigits,
                "the six digits are wrong, 2 tries left",
                "the six digits are wrong, 2 tries left",
            ),
            (
                ProblemKind::Malformed,
                "body is no JSON",
                "the request is malformed: body is no JSON",
            ),
            (ProblemKind::Busy, "", "another login is open"),
        ] {
            assert_eq!(Problem::new(kind, detail).to_string(), expected);
        }
    }
}
