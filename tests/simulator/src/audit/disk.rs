//! What lies on a disk: records in order, what sealed blocks must be, and that nothing vanishes.

use super::{
    ASSENT, Arc, Auditor, Block, DENY, DISOWN, ENDORSE, FREEZE, Hash, Keys, Party, SEAL, Sealed,
    TRANSCRIPT, text,
};

/// How far ahead of a clock a time may lie, in milliseconds.
const AHEAD_MS: u64 = 30_000;

/// What a durable record says, as far as an outsider cares.
#[derive(Debug, Clone)]
pub enum Kept {
    /// An account was founded.
    Founding {
        /// Its public key.
        account_key: [u8; 32],
        /// Identity keys by party.
        parties: [[u8; 32]; 3],
        /// The account's name, 22 characters.
        sub: String,
    },
    /// A sealed block, in its JSON form.
    Sealed(String),
    /// The party's admit lock: a signing input.
    Lock(String),
    /// The broker's signature of a restrict block: its signing input.
    Restrict(String),
    /// A word of the device: verb, hash, the proposal's signing input.
    Word(u8, Hash, Option<String>),
    /// The broker wants a freeze.
    FreezeWanted,
    /// When the trust operator sealed the freeze that follows, or says that it did, by its own clock.
    FrozenAt(u64),
    /// Two sealed blocks at one height.
    Conflict,
    /// Something else.
    Other,
}

impl Auditor {
    /// A record became durable on a party's disk, at this time of the party's own clock in
    /// milliseconds. `late`: it may be lost again without harm.
    pub fn kept(
        &mut self,
        account: usize,
        party: Party,
        bytes: &[u8],
        late: bool,
        kept: &Kept,
        now: u64,
    ) {
        if !late {
            let digest = *blake3::hash(bytes).as_bytes();
            self.accounts[account].records[party.at()].push(digest);
        }
        match kept {
            Kept::Founding {
                account_key,
                parties,
                sub,
            } => {
                let keys = Keys {
                    sub: sub.clone(),
                    account: *account_key,
                    parties: *parties,
                };
                self.accounts[account].keys = Some(keys);
            }
            Kept::Sealed(json) => match self.sealed(json) {
                Ok(sealed) => self.kept_sealed(account, party, &sealed, now),
                Err(why) => self.failed(
                    account,
                    format!("the {party} stored no sealed block: {why}"),
                ),
            },
            Kept::Lock(input) => match Block::read(input) {
                Ok(block) => {
                    self.signs_in_time(account, party, &block, now);
                    match party {
                        Party::Device => self.device_locked(account, &block),
                        _ => self.broker_locked(account, &block),
                    }
                }
                Err(why) => self.failed(account, format!("the {party} locked no block: {why}")),
            },
            Kept::Restrict(input) => match Block::read(input) {
                Ok(block) => self.restrict_signed(account, block, now),
                Err(why) => self.failed(account, format!("the {party} signed no block: {why}")),
            },
            Kept::Word(verb, hash, proposal) if party == Party::Device => {
                self.device_said(account, *verb, *hash, proposal.as_deref());
            }
            Kept::FreezeWanted => {
                let seen = &mut self.accounts[account];
                let head = seen.chains[1].len() as u64;
                seen.freeze[1] = Some(head.saturating_sub(1));
            }
            Kept::FrozenAt(at) => self.frozen_at(account, *at, now),
            Kept::Conflict => {
                // Only a cheating trust operator makes two sealed blocks at one height.
                let possible = self.cheats[2] || self.restored.contains(&true);
                if self.honest(party) && !possible {
                    let what = format!("the {party} recorded a conflict, nobody could make one");
                    self.failed(account, what);
                }
            }
            Kept::Word(..) | Kept::Other => {}
        }
    }

    /// A node started: these records lie on the party's disk, in order. All that was durable must
    /// be among them; what follows was written and not known to be durable.
    ///
    /// Returns how many of them were known.
    pub fn found(&mut self, account: usize, party: Party, lasting: &[&[u8]]) -> usize {
        let known = &self.accounts[account].records[party.at()];
        let found = lasting.iter().map(|bytes| *blake3::hash(bytes).as_bytes());
        let same = known.iter().zip(found).take_while(|(k, f)| *k == f).count();
        let expected = known.len();
        self.count("disk read again");
        // What lived in RAM is gone: how often a block was tried, too.
        self.accounts[account]
            .tries
            .retain(|(of, _), _| *of != party);
        if same < expected {
            let what = format!("the {party}'s disk lost record {same} of {expected} durable ones");
            self.failed(account, what);
        }
        expected
    }

    /// A signature by this party's own clock, in milliseconds: of no block dated further ahead than clocks
    /// may differ, and of no admit that is over. What a start finds was signed earlier.
    fn signs_in_time(&mut self, account: usize, party: Party, block: &Block, now: u64) {
        if !self.honest(party) || self.reads_back {
            return;
        }
        self.count("time of a signature");
        let ahead = block.iat * 1000 > now + AHEAD_MS;
        let late = block.is_admit() && now >= block.exp * 1000;
        for (_, how) in [(ahead, "ahead of"), (late, "too late by")]
            .into_iter()
            .filter(|(is, _)| *is)
        {
            let kind = &block.kind;
            self.failed(
                account,
                format!("the {party} signed a `{kind}` {how} its clock"),
            );
        }
    }

    /// The trust operator's clock at a freeze: as it stands, and written anew only where it had stood ahead.
    fn frozen_at(&mut self, account: usize, at: u64, now: u64) {
        let old = self.accounts[account].frozen_at.replace(at);
        if !self.sound(Party::TrustOperator) || self.reads_back {
            return;
        }
        let (frozen, _) = self.accounts[account].status(Party::TrustOperator);
        let stood_ahead = old.is_some_and(|old| old > now + AHEAD_MS);
        // A second freeze of a frozen account begins the delay anew; only that one follows it.
        self.accounts[account].refrozen = frozen && !stood_ahead;
        if at / 1000 != now / 1000 {
            let what = "the trust operator dates a freeze by another clock than its own";
            self.failed(account, what.into());
        }
    }

    /// An unfreeze that the trust operator seals: after its delay, by its own clock.
    fn check_delay(&mut self, account: usize, block: &Block, now: u64) {
        let seen = &mut self.accounts[account];
        let refrozen = std::mem::take(&mut seen.refrozen) && block.kind != "freeze";
        let frozen_at = seen.frozen_at;
        if refrozen {
            let what = "the trust operator put a freeze's date off without a reason";
            self.failed(account, what.into());
        }
        if self.reads_back {
            return;
        }
        if block.kind == "freeze" && frozen_at.is_none_or(|at| at / 1000 != now / 1000) {
            let what = "the trust operator sealed a freeze that it did not date";
            self.failed(account, what.into());
        }
        if block.kind == "unfreeze" {
            self.count("unfreeze delay");
            let wait = self.unfreeze_delay_s * 1000;
            if frozen_at.is_some_and(|at| now / 1000 < (at + wait) / 1000) {
                let what = "the trust operator sealed an unfreeze before its delay";
                self.failed(account, what.into());
            }
        }
    }

    fn device_locked(&mut self, account: usize, block: &Block) {
        self.count("device lock");
        let seen = &mut self.accounts[account];
        seen.ever_locked[0].insert(block.hash);
        let old = seen.device_locks.insert(block.height, block.hash);
        let freeze = seen.freeze[0].is_some();
        if self.sound(Party::Device) && old.is_some_and(|h| h != block.hash) {
            self.failed(
                account,
                format!("device locked twice at height {}", block.height),
            );
        }
        if self.honest(Party::Device) && freeze {
            self.failed(account, "device locked after it asked for a freeze".into());
        }
    }

    fn broker_locked(&mut self, account: usize, block: &Block) {
        self.count("broker lock");
        let (height, hash) = (block.height, block.hash);
        let seen = &mut self.accounts[account];
        seen.ever_locked[1].insert(hash);
        let old = seen.broker_locks.insert(height, hash);
        let restrict = seen.restricts.contains_key(&height);
        let (pending, denied) = (seen.freeze[1].is_some(), seen.denied[1].contains(&hash));
        if !self.sound(Party::Broker) {
            return;
        }
        let wrong = [
            (old.is_some_and(|h| h != hash), "twice"),
            (restrict, "after its restrict block there"),
            (pending, "while a freeze is wanted"),
            (denied, "although the device denied it"),
        ];
        for (_, how) in wrong.into_iter().filter(|(is, _)| *is) {
            self.failed(account, format!("broker locked at height {height} {how}"));
        }
    }

    fn restrict_signed(&mut self, account: usize, block: Block, now: u64) {
        self.count("restrict lock");
        self.signs_in_time(account, Party::Broker, &block, now);
        let (height, hash, kind) = (block.height, block.hash, block.kind.clone());
        let seen = &mut self.accounts[account];
        seen.ever_locked[1].insert(hash);
        let old = seen.restricts.insert(height, Arc::new(block));
        // What its clock dated too far ahead it signs anew; nothing else stands beside a `restored` block.
        let anew = |old: &Block| {
            [old.kind.as_str(), kind.as_str()] == ["restored"; 2] && old.iat * 1000 > now + AHEAD_MS
        };
        let other = old.is_some_and(|old| old.hash != hash && !anew(&old));
        if self.sound(Party::Broker) && other {
            self.failed(
                account,
                format!("broker signed two restrict blocks at height {height}"),
            );
        }
    }

    fn device_said(&mut self, account: usize, verb: u8, hash: Hash, proposal: Option<&str>) {
        let proposal = proposal.and_then(|input| Block::read(input).ok());
        let seen = &mut self.accounts[account];
        seen.words.insert((verb, hash));
        if verb != FREEZE {
            seen.refused.insert(hash);
        }
        let named = match (verb, &proposal) {
            (FREEZE, _) => Some(hash),
            (DISOWN, Some(block)) => Some(block.prev),
            _ => None,
        };
        let chain = &seen.chains[0];
        let above = named.and_then(|named| chain.iter().find(|b| b.hash == named));
        if let Some(above) = above.map(|b| b.height) {
            seen.freeze[0] = Some(seen.freeze[0].map_or(above, |a| a.max(above)));
        }
    }

    fn kept_sealed(&mut self, account: usize, party: Party, sealed: &Arc<Sealed>, now: u64) {
        self.count("sealed block");
        let block = Arc::new(sealed.block.clone());
        let (frozen, revoked) = self.accounts[account].status(party);
        let before = self.accounts[account].chains[party.at()].last().cloned();
        self.accounts[account].chains[party.at()].push(Arc::clone(&block));
        if !self.honest(party) {
            return;
        }
        self.check_place(account, party, &block, before.as_deref());
        self.check_signed(account, sealed, &format!("the {party}'s block"));
        self.witness(account, &block);
        let admit = block.is_admit() && block.kind != "genesis";
        if admit && (revoked || frozen != (block.kind == "unfreeze"))
            || (revoked && block.kind == "freeze")
        {
            let kind = &block.kind;
            let what = format!(
                "the {party} took `{kind}` into an account frozen={frozen} revoked={revoked}"
            );
            self.failed(account, what);
        }
        let pending = self.accounts[account].freeze[party.at()];
        if party == Party::TrustOperator && self.sound(party) {
            if block.is_admit() || block.kind == "restored" {
                self.signs_in_time(account, party, &block, now);
            }
            self.check_delay(account, &block, now);
            self.check_seal(account, sealed, pending, now);
        }
        let answers = block.kind == "freeze" && pending.is_some_and(|above| block.height > above);
        if answers || block.kind == "revoke" {
            self.accounts[account].freeze[party.at()] = None;
        }
        // The trust operator's chain is never behind the broker's.
        let there = self.accounts[account].holds(Party::TrustOperator, block.height, &block.hash);
        if party == Party::Broker && self.sound(Party::TrustOperator) && !there {
            let what = format!(
                "broker holds block {}, the trust operator does not",
                block.height
            );
            self.failed(account, what);
        }
    }

    fn check_place(&mut self, account: usize, party: Party, block: &Block, before: Option<&Block>) {
        let Some(keys) = self.accounts[account].keys.clone() else {
            self.failed(
                account,
                format!("the {party} stored a block of an account never founded"),
            );
            return;
        };
        let (height, prev) = before.map_or((0, [0; 32]), |b| (b.height + 1, b.hash));
        let mut wrong = vec![];
        let facts = [
            (block.height == height, "does not follow the height before"),
            (block.prev == prev, "does not link to the block before"),
            (block.iss == self.pins.origin, "is of another ledger"),
            (block.sub == keys.sub, "is of another account"),
            (block.epoch == 0, "is of another epoch"),
            (
                (block.kind == "genesis") == (height == 0),
                "is no genesis, or a second one",
            ),
            (
                block.exp > block.iat && block.exp - block.iat <= 180,
                "lives too long",
            ),
            (
                block
                    .kid
                    .as_ref()
                    .is_none_or(|kid| *kid == text::thumbprint(&keys.account)),
                "names another key",
            ),
            (
                block.genesis.as_ref().is_none_or(|g| {
                    g.account_key == keys.account
                        && g.parties == keys.parties
                        && keys.parties[1] == self.pins.broker
                        && keys.parties[2] == self.pins.trust_operator
                        && text::account_name(&g.transcript) == keys.sub
                }),
                "founds another account",
            ),
        ];
        wrong.extend(
            facts
                .into_iter()
                .filter(|(so, _)| !so)
                .map(|(_, what)| what),
        );
        for what in wrong {
            let text = format!("the {party}'s block {} {what}", block.height);
            self.failed(account, text);
        }
    }

    /// What only the sealer answers for.
    fn check_seal(&mut self, account: usize, sealed: &Sealed, pending: Option<u64>, now: u64) {
        let block = &sealed.block;
        let (height, name) = (block.height, text::short(&block.hash));
        if block.is_admit()
            && block.kind != "genesis"
            && let Some(above) = pending
        {
            let kind = &block.kind;
            let what = format!(
                "`{kind}` {name} was sealed at {height} after a freeze above {above} was received"
            );
            self.failed(account, what);
        }
        if block.is_admit() && self.accounts[account].denied[2].contains(&block.hash) {
            self.failed(account, format!("denied block {name} was sealed"));
        }
        // A lock is superseded by the device's own refusal, a freeze, or after exp + 30 s.
        let Some(named) = block.supersedes else {
            return;
        };
        self.count("superseding");
        let refused = match &sealed.signed {
            super::text::Signed::Restrict(_, Some(word)) => {
                word.verb != FREEZE && word.hash == named
            }
            _ => false,
        };
        let exp = self.accounts[account].exps.get(&named);
        let over = exp.is_some_and(|exp| now > (exp + 30) * 1000);
        if !refused && block.kind != "freeze" && !over {
            let what = format!(
                "`{}` superseded {} before its time",
                block.kind,
                text::short(&named)
            );
            self.failed(account, what);
        }
    }

    /// A sealed block reached an honest party.
    fn witness(&mut self, account: usize, block: &Arc<Block>) {
        let height = block.height;
        let rivals = self.accounts[account].proven.entry(height).or_default();
        if rivals.iter().all(|b| b.hash != block.hash) {
            rivals.push(Arc::clone(block));
        }
        if rivals.len() < 2 {
            return;
        }
        let rivals = rivals.clone();
        if self.sound(Party::TrustOperator) {
            self.failed(account, format!("two sealed blocks at height {height}"));
            return;
        }
        // Without an honest trust operator: at most an admit and the restrict that supersedes it.
        let names = |r: &Arc<Block>| {
            let named = r.supersedes;
            named.is_some_and(|named| rivals.iter().any(|a| a.hash == named && a.is_admit()))
        };
        if rivals.len() > 2 || !rivals.iter().any(names) {
            let what = format!(
                "rival sealed blocks at height {height} that only a cheating broker could help to make"
            );
            if self.sound(Party::Broker) {
                self.failed(account, what);
            }
        }
    }

    /// The signatures of a sealed block against the keys of the founding, and the durable traces
    /// that each honest signer must have left before.
    pub(super) fn check_signed(&mut self, account: usize, sealed: &Sealed, what: &str) {
        let Some(keys) = self.accounts[account].keys.clone() else {
            self.failed(account, format!("{what} of an account that nobody founded"));
            return;
        };
        let block = &sealed.block;
        let name = format!("{what} `{}` {}", block.kind, text::short(&block.hash));
        let input = block.input.as_bytes();
        let mut lacks = vec![];
        match &sealed.signed {
            text::Signed::Admit(group, votes, transcript) => {
                if !self.signatures.is_by(&keys.account, input, group) {
                    lacks.push("the account key's signature".to_owned());
                }
                for ((party, verb), vote) in Party::ALL
                    .into_iter()
                    .zip([ASSENT, ENDORSE, SEAL])
                    .zip(votes)
                {
                    if !self.voted(account, party, verb, &block.hash, vote) {
                        lacks.push(format!("the {party}'s vote"));
                    }
                }
                for (party, vote) in Party::ALL.into_iter().zip(transcript.iter().flatten()) {
                    let transcript = block.genesis.as_ref().map_or([0; 32], |g| g.transcript);
                    if !self.voted(account, party, TRANSCRIPT, &transcript, vote) {
                        lacks.push(format!("the {party}'s vote on the transcript"));
                    }
                }
                if transcript.is_some() != (block.kind == "genesis") {
                    lacks.push("the votes of its kind".into());
                }
                lacks.extend(self.traces(account, block));
            }
            text::Signed::Restrict(both, word) => {
                let operators = [Party::Broker, Party::TrustOperator];
                for (party, signature) in operators.into_iter().zip(both) {
                    if !self
                        .signatures
                        .is_by(&keys.parties[party.at()], input, signature)
                    {
                        lacks.push(format!("the {party}'s signature"));
                    }
                }
                let said = word.is_some_and(|w| {
                    (DENY..=FREEZE).contains(&w.verb)
                        && self.voted(account, Party::Device, w.verb, &w.hash, &w.vote)
                });
                if (word.is_some() || block.kind == "deny") && !said {
                    lacks.push("the device's word".into());
                }
                let signed = self.accounts[account].ever_locked[1].contains(&block.hash);
                if self.sound(Party::Broker) && !signed {
                    lacks.push("the broker's durable signature".into());
                }
                let word = word.filter(|w| w.verb != FREEZE || block.kind == "freeze");
                let kept =
                    word.is_none_or(|w| self.accounts[account].words.contains(&(w.verb, w.hash)));
                if self.sound(Party::Device) && !kept {
                    lacks.push("the device's durable word".into());
                }
            }
        }
        for lacking in lacks {
            self.failed(account, format!("{name} lacks {lacking}"));
        }
    }

    /// What honest signers of an admit left on their disks, and the customer's own act.
    fn traces(&self, account: usize, block: &Block) -> Vec<String> {
        let seen = &self.accounts[account];
        let mut lacks = vec![];
        for party in [Party::Device, Party::Broker] {
            if self.honest(party) && !seen.ever_locked[party.at()].contains(&block.hash) {
                lacks.push(format!("the {party}'s lock"));
            }
        }
        let approved = seen.approved.contains_key(&block.hash);
        if self.honest(Party::Device) && block.kind != "genesis" && !approved {
            lacks.push("the customer's approval".into());
        }
        lacks
    }
}
