//! From a seed to a verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use warifu_consensus::party::Role;

use super::{
    decisions::{Decision, Decisions},
    founded::START_MS,
    plan::{self, Flavour, flavour},
    story::Story,
    world::{Figures, World},
};

/// Seconds of calm after the trouble: the longest wait of the rules, which is a restored broker's,
/// then the window of rule 10's limit.
const CALM_S: u64 = 900;

/// What a run saw.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Logins told as admitted.
    pub admitted: u64,
    /// Blocks in all brokers' chains.
    pub blocks: u64,
    /// Accounts.
    pub accounts: u64,
    /// Accounts that never got a genesis.
    pub unborn: u64,
    /// Judged events by kind.
    pub judged: BTreeMap<&'static str, u64>,
    /// The world in numbers.
    pub figures: Figures,
    /// Simulated milliseconds.
    pub lived_ms: u64,
    /// Decisions that went wrong for somebody.
    pub faults: u64,
    /// Hash of the whole story.
    pub story: String,
    /// The story's lines, as many as were kept.
    pub lines: Vec<String>,
}

/// A run in which something did not hold.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Its flavour.
    pub flavour: Flavour,
    /// What did not hold.
    pub violations: Vec<String>,
    /// What went wrong on the way.
    pub fired: Vec<Decision>,
    /// The story's lines.
    pub story: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} ({}):", self.seed, self.flavour)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(f, "the last events:")?;
        for line in &self.story {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// Runs one seed.
///
/// # Errors
/// [`Failure`] with seed and story when something does not hold.
pub fn run(seed: u64) -> Result<Summary, Box<Failure>> {
    run_muted(seed, &BTreeSet::new(), false)
}

/// Runs one seed without some of its decisions; with every line of its story, if told so.
///
/// # Errors
/// As [`run`].
pub fn run_muted(
    seed: u64,
    muted: &BTreeSet<Decision>,
    keeps_all: bool,
) -> Result<Summary, Box<Failure>> {
    let flavour = flavour(seed);
    let (mut world, chaos_s) = plan::make(Decisions::new(seed, muted.clone()), seed, flavour);
    world.story = Story::new(keeps_all);
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world, flavour, chaos_s)));
    if let Err(panic) = lived {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        let what = format!("a party panicked: {}", text.unwrap_or("without a text"));
        world.audit.violations.push(what);
    }
    verdict(seed, flavour, &world)
}

/// Every line of a seed's story, without the muted decisions.
#[must_use]
pub fn retell(seed: u64, muted: &BTreeSet<Decision>) -> Vec<String> {
    match run_muted(seed, muted, true) {
        Ok(_) => vec![],
        Err(failure) => failure.story,
    }
}

fn live(world: &mut World, flavour: Flavour, chaos_s: u64) {
    world.run_for(chaos_s);
    if !world.audit.violations.is_empty() {
        return;
    }
    world.make_fair();
    world.run_for(CALM_S);
    let cheats = flavour.cheats();
    let operators_are_honest = !cheats.iter().any(|role| *role != Role::Device);
    for account in 0..world.places.len() {
        if operators_are_honest && world.audit.violations.is_empty() {
            world.must_live(account, cheats.is_empty());
        }
    }
    world.run_for(120);
    world.audit.at_rest();
    if operators_are_honest {
        world.audit.no_freeze_forgotten();
    }
}

fn verdict(seed: u64, flavour: Flavour, world: &World) -> Result<Summary, Box<Failure>> {
    if !world.audit.violations.is_empty() {
        return Err(Box::new(Failure {
            seed,
            flavour,
            violations: world.audit.violations.clone(),
            fired: world.decisions.fired.clone(),
            story: world.story.lines().cloned().collect(),
        }));
    }
    let accounts = &world.audit.accounts;
    Ok(Summary {
        admitted: accounts.iter().map(|a| a.admitted.len() as u64).sum(),
        blocks: accounts.iter().map(|a| a.chains[1].len() as u64).sum(),
        accounts: accounts.len() as u64,
        unborn: accounts.iter().filter(|a| a.chains[1].is_empty()).count() as u64,
        judged: world.audit.judged.clone(),
        figures: world.figures,
        lived_ms: world.now - START_MS,
        faults: world.decisions.fired.len() as u64,
        story: world.story.hash(),
        lines: world.story.lines().cloned().collect(),
    })
}
