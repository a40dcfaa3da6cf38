//! One party's machine on a chain of known keys: what it answers at a bound and one step past it,
//! without the other two.

use std::sync::Arc;

use warifu_consensus::agree::{
    Device, Event, Founding, HeldWord, Input, Output, Record, TrustOperator, TrustOperatorOptions,
};
use warifu_consensus::block::{Block, Claims, Kind, Sealed};
use warifu_consensus::body::{Body, ContentKey, Salt, SealedBody, seal_body};
use warifu_consensus::chain::{Account, Head};
use warifu_consensus::encoding::{Context, Hash, derive, text_b64};
use warifu_consensus::party::Role;
use warifu_consensus::share::Commitment;
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::time::Time;
use warifu_consensus::vote::{Verb, Word};
use warifu_consensus::wire::{Agree, OperatorCommitments, Reason, SaltBytes, SignedCommitment};

use crate::support::{Counter, House, IAT, NONCE, TRANSCRIPT, house};

/// Any moment in the life of a block of `IAT`.
pub(crate) const NOW: Time = Time::from_seconds(IAT + 10);
/// When an unsealed genesis is dead.
pub(crate) const DEADLINE: Time = Time::from_seconds(IAT + 60);
/// The trust operator's own delay of an unfreeze.
pub(crate) const DELAY_S: u64 = 600;
const SESSION: [u8; 32] = [5; 32];
const CONTENT_KEY: [u8; 32] = [6; 32];
const SALT: [u8; 32] = [7; 32];

/// An account of which one party's records are made up.
pub(crate) struct Chain {
    pub(crate) house: House,
    pub(crate) blocks: Vec<Sealed>,
    pub(crate) account: Account,
}

pub(crate) fn founding(house: &House) -> Founding {
    Founding {
        ledger: house.ledger(),
        sub: house.sub(),
        account_key: house.account.public(),
        parties: house.parties(),
        transcript: TRANSCRIPT,
        votes: Role::ALL.map(|role| house.vote(Verb::Transcript, role, TRANSCRIPT)),
        session: SESSION,
        deadline: DEADLINE,
    }
}

pub(crate) fn genesis_claims(house: &House) -> Claims {
    Claims {
        nonce: text_b64(&SESSION),
        ..house.claims(Kind::Genesis, 0, Hash::ZERO)
    }
}

/// A genesis and blocks of these kinds above it.
pub(crate) fn chain(kinds: &[Kind]) -> Chain {
    let house = house();
    let genesis = house.seal(genesis_claims(&house));
    let account = Account::open(&house.ledger(), &genesis).unwrap();
    let mut chain = Chain {
        house,
        blocks: vec![genesis],
        account,
    };
    for kind in kinds {
        chain.grow(*kind);
    }
    chain
}

impl Chain {
    /// One more block, sealed by all that its kind needs.
    pub(crate) fn grow(&mut self, kind: Kind) -> Sealed {
        let sealed = self.house.next(&self.account, kind);
        self.account.next(&sealed).unwrap();
        self.blocks.push(sealed.clone());
        sealed
    }

    pub(crate) fn head(&self) -> Head {
        self.account.head()
    }

    /// The head at this height.
    pub(crate) fn head_at(&self, height: u64) -> Head {
        let hash = self.blocks[height as usize].block.hash();
        Head { height, hash }
    }

    /// The next block of this kind, another one for each number.
    pub(crate) fn proposal(&self, kind: Kind, number: u8) -> Block {
        let claims = self.house.next_claims(&self.account, kind);
        self.house.block(Claims {
            nonce: text_b64(&[number; 32]),
            ..claims
        })
    }

    /// The records of a party that saw these blocks.
    pub(crate) fn records(&self) -> Vec<Record> {
        let founding = Record::Founding(Box::new(founding(&self.house)));
        let blocks = self.blocks.iter().cloned();
        let blocks = blocks.map(|sealed| Record::Sealed(Box::new(sealed)));
        [founding].into_iter().chain(blocks).collect()
    }

    pub(crate) fn word(&self, verb: Verb, hash: Hash) -> Word {
        self.house.word(verb, hash)
    }

    /// The customer's freeze, about the block at this height.
    pub(crate) fn freeze(&self, height: u64) -> Agree {
        let word = self.word(Verb::Freeze, self.head_at(height).hash);
        let proposal = None;
        Agree::Word { word, proposal }
    }

    /// The customer's refusal of a proposal.
    pub(crate) fn refusal(&self, verb: Verb, proposal: &Block) -> Agree {
        Agree::Word {
            word: self.word(verb, proposal.hash()),
            proposal: Some(proposal.clone()),
        }
    }

    /// A freeze as it stands in the records of whoever holds it.
    pub(crate) fn held_freeze(&self, height: u64) -> Record {
        Record::Word(Box::new(HeldWord {
            word: self.word(Verb::Freeze, self.head_at(height).hash),
            proposal: None,
            above: height,
        }))
    }

    /// What this party says of a head.
    pub(crate) fn head_is(&self, of: Role, head: Option<Head>) -> Agree {
        Agree::HeadIs {
            head,
            vote: head.map(|h| self.house.vote(Verb::Head, of, h.hash)),
            ask: false,
            notice: false,
        }
    }

    /// The same, with the question for the other's head.
    pub(crate) fn asks(&self, of: Role, head: Option<Head>) -> Agree {
        Agree::HeadIs {
            head,
            vote: head.map(|h| self.house.vote(Verb::Head, of, h.hash)),
            ask: true,
            notice: false,
        }
    }
}

/// A sealed restrict block in another one's place, that other operators' copies would have signed.
pub(crate) fn rival(house: &House, like: &Block, kind: Kind, claims: fn(&mut Claims)) -> Sealed {
    let own = house.claims(kind, like.claims().height, like.claims().prev);
    let mut own = Claims { ..own };
    claims(&mut own);
    house.seal(own)
}

/// A machine of either party, what it stored, and its randomness.
pub(crate) struct Bench<M> {
    pub(crate) machine: M,
    pub(crate) records: Vec<Record>,
    entropy: Counter,
}

impl<M> Bench<M> {
    fn new(machine: M, records: Vec<Record>) -> Self {
        Self {
            machine,
            records,
            entropy: Counter(1),
        }
    }

    fn keep(&mut self, outputs: Vec<Output>) -> Vec<Output> {
        let stored = outputs.iter().filter_map(|output| match output {
            Output::Store(record) => Some(record.clone()),
            _ => None,
        });
        self.records.extend(stored);
        outputs
    }
}

pub(crate) fn trust_operator(records: Vec<Record>) -> Bench<TrustOperator> {
    let key = Arc::new(IdentityKey::from_seed([3; 32]));
    let options = TrustOperatorOptions {
        unfreeze_delay_s: DELAY_S,
    };
    let machine = TrustOperator::recover(records.clone(), key, None, options).unwrap();
    Bench::new(machine, records)
}

/// A trust operator with a broker that compared heads.
pub(crate) fn compared(chain: &Chain, records: Vec<Record>) -> Bench<TrustOperator> {
    let mut bench = trust_operator(records);
    bench.handle(NOW, Input::LineUp(Role::Broker));
    let head = chain.head_is(Role::Broker, bench.machine.base().head());
    bench.hear(NOW, Role::Broker, head);
    bench
}

impl Bench<TrustOperator> {
    pub(crate) fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        let outputs = self.machine.handle(now, input, &mut self.entropy);
        self.keep(outputs)
    }

    pub(crate) fn hear(&mut self, now: Time, from: Role, agree: Agree) -> Vec<Output> {
        self.handle(now, Input::Message { from, agree })
    }
}

pub(crate) fn device(records: Vec<Record>) -> Bench<Device> {
    let key = Arc::new(IdentityKey::from_seed([1; 32]));
    let content_key = ContentKey::from_bytes(CONTENT_KEY);
    let machine = Device::recover(records.clone(), key, None, content_key).unwrap();
    Bench::new(machine, records)
}

impl Bench<Device> {
    pub(crate) fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        let outputs = self.machine.handle(now, input, &mut self.entropy);
        self.keep(outputs)
    }

    pub(crate) fn hear(&mut self, now: Time, from: Role, agree: Agree) -> Vec<Output> {
        self.handle(now, Input::Message { from, agree })
    }
}

/// A proposal with all that the broker sends along.
#[derive(Clone)]
pub(crate) struct Proposed {
    pub(crate) block: Block,
    pub(crate) body: SealedBody,
    pub(crate) shown: Body,
    commitments: OperatorCommitments,
}

/// A commitment that nobody has nonces for: three keys' points are points.
fn commitment(number: u8) -> Commitment {
    let point = |n| IdentityKey::from_seed([n; 32]).public();
    let bytes = [point(number), point(number.wrapping_add(100))].concat();
    Commitment::decode(&bytes).unwrap()
}

impl Chain {
    /// A proposal of these claims, encrypted for the device of [`device`].
    pub(crate) fn proposed(&self, claims: Claims, number: u8) -> Proposed {
        let shown = Body {
            channel: "web".into(),
            address: String::new(),
            details: vec![],
            reference: (claims.kind == Kind::Unfreeze).then(|| "desk".to_owned()),
        };
        let salt = Salt::from_bytes(SALT);
        let key = ContentKey::from_bytes(CONTENT_KEY);
        let mut claims = claims;
        let mut entropy = Counter(number.into());
        let body = seal_body(&key, &salt, &claims, &shown, &mut entropy).unwrap();
        claims.body = Some(body.claim());
        let block = self.house.block(claims);
        let commitments = self.commitments(&block, number);
        Proposed {
            block,
            body,
            shown,
            commitments,
        }
    }

    /// Both operators' commitments to a block, the trust operator's with its vote.
    pub(crate) fn commitments(&self, block: &Block, number: u8) -> OperatorCommitments {
        let own = commitment(number);
        let object = derive(Context::Commitment, &[&block.hash().0, own.as_bytes()]);
        let vote = self
            .house
            .vote(Verb::Commitment, Role::TrustOperator, object);
        let trust_operator = SignedCommitment {
            commitment: own,
            vote,
        };
        OperatorCommitments {
            broker: commitment(number),
            trust_operator,
        }
    }

    /// A login at the next height.
    pub(crate) fn login(&self, number: u8) -> Proposed {
        self.proposed(self.house.next_claims(&self.account, Kind::Login), number)
    }
}

impl Proposed {
    pub(crate) fn hash(&self) -> Hash {
        self.block.hash()
    }

    pub(crate) fn propose(&self) -> Agree {
        Agree::Propose {
            block: self.block.clone(),
            body: Some(self.body.clone()),
            salt: Some(SaltBytes(SALT)),
            commitments: self.commitments.clone(),
        }
    }
}

/// What is said to a party.
pub(crate) fn said(outputs: &[Output], whom: Role) -> Vec<Agree> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send { to, agree } if *to == whom => Some(agree.clone()),
        _ => None,
    });
    sent.collect()
}

/// What is told to whoever watches.
pub(crate) fn events(outputs: &[Output]) -> Vec<Event> {
    let told = outputs.iter().filter_map(|output| match output {
        Output::Tell(event) => Some(event.clone()),
        _ => None,
    });
    told.collect()
}

/// What is stored.
pub(crate) fn stored(outputs: &[Output]) -> Vec<Record> {
    let stored = outputs.iter().filter_map(|output| match output {
        Output::Store(record) => Some(record.clone()),
        _ => None,
    });
    stored.collect()
}

/// The ranges of blocks that are read from the store and sent.
pub(crate) fn shown(outputs: &[Output]) -> Vec<(Role, u64, u64)> {
    let ranges = outputs.iter().filter_map(|output| match output {
        Output::SendBlocks { to, from, until } => Some((*to, *from, *until)),
        _ => None,
    });
    ranges.collect()
}

/// Why the message was refused, and that nothing else came of it.
pub(crate) fn rejected(outputs: &[Output]) -> String {
    match outputs {
        [Output::Tell(Event::Rejected { refusal, .. })] => refusal.to_string(),
        other => panic!("expected a refusal and nothing else, found {other:?}"),
    }
}

/// Why another party is refused.
pub(crate) fn refused(outputs: &[Output]) -> Option<Reason> {
    outputs.iter().find_map(|output| match output {
        Output::Send {
            agree: Agree::Refused { reason, .. },
            ..
        } => Some(reason.clone()),
        _ => None,
    })
}

/// The challenge of every block of the house, for those that must differ from it.
pub(crate) const OTHER_NONCE: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA";
const _: () = assert!(NONCE.len() == OTHER_NONCE.len());

/// So many milliseconds later.
pub(crate) fn later(time: Time, ms: u64) -> Time {
    Time(time.0 + ms)
}

/// So many milliseconds before.
pub(crate) fn before(time: Time, ms: u64) -> Time {
    Time(time.0 - ms)
}
