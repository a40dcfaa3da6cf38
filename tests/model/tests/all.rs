//! The one integration binary: every guard is needed, and nothing is true of nothing.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets what it did not expect stops loudly"
)]

mod code;

use warifu_model::{Block, Claims, Guard, Kind, MAX_HEIGHT, Run, Shown, Status, runs, shown};

/// The small runs in which mistakes are caught.
fn small_runs() -> Vec<Run> {
    let mut chosen = Vec::new();
    for guard in Guard::ALL {
        if let Shown::By(run) = shown(*guard)
            && !chosen.contains(&run)
        {
            chosen.push(run);
        }
    }
    chosen
}

#[test]
fn every_mistake_is_caught() {
    for guard in Guard::ALL {
        let Shown::By(run) = shown(*guard) else {
            continue;
        };
        let report = run.without(*guard).search(false);
        assert!(
            !report.broken.is_empty(),
            "without {guard:?} (rule {}) nothing breaks in {} states",
            guard.rule(),
            report.states
        );
    }
}

/// Else a mistake would be "caught" by what is broken anyway.
#[test]
fn small_runs_hold() {
    for run in small_runs() {
        let report = run.search(false);
        assert!(report.broken.is_empty(), "{report}");
    }
}

/// That a guard is redundant is itself a claim, and a short list.
#[test]
fn nothing_breaks_without_what_is_called_redundant() {
    let mut redundant = Vec::new();
    for guard in Guard::ALL {
        let Shown::Redundant(reason) = shown(*guard) else {
            continue;
        };
        assert!(!reason.is_empty());
        redundant.push(*guard);
        let about = small_runs().into_iter().filter(|run| run.is_about(*guard));
        for run in about {
            let report = run.without(*guard).search(false);
            assert!(
                report.broken.is_empty(),
                "{guard:?} is needed after all:\n{report}"
            );
        }
    }
    let expected = [
        Guard::GenesisOnlyBeforeDeadline,
        Guard::AdmittedNotAfterRestrict,
        Guard::TrustOperatorNonceOnce,
        Guard::TrustOperatorHeadsFirst,
        Guard::OldWordsDontCount,
    ];
    assert_eq!(redundant, expected);
}

/// What docs/protocol.md says does not hold does not: the rules' limits are real, and the search finds them.
#[test]
fn the_limits_are_reached() {
    let mut limits = 0;
    for run in runs() {
        let Run::Agreement(config) = run else {
            continue;
        };
        if !config.is_claimed() {
            limits += 1;
            let report = run.search(false);
            assert!(report.holds(), "{report}");
        }
    }
    assert_eq!(limits, 4);
}

/// The page names every guard, so that a reader knows what is looked at.
#[test]
fn the_protocol_names_every_guard() {
    let page = include_str!("../../../docs/protocol.md");
    for guard in Guard::ALL {
        let name = format!("`{guard:?}`");
        assert!(
            page.contains(&name),
            "docs/protocol.md does not name {name}"
        );
    }
}

#[test]
fn a_block_is_its_chain() {
    let login = Claims::admit(Kind::Login, true, 3);
    let block = Block::GENESIS.next(login).expect("room");
    assert_eq!(block.claims(), Some(login));
    assert_eq!(block.prev(), Block::GENESIS);
    assert_eq!(block.height(), 1);
    let expire = Claims::restrict(Kind::Expire, 4, Some(block), true);
    let over = Block::GENESIS.next(expire).expect("room");
    assert_eq!(over.superseded(), Some(block));
    let frozen = over
        .next(Claims::restrict(Kind::Freeze, 4, None, false))
        .expect("room");
    assert_eq!(frozen.status(), Status::Frozen);
    assert_eq!(frozen.last(Kind::Freeze), 2);
    assert!(frozen.holds(over) && !frozen.holds(block));
    assert_eq!(over.towards(frozen), Some(frozen));
    let tallest = (0..MAX_HEIGHT).try_fold(Block::GENESIS, |b, _| b.next(login));
    assert_eq!(tallest.map(Block::height), Some(MAX_HEIGHT));
    assert_eq!(tallest.and_then(|b| b.next(login)), None);
}
