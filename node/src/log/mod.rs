//! The global log of a ledger, as its two operators keep it.
//!
//! The broker is the log: it makes leaves of the blocks that it holds, in batches, and signs checkpoints. The trust
//! operator is witness and mirror: it makes the same leaves, of blocks that it sealed itself, and cosigns. Each keeps the
//! whole in its own journal (`book`), from which files for tiles and proofs follow (`files`). Whether they did, `audit`
//! finds by computing all of it again.

pub mod audit;
mod book;
mod error;
mod files;
mod pending;
mod public;
mod record;
mod sequencer;
mod take_over;
mod task;
mod witness;

pub(crate) use book::{AHEAD_FILE, kept_evidence};
pub use book::{LogBook, LogState};
pub use error::LogError;
pub use files::{Growth, LogFiles};
pub use pending::Unlogged;
pub use public::{PublicWitnesses, Witnessed};
pub use record::LogRecord;
pub use sequencer::Sequencer;
pub use task::{LogEvent, LogLink, LogParts, Said};
pub use witness::Witness;
