//! Binary decoders: frames, records, shares, bodies.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use warifu_client_sdk::runtime::NodeRecord;
use warifu_consensus::{
    agree::Record,
    block::{Block, Claims, body_aad},
    body::{Body, ContentKey, Salt, SealedBody, open_body, seal_body},
    enrol::Ticket,
    random::SeededEntropy,
    session::SessionSecret,
    share::{
        Commitment, KeyShare, PublicKeys, SignatureShare,
        dkg::{Round1Package, Round2Secret},
    },
    wire::{self, Message},
};

use crate::trio;

const MAX_RECORD: usize = 250 * 1024;

/// A frame of the wire is its message's one spelling.
pub fn wire(data: &[u8]) {
    if let Ok(message) = Message::from_frame(data) {
        assert_eq!(message.to_frame().unwrap(), data);
        // Whatever a peer sent may end in a log.
        let _ = format!("{message:?}");
    }
}

/// So is a record of a journal, of an account's stream or the node's own.
pub fn record(data: &[u8]) {
    if let Ok(record) = wire::decode::<Record, MAX_RECORD>(data) {
        assert_eq!(wire::encode::<Record, MAX_RECORD>(&record).unwrap(), data);
        let _ = format!("{record:?}");
    }
    if let Ok(record) = NodeRecord::decode(data) {
        let again = wire::encode::<NodeRecord, MAX_RECORD>(&record).unwrap();
        assert_eq!(again, data);
    }
    if let Ok(ticket) = wire::decode::<Ticket, 2048>(data) {
        assert_eq!(wire::encode::<Ticket, 2048>(&ticket).unwrap(), data);
        assert_eq!(Ticket::from_uri(&ticket.to_uri().unwrap()).unwrap(), ticket);
    }
}

/// Points, scalars and packages have one encoding each; what is sealed to nobody opens for nobody.
pub fn share(data: &[u8]) {
    if let Ok(commitment) = Commitment::decode(data) {
        assert_eq!(commitment.to_bytes(), data);
    }
    if let Ok(share) = SignatureShare::decode(data) {
        assert_eq!(share.to_bytes(), data);
    }
    if let Ok(keys) = PublicKeys::decode(data) {
        assert_eq!(keys.encode(), data);
    }
    if let Ok(share) = KeyShare::decode(data) {
        assert_eq!(share.encode().as_slice(), data);
    }
    if let Ok(package) = Round1Package::decode(data) {
        assert_eq!(package.as_bytes(), data);
    }
    if let Ok(secret) = Round2Secret::decode(data) {
        assert_eq!(secret.as_bytes(), data);
    }
    let mut entropy = SeededEntropy::new([7; 32]);
    let (own, other) = (
        SessionSecret::generate(&mut entropy),
        SessionSecret::generate(&mut entropy),
    );
    let opened = own.open(&other.public(), b"warifu-enrol/1 round 2", &[1; 34], data);
    assert!(opened.is_err(), "bytes from nowhere opened");
}

/// The body's key and commitment (docs/protocol.md, Body): a cheating broker has them too, and may
/// seal what it likes.
fn sealed_by_a_cheat(plaintext: &[u8], claims: &Claims) -> SealedBody {
    let message = [
        &[1; 32][..],
        &[2; 32],
        &claims.prev.0,
        &claims.sub.0,
        &claims.height.to_be_bytes(),
    ];
    let mut derived = [0; 64];
    let mut hasher = blake3::Hasher::new_derive_key("warifu/1 body key and commitment");
    for part in message {
        hasher.update(part);
    }
    hasher.finalize_xof().fill(&mut derived);
    let (key, commitment) = derived.split_at(32);
    let (nonce, aad) = ([9; 24], body_aad(claims));
    let payload = Payload {
        msg: plaintext,
        aad: &aad,
    };
    let cipher = XChaCha20Poly1305::new_from_slice(key).unwrap();
    SealedBody {
        nonce,
        commitment: commitment.try_into().unwrap(),
        ciphertext: cipher.encrypt(&XNonce::from(nonce), payload).unwrap(),
    }
}

fn pad(json: &[u8]) -> Vec<u8> {
    let mut padded = json.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(256), 0);
    padded
}

/// Whatever a broker seals, the device opens a valid body in its one spelling, or nothing.
pub fn body(data: &[u8]) {
    let (key, salt) = (ContentKey::from_bytes([1; 32]), Salt::from_bytes([2; 32]));
    let login = &trio::standing().login;
    let mut claims = login.block.claims().clone();
    let open = |claims: &Claims, sealed: &SealedBody| {
        let account_key = &trio::standing().account_key;
        open_body(
            &key,
            &salt,
            &Block::new(claims.clone(), account_key).unwrap(),
            sealed,
        )
    };
    if let Ok(sealed) = wire::decode::<SealedBody, 65536>(data) {
        assert_eq!(wire::encode::<SealedBody, 65536>(&sealed).unwrap(), data);
        assert!(open(&claims, &sealed).is_err());
    }
    for plaintext in [pad(data), data.to_vec()] {
        let sealed = sealed_by_a_cheat(&plaintext, &claims);
        claims.body = Some(sealed.claim());
        if let Ok(body) = open(&claims, &sealed) {
            body.validate().unwrap();
            assert!(pad(&serde_json::to_vec(&body).unwrap()) == plaintext);
        }
    }
    let Ok(body) = serde_json::from_slice::<Body>(data) else {
        return;
    };
    let mut entropy = SeededEntropy::new([3; 32]);
    match seal_body(&key, &salt, &claims, &body, &mut entropy) {
        Ok(sealed) => {
            body.validate().unwrap();
            claims.body = Some(sealed.claim());
            assert!(open(&claims, &sealed).unwrap() == body);
        }
        Err(_) => assert!(body.validate().is_err()),
    }
}
