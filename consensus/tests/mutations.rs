//! No byte of a sealed block's text can change without being noticed.

use proptest::prelude::*;
use warifu_consensus::block::{Kind, Sealed, Votes};
use warifu_consensus::chain::Account;
use warifu_consensus::encoding::Hash;
use warifu_consensus::vote::Verb;

use crate::support::{House, house};

/// One sealed block of each form, with the account it follows (none before genesis).
fn samples(house: &House) -> Vec<(Option<Account>, Sealed)> {
    let account = house.account();
    let mut claims = house.next_claims(&account, Kind::Deny);
    claims.supersedes = Some(Hash([5; 32]));
    let deny = house.seal(claims);
    let mut freeze = house.next(&account, Kind::Freeze);
    freeze.votes = Votes::Restrict {
        word: Some(house.word(Verb::Freeze, account.head().hash)),
    };
    let login = house.next(&account, Kind::Login);
    let expire = house.next(&account, Kind::Expire);
    let mut all = vec![(None, house.genesis())];
    all.extend([login, deny, freeze, expire].map(|sealed| (Some(account.clone()), sealed)));
    all
}

fn holds(house: &House, account: Option<&Account>, sealed: &Sealed) -> bool {
    match account {
        Some(account) => account.verify(sealed).is_ok(),
        None => Account::open(&house.ledger(), sealed).is_ok(),
    }
}

#[test]
fn any_changed_byte_breaks_a_sealed_block() {
    let house = house();
    for (account, sealed) in samples(&house) {
        assert!(holds(&house, account.as_ref(), &sealed));
        let text = sealed.to_json();
        for at in 0..text.len() {
            let before = text.as_bytes()[at];
            for after in [before ^ 1, before ^ 0x20, b'A', b'-', b'"'] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = after;
                let Ok(changed) = String::from_utf8(bytes) else {
                    continue;
                };
                if changed == text {
                    continue;
                }
                if let Ok(read) = Sealed::from_json(&changed) {
                    assert!(
                        !holds(&house, account.as_ref(), &read),
                        "byte {at} of {text}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_truncated_or_longer_text_is_rejected() {
    for (_, sealed) in samples(&house()) {
        let text = sealed.to_json();
        assert_eq!(Sealed::from_json(&text).unwrap(), sealed);
        for end in 0..text.len() {
            Sealed::from_json(&text[..end]).unwrap_err();
        }
        for more in ["}", " ", "\n", "null", "\0"] {
            Sealed::from_json(&format!("{text}{more}")).unwrap_err();
            Sealed::from_json(&format!("{more}{text}")).unwrap_err();
        }
    }
}

#[test]
fn sealed_blocks_travel_in_binary() {
    let config = bincode::config::standard();
    for (_, sealed) in samples(&house()) {
        let bytes = bincode::serde::encode_to_vec(&sealed, config).unwrap();
        let (read, used): (Sealed, usize) =
            bincode::serde::decode_from_slice(&bytes, config).unwrap();
        assert_eq!((read, used), (sealed, bytes.len()));
        for end in 0..bytes.len() {
            bincode::serde::decode_from_slice::<Sealed, _>(&bytes[..end], config).unwrap_err();
        }
    }
}

#[test]
fn jose_forms_carry_the_signed_bytes() {
    for (_, sealed) in samples(&house()) {
        let input = sealed.block.input();
        match (sealed.compact(), sealed.general()) {
            (Some(compact), None) => {
                assert_eq!(compact.rsplit_once('.').unwrap().0, input);
                assert_eq!(compact.rsplit_once('.').unwrap().1.len(), 86);
            }
            (None, Some(general)) => {
                let general: serde_json::Value = serde_json::from_str(&general).unwrap();
                let signatures = general["signatures"].as_array().unwrap();
                assert_eq!(signatures.len(), 2);
                for signature in signatures {
                    let protected = signature["protected"].as_str().unwrap();
                    let payload = general["payload"].as_str().unwrap();
                    assert_eq!(format!("{protected}.{payload}"), input);
                }
                assert_ne!(signatures[0]["signature"], signatures[1]["signature"]);
            }
            forms => panic!("{forms:?}"),
        }
    }
}

proptest! {
    #[test]
    fn reading_never_panics(text in "\\PC*", at in any::<prop::sample::Index>(), insert in "\\PC") {
        let _ = Sealed::from_json(&text);
        let mut sealed = house().genesis().to_json();
        sealed.insert_str(at.index(sealed.len()), &insert);
        prop_assert!(Sealed::from_json(&sealed).is_err());
    }
}
