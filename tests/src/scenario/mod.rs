//! Seeded scenarios of the three real state machines.
//!
//! One seed decides everything: who is enrolled, delays, losses, repeats, stops between two
//! outputs, clocks, customers, who cheats and how, who comes back from an old backup. A run is
//! judged continuously by [`invariants`], then in fair weather for liveness. A failing run prints
//! its seed and its last events; the same seed tells the same story again.

pub mod chance;
mod enrolling;
pub mod founded;
pub mod hostile;
pub mod invariants;
mod life;
pub mod network;
pub mod party;
mod run;
pub mod world;

pub use run::{Failure, Flavour, Summary, run, standing, stranger_world, with_genesis};
