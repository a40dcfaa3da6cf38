//! The auditor: what must hold, judged by an outsider from bytes.
//!
//! It sees what lies on each disk, what travels on the wires, what callers were told, and what
//! people did. It reads blocks by its own parser and verifies every signature by itself. It shares
//! no code with the parties: nothing below this directory names the consensus crate, which a test
//! enforces. It never asks a machine anything, and never changes a run.
//!
//! What it holds the parties to is the list "What holds" of docs/protocol.md: an admitted block is
//! signed by all three, by parties that were locked on it durably, and with the number of its page;
//! one sealed block a height, chained and allowed by the status before it; a freeze is not outrun;
//! nothing durable or told is lost; no honest party is blamed, signs two blocks at a height, shows
//! what is not durable, or uses a nonce twice.

mod disk;
pub mod text;
mod told;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use disk::Kept;
use text::{Block, Hash, Party, Sealed, Signatures, vote_bytes};
pub use told::Told;
pub use wire::{Said, SignedCommitment, SignedShare};

/// What everybody pins.
#[derive(Debug, Clone)]
pub struct Pins {
    /// The ledger's origin.
    pub origin: String,
    /// The broker's identity key.
    pub broker: [u8; 32],
    /// The trust operator's.
    pub trust_operator: [u8; 32],
}

/// What a login service asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The relying party.
    pub aud: String,
    /// The challenge.
    pub nonce: String,
    /// The kind's name.
    pub kind: String,
    /// The page's number, once told.
    pub number: Option<u8>,
    /// How it ended, as told first; true: admitted.
    pub ended: Option<bool>,
}

/// A standing wish to freeze: a freeze above this height answers it.
type Above = Option<u64>;

/// One account, seen from outside.
#[derive(Debug, Default)]
pub struct Account {
    keys: Option<Keys>,
    /// Durable sealed blocks by party.
    pub chains: [Vec<Arc<Block>>; 3],
    /// Digests of durable records by party, in order.
    records: [Vec<Hash>; 3],
    /// Every sealed block at a height that an honest party took.
    proven: BTreeMap<u64, Vec<Arc<Block>>>,
    device_locks: BTreeMap<u64, Hash>,
    broker_locks: BTreeMap<u64, Hash>,
    restricts: BTreeMap<u64, Arc<Block>>,
    ever_locked: [BTreeSet<Hash>; 3],
    words: BTreeSet<(u8, Hash)>,
    refused: BTreeSet<Hash>,
    approved: BTreeMap<Hash, BTreeSet<u8>>,
    /// `exp` of every proposal seen on a wire.
    exps: BTreeMap<Hash, u64>,
    /// The operators' commitments that a device may give its share for, by block.
    offered: BTreeMap<Hash, Offered>,
    freeze: [Above; 3],
    denied: [BTreeSet<Hash>; 3],
    /// Which block each commitment of a party was signed for, and the share given with it.
    commitments: BTreeMap<(Party, Vec<u8>), (Hash, Option<Hash>)>,
    /// The commitments that device and broker made for a block since they started.
    tries: BTreeMap<(Party, Hash), BTreeSet<[u8; 64]>>,
    /// When the trust operator sealed the last freeze, as it wrote down, in milliseconds.
    frozen_at: Option<u64>,
    /// It wrote that down anew, which only another freeze explains.
    refrozen: bool,
    /// Blocks told as admitted, in order.
    pub admitted: Vec<Hash>,
    asked: BTreeMap<[u8; 16], Asked>,
    /// The genesis was told dead, by party.
    pub dead: [bool; 3],
}

/// Commitments to one block that were seen on a wire, 64 bytes each.
#[derive(Debug, Clone, Default)]
struct Offered {
    /// The broker's, which no vote covers before its share's.
    broker: BTreeSet<[u8; 64]>,
    /// The trust operator's, with its vote.
    trust_operator: BTreeSet<[u8; 64]>,
}

impl Offered {
    fn pairs(&self) -> impl Iterator<Item = (&[u8; 64], &[u8; 64])> {
        let theirs = &self.trust_operator;
        self.broker
            .iter()
            .flat_map(move |own| theirs.iter().map(move |t| (own, t)))
    }
}

#[derive(Debug, Clone)]
struct Keys {
    sub: String,
    account: [u8; 32],
    parties: [[u8; 32]; 3],
}

/// See the module.
#[derive(Debug)]
pub struct Auditor {
    pins: Pins,
    /// Who may cheat in this world.
    pub cheats: [bool; 3],
    /// Who was set back to an older copy of itself.
    pub restored: [bool; 3],
    /// The broker crashed, so that it may tell an end again.
    pub broker_crashed: bool,
    /// What is kept now was kept earlier, and is only read again.
    pub reads_back: bool,
    /// The trust operator's policy: seconds from a freeze to the earliest unfreeze.
    pub unfreeze_delay_s: u64,
    /// The accounts.
    pub accounts: Vec<Account>,
    /// What did not hold.
    pub violations: Vec<String>,
    /// What was judged, by kind: a run that judged nothing proves nothing.
    pub judged: BTreeMap<&'static str, u64>,
    signatures: Signatures,
    read: BTreeMap<Hash, Arc<Sealed>>,
}

impl Account {
    /// Frozen or revoked, by the blocks on this party's disk.
    #[must_use]
    pub fn status(&self, party: Party) -> (bool, bool) {
        let (mut frozen, mut revoked) = (false, false);
        for block in &self.chains[party.at()] {
            match block.kind.as_str() {
                "freeze" => frozen = true,
                "unfreeze" => frozen = false,
                "revoke" => revoked = true,
                _ => {}
            }
        }
        (frozen, revoked)
    }

    fn holds(&self, party: Party, height: u64, hash: &Hash) -> bool {
        let place = usize::try_from(height).ok();
        let block = place.and_then(|place| self.chains[party.at()].get(place));
        block.is_some_and(|block| block.hash == *hash)
    }

    /// The height of a block at or after the last unfreeze (else genesis), if it is one.
    fn since_unfreeze(&self, party: Party, hash: &Hash) -> Above {
        let chain = &self.chains[party.at()];
        let since = chain
            .iter()
            .rposition(|b| b.kind == "unfreeze")
            .unwrap_or(0);
        let place = chain.iter().skip(since).find(|b| b.hash == *hash)?;
        Some(place.height)
    }

    /// The height above which a word asks for a freeze, if it counts for this party and nothing
    /// answered it.
    fn freeze_asked(&self, party: Party, verb: u8, hash: &Hash, proposal: Option<&Block>) -> Above {
        let above = match (verb, proposal) {
            (FREEZE, _) => self.since_unfreeze(party, hash)?,
            (DISOWN, Some(block)) => self.since_unfreeze(party, &block.prev)?,
            _ => return None,
        };
        let answers =
            |b: &Arc<Block>| b.kind == "revoke" || (b.kind == "freeze" && b.height > above);
        (!self.chains[party.at()].iter().any(answers)).then_some(above)
    }
}

const ASSENT: u8 = 1;
const ENDORSE: u8 = 2;
const SEAL: u8 = 3;
const DENY: u8 = 4;
const DISOWN: u8 = 5;
const FREEZE: u8 = 6;
const COMMITMENT: u8 = 7;
const SHARE: u8 = 8;
const TRANSCRIPT: u8 = 9;
const HEAD: u8 = 10;

impl Auditor {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(pins: Pins, accounts: usize, cheats: [bool; 3]) -> Self {
        Self {
            pins,
            cheats,
            restored: [false; 3],
            broker_crashed: false,
            reads_back: false,
            unfreeze_delay_s: 0,
            accounts: (0..accounts).map(|_| Account::default()).collect(),
            violations: vec![],
            judged: BTreeMap::new(),
            signatures: Signatures::default(),
            read: BTreeMap::new(),
        }
    }

    /// Whether this party keeps to the rules.
    #[must_use]
    pub fn honest(&self, party: Party) -> bool {
        !self.cheats[party.at()]
    }

    /// Honest, and never set back to an older copy.
    fn sound(&self, party: Party) -> bool {
        self.honest(party) && !self.restored[party.at()]
    }

    /// Something does not hold, found here or by the world.
    pub fn failed(&mut self, account: usize, what: String) {
        self.violations.push(format!("account {account}: {what}"));
    }

    fn count(&mut self, what: &'static str) {
        *self.judged.entry(what).or_default() += 1;
    }

    /// Whether a party of the account voted so.
    fn voted(
        &mut self,
        account: usize,
        party: Party,
        verb: u8,
        hash: &Hash,
        vote: &[u8; 64],
    ) -> bool {
        let Some(keys) = &self.accounts[account].keys else {
            return false;
        };
        let message = vote_bytes(verb, party, &keys.sub, hash);
        let key = keys.parties[party.at()];
        self.signatures.is_by(&key, &message, vote)
    }

    fn sealed(&mut self, json: &str) -> Result<Arc<Sealed>, String> {
        let name = *blake3::hash(json.as_bytes()).as_bytes();
        if let Some(known) = self.read.get(&name) {
            return Ok(Arc::clone(known));
        }
        let sealed = Arc::new(Sealed::read(json)?);
        self.read.insert(name, Arc::clone(&sealed));
        Ok(sealed)
    }

    /// A login service asked its broker for something.
    pub fn asked(&mut self, account: usize, login: [u8; 16], asked: Asked) {
        self.accounts[account].asked.insert(login, asked);
    }

    /// The customer typed this number for this proposal.
    pub fn approved(&mut self, account: usize, hash: Hash, number: u8) {
        let approved = &mut self.accounts[account].approved;
        approved.entry(hash).or_default().insert(number);
    }

    /// A party's disk was set back to a copy that holds so many records of this account.
    pub fn set_back(&mut self, account: usize, party: Party, records: usize, blocks: usize) {
        self.restored[party.at()] = true;
        let seen = &mut self.accounts[account];
        seen.records[party.at()].truncate(records);
        seen.chains[party.at()].truncate(blocks);
        seen.freeze[party.at()] = None;
        seen.denied[party.at()].clear();
        if party == Party::TrustOperator {
            // A block that only the lost copy held was never seen by anyone.
            let known = seen.chains[0].len().max(seen.chains[1].len()) as u64;
            seen.proven.retain(|height, _| *height < known);
        }
    }

    /// At the end of a run, after calm: chains agree, and hold all that was told.
    pub fn at_rest(&mut self) {
        for account in 0..self.accounts.len() {
            for pair in [(0, 1), (1, 2), (0, 2)] {
                self.prefixes(account, Party::ALL[pair.0], Party::ALL[pair.1]);
            }
            for hash in self.accounts[account].admitted.clone() {
                for party in [Party::Broker, Party::TrustOperator] {
                    let chain = &self.accounts[account].chains[party.at()];
                    let times = chain.iter().filter(|b| b.hash == hash).count();
                    if self.honest(party) && times != 1 {
                        let hash = text::short(&hash);
                        let what = format!(
                            "admitted block {hash} is {times} times in the {party}'s chain"
                        );
                        self.failed(account, what);
                    }
                }
            }
        }
    }

    /// After calm with honest operators: whoever asked for a freeze has it.
    pub fn no_freeze_forgotten(&mut self) {
        for account in 0..self.accounts.len() {
            for party in Party::ALL {
                let standing = self.accounts[account].freeze[party.at()];
                if self.sound(party)
                    && let Some(above) = standing
                {
                    let what =
                        format!("a freeze above {above} that the {party} took in was never sealed");
                    self.failed(account, what);
                }
            }
        }
    }

    fn prefixes(&mut self, account: usize, one: Party, two: Party) {
        if !self.honest(one) || !self.honest(two) {
            return;
        }
        let chains = &self.accounts[account].chains;
        let pairs = chains[one.at()].iter().zip(&chains[two.at()]);
        let apart = pairs.into_iter().position(|(a, b)| a.hash != b.hash);
        // A cheating trust operator may show the two halves of a superseded pair, see `proven`.
        if let Some(height) = apart.filter(|_| self.honest(Party::TrustOperator)) {
            self.failed(
                account,
                format!("chains of the {one} and the {two} part at {height}"),
            );
        }
    }
}
