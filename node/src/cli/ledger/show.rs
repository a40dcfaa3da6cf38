//! Chains drawn in the terminal: one box a block, linked by arrows, each linked to the block before it
//! by `prev`. An admit's box has single lines, a restrict's double ones, and what a restrict displaced
//! hangs beside the arrow as a branch that ends. Nothing is told by colour alone.

use std::collections::{BTreeMap, BTreeSet};

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
pub(super) struct Chains {
    blocks: BTreeMap<Sub, Vec<Sealed>>,
    /// With a tombstone behind the last block.
    erased: BTreeSet<Sub>,
}

/// A block as `--json` prints it, one a line.
#[derive(Serialize)]
struct BlockView<'a> {
    account: Sub,
    height: u64,
    kind: &'a str,
    /// `admit` or `restrict`.
    class: &'static str,
    aud: &'a str,
    /// Seconds since the Unix epoch.
    iat: u64,
    /// Seconds since the Unix epoch.
    exp: u64,
    hash: Hash,
    prev: Hash,
    epoch: u64,
    supersedes: Option<Hash>,
    votes: Vec<&'static str>,
    /// A tombstone stands behind the account's last block.
    erased: bool,
    verified: bool,
}

/// Which blocks of a chain are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Page {
    /// From this height on.
    pub(super) from: Option<u64>,
    /// At most so many, the newest.
    pub(super) last: Option<usize>,
}

impl Page {
    /// The part of a chain that is shown.
    fn of(self, blocks: &[Sealed]) -> &[Sealed] {
        let height = |sealed: &Sealed| sealed.block.claims().height;
        let from = self.from.unwrap_or(0);
        let begin = blocks.partition_point(|sealed| height(sealed) < from);
        let newest = blocks.len().saturating_sub(self.last.unwrap_or(usize::MAX));
        blocks.get(begin.max(newest)..).unwrap_or_default()
    }
}

impl Chains {
    pub(super) fn add(&mut self, sealed: Sealed) {
        let sub = sealed.block.claims().sub;
        self.blocks.entry(sub).or_default().push(sealed);
    }

    /// Marks those accounts of which `is_erased` holds.
    pub(super) fn erased(&mut self, is_erased: impl Fn(&Sub) -> bool) {
        let erased = self.blocks.keys().filter(|sub| is_erased(sub));
        self.erased = erased.copied().collect();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn print(
        &self,
        page: Page,
        is_verified: bool,
        output: Output,
    ) -> Result<(), Failure> {
        for (sub, blocks) in &self.blocks {
            let is_erased = self.erased.contains(sub);
            let shown = page.of(blocks);
            let hidden = blocks.len().saturating_sub(shown.len());
            output.say(&format!("account {}", output.paint(Style::Strong, sub)))?;
            if hidden > 0 {
                let text = format!("     ⋮  {hidden} earlier blocks are not shown\n     ▼");
                output.say(&output.paint(Style::Faint, text))?;
            }
            for (at, sealed) in shown.iter().enumerate() {
                let is_last = at.saturating_add(1) == shown.len();
                output.print(&view(sealed, is_erased, is_verified), || {
                    draw(sealed, is_last, output)
                })?;
            }
            if is_erased {
                let what = if is_verified {
                    "erased: the broker signed that nothing follows"
                } else {
                    "says that it is erased"
                };
                let text = format!("     ┊\n     ✕  {what}");
                output.say(&output.paint(Style::Warning, text))?;
            }
        }
        if is_verified {
            output.say(&output.paint(Style::Good, "every block verified"))
        } else {
            output.say("not verified: add --ledger FILE, or run `warifu ledger verify`")
        }
    }
}

fn view(sealed: &Sealed, erased: bool, verified: bool) -> BlockView<'_> {
    let claims = sealed.block.claims();
    BlockView {
        account: claims.sub,
        height: claims.height,
        kind: claims.kind.name(),
        class: class_name(claims.kind),
        aud: &claims.aud,
        iat: claims.iat,
        exp: claims.exp,
        hash: sealed.block.hash(),
        prev: claims.prev,
        epoch: claims.epoch,
        supersedes: claims.supersedes,
        votes: votes(sealed),
        erased,
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

const fn class_name(kind: Kind) -> &'static str {
    match kind.class() {
        Class::Admit => "admit",
        Class::Restrict => "restrict",
    }
}

/// The lines of a box: corners, rule and side.
struct Frame {
    top: [char; 2],
    bottom: [char; 2],
    rule: char,
    side: char,
    /// In the bottom rule, where the arrow begins.
    joint: char,
}

const fn frame(kind: Kind) -> Frame {
    match kind.class() {
        Class::Admit => Frame {
            top: ['╭', '╮'],
            bottom: ['╰', '╯'],
            rule: '─',
            side: '│',
            joint: '┬',
        },
        Class::Restrict => Frame {
            top: ['╔', '╗'],
            bottom: ['╚', '╝'],
            rule: '═',
            side: '║',
            joint: '╤',
        },
    }
}

fn draw(sealed: &Sealed, is_last: bool, output: Output) -> String {
    let claims = sealed.block.claims();
    let Frame {
        top,
        bottom,
        rule,
        side,
        joint,
    } = frame(claims.kind);
    let line = |width: usize| rule.to_string().repeat(width);
    let row = |text: &str| format!("{side} {:WIDTH$} {side}", cut(text, WIDTH));
    let mut lines: Vec<String> = Vec::new();
    if let Some(superseded) = &claims.supersedes {
        lines.push(format!(
            "     ├──╴ proposal {}, locked at this height, displaced by the block below",
            short(superseded)
        ));
        lines.push("     ▼".to_owned());
    }
    let title = format!(
        " {} {} · {} ",
        claims.height,
        claims.kind,
        class_name(claims.kind)
    );
    let rest = line(WIDTH.saturating_sub(title.chars().count()));
    lines.push(format!(
        "{}{rule}{}{rest}{rule}{}",
        top[0],
        output.paint(style(claims.kind), &title),
        top[1]
    ));
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
        let all = line(WIDTH.saturating_add(2));
        lines.push(format!("{}{all}{}", bottom[0], bottom[1]));
    } else {
        let (left_rule, right_rule) = (line(left), line(right));
        lines.push(format!(
            "{}{left_rule}{joint}{right_rule}{}",
            bottom[0], bottom[1]
        ));
        lines.push(format!("{}▼", " ".repeat(left.saturating_add(1))));
    }
    lines.join("\n")
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
