//! Erasing an account, at either operator (protocol rule 11): first a tombstone in its stream, then its secrets go.
//!
//! The broker decides, and signs that it did; the trust operator follows once it holds the same last block and its
//! leaf. Each tells the other on every new line what is erased, so that a restored copy learns it again and
//! takes no key back: what it obeys is the broker's own signature, never the other's word. Never undone.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::interval,
};
use warifu_client_sdk::runtime::{Accounts, Keeper, KeeperError, Machine};
use warifu_consensus::{
    agree::{Erasure, Output, Record},
    chain::{Head, Status},
    log::{LogMessage, MAX_ERASED},
    party::{Role, Sub},
    signature::IdentityKey,
    vote::{Statement, Verb, Vote},
    wire::{Agree, MAX_BLOCKS_BYTES, Message, Reason},
};

use super::{directory::Directory, lines::OperatorLines, lock};
use crate::{
    log::{LogBook, LogError},
    store::NodeStore,
};

/// Between two tries of what the other operator has not answered, or this copy can't follow yet.
const REPEAT: Duration = Duration::from_secs(3);

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
    /// The account has no chain here, or its machine is gone.
    #[error("the account can't be asked")]
    Unasked,
    /// Journal or vault.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// An erased account as it is known here.
#[derive(Clone, Copy, Debug)]
struct Known {
    erasure: Erasure,
    both: bool,
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
    known: Mutex<HashMap<Sub, Known>>,
    /// Told by the other operator, and not looked at yet: one of each account of this ledger at most.
    heard: Mutex<HashMap<Sub, Erasure>>,
    wake: Notify,
    /// Told by the other operator, verified, and not followed yet; and erased, but not all forgotten.
    told: Mutex<HashMap<Sub, Erasure>>,
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
        lock(&self.state.known).insert(sub, Known { erasure, both });
        self.state.changed().send_modify(|changes| *changes += 1);
    }

    /// Whether an account is erased here.
    pub(super) fn is_erased(&self, sub: &Sub) -> bool {
        lock(&self.state.known).contains_key(sub)
    }

    /// Deletes what a crash, or an older vault, left of erased accounts' secrets.
    pub(super) async fn forget_again(&self) -> Result<(), KeeperError> {
        let subs: Vec<Sub> = lock(&self.state.known).keys().copied().collect();
        if self.keeper.forget_erased(&subs).await? {
            tracing::warn!("the vault held secrets of erased accounts: deleted again");
        }
        Ok(())
    }

    /// Ready once both operators have their record of it, at most after `wait`; whether they have.
    pub(super) async fn both(&self, sub: &Sub, wait: Duration) -> bool {
        let mut changed = self.state.changed().subscribe();
        let both = || lock(&self.state.known).get(sub).is_some_and(|k| k.both);
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

    async fn head(&self, sub: Sub) -> Option<(Head, Status)> {
        let asked = self.accounts.with(sub, |machine, _| {
            let base = machine.base();
            (base.head().zip(base.status()), Vec::new())
        });
        asked.await.flatten()
    }

    /// Broker: erases an account. `rests` says of its machine that nothing is under way.
    ///
    /// # Errors
    /// [`EraseError`]; nothing was changed, but after [`EraseError::Keeper`] the account may be erased.
    pub(super) async fn erase(
        self: &Arc<Self>,
        sub: Sub,
        rests: impl FnOnce(&M) -> bool + Send + 'static,
    ) -> Result<(), EraseError> {
        let (head, found) = self.head(sub).await.ok_or(EraseError::Unasked)?;
        if found == Status::Active {
            return Err(EraseError::NotFrozen { found });
        }
        let Head { height, hash } = head;
        if !self.is_logged(sub, height).await? {
            return Err(EraseError::Unlogged { height });
        }
        let vote = Vote::sign(&self.key, &Erasure::statement(sub, hash));
        let erasure = Erasure { head: hash, vote };
        if self.close(sub, erasure, rests).await? {
            self.say(&[(sub, erasure)]);
            return Ok(());
        }
        Err(EraseError::NotFrozen { found })
    }

    /// Writes the tombstone, if the account's last block is the named one and it admits nothing, and forgets.
    async fn close(
        &self,
        sub: Sub,
        erasure: Erasure,
        rests: impl FnOnce(&M) -> bool + Send + 'static,
    ) -> Result<bool, KeeperError> {
        let both = self.role == Role::TrustOperator;
        let fits = move |machine: &M| {
            let base = machine.base();
            base.head().is_some_and(|head| head.hash == erasure.head)
                && base.status().is_some_and(|is| is != Status::Active)
                && rests(machine)
        };
        let closed = self.accounts.with(sub, move |machine: &mut M, _| {
            let fits = fits(machine);
            let record = Record::Erased {
                erasure: Some(erasure),
                both,
            };
            (
                fits,
                fits.then_some(Output::Store(record)).into_iter().collect(),
            )
        });
        if closed.await != Some(true) {
            return Ok(false);
        }
        // It takes no further question: when this one is not answered, the tombstone is durable, or the node stops.
        let answer = self.accounts.with(sub, |_, _| ((), Vec::new())).await;
        if answer.is_some() || self.keeper.erased(&sub)?.is_none() {
            return Ok(false);
        }
        self.remember(sub, erasure, both);
        self.forget(sub, erasure).await?;
        tracing::warn!(account = %sub, "erased: its secrets are gone here");
        Ok(true)
    }

    /// Forgets an erased account's secrets; until that is done, it is owed.
    async fn forget(&self, sub: Sub, erasure: Erasure) -> Result<(), KeeperError> {
        lock(&self.state.told).insert(sub, erasure);
        self.keeper.forget_erased(&[sub]).await?;
        lock(&self.state.told).remove(&sub);
        Ok(())
    }

    /// Forgets what is owed of an erased account.
    ///
    /// # Errors
    /// [`KeeperError`]: its secrets are still here.
    pub(super) async fn forget_owed(&self, sub: Sub) -> Result<(), KeeperError> {
        match self.owes(&sub) {
            Some(erasure) => self.forget(sub, erasure).await,
            None => Ok(()),
        }
    }

    fn owes(&self, sub: &Sub) -> Option<Erasure> {
        lock(&self.state.told).get(sub).copied()
    }

    fn say(&self, accounts: &[(Sub, Erasure)]) {
        let other = self.directory.peer(&Sub::ZERO, self.directory.other());
        for some in accounts.chunks(MAX_ERASED) {
            let accounts = some.to_vec();
            let said = Message::Log(Box::new(LogMessage::Erased { accounts }));
            match (said.to_frame(), other) {
                (Ok(frame), Some(other)) => self.lines.send_to(other, frame),
                (Err(error), _) => tracing::error!(%error, "erased accounts are not told"),
                _ => {}
            }
        }
    }

    fn accounts_known(&self, wanted: impl Fn(&Known) -> bool) -> Vec<(Sub, Erasure)> {
        let owed: HashSet<Sub> = match self.role {
            Role::TrustOperator => lock(&self.state.told).keys().copied().collect(),
            _ => HashSet::new(),
        };
        let known = lock(&self.state.known);
        let each = known
            .iter()
            .filter(|(sub, known)| wanted(known) && !owed.contains(sub));
        each.map(|(sub, known)| (*sub, known.erasure)).collect()
    }

    /// A new line: the other operator may be a restored copy.
    pub(super) fn line_up(&self) {
        self.say(&self.accounts_known(|_| true));
    }

    /// The other operator says that these are erased.
    pub(super) fn hear(&self, accounts: Vec<(Sub, Erasure)>) {
        let said = accounts.into_iter().take(MAX_ERASED);
        lock(&self.state.heard).extend(said.filter(|(sub, _)| self.directory.has(sub)));
        self.state.wake.notify_one();
    }

    async fn hear_one(&self, sub: Sub, erasure: Erasure) {
        if let Err(error) = erasure.verify(sub, &self.broker) {
            tracing::warn!(account = %sub, %error, "an erasure that the broker did not sign");
            return;
        }
        if !self.is_erased(&sub) {
            lock(&self.state.told).insert(sub, erasure);
            self.follow(sub, erasure).await;
            return;
        }
        if self.role == Role::TrustOperator {
            // The broker takes it for done.
            if self.owes(&sub).is_none() {
                self.say(&[(sub, erasure)]);
            }
        } else if let Err(error) = self.acknowledged(sub).await {
            tracing::error!(account = %sub, %error, "not kept that both operators erased it");
        }
    }

    /// Broker: the trust operator has its record.
    async fn acknowledged(&self, sub: Sub) -> Result<(), KeeperError> {
        let Some(known) = lock(&self.state.known).get(&sub).copied() else {
            return Ok(());
        };
        if known.both {
            return Ok(());
        }
        let record = Record::Erased {
            erasure: Some(known.erasure),
            both: true,
        };
        self.keeper.append(&sub, &[record]).await?;
        self.remember(sub, known.erasure, true);
        Ok(())
    }

    /// Erases what the other operator told, once this copy stands where it should.
    async fn follow(&self, sub: Sub, erasure: Erasure) {
        if self.is_erased(&sub) {
            // Closed before, but not all was forgotten.
            if let Err(error) = self.forget(sub, erasure).await {
                tracing::error!(account = %sub, %error, "its secrets are still here");
            }
            return;
        }
        let followed = async {
            let Some((head, _)) = self.head(sub).await else {
                return Ok(false);
            };
            if head.hash != erasure.head || !self.is_logged(sub, head.height).await? {
                return Ok(false);
            }
            Ok::<_, EraseError>(self.close(sub, erasure, |_| true).await?)
        };
        match followed.await {
            Ok(true) => {
                lock(&self.state.told).remove(&sub);
                if self.role == Role::TrustOperator {
                    self.say(&[(sub, erasure)]);
                } else if let Err(error) = self.acknowledged(sub).await {
                    tracing::error!(account = %sub, %error, "not kept that both operators erased it");
                }
            }
            Ok(false) => {
                tracing::debug!(account = %sub, "to be erased, once this copy has its last block")
            }
            Err(error) => tracing::error!(account = %sub, %error, "not erased"),
        }
    }

    /// Looks at what was heard, and repeats what is owed, for as long as the operator runs.
    pub(super) async fn repeat(self: Arc<Self>) {
        let mut ticks = interval(REPEAT);
        loop {
            let is_tick = tokio::select! {
                _ = ticks.tick() => true,
                () = self.state.wake.notified() => false,
            };
            if !self.keeper.store().is_running() {
                return;
            }
            self.look().await;
            if !is_tick {
                continue;
            }
            let told: Vec<_> = lock(&self.state.told)
                .iter()
                .map(|(sub, erasure)| (*sub, *erasure))
                .collect();
            for (sub, erasure) in told {
                self.follow(sub, erasure).await;
                self.look().await;
            }
            let owed = self.accounts_known(|known| !known.both);
            if !owed.is_empty() {
                self.say(&owed);
            }
            ticks.reset();
        }
    }

    /// Looks at what was heard.
    async fn look(&self) {
        let heard = std::mem::take(&mut *lock(&self.state.heard));
        for (sub, erasure) in heard {
            self.hear_one(sub, erasure).await;
        }
    }

    /// Answers the other operator about an erased account, which has no machine: where its chain ends, and the
    /// blocks, so that a restored copy catches up; and no to everything else. `true`: it is erased.
    pub(super) fn answers(&self, sub: Sub, from: Role, agree: &Agree) -> bool {
        if !self.is_erased(&sub) {
            return false;
        }
        let answer = match agree {
            Agree::HeadIs { ask: true, .. } => self.head_is(sub),
            Agree::BlocksFrom { height } => self.blocks_from(sub, *height),
            Agree::Prepare { block } => Some(Agree::Refused {
                hash: block.hash(),
                reason: Reason::Rule("the account is erased".to_owned()),
            }),
            _ => None,
        };
        let peer = self.directory.peer(&sub, from);
        if let (Some(agree), Some(peer)) = (answer, peer) {
            let agree = Box::new(agree);
            match (Message::Agree { sub, agree }).to_frame() {
                Ok(frame) => self.lines.send_to(peer, frame),
                Err(error) => tracing::error!(account = %sub, %error, "not answered"),
            }
        }
        true
    }

    fn head_is(&self, sub: Sub) -> Option<Agree> {
        let height = self.keeper.height(&sub).ok().flatten()?;
        let hash = self.keeper.head(&sub).ok().flatten()?;
        let said = Statement {
            verb: Verb::Head,
            role: self.role,
            sub,
            hash,
        };
        Some(Agree::HeadIs {
            head: Some(Head { height, hash }),
            vote: Some(Vote::sign(&self.key, &said)),
            ask: false,
            notice: false,
        })
    }

    fn blocks_from(&self, sub: Sub, from: u64) -> Option<Agree> {
        let until = self.keeper.height(&sub).ok().flatten()?;
        let sealed = self.keeper.blocks(&sub, from, until, MAX_BLOCKS_BYTES);
        sealed.ok().map(|sealed| Agree::Blocks { sealed })
    }
}
