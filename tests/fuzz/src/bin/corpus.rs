//! Makes the committed corpora anew: real messages, records, blocks and files of each kind, and short
//! stories for the machines. `corpus DIR` writes `DIR/TARGET/NAME`; the same code writes the same bytes.

use std::{collections::BTreeMap, fs, path::Path};

// What instrumented code calls.
use libfuzzer_sys as _;

use serde::Serialize;
use warifu_client_sdk::runtime::NodeRecord;
use warifu_consensus::{
    agree::{Erasure, Record},
    body::{Body, Detail},
    encoding::Hash,
    log::{
        AddCheckpoint, Algorithm, Evidence, LogKey, LogMessage, Offered, Opener, Tile, Unmatched,
    },
    party::{Role, Sub},
    vote::Vote,
    wire::{self, Clock, Message},
};
use warifu_fuzz::{
    enrolling,
    logs::{Honest, LEAVES, honest},
    machines::op,
    trio::{Standing, operator, standing},
};
use warifu_node::{
    config::{BrokerTable, DeviceTable, File, LedgerTable, NodeTable, TrustOperatorTable},
    control::Request,
    export::ExportWriter,
};

type Corpus = BTreeMap<(&'static str, String), Vec<u8>>;

fn main() {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: corpus DIR");
        std::process::exit(2);
    };
    let mut corpus = Corpus::new();
    let standing = standing();
    messages(standing, &mut corpus);
    records(standing, &mut corpus);
    shares(standing, &mut corpus);
    logs(&mut corpus);
    texts(standing, &mut corpus);
    files(&mut corpus);
    stories(&mut corpus);
    let mut bytes = 0;
    for ((target, name), content) in &corpus {
        let dir = Path::new(&dir).join(target);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), content).unwrap();
        bytes += content.len();
    }
    println!("{} inputs, {bytes} bytes", corpus.len());
}

fn put(
    corpus: &mut Corpus,
    target: &'static str,
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
) {
    corpus
        .entry((target, name.into()))
        .or_insert_with(|| bytes.into());
}

fn messages(standing: &Standing, corpus: &mut Corpus) {
    let sub = standing.founded.founding.sub;
    for (_, to, agree) in &standing.frames {
        let name = format!("{}-to-{}", agree.name(), to.number());
        let message = Message::Agree {
            sub,
            agree: Box::new(agree.clone()),
        };
        put(corpus, "wire", name, message.to_frame().unwrap());
    }
    for message in enrolling::calm().1 {
        let name = message.name();
        let frame = Message::Enrol(Box::new(message)).to_frame().unwrap();
        put(corpus, "wire", name, frame);
    }
    for (name, clock) in [
        ("clock-ask", Clock::Ask { asked: 7 }),
        ("clock-answer", Clock::Answer { asked: 7, at: 9 }),
    ] {
        put(
            corpus,
            "wire",
            name,
            Message::Clock(clock).to_frame().unwrap(),
        );
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    wire::encode::<T, 262_144>(value).unwrap()
}

fn records(standing: &Standing, corpus: &mut Corpus) {
    for (party, records) in (1..).zip(&standing.records) {
        for record in records {
            let text = format!("{record:?}");
            let name: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
            put(
                corpus,
                "record",
                format!("{}-{party}", name.to_lowercase()),
                encode(record),
            );
        }
    }
    let sub = standing.founded.founding.sub;
    let node = [
        NodeRecord::SessionUsed {
            session: [1; 32],
            device: [2; 32],
        },
        NodeRecord::SharePending { sub },
        NodeRecord::Addresses {
            sub,
            broker: vec!["/ip4/192.0.2.1/tcp/7101".into()],
            trust_operator: vec!["/ip4/192.0.2.2/tcp/7102".into()],
        },
    ];
    for (number, record) in node.iter().enumerate() {
        put(corpus, "record", format!("node-{number}"), encode(record));
    }
    put(corpus, "record", "ticket", encode(&enrolling::ticket()));
    let bodies = standing
        .records
        .iter()
        .flatten()
        .filter_map(|record| match record {
            Record::Body { body, .. } => Some(body),
            _ => None,
        });
    for body in bodies.take(1) {
        put(corpus, "body", "sealed", encode(body));
    }
    for (name, reference) in [("body", None), ("unfreeze", Some("desk 4711".to_owned()))] {
        let body = Body {
            channel: "web".into(),
            address: "東京都千代田区".into(),
            details: vec![Detail {
                label: "amount".into(),
                value: "12.00 EUR".into(),
            }],
            reference,
        };
        put(corpus, "body", name, serde_json::to_vec(&body).unwrap());
    }
}

fn shares(standing: &Standing, corpus: &mut Corpus) {
    for (party, share) in (1..).zip(&standing.founded.shares) {
        // Of an account that exists in this corpus only.
        put(corpus, "share", format!("key-share-{party}"), share.clone());
        put(
            corpus,
            "share",
            format!("public-keys-{party}"),
            share[34..].to_vec(),
        );
        put(
            corpus,
            "share",
            format!("scalar-{party}"),
            share[2..34].to_vec(),
        );
    }
    for (_, _, agree) in &standing.frames {
        use warifu_consensus::wire::Agree;
        if let Agree::Assent {
            commitment, share, ..
        } = agree
        {
            put(corpus, "share", "commitment", commitment.to_bytes());
            put(corpus, "share", "signature-share", share.share.to_bytes());
        }
    }
    for message in enrolling::calm().1 {
        use warifu_consensus::enrol::EnrolMessage;
        match message {
            EnrolMessage::Round1 { package, .. } => put(corpus, "share", "round-1", package),
            EnrolMessage::Round2 { sealed, .. } => put(corpus, "share", "round-2", sealed),
            _ => {}
        }
    }
}

fn logs(corpus: &mut Corpus) {
    let honest = honest();
    let mut text = |name: &str, text: String| put(corpus, "log", name, text);
    text("checkpoint", honest.checkpoint(17).to_string());
    text("note", honest.note(17).to_string());
    text("key", honest.log.public().to_string());
    text("witness", honest.witness.public().to_string());
    text(
        "tile",
        Tile::of(warifu_consensus::log::Node { level: 0, index: 9 }, 17)
            .unwrap()
            .0
            .to_string(),
    );
    text("proof", honest.proof(9, LEAVES).to_string());
    text("proof-one", honest.proof(0, 1).to_string());
    let request = |old, new| AddCheckpoint {
        old,
        proof: honest.consistency(old, new),
        checkpoint: honest.note(new),
    };
    text("add-first", request(0, 17).to_string());
    text("add", request(17, LEAVES).to_string());
    text("add-same", request(64, 64).to_string());
    let evidence = |log: &Honest, key: &LogKey| Evidence {
        log: key.public().clone(),
        witness: honest.witness.public().clone(),
        first: honest.checkpoint(17).signed(key),
        second: log.checkpoint(LEAVES).signed(key),
        begins: log.checkpoint(17).root,
        proof: log.consistency(17, LEAVES),
    };
    text("one-log", evidence(honest, &honest.log).to_text().unwrap());
    let name = honest.log.public().name();
    let cheat = LogKey::from_seed([9; 32], name, Algorithm::Ed25519).unwrap();
    text("fork", evidence(&Honest::of(16), &cheat).to_text().unwrap());
    log_messages(corpus);
}

fn log_messages(corpus: &mut Corpus) {
    let opener = Opener::from_bytes([3; 32]);
    let hash = Hash([4; 32]);
    let sub = Sub([5; 16]);
    let note = || honest().note(17).to_string();
    let statement = Erasure::statement(sub, hash);
    let erasure = Erasure {
        head: hash,
        vote: Vote::sign(&operator(Role::Broker), &statement),
    };
    let messages = [
        LogMessage::State {
            size: 17,
            note: note(),
        },
        LogMessage::Offer {
            size: 17,
            blocks: vec![Offered {
                sub,
                height: 2,
                block: hash,
                opener: opener.clone(),
            }],
        },
        LogMessage::Matched {
            size: 17,
            refused: vec![(0, Unmatched::OutOfTurn)],
        },
        LogMessage::Signed { note: note() },
        LogMessage::Cosigned { note: note() },
        LogMessage::WantLeaves { from: 9 },
        LogMessage::Leaves {
            from: 9,
            leaves: vec![(opener.leaf(&hash), sub, 2)],
        },
        LogMessage::Seen { size: 17 },
        LogMessage::Grown {
            proof: honest().consistency(17, LEAVES),
            note: honest().note(LEAVES).to_string(),
        },
        LogMessage::Erased {
            accounts: vec![(sub, erasure)],
        },
    ];
    for (number, message) in messages.into_iter().enumerate() {
        let frame = Message::Log(Box::new(message)).to_frame().unwrap();
        put(corpus, "wire", format!("log-{number}"), frame);
    }
}

fn texts(standing: &Standing, corpus: &mut Corpus) {
    let login = &standing.login;
    put(corpus, "text", "login-receipt", login.to_json());
    put(corpus, "text", "login-compact", login.compact().unwrap());
    put(
        corpus,
        "text",
        "ticket",
        enrolling::ticket().to_uri().unwrap(),
    );
    put(corpus, "text", "hash", login.block.hash().to_string());
    put(corpus, "text", "sub", login.block.claims().sub.to_string());
    put(corpus, "text", "digits", "012345");
    for record in &standing.records[1] {
        if let Record::Sealed(sealed) = record {
            let kind = sealed.block.claims().kind;
            put(
                corpus,
                "text",
                format!("block-{kind}"),
                sealed.block.input(),
            );
            put(corpus, "text", format!("sealed-{kind}"), sealed.to_json());
            if let Some(general) = sealed.general() {
                put(corpus, "text", format!("general-{kind}"), general);
            }
        }
    }
    let requests = [
        Request::Enrol {
            uri: "warifu:enrol?ticket=AA".into(),
        },
        Request::Pending,
        Request::Approve {
            proposal: login.block.hash().to_string(),
            number: 42,
        },
    ];
    for (number, request) in requests.iter().enumerate() {
        let json = serde_json::to_vec(request).unwrap();
        put(corpus, "control", format!("request-{number}"), json);
    }
    for (name, json) in CONTROL {
        put(corpus, "control", *name, *json);
    }
    configurations(corpus);
    let mut export = Vec::new();
    let mut writer = ExportWriter::begin(&mut export, "https://ledger.example").unwrap();
    for record in &standing.records[1] {
        if let Record::Sealed(sealed) = record {
            writer.block(sealed).unwrap();
        }
    }
    writer.finish().unwrap();
    put(corpus, "export", "chain", export);
}

/// Answers, and bodies of the HTTP side, as they are written.
const CONTROL: &[(&str, &str)] = &[
    ("accounts", r#"{"accounts":[]}"#),
    (
        "refused",
        r#"{"refused":{"kind":"rule","reason":"the number was wrong"}}"#,
    ),
    (
        "begin",
        r#"{"account":"GBt9EwUHvIi403CFbZ7HVw","kind":"login","nonce":"wm1S4XYa5TZ6iN1_YDBqzy8chFtGsGSPjyKwOib03QY","shown":{"channel":"web","address":"192.0.2.7","details":[]}}"#,
    ),
    (
        "problem",
        r#"{"type":"https://warifu.example/problems/unknown","title":"unknown","status":404,"detail":"no such login"}"#,
    ),
];

fn configurations(corpus: &mut Corpus) {
    let file = |name: &str| File {
        ledger: LedgerTable {
            iss: "https://ledger.example".into(),
            broker: "vownMFThlgMCdj7BymJCVfxT0WCKswZTT1N6Lz4q2No".into(),
            trust_operator: Some("8fPfnOKWKVKHGYdfNFWK0ef2ohqGEX2t3vkjlrMmVSI".into()),
            log: honest().log.public().to_string(),
            witness: Some(honest().witness.public().to_string()),
        },
        node: NodeTable::new(
            Some("identity.key".into()),
            format!("../{name}.master-key").into(),
            vec!["/ip4/0.0.0.0/tcp/7101".into()],
        ),
        broker: None,
        trust_operator: None,
        device: None,
    };
    let broker = File {
        broker: Some(BrokerTable::default()),
        ..file("broker")
    };
    let trust_operator = File {
        trust_operator: Some(TrustOperatorTable {
            announce: vec!["/dns4/t.example/tcp/7102".into()],
            unfreeze_delay_s: 3600,
            broker_addresses: Vec::new(),
        }),
        ..file("trust-operator")
    };
    let device = File {
        device: Some(DeviceTable {
            control: "control.sock".into(),
            language: "ja".into(),
        }),
        ..file("device")
    };
    for (name, witness) in [("witness-alone", true), ("trust-operator-alone", false)] {
        let mut alone = broker.clone();
        if witness {
            alone.ledger.trust_operator = None;
        } else {
            alone.ledger.witness = None;
        }
        put(corpus, "config", name, alone.render());
    }
    put(corpus, "config", "broker", broker.render());
    put(corpus, "config", "trust-operator", trust_operator.render());
    put(corpus, "config", "device", device.render());
}

fn files(corpus: &mut Corpus) {
    let part = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_le_bytes();
        [&length[..], bytes].concat()
    };
    let batch = |stream: u8, head: Option<u8>, entries: &[&[u8]]| {
        let mut bytes = vec![stream; 16];
        match head {
            None => bytes.push(0),
            Some(next) => {
                bytes.extend([1, 0]);
                bytes.extend([next; 32]);
            }
        }
        bytes.extend((entries.len() as u64).to_le_bytes());
        for entry in entries {
            bytes.extend((entry.len() as u64).to_le_bytes());
            bytes.extend_from_slice(entry);
        }
        part(&bytes)
    };
    let payloads = [batch(1, Some(7), &[b"one", b""]), batch(2, None, &[b"two"])].concat();
    put(
        corpus,
        "journal",
        "payloads",
        [&[1], &payloads[..]].concat(),
    );
    let unfollowed = [batch(1, Some(7), &[b"one"]), batch(1, Some(8), &[])].concat();
    put(
        corpus,
        "journal",
        "unfollowed",
        [&[1], &unfollowed[..]].concat(),
    );
    put(corpus, "journal", "cut", vec![2, 200, 5, 1, 0]);
    put(corpus, "journal", "flipped", vec![2, 200, 5, 0, 1]);
    put(corpus, "journal", "sector", vec![2, 0, 8, 2, 128]);
    let removed = [&3u32.to_le_bytes()[..], &[1; 16]].concat();
    put(
        corpus,
        "vault",
        "payloads",
        [&[1], &part(&removed)[..]].concat(),
    );
    put(corpus, "vault", "edits", vec![2, 90, 0, 0, 1]);
    let stream = [
        &b"s"[..],
        &[1; 16],
        &2u64.to_be_bytes(),
        &0u64.to_be_bytes(),
    ]
    .concat();
    put(corpus, "index", "stream", part(&stream));
    let coverage = [&b"c"[..], &[0; 24], &[2], &[0; 64]].concat();
    put(corpus, "index", "coverage", part(&coverage));
    put(
        corpus,
        "enrolment",
        "calm",
        [[0; 40].as_slice(), &[8], &[0; 20]].concat(),
    );
    put(
        corpus,
        "enrolment",
        "altered",
        [&[0, 0, 6, 0, 0, 9, 1][..], &[0; 40]].concat(),
    );
    put(
        corpus,
        "enrolment",
        "twice",
        [[5, 0].repeat(20), vec![8], vec![0; 20]].concat(),
    );
}

fn stories(corpus: &mut Corpus) {
    use op::*;
    let login: &[u8] = &[CALM, BEGIN, 0, ALL, APPROVE, 0, ALL];
    let unfreeze: &[u8] = &[CALM, BEGIN, 3, ALL, APPROVE, 0, ALL];
    let stories: &[(&str, &[&[u8]])] = &[
        ("genesis", &[&[0, ALL], login, login]),
        ("logins", &[&[1], unfreeze, login, login]),
        (
            "wrong-number",
            &[&[1], unfreeze, &[BEGIN, 0, ALL, APPROVE, 1, ALL], login],
        ),
        (
            "deny",
            &[&[1], unfreeze, &[BEGIN, 0, ALL, DENY, 0, ALL], login],
        ),
        (
            "freeze",
            &[&[1], unfreeze, &[FREEZE, ALL, DESK_FREEZE, ALL], unfreeze],
        ),
        (
            "expire",
            &[
                &[1],
                unfreeze,
                &[
                    BEGIN, 0, ALL, APPROVE, 0, NEXT, NEXT, NEXT, LOST, 0, WAIT, 150, TICK, 1, ALL,
                    TICK, 1, ALL,
                ],
                login,
            ],
        ),
        (
            "crash",
            &[
                &[1],
                unfreeze,
                &[
                    BEGIN, 0, ALL, APPROVE, 0, NEXT, NEXT, STOPPED, 1, CALM, STOPPED, 2, CALM,
                    RESTART, 1, CALM,
                ],
                login,
            ],
        ),
        (
            "altered",
            &[
                &[1],
                unfreeze,
                &[
                    BEGIN, 0, ALTERED, 0, 0, 1, 20, 1, ALL, REPLAYED, 3, 1, 2, ALL,
                ],
                login,
            ],
        ),
        (
            "clocks",
            &[
                &[1],
                unfreeze,
                &[
                    JUMP, 0, 20, 0, JUMP, 2, 30, 1, BEGIN, 0, ALL, APPROVE, 0, ALL, WAIT, 240,
                    TICK, 1, ALL,
                ],
                login,
            ],
        ),
        (
            "cancel",
            &[
                &[1],
                unfreeze,
                &[
                    BEGIN, 1, ALL, CANCEL, ALL, AGAIN, 0, BEGIN, 2, ALL, LINE, 0, 1, 0, CALM,
                ],
            ],
        ),
    ];
    for (name, parts) in stories {
        put(corpus, "machines", *name, parts.concat());
    }
}
