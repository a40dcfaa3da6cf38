//! One account's chain as linked blocks, newest first: for callers of the API with scope `history`.

use axum::response::Response;
use maud::{Markup, display, html};
use warifu_consensus::{
    block::{Class, Kind, Sealed},
    chain::Status,
    encoding::Hash,
    party::Sub,
};

use super::{Language, page};
use crate::{clock, words, words::Both};

const CHAIN: Both = ("口座の記録", "An account's chain");
const ACCOUNT: Both = ("口座", "Account");
const STATUS: Both = ("状態", "Status");
const ACTIVE: Both = ("利用可能", "active");
const FROZEN: Both = ("凍結中", "frozen");
const REVOKED: Both = ("失効", "revoked");
const BLOCK: Both = ("ブロック", "Block");
const HASH: Both = ("ハッシュ", "Hash");
const PREVIOUS: Both = ("1つ前のブロック", "The block before");
const FIRST: Both = ("なし（最初のブロック）", "none: this is the first");
const FOR: Both = ("相手先", "For");
const TIME: Both = ("時刻", "Time");
const ADMIT: Both = (
    "三者（端末・ブローカー・トラストオペレーター）が署名",
    "signed by all three: device, broker and trust operator",
);
const RESTRICT: Both = (
    "両オペレーターが署名（権限を減らすだけの記録）",
    "signed by both operators: it only takes away",
);
const BROKEN: Both = (
    "つながっていません。この下のブロックと一致しません。",
    "Not linked: this is not the block below.",
);
const OLDER: Both = ("以前の記録", "Older blocks");

/// What the page shows.
pub(crate) struct Links {
    /// The account.
    pub(crate) account: Sub,
    /// What it may do.
    pub(crate) status: Status,
    /// Newest first, each the one after the next.
    pub(crate) blocks: Vec<Sealed>,
    /// The height that the next page ends below.
    pub(crate) next: Option<u64>,
    /// The height that this page ends below.
    pub(crate) before: Option<u64>,
}

/// The page.
pub(crate) fn chain(language: Language, links: &Links) -> Response {
    let status = match links.status {
        Status::Active => ACTIVE,
        Status::Frozen => FROZEN,
        Status::Revoked => REVOKED,
    };
    let below = links
        .blocks
        .iter()
        .skip(1)
        .map(|sealed| sealed.block.hash());
    let below = below.map(Some).chain([None]);
    let main = html! {
        dl {
            dt { (language.say(ACCOUNT)) }
            dd { code { (display(links.account)) } }
            dt { (language.say(STATUS)) }
            dd { (language.say(status)) }
        }
        ol.chain {
            @for (sealed, below) in links.blocks.iter().zip(below) { li { (block(language, sealed, below)) } }
        }
        @if let Some(next) = links.next {
            p { a rel="next" href={ "?lang=" (language.code()) "&before=" (next) } { (language.say(OLDER)) } }
        }
    };
    let query = links.before.map(|before| format!("&before={before}"));
    page(language, CHAIN, false, &query.unwrap_or_default(), &main)
}

fn block(language: Language, sealed: &Sealed, below: Option<Hash>) -> Markup {
    let claims = sealed.block.claims();
    let (class, signed) = match claims.kind.class() {
        Class::Admit => ("admit", ADMIT),
        Class::Restrict => ("restrict", RESTRICT),
    };
    html! {
        article class={ "block " (class) } id={ "b" (claims.height) } {
            h2 { (language.say(BLOCK)) " " (claims.height) " · " (language.say(words::kind(claims.kind))) }
            p.dim { (language.say(signed)) }
            dl {
                dt { (language.say(FOR)) }
                dd { (claims.aud) }
                dt { (language.say(TIME)) }
                dd { (clock::local(claims.iat)) }
                dt { (language.say(HASH)) }
                dd { code { (display(sealed.block.hash())) } }
                dt { (language.say(PREVIOUS)) }
                dd {
                    @if claims.kind == Kind::Genesis { (language.say(FIRST)) }
                    @else if let Some(height) = claims.height.checked_sub(1) {
                        @if below.is_some() { a href={ "#b" (height) } { code { (display(claims.prev)) } } }
                        @else { code { (display(claims.prev)) } }
                    }
                    @if below.is_some_and(|below| below != claims.prev) { p.failed { (language.say(BROKEN)) } }
                }
            }
        }
    }
}
