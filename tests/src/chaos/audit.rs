//! Who was promised a login, and what the three directories hold: an audit from outside.
//!
//! It reads what `warifu ledger export` writes, after `warifu ledger verify` found nothing, and judges
//! again by itself: claims are read as plain JSON, votes and proofs are verified over bytes that are put
//! together here as docs/protocol.md says. It shares no code with the chain's rules; hash, base64url and
//! Ed25519 are libraries'.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use warifu_consensus::{encoding, signature::verify_strict};

use super::customers::Acknowledged;

/// One sealed block, as an outsider reads it.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// 43 characters of base64url.
    pub hash: String,
    /// Distance from genesis.
    pub height: u64,
    /// Its kind.
    pub kind: String,
    prev: String,
}

/// A party's chains, by account.
pub type Chains = BTreeMap<String, Vec<Sealed>>;

/// What is wrong with a block or a chain; says where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Wrong {
    place: String,
    what: String,
}

fn wrong(place: &str, what: impl Into<String>) -> Wrong {
    Wrong {
        place: place.to_owned(),
        what: what.into(),
    }
}

/// The three identity keys and the account key, as an account's genesis fixed them.
struct Keys {
    parties: [[u8; 32]; 3],
    account: [u8; 32],
}

const ROLES: [&str; 3] = ["device", "broker", "trust operator"];
/// Verbs of votes, docs/protocol.md "Votes".
const ASSENT: u8 = 1;
const ENDORSE: u8 = 2;
const SEAL: u8 = 3;
/// Kinds that all three must sign.
const ADMITS: [&str; 5] = ["genesis", "login", "approve", "change", "unfreeze"];

/// Reads an export, verifies every proof and vote in it, and that heights and `prev` form one chain for each
/// account.
///
/// # Errors
/// [`Wrong`] about the first block that is not as it must be.
pub fn read_export(party: &str, export: &str) -> Result<Chains, Wrong> {
    let mut chains = Chains::new();
    let mut keys: BTreeMap<String, Keys> = BTreeMap::new();
    for (number, line) in export.lines().enumerate() {
        let place = format!("{party}, line {}", number + 1);
        let value: Value =
            serde_json::from_str(line).map_err(|error| wrong(&place, error.to_string()))?;
        let Some(input) = value["block"].as_str() else {
            // The first line and the last.
            continue;
        };
        let claims = claims(input).ok_or_else(|| wrong(&place, "the block has no claims"))?;
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
        let (sub, kind) = (text("sub"), text("kind"));
        if kind == "genesis" {
            let fixed = fixed(&claims).ok_or_else(|| wrong(&place, "the genesis fixes no keys"))?;
            if keys.insert(sub.clone(), fixed).is_some() {
                return Err(wrong(&place, format!("a second genesis of account {sub}")));
            }
        }
        let keys = keys
            .get(&sub)
            .ok_or_else(|| wrong(&place, "a block before its genesis"))?;
        proven(&value, input, &sub, &kind, keys).map_err(|what| wrong(&place, what))?;
        let sealed = Sealed {
            hash: hash(input),
            height: claims["height"].as_u64().unwrap_or(u64::MAX),
            kind,
            prev: text("prev"),
        };
        append(chains.entry(sub).or_default(), sealed).map_err(|what| wrong(&place, what))?;
    }
    Ok(chains)
}

fn append(chain: &mut Vec<Sealed>, next: Sealed) -> Result<(), String> {
    let expected = chain.len() as u64;
    if next.height != expected {
        return Err(format!("height {}, expected {expected}", next.height));
    }
    if chain.last().is_some_and(|last| last.hash != next.prev) {
        return Err(format!("block {} follows another block", next.hash));
    }
    chain.push(next);
    Ok(())
}

fn claims(input: &str) -> Option<Value> {
    let (_, claims) = input.split_once('.')?;
    serde_json::from_slice(&encoding::parse_b64_vec(claims).ok()?).ok()
}

fn key(value: &Value) -> Option<[u8; 32]> {
    encoding::parse_b64(value.as_str()?).ok()
}

fn fixed(claims: &Value) -> Option<Keys> {
    let parties = &claims["parties"];
    Some(Keys {
        parties: [key(&parties[0])?, key(&parties[1])?, key(&parties[2])?],
        account: key(&claims["cnf"]["jwk"]["x"])?,
    })
}

/// The block's hash: 43 characters of base64url.
fn hash(input: &str) -> String {
    encoding::text_b64(&blake3::derive_key("warifu/1 block", input.as_bytes()))
}

fn signature(value: &Value) -> Result<[u8; 64], String> {
    let text = value.as_str().ok_or("a signature is missing")?;
    encoding::parse_b64(text.strip_prefix("ed25519:").unwrap_or(text)).map_err(|e| e.to_string())
}

/// Verifies the proof, and of an admit the three votes.
fn proven(sealed: &Value, input: &str, sub: &str, kind: &str, keys: &Keys) -> Result<(), String> {
    let (proof, votes) = (&sealed["proof"], &sealed["votes"]);
    let bytes = input.as_bytes();
    if !ADMITS.contains(&kind) {
        for (name, key) in [
            ("broker", &keys.parties[1]),
            ("trust_operator", &keys.parties[2]),
        ] {
            verify_strict(key, bytes, &signature(&proof[name])?)
                .map_err(|_| format!("a {kind} without the {name}'s signature"))?;
        }
        return Ok(());
    }
    verify_strict(&keys.account, bytes, &signature(&proof["account"])?)
        .map_err(|_| format!("a {kind} without the account key's signature"))?;
    let names = [("assent", ASSENT), ("endorse", ENDORSE), ("seal", SEAL)];
    for (role, (name, verb)) in names.into_iter().enumerate() {
        let vote = signature(&votes[name])?;
        let statement = statement(verb, role, sub, input)?;
        verify_strict(&keys.parties[role], &statement, &vote)
            .map_err(|_| format!("a {kind} without the {}'s {name}", ROLES[role]))?;
    }
    Ok(())
}

/// What a vote signs: tag 13 ‖ verb ‖ role ‖ `sub` 16 ‖ hash 32.
fn statement(verb: u8, role: usize, sub: &str, input: &str) -> Result<Vec<u8>, String> {
    let sub: [u8; 16] = encoding::parse_b64(sub).map_err(|error| error.to_string())?;
    let mut bytes = b"warifu-vote/1".to_vec();
    bytes.extend([verb, role as u8 + 1]);
    bytes.extend(sub);
    bytes.extend(blake3::derive_key("warifu/1 block", input.as_bytes()));
    Ok(bytes)
}

/// What the audit found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged logins that an operator does not hold.
    pub lost: Vec<String>,
    /// Acknowledged logins that stand twice, or were acknowledged twice.
    pub twice: Vec<String>,
    /// Sealed although the device had denied it.
    pub denied: Vec<String>,
    /// Where two parties' chains differ, other than by being shorter.
    pub forks: Vec<String>,
    /// Sealed blocks at the trust operator.
    pub blocks: usize,
}

impl Verdict {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.twice, &self.denied, &self.forks]
            .into_iter()
            .all(Vec::is_empty)
    }
}

/// Compares what was acknowledged with what the parties hold. The trust operator's chain is never behind the
/// broker's, and the broker's never behind the device's (protocol rule 3).
#[must_use]
pub fn judge(
    acknowledged: &[Acknowledged],
    denied: &[String],
    device: &Chains,
    broker: &Chains,
    trust_operator: &Chains,
) -> Verdict {
    let mut verdict = Verdict {
        blocks: trust_operator.values().map(Vec::len).sum(),
        ..Verdict::default()
    };
    let mut seen = BTreeSet::new();
    for Acknowledged { account, hash } in acknowledged {
        if !seen.insert(hash) {
            verdict.twice.push(format!("{hash} was acknowledged twice"));
        }
        for (party, chains) in [("broker", broker), ("trust operator", trust_operator)] {
            let chain = chains.get(account).map(Vec::as_slice).unwrap_or_default();
            match chain.iter().filter(|block| block.hash == *hash).count() {
                0 => verdict.lost.push(format!("{hash} at the {party}")),
                1 => {}
                more => verdict
                    .twice
                    .push(format!("{hash}, {more} × at the {party}")),
            }
        }
    }
    for block in trust_operator.values().flatten() {
        if ADMITS.contains(&block.kind.as_str()) && denied.contains(&block.hash) {
            verdict.denied.push(block.hash.clone());
        }
    }
    let pairs = [
        ("device", device, "broker", broker),
        ("broker", broker, "trust operator", trust_operator),
    ];
    for (shorter, behind, longer, ahead) in pairs {
        for (account, chain) in behind {
            let other = ahead.get(account).map(Vec::as_slice).unwrap_or_default();
            let same = |(mine, theirs): (&Sealed, &Sealed)| mine.hash == theirs.hash;
            if chain.len() > other.len() || !chain.iter().zip(other).all(same) {
                verdict.forks.push(format!(
                    "account {account}: the {shorter} holds {} blocks, the {longer} {}, and one does not \
                     begin the other",
                    chain.len(),
                    other.len()
                ));
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed chain of eleven blocks, one of every kind, by the second implementation.
    fn lines() -> Vec<String> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../consensus/tests/vectors/chain.json"
        );
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let sealed = vectors["sealed"].as_array().unwrap();
        let text = |sealed: &Value| sealed.as_str().unwrap().to_owned();
        sealed.iter().map(text).collect()
    }

    fn read(lines: &[String]) -> Result<Chains, Wrong> {
        read_export("broker", &lines.join("\n"))
    }

    fn logins(chains: &Chains) -> Vec<Acknowledged> {
        let (account, chain) = chains.first_key_value().unwrap();
        let admits = chain.iter().filter(|b| ADMITS.contains(&b.kind.as_str()));
        admits
            .map(|block| Acknowledged {
                account: account.clone(),
                hash: block.hash.clone(),
            })
            .collect()
    }

    #[test]
    fn the_second_implementations_chain_is_read_and_nothing_is_missed() {
        let chains = read(&lines()).unwrap();
        assert_eq!(chains.len(), 1);
        let verdict = judge(&logins(&chains), &[], &chains, &chains, &chains);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!(verdict.blocks, lines().len());
    }

    #[test]
    fn a_vote_a_proof_or_a_place_that_is_wrong_is_found() {
        for (number, line) in lines().iter().enumerate() {
            let value: Value = serde_json::from_str(line).unwrap();
            for part in ["proof", "votes"] {
                for (name, signature) in value[part].as_object().unwrap() {
                    let Some(text) = signature.as_str() else {
                        continue;
                    };
                    // A character in the middle: one bit of S.
                    let mut other = text.to_owned();
                    let at = text.len() - 30;
                    let turned = if &text[at..=at] == "A" { "B" } else { "A" };
                    other.replace_range(at..=at, turned);
                    let mut forged = lines();
                    forged[number] = line.replace(text, &other);
                    let found = read(&forged).unwrap_err().to_string();
                    assert!(found.contains("without"), "{number} {part} {name}: {found}");
                }
            }
            let mut gap = lines();
            gap.remove(number);
            let is_last = number + 1 == lines().len();
            assert_eq!(read(&gap).is_ok(), is_last, "without line {number}");
            let mut again = lines();
            again.insert(number, line.clone());
            assert!(read(&again).is_err(), "line {number} twice");
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_not_there_is_lost_and_forks_are_seen() {
        let whole = read(&lines()).unwrap();
        let all = logins(&whole);
        let mut shorter = whole.clone();
        let account = all[0].account.clone();
        shorter.get_mut(&account).unwrap().truncate(2);
        let verdict = judge(&all, &[], &shorter, &shorter, &whole);
        assert_eq!(verdict.lost.len(), all.len() - 2);
        assert!(verdict.forks.is_empty() && verdict.twice.is_empty());
        let verdict = judge(&all, &[], &shorter, &whole, &shorter);
        assert_eq!(verdict.forks.len(), 1, "the broker is ahead");

        let mut twice = all.clone();
        twice.push(all[1].clone());
        let verdict = judge(&twice, &[all[1].hash.clone()], &whole, &whole, &whole);
        assert_eq!((verdict.twice.len(), verdict.denied.len()), (1, 1));

        let mut forked = whole.clone();
        forked.get_mut(&account).unwrap()[1].hash = all[0].hash.clone();
        let verdict = judge(&[], &[], &forked, &whole, &whole);
        assert_eq!(verdict.forks.len(), 1);
    }
}
