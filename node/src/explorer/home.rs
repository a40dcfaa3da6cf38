//! The first page: how large the log is, how it grew, and what both operators signed last.

use axum::{extract::State, response::Response};
use base64ct::{Base64, Encoding};
use maud::{Markup, display, html};
use warifu_consensus::{
    log::{Checkpoint, SignedNote},
    party::Role,
};

use super::{LOG, Language, growth, page};
use crate::{
    clock,
    log_http::{LogSide, Served},
    words::Both,
};

const AT_BROKER: Both = (
    "ブローカーが保持するログの写しです。",
    "This is the broker's copy of the log.",
);
const AT_TRUST_OPERATOR: Both = (
    "トラストオペレーターが保持するログの写しです。",
    "This is the trust operator's copy of the log.",
);
const WHAT: Both = (
    "この台帳で三者の署名がそろった記録は、すべてこのログに1件ずつ追記されます。各行は開示用の鍵を持つ人にしか意味がなく、口座・利用者・時刻は読み取れません。",
    "Every block that was sealed in this ledger is one entry of this log, and nothing is ever taken out of it. An entry means something to whoever holds its opening only: it names no account, no person and no time.",
);
const NOTHING: Both = (
    "両オペレーターが署名したチェックポイントはまだありません。",
    "There is no checkpoint yet that both operators signed.",
);
const ENTRIES: Both = ("件の記録", "entries");
const LEDGER: Both = ("台帳", "Ledger");
const ROOT: Both = (
    "全記録のルートハッシュ（SHA-256）",
    "Root hash over all entries (SHA-256)",
);
const COSIGNED: Both = ("連署の時刻", "Cosigned at");
const CHECKPOINT: Both = ("最新のチェックポイント", "The latest checkpoint");
const EXPLAINED: Both = (
    "1行目はログの名前、2行目は件数、3行目はルートハッシュです。「—」で始まる行は署名です。",
    "The first line is the log's name, the second how many entries it has, the third its root hash. Lines that begin with a dash are signatures.",
);
const BY_BROKER: Both = (
    "ブローカーの署名。これがログの正本であると述べています。",
    "The broker's signature: it says that this is the log.",
);
const BY_TRUST_OPERATOR: Both = (
    "トラストオペレーターの連署。すべての記録を、自ら確定した記録と1件ずつ照合済みであると述べています。",
    "The trust operator's cosignature: it matched every entry with a block that it sealed itself, exactly once.",
);
const BY_OTHERS: Both = (
    "第三者の立会人による連署。ログが書き換えられず増え続けていることを見たと述べています。",
    "A public witness's cosignature: it saw the log grow, and nothing of it change.",
);
const KEY: Both = ("検証用の鍵", "Key to verify it with");
const HOLDS: Both = ("有効", "holds");
const HOLDS_NOT: Both = ("無効", "does not hold");
const ABSENT: Both = ("この版にはまだありません", "not on this checkpoint yet");
const YOURSELF: Both = (
    "このページの表示をそのまま信用する必要はありません。上の文面と鍵は公開された形式（C2SP）なので、ご自身の道具で確かめられます。",
    "You need not believe this page: the text and the keys above are of public formats (C2SP), for any tool of yours.",
);
const FOR_PROGRAMS: Both = ("プログラム向け", "For programs");

/// `GET /`.
pub(crate) async fn home(State(served): State<Served>, language: Language) -> Response {
    let points = served.growth.points(&served).await;
    let side = &served.side;
    let main = html! {
        p { (language.say(if side.role == Role::TrustOperator { AT_TRUST_OPERATOR } else { AT_BROKER })) }
        @match side.book.cosigned() {
            None => p { (language.say(NOTHING)) },
            Some((checkpoint, note)) => {
                (size(language, side, &checkpoint, &note))
                @if let Some(drawn) = growth::draw(language, &points) { (drawn) }
                (signed(language, side, &note))
            },
        }
        h2 { (language.say(FOR_PROGRAMS)) }
        p { a href="/checkpoint" { code { "/checkpoint" } } " · " code { "/tile/LEVEL/INDEX" } " · " code { "/tile/entries/INDEX" } }
        p.dim { (language.say(WHAT)) }
    };
    page(language, LOG, true, "", &main)
}

fn size(language: Language, side: &LogSide, checkpoint: &Checkpoint, note: &SignedNote) -> Markup {
    let cosigned = Checkpoint::cosigned(note, &side.book.keys().witness);
    html! {
        p { span.size { (checkpoint.size) } " " (language.say(ENTRIES)) }
        dl {
            dt { (language.say(LEDGER)) }
            dd { (side.ledger.iss) }
            dt { (language.say(ROOT)) }
            dd { code { (Base64::encode_string(&checkpoint.root)) } }
            @if let Ok(cosigned) = cosigned {
                dt { (language.say(COSIGNED)) }
                dd { (clock::local(cosigned.time)) }
            }
        }
    }
}

fn signed(language: Language, side: &LogSide, note: &SignedNote) -> Markup {
    let keys = side.book.keys();
    let mut lines = vec![(BY_BROKER, &keys.log), (BY_TRUST_OPERATOR, &keys.witness)];
    lines.extend(side.witnesses.iter().map(|key| (BY_OTHERS, key)));
    html! {
        h2 { (language.say(CHECKPOINT)) }
        p { (language.say(EXPLAINED)) }
        pre { (display(note)) }
        dl {
            @for (what, key) in lines {
                dt { (language.say(what)) }
                dd {
                    @match note.verify(key) {
                        Ok(_) => span.held { (language.say(HOLDS)) },
                        Err(warifu_consensus::log::NoteError::Missing { .. }) => span.unchecked { (language.say(ABSENT)) },
                        Err(_) => span.failed { (language.say(HOLDS_NOT)) },
                    }
                    " · " (language.say(KEY)) ": " code { (display(key)) }
                }
            }
        }
        p { (language.say(YOURSELF)) }
    }
}
