//! Time as the ledger counts it, and its constants: when a party may still sign an admit block.
//!
//! Decides protocol rule 2's clock checks. Never reads a clock: the caller passes its own time in.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Lifetime of an admit block unless the login service asks for another, in seconds.
pub const DEFAULT_LIFETIME_S: u64 = 90;

/// Longest `exp` − `iat` of an admit block, in seconds.
pub const MAX_LIFETIME_S: u64 = 180;

/// How far a proposal's `iat` may lie ahead of a party's own clock, in seconds.
pub const MAX_AHEAD_S: u64 = 30;

/// How long after `exp` a locked proposal is left alone before an `expire` may supersede it, in
/// seconds.
pub const GRACE_S: u64 = 30;

/// `exp` − `iat` of every restrict block, in seconds; written, never enforced by a clock.
pub const RESTRICT_LIFETIME_S: u64 = 90;

/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Time(pub u64);

impl Time {
    /// The start of second `seconds` since the Unix epoch; saturates.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Time {
        Time(seconds.saturating_mul(1000))
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This time plus `seconds` seconds, or `None` past the end of time.
    #[must_use]
    pub const fn checked_add_seconds(self, seconds: u64) -> Option<Time> {
        let Some(millis) = seconds.checked_mul(1000) else {
            return None;
        };
        match self.0.checked_add(millis) {
            Some(sum) => Some(Time(sum)),
            None => None,
        }
    }

    /// Whether a proposal with this `exp` (seconds) is dead for certain: `self` > `exp` + 30 s.
    #[must_use]
    pub const fn is_past_grace(self, exp: u64) -> bool {
        self.0 > Time::from_seconds(exp.saturating_add(GRACE_S)).0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.seconds(), self.0 % 1000)
    }
}

/// Why a proposal's times don't allow an admit signature now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TimeError {
    /// `exp` does not lie after `iat`.
    #[error("proposal's exp {exp} is not after its iat {iat}")]
    Backwards {
        /// Issued at, seconds.
        iat: u64,
        /// Expires at, seconds.
        exp: u64,
    },
    /// `exp` − `iat` is longer than the ledger allows.
    #[error("proposal lives {found_s} s, at most {MAX_LIFETIME_S} s allowed")]
    TooLong {
        /// `exp` − `iat`, seconds.
        found_s: u64,
    },
    /// `iat` lies too far in the future of the checking party's clock.
    #[error("proposal's iat is {ahead_s} s ahead of this clock, at most {MAX_AHEAD_S} s allowed")]
    Ahead {
        /// Seconds ahead, rounded up.
        ahead_s: u64,
    },
    /// The checking party's clock has reached `exp`.
    #[error("proposal expired {late_s} s ago by this clock")]
    Expired {
        /// Seconds since `exp`, rounded down.
        late_s: u64,
    },
}

/// Whether an admit block's lifetime is one that the ledger allows: 0 < `exp` − `iat` ≤ 180 s.
///
/// # Errors
/// [`TimeError::Backwards`] or [`TimeError::TooLong`].
pub const fn check_lifetime(iat: u64, exp: u64) -> Result<(), TimeError> {
    if exp <= iat {
        return Err(TimeError::Backwards { iat, exp });
    }
    let found_s = exp - iat;
    if found_s > MAX_LIFETIME_S {
        return Err(TimeError::TooLong { found_s });
    }
    Ok(())
}

/// Whether a party whose clock says `now` may sign an admit block of these times (protocol rule 2):
/// lifetime allowed, `iat` ≤ now + 30 s, now < `exp`. `iat` and `exp` are in seconds.
///
/// # Errors
/// [`TimeError`], saying by how many seconds.
pub const fn check_times(now: Time, iat: u64, exp: u64) -> Result<(), TimeError> {
    if let Err(error) = check_lifetime(iat, exp) {
        return Err(error);
    }
    let ahead = Time::from_seconds(iat).0.saturating_sub(now.0);
    if ahead > MAX_AHEAD_S * 1000 {
        return Err(TimeError::Ahead {
            ahead_s: ahead.div_ceil(1000),
        });
    }
    let end = Time::from_seconds(exp);
    if now.0 >= end.0 {
        return Err(TimeError::Expired {
            late_s: (now.0 - end.0) / 1000,
        });
    }
    Ok(())
}
