//! Audits: whether what an operator keeps or serves is what it says, found by computing all of it again.
//!
//! `directory` reads a node's directory in place, every byte: journal, chains, signatures, leaves, vault, and what is
//! derived from them. `remote` reads a log as strangers do, over HTTP. `follow` watches both operators' logs grow.
//! `bundle` is what verifies without either. None of them takes a lock, writes to what it reads, or believes a key
//! that is not pinned; none repairs anything.

mod accounts;
mod batches;
pub mod bundle;
mod derived;
mod directory;
mod fault;
mod fetch;
mod files;
mod follow;
mod index;
mod range;
mod remote;
mod resume;
mod signatures;
mod workers;

pub use directory::{ACCOUNTS_AT_ONCE, Audited, DirectoryAudit, Journal};
pub use fault::Fault;
pub use fetch::{FetchError, LogClient};
pub(crate) use files::open_cosigned;
pub use follow::{Alarm, Followed, Follower, Heard, Limits};
pub use remote::{AuditedLog, RemoteAudit, RemoteError};
pub use signatures::Mode;
