//! Random walks: every flavour, many seeds, both cores.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use warifu_consensus::party::Role;
use warifu_tests::scenario::{Flavour, Summary, run, standing};

/// Honest, hostile and restored seeds: the flavour follows from the seed.
fn flavour(seed: u64) -> Flavour {
    let role = Role::ALL[(seed / 12 % 3) as usize];
    match seed % 12 {
        0..=8 => Flavour::Faults,
        9 | 10 => Flavour::Hostile(role),
        _ => Flavour::Restored(role),
    }
}

/// `WARIFU_SEEDS=A..B` chooses others.
fn seeds() -> Vec<u64> {
    match std::env::var("WARIFU_SEEDS") {
        Ok(range) => {
            let (first, last) = range.split_once("..").expect("WARIFU_SEEDS is A..B");
            let first: u64 = first.parse().expect("a number before ..");
            let last: u64 = last.parse().expect("a number after ..");
            (first..last).collect()
        }
        Err(_) => (0..720).collect(),
    }
}

fn run_all(seeds: &[u64]) -> (Summary, BTreeMap<String, u64>) {
    let _ = standing();
    let next = AtomicUsize::new(0);
    let total = Mutex::new((Summary::default(), BTreeMap::<String, u64>::new()));
    let failures = Mutex::new(Vec::<String>::new());
    let walk = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failures.lock().unwrap().len() >= 3 {
                break;
            }
            let flavour = flavour(*seed);
            match catch_unwind(AssertUnwindSafe(|| run(*seed, flavour))) {
                Ok(Ok(summary)) => {
                    let mut total = total.lock().unwrap();
                    total.0.admitted += summary.admitted;
                    total.0.blocks += summary.blocks;
                    total.0.unborn += summary.unborn;
                    for (kind, n) in summary.judged {
                        *total.0.judged.entry(kind).or_default() += n;
                    }
                    *total.1.entry(format!("{flavour:?}")).or_default() += 1;
                }
                Ok(Err(failure)) => failures.lock().unwrap().push(failure.to_string()),
                Err(_) => failures
                    .lock()
                    .unwrap()
                    .push(format!("seed {seed} ({flavour:?}) panicked")),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(walk);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    total.into_inner().unwrap()
}

#[test]
fn five_hundred_seeds() {
    let (total, flavours) = run_all(&seeds());
    println!("{flavours:?} {total:?}");
    if std::env::var("WARIFU_SEEDS").is_err() {
        assert!(flavours.get("Faults").is_some_and(|n| *n >= 500));
        for role in Role::ALL {
            let hostile = flavours.get(&format!("{:?}", Flavour::Hostile(role)));
            let restored = flavours.get(&format!("{:?}", Flavour::Restored(role)));
            assert!(hostile.is_some_and(|n| *n >= 34) && restored.is_some_and(|n| *n >= 20));
        }
        // A walk that admits nothing, or judges nothing, proves nothing.
        assert!(total.admitted > 3 * 720, "only {} admitted", total.admitted);
        for kind in [
            "device lock",
            "broker lock",
            "restrict lock",
            "word",
            "endorse",
            "fault",
        ] {
            assert!(
                total.judged.get(kind).is_some_and(|n| *n > 50),
                "few judged: {kind}"
            );
        }
    }
}
