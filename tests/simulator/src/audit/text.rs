//! The auditor's own reading of blocks and signatures: compact JWTs, their canonical JSON, votes.
//!
//! Written from docs/protocol.md alone, with serde_json, base64, blake3, sha2 and ed25519-dalek.

use std::{collections::BTreeSet, fmt};

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Map, Value};
use sha2::Digest;

/// 32 bytes: the hash of a block, or zeros.
pub type Hash = [u8; 32];

/// A party, by its number in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// 1.
    Device = 1,
    /// 2.
    Broker = 2,
    /// 3.
    TrustOperator = 3,
}

impl Party {
    /// All three, by number.
    pub const ALL: [Self; 3] = [Self::Device, Self::Broker, Self::TrustOperator];

    /// Its place in arrays of three.
    #[must_use]
    pub const fn at(self) -> usize {
        self as usize - 1
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["device", "broker", "trust operator"][self.at()])
    }
}

/// The first 12 characters of a hash's text, for people.
#[must_use]
pub fn short(hash: &Hash) -> String {
    let mut text = Base64UrlUnpadded::encode_string(hash);
    text.truncate(12);
    text
}

/// What a genesis says beside the other claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// `cnf.jwk.x`.
    pub account_key: [u8; 32],
    /// `parties`, by number.
    pub parties: [[u8; 32]; 3],
    /// `transcript`.
    pub transcript: Hash,
}

/// A block as its signing input says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// `BASE64URL(header).BASE64URL(claims)`.
    pub input: String,
    /// `derive_key` of that.
    pub hash: Hash,
    /// The header's `kid`; none in a restrict block.
    pub kid: Option<String>,
    /// Claims by their names.
    pub iss: String,
    /// The account, 22 characters.
    pub sub: String,
    /// The relying party.
    pub aud: String,
    /// Seconds.
    pub iat: u64,
    /// Seconds.
    pub exp: u64,
    /// The challenge.
    pub nonce: String,
    /// The kind's name.
    pub kind: String,
    /// Distance from genesis.
    pub height: u64,
    /// The block before.
    pub prev: Hash,
    /// The epoch.
    pub epoch: u64,
    /// The locked proposal that a restrict block displaces.
    pub supersedes: Option<Hash>,
    /// In a genesis only.
    pub genesis: Option<Genesis>,
}

const ADMITS: [&str; 5] = ["genesis", "login", "approve", "change", "unfreeze"];
const RESTRICTS: [&str; 6] = ["deny", "refuse", "expire", "restored", "freeze", "revoke"];

impl Block {
    /// Whether the account key must have signed it.
    #[must_use]
    pub fn is_admit(&self) -> bool {
        ADMITS.contains(&self.kind.as_str())
    }

    /// Reads a signing input.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(input: &str) -> Result<Self, String> {
        let (header, claims) = input.split_once('.').ok_or("no dot in a signing input")?;
        let header = object(&decode(header)?)?;
        let text = decode(claims)?;
        let claims = object(&text)?;
        let mut order: Vec<&str> = vec![
            "iss",
            "sub",
            "aud",
            "iat",
            "exp",
            "nonce",
            "kind",
            "height",
            "prev",
            "epoch",
            "body",
            "supersedes",
        ];
        let kind = string(&claims, "kind")?;
        if kind == "genesis" {
            order.extend(["cnf", "parties", "transcript"]);
        }
        let mut found: Vec<&str> = claims.keys().map(String::as_str).collect();
        let mut wanted = order.clone();
        found.sort_unstable();
        wanted.sort_unstable();
        let places: Vec<_> = order
            .iter()
            .map(|k| text.find(&format!("\"{k}\":")))
            .collect();
        if found != wanted || !places.is_sorted() {
            return Err(format!("claims {found:?}, expected {order:?}"));
        }
        let admit = ADMITS.contains(&kind.as_str());
        if !admit && !RESTRICTS.contains(&kind.as_str()) {
            return Err(format!("unknown kind {kind}"));
        }
        let typ = if admit {
            "warifu-block+jwt"
        } else {
            "warifu-restrict+jwt"
        };
        if string(&header, "typ")? != typ || string(&header, "alg")? != "EdDSA" {
            return Err(format!("header of a `{kind}` is {header:?}"));
        }
        let supersedes = match claims.get("supersedes") {
            Some(Value::Null) => None,
            _ => Some(bytes(&string(&claims, "supersedes")?)?),
        };
        let block = Self {
            hash: blake3::derive_key("warifu/1 block", input.as_bytes()),
            input: input.to_owned(),
            kid: header.get("kid").and_then(Value::as_str).map(str::to_owned),
            iss: string(&claims, "iss")?,
            sub: string(&claims, "sub")?,
            aud: string(&claims, "aud")?,
            iat: integer(&claims, "iat")?,
            exp: integer(&claims, "exp")?,
            nonce: string(&claims, "nonce")?,
            height: integer(&claims, "height")?,
            prev: bytes(&string(&claims, "prev")?)?,
            epoch: integer(&claims, "epoch")?,
            genesis: if kind == "genesis" {
                Some(genesis(&claims)?)
            } else {
                None
            },
            kind,
            supersedes,
        };
        if admit != block.kid.is_some() {
            return Err(format!("`{}` with kid {:?}", block.kind, block.kid));
        }
        Ok(block)
    }
}

/// A device's word beside a restrict block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// 4 deny, 5 disown, 6 freeze.
    pub verb: u8,
    /// What it is about.
    pub hash: Hash,
    /// The device's vote.
    pub vote: [u8; 64],
}

/// Who signed a sealed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// Account key; assent, endorse, seal; a genesis's transcript votes.
    Admit([u8; 64], [[u8; 64]; 3], Option<[[u8; 64]; 3]>),
    /// Broker, trust operator; the device's word.
    Restrict([[u8; 64]; 2], Option<Word>),
}

/// A sealed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The block.
    pub block: Block,
    /// Signatures.
    pub signed: Signed,
}

impl Sealed {
    /// Reads the JSON form of an export.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(json: &str) -> Result<Self, String> {
        let all = object(json)?;
        let block = Block::read(&string(&all, "block")?)?;
        let proof = inner(&all, "proof")?;
        let votes = inner(&all, "votes")?;
        let signed = if block.is_admit() {
            let three = [
                vote(&string(votes, "assent")?)?,
                vote(&string(votes, "endorse")?)?,
                vote(&string(votes, "seal")?)?,
            ];
            let transcript = match votes.get("transcript").and_then(Value::as_array) {
                None => None,
                Some(list) => {
                    let read = |v: &Value| vote(v.as_str().unwrap_or_default());
                    let all: Result<Vec<_>, _> = list.iter().map(read).collect();
                    Some(all?.try_into().map_err(|_| "not three transcript votes")?)
                }
            };
            Signed::Admit(bytes(&string(proof, "account")?)?, three, transcript)
        } else {
            let word = match votes.get("word").and_then(Value::as_object) {
                None => None,
                Some(word) => Some(Word {
                    verb: verb(&string(word, "verb")?)?,
                    hash: bytes(&string(word, "hash")?)?,
                    vote: vote(&string(word, "vote")?)?,
                }),
            };
            let both = [
                bytes(&string(proof, "broker")?)?,
                bytes(&string(proof, "trust_operator")?)?,
            ];
            Signed::Restrict(both, word)
        };
        Ok(Self { block, signed })
    }
}

fn verb(name: &str) -> Result<u8, String> {
    match name {
        "deny" => Ok(4),
        "disown" => Ok(5),
        "freeze" => Ok(6),
        other => Err(format!("verb {other}")),
    }
}

fn vote(text: &str) -> Result<[u8; 64], String> {
    bytes(
        text.strip_prefix("ed25519:")
            .ok_or("a vote of another form")?,
    )
}

fn genesis(claims: &Map<String, Value>) -> Result<Genesis, String> {
    let jwk = inner(inner(claims, "cnf")?, "jwk")?;
    let parties = claims.get("parties").and_then(Value::as_array);
    let parties = parties.ok_or("no parties")?.iter();
    let parties: Result<Vec<_>, _> = parties
        .map(|p| bytes(p.as_str().unwrap_or_default()))
        .collect();
    Ok(Genesis {
        account_key: bytes(&string(jwk, "x")?)?,
        parties: parties?.try_into().map_err(|_| "not three parties")?,
        transcript: bytes(&string(claims, "transcript")?)?,
    })
}

fn decode(text: &str) -> Result<String, String> {
    let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|e| e.to_string())?;
    String::from_utf8(bytes).map_err(|e| e.to_string())
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let found = Base64UrlUnpadded::decode_vec(text).map_err(|e| e.to_string())?;
    let length = found.len();
    found
        .try_into()
        .map_err(|_| format!("{length} bytes, expected {N}"))
}

fn object(json: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(json).map_err(|e| e.to_string())
}

fn inner<'a>(of: &'a Map<String, Value>, name: &str) -> Result<&'a Map<String, Value>, String> {
    let found = of.get(name).and_then(Value::as_object);
    found.ok_or_else(|| format!("no object {name}"))
}

fn string(of: &Map<String, Value>, name: &str) -> Result<String, String> {
    let found = of.get(name).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("no text {name}"))
}

fn integer(of: &Map<String, Value>, name: &str) -> Result<u64, String> {
    let found = of.get(name).and_then(Value::as_u64);
    found.ok_or_else(|| format!("no integer {name}"))
}

/// The first 16 bytes of the account's name, as text.
#[must_use]
pub fn account_name(transcript: &Hash) -> String {
    let hash = blake3::derive_key("warifu/1 account name", transcript);
    Base64UrlUnpadded::encode_string(&hash[..16])
}

/// RFC 7638 thumbprint of an account key.
#[must_use]
pub fn thumbprint(key: &[u8; 32]) -> String {
    let x = Base64UrlUnpadded::encode_string(key);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    Base64UrlUnpadded::encode_string(&sha2::Sha256::digest(jwk))
}

/// The 63 signed bytes of a vote.
#[must_use]
pub fn vote_bytes(verb: u8, party: Party, sub: &str, hash: &Hash) -> Vec<u8> {
    let mut signed = b"warifu-vote/1".to_vec();
    signed.extend([verb, party as u8]);
    signed.extend(Base64UrlUnpadded::decode_vec(sub).unwrap_or_default());
    signed.extend(hash);
    signed
}

/// What a commitment's vote is on.
#[must_use]
pub fn commitment_hash(block: &Hash, commitment: &[u8; 64]) -> Hash {
    let joined = [block.as_slice(), commitment].concat();
    blake3::derive_key("warifu/1 commitment vote", &joined)
}

/// What a share's vote is on.
#[must_use]
pub fn share_hash(block: &Hash, commitments: [&[u8; 64]; 3], share: &[u8; 32]) -> Hash {
    let package = blake3::derive_key(
        "warifu/1 signing package",
        &commitments.map(|c| &c[..]).concat(),
    );
    let joined = [block.as_slice(), &package, share].concat();
    blake3::derive_key("warifu/1 share vote", &joined)
}

/// Strict verification of Ed25519, each signature once.
#[derive(Debug, Default)]
pub struct Signatures {
    good: BTreeSet<Hash>,
    /// How many were verified.
    pub verified: u64,
}

impl Signatures {
    /// Whether `key` signed `message`.
    pub fn is_by(&mut self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let mut name = blake3::Hasher::new();
        name.update(key).update(signature).update(message);
        let name = *name.finalize().as_bytes();
        if self.good.contains(&name) {
            return true;
        }
        self.verified += 1;
        let Ok(key) = VerifyingKey::from_bytes(key) else {
            return false;
        };
        let good = key
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok();
        if good {
            self.good.insert(name);
        }
        good
    }
}
