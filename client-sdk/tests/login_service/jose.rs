//! A login is a JWT: a stock JOSE library verifies it with the account's public key alone.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;
use warifu_client_sdk::login_service::api::Jwk;
use warifu_client_sdk::login_service::system_clock;
use warifu_consensus::block::Kind;
use warifu_consensus::time::Time;

use super::trio::{ISS, Operators, body};

const AUD: &str = "https://bank.example";
const NONCE: &str = "nonce-of-this-session-only";

fn login_at(now: Time) -> (String, Jwk) {
    let mut operators = Operators::new(40, now);
    let mut trio = operators.found();
    let sealed = trio.admit(&mut operators, Kind::Login, AUD, NONCE, body("web"));
    (sealed.compact().unwrap(), Jwk::of(&trio.account_key()))
}

fn rules() -> Validation {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_audience(&[AUD]);
    rules.set_issuer(&[ISS]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules.leeway = 0;
    rules
}

#[test]
fn a_fresh_login_verifies_with_exp_enforced() {
    let (block, jwk) = login_at(system_clock());
    let key = DecodingKey::from_ed_components(&jwk.x).unwrap();
    let read = decode::<Value>(&block, &key, &rules()).unwrap();
    assert_eq!(read.claims["nonce"], NONCE);
    assert_eq!(read.claims["kind"], "login");
    assert_eq!(read.header.typ.as_deref(), Some("warifu-block+jwt"));
    let as_jwk: jsonwebtoken::jwk::Jwk =
        serde_json::from_value(serde_json::to_value(&jwk).unwrap()).unwrap();
    let key = DecodingKey::from_jwk(&as_jwk).unwrap();
    assert!(decode::<Value>(&block, &key, &rules()).is_ok());
}

#[test]
fn an_old_login_is_expired_now_and_verifies_as_evidence_at_its_iat() {
    let (block, jwk) = login_at(Time::from_seconds(1_600_000_000));
    let key = DecodingKey::from_ed_components(&jwk.x).unwrap();
    let live = decode::<Value>(&block, &key, &rules()).unwrap_err();
    assert_eq!(live.kind(), &ErrorKind::ExpiredSignature);
    // Evidence: the library's clock is set aside, and the block's own times are compared.
    let mut rules = rules();
    rules.validate_exp = false;
    let read = decode::<Value>(&block, &key, &rules).unwrap();
    let (iat, exp) = (&read.claims["iat"], &read.claims["exp"]);
    assert_eq!(iat, 1_600_000_000);
    assert_eq!(exp, 1_600_000_090);
}

#[test]
fn other_keys_and_altered_blocks_do_not_verify() {
    let (block, _) = login_at(system_clock());
    let operators = Operators::new(40, system_clock());
    for public in [operators.ledger.broker, operators.ledger.trust_operator] {
        let key = DecodingKey::from_ed_components(&Jwk::of(&public).x).unwrap();
        let read = decode::<Value>(&block, &key, &rules());
        assert_eq!(read.unwrap_err().kind(), &ErrorKind::InvalidSignature);
    }
}
