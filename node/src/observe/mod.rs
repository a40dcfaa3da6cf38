//! Watching a node: what it counts, the listener that shows it, and the spans that it exports.
//!
//! Counts are the process's, behind the `metrics` facade; nothing here decides anything about a login,
//! and a node that is not watched pays for handles that do nothing. No label ever names an account, a
//! caller or a peer: whoever reads these numbers learns how much happens, never to whom. Spans name accounts,
//! and leave the machine only if its configuration says where to.

pub mod counts;
mod help;
pub mod http;
mod listener;
mod otlp;
mod recorder;
pub mod skew;
pub mod traces;

pub use listener::{Listener, Watched};
pub use recorder::{Recorder, RecorderError};
