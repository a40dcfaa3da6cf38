//! One account's task: takes inputs one at a time, performs outputs in order.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use warifu_consensus::{
    agree::{Input, Output, Record},
    chain::Head,
    encoding::Hash,
    party::{Role, Sub},
    time::Time,
    wire::{Agree, MAX_BLOCKS_BYTES, Message, SaltBytes},
};

use super::{KeeperError, Machine, accounts::Shared, os_entropy, steps::Steps};
use crate::store::{Space, Store};

/// How long a machine with nothing to do stays in RAM.
const IDLE: Duration = Duration::from_secs(30);

/// How long after a look-up of an old block for one party another one for it is refused, in
/// milliseconds.
const LOOK_UP_MS: u64 = 10_000;

/// What is done with a machine between two inputs; its outputs are performed, and then whoever waits is told.
pub(super) type Act<M> = Box<dyn FnOnce(&mut M, Time) -> (Vec<Output>, Performed) + Send>;

/// Tells that outputs are performed; dropped if they are not.
pub(super) type Performed = Option<Box<dyn FnOnce() + Send>>;

/// What comes into an actor's inbox.
pub(super) enum Command<M> {
    /// An input; `line` names the session that it came in, and a dead session's input is dropped.
    /// Boxed: a queue allocates its places by the block, and an idle account's stays small.
    Input {
        input: Box<Input>,
        line: Option<(Role, u64)>,
    },
    /// A question about the machine, answered between inputs, or something that only this party's
    /// kind of machine can do; outputs are performed.
    With(Act<M>),
}

pub(super) struct Actor<M: Machine, S: Store> {
    pub(super) sub: Sub,
    pub(super) shared: Arc<Shared<M, S>>,
    pub(super) inbox: mpsc::Receiver<Command<M>>,
    /// When an old block may be looked up again, for the party in each role by itself: no operator
    /// that asks without end keeps the device's word from being looked up.
    pub(super) look_up_from: [Option<Time>; 3],
    pub(super) steps: Steps,
    /// Its tombstone is written: nothing is handled any more.
    pub(super) erased: bool,
    /// It is counted among the accounts that are at something.
    pub(super) at_work: bool,
}

impl<M: Machine, S: Store> Drop for Actor<M, S> {
    fn drop(&mut self) {
        if self.at_work {
            self.shared.at_work(false);
        }
    }
}

/// Records and salts that must be durable before the next visible output.
#[derive(Default)]
struct Pending {
    records: Vec<Record>,
    salts: Vec<(Hash, SaltBytes)>,
}

impl<M: Machine, S: Store> Actor<M, S> {
    pub(super) async fn run(mut self) {
        let outcome = self.live().await;
        if let Err(error) = outcome {
            self.shared.fail(&self.sub, &error);
        }
    }

    async fn live(&mut self) -> Result<(), KeeperError> {
        let Some(mut machine) = self.recover()? else {
            self.shared.retire_unknown(&self.sub, &mut self.inbox).await;
            return Ok(());
        };
        for role in Role::ALL {
            if self.shared.lines.session(&self.sub, role).is_some() {
                self.step(&mut machine, Input::LineUp(role)).await?;
            }
        }
        loop {
            if self.erased {
                // The machine goes with its share and its content key.
                drop(machine);
                self.shared.retire_unknown(&self.sub, &mut self.inbox).await;
                return Ok(());
            }
            let wait = self.wait(&machine);
            let command = tokio::time::timeout(wait, self.inbox.recv()).await;
            if self.shared.is_stopped() {
                return Ok(());
            }
            match command {
                Ok(None) => return Ok(()),
                Ok(Some(Command::Input { input, line })) => {
                    if line.is_some_and(|(role, session)| {
                        !self.shared.is_current(&self.sub, role, session)
                    }) {
                        continue;
                    }
                    self.step(&mut machine, *input).await?;
                }
                Ok(Some(Command::With(act))) => {
                    let now = (self.shared.clock)();
                    let (outputs, performed) = act(&mut machine, now);
                    self.perform(outputs).await?;
                    if let Some(performed) = performed {
                        performed();
                    }
                    self.after(&machine);
                }
                Err(_) => {
                    let now = (self.shared.clock)();
                    // Due, or so far off that the clock may have gone back since the deadline was set:
                    // the machine looks at what it waits for by the clock as it stands now.
                    if machine.deadline().is_some() {
                        self.step(&mut machine, Input::Tick).await?;
                    } else if machine.is_idle(now) && self.shared.retire(&self.sub, &self.inbox) {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn recover(&self) -> Result<Option<M>, KeeperError> {
        let keeper = &self.shared.keeper;
        let records = keeper.to_recover(&self.sub)?;
        if records.is_empty() {
            return Ok(None);
        }
        let unfit = |reason| KeeperError::Fold {
            sub: self.sub,
            reason,
        };
        let secrets = keeper.secrets(&self.sub)?;
        let machine = self.shared.recover.recover(records, secrets);
        let machine = machine.map_err(unfit)?;
        // What was folded ends where every append's comparison of heads says that it does.
        let folded = machine.as_ref().and_then(|machine| machine.base().head());
        let (folded, stored) = (folded.map(|head| head.hash), keeper.head(&self.sub)?);
        if machine.is_some() && folded != stored {
            let text = |hash: Option<Hash>| hash.map_or("none".to_owned(), |h| h.to_string());
            let (found, expected) = (text(folded), text(stored));
            return Err(unfit(format!(
                "records fold to head {found}, expected {expected}"
            )));
        }
        Ok(machine)
    }

    /// Looks up the block that a word rests on, if it is not at hand. Nobody can keep this party
    /// reading its chain: whoever repeats a word hears in time.
    fn locate(&mut self, machine: &mut M, input: &Input, now: Time) -> Result<(), KeeperError> {
        let Some(hash) = machine.base().unlocated(input) else {
            return Ok(());
        };
        if !is_due(&mut self.look_up_from, input, now) {
            return Ok(());
        }
        let account = machine.base().account();
        let floor = account.map_or(0, warifu_consensus::chain::Account::last_unfreeze);
        if let Some(height) = self.shared.keeper.height_of(&self.sub, &hash, floor)? {
            machine.locate(Head { height, hash });
        }
        Ok(())
    }

    fn wait(&self, machine: &M) -> Duration {
        let now = (self.shared.clock)();
        let due = machine
            .deadline()
            .map(|at| Duration::from_millis(at.0.saturating_sub(now.0)));
        // One millisecond more, so that a tick is never early.
        due.map_or(IDLE, |d| {
            d.saturating_add(Duration::from_millis(1)).min(IDLE)
        })
    }

    async fn step(&mut self, machine: &mut M, input: Input) -> Result<(), KeeperError> {
        self.steps.takes(&self.sub, &input);
        let now = (self.shared.clock)();
        self.locate(machine, &input, now)?;
        let outputs = match self.shared.keeper.space() {
            Space::NearlyFull => machine.when_nearly_full(&input),
            Space::Plenty => None,
        };
        let outputs = match outputs {
            Some(outputs) => outputs,
            None => machine.handle(now, input, &mut os_entropy()?),
        };
        self.perform(outputs).await?;
        self.after(machine);
        Ok(())
    }

    fn after(&mut self, machine: &M) {
        // Whoever waits for something by the clock will write again, or end.
        let at_work = machine.deadline().is_some();
        if at_work != std::mem::replace(&mut self.at_work, at_work) {
            self.shared.at_work(at_work);
        }
        let wanted = machine.wants_trust_operator((self.shared.clock)());
        self.shared
            .lines
            .want(&self.sub, Role::TrustOperator, wanted);
    }

    async fn perform(&mut self, outputs: Vec<Output>) -> Result<(), KeeperError> {
        let mut pending = Pending::default();
        for output in outputs {
            match output {
                Output::Store(record) => {
                    self.erased |= matches!(record, Record::Erased { .. });
                    pending.records.push(record);
                }
                Output::KeepSalt { hash, salt } => pending.salts.push((hash, salt)),
                Output::ForgetShare => {
                    self.settle(&mut pending).await?;
                    self.shared.keeper.forget(&self.sub).await?;
                }
                Output::Send { to, agree } => {
                    self.settle(&mut pending).await?;
                    self.steps.sends(&self.sub, to, &agree);
                    self.send(to, agree);
                }
                Output::SendBlocks { to, from, until } => {
                    self.settle(&mut pending).await?;
                    let sealed =
                        self.shared
                            .keeper
                            .blocks(&self.sub, from, until, MAX_BLOCKS_BYTES)?;
                    self.send(to, Agree::Blocks { sealed });
                }
                Output::Tell(event) => {
                    self.settle(&mut pending).await?;
                    self.steps.tells(&self.sub, &event);
                    self.shared.watch.event(&self.steps.about(self.sub), event);
                }
            }
        }
        self.settle(&mut pending).await
    }

    /// Durable before visible. Journal and vault sync side by side: nothing leaves before both.
    async fn settle(&self, pending: &mut Pending) -> Result<(), KeeperError> {
        let records = std::mem::take(&mut pending.records);
        let salts = std::mem::take(&mut pending.salts);
        if records.is_empty() && salts.is_empty() {
            return Ok(());
        }
        let keeper = &self.shared.keeper;
        let salts = salts.iter();
        let salts = salts.map(|(hash, salt)| keeper.keep_salt(&self.sub, hash, salt));
        let (kept, appended) = tokio::join!(
            futures::future::try_join_all(salts),
            keeper.append(&self.sub, &records)
        );
        kept.map(drop).and(appended)
    }

    fn send(&self, to: Role, agree: Agree) {
        let name = agree.name();
        let message = Message::Agree {
            sub: self.sub,
            agree: Box::new(agree),
        };
        match message.to_frame() {
            Ok(frame) => self.shared.lines.send(&self.sub, to, frame),
            Err(error) => tracing::error!(account = %self.sub, message = name, %error, "not sent"),
        }
    }
}

/// Whether a block may be looked up for whoever sent this; if so, not again for a while.
fn is_due(look_up_from: &mut [Option<Time>; 3], input: &Input, now: Time) -> bool {
    let Input::Message { from, .. } = input else {
        return false;
    };
    let place = usize::from(from.number()).saturating_sub(1);
    let Some(slot) = look_up_from.get_mut(place) else {
        return false;
    };
    if slot.is_some_and(|from| now < from) {
        return false;
    }
    *slot = Some(Time(now.0.saturating_add(LOOK_UP_MS)));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(from: Role) -> Input {
        let agree = Agree::BlocksFrom { height: 0 };
        Input::Message { from, agree }
    }

    #[test]
    fn broker_that_asks_without_end_leaves_the_device_its_look_up() {
        // A cheating broker repeated an old word of the device's every few seconds: there was one
        // look-up per account, so the freeze that the device said itself was never looked up.
        let mut look_up_from = [None; 3];
        let broker = asks(Role::Broker);
        assert!(is_due(&mut look_up_from, &broker, Time(1_000)));
        assert!(!is_due(&mut look_up_from, &broker, Time(2_000)));
        assert!(is_due(&mut look_up_from, &asks(Role::Device), Time(2_000)));
        assert!(is_due(&mut look_up_from, &broker, Time(11_000)));
        assert!(!is_due(
            &mut look_up_from,
            &asks(Role::Device),
            Time(11_000)
        ));
        assert!(!is_due(&mut look_up_from, &Input::Tick, Time(20_000)));
    }
}
