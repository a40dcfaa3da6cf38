//! The rules of docs/protocol.md as a model that is searched to the end.
//!
//! Decides nothing for Warifu: it is written from the rules, not from the code, and holds no
//! cryptography. A signature is the fact that a party signed; a hash names its block by containing it.
//! docs/protocol.md, "What the model covers, and what not", lists the bounds and what is abstracted away.

mod actions;
mod block;
mod broker;
mod config;
mod device;
mod founding;
mod going_on;
mod guard;
mod mistakes;
mod model;
mod outage;
mod party;
mod property;
mod report;
mod runs;
mod signing;
mod state;
mod trust_operator;

pub use block::{About, Block, Claims, Kind, MAX_HEIGHT, Status};
pub use config::Config;
pub use founding::Founding;
pub use going_on::settle;
pub use guard::Guard;
pub use mistakes::{Shown, shown};
pub use model::{Action, Agreement};
pub use party::{Parties, Party};
pub use property::Broken;
pub use report::{Report, heading, search, shortest};
pub use runs::{Run, runs};
pub use signing::Signing;
pub use state::{
    Blocks, Broker, BrokerKept, Copies, Device, DeviceKept, State, TrustOperator,
    TrustOperatorKept, Verb, Word,
};
