//! A receipt is pasted, and verified with what this node pins: nothing is stored, nothing is looked up.
//!
//! Decides what is said of it: each check that was made, whether it held, and what was not checked because the reader did
//! not bring what it takes. The block is never compared with a login that the reader expected: only the reader knows that.

use axum::{
    extract::{Form, FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use maud::{Markup, display, html};
use serde::Deserialize;
use warifu_client_sdk::receipt::{
    Expected, Moment, Voters, verify_logged, verify_receipt, verify_votes,
};
use warifu_consensus::{
    block::{Class, Kind, Sealed},
    chain::{Account, verify_proof},
    encoding::parse_b64,
    log::LogKeys,
    party::{Ledger, Parties},
};

use super::{Language, VERIFY, page};
use crate::{
    clock,
    log_http::{Served, read_body},
    words::{self, Both},
};

const ABOUT: Both = (
    "ログインの受領証を貼り付けると、この場で検証します。貼り付けた内容は保存も記録もしません。",
    "Paste the receipt of a login: it is verified here and now. What you paste is neither stored nor logged.",
);
const RECEIPT: Both = ("受領証(receipt、JSON)", "The receipt (JSON)");
const PROOF: Both = (
    "ログの証明(proof、c2sp.org/tlog-proof@v1 から始まる文面)",
    "Its proof from the log (the text that begins with c2sp.org/tlog-proof@v1)",
);
const KEY: Both = (
    "口座の公開鍵(43文字。省略すると口座の署名は検証しません)",
    "The account's public key (43 characters; without it the account key's signature is not verified)",
);
const SUBMIT: Both = ("検証する", "Verify");
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
const HELD: Both = ("有効", "Holds");
const FAILED: Both = ("無効", "Does not hold");
const UNCHECKED: Both = ("未検証", "Not checked");
const FORM: Both = ("受領証の形式", "The receipt's form");
const ISSUER: Both = ("この台帳の記録であること", "It is a block of this ledger");
const AGREED: Both = (
    "口座の鍵による署名(三者の署名がそろったこと)と両運営者の票",
    "The account key's signature, which exists only if all three signed, and both operators' votes",
);
const FOUNDED: Both = (
    "口座の鍵による署名と、三者の票",
    "The account key's signature, and all three parties' votes",
);
const OPERATORS: Both = ("両運営者の署名", "Both operators' signatures");
const VOTES: Both = ("両運営者の票", "Both operators' votes");
const DEVICE_VOTE: Both = ("端末の票", "The device's vote");
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
    "この台帳のログに記録され、両運営者がそのチェックポイントに署名していること",
    "It is in this ledger's log, in a checkpoint that both operators signed",
);
const NO_PROOF: Both = ("ログの証明が入力されていません。", "No proof was given.");
const CONTENT: Both = ("記録の内容", "What it says");
const COMPARE: Both = (
    "この内容がご自身の取引と一致するか(相手先・口座・nonce)は、このページでは確かめられません。",
    "Whether this is the login that you mean (for whom, which account, which nonce) is for you to compare.",
);
const ITS_KIND: Both = ("種類", "Kind");
const ACCOUNT: Both = ("口座", "Account");
const HEIGHT: Both = ("高さ", "Height");
const FOR: Both = ("相手先", "For");
const TIME: Both = ("時刻", "Time");
const HASH: Both = ("ハッシュ", "Hash");
const INDEX: Both = ("ログの何件目か(0から)", "Index in the log, from 0");
const COSIGNED: Both = ("連署の時刻", "Cosigned at");

/// What a reader sends.
#[derive(Deserialize)]
pub(crate) struct Pasted {
    receipt: String,
    #[serde(default)]
    proof: String,
    #[serde(default)]
    account_key: String,
}

/// How one check ended.
enum Outcome {
    Held,
    Failed(String),
    /// What it would have taken.
    Unchecked(Both),
}

/// What was found out.
struct Findings {
    checks: Vec<(Both, Outcome)>,
    sealed: Option<Box<Sealed>>,
    /// Index, and when the trust operator cosigned.
    logged: Option<(u64, u64)>,
}

/// `GET /receipt`.
pub(crate) async fn form(language: Language) -> Response {
    page(language, VERIFY, true, "", &fields(language, None))
}

/// `POST /receipt`.
pub(crate) async fn verify(
    State(served): State<Served>,
    language: Language,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let request = Request::from_parts(parts, body.into());
    let Form(pasted) = match Form::<Pasted>::from_request(request, &()).await {
        Ok(form) => form,
        Err(refused) => return refused.into_response(),
    };
    let (ledger, keys) = (&served.side.ledger, served.side.book.keys());
    let findings = findings(&pasted, ledger, keys);
    let main = html! { (told(language, &findings)) (fields(language, Some(&pasted))) };
    page(language, VERIFY, true, "", &main)
}

fn fields(language: Language, pasted: Option<&Pasted>) -> Markup {
    let text = |of: fn(&Pasted) -> &String| pasted.map(of).map_or("", String::as_str);
    let say = |both| language.say(both);
    html! {
        p { (say(ABOUT)) }
        form method="post" action={ "/receipt?lang=" (language.code()) } {
            label { (say(RECEIPT)) textarea name="receipt" rows="8" required spellcheck="false" { (text(|p| &p.receipt)) } }
            label { (say(PROOF)) textarea name="proof" rows="8" spellcheck="false" { (text(|p| &p.proof)) } }
            label { (say(KEY)) input name="account_key" autocomplete="off" spellcheck="false" value=(text(|p| &p.account_key)); }
            button type="submit" { (say(SUBMIT)) }
        }
    }
}

/// A text as it was before a browser sent it: line feeds alone, and one at the end.
fn lines(pasted: &str) -> String {
    let mut text = pasted.replace("\r\n", "\n").trim().to_owned();
    text.push('\n');
    text
}

fn findings(pasted: &Pasted, ledger: &Ledger, keys: &LogKeys) -> Findings {
    let mut found = Findings {
        checks: Vec::new(),
        sealed: None,
        logged: None,
    };
    let sealed = match Sealed::from_json(pasted.receipt.trim()) {
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
    agreement(&mut found, pasted, &sealed, ledger);
    let proof = lines(&pasted.proof);
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
fn agreement(found: &mut Findings, pasted: &Pasted, sealed: &Sealed, ledger: &Ledger) {
    let claims = sealed.block.claims();
    let voters = Voters::operators(ledger);
    match (claims.kind, claims.kind.class()) {
        (Kind::Genesis, _) => found.outcome(FOUNDED, Account::open(ledger, sealed)),
        (_, Class::Restrict) => {
            let parties = Parties {
                device: [0; 32],
                broker: ledger.broker,
                trust_operator: ledger.trust_operator,
            };
            let held = verify_proof(&sealed.block, &sealed.proof, &[0; 32], &parties);
            found.outcome(OPERATORS, held);
        }
        (_, Class::Admit) if pasted.account_key.trim().is_empty() => {
            found.outcome(VOTES, verify_votes(sealed, &voters));
            found.check(DEVICE_VOTE, Outcome::Unchecked(NO_GENESIS));
            found.check(SIGNATURE, Outcome::Unchecked(NO_KEY));
        }
        (kind, Class::Admit) => {
            let account_key = match parse_b64(pasted.account_key.trim()) {
                Ok(key) => key,
                Err(error) => {
                    return found.check(SIGNATURE, Outcome::Failed(error.to_string()));
                }
            };
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

    fn verdict(&self) -> (&'static str, Both) {
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

fn told(language: Language, findings: &Findings) -> Markup {
    let say = |both| language.say(both);
    let (class, verdict) = findings.verdict();
    html! {
        section role="status" {
            p class={ "verdict " (class) } id="verdict" { (say(verdict)) }
            ul.checks {
                @for (what, outcome) in &findings.checks {
                    li {
                        @match outcome {
                            Outcome::Held => span.held { (say(HELD)) },
                            Outcome::Failed(_) => span.failed { (say(FAILED)) },
                            Outcome::Unchecked(_) => span.unchecked { (say(UNCHECKED)) },
                        }
                        " · " (say(*what))
                        @match outcome {
                            Outcome::Held => {},
                            Outcome::Failed(why) => p.dim { (why) },
                            Outcome::Unchecked(why) => p.dim { (say(*why)) },
                        }
                    }
                }
            }
            @if let Some(sealed) = &findings.sealed { (content(language, sealed, findings.logged)) }
        }
    }
}

fn content(language: Language, sealed: &Sealed, logged: Option<(u64, u64)>) -> Markup {
    let claims = sealed.block.claims();
    let say = |both| language.say(both);
    html! {
        h2 { (say(CONTENT)) }
        dl {
            dt { (say(ITS_KIND)) } dd { (say(words::kind(claims.kind))) }
            dt { (say(FOR)) } dd { (claims.aud) }
            dt { (say(ACCOUNT)) } dd { code { (display(claims.sub)) } }
            dt { "nonce" } dd { code { (claims.nonce) } }
            dt { (say(TIME)) } dd { (clock::local(claims.iat)) }
            dt { (say(HEIGHT)) } dd { (claims.height) }
            dt { (say(HASH)) } dd { code { (display(sealed.block.hash())) } }
            @if let Some((index, cosigned)) = logged {
                dt { (say(INDEX)) } dd { (index) }
                dt { (say(COSIGNED)) } dd { (clock::local(cosigned)) }
            }
        }
        p { (say(COMPARE)) }
    }
}
