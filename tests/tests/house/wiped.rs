//! Every type that holds a secret: nothing of it is printed, and something runs when it is dropped.

use std::{fmt::Debug, mem::needs_drop};

use warifu_client_sdk::{
    login_service::Token, runtime::Secrets, store::MasterKey, transport::IdentitySecret,
};
use warifu_consensus::{
    body::{ContentKey, Salt},
    encoding::text_b64,
    enrol::{SixDigits, TicketSecret},
    random::SeededEntropy,
    session::SessionSecret,
    share::{KeyShare, Nonces, dkg},
    signature::IdentityKey,
    wire::SaltBytes,
};
use warifu_node::secrets::IdentitySeed;
use zeroize::{ZeroizeOnDrop, Zeroizing};

const SECRET: [u8; 32] = [
    0xc3, 0x9e, 0x51, 0x07, 0xa8, 0x6d, 0xf4, 0x1b, 0x82, 0xd7, 0x3c, 0x95, 0x60, 0xee, 0x29, 0xb4,
    0x7f, 0x18, 0xcd, 0x46, 0xba, 0x03, 0x91, 0xe5, 0x5a, 0x2e, 0xf8, 0x74, 0x0d, 0xa6, 0x33, 0xdc,
];

/// What `Debug` says of a secret, plainly and prettily, has no byte of it.
fn hides(name: &str, secret: &dyn Debug) {
    let hex = |upper: bool| -> String {
        let byte = |b: &u8| {
            if upper {
                format!("{b:02X}")
            } else {
                format!("{b:02x}")
            }
        };
        SECRET.iter().take(6).map(byte).collect()
    };
    let list: Vec<String> = SECRET.iter().take(3).map(u8::to_string).collect();
    let base64 = text_b64(&SECRET);
    for text in [format!("{secret:?}"), format!("{secret:#?}")] {
        assert!(text.contains("<redacted>"), "{name}: {text}");
        let joined = text.split_whitespace().collect::<String>();
        for spelled in [
            hex(true),
            hex(false),
            list.join(","),
            base64[..12].to_owned(),
        ] {
            assert!(!joined.contains(&spelled), "{name}: {text}");
        }
    }
}

#[test]
fn no_secret_is_printed() {
    hides("identity key", &IdentityKey::from_seed(SECRET));
    hides("wire's identity", &IdentitySecret::new(SECRET));
    hides("content key", &ContentKey::from_bytes(SECRET));
    hides("salt", &Salt::from_bytes(SECRET));
    hides("salt on the wire", &SaltBytes(SECRET));
    hides("ticket's secret", &TicketSecret::from_bytes(SECRET));
    hides("master key", &MasterKey::from_bytes(Zeroizing::new(SECRET)));
    hides("entropy", &SeededEntropy::new(SECRET));
    let session = SessionSecret::generate(&mut SeededEntropy::new(SECRET));
    hides("session key", &session);
    let token = Token::new(&format!("warifu-token-{}", text_b64(&SECRET))).unwrap();
    hides("token", &token);
    let digits = SixDigits::parse("581801").unwrap();
    hides("six digits", &digits);
    assert!(!format!("{digits:?}").contains("581801"));
    let of_account = Secrets {
        share: None,
        content_key: Some(ContentKey::from_bytes(SECRET)),
        identity: Some(Zeroizing::new(SECRET)),
    };
    hides("an account's secrets", &of_account);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SECRET).unwrap();
    hides(
        "operator's identity",
        &IdentitySeed::read(file.path()).unwrap(),
    );
}

fn wipes<T: ZeroizeOnDrop>() {}

#[test]
fn every_secret_does_something_when_it_is_dropped() {
    wipes::<ContentKey>();
    wipes::<Salt>();
    wipes::<SeededEntropy>();
    wipes::<SaltBytes>();
    wipes::<TicketSecret>();
    wipes::<Zeroizing<[u8; 32]>>();
    // These wipe by fields or by `Drop` of their own, which safe code can only see to exist.
    let dropped = [
        ("identity key", needs_drop::<IdentityKey>()),
        ("wire's identity", needs_drop::<IdentitySecret>()),
        ("operator's identity", needs_drop::<IdentitySeed>()),
        ("master key", needs_drop::<MasterKey>()),
        ("session key", needs_drop::<SessionSecret>()),
        ("key share", needs_drop::<KeyShare>()),
        ("nonces", needs_drop::<Nonces>()),
        ("round 2 secret", needs_drop::<dkg::Round2Secret>()),
        ("token", needs_drop::<Token>()),
    ];
    for (name, is_dropped) in dropped {
        assert!(is_dropped, "{name} leaves its bytes where they were");
    }
}

#[test]
fn six_digits_are_compared_whole() {
    let digits = |text| SixDigits::parse(text).unwrap();
    assert!(digits("000001").is(digits("000001")));
    assert!(!digits("000001").is(digits("100001")));
    assert!(!digits("000001").is(digits("000000")));
}
