//! A device with a real key that says what is not its to say, to real operators.

use std::{fs, path::Path, sync::Arc, time::Duration};

use warifu_client_sdk::{
    runtime::Keeper,
    store::{JournalOptions, JournalStore, MasterKey, MemoryIndex, Vault},
    transport::{
        Admission, Admit, IdentitySecret, Limits, NetEvent, NetEvents, Network, NetworkOptions,
    },
};
use warifu_consensus::{
    agree::Record,
    block::{Block, Kind, Sealed},
    encoding::Hash,
    party::{Ledger, Role, Sub},
    share::{Commitment, SignatureShare},
    signature::IdentityKey,
    vote::{Statement, Verb, Vote, Word},
    wire::{Agree, Clock, Message, OperatorCommitments, Reason, SignedCommitment, SignedShare},
};
use warifu_tests::processes::{Node, Testnet};

use super::warifu;

/// How long an operator may take to cut a line.
const SOON: Duration = Duration::from_secs(10);
/// How long a line that stays is watched.
const WHILE: Duration = Duration::from_millis(300);

/// What an enrolment left in the device's directory.
struct Stolen {
    ledger: Ledger,
    accounts: Vec<(Sub, [u8; 32], Vec<Sealed>)>,
}

impl Stolen {
    fn from(net: &Testnet) -> Self {
        let ledger = warifu_node::config::read_ledger(Path::new(&net.ledger())).unwrap();
        let master = fs::read(net.dir.join("device.master-key")).unwrap();
        let master: [u8; 32] = master.try_into().unwrap();
        let data = net.node(Node::Device).join("data");
        let options = JournalOptions::new(ledger.iss.clone(), Role::Device.number());
        let index = || Ok(MemoryIndex::default());
        let store = JournalStore::open(&data, options, index, &mut |_, _| {}).unwrap();
        let key = MasterKey::from_bytes(master.into());
        let vault = Vault::open(&data.join("vault"), &key, &ledger.iss).unwrap();
        let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
        let subs = keeper.accounts().unwrap();
        let of = |sub: Sub| {
            let seed = keeper.secrets(&sub).unwrap().identity.unwrap();
            let records = keeper.records(&sub).unwrap();
            let sealed = records.into_iter().filter_map(|record| match record {
                Record::Sealed(sealed) => Some(*sealed),
                _ => None,
            });
            (sub, *seed, sealed.collect())
        };
        Self {
            accounts: subs.into_iter().map(of).collect(),
            ledger,
        }
    }
}

struct Nobody;

impl Admission for Nobody {
    fn admit(&self, _: &[u8; 32]) -> Admit {
        Admit::No
    }
}

/// A line to one operator, dialled again when it is cut.
struct Line {
    network: Network,
    events: NetEvents,
    peer: [u8; 32],
}

impl Line {
    async fn to(net: &Testnet, node: Node, peer: [u8; 32], seed: [u8; 32]) -> Self {
        let limits = Limits {
            redial_first: Duration::from_millis(10),
            redial_longest: Duration::from_millis(50),
            redial_spread: Duration::ZERO,
            ..Limits::default()
        };
        let (network, events) = Network::start(NetworkOptions {
            identity: IdentitySecret::new(seed),
            listen: Vec::new(),
            admission: Arc::new(Nobody),
            limits,
        })
        .await
        .unwrap();
        let listen = net.get(node, "listen").unwrap();
        let address = listen.trim_matches(['[', ']', '"']).parse().unwrap();
        network.connect(peer, vec![address]).unwrap();
        let mut line = Self {
            network,
            events,
            peer,
        };
        assert!(line.hears(SOON, |e| matches!(e, NetEvent::Up { .. })).await);
        line
    }

    async fn hears(&mut self, within: Duration, what: impl Fn(&NetEvent) -> bool) -> bool {
        let heard = async {
            while let Some(event) = self.events.recv().await {
                if what(&event) {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(within, heard).await.unwrap_or(false)
    }

    /// Says it; whether the line was cut for it.
    async fn is_cut_for(&mut self, frame: Vec<u8>) -> bool {
        self.network.send(self.peer, None, frame).unwrap();
        let cut = self
            .hears(WHILE, |e| matches!(e, NetEvent::Down { .. }))
            .await;
        if cut {
            assert!(self.hears(SOON, |e| matches!(e, NetEvent::Up { .. })).await);
        }
        cut
    }
}

fn frame(sub: Sub, agree: Agree) -> Vec<u8> {
    let agree = Box::new(agree);
    Message::Agree { sub, agree }.to_frame().unwrap()
}

/// Everything that the wire can say about an account, by somebody who may say hardly any of it: an old block of the
/// account, commitments and shares that fit nothing, votes by the device's own key.
fn everything(sub: Sub, key: &IdentityKey, old: &Sealed) -> Vec<Agree> {
    let (block, hash) = (old.block.clone(), old.block.hash());
    let vote = |verb, role| {
        let statement = Statement {
            verb,
            role,
            sub,
            hash,
        };
        Vote::sign(key, &statement)
    };
    // Points of prime order, as a commitment's must be.
    let point = key.public();
    let commitment = SignedCommitment {
        commitment: Commitment::decode(&[point, point].concat()).unwrap(),
        vote: vote(Verb::Commitment, Role::Device),
    };
    let share = SignedShare {
        share: SignatureShare::decode(&[7; 32].map(|b: u8| b & 0x0f)).unwrap(),
        vote: vote(Verb::Share, Role::Device),
    };
    let (assent, endorse) = (
        vote(Verb::Assent, Role::Device),
        vote(Verb::Endorse, Role::Broker),
    );
    let word = Word::sign(key, Verb::Deny, sub, Hash([9; 32]));
    vec![
        Agree::Prepare {
            block: block.clone(),
        },
        Agree::Committed {
            hash,
            commitment: commitment.clone(),
        },
        Agree::Propose {
            block: block.clone(),
            body: None,
            salt: None,
            commitments: OperatorCommitments {
                broker: commitment.commitment,
                trust_operator: commitment.clone(),
            },
        },
        Agree::Number { hash, number: 7 },
        Agree::Match { hash },
        Agree::Assent {
            hash,
            commitment: commitment.commitment,
            share: share.clone(),
            vote: assent,
        },
        Agree::Locked {
            block: block.clone(),
        },
        Agree::Endorse {
            block: block.clone(),
            commitments: [commitment.commitment, commitment.commitment],
            own: (&commitment.commitment).into(),
            shares: [share.clone(), share],
            assent,
            endorse,
        },
        Agree::Restrict {
            block: block.clone(),
            signature: warifu_consensus::signature::SignatureBytes([3; 64]),
            superseded: Some(block.clone()),
            word: Some(word),
            proposal: Some(block.clone()),
        },
        Agree::NotYet { hash, wait_s: 5 },
        Agree::Refused {
            hash,
            reason: Reason::Denied,
        },
        Agree::HeadIs {
            head: None,
            vote: Some(vote(Verb::Head, Role::TrustOperator)),
            ask: true,
            notice: true,
        },
        Agree::BlocksFrom { height: u64::MAX },
        Agree::Blocks {
            sealed: vec![old.clone()],
        },
        Agree::Word {
            word,
            proposal: Some(block),
        },
        Agree::GenesisDead,
    ]
}

/// The broken frames, by what is wrong with them.
fn broken(sub: Sub, key: &IdentityKey, old: &Sealed) -> Vec<(&'static str, Vec<u8>)> {
    let of = |number: usize| frame(sub, everything(sub, key, old).swap_remove(number));
    let committed = of(1);
    let point = key.public();
    let at = committed.windows(32).position(|w| w == point).unwrap();
    let with = |bytes: [u8; 32]| {
        let mut frame = committed.clone();
        frame[at..at + 32].copy_from_slice(&bytes);
        frame
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    // y = -1: order 2. And y = p, which is 0 spelled otherwise.
    let mut order_2 = [0xff; 32];
    (order_2[0], order_2[31]) = (0xec, 0x7f);
    let mut other_zero = [0xff; 32];
    (other_zero[0], other_zero[31]) = (0xed, 0x7f);
    let mut version = committed.clone();
    version[0] = 77;
    let mut longer = committed.clone();
    longer.push(0);
    vec![
        ("the identity point", with(identity)),
        ("a point of order 2", with(order_2)),
        ("a point that is not canonical", with(other_zero)),
        ("another version", version),
        ("a trailing byte", longer),
        ("half a message", committed[..40].to_vec()),
        ("a length of 4 GiB", [&committed[..20], &[0xfc; 6]].concat()),
        ("no message", vec![1, 0xff, 0xff]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_may_not_say_is_cut_or_ignored_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), 8).unwrap();
    net.start_all().unwrap();
    let alice = net.enrol("alice").unwrap();
    let bob = net.enrol("bob").unwrap();
    let log_in = |net: &Testnet, customer: &str| {
        let login = net.begin(customer).unwrap();
        let proposal = net.asked().unwrap();
        net.device(&["approve", "--number", &login.number()], &[&proposal])
            .unwrap();
        let ended = login.end();
        assert_eq!(ended.line["status"], "admitted", "{ended:?}");
    };
    log_in(&net, "alice");
    log_in(&net, "bob");
    assert_eq!(net.stop(Node::Device), Some(0));
    let stolen = Stolen::from(&net);
    let of = |name: &str| {
        let found = stolen
            .accounts
            .iter()
            .find(|(s, ..)| s.to_string() == *name);
        found.unwrap().clone()
    };
    let ((sub, seed, own), (foreign, _, theirs)) = (of(&alice), of(&bob));
    let key = IdentityKey::from_seed(seed);
    let login = own.last().unwrap();
    assert_eq!(own.len(), 2, "genesis and login");
    for (node, peer) in [
        (Node::Broker, stolen.ledger.broker),
        (Node::TrustOperator, stolen.ledger.trust_operator),
    ] {
        let mut line = Line::to(&net, node, peer, seed).await;
        // Another customer's account is none of this key's: each word of it costs the line.
        let foreign_words = everything(foreign, &key, theirs.last().unwrap());
        for agree in foreign_words {
            let name = agree.name();
            let cut = line.is_cut_for(frame(foreign, agree)).await;
            assert!(cut, "{name} about another's account at {node:?}");
        }
        // Its own account under another one's block: a replay across accounts.
        for agree in everything(sub, &key, theirs.last().unwrap()) {
            let name = agree.name();
            let cut = line.is_cut_for(frame(sub, agree)).await;
            assert!(!cut, "{name} about another's block at {node:?}");
        }
        // Every role's words about its own last block and its genesis: other heights, other roles.
        for old in [login, &own[0]] {
            for agree in everything(sub, &key, old) {
                let name = agree.name();
                let cut = line.is_cut_for(frame(sub, agree)).await;
                assert!(!cut, "{name} at {node:?}");
            }
        }
        let clock = Message::Clock(Clock::Ask { asked: 1 }).to_frame().unwrap();
        assert!(line.is_cut_for(clock).await, "a clock at {node:?}");
        for (what, frame) in broken(sub, &key, login) {
            assert!(line.is_cut_for(frame).await, "{what} at {node:?}");
        }
        line.network.shutdown().await;
    }
    // Both customers log in as if nothing had been said; alice's deny was about no proposal.
    net.start(Node::Device).unwrap();
    log_in(&net, "alice");
    log_in(&net, "bob");
    assert!(net.stop_all());
    let mut chains = Vec::new();
    for node in Node::ALL {
        let dir = net.node(node).display().to_string();
        let export = net.warifu.text(["ledger", "export", &dir]).unwrap();
        let blocks = export.lines().filter(|line| line.contains("\"block\""));
        let sealed = blocks.map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let block = Block::parse(value["block"].as_str().unwrap()).unwrap();
            (block.hash().to_string(), block.claims().kind)
        });
        let mut sealed: Vec<(String, Kind)> = sealed.collect();
        sealed.sort_by(|one, other| one.0.cmp(&other.0));
        chains.push(sealed);
        net.verify(node).unwrap();
        let log = net.log(node).unwrap();
        assert!(!log.contains("panicked"), "{log}");
    }
    let of = |kind| chains[0].iter().filter(|(_, k)| *k == kind).count();
    assert_eq!((of(Kind::Genesis), of(Kind::Login)), (2, 4), "{chains:?}");
    // That it is a restored copy is a device's to say; it costs no more than a block each time, and those
    // are counted (30 in 600 s).
    assert_eq!(chains[0].len() - 6, of(Kind::Restored), "{chains:?}");
    assert!(of(Kind::Restored) <= 3, "{chains:?}");
    assert!(chains.iter().all(|chain| *chain == chains[0]));
}
