//! What any cheat does to a real message: one field altered, signed again with its own key.

use warifu_consensus::{
    block::{Block, Claims, Kind, Sealed, Votes},
    chain::Head,
    encoding::Hash,
    party::{Role, Sub},
    vote::{Verb, Word},
    wire::{Agree, Reason},
};

use super::{Tools, altered_claims};
use crate::chance::Chance;

/// One claim altered.
fn alter_claims(claims: &Claims, other: Option<Sub>, chance: &mut Chance) -> Claims {
    let mut c = claims.clone();
    let kinds = Kind::ALL;
    match chance.below(11) {
        0 => c.height += 1,
        1 => c.height = c.height.saturating_sub(1),
        2 => c.prev = Hash(chance.bytes()),
        3 => c.epoch += 1,
        4 => {
            c.iat += 1_000;
            c.exp += 1_000;
        }
        5 => {
            c.iat -= 1_000;
            c.exp -= 1_000;
        }
        6 => c.exp += 200,
        7 => c.aud = "https://other.example".into(),
        8 => c.kind = kinds[chance.below(kinds.len() as u64) as usize],
        9 => c.sub = other.unwrap_or(c.sub),
        _ => return altered_claims(claims, chance),
    }
    c
}

fn alter_block(block: &Block, key: &[u8; 32], other: Option<Sub>, chance: &mut Chance) -> Block {
    let claims = alter_claims(block.claims(), other, chance);
    // Claims that no block may have are not sent: the codec would not take them.
    Block::new(claims, key).unwrap_or_else(|_| block.clone())
}

fn alter_sealed(sealed: &Sealed, chance: &mut Chance) -> Sealed {
    let mut altered = sealed.clone();
    match &mut altered.votes {
        Votes::Admit {
            assent,
            endorse,
            seal,
        } => match chance.below(3) {
            0 => *assent = *endorse,
            1 => *endorse = *seal,
            _ => *seal = *assent,
        },
        Votes::Restrict { word } => *word = None,
        Votes::Genesis { transcript, .. } => transcript.swap(0, 1),
    }
    altered
}

/// The message altered; `other` is another account of the same operators.
pub(super) fn alter(
    tools: &Tools<'_>,
    account_key: &[u8; 32],
    other: Option<Sub>,
    agree: Agree,
    chance: &mut Chance,
) -> Agree {
    let block_of =
        |block: &Block, chance: &mut Chance| alter_block(block, account_key, other, chance);
    match agree {
        Agree::Prepare { block } => Agree::Prepare {
            block: block_of(&block, chance),
        },
        Agree::Propose {
            block,
            body,
            salt,
            commitments,
        } => Agree::Propose {
            block: block_of(&block, chance),
            body,
            salt,
            commitments,
        },
        Agree::Endorse {
            block,
            commitments,
            own,
            shares,
            assent,
            ..
        } => {
            let block = block_of(&block, chance);
            Agree::Endorse {
                endorse: tools.vote(Verb::Endorse, block.hash()),
                block,
                commitments,
                own,
                shares,
                assent,
            }
        }
        Agree::Restrict {
            block,
            superseded,
            word,
            proposal,
            ..
        } => {
            let block = block_of(&block, chance);
            let signature = tools.key.sign(block.input().as_bytes()).into();
            let word = word.filter(|_| !chance.one_in(3));
            Agree::Restrict {
                block,
                signature,
                superseded,
                word,
                proposal,
            }
        }
        Agree::HeadIs {
            head: Some(head),
            ask,
            notice,
            ..
        } => {
            let head = match chance.below(3) {
                0 => Head {
                    height: head.height + 1 + chance.below(3),
                    hash: Hash(chance.bytes()),
                },
                1 => Head {
                    hash: Hash(chance.bytes()),
                    ..head
                },
                _ => Head {
                    height: head.height + 1,
                    ..head
                },
            };
            Agree::HeadIs {
                vote: Some(tools.vote(Verb::Head, head.hash)),
                head: Some(head),
                ask,
                notice: notice != chance.one_in(2),
            }
        }
        Agree::Ack { head } => Agree::Ack {
            head: Head {
                height: head.height + chance.below(2),
                hash: Hash(chance.bytes()),
            },
        },
        Agree::BlocksFrom { .. } => Agree::BlocksFrom {
            height: [0, u64::MAX, 1][chance.below(3) as usize],
        },
        Agree::Blocks { sealed } => Agree::Blocks {
            sealed: sealed.iter().map(|s| alter_sealed(s, chance)).collect(),
        },
        Agree::Word { word, proposal } => {
            let verbs = [Verb::Deny, Verb::Disown, Verb::Freeze, Verb::Assent];
            let verb = verbs[chance.below(4) as usize];
            Agree::Word {
                word: Word::sign(tools.key, verb, tools.sub, word.hash),
                proposal: proposal.filter(|_| chance.one_in(2)),
            }
        }
        Agree::Refused { hash, .. } => {
            let reasons = [
                Reason::Denied,
                Reason::Restored,
                Reason::Expired,
                Reason::Conflict,
                Reason::Dead,
            ];
            let culprit = Role::ALL[chance.below(3) as usize];
            let reason = match chance.below(6) {
                5 => Reason::Fault { culprit },
                n => reasons[n as usize].clone(),
            };
            Agree::Refused { hash, reason }
        }
        Agree::Locked { block } => Agree::Locked {
            block: block_of(&block, chance),
        },
        Agree::NotYet { hash, .. } => Agree::NotYet {
            hash,
            wait_s: [0, 7, u64::MAX][chance.below(3) as usize],
        },
        Agree::Number { hash, .. } => Agree::Number {
            hash,
            number: chance.below(256) as u8,
        },
        other => other,
    }
}
