//! What a customer reads: Japanese and English, both always there.
//!
//! Kind and relying party are this program's own words. What the broker states is shown below and
//! under that heading.

use warifu_client_sdk::device::DeviceError;
use warifu_consensus::{
    block::Kind,
    enrol::TicketError,
    party::Role,
    wire::{Reason, plain},
};

use crate::{
    clock,
    control::{AccountView, HistoryView, PendingView},
    output::{Lang, Output, Style},
};

/// A text in Japanese and in English.
pub(crate) type Both = (&'static str, &'static str);

pub(crate) const NOTHING: Both = (
    "確認待ちの操作はありません。",
    "Nothing waits for your decision.",
);

pub(crate) const NO_ACCOUNT: Both = (
    "この端末にはまだ口座が登録されていません。",
    "This device has no account yet.",
);

pub(crate) const ASK_NUMBER: Both = (
    "ログイン画面に表示されている2桁の番号を入力してください。心当たりがない場合は中止し、拒否してください。",
    "Type the two-digit number that the login page shows. If this is not you, stop and deny it.",
);

pub(crate) const APPROVED: Both = (
    "承認しました。三者の署名がそろい、台帳に記録されました。",
    "Approved. All three signed, and the ledger holds it.",
);

pub(crate) const SENT: Both = (
    "承認を送りました。まだ確定していません。",
    "Your approval was sent. It is not final yet.",
);

pub(crate) const DENIED: Both = (
    "拒否しました。この操作にこの端末が署名することはありません。",
    "Denied. This device will never sign it.",
);

pub(crate) const DISOWNED: Both = (
    "拒否し、口座の凍結を求めました。解除には本人確認が必要です。",
    "Denied, and a freeze of your account is on its way. Unfreezing needs your identity checked.",
);

pub(crate) const FROZEN: Both = (
    "口座を凍結しました。解除には本人確認が必要です。",
    "Your account is frozen. Unfreezing needs your identity checked.",
);

pub(crate) const ERASED: Both = (
    "この端末から口座の鍵を消去しました。元には戻せません。",
    "The account's keys are erased from this device, for good.",
);

pub(crate) const FREEZING: Both = (
    "凍結を求めました。この端末は凍結が記録されるまで何も承認しません。",
    "A freeze is on its way. Until it is recorded, this device approves nothing.",
);

pub(crate) const WAITING: Both = (
    "この端末はここで確認を求めます。登録するときは、登録用コード（warifu:enrol?…）を貼り付けてください。",
    "This device asks here. To enrol, paste the ticket (warifu:enrol?…).",
);

pub(crate) const ANSWER: Both = (
    "承認する場合は、ログイン画面の2桁の番号を入力してください。拒否は d、身に覚えがない場合は notme（口座を凍結します）。",
    "To approve, type the two-digit number that the login page shows. To deny, type d; if it wasn't you, notme (freezes the account).",
);

pub(crate) const UNCLEAR: Both = (
    "2桁の番号、d、notme のいずれかを入力してください。何も送信していません。",
    "Expected two digits, d or notme. Nothing was sent.",
);

pub(crate) const SENDING: Both = ("送信しています…", "Sending…");

pub(crate) const WITHDRAWN: Both = ("この確認は終了しました。", "This is not asked any more.");

pub(crate) const ELSEWHERE: Both = (
    "この確認には別の操作で回答済みです。",
    "This was answered elsewhere.",
);

pub(crate) const LATER: Both = (
    "ここではこの確認に回答しません。`warifu device` では回答できます。",
    "Left unanswered here; `warifu device` can still answer.",
);

pub(crate) const REFUSED: Both = ("承認されませんでした。", "It was not approved.");

pub(crate) const NOT_SENT: Both = ("送信できませんでした。", "It was not sent.");

pub(crate) const MALFORMED_TICKET: Both = (
    "登録用コードとして読めません。",
    "That is no enrolment ticket.",
);

pub(crate) const ENROLLING: Both = ("登録を始めました。", "The enrolment has begun.");

pub(crate) const PASTE_TICKET: Both = (
    "登録用のコード（warifu:enrol?…）を貼り付けて、Enter を押してください。",
    "Paste the ticket (warifu:enrol?…), then press Enter.",
);

pub(crate) const NOT_ENROLLED: Both = (
    "登録できませんでした。何も残っていません。",
    "The enrolment failed, nothing was left behind.",
);

pub(crate) const DIGITS: Both = (
    "この6桁を、登録用のコードが表示されている画面に入力してください。ほかの人には教えないでください。",
    "Type these six digits into the page that shows your enrolment code. Tell them to nobody.",
);

pub(crate) const ENROLLED: Both = ("登録が完了しました。", "Enrolled. Your account stands:");

/// A kind of block in one word.
pub(crate) const fn kind(kind: Kind) -> Both {
    match kind {
        Kind::Genesis => ("口座の開始", "genesis"),
        Kind::Login => ("ログイン", "login"),
        Kind::Approve => ("取引の承認", "approve"),
        Kind::Change => ("設定の変更", "change"),
        Kind::Unfreeze => ("凍結の解除", "unfreeze"),
        Kind::Deny => ("拒否", "deny"),
        Kind::Refuse => ("不成立", "refuse"),
        Kind::Expire => ("期限切れ", "expire"),
        Kind::Restored => ("復元", "restored"),
        Kind::Freeze => ("凍結", "freeze"),
        Kind::Revoke => ("端末の失効", "revoke"),
    }
}

pub(crate) const ADMITTED: Both = ("承認されました", "admitted");

pub(crate) const PINNED: Both = ("登録し、口座を固定しました", "enrolled and pinned");

pub(crate) const EXPIRED: Both = (
    "期限までに承認されませんでした。",
    "expired: nobody approved in time",
);

pub(crate) const TICKET_SEEN: Both = (
    "登録用コードがプロセス一覧から見える状態です。ファイルか `-` で渡してください。",
    "the ticket stands in the list of processes: hand it over as a file, or by `-`",
);

pub(crate) const NUMBER: Both = ("番号", "number");

pub(crate) const HEIGHT: Both = ("高さ", "height");

pub(crate) const TWO_DIGITS: Both = (
    "番号は2桁で入力してください（例: 07）。何も送信していません。",
    "expected exactly two digits, such as 07; nothing was sent",
);

/// Why a party refused, in both languages; another party's own words stay as they are.
pub(crate) fn reason(reason: &Reason) -> (String, String) {
    let ja = match reason {
        Reason::Rule(text) => format!("規則により拒否されました: {}", plain(text)),
        Reason::Clock(text) => format!("時刻が合いません: {}", plain(text)),
        Reason::Denied => "端末がこの操作を拒否しました".to_owned(),
        Reason::FreezeWanted => "口座の凍結が求められ、まだ記録されていません".to_owned(),
        Reason::Pace { limit, window_s } => {
            format!("この口座への要求が多すぎます（{window_s}秒間に{limit}回まで）")
        }
        Reason::UnfreezeDelay { wait_s } => format!("凍結を解除できるのは{wait_s}秒後です"),
        Reason::Fault { culprit } => {
            format!("{}から届いた署名シェアが正しくありません", party(*culprit))
        }
        Reason::Restored => {
            "古い複製から復元されたため、`restored` ブロックを待っています".to_owned()
        }
        Reason::Tries { limit } => format!("この操作はすでに{limit}回試みられました"),
        Reason::WrongNumber => "番号が違います".to_owned(),
        Reason::Expired => "期限が切れました".to_owned(),
        Reason::Cancelled => "ログインサービスが取り消しました".to_owned(),
        Reason::Conflict => "この口座について、矛盾するブロックが記録されています".to_owned(),
        Reason::Dead => "この口座は成立しませんでした".to_owned(),
    };
    (ja, reason.to_string())
}

/// The Japanese of a reason that came as text, as the HTTP side gives it; `None` if it names more than
/// what happened.
pub(crate) fn reason_ja(text: &str) -> Option<String> {
    let known = [
        Reason::Denied,
        Reason::FreezeWanted,
        Reason::Restored,
        Reason::WrongNumber,
        Reason::Expired,
        Reason::Cancelled,
        Reason::Conflict,
        Reason::Dead,
    ];
    let mut texts = known.iter().map(reason);
    texts.find(|(_, en)| en == text).map(|(ja, _)| ja)
}

/// Why a ticket is not taken, in both languages.
pub(crate) fn ticket_error(error: &TicketError) -> (String, String) {
    let ja = match error {
        TicketError::NotATicket => {
            "登録用コードではありません（warifu:enrol?… で始まります）".to_owned()
        }
        TicketError::Bytes(_) => {
            "登録用コードが途中で切れているか、書き換えられています".to_owned()
        }
        TicketError::Pinned { .. } => {
            "登録用コードの台帳が、この端末に設定されたものと違います".to_owned()
        }
        TicketError::Vote => "登録用コードに、ブローカーの正しい署名がありません".to_owned(),
        TicketError::Expired { ago_s } => format!("登録用コードの期限が{ago_s}秒前に切れました"),
        TicketError::TooLong { .. } => "登録用コードの期限が長すぎます".to_owned(),
    };
    (ja, error.to_string())
}

/// Why the device did not do it, in both languages.
pub(crate) fn device_error(error: &DeviceError) -> (String, String) {
    let ja = match error {
        DeviceError::Ticket(error) => return ticket_error(error),
        DeviceError::NoProposal { .. } => {
            "この確認は終了したか、この端末へのものではありません".to_owned()
        }
        DeviceError::NoAccount { .. } => "この端末にその口座はありません".to_owned(),
        DeviceError::Number { .. } => "番号は2桁です".to_owned(),
        DeviceError::Busy => {
            "端末が混み合っているか、停止中です。もう一度お試しください".to_owned()
        }
        DeviceError::Forked => {
            "台帳のログが二つに分かれているため、この端末は何も承認しません（端末のフォルダーのlog-evidence.jsonを参照）"
                .to_owned()
        }
        DeviceError::Unproven => {
            "台帳のログが、この端末の見たログから増え続けたものであることをブローカーが示せないため、示されるまで何も承認しません"
                .to_owned()
        }
        DeviceError::Keeper(_) => "端末が記録を保存できません".to_owned(),
        DeviceError::Address { .. } => "接続先を読み取れません".to_owned(),
        DeviceError::Transport(_) | DeviceError::Identity(_) => "端末が接続できません".to_owned(),
    };
    (ja, error.to_string())
}

/// A party in Japanese.
pub(crate) const fn party(role: Role) -> &'static str {
    match role {
        Role::Device => "端末",
        Role::Broker => "ブローカー",
        Role::TrustOperator => "トラストオペレーター",
    }
}

/// What a proposal is, in this program's own words.
fn headline(kind: &str, aud: &str) -> (String, String) {
    match kind {
        "login" => (format!("{aud} へのログイン"), format!("Log in to {aud}")),
        "approve" => (
            format!("{aud} での取引の承認"),
            format!("Approve an act at {aud}"),
        ),
        "change" => (
            format!("{aud} での設定の変更"),
            format!("Change your settings at {aud}"),
        ),
        "unfreeze" => (
            format!("{aud} による口座の凍結解除"),
            format!("Unfreeze your account, asked for by {aud}"),
        ),
        other => (
            format!("{aud} の操作「{other}」"),
            format!("Act {other} at {aud}"),
        ),
    }
}

/// A proposal as the customer judges it.
pub(crate) fn proposal(pending: &PendingView, output: Output) -> String {
    let (ja, en) = headline(&pending.kind, &pending.aud);
    let lang = output.lang();
    let line = |ja, en, value: &str| format!("  {} {value}", column(lang, ja, en));
    let mut lines = vec![
        output.paint(Style::Strong, lang.both(&ja, &en)),
        line("期限", "until", &clock::local(pending.exp)),
        line("口座", "account", &pending.account),
        line("操作", "proposal", &pending.proposal),
        lang.both(
            "以下はブローカー（仲介者）の申告です。",
            "What follows is what the broker states.",
        ),
        line("経路", "channel", &pending.channel),
        line("接続元", "address", or_dash(&pending.address)),
    ];
    lines.extend(
        pending
            .details
            .iter()
            .map(|detail| format!("  {}: {}", detail.label, detail.value)),
    );
    if let Some(reference) = &pending.reference {
        lines.push(line("本人確認", "reference", reference));
    }
    lines.join("\n")
}

/// Columns that the widest label takes: `本人確認 / reference`.
const LABEL_COLUMNS: usize = 20;

/// A label in both languages, filled up to the same width. Japanese is two columns a character.
fn column(lang: Lang, ja: &str, en: &str) -> String {
    let width = 2 * ja.chars().count() + " / ".len() + en.len();
    let fill = " ".repeat(LABEL_COLUMNS.saturating_sub(width));
    format!("{}{fill}", lang.label(ja, en))
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// A block of the history on one line.
pub(crate) fn history(block: &HistoryView) -> String {
    let mut line = format!(
        "{:>6}  {}  {:9}  {}",
        block.height,
        clock::local(block.iat),
        block.kind,
        block.aud
    );
    let stated = [&block.channel, &block.address];
    for text in stated.into_iter().flatten() {
        line.push_str("  ");
        line.push_str(text);
    }
    let hash: String = block.hash.chars().take(10).collect();
    format!("{line}  {hash}…")
}

/// An account on one line.
pub(crate) fn account(account: &AccountView, output: Output) -> String {
    let style = match account.status.as_str() {
        "active" => Style::Good,
        _ => Style::Warning,
    };
    let height = account
        .height
        .map_or_else(|| "-".to_owned(), |height| height.to_string());
    let lang = output.lang();
    let line = match account.broker_line {
        true => lang.label("ブローカーに接続中", "broker line up"),
        false => lang.label("ブローカーに未接続", "broker line down"),
    };
    let status = lang.label(status(&account.status), &account.status);
    format!(
        "{}  {}  {} {height}  {line}",
        account.account,
        output.paint(style, status),
        lang.label(HEIGHT.0, HEIGHT.1),
    )
}

/// An account's status in Japanese.
fn status(name: &str) -> &str {
    match name {
        "founding" => "登録中",
        "active" => "有効",
        "frozen" => "凍結中",
        "revoked" => "失効",
        "dead" => "不成立",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> PendingView {
        PendingView {
            proposal: "P".into(),
            account: "A".into(),
            kind: "unfreeze".into(),
            aud: "https://bank.example".into(),
            channel: "desk".into(),
            address: String::new(),
            details: Vec::new(),
            reference: Some("case-1".into()),
            exp: 0,
            height: 4,
        }
    }

    #[test]
    fn labels_follow_the_language_and_values_stand_in_one_column() {
        for (lang, expected) in [
            (
                Lang::En,
                [
                    "until / 期限",
                    "account / 口座",
                    "reference / 本人確認 case-1",
                ],
            ),
            (
                Lang::Ja,
                [
                    "期限 / until",
                    "口座 / account",
                    "本人確認 / reference case-1",
                ],
            ),
        ] {
            let shown = proposal(&pending(), Output::new(false, Some(lang)));
            for label in expected {
                assert!(shown.contains(label), "{label} is missing in {shown}");
            }
            let values = [
                ("期限", "1970"),
                ("口座", "A"),
                ("経路", "desk"),
                ("接続元", "-"),
            ];
            for (ja, value) in values {
                let line = shown
                    .lines()
                    .find(|line| line.starts_with("  ") && line.contains(ja))
                    .unwrap();
                let before = line
                    .get(..line.rfind(&format!(" {value}")).unwrap())
                    .unwrap();
                // Everything but ASCII is two columns wide here.
                let width: usize = before
                    .chars()
                    .map(|c| if c.is_ascii() { 1 } else { 2 })
                    .sum();
                assert_eq!(width, 2 + LABEL_COLUMNS, "{line}");
            }
        }
    }

    #[test]
    fn every_reason_is_said_in_both_languages() {
        let reasons = [
            Reason::Rule("height".into()),
            Reason::Clock("iat".into()),
            Reason::Denied,
            Reason::FreezeWanted,
            Reason::Pace {
                limit: 3,
                window_s: 60,
            },
            Reason::UnfreezeDelay { wait_s: 9 },
            Reason::Fault {
                culprit: Role::Broker,
            },
            Reason::Restored,
            Reason::Tries { limit: 3 },
            Reason::WrongNumber,
            Reason::Expired,
            Reason::Cancelled,
            Reason::Conflict,
            Reason::Dead,
        ];
        for one in reasons {
            let (ja, en) = reason(&one);
            assert!(!ja.is_ascii() && !en.is_empty(), "{ja} {en}");
            assert_ne!(ja, en);
            // What comes as text is found again, or holds a value of its own.
            if let Some(found) = reason_ja(&en) {
                assert_eq!(found, ja);
            } else {
                assert!(!matches!(one, Reason::WrongNumber | Reason::Denied), "{en}");
            }
        }
    }

    #[test]
    fn another_partys_text_cannot_steer_the_screen_in_either_language() {
        let (ja, en) = reason(&Reason::Rule("a\u{1b}[2J".into()));
        assert!(
            !ja.contains('\u{1b}') && !en.contains('\u{1b}'),
            "{ja} {en}"
        );
    }
}
