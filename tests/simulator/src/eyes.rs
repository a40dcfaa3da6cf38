//! What the auditor is shown: records, messages and events, spelled as plain bytes and texts.
//!
//! Only spells; judges nothing. The one place where the parties' types and the auditor's meet.

use warifu_consensus::{
    agree::{Event, Outcome, Record},
    block::Block,
    party::Role,
    vote::Vote,
    wire::{self, Agree},
};

use super::audit::{Kept, Said, SignedCommitment, SignedShare, Told, text::Party};

/// The largest record in bytes, as a node's journal takes them.
const MAX_RECORD: usize = 250 * 1024;

/// A role as the auditor names it.
#[must_use]
pub const fn party(role: Role) -> Party {
    match role {
        Role::Device => Party::Device,
        Role::Broker => Party::Broker,
        Role::TrustOperator => Party::TrustOperator,
    }
}

/// A record's bytes on a disk.
#[must_use]
pub fn record_bytes(record: &Record) -> Vec<u8> {
    wire::encode::<Record, MAX_RECORD>(record).expect("a record fits the journal")
}

/// A record from its bytes.
///
/// # Errors
/// Why they are none.
pub fn record_from(bytes: &[u8]) -> Result<Record, String> {
    wire::decode::<Record, MAX_RECORD>(bytes).map_err(|error| error.to_string())
}

fn input(block: &Block) -> String {
    block.input().to_owned()
}

fn signature(vote: &Vote) -> [u8; 64] {
    let Vote::Ed25519(bytes) = vote;
    *bytes
}

/// A record as it lies on a disk.
#[must_use]
pub fn kept(record: &Record) -> Kept {
    match record {
        Record::Founding(f) => Kept::Founding {
            account_key: f.account_key,
            parties: Role::ALL.map(|role| *f.parties.key(role)),
            sub: f.sub.to_string(),
        },
        Record::Sealed(sealed) => Kept::Sealed(sealed.to_json()),
        Record::DeviceLock(block) => Kept::Lock(input(block)),
        Record::BrokerLock(lock) => Kept::Lock(input(&lock.block)),
        Record::RestrictLock(lock) => Kept::Restrict(input(&lock.block)),
        Record::Word(held) => {
            let proposal = held.proposal.as_ref().map(input);
            Kept::Word(held.word.verb.number(), held.word.hash.0, proposal)
        }
        Record::FreezeWanted { .. } => Kept::FreezeWanted,
        Record::FrozenAt { at } => Kept::FrozenAt(at.0),
        Record::Conflict(_) => Kept::Conflict,
        _ => Kept::Other,
    }
}

fn commitment(signed: &wire::SignedCommitment) -> SignedCommitment {
    SignedCommitment(*signed.commitment.as_bytes(), signature(&signed.vote))
}

fn share(signed: &wire::SignedShare) -> SignedShare {
    SignedShare(signed.share.to_bytes(), signature(&signed.vote))
}

/// A message as it travels.
#[must_use]
pub fn said(agree: &Agree) -> Said {
    match agree {
        Agree::Committed {
            hash,
            commitment: c,
        } => Said::Committed(hash.0, commitment(c)),
        Agree::Propose {
            block, commitments, ..
        } => Said::Proposed(
            input(block),
            *commitments.broker.as_bytes(),
            commitment(&commitments.trust_operator),
        ),
        Agree::Assent {
            hash,
            commitment: c,
            share: s,
            vote,
        } => Said::Assent(hash.0, *c.as_bytes(), share(s), signature(vote)),
        Agree::Endorse {
            block,
            commitments: [device, broker],
            own,
            shares: [one, two],
            endorse,
            ..
        } => Said::Endorse {
            input: input(block),
            package: [*device.as_bytes(), *broker.as_bytes(), own.0],
            shares: [share(one), share(two)],
            endorse: signature(endorse),
        },
        Agree::Restrict {
            block,
            signature,
            superseded,
            ..
        } => Said::Restrict(input(block), signature.0, superseded.as_ref().map(input)),
        Agree::HeadIs {
            head: Some(head),
            vote,
            ..
        } => Said::Head(head.height, head.hash.0, vote.as_ref().map(signature)),
        Agree::Ack { head } => Said::Ack(head.height, head.hash.0),
        Agree::Blocks { sealed } => Said::Blocks(sealed.iter().map(|s| s.to_json()).collect()),
        Agree::Word { word, proposal } => Said::Word(
            word.verb.number(),
            word.hash.0,
            signature(&word.vote),
            proposal.as_ref().map(input),
        ),
        _ => Said::Other,
    }
}

/// An event as it is told.
#[must_use]
pub fn told(event: &Event) -> Told {
    match event {
        Event::Began { login, number, .. } => Told::Began(login.0, *number),
        Event::NotBegun { login, .. } => Told::NotBegun(login.0),
        Event::Ended { login, outcome } => {
            let by = match outcome {
                Outcome::Admitted(sealed) => Some(sealed.to_json()),
                _ => None,
            };
            Told::Ended(login.0, by)
        }
        Event::Sealed(sealed) => Told::Sealed(sealed.block.hash().0),
        Event::Dead => Told::Dead,
        Event::Fault(fault) => Told::Fault(party(fault.culprit), fault.to_string()),
        _ => Told::Other,
    }
}

/// What everybody pins.
#[must_use]
pub fn pins(operators: &super::founded::Operators) -> super::audit::Pins {
    super::audit::Pins {
        origin: operators.ledger.iss.clone(),
        broker: operators.ledger.broker,
        trust_operator: operators.ledger.trust_operator,
    }
}
