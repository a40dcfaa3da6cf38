//! What parties say to one another: an honest one shows only what is durable, signs only what it
//! may, and uses a nonce once.

use super::{
    ASSENT, Auditor, Block, COMMITMENT, ENDORSE, HEAD, Hash, Party, SHARE, text,
    text::{commitment_hash, share_hash},
};

/// Packages of one block that device and broker take part in.
const MAX_TRIES: usize = 3;

/// A FROST commitment, 64 bytes, and its owner's vote: the trust operator's.
#[derive(Debug, Clone)]
pub struct SignedCommitment(pub [u8; 64], pub [u8; 64]);

/// A FROST share, 32 bytes, and its owner's vote.
#[derive(Debug, Clone)]
pub struct SignedShare(pub [u8; 32], pub [u8; 64]);

/// A message as its bytes say it.
#[derive(Debug, Clone)]
pub enum Said {
    /// A commitment for a block.
    Committed(Hash, SignedCommitment),
    /// A proposal with the broker's commitment, and the trust operator's as the broker passes it on.
    Proposed(String, [u8; 64], SignedCommitment),
    /// The device's assent: block, commitment, share, vote.
    Assent(Hash, [u8; 64], SignedShare, [u8; 64]),
    /// The broker's endorsement.
    Endorse {
        /// The block's signing input.
        input: String,
        /// All three, by party.
        package: [[u8; 64]; 3],
        /// Device's and broker's.
        shares: [SignedShare; 2],
        /// The broker's vote.
        endorse: [u8; 64],
    },
    /// A restrict block, the broker's signature, what it supersedes.
    Restrict(String, [u8; 64], Option<String>),
    /// The sender's head: height, hash, vote.
    Head(u64, Hash, Option<[u8; 64]>),
    /// The broker's head, durable there.
    Ack(u64, Hash),
    /// Sealed blocks, in their JSON form.
    Blocks(Vec<String>),
    /// The device's word: verb, hash, vote, the proposal's signing input.
    Word(u8, Hash, [u8; 64], Option<String>),
    /// Something else.
    Other,
}

impl Auditor {
    /// A party sent a message to another.
    pub fn said(&mut self, account: usize, from: Party, to: Party, said: &Said) {
        self.count("message");
        let proposal = match said {
            Said::Endorse { input, .. } | Said::Proposed(input, ..) => Some(input),
            Said::Restrict(_, _, superseded) => superseded.as_ref(),
            _ => None,
        };
        if let Some(Ok(block)) = proposal.map(|input| Block::read(input)) {
            self.accounts[account].exps.insert(block.hash, block.exp);
        }
        self.offers(account, said);
        if !self.honest(from) {
            return;
        }
        match said {
            Said::Committed(hash, SignedCommitment(commitment, vote)) => {
                if !self.voted(
                    account,
                    from,
                    COMMITMENT,
                    &commitment_hash(hash, commitment),
                    vote,
                ) {
                    self.failed(
                        account,
                        format!("the {from} did not sign its own commitment"),
                    );
                }
                self.commits(account, from, *hash, commitment, None);
            }
            Said::Proposed(input, own, theirs) => {
                if let Ok(block) = Block::read(input) {
                    self.commits(account, from, block.hash, own, None);
                    let offered = &self.accounts[account].offered[&block.hash];
                    if !offered.trust_operator.contains(&theirs.0) {
                        let what = "broker passed on a commitment that nobody signed";
                        self.failed(account, what.into());
                    }
                }
            }
            Said::Assent(hash, commitment, share, vote) => {
                self.assents(account, *hash, commitment, share, vote);
            }
            Said::Endorse {
                input,
                package,
                shares,
                endorse,
            } => {
                self.endorses(account, input, package, shares, endorse);
            }
            Said::Restrict(input, signature, _) => self.restricts(account, input, signature),
            Said::Head(height, hash, vote) => {
                self.shows_head(account, from, to, *height, hash, vote.as_ref())
            }
            Said::Ack(height, hash) => {
                if !self.accounts[account].holds(from, *height, hash) {
                    self.failed(
                        account,
                        format!("the {from} acknowledged {height}, not durable there"),
                    );
                }
            }
            Said::Blocks(jsons) => {
                for json in jsons {
                    self.gives(account, from, to, json);
                }
            }
            Said::Word(verb, hash, ..) => {
                let kept = self.accounts[account].words.contains(&(*verb, *hash));
                if from == Party::Device && !kept {
                    self.failed(account, "device said a word before it was durable".into());
                }
            }
            Said::Other => {}
        }
    }

    /// Keeps what a device may give a share for: the broker's commitments as they are, the trust
    /// operator's if it signed them.
    fn offers(&mut self, account: usize, said: &Said) {
        let (hash, own, theirs) = match said {
            Said::Committed(hash, theirs) => (*hash, None, theirs),
            Said::Proposed(input, own, theirs) => match Block::read(input) {
                Ok(block) => (block.hash, Some(*own), theirs),
                Err(_) => return,
            },
            _ => return,
        };
        let on = commitment_hash(&hash, &theirs.0);
        let signed = self.voted(account, Party::TrustOperator, COMMITMENT, &on, &theirs.1);
        let offered = self.accounts[account].offered.entry(hash).or_default();
        offered.broker.extend(own);
        offered.trust_operator.extend(signed.then_some(theirs.0));
    }

    /// A commitment is for one block, and one share at most is ever given with it.
    fn commits(
        &mut self,
        account: usize,
        party: Party,
        block: Hash,
        commitment: &[u8; 64],
        share: Option<Hash>,
    ) {
        if party != Party::TrustOperator {
            let tries = &mut self.accounts[account].tries;
            let tries = tries.entry((party, block)).or_default();
            tries.insert(*commitment);
            if tries.len() > MAX_TRIES {
                self.failed(account, format!("the {party} tried a block too often"));
            }
        }
        let uses = &mut self.accounts[account].commitments;
        let used = uses
            .entry((party, commitment.to_vec()))
            .or_insert((block, None));
        let again = used.0 != block || (share.is_some() && used.1.is_some() && used.1 != share);
        used.1 = used.1.or(share);
        if again {
            self.failed(account, format!("the {party} used a nonce twice"));
        }
    }

    fn assents(
        &mut self,
        account: usize,
        hash: Hash,
        commitment: &[u8; 64],
        share: &SignedShare,
        vote: &[u8; 64],
    ) {
        self.count("assent");
        let digest = *blake3::hash(&share.0).as_bytes();
        self.commits(account, Party::Device, hash, commitment, Some(digest));
        let voted = self.voted(account, Party::Device, ASSENT, &hash, vote);
        let offered = self.accounts[account].offered.get(&hash).cloned();
        let covered = offered.unwrap_or_default().pairs().any(|(broker, theirs)| {
            let on = share_hash(&hash, [commitment, broker, theirs], &share.0);
            self.voted(account, Party::Device, SHARE, &on, &share.1)
        });
        let seen = &self.accounts[account];
        let wrong = [
            (!voted, "by a vote that does not verify"),
            (
                !covered,
                "with a commitment that the trust operator did not sign",
            ),
            (
                !seen.device_locks.values().any(|h| *h == hash),
                "without a lock",
            ),
            (seen.refused.contains(&hash), "although it denied it"),
        ];
        for (_, how) in wrong.into_iter().filter(|(is, _)| *is) {
            self.failed(
                account,
                format!("device assented to {} {how}", text::short(&hash)),
            );
        }
    }

    fn endorses(
        &mut self,
        account: usize,
        input: &str,
        package: &[[u8; 64]; 3],
        shares: &[SignedShare; 2],
        vote: &[u8; 64],
    ) {
        self.count("endorse");
        let Ok(block) = Block::read(input) else {
            self.failed(account, "broker endorsed no block".into());
            return;
        };
        let digest = *blake3::hash(&shares[1].0).as_bytes();
        self.commits(
            account,
            Party::Broker,
            block.hash,
            &package[1],
            Some(digest),
        );
        // Each vote on a share is the vote on the package, the own commitment included.
        let shared =
            [Party::Device, Party::Broker]
                .into_iter()
                .zip(shares)
                .all(|(party, share)| {
                    let on = share_hash(&block.hash, package.each_ref(), &share.0);
                    self.voted(account, party, SHARE, &on, &share.1)
                });
        let voted = self.voted(account, Party::Broker, ENDORSE, &block.hash, vote);
        let sound = self.sound(Party::Broker);
        let seen = &self.accounts[account];
        let wrong = [
            (!voted || !shared, "by votes that do not verify"),
            (
                seen.broker_locks.get(&block.height) != Some(&block.hash),
                "without a lock",
            ),
            (
                sound && seen.restricts.contains_key(&block.height),
                "after its restrict block",
            ),
            (
                sound && seen.freeze[1].is_some(),
                "while a freeze is wanted",
            ),
        ];
        for (_, how) in wrong.into_iter().filter(|(is, _)| *is) {
            self.failed(
                account,
                format!("broker endorsed {} {how}", text::short(&block.hash)),
            );
        }
    }

    fn restricts(&mut self, account: usize, input: &str, signature: &[u8; 64]) {
        let Ok(block) = Block::read(input) else {
            self.failed(account, "broker sent no restrict block".into());
            return;
        };
        let durable = self.accounts[account].restricts.get(&block.height);
        if durable.is_none_or(|b| b.hash != block.hash) {
            self.failed(
                account,
                "broker sent a restrict block before it was durable".into(),
            );
        }
        let broker = self.pins.broker;
        if !self.signatures.is_by(&broker, input.as_bytes(), signature) {
            self.failed(
                account,
                "broker sent a restrict block that it did not sign".into(),
            );
        }
    }

    fn shows_head(
        &mut self,
        account: usize,
        from: Party,
        to: Party,
        height: u64,
        hash: &Hash,
        vote: Option<&[u8; 64]>,
    ) {
        self.count("head");
        let signed = vote.is_some_and(|vote| self.voted(account, from, HEAD, hash, vote));
        let seen = &self.accounts[account];
        let (durable, acked) = (
            seen.holds(from, height, hash),
            seen.holds(Party::Broker, height, hash),
        );
        if !signed || !durable {
            self.failed(
                account,
                format!("the {from} shows head {height}, signed={signed} durable={durable}"),
            );
        }
        if (from, to) == (Party::TrustOperator, Party::Device)
            && self.sound(Party::Broker)
            && !acked
        {
            self.failed(
                account,
                format!("the device was shown head {height} before the broker had it"),
            );
        }
    }

    /// Durable before visible; and nobody but the broker sees what it did not acknowledge.
    fn gives(&mut self, account: usize, from: Party, to: Party, json: &str) {
        let sealed = match self.sealed(json) {
            Ok(sealed) => sealed,
            Err(why) => {
                return self.failed(account, format!("the {from} gave no sealed block: {why}"));
            }
        };
        let (height, hash) = (sealed.block.height, sealed.block.hash);
        let seen = &self.accounts[account];
        let (durable, acked) = (
            seen.holds(from, height, &hash),
            seen.holds(Party::Broker, height, &hash),
        );
        if !durable {
            self.failed(
                account,
                format!("the {from} gave block {height} before it was durable"),
            );
        }
        if (from, to) == (Party::TrustOperator, Party::Device)
            && self.sound(Party::Broker)
            && !acked
        {
            self.failed(
                account,
                format!("the device got block {height} before the broker had it"),
            );
        }
    }

    /// A party took a word in completely: it did not crash while it answered.
    pub fn took(&mut self, account: usize, party: Party, said: &Said) {
        let Said::Word(verb, hash, vote, proposal) = said else {
            return;
        };
        let chain = &self.accounts[account].chains[party.at()];
        let known = party != Party::Device && !chain.is_empty();
        if !known || !self.voted(account, Party::Device, *verb, hash, vote) {
            return;
        }
        self.count("word");
        let proposal = proposal.as_deref().map(Block::read);
        let Ok(proposal) = proposal.transpose() else {
            return;
        };
        let named = proposal.as_ref().is_none_or(|p| p.hash == *hash);
        let seen = &mut self.accounts[account];
        let above = seen
            .freeze_asked(party, *verb, hash, proposal.as_ref())
            .filter(|_| named);
        if let Some(above) = above {
            let slot = &mut seen.freeze[party.at()];
            *slot = Some(slot.map_or(above, |a| a.max(above)));
        }
        if named && proposal.is_some() && *verb != super::FREEZE {
            seen.denied[party.at()].insert(*hash);
        }
    }
}
