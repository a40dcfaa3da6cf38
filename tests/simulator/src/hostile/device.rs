//! A device that forges shares, assents to everything without asking, guesses numbers.

use warifu_consensus::{
    party::Role,
    share::{self, Package},
    vote::Verb,
    wire::Agree,
};

use super::{Hostile, Memory, forged_share};
use crate::{chance::Chance, world::World};

type Mail = Vec<(Role, Agree)>;

pub(super) fn outgoing(
    world: &World,
    account: usize,
    _memory: &mut Memory,
    chance: &mut Chance,
    to: Role,
    agree: Agree,
) -> Mail {
    let Some(tools) = Hostile::tools(world, account, Role::Device) else {
        return vec![(to, agree)];
    };
    let changed = match agree.clone() {
        Agree::Assent {
            hash,
            commitment,
            mut share,
            vote,
        } => match chance.below(3) {
            0 => {
                // A forged share without its vote.
                share.share = forged_share(chance);
                Agree::Assent {
                    hash,
                    commitment,
                    share,
                    vote,
                }
            }
            1 => {
                // Another commitment than the share was made with.
                let Some((_, other)) = tools.commit(hash, chance) else {
                    return vec![];
                };
                Agree::Assent {
                    hash,
                    commitment: other,
                    share,
                    vote,
                }
            }
            _ => {
                // The vote of another verb.
                let vote = tools.vote(Verb::Deny, hash);
                Agree::Assent {
                    hash,
                    commitment,
                    share,
                    vote,
                }
            }
        },
        Agree::Number { hash, number } => {
            let wrong = (number + 1) % 100;
            return vec![
                (
                    to,
                    Agree::Number {
                        hash,
                        number: wrong,
                    },
                ),
                (to, Agree::Number { hash, number }),
            ];
        }
        Agree::HeadIs {
            head, vote, ask, ..
        } => Agree::HeadIs {
            head,
            vote,
            ask,
            notice: chance.one_in(3),
        },
        other => other,
    };
    vec![(to, changed)]
}

/// Answers proposals at once, by its own hand.
pub(super) fn incoming(
    world: &World,
    account: usize,
    chance: &mut Chance,
    agree: &Agree,
) -> (Mail, bool) {
    let Agree::Propose {
        block, commitments, ..
    } = agree
    else {
        return (vec![], true);
    };
    let Some(tools) = Hostile::tools(world, account, Role::Device) else {
        return (vec![], true);
    };
    let hash = block.hash();
    match chance.below(5) {
        // Guess the number.
        0 => {
            let guesses = (0..3).map(|_| {
                let number = chance.below(100) as u8;
                (Role::Broker, Agree::Number { hash, number })
            });
            (guesses.collect(), true)
        }
        // Assent without the customer; with a share that fits or a forged one, votes in order.
        1 | 2 => {
            let Some((nonces, own)) = tools.commit(hash, chance) else {
                return (vec![], true);
            };
            let theirs = commitments.trust_operator.commitment;
            let package = Package::new([own, commitments.broker, theirs]);
            let Some(key_share) = &tools.share else {
                return (vec![], true);
            };
            let message = block.input().as_bytes();
            let Ok(honest) = share::sign(key_share, nonces, message, &hash.0, &package) else {
                return (vec![], true);
            };
            let share = if chance.one_in(2) {
                forged_share(chance)
            } else {
                honest
            };
            let assent = Agree::Assent {
                hash,
                commitment: own,
                share: tools.sign_share(hash, &package, share),
                vote: tools.vote(Verb::Assent, hash),
            };
            let asked = world.page_number(account, &block.claims().nonce);
            let number = asked.unwrap_or(0);
            let mail = vec![
                (Role::Broker, assent.clone()),
                (Role::Broker, Agree::Number { hash, number }),
                (Role::Broker, assent),
            ];
            (mail, true)
        }
        // Pretend to be locked on what was proposed.
        3 => (
            vec![(
                Role::Broker,
                Agree::Locked {
                    block: block.clone(),
                },
            )],
            true,
        ),
        _ => (vec![], true),
    }
}
