//! The login service's clock: the SDK's one look at the system's time, so that tests can put
//! another in its place.

use warifu_consensus::time::Time;

/// A source of the present time.
pub type Clock = fn() -> Time;

/// The system's clock; before 1970 it reads as 0, so that nothing then counts as unexpired that
/// would not.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the login service has no other clock to be given"
)]
pub fn system_clock() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(Time(0), |elapsed| {
        Time(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    })
}
