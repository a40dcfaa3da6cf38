//! The one place that reads the clock, and the one text form of a time for people.
//!
//! Never decides what a time means: that is [`warifu_consensus::time`]'s.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, tz::TimeZone};
use warifu_consensus::time::Time;

/// The system's wall clock: milliseconds since the Unix epoch; 0 for a clock set before it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The same clock as finely as the system gives it, for spans only.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub(crate) fn precise() -> SystemTime {
    SystemTime::now()
}

/// A block's time in this machine's time zone (`TZ`, else the system's), with its offset:
/// `2026-08-05 14:03:07 +09:00`. `seconds` are since the Unix epoch; a time past the year 9999 is
/// given as `@seconds`.
#[must_use]
pub fn local(seconds: u64) -> String {
    in_zone(seconds, TimeZone::system())
}

fn in_zone(seconds: u64, zone: TimeZone) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(
            || format!("@{seconds}"),
            |time| {
                time.to_zoned(zone)
                    .strftime("%Y-%m-%d %H:%M:%S %:z")
                    .to_string()
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_carries_its_offset() {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!(in_zone(0, tokyo), "1970-01-01 09:00:00 +09:00");
        assert_eq!(
            in_zone(1_790_000_000, TimeZone::UTC),
            "2026-09-21 14:13:20 +00:00"
        );
        assert_eq!(in_zone(u64::MAX, TimeZone::UTC), format!("@{}", u64::MAX));
    }
}
