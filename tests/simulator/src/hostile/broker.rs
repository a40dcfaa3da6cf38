//! A broker that proposes rivals, skips the number, alters commitments, expires early.

use warifu_consensus::{
    block::{Block, Claims, Class, Kind},
    body::{self, Body, ContentKey, Salt, SealedBody},
    chain::Head,
    encoding::text_b64,
    party::Role,
    share::{self, Commitment, Nonces, Package},
    time::RESTRICT_LIFETIME_S,
    vote::Verb,
    wire::{Agree, OperatorCommitments, SaltBytes},
};

use super::{Hostile, Memory, Tools, altered_claims, forged_share};
use crate::{chance::Chance, world::World};

type Mail = Vec<(Role, Agree)>;

/// A second block at the same height, driven by hand beside the real machine's.
pub(super) struct Rival {
    block: Block,
    body: SealedBody,
    salt: [u8; 32],
    round: Option<(Nonces, Commitment, Commitment)>,
}

fn rival(world: &World, account: usize, original: &Block, chance: &mut Chance) -> Option<Rival> {
    let key = ContentKey::from_bytes(world.seat(account, Role::Broker).content_key?);
    let account_key = *world
        .seat(account, Role::Broker)
        .machine
        .as_ref()?
        .base()
        .account_key();
    let salt: [u8; 32] = chance.bytes();
    let mut claims = altered_claims(original.claims(), chance);
    claims.body = None;
    let shown = Body {
        channel: "web".into(),
        address: "203.0.113.9".into(),
        details: vec![],
        reference: None,
    };
    let sealed = body::seal_body(&key, &Salt::from_bytes(salt), &claims, &shown, chance).ok()?;
    claims.body = Some(sealed.claim());
    let block = Block::new(claims, &account_key).ok()?;
    Some(Rival {
        block,
        body: sealed,
        salt,
        round: None,
    })
}

pub(super) fn outgoing(
    world: &World,
    account: usize,
    memory: &mut Memory,
    chance: &mut Chance,
    to: Role,
    agree: Agree,
) -> Mail {
    let Some(tools) = Hostile::tools(world, account, Role::Broker) else {
        return vec![(to, agree)];
    };
    match agree.clone() {
        Agree::Prepare { block } if block.claims().kind != Kind::Genesis => {
            let Some(second) = rival(world, account, &block, chance) else {
                return vec![(to, agree)];
            };
            let prepare = Agree::Prepare {
                block: second.block.clone(),
            };
            memory.rivals.insert(second.block.hash(), second);
            if chance.one_in(2) {
                vec![(to, agree), (to, prepare)]
            } else {
                vec![(to, prepare), (to, agree)]
            }
        }
        Agree::Propose {
            block,
            body,
            salt,
            commitments,
        } => {
            let hash = block.hash();
            let mut swapped = commitments;
            let theirs = swapped.trust_operator.commitment;
            match chance.below(3) {
                0 => swapped.trust_operator.commitment = swapped.broker,
                1 => swapped.broker = theirs,
                _ => {}
            }
            let propose = Agree::Propose {
                block,
                body,
                salt,
                commitments: swapped,
            };
            // Match before any number.
            vec![(to, propose), (to, Agree::Match { hash })]
        }
        Agree::Endorse {
            block,
            mut commitments,
            own,
            mut shares,
            mut assent,
            endorse,
        } => {
            let hash = block.hash();
            match chance.below(4) {
                // The device's commitment altered, its vote kept: the device must not be blamed.
                0 => commitments[0] = commitments[1],
                // The device's share replaced.
                1 => shares[0].share = forged_share(chance),
                // Its own share forged, and signed: it is to blame itself.
                2 => {
                    let Ok(theirs) = Commitment::decode(&own.0) else {
                        return vec![];
                    };
                    let [device, broker] = commitments;
                    let joined = Package::new([device, broker, theirs]);
                    shares[1] = tools.sign_share(hash, &joined, forged_share(chance));
                }
                _ => assent = tools.vote(Verb::Assent, hash),
            }
            vec![(
                to,
                Agree::Endorse {
                    block,
                    commitments,
                    own,
                    shares,
                    assent,
                    endorse,
                },
            )]
        }
        Agree::HeadIs {
            head: Some(head),
            vote,
            ask,
            notice,
        } => {
            let lie = match chance.below(3) {
                0 => Head {
                    height: head.height + 5,
                    ..head
                },
                1 => Head {
                    height: head.height.saturating_sub(1),
                    ..head
                },
                _ => head,
            };
            vec![(
                to,
                Agree::HeadIs {
                    head: Some(lie),
                    vote,
                    ask,
                    notice,
                },
            )]
        }
        Agree::Restrict { block, .. } => {
            let second = restriction(&tools, world, account, block.claims(), None, chance);
            [second.map(|r| (to, r)), Some((to, agree))]
                .into_iter()
                .flatten()
                .collect()
        }
        Agree::Blocks { mut sealed } => {
            // A forged block: the last one's proof on other claims.
            if let Some(last) = sealed.last_mut() {
                let claims = altered_claims(last.block.claims(), chance);
                let key = world
                    .seat(account, Role::Broker)
                    .machine
                    .as_ref()
                    .map(|m| *m.base().account_key());
                if let Some(block) = key.and_then(|k| Block::new(claims, &k).ok()) {
                    last.block = block;
                }
            }
            vec![(to, Agree::Blocks { sealed }), (to, agree)]
        }
        other => vec![(to, other)],
    }
}

/// A restrict block of a random kind at the place of `like`, signed.
fn restriction(
    tools: &Tools<'_>,
    world: &World,
    account: usize,
    like: &Claims,
    superseded: Option<Block>,
    chance: &mut Chance,
) -> Option<Agree> {
    let kind = [Kind::Expire, Kind::Refuse, Kind::Deny, Kind::Restored][chance.below(4) as usize];
    let iat = world.clock(account, Role::Broker).seconds();
    let nonce: [u8; 16] = chance.bytes();
    let about_account = kind == Kind::Restored;
    let claims = Claims {
        aud: if about_account {
            like.iss.clone()
        } else {
            like.aud.clone()
        },
        iat,
        exp: iat + RESTRICT_LIFETIME_S,
        nonce: text_b64(&nonce),
        kind,
        body: None,
        supersedes: superseded.as_ref().map(Block::hash),
        genesis: None,
        ..like.clone()
    };
    let block = Block::new(claims, &[0; 32]).ok()?;
    let signature = tools.key.sign(block.input().as_bytes()).into();
    Some(Agree::Restrict {
        block,
        signature,
        superseded,
        word: None,
        proposal: None,
    })
}

/// Drives its rivals by hand.
pub(super) fn incoming(
    world: &World,
    account: usize,
    memory: &mut Memory,
    chance: &mut Chance,
    _from: Role,
    agree: &Agree,
) -> (Mail, bool) {
    let Some(tools) = Hostile::tools(world, account, Role::Broker) else {
        return (vec![], true);
    };
    match agree {
        Agree::Committed { hash, commitment } => {
            let Some(rival) = memory.rivals.get_mut(hash) else {
                return (vec![], true);
            };
            let Some((nonces, own)) = tools.commit(*hash, chance) else {
                return (vec![], false);
            };
            let propose = Agree::Propose {
                block: rival.block.clone(),
                body: Some(rival.body.clone()),
                salt: Some(SaltBytes(rival.salt)),
                commitments: OperatorCommitments {
                    broker: own,
                    trust_operator: commitment.clone(),
                },
            };
            rival.round = Some((nonces, own, commitment.commitment));
            let mut mail = vec![(Role::Device, propose)];
            if chance.one_in(2) {
                // Nobody typed a number.
                mail.push((Role::Device, Agree::Match { hash: *hash }));
            }
            (mail, false)
        }
        Agree::Number { hash, .. } if memory.rivals.contains_key(hash) => {
            (vec![(Role::Device, Agree::Match { hash: *hash })], false)
        }
        Agree::Assent {
            hash,
            commitment,
            share,
            vote,
        } => {
            let Some(rival) = memory.rivals.get_mut(hash) else {
                // Expire at once what the device just signed.
                let open = memory.sent.iter().rev().find_map(|(_, sent)| match sent {
                    Agree::Propose { block, .. } if block.hash() == *hash => Some(block.clone()),
                    _ => None,
                });
                let early =
                    open.filter(|b| b.claims().kind.class() == Class::Admit && chance.one_in(3));
                let like = early.as_ref().map(|b| b.claims().clone());
                let restrict =
                    like.and_then(|c| restriction(&tools, world, account, &c, early, chance));
                return (
                    restrict
                        .map(|r| (Role::TrustOperator, r))
                        .into_iter()
                        .collect(),
                    true,
                );
            };
            let Some((nonces, own, theirs)) = rival.round.take() else {
                return (vec![], false);
            };
            let joined = Package::new([*commitment, own, theirs]);
            let Some(key_share) = &tools.share else {
                return (vec![], false);
            };
            let message = rival.block.input().as_bytes();
            let Ok(signed) = share::sign(key_share, nonces, message, &hash.0, &joined) else {
                return (vec![], false);
            };
            let endorse = Agree::Endorse {
                block: rival.block.clone(),
                commitments: [*commitment, own],
                own: (&theirs).into(),
                shares: [share.clone(), tools.sign_share(*hash, &joined, signed)],
                assent: *vote,
                endorse: tools.vote(Verb::Endorse, *hash),
            };
            (vec![(Role::TrustOperator, endorse)], false)
        }
        // Deaf to the device's refusals.
        Agree::Word { .. } => (vec![], !chance.one_in(2)),
        _ => (vec![], true),
    }
}
