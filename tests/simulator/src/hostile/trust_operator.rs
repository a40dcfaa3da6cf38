//! A trust operator that answers nothing, seals nothing, blames others, seals both of a pair.

use warifu_consensus::{
    block::{Proof, Sealed, Votes},
    party::Role,
    wire::{Agree, Reason, SignedCommitment},
};

use super::{Hostile, Memory};
use crate::{chance::Chance, world::World};

type Mail = Vec<(Role, Agree)>;

pub(super) fn outgoing(
    world: &World,
    account: usize,
    memory: &mut Memory,
    chance: &mut Chance,
    to: Role,
    agree: Agree,
) -> Mail {
    let Some(tools) = Hostile::tools(world, account, Role::TrustOperator) else {
        return vec![(to, agree)];
    };
    match agree.clone() {
        Agree::Committed { hash, commitment } => match chance.below(3) {
            // Somebody's vote on another commitment.
            0 => {
                let Some((_, other)) = tools.commit(hash, chance) else {
                    return vec![];
                };
                let mixed = SignedCommitment {
                    commitment: other,
                    vote: commitment.vote,
                };
                vec![(
                    to,
                    Agree::Committed {
                        hash,
                        commitment: mixed,
                    },
                )]
            }
            // Two commitments, both signed; the machine holds the nonce of one.
            1 => {
                let Some((_, other)) = tools.commit(hash, chance) else {
                    return vec![];
                };
                vec![
                    (to, agree),
                    (
                        to,
                        Agree::Committed {
                            hash,
                            commitment: tools.sign_commitment(hash, other),
                        },
                    ),
                ]
            }
            _ => {
                let culprit = if chance.one_in(2) {
                    Role::Device
                } else {
                    Role::Broker
                };
                vec![(
                    to,
                    Agree::Refused {
                        hash,
                        reason: Reason::Fault { culprit },
                    },
                )]
            }
        },
        Agree::Blocks { sealed } => {
            memory.withheld.extend(sealed.iter().cloned());
            let Some(last) = sealed.last() else {
                return vec![];
            };
            let hash = last.block.hash();
            match chance.below(4) {
                // Blame somebody for what it sealed.
                0 => {
                    let culprit = if chance.one_in(2) {
                        Role::Device
                    } else {
                        Role::Broker
                    };
                    vec![(
                        to,
                        Agree::Refused {
                            hash,
                            reason: Reason::Fault { culprit },
                        },
                    )]
                }
                1 => vec![(
                    to,
                    Agree::NotYet {
                        hash,
                        wait_s: chance.below(100),
                    },
                )],
                // To the device first, who should not have it yet.
                2 => vec![(Role::Device, agree.clone()), (to, agree)],
                _ => vec![],
            }
        }
        Agree::HeadIs {
            head, vote, ask, ..
        } => {
            let lie = head.map(|h| warifu_consensus::chain::Head {
                height: h.height + chance.below(3),
                ..h
            });
            vec![(
                to,
                Agree::HeadIs {
                    head: lie,
                    vote,
                    ask,
                    notice: true,
                },
            )]
        }
        _ => {
            let notice = Agree::GenesisDead;
            vec![(to, agree), (to, notice)]
        }
    }
}

/// Signs a restrict block although it sealed what that supersedes, and shows each half to another.
pub(super) fn incoming(
    world: &World,
    account: usize,
    memory: &mut Memory,
    chance: &mut Chance,
    agree: &Agree,
) -> (Mail, bool) {
    let Agree::Restrict {
        block,
        signature,
        word,
        ..
    } = agree
    else {
        return (
            vec![],
            !matches!(agree, Agree::Ack { .. }) || !chance.one_in(4),
        );
    };
    let Some(tools) = Hostile::tools(world, account, Role::TrustOperator) else {
        return (vec![], true);
    };
    if chance.one_in(2) {
        return (vec![], true);
    }
    let proof = Proof::Operators {
        broker: signature.0,
        trust_operator: tools.key.sign(block.input().as_bytes()),
    };
    let both = Sealed {
        block: block.clone(),
        proof,
        votes: Votes::Restrict { word: *word },
    };
    let admit = memory
        .withheld
        .iter()
        .find(|s| Some(s.block.hash()) == block.claims().supersedes)
        .cloned();
    let mut mail = vec![(Role::Broker, Agree::Blocks { sealed: vec![both] })];
    if let Some(admit) = admit {
        mail.insert(
            0,
            (
                Role::Device,
                Agree::Blocks {
                    sealed: vec![admit],
                },
            ),
        );
    }
    (mail, true)
}
