//! Agreement of the three parties on an account's next block, as three sans-IO state machines.
//!
//! [`Broker`], [`Device`] and [`TrustOperator`] each hold one account as one party sees it. A
//! machine decides; it never performs: `handle(now, input, entropy)` returns [`Output`]s that the
//! caller performs **in order**, each store durable before the next send (protocol rule 3,
//! "durable before visible"). What a machine knows durably changes only through `apply(Record)`,
//! which `handle` and recovery share, so that a restart walks the path that every login walks.
//!
//! Rule numbers in the comments are those of docs/protocol.md. The machines never read a clock,
//! never draw randomness of their own, never panic on input, and never trust who a message says
//! it is from: the line's party is an argument.

mod base;
mod broker;
mod checkpoint;
mod conflict;
mod device;
mod erasure;
mod limits;
mod pace;
mod package;
mod patience;
mod recent;
mod trust_operator;
mod turn;
mod types;
mod words;

pub use base::{Base, Founding};
pub use broker::Broker;
pub use checkpoint::{Checkpoint, OldCheckpoint};
pub use device::Device;
pub use erasure::Erasure;
pub use package::package_hash;
pub use trust_operator::{TrustOperator, TrustOperatorOptions};
pub use types::*;
