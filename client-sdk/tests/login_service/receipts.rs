//! Protocol rule 6: nothing but this session's block, by the pinned account key, lets anyone in.

use warifu_client_sdk::receipt::{Expected, Moment, ReceiptError, VerifiedLogin, verify_login};
use warifu_consensus::agree::{Begin, LoginId};
use warifu_consensus::block::{Block, Claims, Kind, Sealed};
use warifu_consensus::encoding::text_b64;
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::time::{MAX_AHEAD_S, Time, TimeError};

use super::trio::{ISS, Operators, Trio, body};

const AUD: &str = "https://bank.example";
const NONCE: &str = "nonce-of-this-session-only";
const NOW: Time = Time(1_790_000_000_000);

struct House {
    operators: Operators,
    trio: Trio,
}

fn house() -> House {
    let mut operators = Operators::new(10, NOW);
    let trio = operators.found();
    House { operators, trio }
}

impl House {
    fn admit(&mut self, kind: Kind, aud: &str, nonce: &str) -> Sealed {
        let mut shown = body("web");
        shown.reference = (kind == Kind::Unfreeze).then(|| "case 7".to_owned());
        self.trio
            .admit(&mut self.operators, kind, aud, nonce, shown)
    }

    fn expected(&self) -> Expected {
        Expected {
            iss: ISS.to_owned(),
            aud: AUD.to_owned(),
            account: self.trio.sub(),
            account_key: self.trio.account_key(),
            nonce: NONCE.to_owned(),
            kind: Kind::Login,
        }
    }

    fn verify(&self, compact: &str) -> Result<VerifiedLogin, ReceiptError> {
        verify_login(compact, &self.expected(), Moment::Live(NOW))
    }
}

fn refused_claim(found: Result<VerifiedLogin, ReceiptError>) -> &'static str {
    match found {
        Err(ReceiptError::Claim { claim, .. }) => claim,
        other => panic!("found {other:?}, expected a refused claim"),
    }
}

#[test]
fn the_expected_login_verifies_now_and_as_evidence() {
    let mut house = house();
    let sealed = house.admit(Kind::Login, AUD, NONCE);
    let compact = sealed.compact().unwrap();
    let verified = house.verify(&compact).unwrap();
    assert_eq!(verified.block, sealed.block);
    assert_eq!(verified.height(), 1);
    assert_eq!(
        verify_login(&compact, &house.expected(), Moment::Evidence),
        Ok(verified)
    );
}

#[test]
fn a_block_lets_in_from_its_iat_less_skew_until_its_exp() {
    let mut house = house();
    let compact = house.admit(Kind::Login, AUD, NONCE).compact().unwrap();
    let expected = house.expected();
    let at = |seconds: i64| {
        let millis = NOW.0.checked_add_signed(seconds * 1000).unwrap();
        verify_login(&compact, &expected, Moment::Live(Time(millis)))
    };
    assert!(at(89).is_ok());
    let late = at(90).unwrap_err();
    assert_eq!(late, ReceiptError::Time(TimeError::Expired { late_s: 0 }));
    let late = at(3600 * 24 * 365).unwrap_err();
    assert!(matches!(
        late,
        ReceiptError::Time(TimeError::Expired { .. })
    ));
    let skew = i64::try_from(MAX_AHEAD_S).unwrap();
    assert!(at(-skew).is_ok());
    assert!(matches!(
        at(-skew - 1),
        Err(ReceiptError::Time(TimeError::Ahead { ahead_s: 31 }))
    ));
}

#[test]
fn blocks_of_other_sessions_relying_parties_and_kinds_are_refused() {
    let mut house = house();
    let other_nonce = house.admit(Kind::Login, AUD, "nonce-of-another-session-x");
    assert_eq!(
        refused_claim(house.verify(&other_nonce.compact().unwrap())),
        "nonce"
    );
    let other_aud = house.admit(Kind::Login, "https://shop.example", NONCE);
    assert_eq!(
        refused_claim(house.verify(&other_aud.compact().unwrap())),
        "aud"
    );
    for kind in [Kind::Approve, Kind::Change] {
        let other_kind = house.admit(kind, AUD, NONCE);
        assert_eq!(
            refused_claim(house.verify(&other_kind.compact().unwrap())),
            "kind"
        );
    }
    let mut elsewhere = house.expected();
    elsewhere.iss = "https://other-ledger.example".to_owned();
    let login = house.admit(Kind::Login, AUD, NONCE).compact().unwrap();
    assert_eq!(
        refused_claim(verify_login(&login, &elsewhere, Moment::Live(NOW))),
        "iss"
    );
    let mut other_sub = house.expected();
    other_sub.account.0[0] ^= 1;
    assert_eq!(
        refused_claim(verify_login(&login, &other_sub, Moment::Live(NOW))),
        "sub"
    );
}

#[test]
fn another_accounts_login_is_refused_by_its_key() {
    let mut house = house();
    let mut other = house.operators.found();
    let theirs = other.admit(&mut house.operators, Kind::Login, AUD, NONCE, body("web"));
    assert!(matches!(
        house.verify(&theirs.compact().unwrap()),
        Err(ReceiptError::Kid { .. })
    ));
}

/// The claims of a login that nobody agreed to, at the right place.
fn forged_claims(house: &House) -> Claims {
    let head = house.trio.chain().last().unwrap();
    Claims {
        iss: ISS.to_owned(),
        sub: house.trio.sub(),
        aud: AUD.to_owned(),
        iat: NOW.seconds(),
        exp: NOW.seconds() + 90,
        nonce: NONCE.to_owned(),
        kind: Kind::Login,
        height: 1,
        prev: head.block.hash(),
        epoch: 0,
        body: Some(head.block.hash()),
        supersedes: None,
        genesis: None,
    }
}

fn signed(block: &Block, key: &IdentityKey) -> String {
    let signature = key.sign(block.input().as_bytes());
    format!("{}.{}", block.input(), text_b64(&signature))
}

#[test]
fn no_single_partys_signature_is_taken_for_a_login() {
    let house = house();
    let keys = [
        &house.operators.broker_key,
        &house.operators.trust_operator_key,
        &house.trio.device_key,
    ];
    for key in keys {
        let claims = forged_claims(&house);
        let named = Block::new(claims.clone(), &house.trio.account_key()).unwrap();
        assert_eq!(house.verify(&signed(&named, key)), Err(ReceiptError::Proof));
        let honest_kid = Block::new(claims.clone(), &key.public()).unwrap();
        assert!(matches!(
            house.verify(&signed(&honest_kid, key)),
            Err(ReceiptError::Kid { .. })
        ));
    }
}

#[test]
fn a_restrict_block_is_never_a_login() {
    let mut house = house();
    house.trio.freeze(&mut house.operators);
    let freeze = house.trio.chain().last().unwrap().clone();
    assert_eq!(freeze.block.claims().kind, Kind::Freeze);
    assert_eq!(freeze.compact(), None);
    for key in [
        &house.operators.broker_key,
        &house.operators.trust_operator_key,
    ] {
        assert!(matches!(
            house.verify(&signed(&freeze.block, key)),
            Err(ReceiptError::Class {
                found: Kind::Freeze,
                ..
            })
        ));
    }
    let mut expected = house.expected();
    expected.kind = Kind::Freeze;
    let text = signed(&freeze.block, &house.operators.broker_key);
    assert_eq!(
        verify_login(&text, &expected, Moment::Evidence),
        Err(ReceiptError::NeverAsked { kind: Kind::Freeze })
    );
}

#[test]
fn genesis_is_no_login() {
    let house = house();
    let genesis = house.trio.chain()[0].compact().unwrap();
    assert!(house.verify(&genesis).is_err());
}

#[test]
fn every_altered_character_is_refused() {
    let mut house = house();
    let compact = house.admit(Kind::Login, AUD, NONCE).compact().unwrap();
    for at in 0..compact.len() {
        let mut bytes = compact.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(bytes).unwrap();
        assert!(house.verify(&altered).is_err(), "byte {at}");
    }
    for altered in [
        format!("{compact}="),
        format!("{compact}\n"),
        format!(" {compact}"),
        format!("{compact}."),
        format!(".{compact}"),
        compact.replacen('.', "..", 1),
        String::new(),
        "..".to_owned(),
        "a".repeat(100_000),
    ] {
        assert!(house.verify(&altered).is_err());
    }
}

#[test]
fn other_headers_over_the_same_claims_are_refused() {
    let mut house = house();
    let compact = house.admit(Kind::Login, AUD, NONCE).compact().unwrap();
    let rest = compact.split_once('.').unwrap().1;
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"EdDSA","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":"warifu-block+jwt"}"#,
        r#"{"alg":"EdDSA","typ":"warifu-restrict+jwt"}"#,
    ] {
        let altered = format!("{}.{rest}", text_b64(header.as_bytes()));
        assert!(matches!(
            house.verify(&altered),
            Err(ReceiptError::Block(_))
        ));
    }
}

#[test]
fn a_login_that_was_denied_has_no_block() {
    let mut house = house();
    let login = LoginId([9; 16]);
    let begin = Begin {
        login,
        caller: "shop".to_owned(),
        aud: AUD.to_owned(),
        nonce: NONCE.to_owned(),
        kind: Kind::Login,
        body: body("web"),
        lifetime_s: 90,
    };
    house.trio.begin(&mut house.operators, begin).unwrap();
    house.trio.deny(&mut house.operators);
    let last = house.trio.chain().last().unwrap();
    assert_eq!(last.block.claims().kind, Kind::Deny);
    assert_eq!(last.compact(), None);
}
