//! Pages to look at: how large the log is and how it grows, the latest checkpoint and who signed it, a receipt that is
//! verified while its reader waits, and, for callers of the API, one account's chain.
//!
//! Decides what people see, in English and Japanese, and what a browser may do with it: nothing but show it and send the
//! one form back. No script, no image, nothing from elsewhere; the stylesheet is in the page and allowed by its hash.
//! Never stores or logs what is pasted, and never says anything about an account that the reader did not bring.

mod chain;
mod growth;
mod home;
mod language;
mod receipt;

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64ct::{Base64, Encoding};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub(crate) use chain::{Links, chain};
pub(crate) use growth::Growth;
pub(crate) use home::home;
pub(crate) use language::Language;
pub(crate) use receipt::{form, verify};

use crate::words::Both;

const STYLE: &str = include_str!("style.css");

/// What a browser may do with a page: show it in this style, and send its form back to where it came from.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let style = Base64::encode_string(&Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).ok()
});

const LOG: Both = ("台帳ログ", "The ledger's log");
const VERIFY: Both = ("受領証の検証", "Verify a receipt");
const OTHER_LANGUAGE: Both = ("English", "日本語");

/// The frame of every page. `with_nav` where the other pages are beside it; `query` is kept when the language changes.
fn page(language: Language, title: Both, with_nav: bool, query: &str, main: &Markup) -> Response {
    let say = |both| language.say(both);
    let other = language.other().code();
    let markup = html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (say(title)) " · Warifu" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    strong { "Warifu" }
                    nav {
                        @if with_nav {
                            a href={ "/?lang=" (language.code()) } { (say(LOG)) }
                            a href={ "/receipt?lang=" (language.code()) } { (say(VERIFY)) }
                        }
                        a href={ "?lang=" (other) (query) } lang=(other) { (say(OTHER_LANGUAGE)) }
                    }
                }
                main { h1 { (say(title)) } (main) }
            }
        }
    };
    let mut response = (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::VARY, "accept-language"),
            (header::CONTENT_LANGUAGE, language.code()),
        ],
        markup.into_string(),
    )
        .into_response();
    let policy = POLICY
        .clone()
        .unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}
