//! The simulator: the three real state machines in a world of one seed, and an auditor.
//!
//! One seed decides everything: who is enrolled, delays, losses, repeats, partitions, clocks, disks,
//! stops between two outputs, customers, who cheats and how, who comes back from an old backup. A run
//! is judged continuously by the [`audit`], which sees bytes only and shares no code with the chain's
//! rules, then in fair weather for liveness. The same seed tells the same story to the byte; a failing
//! one is shrunk to the decisions that it needs ([`shrink`]).
//!
//! Scenarios by hand, and what walks found, stand in this crate's tests. What this world cannot show
//! is real files, sockets and processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a simulation that meets what it did not expect stops loudly"
)]

pub mod audit;
mod campaign;
pub mod chance;
pub mod decisions;
pub mod disk;
mod enrolling;
pub mod eyes;
pub mod founded;
pub mod hostile;
mod life;
pub mod network;
pub mod party;
mod plan;
mod run;
pub mod shrink;
mod standing;
mod story;
pub mod world;

pub use campaign::{Totals, campaign};
pub use plan::{Flavour, flavour};
pub use run::{Failure, Summary, retell, run, run_muted};
pub use standing::{standing, stranger_world, with_genesis};
pub use story::Story;
