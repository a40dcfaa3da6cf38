//! One worker's accounts: each chain verified from its payloads, each leaf against its block.
//!
//! Accounts are dealt out to workers, so that everything about one stands with one. An account costs the same whatever the
//! length of its chain; a block whose leaf did not come yet waits in memory. Where there are too many accounts, some are
//! left out for the next pass.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use warifu_client_sdk::{runtime::KeptOpeners, store::HeadMove};
use warifu_consensus::{
    agree::{Erasure, Record},
    block::Sealed,
    chain::Account,
    encoding::Hash,
    log::Leaf,
    party::{Ledger, Sub},
    wire,
};

use super::{
    fault::{At, Fault, named},
    range::Range,
    signatures::{Mode, Signatures},
};
use crate::export::MAX_ENTRY;

/// What a worker is given.
pub(super) enum Item {
    /// A record of an account's stream.
    Entries {
        at: At,
        sub: Sub,
        head: Option<HeadMove>,
        entries: Vec<Vec<u8>>,
    },
    /// A leaf of the log, and which block its record says that it is of.
    Leaf {
        at: At,
        sub: Sub,
        height: u64,
        leaf: Leaf,
        index: u64,
    },
}

impl Item {
    pub(super) const fn sub(&self) -> &Sub {
        match self {
            Self::Entries { sub, .. } | Self::Leaf { sub, .. } => sub,
        }
    }
}

/// What a worker found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) accounts: u64,
    pub(super) blocks: u64,
    pub(super) signatures: u64,
    /// Leaves that are their blocks'.
    pub(super) leaves: u64,
    /// Leaves of accounts whose opener is gone.
    pub(super) erased: u64,
    /// Blocks that are younger than the last batch.
    pub(super) unlogged: u64,
    /// Erased accounts whose secrets are in the vault.
    pub(super) remaining: Named,
    /// Of a node that runs: accounts that were not erased, and whose opener is not in the vault.
    pub(super) closed: Named,
}

/// How many accounts, and the first of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Named {
    pub(super) count: u64,
    pub(super) first: Option<Sub>,
}

impl Named {
    fn add(&mut self, sub: Sub) {
        *self = self.and(Self {
            count: 1,
            first: Some(sub),
        });
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            first: self.first.into_iter().chain(other.first).min(),
        }
    }

    /// In words; `None` if there is none.
    pub(super) fn told(self, what: &str) -> Option<String> {
        let (count, first) = (self.count, self.first?);
        let plural = if count == 1 { "" } else { "s" };
        Some(format!("{count} {what} account{plural}, the first {first}"))
    }
}

impl Counts {
    fn of(&mut self, state: &State) {
        let is_open = u64::from(state.account.is_some());
        self.accounts = self.accounts.saturating_add(is_open);
        self.blocks = self.blocks.saturating_add(state.blocks);
        self.signatures = self.signatures.saturating_add(state.signatures);
        self.leaves = self.leaves.saturating_add(state.opened);
        self.erased = self.erased.saturating_add(state.closed);
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            accounts: self.accounts.saturating_add(other.accounts),
            blocks: self.blocks.saturating_add(other.blocks),
            signatures: self.signatures.saturating_add(other.signatures),
            leaves: self.leaves.saturating_add(other.leaves),
            erased: self.erased.saturating_add(other.erased),
            unlogged: self.unlogged.saturating_add(other.unlogged),
            remaining: self.remaining.and(other.remaining),
            closed: self.closed.and(other.closed),
        }
    }
}

#[derive(Default)]
struct State {
    account: Option<Account>,
    blocks: u64,
    signatures: u64,
    /// Leaves that are their blocks', and leaves that only an opener which is gone could tell so.
    opened: u64,
    closed: u64,
    /// The head of the account's stream.
    stands: Option<[u8; 32]>,
    /// Without a leaf yet, by height.
    waiting: BTreeMap<u64, (Hash, At)>,
    /// Leaves that came before their blocks, as a restored copy has them.
    ahead: BTreeMap<u64, (Leaf, u64, At)>,
    /// The first leaf that could not be opened, for want of an opener.
    unopened: Option<(u64, At)>,
    /// The account has a tombstone.
    is_erased: bool,
}

/// What all workers share.
pub(super) struct Shared<'a> {
    /// Where the journal's segments lie.
    pub(super) dir: &'a Path,
    pub(super) ledger: &'a Ledger,
    /// `None` where the vault is not looked at: leaves are then only hashed.
    pub(super) vault: Option<&'a KeptOpeners>,
    pub(super) mode: Mode,
    /// The accounts that are looked at, and how many of them at most at one worker.
    pub(super) range: &'a Range,
    pub(super) most: usize,
    /// Blocks get leaves here: not at a device.
    pub(super) is_logged: bool,
    /// The node runs: what it erases meanwhile has its tombstone behind what is read.
    pub(super) is_running: bool,
}

/// See the module.
pub(super) struct Accounts<'a> {
    shared: &'a Shared<'a>,
    states: HashMap<Sub, State>,
    signatures: Signatures<(At, Sub, u64)>,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            shared,
            states: HashMap::new(),
            signatures: Signatures::new(shared.mode),
        }
    }

    /// # Errors
    /// The first [`Fault`].
    pub(super) fn take(&mut self, item: Item) -> Result<(), Fault> {
        let range = self.shared.range;
        if self.states.len() > self.shared.most {
            range.leave_out_some(self.states.keys().copied());
            self.states.retain(|sub, _| range.holds(sub));
        }
        // Only now: whoever was just left out is not begun again.
        if !range.holds(item.sub()) {
            return Ok(());
        }
        match item {
            Item::Entries {
                at,
                sub,
                head,
                entries,
            } => {
                self.moved(at, sub, head)?;
                for entry in &entries {
                    self.entry(at, sub, entry)?;
                }
                Ok(())
            }
            Item::Leaf {
                at,
                sub,
                height,
                leaf,
                index,
            } => self.leaf(at, sub, height, (leaf, index)),
        }
    }

    /// A record moves its stream's head from where it stood, or no node would open the journal.
    fn moved(&mut self, at: At, sub: Sub, head: Option<HeadMove>) -> Result<(), Fault> {
        let Some(step) = head else { return Ok(()) };
        let stood = self
            .states
            .entry(sub)
            .or_default()
            .stands
            .replace(step.next);
        if stood == step.expected {
            return Ok(());
        }
        let found =
            format!("record of account {sub} moves its stream's head from another than it has");
        Err(at.fault(self.shared.dir, found))
    }

    fn entry(&mut self, at: At, sub: Sub, entry: &[u8]) -> Result<(), Fault> {
        let dir = self.shared.dir;
        let record = wire::decode::<Record, MAX_ENTRY>(entry)
            .map_err(|error| at.fault(dir, format!("entry of account {sub}: {error}")))?;
        self.states.entry(sub).or_default().is_erased |= matches!(record, Record::Erased { .. });
        match record {
            Record::Erased { erasure, .. } => self.tombstone(at, sub, erasure),
            Record::Sealed(sealed) => self.sealed(at, sub, &sealed),
            Record::Conflict(sealed) => {
                let height = sealed.block.claims().height;
                let found = format!("{}: a second block is sealed here", named(&sub, height));
                Err(at.fault(dir, found))
            }
            _ => Ok(()),
        }
    }

    /// At an operator: whether the broker said it, of this account and its last block.
    fn tombstone(&self, at: At, sub: Sub, erasure: Option<Erasure>) -> Result<(), Fault> {
        if !self.shared.is_logged {
            return Ok(());
        }
        let fault = |found: String| {
            at.fault(
                self.shared.dir,
                format!("tombstone of account {sub}: {found}"),
            )
        };
        let erasure = erasure.ok_or_else(|| fault("has no word of the broker".to_owned()))?;
        let word = erasure.verify(sub, &self.shared.ledger.broker);
        word.map_err(|error| fault(format!("the broker's word: {error}")))?;
        let account = self
            .states
            .get(&sub)
            .and_then(|state| state.account.as_ref());
        let head = account.map(|account| account.head().hash);
        if head == Some(erasure.head) {
            return Ok(());
        }
        let found = head.map_or_else(|| "none".to_owned(), |head| head.to_string());
        Err(fault(format!(
            "names block {}, but the last one here is {found}",
            erasure.head
        )))
    }

    fn sealed(&mut self, at: At, sub: Sub, sealed: &Sealed) -> Result<(), Fault> {
        let dir = self.shared.dir;
        let claims = sealed.block.claims();
        if claims.sub != sub {
            let found = format!(
                "block of account {} in the stream of account {sub}",
                claims.sub
            );
            return Err(at.fault(dir, found));
        }
        let height = claims.height;
        let signatures = &mut self.signatures;
        let mut count = 0_u64;
        let verify = &mut |public: &[u8; 32], message: &[u8], signature: &[u8; 64]| {
            count = count.saturating_add(1);
            signatures.take(public, message, signature, (at, sub, height))
        };
        let state = self.states.entry(sub).or_default();
        if state.is_erased && self.shared.is_logged {
            let found = format!(
                "{} is sealed behind the account's tombstone",
                named(&sub, height)
            );
            return Err(at.fault(dir, found));
        }
        let folded = match &mut state.account {
            Some(account) => account.next_by(sealed, verify),
            None => Account::open_by(self.shared.ledger, sealed, verify)
                .map(|account| state.account = Some(account)),
        };
        folded.map_err(|error| at.fault(dir, error.to_string()))?;
        state.blocks = state.blocks.saturating_add(1);
        state.signatures = state.signatures.saturating_add(count);
        if self.shared.is_logged {
            let hash = sealed.block.hash();
            match state.ahead.remove(&height) {
                None => drop(state.waiting.insert(height, (hash, at))),
                Some((leaf, index, logged)) => {
                    self.opens(logged, sub, (height, hash), (leaf, index))?;
                }
            }
        }
        self.settle(false)
    }

    fn leaf(&mut self, at: At, sub: Sub, height: u64, leaf: (Leaf, u64)) -> Result<(), Fault> {
        let state = self.states.entry(sub).or_default();
        if let Some((hash, _)) = state.waiting.remove(&height) {
            return self.opens(at, sub, (height, hash), leaf);
        }
        let head = state.account.as_ref().map(|account| account.head().height);
        let is_known = head.is_some_and(|head| head >= height);
        let (leaf, index) = leaf;
        if is_known || state.ahead.insert(height, (leaf, index, at)).is_some() {
            let found = format!("leaf {index}: {} has a leaf already", named(&sub, height));
            return Err(at.fault(self.shared.dir, found));
        }
        Ok(())
    }

    /// Whether a leaf is its block's.
    fn opens(
        &mut self,
        at: At,
        sub: Sub,
        (height, hash): (u64, Hash),
        (leaf, index): (Leaf, u64),
    ) -> Result<(), Fault> {
        let opener = self.shared.vault.map(|vault| vault.openers.get(&sub));
        let state = self.states.entry(sub).or_default();
        match opener {
            None => Ok(()),
            Some(None) => {
                state.closed = state.closed.saturating_add(1);
                state.unopened.get_or_insert((index, at));
                Ok(())
            }
            Some(Some(opener)) if opener.leaf(&hash) == leaf => {
                state.opened = state.opened.saturating_add(1);
                Ok(())
            }
            Some(Some(_)) => {
                let found = format!("leaf {index} is not that of {}", named(&sub, height));
                Err(at.fault(self.shared.dir, found))
            }
        }
    }

    fn settle(&mut self, all: bool) -> Result<(), Fault> {
        self.signatures.settle(all).map_err(|(at, sub, height)| {
            let found = format!("{}: a signature does not verify", named(&sub, height));
            at.fault(self.shared.dir, found)
        })
    }

    /// The end of the journal: what still waits must be younger than the last batch, which looked through the journal up
    /// to `through`.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub(super) fn finish(mut self, through: Option<At>) -> Result<Counts, Fault> {
        self.settle(true)?;
        let dir = self.shared.dir;
        let range = self.shared.range;
        let mut counts = Counts::default();
        for (sub, state) in self.states.iter().filter(|(sub, _)| range.holds(sub)) {
            counts.of(state);
            for (height, (_, at)) in &state.waiting {
                if through.is_some_and(|through| *at <= through) {
                    let found = format!(
                        "{} has no leaf, though the log was made through here",
                        named(sub, *height)
                    );
                    return Err(at.fault(dir, found));
                }
                counts.unlogged = counts.unlogged.saturating_add(1);
            }
            let vault = self.shared.vault;
            if state.is_erased && vault.is_some_and(|vault| vault.holders.contains_key(sub)) {
                counts.remaining.add(*sub);
            }
            match state.unopened.filter(|_| !state.is_erased) {
                None => {}
                // Its tombstone may stand behind what is read.
                Some(_) if self.shared.is_running => counts.closed.add(*sub),
                // Who deletes an opener alone would keep everybody from seeing whose the leaves are.
                Some((index, at)) => {
                    let found = format!(
                        "leaf {index} is of account {sub}, whose opener is not in the vault though it was not erased (a restored copy that was not given it yet?)"
                    );
                    return Err(at.fault(dir, found));
                }
            }
            if let Some((height, (_, index, at))) = state.ahead.first_key_value() {
                let found = format!(
                    "leaf {index} is of {}, which this journal does not hold (a restored copy that has not caught up?)",
                    named(sub, *height)
                );
                return Err(at.fault(dir, found));
            }
        }
        Ok(counts)
    }
}
