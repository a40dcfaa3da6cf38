//! Watching an operator: what it counts, and the listener that shows it.
//!
//! Counts are the process's, behind the `metrics` facade; nothing here decides anything about a login,
//! and a node that is not watched pays for handles that do nothing. No label ever names an account, a
//! caller or a peer: whoever reads these numbers learns how much happens, never to whom.

mod listener;
mod recorder;

pub use listener::{Listener, Readiness};
pub use recorder::{Recorder, RecorderError};
