//! What turns decisions into deeds: one actor per active account, its outputs performed in order.
//!
//! A machine of `warifu_consensus::agree` says what to do; an [`Accounts`] does it, for any party.
//! It keeps the promise that the protocol rests on: a record is durable before the next output is
//! performed. A failed write stops every actor and tells the [`Watch`], because what a machine
//! believes and what the disk holds may differ from then on. It never decides anything about a
//! block, and runs on a runtime of its own, so that signing never delays the network.

mod accounts;
mod actor;
mod inspect;
mod keeper;
mod steps;

use std::sync::Arc;

use warifu_consensus::{
    agree::{Base, Broker, Device, Event, Input, Output, TrustOperator},
    chain::Head,
    party::{Role, Sub},
    random::SeededEntropy,
    time::Time,
    wire::Reason,
};

pub use accounts::{Accounts, AccountsOptions, Busy};
pub use inspect::{AccountSecret, KeptOpeners, kept_openers};
pub use keeper::{Keeper, KeeperError, NodeRecord, SealedHere, Secrets};
pub use steps::{About, TARGET as STEPS_TARGET, outcome_name};

/// The time, as the caller's one clock tells it.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// One party's machine for one account.
pub trait Machine: Send + 'static {
    /// Moves it; perform the outputs in order.
    fn handle(&mut self, now: Time, input: Input, entropy: &mut SeededEntropy) -> Vec<Output>;
    /// When it wants a tick.
    fn deadline(&self) -> Option<Time>;
    /// It may be dropped from RAM and recovered later.
    fn is_idle(&self, now: Time) -> bool;
    /// What the account stands on.
    fn base(&self) -> &Base;
    /// Tells what [`Base::unlocated`] asked for.
    fn locate(&mut self, block: Head);
    /// Whether a line to the trust operator is wanted that isn't held all the time.
    fn wants_trust_operator(&self, now: Time) -> bool;
    /// What to answer instead of `input` while the disk is nearly full; `None` lets it in.
    fn when_nearly_full(&self, input: &Input) -> Option<Vec<Output>>;
}

const NEARLY_FULL: &str = "the disk is nearly full, admits are refused until there is room";

impl Machine for Device {
    fn handle(&mut self, now: Time, input: Input, entropy: &mut SeededEntropy) -> Vec<Output> {
        Self::handle(self, now, input, entropy)
    }
    fn deadline(&self) -> Option<Time> {
        Self::deadline(self)
    }
    fn is_idle(&self, _: Time) -> bool {
        // A device has few accounts, and its customer wants them at hand.
        false
    }
    fn base(&self) -> &Base {
        Self::base(self)
    }
    fn locate(&mut self, block: Head) {
        Self::locate(self, block);
    }
    fn wants_trust_operator(&self, now: Time) -> bool {
        self.needs_trust_operator(now)
    }
    fn when_nearly_full(&self, input: &Input) -> Option<Vec<Output>> {
        use warifu_consensus::wire::Agree;
        match input {
            Input::Message {
                from: Role::Broker,
                agree: Agree::Propose { block, .. },
            } => {
                let reason = Reason::Rule(NEARLY_FULL.into());
                let agree = Agree::Refused {
                    hash: block.hash(),
                    reason,
                };
                Some(vec![Output::Send {
                    to: Role::Broker,
                    agree,
                }])
            }
            _ => None,
        }
    }
}

impl Machine for Broker {
    fn handle(&mut self, now: Time, input: Input, entropy: &mut SeededEntropy) -> Vec<Output> {
        Self::handle(self, now, input, entropy)
    }
    fn deadline(&self) -> Option<Time> {
        Self::deadline(self)
    }
    fn is_idle(&self, now: Time) -> bool {
        Self::is_idle(self, now)
    }
    fn base(&self) -> &Base {
        Self::base(self)
    }
    fn locate(&mut self, block: Head) {
        Self::locate(self, block);
    }
    fn wants_trust_operator(&self, _: Time) -> bool {
        true
    }
    fn when_nearly_full(&self, input: &Input) -> Option<Vec<Output>> {
        use warifu_consensus::agree::Refusal;
        match input {
            Input::Begin(begin) => Some(vec![Output::Tell(Event::NotBegun {
                login: begin.login,
                refusal: Refusal::DiskNearlyFull,
            })]),
            _ => None,
        }
    }
}

impl Machine for TrustOperator {
    fn handle(&mut self, now: Time, input: Input, entropy: &mut SeededEntropy) -> Vec<Output> {
        Self::handle(self, now, input, entropy)
    }
    fn deadline(&self) -> Option<Time> {
        Self::deadline(self)
    }
    fn is_idle(&self, now: Time) -> bool {
        Self::is_idle(self, now)
    }
    fn base(&self) -> &Base {
        Self::base(self)
    }
    fn locate(&mut self, block: Head) {
        Self::locate(self, block);
    }
    fn wants_trust_operator(&self, _: Time) -> bool {
        true
    }
    fn when_nearly_full(&self, input: &Input) -> Option<Vec<Output>> {
        use warifu_consensus::wire::Agree;
        match input {
            Input::Message {
                from: Role::Broker,
                agree: Agree::Prepare { block },
            } => {
                let reason = Reason::Rule(NEARLY_FULL.into());
                let agree = Agree::Refused {
                    hash: block.hash(),
                    reason,
                };
                Some(vec![Output::Send {
                    to: Role::Broker,
                    agree,
                }])
            }
            _ => None,
        }
    }
}

/// The lines of this party, as its accounts see them.
pub trait Lines: Send + Sync + 'static {
    /// The session of the account's line to that party, `None` while it is down. A later session
    /// has a greater number.
    fn session(&self, sub: &Sub, role: Role) -> Option<u64>;
    /// Queues a frame; it may be lost.
    fn send(&self, sub: &Sub, to: Role, frame: Vec<u8>);
    /// Whether a line that isn't held all the time is wanted now. Called often; cheap.
    fn want(&self, sub: &Sub, role: Role, wanted: bool);
}

/// Who is told what happens.
pub trait Watch: Send + Sync + 'static {
    /// Everything said in records before it is durable.
    fn event(&self, about: &About, event: Event);
    /// A write failed, or an account's records don't fold: the node must stop.
    fn failed(&self, sub: &Sub, error: &KeeperError);
}

/// Makes a machine from an account's records, which begin with its founding or with a checkpoint,
/// and its secrets.
pub trait Recover<M>: Send + Sync + 'static {
    /// `None`: this party keeps no machine for such records (a tombstone).
    ///
    /// # Errors
    /// Text naming the record that doesn't fit.
    fn recover(
        &self,
        records: Vec<warifu_consensus::agree::Record>,
        secrets: Secrets,
    ) -> Result<Option<M>, String>;
}

/// Fresh entropy for one call into a machine, seeded by the operating system.
///
/// # Errors
/// When the operating system gives none.
pub fn os_entropy() -> Result<SeededEntropy, KeeperError> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(|_| KeeperError::Entropy)?;
    Ok(SeededEntropy::new(seed))
}
