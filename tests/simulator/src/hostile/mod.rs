//! A cheating party: the real machine, whose mail a seeded tamperer reads, changes, swallows,
//! repeats and adds to, with the party's own identity key, key share and content key in hand.

mod broker;
mod device;
mod tamper;
mod trust_operator;

use std::collections::BTreeMap;

use warifu_consensus::{
    agree::package_hash,
    block::{Block, Claims},
    encoding::{Context, Hash, derive, text_b64},
    party::{Role, Sub},
    share::{self, Commitment, KeyShare, Nonces, Package, SignatureShare},
    signature::IdentityKey,
    vote::{Statement, Verb, Vote},
    wire::{Agree, SignedCommitment, SignedShare},
};

use super::{chance::Chance, decisions::What, party::at, world::World};

/// What the cheat remembers of one account.
#[derive(Default)]
pub(super) struct Memory {
    /// Everything that it ever sent, to replay.
    sent: Vec<(Role, Agree)>,
    /// Broker: its rival proposals.
    rivals: BTreeMap<Hash, broker::Rival>,
    /// Trust operator: what it sealed and did not hand out.
    withheld: Vec<warifu_consensus::block::Sealed>,
    /// Device: the last block that it assented to by its machine.
    locked: Option<Block>,
}

/// See the module.
pub struct Hostile {
    /// Which party cheats.
    pub role: Role,
    /// One tampering in so many messages.
    one_in: u64,
    memory: BTreeMap<usize, Memory>,
}

/// The cheat's tools for one account.
pub(super) struct Tools<'w> {
    pub(super) key: &'w IdentityKey,
    pub(super) share: Option<KeyShare>,
    pub(super) role: Role,
    pub(super) sub: Sub,
}

impl Tools<'_> {
    /// Vote `verb` on a hash.
    pub(super) fn vote(&self, verb: Verb, hash: Hash) -> Vote {
        let statement = Statement {
            verb,
            role: self.role,
            sub: self.sub,
            hash,
        };
        Vote::sign(self.key, &statement)
    }

    /// The trust operator's commitment with its vote.
    pub(super) fn sign_commitment(&self, block: Hash, commitment: Commitment) -> SignedCommitment {
        let hash = derive(Context::Commitment, &[&block.0, commitment.as_bytes()]);
        SignedCommitment {
            commitment,
            vote: self.vote(Verb::Commitment, hash),
        }
    }

    /// A share with its vote.
    pub(super) fn sign_share(
        &self,
        block: Hash,
        package: &Package,
        share: SignatureShare,
    ) -> SignedShare {
        let package = package_hash(package);
        let hash = derive(Context::Share, &[&block.0, &package.0, &share.to_bytes()]);
        SignedShare {
            share,
            vote: self.vote(Verb::Share, hash),
        }
    }

    /// Fresh nonces and their commitment.
    pub(super) fn commit(&self, block: Hash, chance: &mut Chance) -> Option<(Nonces, Commitment)> {
        Some(share::commit(self.share.as_ref()?, block.0, chance))
    }
}

/// Some reduced scalar that is nobody's share.
pub(super) fn forged_share(chance: &mut Chance) -> SignatureShare {
    let mut bytes: [u8; 32] = chance.bytes();
    bytes[31] &= 0x0f;
    SignatureShare::decode(&bytes).expect("a scalar below 2^252 is reduced")
}

/// The same act at the same place, with another challenge: another block.
pub(super) fn altered_claims(claims: &Claims, chance: &mut Chance) -> Claims {
    let nonce: [u8; 16] = chance.bytes();
    Claims {
        nonce: text_b64(&nonce),
        ..claims.clone()
    }
}

impl Hostile {
    /// A cheat in this role; the seed decides how often and how.
    #[must_use]
    pub fn new(role: Role, seed: u64) -> Self {
        let mut chance = Chance::new(seed, 9 + role.number());
        Self {
            role,
            one_in: [2, 3, 6][chance.below(3) as usize],
            memory: BTreeMap::new(),
        }
    }

    pub(super) fn tools<'w>(world: &'w World, account: usize, role: Role) -> Option<Tools<'w>> {
        let seat = world.seat(account, role);
        let sub = world.places[account].sub?;
        Some(Tools {
            key: &seat.key,
            share: seat.key_share(),
            role,
            sub,
        })
    }

    /// What really leaves instead of this message.
    pub fn outgoing(
        &mut self,
        world: &mut World,
        account: usize,
        to: Role,
        agree: Agree,
    ) -> Vec<(Role, Agree)> {
        let memory = self.memory.entry(account).or_default();
        if memory.sent.len() < 64 {
            memory.sent.push((to, agree.clone()));
        }
        if self.role == Role::Device
            && let Agree::Assent { .. } = &agree
        {
            memory.locked = None;
        }
        let place = account * 3 + at(self.role);
        let one_in = self.one_in;
        let Some(mut chance) = world.decisions.fault(What::TamperSent, place, one_in) else {
            return vec![(to, agree)];
        };
        world.tell_story(&format!(
            "a{account} {} tampers with {}",
            self.role,
            agree.name()
        ));
        match chance.below(12) {
            // Withheld.
            0 => return vec![],
            1 => {
                let replayed = self.replayed(account, &mut chance);
                return [Some((to, agree)), replayed]
                    .into_iter()
                    .flatten()
                    .collect();
            }
            // To the wrong party too.
            2 => {
                let other = Role::ALL.into_iter().find(|r| *r != to && *r != self.role);
                return vec![(to, agree.clone()), (other.unwrap_or(to), agree)];
            }
            // What was said in another account.
            3 => {
                let others: Vec<usize> = self.memory.keys().copied().collect();
                let other = others[chance.below(others.len() as u64) as usize];
                let foreign = self.replayed(other, &mut chance);
                return foreign.into_iter().chain([(to, agree)]).collect();
            }
            4..=6 => return self.altered(world, account, to, agree, &mut chance),
            _ => {}
        }
        let memory = self.memory.entry(account).or_default();
        match self.role {
            Role::Device => device::outgoing(world, account, memory, &mut chance, to, agree),
            Role::Broker => broker::outgoing(world, account, memory, &mut chance, to, agree),
            Role::TrustOperator => {
                trust_operator::outgoing(world, account, memory, &mut chance, to, agree)
            }
        }
    }

    fn replayed(&self, account: usize, chance: &mut Chance) -> Option<(Role, Agree)> {
        let sent = &self.memory.get(&account)?.sent;
        sent.get(chance.below(sent.len() as u64) as usize).cloned()
    }

    fn altered(
        &self,
        world: &World,
        account: usize,
        to: Role,
        agree: Agree,
        chance: &mut Chance,
    ) -> Vec<(Role, Agree)> {
        let Some(tools) = Self::tools(world, account, self.role) else {
            return vec![(to, agree)];
        };
        let machine = world.seat(account, self.role).machine.as_ref();
        let key = machine.map_or([0; 32], |m| *m.base().account_key());
        let mut others = world.places.iter().filter_map(|p| p.sub);
        let other = others.rfind(|sub| *sub != tools.sub);
        let altered = tamper::alter(&tools, &key, other, agree.clone(), chance);
        match chance.below(3) {
            0 => vec![(to, altered)],
            1 => vec![(to, altered), (to, agree)],
            _ => vec![(to, agree), (to, altered)],
        }
    }

    /// Reads a message before its own machine does; `false` keeps it from the machine.
    pub fn incoming(
        &mut self,
        world: &mut World,
        account: usize,
        from: Role,
        agree: &Agree,
    ) -> bool {
        let acts = match self.role {
            Role::Device => matches!(agree, Agree::Propose { .. }),
            Role::Broker => matches!(
                agree,
                Agree::Committed { .. }
                    | Agree::Number { .. }
                    | Agree::Assent { .. }
                    | Agree::Word { .. }
            ),
            Role::TrustOperator => matches!(agree, Agree::Restrict { .. } | Agree::Ack { .. }),
        };
        let place = account * 3 + at(self.role);
        if !acts {
            return true;
        }
        let Some(mut chance) = world.decisions.fault(What::TamperTaken, place, 1) else {
            return true;
        };
        let (chance, memory) = (&mut chance, self.memory.entry(account).or_default());
        let (mail, keep) = match self.role {
            Role::Device => device::incoming(world, account, chance, agree),
            Role::Broker => broker::incoming(world, account, memory, chance, from, agree),
            Role::TrustOperator => trust_operator::incoming(world, account, memory, chance, agree),
        };
        for (to, agree) in mail {
            world.post(account, self.role, to, agree);
        }
        keep
    }
}
