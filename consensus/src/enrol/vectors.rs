//! The bytes of an enrolment against the vectors of the second implementation,
//! `tests/vectors/make.py`.

use serde_json::Value;

use super::{SixDigits, Ticket, TicketSecret, machine::keys::Transcript, session_key_statement};
use crate::{
    encoding::Hash,
    party::{Ledger, Parties, Role},
    signature::IdentityKey,
    vote::{Statement, Verb, Vote},
};

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn enrolment() -> Value {
    vectors(include_str!("../../tests/vectors/enrolment.json"))
}

fn bytes<const N: usize>(text: &Value) -> [u8; N] {
    let text = text.as_str().unwrap();
    assert_eq!(text.len(), 2 * N);
    core::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

fn keys() -> [IdentityKey; 3] {
    let blocks = vectors(include_str!("../../tests/vectors/blocks.json"));
    ["device", "broker", "trust_operator"]
        .map(|name| IdentityKey::from_seed(bytes(&blocks["seeds"][name])))
}

fn ledger() -> Ledger {
    let [_, broker, trust_operator] = keys();
    Ledger {
        iss: "https://ledger.example".to_owned(),
        broker: broker.public(),
        trust_operator: trust_operator.public(),
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|a| a.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_ticket_and_its_vote_match_the_vectors() {
    let v = enrolment();
    let [_, broker, _] = keys();
    let unsigned = Statement {
        verb: Verb::Ticket,
        role: Role::Broker,
        sub: crate::party::Sub::ZERO,
        hash: Hash::ZERO,
    };
    let ticket = Ticket {
        ledger: ledger(),
        session: bytes(&v["session"]),
        broker_addresses: texts(&v["broker_addresses"]),
        trust_operator_addresses: texts(&v["trust_operator_addresses"]),
        secret: TicketSecret::from_bytes(bytes(&v["secret"])),
        exp: v["exp"].as_u64().unwrap(),
        vote: Vote::sign(&broker, &unsigned),
    }
    .sign(&broker);
    assert_eq!(ticket.statement().hash.0, bytes(&v["ticket"]["hash"]));
    assert_eq!(
        ticket.vote.to_string(),
        v["ticket"]["vote"].as_str().unwrap()
    );
    let uri = ticket.to_uri().unwrap();
    assert_eq!(Ticket::from_uri(&uri).unwrap(), ticket);
}

#[test]
fn a_session_key_and_the_hello_match_the_vectors() {
    let v = enrolment();
    let [device, ..] = keys();
    let (session, public) = (bytes(&v["session"]), bytes(&v["session_public"]));
    let statement = session_key_statement(&session, Role::Device, &public);
    assert_eq!(statement.hash.0, bytes(&v["session_key"]["hash"]));
    let vote = Vote::sign(&device, &statement);
    assert_eq!(vote.to_string(), v["session_key"]["vote"].as_str().unwrap());
    let secret = TicketSecret::from_bytes(bytes(&v["secret"]));
    let mac = secret.mac(&session, &device.public(), &public);
    assert_eq!(*mac.as_bytes(), bytes(&v["mac"]));
}

#[test]
fn a_transcript_and_its_digits_match_the_vectors() {
    let v = enrolment();
    let [device, broker, trust_operator] = keys().map(|key| key.public());
    let parties = Parties {
        device,
        broker,
        trust_operator,
    };
    let transcript = Transcript {
        session: &bytes(&v["session"]),
        iss: "https://ledger.example",
        parties: &parties,
        round1: [&[1; 160], &[2; 160], &[3; 160]],
        group: &[4; 32],
        verifying_shares: &[[5; 32], [6; 32], [7; 32]],
        content_key: &Hash([8; 32]),
    }
    .hash();
    assert_eq!(transcript.0, bytes(&v["transcript"]));
    let digits = SixDigits::of_transcript(&transcript);
    assert_eq!(digits.to_string(), v["digits"].as_str().unwrap());
}
