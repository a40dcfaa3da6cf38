//! Bodies open only in their own place, with their own keys, and show as they are written.

use serde_json::Value;
use warifu_consensus::block::{Block, Claims, Kind};
use warifu_consensus::body::{
    Body, BodyError, ContentKey, Detail, MAX_ADDRESS, MAX_CHANNEL, MAX_DETAILS, MAX_LABEL,
    MAX_PADDED, MAX_REFERENCE, MAX_VALUE, Salt, SealedBody, open_body, seal_body,
};
use warifu_consensus::encoding::Hash;
use warifu_consensus::random::Entropy;

use crate::signed_bytes::{hex, hex_array};
use crate::support::{Counter, house};

struct Fixed(Vec<u8>);

impl Entropy for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

fn body() -> Body {
    Body {
        channel: "ウェブ".to_owned(),
        address: "203.0.113.7".to_owned(),
        details: vec![Detail {
            label: "振込先".to_owned(),
            value: "山田 太郎　様".to_owned(),
        }],
        reference: None,
    }
}

fn keys() -> (ContentKey, Salt) {
    (ContentKey::from_bytes([1; 32]), Salt::from_bytes([2; 32]))
}

fn claims() -> Claims {
    house().claims(Kind::Approve, 7, Hash([3; 32]))
}

fn block(mut claims: Claims, sealed: &SealedBody) -> Block {
    claims.body = Some(sealed.claim());
    house().block(claims)
}

fn seal(claims: &Claims, body: &Body) -> SealedBody {
    let (key, salt) = keys();
    seal_body(&key, &salt, claims, body, &mut Counter(1)).unwrap()
}

#[test]
fn bodies_match_the_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/bodies.json")).unwrap();
    for vector in vectors.as_array().unwrap() {
        let key = ContentKey::from_bytes(hex_array(&vector["content_key"]));
        let salt = Salt::from_bytes(hex_array(&vector["salt"]));
        let block = Block::parse(vector["input"].as_str().unwrap()).unwrap();
        let body: Body = serde_json::from_str(vector["body"].as_str().unwrap()).unwrap();
        let entropy = &mut Fixed(hex(vector["nonce"].as_str().unwrap()));
        let sealed = seal_body(&key, &salt, block.claims(), &body, entropy).unwrap();
        assert_eq!(block.aad(), vector["aad"].as_str().unwrap().as_bytes());
        assert_eq!(sealed.commitment, hex_array(&vector["commitment"]));
        assert_eq!(
            sealed.ciphertext,
            hex(vector["ciphertext"].as_str().unwrap())
        );
        assert_eq!(sealed.claim(), Hash(hex_array(&vector["claim"])));
        assert_eq!(key.hash(), Hash(hex_array(&vector["content_key_hash"])));
        assert_eq!(open_body(&key, &salt, &block, &sealed).unwrap(), body);
    }
}

#[test]
fn a_wrong_key_or_salt_fails_at_the_commitment() {
    let sealed = seal(&claims(), &body());
    let block = block(claims(), &sealed);
    let (key, salt) = keys();
    assert_eq!(open_body(&key, &salt, &block, &sealed).unwrap(), body());
    let other_key = ContentKey::from_bytes([9; 32]);
    let other_salt = Salt::from_bytes([9; 32]);
    assert_eq!(
        open_body(&other_key, &salt, &block, &sealed),
        Err(BodyError::Commitment)
    );
    assert_eq!(
        open_body(&key, &other_salt, &block, &sealed),
        Err(BodyError::Commitment)
    );
}

#[test]
fn a_body_opens_only_in_its_own_block() {
    let (key, salt) = keys();
    let sealed = seal(&claims(), &body());
    type Change = fn(&mut Claims);
    let changes: [(&str, Change, BodyError); 6] = [
        ("prev", |c| c.prev = Hash([4; 32]), BodyError::Commitment),
        ("height", |c| c.height = 8, BodyError::Commitment),
        ("sub", |c| c.sub.0[0] ^= 1, BodyError::Commitment),
        ("aud", |c| c.aud.push('x'), BodyError::Aead),
        ("kind", |c| c.kind = Kind::Login, BodyError::Aead),
        ("nonce", |c| c.nonce.push('A'), BodyError::Aead),
    ];
    for (name, change, expected) in changes {
        let mut claims = claims();
        change(&mut claims);
        let moved = block(claims, &sealed);
        assert_eq!(
            open_body(&key, &salt, &moved, &sealed),
            Err(expected),
            "{name}"
        );
    }
    let other = seal_body(&key, &salt, &claims(), &body(), &mut Counter(2)).unwrap();
    let block = block(claims(), &other);
    assert_eq!(
        open_body(&key, &salt, &block, &sealed),
        Err(BodyError::Claim)
    );
    let freeze = house().block(house().claims(Kind::Freeze, 7, Hash([3; 32])));
    assert_eq!(
        open_body(&key, &salt, &freeze, &sealed),
        Err(BodyError::NoClaim)
    );
}

#[test]
fn a_changed_ciphertext_fails_even_where_the_claim_follows_it() {
    let (key, salt) = keys();
    let good = seal(&claims(), &body());
    let open = |sealed: &SealedBody| open_body(&key, &salt, &block(claims(), sealed), sealed);
    let mut changed = good.clone();
    changed.ciphertext[0] ^= 1;
    assert_eq!(open(&changed), Err(BodyError::Aead));
    assert_eq!(
        open_body(&key, &salt, &block(claims(), &good), &changed),
        Err(BodyError::Claim)
    );
    let mut changed = good.clone();
    changed.nonce[0] ^= 1;
    assert_eq!(open(&changed), Err(BodyError::Aead));
    let mut changed = good.clone();
    changed.commitment[0] ^= 1;
    assert_eq!(open(&changed), Err(BodyError::Commitment));
    const LONGEST: usize = MAX_PADDED + 16;
    for length in [
        0,
        15,
        16,
        255,
        good.ciphertext.len() - 1,
        LONGEST,
        MAX_PADDED + 256 + 16,
    ] {
        let mut changed = good.clone();
        changed.ciphertext.resize(length, 0);
        let error = open(&changed).unwrap_err();
        match length {
            // The right shape: nothing, for which no padding can fit, and the longest that there is.
            16 | LONGEST => assert_eq!(error, BodyError::Aead),
            _ => assert!(
                matches!(error, BodyError::CiphertextLength { .. }),
                "{length}"
            ),
        }
    }
}

#[test]
fn sealing_again_draws_another_nonce_and_says_nothing_by_length() {
    let (key, salt) = keys();
    let entropy = &mut Counter(5);
    let first = seal_body(&key, &salt, &claims(), &body(), entropy).unwrap();
    let second = seal_body(&key, &salt, &claims(), &body(), entropy).unwrap();
    assert_ne!(first.nonce, second.nonce);
    assert_ne!(first.ciphertext, second.ciphertext);
    let mut lengths = std::collections::BTreeSet::new();
    for length in 0..=MAX_ADDRESS {
        let body = Body {
            address: "a".repeat(length),
            ..body()
        };
        let sealed = seal(&claims(), &body);
        lengths.insert(sealed.ciphertext.len());
        assert_eq!(
            open_body(&key, &salt, &block(claims(), &sealed), &sealed).unwrap(),
            body
        );
    }
    assert_eq!(
        lengths.into_iter().collect::<Vec<_>>(),
        [256 + 16, 512 + 16]
    );
}

#[test]
fn the_longest_body_fits_and_one_more_byte_does_not() {
    let longest = Body {
        channel: "\"".repeat(MAX_CHANNEL),
        address: "\\".repeat(MAX_ADDRESS),
        details: vec![
            Detail {
                label: "\"".repeat(MAX_LABEL),
                value: "\\".repeat(MAX_VALUE)
            };
            MAX_DETAILS
        ],
        reference: Some("\"".repeat(MAX_REFERENCE)),
    };
    let (key, salt) = keys();
    let sealed = seal(&claims(), &longest);
    assert_eq!(
        open_body(&key, &salt, &block(claims(), &sealed), &sealed).unwrap(),
        longest
    );
    type Change = fn(&mut Body);
    let changes: [Change; 9] = [
        |b| b.channel.push('a'),
        |b| b.channel.clear(),
        |b| b.address.push('a'),
        |b| b.details[3].label.push('a'),
        |b| b.details[3].label.clear(),
        |b| b.details[15].value.push('a'),
        |b| b.details.push(b.details[0].clone()),
        |b| b.reference.as_mut().unwrap().push('a'),
        |b| b.reference = Some(String::new()),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut body = longest.clone();
        change(&mut body);
        seal_body(&key, &salt, &claims(), &body, &mut Counter(1)).expect_err(&at.to_string());
    }
}

#[test]
fn characters_that_hide_are_rejected_and_japanese_is_not() {
    let with = |text: &str| {
        let mut body = body();
        body.details[0].value = text.to_owned();
        body.validate()
    };
    for good in [
        "東京都千代田区　一丁目",
        "ｶﾀｶﾅ",
        "が ぱ",
        "¥1,000−",
        "葛\u{e0100}飾",
        "①②",
        "naïve Ωμέγα",
        "か\u{3099}",
        "「」、。・ー",
        "😀",
        "",
    ] {
        with(good).unwrap();
    }
    for bad in [
        '\0',
        '\t',
        '\n',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{a0}',
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{180e}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{206a}',
        '\u{2800}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{ffa0}',
        '\u{fff9}',
        '\u{fffe}',
        '\u{ffff}',
        '\u{e000}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{e0100}',
        '\u{10ffff}',
    ] {
        let found = u32::from(bad);
        let expected = BodyError::Character {
            field: "detail value",
            found,
        };
        assert_eq!(
            with(&format!("a{bad}b")),
            Err(expected.clone()),
            "U+{found:04X}"
        );
        // After a kanji one may stand that selects how it is written, and nothing else that hides.
        let after_kanji = with(&format!("葛{bad}飾"));
        let selects = ('\u{e0100}'..='\u{e01ef}').contains(&bad);
        assert_eq!(after_kanji.is_ok(), selects, "葛U+{found:04X}");
    }
}

#[test]
fn secrets_and_contents_are_not_printed() {
    let (key, salt) = keys();
    assert_eq!(
        format!("{key:?} {salt:?}"),
        "ContentKey(<redacted>) Salt(<redacted>)"
    );
    let body = body();
    assert_eq!(
        format!("{body:?} {:?}", body.details),
        "Body(<redacted>) [Detail(<redacted>)]"
    );
    assert_ne!(
        ContentKey::generate(&mut Counter(1)),
        ContentKey::generate(&mut Counter(2))
    );
    assert_ne!(Salt::generate(&mut Counter(1)).expose(), &[0; 32]);
}
