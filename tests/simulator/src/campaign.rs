//! Many seeds, on several threads: what they saw together, and the first that failed.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{
    plan::{Flavour, flavour},
    run::{Failure, Summary, run},
    standing::standing,
};

/// What many runs saw.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Seeds that ended well.
    pub seeds: u64,
    /// Of them, with a cheating party.
    pub one_cheat: u64,
    /// Of them, with a cheating pair.
    pub two_cheats: u64,
    /// Of them, with a party restored from an older copy.
    pub restored: u64,
    /// Accounts.
    pub accounts: u64,
    /// The most accounts of one world.
    pub largest: u64,
    /// Faults that struck.
    pub faults: u64,
    /// All summed up.
    pub sum: Summary,
}

impl Totals {
    fn add(&mut self, seed: u64, summary: Summary) {
        self.seeds += 1;
        match flavour(seed) {
            Flavour::Faults => {}
            Flavour::Hostile(_) => self.one_cheat += 1,
            Flavour::Pair(_) => self.two_cheats += 1,
            Flavour::Restored(_) => self.restored += 1,
        }
        self.accounts += summary.accounts;
        self.largest = self.largest.max(summary.accounts);
        self.faults += summary.faults;
        let sum = &mut self.sum;
        sum.admitted += summary.admitted;
        sum.blocks += summary.blocks;
        sum.unborn += summary.unborn;
        sum.lived_ms += summary.lived_ms;
        for (kind, n) in summary.judged {
            *sum.judged.entry(kind).or_default() += n;
        }
        let (all, one) = (&mut sum.figures, summary.figures);
        all.steps += one.steps;
        all.crashes += one.crashes;
        all.restores += one.restores;
        all.rotten += one.rotten;
        all.sealed_nearly_full += one.sealed_nearly_full;
    }
}

/// Runs these seeds on so many threads until one fails; `done` hears of each that ended.
///
/// # Errors
/// The failed run with the lowest seed among those under way.
pub fn campaign(
    seeds: Range<u64>,
    threads: usize,
    done: impl Fn() + Sync,
) -> Result<Totals, Box<Failure>> {
    let _ = standing();
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let totals = Mutex::new(Totals::default());
    let failed = Mutex::new(None::<Box<Failure>>);
    let walk = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                break;
            }
            match run(seed) {
                Ok(summary) => {
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.add(seed, summary);
                }
                Err(failure) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|f| f.seed > seed) {
                        *failed = Some(failure);
                    }
                }
            }
            done();
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(walk);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(failure),
        None => Ok(totals.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}
