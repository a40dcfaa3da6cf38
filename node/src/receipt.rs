//! What can be said of a receipt, with the keys that the reader pins: each check that was made, whether it held, and what
//! was not checked because the reader did not bring what it takes.
//!
//! The block is never compared with a login that the reader expected: only the reader knows that.

use warifu_client_sdk::receipt::{
    Expected, Moment, Voters, verify_logged, verify_receipt, verify_votes,
};
use warifu_consensus::{
    block::{Class, Kind, Sealed, Votes},
    chain::{Account, verify_proof},
    encoding::{parse_b64, text_b64},
    log::LogKeys,
    party::{Ledger, Parties},
    vote::Verb,
};

use crate::words::Both;

const ALL_HELD: Both = (
    "検証できました。すべての確認が有効です。",
    "Verified: every check held.",
);
const SOME_HELD: Both = (
    "確認できた範囲では有効です。検証していない項目があります。",
    "It holds as far as it was checked. Not everything was.",
);
const NOT_HELD: Both = (
    "検証できません。有効でない項目があります。",
    "It does not hold.",
);
const FORM: Both = ("受領証の形式", "The receipt's form");
const ISSUER: Both = ("この台帳の記録であること", "It is a block of this ledger");
const AGREED: Both = (
    "口座の鍵による署名（三者の署名がそろったこと）と両オペレーターの票",
    "The account key's signature, which exists only if all three signed, and both operators' votes",
);
const FOUNDED: Both = (
    "口座の鍵による署名と、三者の票",
    "The account key's signature, and all three parties' votes",
);
const OPERATORS: Both = ("両オペレーターの署名", "Both operators' signatures");
const VOTES: Both = ("両オペレーターの票", "Both operators' votes");
const DEVICE_VOTE: Both = ("端末の票", "The device's vote");
const WORD: Both = ("端末の意思表示", "The device's word");
const PINNED: Both = (
    "口座の公開鍵が、固定されたものと同じであること",
    "The account's public key is the pinned one",
);
const BY_OPERATORS: Both = (
    "この記録には両オペレーターが署名します。口座の鍵は使われません。",
    "This block is signed by the operators: the account's key has no part in it.",
);
const NO_GENESIS: Both = (
    "端末の鍵は口座の最初の記録にあり、受領証には含まれません。",
    "The device's key stands in the account's genesis, which a receipt does not have.",
);
const SIGNATURE: Both = ("口座の鍵による署名", "The account key's signature");
const NO_KEY: Both = (
    "口座の公開鍵が入力されていません。",
    "No account key was given.",
);
const LOGGED: Both = (
    "この台帳のログに記録され、両オペレーターがそのチェックポイントに署名していること",
    "It is in this ledger's log, in a checkpoint that both operators signed",
);
const NO_PROOF: Both = ("ログの証明が入力されていません。", "No proof was given.");
pub(crate) const COMPARE: Both = (
    "この内容がご自身の取引と一致するか（相手先・口座・nonce）は、ここでは確かめられません。",
    "Whether this is the login that you mean (for whom, which account, which nonce) is for you to compare.",
);

/// How one check ended.
pub(crate) enum Outcome {
    Held,
    Failed(String),
    /// What it would have taken.
    Unchecked(Both),
}

/// What a reader brought.
#[derive(Clone, Copy, Default)]
pub(crate) struct Brought<'a> {
    /// The sealed block, canonical JSON.
    pub(crate) receipt: &'a str,
    /// Its proof from the log; nothing but white space if there is none.
    pub(crate) proof: &'a str,
    /// The account's public key, 43 characters of base64url; empty if it is not known.
    pub(crate) account_key: &'a str,
}

/// What was found out.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) checks: Vec<(Both, Outcome)>,
    pub(crate) sealed: Option<Box<Sealed>>,
    /// Index, and when the trust operator cosigned.
    pub(crate) logged: Option<(u64, u64)>,
}

/// A text as it was before a browser or an editor had it: line feeds alone, and one at the end.
fn lines(text: &str) -> String {
    let mut text = text.replace("\r\n", "\n").trim().to_owned();
    text.push('\n');
    text
}

/// Makes every check that what was brought allows.
pub(crate) fn findings(brought: Brought<'_>, ledger: &Ledger, keys: &LogKeys) -> Findings {
    let mut found = Findings::default();
    let sealed = match Sealed::from_json(brought.receipt.trim()) {
        Ok(sealed) => Box::new(sealed),
        Err(error) => {
            found.check(FORM, Outcome::Failed(error.to_string()));
            return found;
        }
    };
    found.check(FORM, Outcome::Held);
    let iss = &sealed.block.claims().iss;
    let issuer = if *iss == ledger.iss {
        Outcome::Held
    } else {
        Outcome::Failed(format!("{iss:?}, expected {:?}", ledger.iss))
    };
    found.check(ISSUER, issuer);
    agreement(&mut found, brought, &sealed, ledger);
    let proof = lines(brought.proof);
    let logged = if proof.trim().is_empty() {
        Outcome::Unchecked(NO_PROOF)
    } else {
        match verify_logged(&sealed.block, &proof, keys) {
            Ok(logged) => {
                found.logged = Some((logged.index, logged.cosigned));
                Outcome::Held
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    };
    found.check(LOGGED, logged);
    found.sealed = Some(sealed);
    found
}

/// Whose agreement the block carries.
fn agreement(found: &mut Findings, brought: Brought<'_>, sealed: &Sealed, ledger: &Ledger) {
    let claims = sealed.block.claims();
    let voters = Voters::operators(ledger);
    let key = brought.account_key.trim();
    let key = match (!key.is_empty()).then(|| parse_b64::<32>(key)).transpose() {
        Ok(key) => key,
        Err(error) => return found.check(SIGNATURE, Outcome::Failed(error.to_string())),
    };
    match (claims.kind, claims.kind.class(), key) {
        (Kind::Genesis, _, key) => {
            found.outcome(FOUNDED, Account::open(ledger, sealed));
            let own = claims.genesis.as_ref().map(|genesis| genesis.account_key);
            let pinned = match key {
                None => Outcome::Unchecked(NO_KEY),
                Some(key) if own == Some(key) => Outcome::Held,
                Some(_) => {
                    let found = own.map_or_else(|| "none".to_owned(), |own| text_b64(&own));
                    Outcome::Failed(format!("{found}, expected {}", brought.account_key.trim()))
                }
            };
            found.check(PINNED, pinned);
        }
        (_, Class::Restrict, key) => {
            let parties = Parties {
                device: [0; 32],
                broker: ledger.broker,
                trust_operator: ledger.trust_operator,
            };
            let held = verify_proof(&sealed.block, &sealed.proof, &[0; 32], &parties);
            found.outcome(OPERATORS, held);
            word(found, sealed);
            if key.is_some() {
                found.check(SIGNATURE, Outcome::Unchecked(BY_OPERATORS));
            }
        }
        (_, Class::Admit, None) => {
            found.outcome(VOTES, verify_votes(sealed, &voters));
            found.check(DEVICE_VOTE, Outcome::Unchecked(NO_GENESIS));
            found.check(SIGNATURE, Outcome::Unchecked(NO_KEY));
        }
        (kind, Class::Admit, Some(account_key)) => {
            let expected = Expected {
                iss: ledger.iss.clone(),
                aud: claims.aud.clone(),
                account: claims.sub,
                account_key,
                nonce: claims.nonce.clone(),
                kind,
            };
            let receipt = sealed.to_json();
            let held = verify_receipt(&receipt, &expected, &voters, Moment::Evidence);
            found.outcome(AGREED, held);
            found.check(DEVICE_VOTE, Outcome::Unchecked(NO_GENESIS));
        }
    }
}

/// The device's word in a block of the operators: whether it may stand there. That it is the device's, its key would tell.
fn word(found: &mut Findings, sealed: &Sealed) {
    let claims = sealed.block.claims();
    let word = match &sealed.votes {
        Votes::Restrict { word } => word.as_ref(),
        _ => None,
    };
    let is_deny = claims.kind == Kind::Deny;
    let outcome = match word {
        None if is_deny => Outcome::Failed("none, though only the device denies".to_owned()),
        None => return,
        Some(word) if is_deny && !matches!(word.verb, Verb::Deny | Verb::Disown) => {
            Outcome::Failed("it refuses nothing".to_owned())
        }
        Some(word) if is_deny && claims.supersedes.is_some_and(|of| of != word.hash) => {
            Outcome::Failed("it is about another block than the one displaced".to_owned())
        }
        Some(_) => Outcome::Unchecked(NO_GENESIS),
    };
    found.check(WORD, outcome);
}

impl Findings {
    fn check(&mut self, what: Both, outcome: Outcome) {
        self.checks.push((what, outcome));
    }

    fn outcome<T, E: std::fmt::Display>(&mut self, what: Both, outcome: Result<T, E>) {
        let outcome = match outcome {
            Ok(_) => Outcome::Held,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.check(what, outcome);
    }

    /// `failed`, `unchecked` or `held`, and the words for it.
    pub(crate) fn verdict(&self) -> (&'static str, Both) {
        let is = |wanted: fn(&Outcome) -> bool| self.checks.iter().any(|(_, found)| wanted(found));
        if is(|found| matches!(found, Outcome::Failed(_))) {
            ("failed", NOT_HELD)
        } else if is(|found| matches!(found, Outcome::Unchecked(_))) {
            ("unchecked", SOME_HELD)
        } else {
            ("held", ALL_HELD)
        }
    }
}
