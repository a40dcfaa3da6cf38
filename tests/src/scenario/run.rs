//! From a seed to a verdict.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use warifu_consensus::{
    agree::{Input, TrustOperatorOptions},
    party::Role,
    signature::IdentityKey,
    time::Time,
};

use super::{
    chance::Chance,
    founded::{Founded, START_MS, found, ticket},
    hostile::Hostile,
    network::Weather,
    world::{Deed, Mood, World},
};

/// What kind of trouble a seed makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// All honest; networks, disks, clocks and customers misbehave.
    Faults,
    /// This party cheats.
    Hostile(Role),
    /// This party comes back from an older copy of itself.
    Restored(Role),
}

/// What a run saw.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Logins told as admitted.
    pub admitted: u64,
    /// Blocks in all brokers' chains.
    pub blocks: u64,
    /// Accounts that never got a genesis.
    pub unborn: u64,
    /// Judged events by kind.
    pub judged: BTreeMap<&'static str, u64>,
}

/// A run in which something did not hold.
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Its flavour.
    pub flavour: Flavour,
    /// What did not hold.
    pub violations: Vec<String>,
    /// The last events.
    pub story: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} ({:?}):", self.seed, self.flavour)?;
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

/// Accounts with a sealed genesis, made once per process.
pub fn standing() -> &'static [Founded] {
    static STANDING: OnceLock<Vec<Founded>> = OnceLock::new();
    STANDING.get_or_init(|| with_genesis(born()))
}

/// Seals the genesis of founded accounts.
#[must_use]
pub fn with_genesis(mut accounts: Vec<Founded>) -> Vec<Founded> {
    let mut world = World::new(0, &accounts, None);
    world.make_fair();
    world.run_for(1);
    for account in 0..accounts.len() {
        world.open_genesis(account);
    }
    world.run_for(5);
    let violations = &world.invariants.violations;
    assert!(violations.is_empty(), "calm genesis: {violations:?}");
    for (account, founded) in accounts.iter_mut().enumerate() {
        for role in Role::ALL {
            let journal = world.seat(account, role).records.clone();
            assert_eq!(
                world.seat(account, role).chain().count(),
                1,
                "calm genesis failed"
            );
            founded.journals[usize::from(role.number()) - 1] = journal;
        }
    }
    accounts
}

/// Founded accounts without a genesis.
fn born() -> Vec<Founded> {
    static BORN: OnceLock<Vec<Founded>> = OnceLock::new();
    BORN.get_or_init(|| (0..3).map(found).collect()).clone()
}

/// A world in which nobody is enrolled yet; the first customer scans after a second.
#[must_use]
pub fn stranger_world(seed: u64, accounts: usize) -> World {
    let mut world = World::for_strangers(seed, accounts, None);
    for account in 0..accounts {
        let (session, secret, device) = (
            world.chance.bytes(),
            world.chance.bytes(),
            world.chance.bytes(),
        );
        let ticket = ticket(session, secret, Time(START_MS));
        world.settle_stranger(ticket, Arc::new(IdentityKey::from_seed(device)));
        for _ in 0..4 {
            let delay = world.chance.between(1_000, 60_000);
            world.after(delay, Deed::Scan(account));
        }
    }
    world
}

/// Runs one seed.
///
/// # Errors
/// [`Failure`] with seed and story when something does not hold.
pub fn run(seed: u64, flavour: Flavour) -> Result<Summary, Box<Failure>> {
    let mut chance = Chance::new(seed, 0);
    let mut world = make_world(seed, flavour, &mut chance);
    let chaos_s = chance.between(200, 500);
    plan(&mut world, &mut chance, flavour, chaos_s);
    world.run_for(chaos_s);
    if world.invariants.violations.is_empty() {
        world.make_fair();
        // The longest wait of the rules: a restored broker, then the window of rule 10's limit.
        world.run_for(900);
        let hostile_operator = matches!(
            flavour,
            Flavour::Hostile(Role::Broker | Role::TrustOperator)
        );
        for account in 0..world.places.len() {
            if !hostile_operator && world.invariants.violations.is_empty() {
                world.must_live(account, flavour != Flavour::Hostile(Role::Device));
            }
        }
        world.run_for(120);
        world.invariants.at_rest();
    }
    verdict(seed, flavour, world)
}

fn verdict(seed: u64, flavour: Flavour, world: World) -> Result<Summary, Box<Failure>> {
    if !world.invariants.violations.is_empty() {
        return Err(Box::new(Failure {
            seed,
            flavour,
            violations: world.invariants.violations,
            story: world.story.into(),
        }));
    }
    let views = &world.invariants.views;
    Ok(Summary {
        admitted: views.iter().map(|v| v.admitted.len() as u64).sum(),
        blocks: views.iter().map(|v| v.chains[1].len() as u64).sum(),
        unborn: views.iter().filter(|v| v.chains[1].is_empty()).count() as u64,
        judged: world.invariants.judged.clone(),
    })
}

fn make_world(seed: u64, flavour: Flavour, chance: &mut Chance) -> World {
    let accounts = chance.between(1, 2) as usize;
    let mut world = match flavour {
        Flavour::Faults if seed.is_multiple_of(10) => stranger_world(seed, accounts),
        Flavour::Faults if seed % 10 == 5 => {
            let mut world = World::new(seed, &born()[..accounts], None);
            for account in 0..accounts {
                world.open_genesis(account);
            }
            world
        }
        _ => {
            let hostile = match flavour {
                Flavour::Hostile(role) => Some(Hostile::new(role, seed)),
                _ => None,
            };
            let first = chance.below(2) as usize;
            let mut world = World::new(seed, &standing()[first..first + accounts], hostile);
            world.now += 1_000_000;
            world
        }
    };
    let delay_s = if chance.one_in(4) { 60 } else { 0 };
    world.options = TrustOperatorOptions {
        unfreeze_delay_s: delay_s,
    };
    world
}

fn plan(world: &mut World, chance: &mut Chance, flavour: Flavour, chaos_s: u64) {
    let calm = flavour != Flavour::Faults && chance.one_in(2);
    world.mood = Mood::Human;
    if !calm {
        world.weather = Weather {
            delay_ms: [60, 400, 1_500][chance.below(3) as usize],
            slow_one_in: [0, 30, 10][chance.below(3) as usize],
            twice_one_in: [0, 25, 8][chance.below(3) as usize],
        };
        world.crash_one_in = [0, 300, 90, 40][chance.below(4) as usize];
        for node in 0..world.nodes.len() {
            world.nodes[node].skew_ms = chance.below(40_001) as i64 - 20_000;
        }
        if chance.one_in(8) {
            let node = chance.below(world.nodes.len() as u64) as usize;
            let sign = if chance.one_in(2) { 1 } else { -1 };
            world.nodes[node].skew_ms = sign * chance.between(40_000, 150_000) as i64;
        }
    }
    for line in 0..world.lines.len() {
        world.after(chance.below(3_000), Deed::Connect(line));
    }
    let span = chaos_s * 1000;
    for account in 0..world.places.len() {
        for role in Role::ALL {
            world.schedule_tick(account, role);
        }
        for _ in 0..chance.between(4, 12) {
            world.after(chance.below(span), Deed::Begin(account));
        }
        if chance.one_in(3) {
            let input = Box::new(Input::Freeze);
            world.after(chance.below(span), Deed::Feed(account, Role::Broker, input));
        }
        if chance.one_in(5) {
            let input = Box::new(Input::FreezeByCustomer);
            world.after(chance.below(span), Deed::Feed(account, Role::Device, input));
        }
    }
    if !calm {
        plug_pulling(world, chance, span);
    }
    if let Flavour::Restored(role) = flavour {
        world.after(span / 3 + chance.below(span / 2), Deed::SetBack(role));
    }
}

fn plug_pulling(world: &mut World, chance: &mut Chance, span: u64) {
    for _ in 0..chance.below(12) {
        let line = chance.below(world.lines.len() as u64) as usize;
        world.after(chance.below(span), Deed::DropLine(line));
    }
    for _ in 0..chance.below(5) {
        let node = chance.below(world.nodes.len() as u64) as usize;
        let ms = chance.between(100, 30_000);
        world.after(chance.below(span), Deed::Stop(node, ms));
    }
    // An operator that is away for long.
    if chance.one_in(4) {
        let node = chance.below(2) as usize;
        let ms = chance.between(60_000, 300_000);
        world.after(chance.below(span), Deed::Stop(node, ms));
    }
}
