//! Worlds to begin with: accounts with a sealed genesis, without one, and not enrolled yet.

use std::sync::{Arc, OnceLock};

use warifu_consensus::{party::Role, signature::IdentityKey, time::Time};

use super::{
    chance::Chance,
    decisions::{Decisions, What},
    founded::{Founded, START_MS, found, ticket},
    party::at,
    world::{Deed, World},
};

/// The most accounts of a world that are not enrolled in it.
pub(super) const MOST_ACCOUNTS: usize = 10;

/// Accounts with a sealed genesis, made once per process.
pub fn standing() -> &'static [Founded] {
    static STANDING: OnceLock<Vec<Founded>> = OnceLock::new();
    STANDING.get_or_init(|| with_genesis(born().to_vec()))
}

/// Seals the genesis of founded accounts.
#[must_use]
pub fn with_genesis(mut accounts: Vec<Founded>) -> Vec<Founded> {
    let mut world = World::new(0, &accounts, vec![]);
    world.make_fair();
    world.run_for(1);
    for account in 0..accounts.len() {
        world.open_genesis(account);
    }
    world.run_for(5);
    let violations = &world.audit.violations;
    assert!(violations.is_empty(), "calm genesis: {violations:?}");
    for (account, founded) in accounts.iter_mut().enumerate() {
        for role in Role::ALL {
            let seat = world.seat(account, role);
            assert_eq!(seat.chain().count(), 1, "calm genesis failed");
            founded.journals[at(role)] = seat.records.clone();
        }
    }
    accounts
}

/// Founded accounts without a genesis.
pub(super) fn born() -> &'static [Founded] {
    static BORN: OnceLock<Vec<Founded>> = OnceLock::new();
    BORN.get_or_init(|| (0..MOST_ACCOUNTS as u64).map(found).collect())
}

/// A world in which nobody is enrolled yet; the first customer scans after a second.
#[must_use]
pub fn stranger_world(seed: u64, accounts: usize) -> World {
    strangers(Decisions::new(seed, Default::default()), seed, accounts)
}

pub(super) fn strangers(decisions: Decisions, seed: u64, accounts: usize) -> World {
    let mut world = World::empty(decisions, seed, accounts, [false; 3]);
    let mut chance = Chance::new(seed, 3);
    for account in 0..accounts {
        let (session, secret, device) = (chance.bytes(), chance.bytes(), chance.bytes());
        let ticket = ticket(session, secret, Time(START_MS));
        world.settle_stranger(ticket, Arc::new(IdentityKey::from_seed(device)));
        for _ in 0..4 {
            let mut pause = world.decisions.neutral(What::Pause, account);
            let delay = pause.between(1_000, 60_000);
            world.after(delay, Deed::Scan(account));
        }
    }
    world
}
