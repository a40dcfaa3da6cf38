//! All accounts of a party: finds, starts and retires their actors.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use warifu_consensus::{
    agree::{Input, Output},
    party::{Role, Sub},
    time::Time,
    wire::Agree,
};

use super::{
    Clock, Keeper, KeeperError, Lines, Machine, Recover, Watch,
    actor::{Actor, Command, Performed},
    steps::Steps,
};
use crate::store::Store;

/// Inputs that may wait for one account; further frames are dropped, machines repeat.
const INBOX: usize = 64;

/// Places that a party's frames leave free, so that no peer that floods keeps the others and this
/// party's own user out: a device leaves half to the other operator, both leave the user's.
const fn left_by(from: Role) -> usize {
    match from {
        Role::Device => INBOX / 2,
        Role::Broker | Role::TrustOperator => INBOX / 4,
    }
}

/// What [`Accounts`] needs.
pub struct AccountsOptions<M: Machine, S: Store> {
    /// Journal and vault.
    pub keeper: Keeper<S>,
    /// The one clock.
    pub clock: Clock,
    /// The lines.
    pub lines: Arc<dyn Lines>,
    /// Who is told.
    pub watch: Arc<dyn Watch>,
    /// Makes machines.
    pub recover: Arc<dyn Recover<M>>,
    /// Where actors run: not the reactor's threads, since signing takes about a millisecond.
    pub runtime: Handle,
}

/// The account has more inputs waiting than it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("account has {INBOX} inputs waiting, or the node is stopping")]
pub struct Busy;

pub(super) struct Shared<M: Machine, S: Store> {
    pub(super) keeper: Keeper<S>,
    pub(super) clock: Clock,
    pub(super) lines: Arc<dyn Lines>,
    pub(super) watch: Arc<dyn Watch>,
    pub(super) recover: Arc<dyn Recover<M>>,
    runtime: Handle,
    actors: Mutex<HashMap<Sub, mpsc::Sender<Command<M>>>>,
    stopped: AtomicBool,
    /// Accounts that are at something.
    at_work: AtomicUsize,
}

/// See the module. Clones are the same accounts.
pub struct Accounts<M: Machine, S: Store> {
    shared: Arc<Shared<M, S>>,
}

impl<M: Machine, S: Store> Clone for Accounts<M, S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<M: Machine, S: Store> Shared<M, S> {
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn fail(&self, sub: &Sub, error: &KeeperError) {
        self.stopped.store(true, Ordering::Release);
        lock(&self.actors).clear();
        self.watch.failed(sub, error);
    }

    pub(super) fn is_current(&self, sub: &Sub, role: Role, session: u64) -> bool {
        self.lines.session(sub, role) == Some(session)
    }

    /// An account is at something from now on, or no more.
    pub(super) fn at_work(&self, begins: bool) {
        let before = if begins {
            self.at_work.fetch_add(1, Ordering::Relaxed)
        } else {
            self.at_work.fetch_sub(1, Ordering::Relaxed)
        };
        let now = if begins {
            before.saturating_add(1)
        } else {
            before.saturating_sub(1)
        };
        self.keeper.expect(now);
    }

    /// Leaves the map, unless something came in meanwhile.
    pub(super) fn retire(&self, sub: &Sub, inbox: &mpsc::Receiver<Command<M>>) -> bool {
        let mut actors = lock(&self.actors);
        let retired = inbox.is_empty();
        if retired {
            actors.remove(sub);
        }
        retired
    }

    /// An account without records: nothing to ask. Drops what waits and leaves.
    pub(super) async fn retire_unknown(&self, sub: &Sub, inbox: &mut mpsc::Receiver<Command<M>>) {
        lock(&self.actors).remove(sub);
        inbox.close();
        while inbox.recv().await.is_some() {}
    }
}

impl<M: Machine, S: Store> Accounts<M, S> {
    /// No account is loaded until something comes in for it.
    #[must_use]
    pub fn new(options: AccountsOptions<M, S>) -> Self {
        let AccountsOptions {
            keeper,
            clock,
            lines,
            watch,
            recover,
            runtime,
        } = options;
        Self {
            shared: Arc::new(Shared {
                keeper,
                clock,
                lines,
                watch,
                recover,
                runtime,
                actors: Mutex::new(HashMap::new()),
                stopped: AtomicBool::new(false),
                at_work: AtomicUsize::new(0),
            }),
        }
    }

    /// The journal and vault behind the accounts.
    #[must_use]
    pub fn keeper(&self) -> &Keeper<S> {
        &self.shared.keeper
    }

    /// A frame's message for an account; dropped when too many wait (the sender repeats).
    pub fn deliver(&self, sub: Sub, from: Role, session: u64, agree: Agree) {
        let input = Input::Message { from, agree };
        if self
            .put_leaving(
                left_by(from),
                sub,
                Command::Input {
                    input: Box::new(input),
                    line: Some((from, session)),
                },
            )
            .is_err()
        {
            tracing::debug!(account = %sub, "message dropped, too many wait");
        }
    }

    /// The line to a party came up for an account. What is unread of an older session is dropped
    /// when its turn comes, since [`Lines::session`] names another.
    pub fn line_up(&self, sub: Sub, role: Role, session: u64) {
        let input = Box::new(Input::LineUp(role));
        if self
            .put(
                sub,
                Command::Input {
                    input,
                    line: Some((role, session)),
                },
            )
            .is_err()
        {
            tracing::debug!(account = %sub, %role, "line-up dropped, too many wait");
        }
    }

    /// The line to a party went down for an account; only told to accounts in RAM.
    pub fn line_down(&self, sub: Sub, role: Role) {
        let sender = lock(&self.shared.actors).get(&sub).cloned();
        if let Some(sender) = sender {
            let command = Command::Input {
                input: Box::new(Input::LineDown(role)),
                line: None,
            };
            if sender.try_send(command).is_err() {
                tracing::debug!(account = %sub, %role, "line-down dropped, too many wait");
            }
        }
    }

    /// Whether the account is in RAM. One that is not owes nothing, and learns of the lines that
    /// are up when it is loaded.
    #[must_use]
    pub fn is_loaded(&self, sub: &Sub) -> bool {
        lock(&self.shared.actors).contains_key(sub)
    }

    /// The accounts that are in RAM.
    #[must_use]
    pub fn loaded(&self) -> Vec<Sub> {
        lock(&self.shared.actors).keys().copied().collect()
    }

    /// A request of this party's own user.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn ask(&self, sub: Sub, input: Input) -> Result<(), Busy> {
        let input = Box::new(input);
        self.put(sub, Command::Input { input, line: None })
    }

    /// Runs `act` on the account's machine between two inputs and performs its outputs. `None`
    /// when there is no such account.
    pub async fn with<T: Send + 'static>(
        &self,
        sub: Sub,
        act: impl FnOnce(&mut M, Time) -> (T, Vec<Output>) + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let act = Box::new(move |machine: &mut M, now: Time| {
            let (value, outputs) = act(machine, now);
            // Nobody waits any more: the outputs are performed all the same.
            drop(answer.send(value));
            (outputs, None)
        });
        self.put(sub, Command::With(act)).ok()?;
        answered.await.ok()
    }

    /// Like [`Accounts::with`], but answers once the outputs are performed: what they store is durable then. `None` also
    /// when the account ended before its turn came, or a write failed, which stops the node.
    ///
    /// # Errors
    /// [`Busy`]: it never runs.
    pub async fn perform<T: Send + 'static>(
        &self,
        sub: Sub,
        act: impl FnOnce(&mut M, Time) -> (T, Vec<Output>) + Send + 'static,
    ) -> Result<Option<T>, Busy> {
        let (answer, answered) = oneshot::channel();
        let act = Box::new(move |machine: &mut M, now: Time| {
            let (value, outputs) = act(machine, now);
            let performed: Performed = Some(Box::new(move || drop(answer.send(value))));
            (outputs, performed)
        });
        self.put(sub, Command::With(act))?;
        Ok(answered.await.ok())
    }

    /// Loads an account, so that it takes up what it owes.
    pub fn wake(&self, sub: Sub) {
        if self
            .put(sub, Command::With(Box::new(|_, _| (Vec::new(), None))))
            .is_err()
        {
            tracing::debug!(account = %sub, "busy already");
        }
    }

    /// No actor takes anything any more; those at work finish their turn.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        lock(&self.shared.actors).clear();
    }

    fn put(&self, sub: Sub, command: Command<M>) -> Result<(), Busy> {
        self.put_leaving(0, sub, command)
    }

    /// Puts a command in if it leaves more than `left` places free.
    fn put_leaving(&self, left: usize, sub: Sub, command: Command<M>) -> Result<(), Busy> {
        if self.shared.is_stopped() {
            return Err(Busy);
        }
        let mut actors = lock(&self.shared.actors);
        let sender = actors.entry(sub).or_insert_with(|| {
            let (sender, inbox) = mpsc::channel(INBOX);
            let actor = Actor {
                sub,
                shared: Arc::clone(&self.shared),
                inbox,
                look_up_from: [None; 3],
                steps: Steps::default(),
                erased: false,
                at_work: false,
            };
            self.shared.runtime.spawn(actor.run());
            sender
        });
        if sender.capacity() <= left {
            return Err(Busy);
        }
        sender.try_send(command).map_err(|_| Busy)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A poisoned map is still a map: no holder leaves it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
