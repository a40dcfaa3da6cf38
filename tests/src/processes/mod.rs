//! Real processes: `warifu` as its users run it, three nodes on loopback, and its commands.
//!
//! A [`Testnet`] prepares directories with `warifu init`, runs `warifu run` as child processes and
//! asks everything through the command line, so that what it shows is what a user gets. Children
//! die with it.

mod command;
mod login;
mod testnet;

pub use command::{Answer, Failed, Warifu};
pub use login::{Ended, OpenLogin};
pub use testnet::{Node, Testnet};
