//! A receipt is pasted, and verified with what this node pins: nothing is stored, nothing is looked up.

use axum::{
    extract::{Form, FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use maud::{Markup, display, html};
use serde::Deserialize;
use warifu_consensus::block::Sealed;

use super::{Language, VERIFY, page};
use crate::{
    clock,
    log_http::{Served, read_body},
    receipt::{Brought, COMPARE, Findings, Outcome, findings},
    words::{self, Both},
};

const ABOUT: Both = (
    "ログインの受領証を貼り付けると、この場で検証します。貼り付けた内容は保存も記録もしません。",
    "Paste the receipt of a login: it is verified here and now. What you paste is neither stored nor logged.",
);
const RECEIPT: Both = ("受領証（receipt、JSON）", "The receipt (JSON)");
const PROOF: Both = (
    "ログの証明（proof、c2sp.org/tlog-proof@v1 から始まる文面）",
    "Its proof from the log (the text that begins with c2sp.org/tlog-proof@v1)",
);
const KEY: Both = (
    "口座の公開鍵（43文字。省略すると口座の署名は検証しません）",
    "The account's public key (43 characters; without it the account key's signature is not verified)",
);
const SUBMIT: Both = ("検証する", "Verify");
const HELD: Both = ("有効", "Holds");
const FAILED: Both = ("無効", "Does not hold");
const UNCHECKED: Both = ("未検証", "Not checked");
const CONTENT: Both = ("記録の内容", "What it says");
const ITS_KIND: Both = ("種類", "Kind");
const ACCOUNT: Both = ("口座", "Account");
const HEIGHT: Both = ("高さ", "Height");
const FOR: Both = ("相手先", "For");
const TIME: Both = ("時刻", "Time");
const HASH: Both = ("ハッシュ", "Hash");
const INDEX: Both = ("ログの何件目か（0から）", "Index in the log, from 0");
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
    let brought = Brought {
        receipt: &pasted.receipt,
        proof: &pasted.proof,
        account_key: &pasted.account_key,
    };
    let findings = findings(brought, ledger, keys);
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
