//! Chains drawn in the terminal: one box a block, linked by arrows.

use std::collections::BTreeMap;

use serde::Serialize;
use warifu_consensus::{
    block::{Class, Kind, Sealed, Votes},
    encoding::Hash,
    party::Sub,
    vote::Verb,
};

use crate::{
    clock,
    output::{Failure, Output, Style},
};

/// Characters of a box's inside.
const WIDTH: usize = 70;

/// Blocks sorted by account, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Chains(BTreeMap<Sub, Vec<Sealed>>);

/// A block as `--json` prints it, one a line.
#[derive(Serialize)]
struct BlockView<'a> {
    account: Sub,
    height: u64,
    kind: &'a str,
    aud: &'a str,
    /// Seconds since the Unix epoch.
    iat: u64,
    time: String,
    hash: Hash,
    prev: Hash,
    epoch: u64,
    supersedes: Option<Hash>,
    votes: Vec<&'static str>,
    verified: bool,
}

impl Chains {
    pub(super) fn add(&mut self, sealed: Sealed) {
        let sub = sealed.block.claims().sub;
        self.0.entry(sub).or_default().push(sealed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn print(&self, is_verified: bool, output: Output) -> Result<(), Failure> {
        for (sub, blocks) in &self.0 {
            output.say(&format!("account {}", output.paint(Style::Strong, sub)))?;
            for (at, sealed) in blocks.iter().enumerate() {
                let is_last = at.saturating_add(1) == blocks.len();
                output.print(&view(sealed, is_verified), || draw(sealed, is_last, output))?;
            }
        }
        if is_verified {
            output.say(&output.paint(Style::Good, "every block verified"))
        } else {
            output.say("not verified: add --ledger FILE, or run `warifu ledger verify`")
        }
    }
}

fn view(sealed: &Sealed, verified: bool) -> BlockView<'_> {
    let claims = sealed.block.claims();
    BlockView {
        account: claims.sub,
        height: claims.height,
        kind: claims.kind.name(),
        aud: &claims.aud,
        iat: claims.iat,
        time: clock::local(claims.iat),
        hash: sealed.block.hash(),
        prev: claims.prev,
        epoch: claims.epoch,
        supersedes: claims.supersedes,
        votes: votes(sealed),
        verified,
    }
}

fn votes(sealed: &Sealed) -> Vec<&'static str> {
    match &sealed.votes {
        Votes::Genesis { .. } => vec![
            "device assents",
            "broker endorses",
            "trust operator seals",
            "all three sign the transcript",
        ],
        Votes::Admit { .. } => vec!["device assents", "broker endorses", "trust operator seals"],
        Votes::Restrict { word } => {
            let word = word.map(|word| match word.verb {
                Verb::Disown => "device disowns",
                Verb::Freeze => "device freezes",
                _ => "device denies",
            });
            word.into_iter()
                .chain(["broker signs", "trust operator signs"])
                .collect()
        }
    }
}

const fn style(kind: Kind) -> Style {
    match (kind.class(), kind) {
        (Class::Admit, _) => Style::Good,
        (Class::Restrict, _) => Style::Warning,
    }
}

fn draw(sealed: &Sealed, is_last: bool, output: Output) -> String {
    let claims = sealed.block.claims();
    let title = format!(" {} {} ", claims.height, claims.kind);
    let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count()));
    let mut lines = vec![format!(
        "╭─{}{rule}─╮",
        output.paint(style(claims.kind), &title)
    )];
    let time = clock::local(claims.iat);
    let room = WIDTH.saturating_sub(time.chars().count().saturating_add(2));
    let aud = cut(&claims.aud, room);
    lines.push(row(&format!("{aud:room$}  {time}")));
    let mut hashes = format!("hash {}", short(&sealed.block.hash()));
    if claims.height > 0 {
        hashes.push_str(&format!("   prev {}", short(&claims.prev)));
    }
    if let Some(superseded) = &claims.supersedes {
        hashes.push_str(&format!("   supersedes {}", short(superseded)));
    }
    lines.push(row(&hashes));
    lines.extend(wrapped(&votes(sealed)).iter().map(|text| row(text)));
    let (left, right) = (4, WIDTH.saturating_sub(3));
    if is_last {
        lines.push(format!("╰{}╯", "─".repeat(WIDTH.saturating_add(2))));
    } else {
        lines.push(format!("╰{}┬{}╯", "─".repeat(left), "─".repeat(right)));
        lines.push(format!("{}▼", " ".repeat(left.saturating_add(1))));
    }
    lines.join("\n")
}

fn row(text: &str) -> String {
    format!("│ {:WIDTH$} │", cut(text, WIDTH))
}

/// The parts joined by dots, on as many lines as they need.
fn wrapped(parts: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + part.chars().count() + 3 <= WIDTH => {
                line.push_str(" · ");
                line.push_str(part);
            }
            _ => lines.push((*part).to_owned()),
        }
    }
    lines
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn short(hash: &Hash) -> String {
    let text = hash.to_string();
    format!("{}…", text.chars().take(10).collect::<String>())
}
