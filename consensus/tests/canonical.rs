//! A block has one text: everything else is rejected, and says where.

use base64ct::{Base64UrlUnpadded, Encoding};
use proptest::prelude::*;
use warifu_consensus::block::{Block, BlockError, Claims, Class, Kind, MAX_INPUT, MAX_INTEGER};
use warifu_consensus::encoding::{Hash, parse_b64, parse_b64_vec, text_b64};
use warifu_consensus::party::{Ledger, Sub};

use crate::support::{house, takes_body};

fn claims_strategy() -> impl Strategy<Value = Claims> {
    let text = "[ !#-\\[\\]-~]{1,128}";
    let places = (
        0..=9_007_199_254_740_800_u64,
        1..=9_007_199_254_740_991_u64,
        any::<u32>(),
    );
    let hashes = (
        any::<[u8; 32]>(),
        any::<[u8; 32]>(),
        proptest::option::of(any::<[u8; 32]>()),
    );
    (
        0..Kind::ALL.len(),
        text,
        text,
        "[A-Za-z0-9_-]{22,128}",
        any::<[u8; 16]>(),
        places,
        hashes,
    )
        .prop_map(
            |(kind, iss, aud, nonce, sub, (iat, place, epoch), (prev, body, taken))| {
                let kind = Kind::ALL[kind];
                let mut claims = house().claims(kind, place, Hash(prev));
                if kind == Kind::Genesis {
                    claims.height = 0;
                    claims.prev = Hash::ZERO;
                } else {
                    claims.epoch = u64::from(epoch);
                }
                claims.aud = if claims.aud == claims.iss {
                    iss.clone()
                } else {
                    aud
                };
                (claims.iss, claims.nonce, claims.sub) = (iss, nonce, Sub(sub));
                (claims.iat, claims.exp) = (iat, iat + 90);
                claims.body = takes_body(kind).then_some(Hash(body));
                if kind.class() == Class::Restrict {
                    claims.supersedes = taken.map(Hash);
                }
                claims
            },
        )
}

proptest! {
    #[test]
    fn every_block_reads_back_as_written(claims in claims_strategy()) {
        let block = house().block(claims.clone());
        let read = Block::parse(block.input()).unwrap();
        prop_assert_eq!(read.claims(), &claims);
        prop_assert_eq!(&read, &block);
        prop_assert!(block.input().len() <= MAX_INPUT);
    }

    #[test]
    fn a_changed_byte_is_rejected_or_another_block(
        claims in claims_strategy(), at in any::<prop::sample::Index>(), to in 0_u8..128,
    ) {
        let block = house().block(claims);
        let mut bytes = block.input().as_bytes().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let changed = String::from_utf8(bytes).unwrap();
        if let Ok(read) = Block::parse(&changed) {
            prop_assert_ne!(read.hash(), block.hash());
            prop_assert_ne!((read.kid(), read.claims()), (block.kid(), block.claims()));
            prop_assert_eq!(read.input(), changed);
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC*", bytes in any::<Vec<u8>>()) {
        let _ = Block::parse(&text);
        let _ = parse_b64::<32>(&text);
        let header = text_b64(br#"{"alg":"EdDSA","typ":"warifu-restrict+jwt"}"#);
        let input = format!("{header}.{}", text_b64(&bytes));
        prop_assert!(Block::parse(&input).is_err());
    }

    #[test]
    fn base64_has_one_text(bytes in any::<Vec<u8>>(), text in "[A-Za-z0-9_=+/-]{0,50}") {
        prop_assert_eq!(parse_b64_vec(&text_b64(&bytes)).unwrap(), bytes);
        if let Ok(read) = parse_b64_vec(&text) {
            prop_assert_eq!(text_b64(&read), text);
        }
    }
}

/// The header and claims texts of a well-made block.
fn parts(kind: Kind) -> (String, String) {
    let height = if kind == Kind::Genesis { 0 } else { 5 };
    let prev = if kind == Kind::Genesis {
        Hash::ZERO
    } else {
        Hash([6; 32])
    };
    let block = house().block(house().claims(kind, height, prev));
    let (header, claims) = block.input().split_once('.').unwrap();
    let decode = |part| String::from_utf8(Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap();
    (decode(header), decode(claims))
}

fn parse(header: &str, claims: &[u8]) -> Result<Block, BlockError> {
    Block::parse(&format!(
        "{}.{}",
        text_b64(header.as_bytes()),
        text_b64(claims)
    ))
}

#[test]
fn other_json_for_the_same_claims_is_rejected() {
    let (header, claims) = parts(Kind::Login);
    parse(&header, claims.as_bytes()).unwrap();
    let altered = [
        ("space", claims.replace(r#","aud""#, r#", "aud""#)),
        ("newline at the end", format!("{claims}\n")),
        ("byte order mark", format!("\u{feff}{claims}")),
        (
            "duplicate key",
            claims.replace(r#","aud""#, r#","iss":"x","aud""#),
        ),
        (
            "unknown key",
            claims.replace(r#","supersedes""#, r#","extra":1,"supersedes""#),
        ),
        (
            "unknown key at the end",
            claims.replace(":null}", r#":null,"extra":1}"#),
        ),
        ("missing key", claims.replace(r#","epoch":0"#, "")),
        (
            "other order",
            claims.replace(
                r#""iat":1790000000,"exp":1790000090"#,
                r#""exp":1790000090,"iat":1790000000"#,
            ),
        ),
        ("escape", claims.replace("https:", r"https\u003a")),
        (
            "escaped solidus",
            claims.replace("https://l", r"https:\/\/l"),
        ),
        ("lone surrogate", claims.replace("https:", r"\ud800")),
        ("not ascii", claims.replace("bank", "b\u{e4}nk")),
        ("control character", claims.replace("bank", "ba\u{1}k")),
        (
            "leading zero",
            claims.replace(":1790000000", ":01790000000"),
        ),
        (
            "leading zero of zero",
            claims.replace(r#""epoch":0"#, r#""epoch":00"#),
        ),
        ("plus", claims.replace(":1790000000", ":+1790000000")),
        (
            "minus zero",
            claims.replace(r#""epoch":0"#, r#""epoch":-0"#),
        ),
        ("float", claims.replace(":1790000000", ":1790000000.0")),
        ("exponent", claims.replace(":1790000000", ":179e7")),
        (
            "text for integer",
            claims.replace(":1790000000", r#":"1790000000""#),
        ),
        (
            "2^53",
            claims.replace(r#""epoch":0"#, r#""epoch":9007199254740992"#),
        ),
        (
            "2^64",
            claims.replace(r#""epoch":0"#, r#""epoch":18446744073709551616"#),
        ),
        ("null kind", claims.replace(r#""login""#, "null")),
        ("unknown kind", claims.replace(r#""login""#, r#""logon""#)),
        (
            "kind in capitals",
            claims.replace(r#""login""#, r#""Login""#),
        ),
        (
            "aud list",
            claims.replace(r#""https://bank.example""#, r#"["https://bank.example"]"#),
        ),
        ("deep nesting", "[".repeat(2000)),
        (
            "deep nesting inside",
            claims.replace(":null}", &format!(":{}", "{\"a\":".repeat(200))),
        ),
        (
            "genesis claims elsewhere",
            claims.replace(":null}", r#":null,"cnf":{}}"#),
        ),
        ("empty supersedes", claims.replace(":null}", r#":""}"#)),
        (
            "padded hash",
            claims.replace(r#"","epoch""#, r#"=","epoch""#),
        ),
        ("truncated", claims[..claims.len() - 1].to_owned()),
        ("empty", String::new()),
    ];
    for (name, text) in altered {
        assert_ne!(text, claims, "{name} changed nothing");
        let error = parse(&header, text.as_bytes()).expect_err(name);
        assert!(matches!(error, BlockError::Claims(_)), "{name}: {error}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let (header, claims) = parts(Kind::Login);
    let duplicate = claims.replace(r#","sub""#, r#","iss":"x","sub""#);
    assert_eq!(
        parse(&header, duplicate.as_bytes())
            .unwrap_err()
            .to_string(),
        r#"claims at byte 31: expected ,"sub":""#
    );
    let escaped = claims.replace("https://l", r"https:\/\/l");
    assert_eq!(
        parse(&header, escaped.as_bytes()).unwrap_err().to_string(),
        "claims at byte 14: expected printable ascii without escapes, then a closing quote"
    );
    let mut claims = house().claims(Kind::Login, 0, Hash::ZERO);
    assert_eq!(
        Block::new(claims.clone(), &[0; 32])
            .unwrap_err()
            .to_string(),
        "login block has height 0, expected 1 or more"
    );
    claims.nonce = "short".to_owned();
    assert_eq!(
        Block::new(claims, &[0; 32]).unwrap_err().to_string(),
        "nonce has 5 characters, expected 22 to 128"
    );
}

#[test]
fn a_block_may_hold_every_integer_that_json_libraries_read_exactly() {
    let mut claims = house().claims(Kind::Login, MAX_INTEGER, Hash([6; 32]));
    (claims.iat, claims.exp) = (MAX_INTEGER - 1, MAX_INTEGER);
    claims.epoch = MAX_INTEGER;
    let block = house().block(claims.clone());
    assert_eq!(Block::parse(block.input()).unwrap(), block);
    type Change = fn(&mut Claims);
    let changes: [(&str, Change); 4] = [
        ("iat", |c| c.iat = MAX_INTEGER + 1),
        ("exp", |c| c.exp = MAX_INTEGER + 1),
        ("height", |c| c.height = MAX_INTEGER + 1),
        ("epoch", |c| c.epoch = MAX_INTEGER + 1),
    ];
    for (claim, change) in changes {
        let mut claims = claims.clone();
        change(&mut claims);
        let found = MAX_INTEGER + 1;
        assert_eq!(
            Block::new(claims, &[0; 32]).unwrap_err(),
            BlockError::Integer { claim, found }
        );
    }
}

#[test]
fn a_login_service_hears_at_once_what_no_block_could_say() {
    let long = "a".repeat(129);
    let nonce = "A".repeat(22);
    for (aud, nonce, may) in [
        ("https://bank.example", nonce.as_str(), true),
        ("", &nonce, false),
        (&long, &nonce, false),
        ("bank\"", &nonce, false),
        ("b\u{e4}nk", &nonce, false),
        ("https://bank.example", &nonce[1..], false),
        ("https://bank.example", &long, false),
        ("https://bank.example", "AAAAAAAAAAAAAAAAAAAAA=", false),
    ] {
        let early = Claims::check_texts(aud, nonce);
        let mut claims = house().claims(Kind::Login, 5, Hash([6; 32]));
        (claims.aud, claims.nonce) = (aud.to_owned(), nonce.to_owned());
        let late = Block::new(claims, &[0; 32]);
        assert_eq!(early.is_ok(), may, "{aud} {nonce}");
        assert_eq!(early.err(), late.err(), "{aud} {nonce}");
    }
}

#[test]
fn invalid_utf_8_and_foreign_base64_are_rejected() {
    let (header, claims) = parts(Kind::Login);
    let mut bytes = claims.clone().into_bytes();
    bytes[12] = 0xff;
    let error = parse(&header, &bytes).unwrap_err();
    assert_eq!(error, BlockError::Encoding { part: "claims" });
    let block = house().block(house().claims(Kind::Login, 5, Hash([6; 32])));
    let input = block.input();
    for altered in [
        format!("{input}="),
        input.replacen('e', "+", 1),
        input.replacen('e', "/", 1),
        format!("{input} "),
        format!("{input}\n"),
        input.replacen('.', "=.", 1),
    ] {
        let error = Block::parse(&altered).expect_err(&altered);
        assert!(
            matches!(error, BlockError::Encoding { .. }),
            "{altered}: {error}"
        );
    }
    let compact = format!("{input}.{}", text_b64(&[0; 64]));
    assert_eq!(
        Block::parse(&compact).unwrap_err(),
        BlockError::Parts { found: 3 }
    );
    assert_eq!(
        Block::parse("").unwrap_err(),
        BlockError::Parts { found: 1 }
    );
    assert_eq!(
        Block::parse(&"A".repeat(MAX_INPUT)).unwrap_err(),
        BlockError::Parts { found: 1 }
    );
    let long = "A".repeat(MAX_INPUT + 1);
    assert!(matches!(
        Block::parse(&long).unwrap_err(),
        BlockError::TooLong { .. }
    ));
}

#[test]
fn trailing_bits_must_be_zero() {
    let text = text_b64(&[0xff; 32]);
    assert_eq!(parse_b64::<32>(&text).unwrap(), [0xff; 32]);
    let (head, last) = text.split_at(42);
    assert_eq!(last, "8");
    for other in ["9", "-", "_"] {
        parse_b64::<32>(&format!("{head}{other}")).unwrap_err();
    }
}

#[test]
fn headers_of_other_algorithms_types_or_keys_are_rejected() {
    let (admit, login) = parts(Kind::Login);
    let (restrict, freeze) = parts(Kind::Freeze);
    let kid = admit.split('"').nth(7).unwrap();
    let altered = [
        admit.replace("EdDSA", "none"),
        admit.replace("EdDSA", "Ed25519"),
        admit.replace("EdDSA", "HS256"),
        admit.replace("EdDSA", "eddsa"),
        admit.replace("warifu-block+jwt", "JWT"),
        admit.replace("warifu-block+jwt", "warifu-announce+jwt"),
        admit.replace(&format!(r#""kid":"{kid}","#), ""),
        admit.replace(kid, &kid[1..]),
        admit.replace(r#","typ""#, r#","crit":["x"],"typ""#),
        admit.replace(r#","typ""#, r#","jwk":{},"typ""#),
        restrict.replace(
            r#""alg":"EdDSA","#,
            &format!(r#""alg":"EdDSA","kid":"{kid}","#),
        ),
        restrict.replace(
            r#"{"alg":"EdDSA","typ":"warifu-restrict+jwt"}"#,
            r#"{"typ":"warifu-restrict+jwt","alg":"EdDSA"}"#,
        ),
        String::new(),
    ];
    for header in altered {
        for claims in [&login, &freeze] {
            let error = parse(&header, claims.as_bytes()).expect_err(&header);
            assert!(matches!(error, BlockError::Header(_)), "{header}: {error}");
        }
    }
    let error = parse(&admit, freeze.as_bytes()).unwrap_err();
    assert!(
        matches!(
            error,
            BlockError::Typ {
                kind: Kind::Freeze,
                ..
            }
        ),
        "{error}"
    );
    let error = parse(&restrict, login.as_bytes()).unwrap_err();
    assert!(
        matches!(
            error,
            BlockError::Typ {
                kind: Kind::Login,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn genesis_header_names_the_key_in_its_claims() {
    let (_, claims) = parts(Kind::Genesis);
    let (login_header, _) = parts(Kind::Login);
    parse(&login_header, claims.as_bytes()).unwrap();
    let other = login_header.replace(login_header.split('"').nth(7).unwrap(), &text_b64(&[1; 32]));
    let error = parse(&other, claims.as_bytes()).unwrap_err();
    assert!(matches!(error, BlockError::Kid { .. }), "{error}");
}

#[test]
fn every_rule_of_a_kind_is_checked() {
    type Change = fn(&mut Claims);
    let some = Some(Hash([5; 32]));
    let rules: [(&str, &[Kind], Change); 20] = [
        ("iss empty", &Kind::ALL, |c| {
            c.iss.clear();
            c.aud.clear();
        }),
        ("iss long", &[Kind::Login], |c| c.iss = "a".repeat(129)),
        ("aud long", &[Kind::Login], |c| c.aud = "a".repeat(129)),
        ("aud empty", &[Kind::Login], |c| c.aud.clear()),
        ("quote", &[Kind::Login], |c| c.aud.push('"')),
        ("backslash", &[Kind::Login], |c| c.aud.push('\\')),
        ("delete", &[Kind::Login], |c| c.aud.push('\u{7f}')),
        ("umlaut", &[Kind::Login], |c| c.aud.push('\u{e4}')),
        ("nonce short", &Kind::ALL, |c| c.nonce = "A".repeat(21)),
        ("nonce long", &Kind::ALL, |c| c.nonce = "A".repeat(129)),
        ("nonce padded", &Kind::ALL, |c| c.nonce.push('=')),
        ("exp at iat", &Kind::ALL, |c| c.exp = c.iat),
        ("integers", &Kind::ALL, |c| {
            c.iat = 1 << 53;
            c.exp = c.iat + 90;
        }),
        (
            "other aud",
            &[Kind::Genesis, Kind::Freeze, Kind::Revoke, Kind::Restored],
            |c| c.aud = "other".to_owned(),
        ),
        ("height", &Kind::ALL, |c| {
            c.height = u64::from(c.height == 0)
        }),
        ("genesis prev", &[Kind::Genesis], |c| c.prev = Hash([1; 32])),
        ("genesis epoch", &[Kind::Genesis], |c| c.epoch = 1),
        (
            "exp of restrict",
            &[
                Kind::Deny,
                Kind::Refuse,
                Kind::Expire,
                Kind::Restored,
                Kind::Freeze,
                Kind::Revoke,
            ],
            |c| c.exp += 1,
        ),
        ("genesis claims", &Kind::ALL, |c| {
            c.genesis = match c.genesis.take() {
                Some(_) => None,
                None => house().claims(Kind::Genesis, 0, Hash::ZERO).genesis,
            }
        }),
        ("keys in two roles", &[Kind::Genesis], |c| {
            let genesis = c.genesis.as_mut().unwrap();
            genesis.parties.device = genesis.parties.broker;
        }),
    ];
    let make = |kind| {
        let height = u64::from(kind != Kind::Genesis);
        house().claims(kind, height, Hash::ZERO)
    };
    for kind in Kind::ALL {
        let by_another_key = Block::new(make(kind), &[1; 32]);
        // A genesis block is made with the very key that it names.
        let refused = matches!(by_another_key, Err(BlockError::Kid { .. }));
        assert_eq!(refused, kind == Kind::Genesis, "{by_another_key:?}");
        let mut claims = make(kind);
        claims.body = if takes_body(kind) { None } else { some };
        Block::new(claims, &house().account.public()).expect_err("body");
        let mut claims = make(kind);
        claims.supersedes = some;
        assert_eq!(
            Block::new(claims, &house().account.public()).is_ok(),
            kind.class() == Class::Restrict
        );
    }
    for (name, kinds, change) in rules {
        for kind in kinds {
            let mut claims = make(*kind);
            change(&mut claims);
            Block::new(claims, &house().account.public()).expect_err(&format!("{kind}: {name}"));
        }
    }
}

#[test]
fn ledger_is_text_in_readable_formats() {
    let ledger = house().ledger();
    let json = serde_json::to_string(&ledger).unwrap();
    assert!(
        json.contains(&format!(r#""broker":"{}""#, text_b64(&ledger.broker))),
        "{json}"
    );
    assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger);
    // `ledger.toml` names the log's keys in the same table; they are read as `LogKeys`.
    let with_more = json.replace('}', r#","log":"x"}"#);
    assert_eq!(serde_json::from_str::<Ledger>(&with_more).unwrap(), ledger);
    let without = json.replace("broker", "brokers");
    serde_json::from_str::<Ledger>(&without).unwrap_err();
}

#[test]
fn blocks_travel_as_their_signing_input() {
    let block = house().block(house().claims(Kind::Login, 5, Hash([6; 32])));
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(&block, config).unwrap();
    let (read, used): (Block, usize) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!((read, used), (block.clone(), bytes.len()));
    let (text, _): (String, usize) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!(text, block.input());
    let broken = bincode::serde::encode_to_vec(format!("{text}="), config).unwrap();
    bincode::serde::decode_from_slice::<Block, _>(&broken, config).unwrap_err();
}
