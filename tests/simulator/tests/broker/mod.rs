//! A broker alone: what it hears is put in by hand, what it asks for is looked at. The test plays the
//! trust operator and the device, with their keys and shares.

mod begins;
mod clocks;
mod heads;
mod restricts;
mod signs;
mod stands;

use std::sync::Arc;

use warifu_consensus::{
    agree::{
        Begin, Broker, Device, Event, Input, LoginId, Outcome, Output, Record, Refusal,
        TrustOperator, TrustOperatorOptions, package_hash,
    },
    block::{Block, Claims, Kind, Proof, Sealed, Votes},
    body::{Body, ContentKey},
    chain::{Head, Status},
    encoding::{Context, Hash, derive, text_b64},
    party::{Role, Sub},
    random::Entropy,
    share::{self, Commitment, KeyShare, Nonces, Package, SignatureShare},
    signature::IdentityKey,
    time::{RESTRICT_LIFETIME_S, Time},
    vote::{Statement, Verb, Vote, Word},
    wire::{Agree, Reason, SignedCommitment, SignedShare},
};
use warifu_simulator::{
    chance::Chance,
    founded::{Founded, START_MS, operators},
    party::at,
    standing,
};

/// See the module.
struct Lone {
    broker: Broker,
    now: Time,
    /// All that it asked to be made durable, and what it started from.
    records: Vec<Record>,
    chance: Chance,
    logins: u8,
}

fn account() -> &'static Founded {
    &standing()[0]
}

/// A party's identity key.
fn key(role: Role) -> &'static IdentityKey {
    match role {
        Role::Device => &account().device,
        Role::Broker => &operators().broker,
        Role::TrustOperator => &operators().trust_operator,
    }
}

fn share(role: Role) -> KeyShare {
    KeyShare::decode(&account().shares[at(role)]).expect("a share")
}

fn sub() -> Sub {
    account().founding.sub
}

/// A vote of a party's.
fn vote(role: Role, verb: Verb, hash: Hash) -> Vote {
    let sub = sub();
    let statement = Statement {
        verb,
        role,
        sub,
        hash,
    };
    Vote::sign(key(role), &statement)
}

/// A machine of these records, with the key share and the content key or without.
fn recover(records: &[Record], with_share: bool, with_content: bool) -> Broker {
    let content_key = with_content.then(|| ContentKey::from_bytes(account().content_key));
    let share = with_share.then(|| share(Role::Broker));
    let key = operators().broker.clone();
    Broker::recover(records.to_vec(), key, share, content_key).expect("a journal")
}

/// The journal of a broker whose account has its genesis and nothing else.
fn journal() -> Vec<Record> {
    account().journals[at(Role::Broker)].clone()
}

/// The messages for a party among these outputs.
fn sent(outputs: &[Output], to: Role) -> Vec<Agree> {
    let sends = outputs.iter().filter_map(|o| match o {
        Output::Send { to: of, agree } if *of == to => Some(agree.clone()),
        _ => None,
    });
    sends.collect()
}

/// The names of the messages for a party.
fn names(outputs: &[Output], to: Role) -> Vec<&'static str> {
    sent(outputs, to).iter().map(Agree::name).collect()
}

/// What is told.
fn events(outputs: &[Output]) -> Vec<Event> {
    let tells = outputs.iter().filter_map(|o| match o {
        Output::Tell(event) => Some(event.clone()),
        _ => None,
    });
    tells.collect()
}

/// What is made durable.
fn stored(outputs: &[Output]) -> Vec<Record> {
    let stores = outputs.iter().filter_map(|o| match o {
        Output::Store(record) => Some(record.clone()),
        _ => None,
    });
    stores.collect()
}

/// The restrict block that is sent to be sealed.
fn restrict(outputs: &[Output]) -> Option<Block> {
    let mut sends = sent(outputs, Role::TrustOperator).into_iter();
    sends.find_map(|agree| match agree {
        Agree::Restrict { block, .. } => Some(block),
        _ => None,
    })
}

/// Whether a message was refused without effect.
fn is_rejected(outputs: &[Output]) -> bool {
    matches!(outputs, [Output::Tell(Event::Rejected { .. })])
}

impl Lone {
    /// Just started: no line is up.
    fn started(records: Vec<Record>) -> Self {
        let lone = Self {
            broker: recover(&records, true, true),
            now: Time(START_MS + 1_000_000),
            records,
            chance: Chance::new(1, 9),
            logins: 0,
        };
        assert_eq!(lone.broker.deadline(), None);
        lone
    }

    /// Both lines up and heads compared.
    fn ready() -> Self {
        let mut lone = Self::started(journal());
        lone.put(Input::LineUp(Role::Device));
        lone.meet();
        lone
    }

    /// Time passes; nobody calls.
    fn wait_ms(&mut self, ms: u64) {
        self.now = Time(self.now.0 + ms);
    }

    /// An input, and what is asked for then.
    fn put(&mut self, input: Input) -> Vec<Output> {
        let outputs = self.broker.handle(self.now, input, &mut self.chance);
        self.records.extend(stored(&outputs));
        outputs
    }

    /// An input under another randomness.
    fn put_with(&mut self, input: Input, entropy: &mut impl Entropy) -> Vec<Output> {
        let outputs = self.broker.handle(self.now, input, entropy);
        self.records.extend(stored(&outputs));
        outputs
    }

    fn hear(&mut self, from: Role, agree: Agree) -> Vec<Output> {
        self.put(Input::Message { from, agree })
    }

    /// It stops and starts again from what it made durable, at the same moment.
    fn restart(&mut self) {
        self.broker = recover(&self.records, true, true);
    }

    fn head(&self) -> Head {
        self.broker.base().head().expect("a genesis")
    }

    /// The line to the trust operator comes up, and it has the same head.
    fn meet(&mut self) -> Vec<Output> {
        let asked = self.put(Input::LineUp(Role::TrustOperator));
        assert!(names(&asked, Role::TrustOperator).contains(&"head"));
        assert!(!self.broker.has_compared());
        let outputs = self.says_head(Role::TrustOperator, self.head(), false);
        assert!(self.broker.has_compared());
        outputs
    }

    /// A party says what its head is; `notice`: that it is a restored copy.
    fn says_head(&mut self, from: Role, head: Head, notice: bool) -> Vec<Output> {
        let vote = Some(vote(from, Verb::Head, head.hash));
        let agree = Agree::HeadIs {
            head: Some(head),
            vote,
            ask: false,
            notice,
        };
        self.hear(from, agree)
    }

    /// What a login service asks for.
    fn request(&mut self, kind: Kind) -> Begin {
        self.logins += 1;
        Begin {
            login: LoginId([self.logins; 16]),
            caller: "shop".into(),
            aud: "https://shop.example".into(),
            nonce: text_b64(&[self.logins; 16]),
            kind,
            body: Body {
                channel: "web".into(),
                address: String::new(),
                details: vec![],
                reference: (kind == Kind::Unfreeze).then(|| "desk 4711".to_owned()),
            },
            lifetime_s: 90,
        }
    }

    fn begin(&mut self, kind: Kind) -> (LoginId, Vec<Output>) {
        let begin = self.request(kind);
        (begin.login, self.put(Input::Begin(Box::new(begin))))
    }

    /// The proposal that a begun login opens: its login, its number and its block.
    fn open(&mut self, kind: Kind) -> (LoginId, u8, Block) {
        let (login, outputs) = self.begin(kind);
        let events = events(&outputs);
        let [Event::Began { number, .. }] = events[..] else {
            panic!("not begun: {events:?}");
        };
        let sends = sent(&outputs, Role::TrustOperator);
        let [Agree::Prepare { block }] = &sends[..] else {
            panic!("not prepared: {sends:?}");
        };
        (login, number, block.clone())
    }

    /// The trust operator's commitment to a block.
    fn committed(&mut self, block: &Block) -> (Nonces, Agree) {
        let hash = block.hash();
        let share = share(Role::TrustOperator);
        let (nonces, commitment) = share::commit(&share, hash.0, &mut self.chance);
        let object = derive(Context::Commitment, &[&hash.0, commitment.as_bytes()]);
        let vote = vote(Role::TrustOperator, Verb::Commitment, object);
        let commitment = SignedCommitment { vote, commitment };
        (nonces, Agree::Committed { hash, commitment })
    }

    /// The trust operator commits: what it keeps, and the proposal that the device gets.
    fn propose(&mut self, block: &Block) -> (Nonces, Agree) {
        let (nonces, committed) = self.committed(block);
        let outputs = self.hear(Role::TrustOperator, committed);
        let mut sends = sent(&outputs, Role::Device);
        assert_eq!(sends.len(), 1, "{sends:?}");
        (nonces, sends.remove(0))
    }

    /// The device's assent to what it was proposed; `spoil`: with a share that fits nothing.
    fn assent(&mut self, propose: &Agree, spoil: bool) -> Agree {
        let Agree::Propose {
            block, commitments, ..
        } = propose
        else {
            panic!("{} is no proposal", propose.name());
        };
        let hash = block.hash();
        let share = share(Role::Device);
        let (nonces, commitment) = share::commit(&share, hash.0, &mut self.chance);
        let theirs = commitments.trust_operator.commitment;
        let package = Package::new([commitment, commitments.broker, theirs]);
        let message = block.input().as_bytes();
        let mut signed = share::sign(&share, nonces, message, &hash.0, &package).expect("a share");
        if spoil {
            let mut one = [0; 32];
            one[0] = 1;
            signed = SignatureShare::decode(&one).expect("a scalar");
        }
        let object = [&hash.0, &package_hash(&package).0, &signed.to_bytes()];
        let object = derive(Context::Share, &object.map(|part| part.as_slice()));
        let share = SignedShare {
            vote: vote(Role::Device, Verb::Share, object),
            share: signed,
        };
        let vote = vote(Role::Device, Verb::Assent, hash);
        Agree::Assent {
            hash,
            commitment,
            share,
            vote,
        }
    }

    /// A login that is locked here: its name, its block and the endorsement that is on its way.
    fn lock(&mut self, kind: Kind) -> (LoginId, Block, Nonces, Agree) {
        let (login, number, block) = self.open(kind);
        let (nonces, propose) = self.propose(&block);
        let hash = block.hash();
        let matched = self.hear(Role::Device, Agree::Number { hash, number });
        assert_eq!(names(&matched, Role::Device), ["match"]);
        let assent = self.assent(&propose, false);
        let outputs = self.hear(Role::Device, assent);
        let mut sends = sent(&outputs, Role::TrustOperator);
        assert_eq!(sends.len(), 1, "{outputs:?}");
        (login, block, nonces, sends.remove(0))
    }

    /// What the trust operator makes of an endorsement.
    fn sealed(&self, nonces: Nonces, endorse: &Agree) -> Sealed {
        let Agree::Endorse {
            block,
            commitments: [device, broker],
            own,
            shares: [one, two],
            assent,
            endorse,
        } = endorse
        else {
            panic!("{} is no endorsement", endorse.name());
        };
        let (share, hash) = (share(Role::TrustOperator), block.hash());
        let own = Commitment::decode(&own.0).expect("its own");
        let package = Package::new([*device, *broker, own]);
        let message = block.input().as_bytes();
        let theirs = [one.share, two.share];
        let proof = share::complete(&share, nonces, message, &hash.0, &package, theirs);
        Sealed {
            block: block.clone(),
            proof: Proof::Account(proof.expect("a signature")),
            votes: Votes::Admit {
                assent: *assent,
                endorse: *endorse,
                seal: vote(Role::TrustOperator, Verb::Seal, hash),
            },
        }
    }

    /// A restrict block that only the operators sign, next on the head.
    fn next(&self, kind: Kind, nonce: u8) -> Sealed {
        sealed_by_operators(self.block(kind, nonce), None)
    }

    /// A block that could be the next one.
    fn block(&self, kind: Kind, nonce: u8) -> Block {
        block_on(self.head(), kind, self.now.seconds(), nonce)
    }

    fn blocks(&mut self, from: Role, sealed: Vec<Sealed>) -> Vec<Output> {
        self.hear(from, Agree::Blocks { sealed })
    }

    /// The trust operator seals the restrict block that this broker sends.
    fn seal(&mut self, outputs: &[Output]) -> Vec<Output> {
        let sends = sent(outputs, Role::TrustOperator);
        let restrict = sends.iter().find_map(|agree| match agree {
            Agree::Restrict { block, word, .. } => Some((block.clone(), *word)),
            _ => None,
        });
        let (block, word) = restrict.expect("a restrict block");
        let sealed = sealed_by_operators(block, word);
        self.blocks(Role::TrustOperator, vec![sealed])
    }

    /// The device says a word.
    fn word(&self, verb: Verb, proposal: Option<&Block>) -> Agree {
        let hash = proposal.map_or(self.head().hash, Block::hash);
        Agree::Word {
            word: Word::sign(key(Role::Device), verb, sub(), hash),
            proposal: proposal.cloned(),
        }
    }
}

/// A block of this kind on a head.
fn block_on(head: Head, kind: Kind, iat: u64, nonce: u8) -> Block {
    let founding = &account().founding;
    let is_admit = kind.is_asked();
    let iss = founding.ledger.iss.clone();
    let claims = Claims {
        aud: iss.clone(),
        iss,
        sub: founding.sub,
        iat,
        exp: iat + RESTRICT_LIFETIME_S,
        nonce: text_b64(&[nonce; 16]),
        kind,
        height: head.height + 1,
        prev: head.hash,
        epoch: 0,
        body: is_admit.then_some(Hash([nonce; 32])),
        supersedes: None,
        genesis: None,
    };
    Block::new(claims, &founding.account_key).expect("a block")
}

/// A restrict block with both operators' signatures.
fn sealed_by_operators(block: Block, word: Option<Word>) -> Sealed {
    let message = block.input().as_bytes();
    let proof = Proof::Operators {
        broker: operators().broker.sign(message),
        trust_operator: operators().trust_operator.sign(message),
    };
    Sealed {
        block,
        proof,
        votes: Votes::Restrict { word },
    }
}

/// A block that nobody knows.
const OTHER: Hash = Hash([7; 32]);

/// The ends of logins that are told.
fn ends(outputs: &[Output]) -> Vec<(LoginId, Outcome)> {
    let ended = events(outputs).into_iter().filter_map(|event| match event {
        Event::Ended { login, outcome } => Some((login, outcome)),
        _ => None,
    });
    ended.collect()
}

/// How logins end that are told.
fn ended(outputs: &[Output]) -> Vec<Outcome> {
    let ended = events(outputs).into_iter().filter_map(|event| match event {
        Event::Ended { outcome, .. } => Some(outcome),
        _ => None,
    });
    ended.collect()
}

fn refusal(by: Role, reason: Reason) -> Outcome {
    Outcome::Refused { by, reason }
}

fn kind(outputs: &[Output]) -> Option<Kind> {
    restrict(outputs).map(|block| block.claims().kind)
}

fn is_told(outputs: &[Output], so: impl Fn(&Event) -> bool) -> bool {
    events(outputs).iter().any(so)
}

/// The range of sealed blocks that a party gets.
fn shown(outputs: &[Output], of: Role) -> Option<(u64, u64)> {
    outputs.iter().find_map(|output| match output {
        Output::SendBlocks { to, from, until } if *to == of => Some((*from, *until)),
        _ => None,
    })
}

/// The head of who has none.
fn quiet() -> Agree {
    Agree::HeadIs {
        head: None,
        vote: None,
        ask: false,
        notice: false,
    }
}

/// Takes an open login back.
fn cancel(lone: &mut Lone, login: LoginId) {
    let outputs = lone.put(Input::Cancel { login });
    let expected = (login, refusal(Role::Broker, Reason::Cancelled));
    assert_eq!(ends(&outputs), [expected]);
    assert_eq!(names(&outputs, Role::Device), ["refused"]);
}
