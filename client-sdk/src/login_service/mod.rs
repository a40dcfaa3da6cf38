//! The login service's side: HTTPS + JSON to one's broker, and one's own verification of what the
//! broker says.

pub mod api;
pub mod problem;
