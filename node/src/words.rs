//! What a customer reads: Japanese and English, both always there.
//!
//! Kind and relying party are this program's own words. What the broker states is shown below and
//! under that heading.

use crate::{
    clock,
    control::{AccountView, HistoryView, PendingView},
    output::{Output, Style},
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
    let mut lines = vec![
        output.paint(Style::Strong, output.lang().both(&ja, &en)),
        format!("  期限 / until         {}", clock::local(pending.exp)),
        format!("  口座 / account       {}", pending.account),
        format!("  操作 / proposal      {}", pending.proposal),
        output.lang().both(
            "以下はブローカー（仲介者）の申告です。",
            "What follows is what the broker states.",
        ),
        format!("  経路 / channel       {}", pending.channel),
        format!("  接続元 / address     {}", or_dash(&pending.address)),
    ];
    lines.extend(
        pending
            .details
            .iter()
            .map(|detail| format!("  {}: {}", detail.label, detail.value)),
    );
    if let Some(reference) = &pending.reference {
        lines.push(format!("  本人確認 / reference {reference}"));
    }
    lines.join("\n")
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
    let line = if account.broker_line { "up" } else { "down" };
    format!(
        "{}  {}  height {height}  broker line {line}",
        account.account,
        output.paint(style, &account.status)
    )
}
