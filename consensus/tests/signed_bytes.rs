//! Every signed byte against vectors that a second implementation wrote (vectors/make.py).

use serde_json::Value;
use warifu_consensus::block::{Block, Sealed, jwk, thumbprint};
use warifu_consensus::chain::{Status, verify_chain};
use warifu_consensus::encoding::{Context, Fields, Hash, TraceName, derive, parse_b64};
use warifu_consensus::party::{Ledger, Role, Sub};
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::vote::{Statement, Verb, Vote};

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

pub(crate) fn hex_array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value.as_str().unwrap()).try_into().unwrap()
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/blocks.json")).unwrap()
}

#[test]
fn thumbprint_of_rfc_8037_a_3() {
    let key = parse_b64("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    assert_eq!(
        thumbprint(&key),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    assert_eq!(
        jwk(&key).to_string(),
        r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
    );
}

#[test]
fn contexts_and_fields_match_the_vectors() {
    let vectors = vectors();
    let listed = vectors["contexts"].as_array().unwrap();
    assert_eq!(listed.len(), Context::ALL.len());
    for (context, vector) in Context::ALL.into_iter().zip(listed) {
        assert_eq!(context.as_str(), vector["context"]);
        let expected = Hash(hex_array(&vector["hash"]));
        assert_eq!(
            derive(context, &["割".as_bytes(), "符".as_bytes()]),
            expected,
            "{context:?}"
        );
    }
    let fields = Fields::new(Context::Ticket)
        .fixed(b"ab")
        .var(b"cde")
        .var(b"")
        .finish();
    assert_eq!(fields, Hash(hex_array(&vectors["fields"])));
}

#[test]
fn contexts_are_distinct() {
    let distinct: std::collections::BTreeSet<_> = Context::ALL
        .iter()
        .map(|context| context.as_str())
        .collect();
    assert_eq!(distinct.len(), Context::ALL.len());
}

#[test]
fn whoever_watches_calls_a_proposal_by_its_hash_in_hexadecimal() {
    let block = Hash([0xa5; 32]);
    let hash = derive(Context::Trace, &[&block.0]).0;
    let name = TraceName::of(&block);
    assert_eq!([&name.trace[..], &name.root[..]].concat(), hash[..24]);
    let text = name.to_string();
    assert_eq!((text.len(), hex(&text)), (32, hash[..16].to_vec()));
    assert_eq!(text, text.to_ascii_lowercase());
}

#[test]
fn account_name_follows_from_the_transcript() {
    let vectors = vectors();
    let sub = Sub::of_transcript(&Hash(hex_array(&vectors["transcript"])));
    assert_eq!(sub.to_string(), vectors["sub"]);
}

#[test]
fn statements_and_votes_match_the_vectors() {
    let vectors = vectors();
    let seeds = &vectors["seeds"];
    let key = |role| match role {
        Role::Device => IdentityKey::from_seed(hex_array(&seeds["device"])),
        Role::Broker => IdentityKey::from_seed(hex_array(&seeds["broker"])),
        Role::TrustOperator => IdentityKey::from_seed(hex_array(&seeds["trust_operator"])),
    };
    let listed = vectors["statements"].as_array().unwrap();
    assert_eq!(listed.len(), Verb::ALL.len() * Role::ALL.len());
    let all = Verb::ALL
        .into_iter()
        .flat_map(|verb| Role::ALL.map(|role| (verb, role)));
    for ((verb, role), vector) in all.zip(listed) {
        assert_eq!(vector["verb"], verb.number());
        assert_eq!(vector["role"], role.number());
        let sub = Sub(hex_array(&vector["sub"]));
        let statement = Statement {
            verb,
            role,
            sub,
            hash: Hash(hex_array(&vector["hash"])),
        };
        assert_eq!(
            statement.bytes(),
            hex_array(&vector["bytes"]),
            "{verb} {role}"
        );
        let vote = Vote::sign(&key(role), &statement);
        assert_eq!(vote.to_string(), vector["vote"]);
        assert_eq!(vote.to_string().parse::<Vote>().unwrap(), vote);
        vote.verify(&statement, &key(role).public()).unwrap();
    }
}

#[test]
fn blocks_of_every_kind_match_the_vectors() {
    let vectors = vectors();
    let account_key = hex_array(&vectors["account_key"]);
    assert_eq!(thumbprint(&account_key), vectors["kid"]);
    let mut kinds = std::collections::BTreeSet::new();
    for vector in vectors["blocks"].as_array().unwrap() {
        let input = vector["input"].as_str().unwrap();
        let block = Block::parse(input).unwrap();
        assert_eq!(block.claims().kind.name(), vector["kind"]);
        assert_eq!(block.hash(), Hash(hex_array(&vector["hash"])));
        assert_eq!(block.aad(), vector["aad"].as_str().unwrap().as_bytes());
        let made = Block::new(block.claims().clone(), &account_key).unwrap();
        assert_eq!(made.input(), input);
        assert_eq!(made, block);
        kinds.insert(block.claims().kind);
    }
    assert_eq!(kinds.len(), 11);
}

#[test]
fn a_chain_made_elsewhere_verifies() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/chain.json")).unwrap();
    let ledger = Ledger {
        iss: vectors["iss"].as_str().unwrap().to_owned(),
        broker: parse_b64(vectors["broker"].as_str().unwrap()).unwrap(),
        trust_operator: parse_b64(vectors["trust_operator"].as_str().unwrap()).unwrap(),
    };
    let texts = vectors["sealed"].as_array().unwrap();
    let chain: Vec<Sealed> = texts
        .iter()
        .map(|text| {
            let text = text.as_str().unwrap();
            let sealed = Sealed::from_json(text).unwrap();
            assert_eq!(sealed.to_json(), text);
            sealed
        })
        .collect();
    let account = verify_chain(&ledger, chain.iter()).unwrap();
    assert_eq!(account.head().height, 10);
    assert_eq!(account.status(), Status::Revoked);
    let counts: Vec<u64> = chain
        .iter()
        .filter(|sealed| {
            account
                .height_since_unfreeze(&sealed.block.hash())
                .is_some()
        })
        .map(|sealed| sealed.block.claims().height)
        .collect();
    assert_eq!(counts, [8, 9, 10]);
}
