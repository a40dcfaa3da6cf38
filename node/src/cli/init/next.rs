//! What to do after `warifu init`: for each role the next command, as it is typed.

use std::path::Path;

use warifu_consensus::party::Role;

/// The lines that begin with `next:`.
pub(super) fn after(role: Role, dir: &Path, is_complete: bool) -> String {
    let card = shell_word(&dir.join("card.toml"));
    let dir = shell_word(dir);
    let lines = match (role, is_complete) {
        (Role::Broker, false) => vec![
            "give the card to the trust operator, which makes its own with".to_owned(),
            format!("warifu init trust-operator --dir DIR --broker {card} --listen ADDRESS"),
            "then, with that card:".to_owned(),
            format!("warifu init broker --dir {dir} --trust-operator DIR/card.toml"),
        ],
        (Role::Broker, true) => vec![
            format!("warifu run --dir {dir}"),
            format!("and beside it: warifu doctor {dir}"),
        ],
        (Role::TrustOperator, _) => vec![
            "give the card to the broker, which completes its directory with".to_owned(),
            format!("warifu init broker --dir DIR --trust-operator {card}"),
            format!("then: warifu run --dir {dir}"),
        ],
        (Role::Device, _) => vec![
            format!("warifu run --dir {dir}"),
            format!("and beside it, with a ticket: warifu device enrol - --dir {dir}"),
        ],
    };
    format!("next:     {}", lines.join("\n          "))
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@,".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
