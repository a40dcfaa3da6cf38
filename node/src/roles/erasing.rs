//! Erasing an account, at either operator (protocol rule 11): first a tombstone in its stream, then its secrets go.
//!
//! The broker decides, and signs that it did; the trust operator follows once it holds the same last block and its
//! leaf. Each tells the other on every new line what is erased ([`saying`]), so that a restored copy learns it again and
//! takes no key back: what it obeys is the broker's own signature, never the other's word. Never undone.

mod answers;
mod saying;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{Instant, interval},
};
use warifu_client_sdk::runtime::{Accounts, Keeper, KeeperError, Machine};
use warifu_consensus::{
    agree::{Erasure, Output, Record},
    chain::{Head, Status},
    encoding::Hash,
    log::{LogMessage, MAX_ERASED},
    party::{Role, Sub},
    signature::IdentityKey,
    vote::Vote,
    wire::Message,
};

use self::saying::{Saying, Words};
use super::{directory::Directory, lines::OperatorLines, lock};
use crate::{
    log::{LogBook, LogError},
    store::NodeStore,
};

/// Between two tries of what the other operator has not answered, or this copy can't follow yet.
const REPEAT: Duration = Duration::from_secs(3);

/// So many times as long as forgetting took, the vault is left alone, or until the next try of the rest.
const REST: u32 = 10;

/// Accounts that are closed at once, and share syncs.
const CLOSED_AT_ONCE: usize = 64;

/// Why an account is not erased.
#[derive(Debug, thiserror::Error)]
pub(super) enum EraseError {
    /// It admits, or may come to admit by itself.
    #[error(
        "account is {found}, expected frozen or revoked, and nothing under way: freeze it first"
    )]
    NotFrozen {
        /// Its status.
        found: Status,
    },
    /// Nothing may be sealed behind the tombstone, so the log must have everything first.
    #[error("the log has no checkpoint of both operators with the account's block {height} yet")]
    Unlogged {
        /// The last block's height.
        height: u64,
    },
    /// Nothing was sealed in it.
    #[error("the account has no genesis")]
    NoGenesis,
    /// Too much waits for the account, or the node is stopping.
    #[error("the account can't be asked")]
    Unasked,
    /// Journal or vault.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What erasing needs of an operator.
pub(super) struct Erasing<M: Machine> {
    pub(super) role: Role,
    pub(super) key: Arc<IdentityKey>,
    /// The broker's pinned identity key.
    pub(super) broker: [u8; 32],
    pub(super) keeper: Keeper<NodeStore>,
    pub(super) accounts: Accounts<M, NodeStore>,
    pub(super) directory: Arc<Directory>,
    pub(super) lines: Arc<OperatorLines>,
    pub(super) log: Arc<LogBook<NodeStore>>,
    pub(super) state: State,
}

/// What is erased, and what is to be.
#[derive(Default)]
pub(super) struct State {
    saying: Mutex<Saying>,
    /// Told by the other operator, and not looked at yet: one of each account of this ledger at most.
    heard: Mutex<HashMap<Sub, Erasure>>,
    /// A line came up that `saying` does not know of yet.
    is_new_line: AtomicBool,
    wake: Notify,
    /// Told by the other operator, verified, and not followed yet.
    told: Mutex<HashMap<Sub, Erasure>>,
    /// A tombstone may be on its way to the journal: looked at again, should whoever wrote it have given up.
    closing: Mutex<HashSet<Sub>>,
    /// Erased, but not all forgotten.
    owed: Mutex<HashSet<Sub>>,
    /// One at a time forgets, all that is owed.
    forgetting: tokio::sync::Mutex<()>,
    changed: OnceLock<watch::Sender<u64>>,
}

impl State {
    fn changed(&self) -> &watch::Sender<u64> {
        self.changed.get_or_init(|| watch::Sender::new(0))
    }
}

impl<M: Machine> Erasing<M> {
    /// Enters an account whose stream ends with a tombstone.
    pub(super) fn remember(&self, sub: Sub, erasure: Erasure, both: bool) {
        let heard = lock(&self.state.told).contains_key(&sub);
        // The broker takes the trust operator's word for done.
        let held = self.role == Role::TrustOperator && lock(&self.state.owed).contains(&sub);
        lock(&self.state.saying).enter(sub, erasure, both, heard, held);
        self.state.changed().send_modify(|changes| *changes += 1);
    }

    /// Whether an account is erased here.
    pub(super) fn is_erased(&self, sub: &Sub) -> bool {
        lock(&self.state.saying).is_known(sub)
    }

    /// Deletes what a crash, or an older vault, left of erased accounts' secrets.
    pub(super) async fn forget_again(&self) -> Result<(), KeeperError> {
        let subs = lock(&self.state.saying).subs();
        if self.keeper.forget_erased(&subs).await? {
            tracing::warn!("the vault held secrets of erased accounts: deleted again");
        }
        Ok(())
    }

    /// Ready once both operators have their record of it, at most after `wait`; whether they have.
    pub(super) async fn both(&self, sub: &Sub, wait: Duration) -> bool {
        let mut changed = self.state.changed().subscribe();
        let both = || lock(&self.state.saying).is_both(sub);
        let waiting = changed.wait_for(|_| both());
        drop(tokio::time::timeout(wait, waiting).await);
        both()
    }

    /// Whether both operators signed a checkpoint with the leaf of the account's last block, and so of all below it.
    async fn is_logged(&self, sub: Sub, height: u64) -> Result<bool, LogError> {
        let log = Arc::clone(&self.log);
        let looked = spawn_blocking(move || {
            let size = *log.watch().borrow();
            let index = log.index_of(&sub, height)?;
            Ok(index.is_some_and(|index| index < size))
        });
        looked.await.unwrap_or(Ok(false))
    }

    /// Where an account stands; `None`: it can't be asked.
    async fn head(&self, sub: Sub) -> Option<Option<(Head, Status)>> {
        let asked = self.accounts.with(sub, |machine, _| {
            let base = machine.base();
            (base.head().zip(base.status()), Vec::new())
        });
        asked.await
    }

    /// Broker: erases an account. `rests` says of its machine that nothing is under way. May be repeated.
    ///
    /// # Errors
    /// [`EraseError`]; nothing was changed, but after [`EraseError::Keeper`] the account may be erased, and its secrets
    /// still here.
    pub(super) async fn erase(
        &self,
        sub: Sub,
        rests: impl FnOnce(&M) -> bool + Send + 'static,
    ) -> Result<(), EraseError> {
        if !self.take_up(sub)? {
            match self.close_here(sub, rests).await {
                // Another one closed it meanwhile.
                Err(EraseError::Unasked) if self.take_up(sub)? => {}
                closed => closed?,
            }
        }
        self.forget_owed().await?;
        self.say_now(&[sub]);
        Ok(())
    }

    async fn close_here(
        &self,
        sub: Sub,
        rests: impl FnOnce(&M) -> bool + Send + 'static,
    ) -> Result<(), EraseError> {
        let stands = self.head(sub).await.ok_or(EraseError::Unasked)?;
        let (Head { height, hash }, found) = stands.ok_or(EraseError::NoGenesis)?;
        if found == Status::Active {
            return Err(EraseError::NotFrozen { found });
        }
        if !self.is_logged(sub, height).await? {
            return Err(EraseError::Unlogged { height });
        }
        let vote = Vote::sign(&self.key, &Erasure::statement(sub, hash));
        let erasure = Erasure { head: hash, vote };
        if self.close(sub, erasure, rests).await? {
            return Ok(());
        }
        Err(EraseError::NotFrozen { found })
    }

    /// Writes the tombstone, if the account's last block is the named one and it admits nothing. Whoever gives up
    /// waiting leaves it to [`Erasing::take_up`].
    async fn close(
        &self,
        sub: Sub,
        erasure: Erasure,
        rests: impl FnOnce(&M) -> bool + Send + 'static,
    ) -> Result<bool, EraseError> {
        let both = self.role == Role::TrustOperator;
        let fits = move |machine: &M| {
            let base = machine.base();
            base.head().is_some_and(|head| head.hash == erasure.head)
                && base.status().is_some_and(|is| is != Status::Active)
                && rests(machine)
        };
        lock(&self.state.closing).insert(sub);
        let closed = self.accounts.perform(sub, move |machine: &mut M, _| {
            let fits = fits(machine);
            let record = Record::Erased {
                erasure: Some(erasure),
                both,
            };
            let outputs = fits.then_some(Output::Store(record)).into_iter();
            (fits, outputs.collect())
        });
        match closed.await {
            Ok(Some(false)) => {
                lock(&self.state.closing).remove(&sub);
                Ok(false)
            }
            Err(_) => {
                lock(&self.state.closing).remove(&sub);
                Err(EraseError::Unasked)
            }
            // Where it ended before its turn came, another tombstone was first, or the node is stopping.
            Ok(Some(true) | None) if self.take_up(sub)? => Ok(true),
            Ok(_) => Err(EraseError::Unasked),
        }
    }

    /// Takes up an account whose tombstone is durable, whoever wrote it: from now on it is erased, and its secrets are
    /// owed. `false`: it has none.
    fn take_up(&self, sub: Sub) -> Result<bool, KeeperError> {
        if self.is_erased(&sub) {
            return Ok(true);
        }
        if !lock(&self.state.closing).contains(&sub) {
            return Ok(false);
        }
        let Some((Some(erasure), both)) = self.keeper.erased(&sub)? else {
            return Ok(false);
        };
        lock(&self.state.owed).insert(sub);
        self.remember(sub, erasure, both);
        lock(&self.state.closing).remove(&sub);
        tracing::warn!(account = %sub, "erased");
        Ok(true)
    }

    /// Forgets the secrets that are owed, of all accounts together: each time rewrites the vault.
    ///
    /// # Errors
    /// [`KeeperError`]: they are still here, and stay owed.
    async fn forget_owed(&self) -> Result<(), KeeperError> {
        let _one = self.state.forgetting.lock().await;
        let subs: Vec<Sub> = lock(&self.state.owed).iter().copied().collect();
        if subs.is_empty() {
            return Ok(());
        }
        self.keeper.forget_erased(&subs).await?;
        {
            let mut owed = lock(&self.state.owed);
            let mut saying = lock(&self.state.saying);
            for sub in &subs {
                owed.remove(sub);
                saying.release(*sub);
            }
        }
        tracing::warn!(
            accounts = subs.len(),
            "the secrets of erased accounts are gone here"
        );
        if self.role == Role::TrustOperator {
            self.say_now(&subs);
        }
        Ok(())
    }

    /// Says those of these accounts that were not said on this line, at once.
    fn say_now(&self, subs: &[Sub]) {
        for some in subs.chunks(MAX_ERASED) {
            let words = lock(&self.state.saying).unsaid_of(some);
            if words.accounts.is_empty() || self.say(&words) {
                continue;
            }
            // They are in the queue.
            return;
        }
    }

    /// Says what is to be said on this line, as far as the other operator keeps up.
    fn say_some(&self) {
        loop {
            let words = lock(&self.state.saying).next();
            if words.accounts.is_empty() {
                return;
            }
            if !self.say(&words) {
                lock(&self.state.saying).unsent(words);
                return;
            }
        }
    }

    /// `false`: there is no line, or it takes no more for now.
    fn say(&self, words: &Words) -> bool {
        let accounts = words.accounts.clone();
        let said = Message::Log(Box::new(LogMessage::Erased { accounts }));
        let other = self.directory.peer(&Sub::ZERO, self.directory.other());
        let is_sent = match (said.to_frame(), other) {
            (Ok(frame), Some(other)) => self.lines.offer(other, frame),
            (Err(error), _) => {
                tracing::error!(%error, "erased accounts are not told");
                true
            }
            _ => false,
        };
        if is_sent {
            lock(&self.state.saying).sent(words);
        }
        is_sent
    }

    /// A new line: the other operator may be a restored copy.
    pub(super) fn line_up(&self) {
        // What is unread of the line before is said again on this one.
        lock(&self.state.heard).clear();
        self.state.is_new_line.store(true, Ordering::Release);
        self.state.wake.notify_one();
    }

    /// The other operator says that these are erased.
    pub(super) fn hear(&self, accounts: Vec<(Sub, Erasure)>) {
        let said = accounts.into_iter().take(MAX_ERASED);
        lock(&self.state.heard).extend(said.filter(|(sub, _)| self.directory.has(sub)));
        self.state.wake.notify_one();
    }

    /// Looks at what was heard, and answers each frame with one; the accounts that are not erased here.
    async fn look(&self) -> Vec<(Sub, Erasure)> {
        let heard = std::mem::take(&mut *lock(&self.state.heard));
        let heard: Vec<_> = heard.into_iter().collect();
        let mut to_follow = Vec::new();
        for some in heard.chunks(MAX_ERASED) {
            let mut here = Vec::new();
            for (sub, erasure) in some {
                let known = lock(&self.state.saying).erasure(sub);
                if known != Some(*erasure)
                    && let Err(error) = erasure.verify(*sub, &self.broker)
                {
                    tracing::warn!(account = %sub, %error, "an erasure that the broker did not sign");
                } else if known.is_some() {
                    here.push(*sub);
                } else {
                    lock(&self.state.told).insert(*sub, *erasure);
                    to_follow.push((*sub, *erasure));
                }
            }
            if self.role == Role::Broker {
                self.acknowledged(&here).await;
            }
            let unsaid = lock(&self.state.saying).heard(&here);
            if !unsaid.accounts.is_empty() {
                // Where the line takes no more, they stay in the queue.
                self.say(&unsaid);
            }
        }
        to_follow
    }

    /// Broker: the trust operator has its record of these.
    async fn acknowledged(&self, subs: &[Sub]) {
        for some in subs.chunks(CLOSED_AT_ONCE) {
            join_all(some.iter().map(|sub| self.acknowledged_one(*sub))).await;
        }
    }

    async fn acknowledged_one(&self, sub: Sub) {
        let erasure = {
            let saying = lock(&self.state.saying);
            saying.erasure(&sub).filter(|_| !saying.is_both(&sub))
        };
        let Some(erasure) = erasure else {
            return;
        };
        let record = Record::Erased {
            erasure: Some(erasure),
            both: true,
        };
        match self.keeper.append(&sub, &[record]).await {
            Ok(()) => self.remember(sub, erasure, true),
            Err(error) => {
                tracing::error!(account = %sub, %error, "not kept that both operators erased it");
            }
        }
    }

    /// Closes an account that the other operator told, once this copy stands where it should.
    async fn follow(&self, sub: Sub, erasure: Erasure) {
        let closed = async {
            if self.take_up(sub)? {
                return Ok(true);
            }
            if !self.stands_at(sub, erasure.head).await? {
                return Ok(false);
            }
            self.close(sub, erasure, |_| true).await
        };
        match closed.await {
            Ok(true) => {
                lock(&self.state.told).remove(&sub);
                if self.role == Role::Broker {
                    self.acknowledged_one(sub).await;
                }
            }
            Ok(false) | Err(EraseError::Unasked) => {
                tracing::debug!(account = %sub, "to be erased, once this copy has its last block");
            }
            Err(error) => tracing::error!(account = %sub, %error, "not erased"),
        }
    }

    /// Whether this copy's last block of an account is that one, and in the log.
    async fn stands_at(&self, sub: Sub, head: Hash) -> Result<bool, EraseError> {
        let keeper = self.keeper.clone();
        let looked = spawn_blocking(move || {
            let is_there = keeper.head(&sub)? == Some(head);
            Ok::<_, KeeperError>(keeper.height(&sub)?.filter(|_| is_there))
        });
        match looked.await.unwrap_or(Ok(None))? {
            Some(height) => Ok(self.is_logged(sub, height).await?),
            None => {
                // Once it is loaded, it compares heads and catches up.
                self.head(sub).await;
                Ok(false)
            }
        }
    }

    /// Looks at what was heard, and repeats what is owed, for as long as the operator runs.
    pub(super) async fn repeat(self: Arc<Self>) {
        let mut ticks = interval(REPEAT);
        let mut to_follow = VecDeque::new();
        let mut in_tick = false;
        // What is forgotten rewrites the vault, which takes no secret meanwhile.
        let mut forget_from = Instant::now();
        loop {
            if to_follow.is_empty() {
                tokio::select! {
                    _ = ticks.tick() => in_tick = true,
                    () = self.state.wake.notified() => {}
                }
                if in_tick {
                    self.tick();
                    to_follow.extend(lock(&self.state.told).iter().map(|(s, e)| (*s, *e)));
                }
            }
            if !self.keeper.store().is_running() {
                return;
            }
            if self.state.is_new_line.swap(false, Ordering::AcqRel) {
                lock(&self.state.saying).new_line();
            }
            to_follow.extend(self.look().await);
            let some = to_follow.len().min(CLOSED_AT_ONCE);
            let some = to_follow.drain(..some);
            join_all(some.map(|(sub, erasure)| self.follow(sub, erasure))).await;
            if to_follow.is_empty() && (in_tick || Instant::now() >= forget_from) {
                let begun = Instant::now();
                if let Err(error) = self.forget_owed().await {
                    tracing::error!(%error, "secrets of erased accounts are still here, which is tried again");
                }
                forget_from = Instant::now() + begun.elapsed() * REST;
            }
            self.say_some();
            if to_follow.is_empty() && std::mem::take(&mut in_tick) {
                ticks.reset();
            }
        }
    }

    /// What somebody gave up is taken up, and what was not answered is to be said again.
    fn tick(&self) {
        let closing: Vec<Sub> = lock(&self.state.closing).iter().copied().collect();
        for sub in closing {
            if let Err(error) = self.take_up(sub) {
                tracing::error!(account = %sub, %error, "not known whether it is erased");
            }
        }
        lock(&self.state.saying).tick();
    }
}
