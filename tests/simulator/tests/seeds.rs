//! Many seeds of the simulator, every flavour, on all cores.

use std::ops::Range;

use warifu_simulator::{campaign, run};

/// `WARIFU_SEEDS=A..B` chooses others.
fn seeds() -> Range<u64> {
    let Ok(range) = std::env::var("WARIFU_SEEDS") else {
        return 0..360;
    };
    let (first, last) = range.split_once("..").expect("WARIFU_SEEDS is A..B");
    let number = |text: &str| text.parse().expect("a number on both sides of ..");
    number(first)..number(last)
}

#[test]
fn many_seeds_hold() {
    let threads = std::thread::available_parallelism().map_or(2, Into::into);
    let totals = match campaign(seeds(), threads, || {}) {
        Ok(totals) => totals,
        Err(failure) => panic!(
            "{failure}\nits shortest story: warifu-sim --seed {}",
            failure.seed
        ),
    };
    println!("{totals:?}");
    // A walk that admits nothing, or judges nothing, proves nothing.
    let (seeds, sum) = (totals.seeds, &totals.sum);
    assert!(totals.one_cheat * 7 > seeds && totals.two_cheats * 13 > seeds);
    assert!(totals.restored * 7 > seeds && totals.largest >= 8);
    assert!(sum.admitted > 3 * seeds, "only {} admitted", sum.admitted);
    let figures = sum.figures;
    assert!(figures.crashes > seeds && figures.restores * 10 > seeds && figures.rotten > 2);
    for kind in [
        "device lock",
        "broker lock",
        "restrict lock",
        "word",
        "endorse",
        "fault",
        "head",
        "superseding",
    ] {
        let judged = sum.judged.get(kind).copied().unwrap_or(0);
        assert!(judged > seeds / 20, "only {judged} judged: {kind}");
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in [0, 5, 7, 10, 26, 33] {
        let told = || run(seed).map(|s| s.story).map_err(|f| f.to_string());
        assert_eq!(told(), told(), "seed {seed}");
    }
}
