//! The contract as a test: any [`Store`] can be run through it.
//!
//! Each rule opens a store of its own. A rule that needs a restart drops the store and opens it
//! again under the same name. What only the implementation can bring about (a full disk, a torn
//! write) is tested beside the implementation.

use super::{Batch, Extent, Followed, HeadMove, Place, Store, StoreError, StreamId};

/// A rule of the contract that a store did not keep.
#[derive(Debug, thiserror::Error)]
pub enum ContractViolation {
    /// The store answered something else than the contract says.
    #[error("rule {rule:?} is broken: {found}")]
    Broken {
        /// The rule.
        rule: &'static str,
        /// What the store did.
        found: String,
    },
    /// The store failed where the contract says that it must not.
    #[error("rule {rule:?} could not be tried")]
    Failed {
        /// The rule.
        rule: &'static str,
        /// The store's error.
        source: StoreError,
    },
}

const ALICE: StreamId = StreamId([0xa1; 16]);
const BOB: StreamId = StreamId([0xb0; 16]);
const CONCURRENT: u8 = 24;

/// Runs every rule. `open` gives the store of a name: empty the first time, and after a drop with
/// everything that was acknowledged.
///
/// # Errors
/// The first rule that does not hold.
pub async fn run_contract<S, F>(open: F) -> Result<(), ContractViolation>
where
    S: Store,
    F: AsyncFn(&'static str) -> Result<S, StoreError>,
{
    let rule = "an unknown stream is empty, not an error";
    check_empty(&opened(rule, &open).await?, rule)?;
    let rule = "entries are read in the order they were appended, exactly as they were";
    check_order(&opened(rule, &open).await?, rule).await?;
    let rule = "a batch with another head than the stream's appends nothing";
    check_head(&opened(rule, &open).await?, rule).await?;
    let rule = "streams are apart";
    check_streams(&opened(rule, &open).await?, rule).await?;
    let rule = "of concurrent appends to one head exactly one succeeds";
    check_race(&opened(rule, &open).await?, rule).await?;
    let rule = "a batch over the limit appends nothing, and the store goes on";
    check_limit(&opened(rule, &open).await?, rule).await?;
    let rule = "what was acknowledged is there after a restart";
    check_restart(&open, rule).await?;
    let rule = "batches are read by number, and head moves found by number and by hash";
    check_numbers(&open, rule).await?;
    let rule = "batches of all streams are followed in order, each once, from any place and after a restart";
    check_follow(&open, rule).await?;
    let rule = "batches appended together are there in order, up to the first that is refused";
    check_together(&opened(rule, &open).await?, rule).await?;
    let rule = "a late batch keeps its place, and is there once a later one was acknowledged";
    check_late(&open, rule).await
}

async fn opened<S: Store>(
    rule: &'static str,
    open: &impl AsyncFn(&'static str) -> Result<S, StoreError>,
) -> Result<S, ContractViolation> {
    open(rule).await.map_err(failed(rule))
}

fn failed(rule: &'static str) -> impl Fn(StoreError) -> ContractViolation {
    move |source| ContractViolation::Failed { rule, source }
}

fn must<T: PartialEq + std::fmt::Debug>(
    rule: &'static str,
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), ContractViolation> {
    if found == expected {
        return Ok(());
    }
    Err(ContractViolation::Broken {
        rule,
        found: format!("{what}: found {found:?}, expected {expected:?}"),
    })
}

fn batch(stream: StreamId, head: Option<HeadMove>, entries: &[&[u8]]) -> Batch {
    Batch {
        stream,
        head,
        entries: entries.iter().map(|entry| entry.to_vec()).collect(),
        may_wait: false,
    }
}

fn step(expected: Option<u8>, next: u8) -> Option<HeadMove> {
    Some(HeadMove {
        expected: expected.map(|byte| [byte; 32]),
        next: [next; 32],
    })
}

fn check_empty<S: Store>(store: &S, rule: &'static str) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    must(
        rule,
        "entries",
        &store.read(ALICE).map_err(&fail)?,
        &Vec::new(),
    )?;
    must(rule, "head", &store.head(ALICE).map_err(&fail)?, &None)?;
    must(
        rule,
        "streams",
        &store.streams().map_err(&fail)?,
        &Vec::new(),
    )
}

async fn check_order<S: Store>(store: &S, rule: &'static str) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let all_bytes: Vec<u8> = (0..=255).collect();
    store
        .append(batch(ALICE, None, &[b"one", b"", b"two"]))
        .await
        .map_err(&fail)?;
    store
        .append(batch(ALICE, step(None, 1), &[&all_bytes]))
        .await
        .map_err(&fail)?;
    store.append(batch(ALICE, None, &[])).await.map_err(&fail)?;
    store
        .append(batch(ALICE, step(Some(1), 2), &[b"three"]))
        .await
        .map_err(&fail)?;
    let expected = [&b"one"[..], b"", b"two", &all_bytes, b"three"].map(<[u8]>::to_vec);
    must(
        rule,
        "entries",
        &store.read(ALICE).map_err(&fail)?,
        &expected.to_vec(),
    )?;
    must(
        rule,
        "head",
        &store.head(ALICE).map_err(&fail)?,
        &Some([2; 32]),
    )
}

async fn check_head<S: Store>(store: &S, rule: &'static str) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    store
        .append(batch(ALICE, step(None, 1), &[b"first"]))
        .await
        .map_err(&fail)?;
    for wrong in [None, Some(7)] {
        match store
            .append(batch(ALICE, step(wrong, 2), &[b"x", b"y"]))
            .await
        {
            Err(StoreError::HeadMismatch {
                found, expected, ..
            }) => {
                must(rule, "found head", &found, &Some([1; 32]))?;
                must(
                    rule,
                    "expected head",
                    &expected,
                    &wrong.map(|byte| [byte; 32]),
                )?;
            }
            other => must(
                rule,
                "answer",
                &format!("{other:?}"),
                &"HeadMismatch".to_owned(),
            )?,
        }
    }
    must(
        rule,
        "entries",
        &store.read(ALICE).map_err(&fail)?,
        &vec![b"first".to_vec()],
    )?;
    must(
        rule,
        "head",
        &store.head(ALICE).map_err(&fail)?,
        &Some([1; 32]),
    )
}

async fn check_streams<S: Store>(store: &S, rule: &'static str) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    store
        .append(batch(BOB, step(None, 2), &[b"bob"]))
        .await
        .map_err(&fail)?;
    store
        .append(batch(ALICE, step(None, 1), &[b"alice"]))
        .await
        .map_err(&fail)?;
    store
        .append(batch(StreamId::NODE, None, &[b"node"]))
        .await
        .map_err(&fail)?;
    must(
        rule,
        "alice",
        &store.read(ALICE).map_err(&fail)?,
        &vec![b"alice".to_vec()],
    )?;
    must(
        rule,
        "bob",
        &store.read(BOB).map_err(&fail)?,
        &vec![b"bob".to_vec()],
    )?;
    must(
        rule,
        "bob's head",
        &store.head(BOB).map_err(&fail)?,
        &Some([2; 32]),
    )?;
    must(
        rule,
        "node's head",
        &store.head(StreamId::NODE).map_err(&fail)?,
        &None,
    )?;
    let streams = store.streams().map_err(&fail)?;
    must(rule, "streams", &streams, &vec![StreamId::NODE, ALICE, BOB])
}

async fn check_race<S: Store>(store: &S, rule: &'static str) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let appends = (1..=CONCURRENT).map(|next| async move {
        (
            next,
            store
                .append(batch(ALICE, step(None, next), &[&[next]]))
                .await,
        )
    });
    let mut winners = Vec::new();
    for (next, result) in futures::future::join_all(appends).await {
        match result {
            Ok(()) => winners.push(next),
            Err(StoreError::HeadMismatch { .. }) => {}
            Err(source) => return Err(fail(source)),
        }
    }
    must(rule, "winners", &winners.len(), &1)?;
    let entries = winners.iter().map(|winner| vec![*winner]).collect();
    must(
        rule,
        "entries",
        &store.read(ALICE).map_err(&fail)?,
        &entries,
    )
}

async fn check_limit<S: Store>(store: &S, rule: &'static str) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let half = vec![7; super::RECORD_LIMIT_BYTES / 2];
    match store
        .append(batch(ALICE, step(None, 1), &[&half, &half]))
        .await
    {
        Err(StoreError::BatchTooLarge { .. }) => {}
        other => must(
            rule,
            "answer",
            &format!("{other:?}"),
            &"BatchTooLarge".to_owned(),
        )?,
    }
    must(rule, "head", &store.head(ALICE).map_err(&fail)?, &None)?;
    store
        .append(batch(ALICE, step(None, 1), &[&half]))
        .await
        .map_err(&fail)?;
    must(
        rule,
        "entries",
        &store.read(ALICE).map_err(&fail)?,
        &vec![half],
    )
}

async fn check_restart<S: Store>(
    open: &impl AsyncFn(&'static str) -> Result<S, StoreError>,
    rule: &'static str,
) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let mut expected = Vec::new();
    for round in 1..=4u8 {
        let store = opened(rule, open).await?;
        let before = round.checked_sub(1).filter(|before| *before > 0);
        must(
            rule,
            "entries",
            &store.read(ALICE).map_err(&fail)?,
            &expected,
        )?;
        let head = before.map(|byte| [byte; 32]);
        must(rule, "head", &store.head(ALICE).map_err(&fail)?, &head)?;
        store
            .append(batch(ALICE, step(before, round), &[&[round], b"-"]))
            .await
            .map_err(&fail)?;
        store
            .append(batch(BOB, None, &[&[round]]))
            .await
            .map_err(&fail)?;
        expected.extend([vec![round], b"-".to_vec()]);
    }
    let store = opened(rule, open).await?;
    must(
        rule,
        "entries",
        &store.read(ALICE).map_err(&fail)?,
        &expected,
    )?;
    must(
        rule,
        "streams",
        &store.streams().map_err(&fail)?,
        &vec![ALICE, BOB],
    )
}

/// Rounds of two batches, the second of which moves the head.
const ROUNDS: u8 = 150;

async fn check_numbers<S: Store>(
    open: &impl AsyncFn(&'static str) -> Result<S, StoreError>,
    rule: &'static str,
) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let store = opened(rule, open).await?;
    find_numbers(&store, rule, 0)?;
    for round in 1..=ROUNDS {
        let before = round.checked_sub(1).filter(|before| *before > 0);
        store
            .append(batch(ALICE, None, &[&[round], b"-"]))
            .await
            .map_err(&fail)?;
        store
            .append(batch(BOB, None, &[b"bob"]))
            .await
            .map_err(&fail)?;
        store
            .append(batch(ALICE, step(before, round), &[&[round, round]]))
            .await
            .map_err(&fail)?;
        if round % 50 == 1 {
            find_numbers(&store, rule, round)?;
        }
    }
    find_numbers(&store, rule, ROUNDS)?;
    drop(store);
    find_numbers(&opened(rule, open).await?, rule, ROUNDS)
}

async fn check_follow<S: Store>(
    open: &impl AsyncFn(&'static str) -> Result<S, StoreError>,
    rule: &'static str,
) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let store = opened(rule, open).await?;
    let none = store.follow(Place::START, 10).map_err(&fail)?;
    must(rule, "an empty store", &none, &Vec::new())?;
    let no_place = store.place_of(ALICE, 0).map_err(&fail)?;
    must(rule, "place of no batch", &no_place, &None)?;
    let mut expected: Vec<(StreamId, u64, Vec<Vec<u8>>)> = Vec::new();
    let mut places = Vec::new();
    for round in 0..ROUNDS {
        let stream = if round % 3 == 0 { BOB } else { ALICE };
        let number = expected.iter().filter(|(s, ..)| *s == stream).count() as u64;
        let entries = vec![vec![round], vec![round; usize::from(round)]];
        let of = batch(stream, None, &[&[round], &vec![round; usize::from(round)]]);
        store.append(of).await.map_err(&fail)?;
        expected.push((stream, number, entries));
        let last = places.last().copied().unwrap_or(Place::START);
        let new = store.follow(last, 5).map_err(&fail)?;
        must(rule, "new batches", &new.len(), &1)?;
        places.extend(new.iter().map(|followed| followed.place));
    }
    follow_all(&store, rule, &expected, &places)?;
    drop(store);
    follow_all(&opened(rule, open).await?, rule, &expected, &places)
}

fn follow_all<S: Store>(
    store: &S,
    rule: &'static str,
    expected: &[(StreamId, u64, Vec<Vec<u8>>)],
    places: &[Place],
) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let of = |(place, (stream, _, entries)): (&Place, &(StreamId, u64, Vec<Vec<u8>>))| Followed {
        place: *place,
        stream: *stream,
        entries: entries.clone(),
    };
    let all: Vec<Followed> = places.iter().zip(expected).map(of).collect();
    must(
        rule,
        "places ascend",
        &places.is_sorted_by(|a, b| a < b),
        &true,
    )?;
    for most in [1, 7, usize::MAX] {
        let (mut after, mut found) = (Place::START, Vec::new());
        loop {
            let next = store.follow(after, most).map_err(&fail)?;
            let Some(last) = next.last() else { break };
            must(rule, "no more than asked", &(next.len() <= most), &true)?;
            after = last.place;
            found.extend(next);
        }
        must(rule, "all batches", &found, &all)?;
    }
    for (place, (stream, number, _)) in places.iter().zip(expected) {
        let found = store.place_of(*stream, *number).map_err(&fail)?;
        must(rule, "place", &found, &Some(*place))?;
    }
    Ok(())
}

/// What is to be found after `rounds` rounds.
fn find_numbers<S: Store>(
    store: &S,
    rule: &'static str,
    rounds: u8,
) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let moves = u64::from(rounds);
    let batches = moves.saturating_mul(2);
    let extent = store.extent(ALICE).map_err(&fail)?;
    must(rule, "extent", &extent, &Extent { batches, moves })?;
    let of_round = |round: u8| [vec![vec![round], b"-".to_vec()], vec![vec![round, round]]];
    let all: Vec<Vec<Vec<u8>>> = (1..=rounds).flat_map(of_round).collect();
    for start in [0, 1, moves, batches.saturating_sub(3), batches] {
        for end in [start, start.saturating_add(3), batches, u64::MAX] {
            let found = store.read_batches(ALICE, start..end).map_err(&fail)?;
            let numbered = (0..).zip(&all);
            let expected = numbered.filter(|(number, _)| (start..end).contains(number));
            let expected: Vec<_> = expected.map(|(_, batch)| batch.clone()).collect();
            must(rule, "batches", &found, &expected)?;
        }
    }
    for nth in 0..moves.saturating_add(2) {
        let number = nth.saturating_mul(2).saturating_add(1);
        let expected = (nth < moves).then_some(number);
        let found = store.batch_of_move(ALICE, nth).map_err(&fail)?;
        must(rule, "batch of a move", &found, &expected)?;
    }
    let some = [1, rounds / 2, rounds].into_iter();
    for round in some.filter(|round| (1..=rounds).contains(round)) {
        let nth = u64::from(round).saturating_sub(1);
        let find = |first| store.move_to(ALICE, [round; 32], first).map_err(&fail);
        must(rule, "move to a head", &find(0)?, &Some(nth))?;
        must(rule, "move to a head", &find(nth)?, &Some(nth))?;
        let later = find(nth.saturating_add(1))?;
        must(rule, "move before the first looked at", &later, &None)?;
    }
    let unknown = store.move_to(ALICE, [0xee; 32], 0).map_err(&fail)?;
    must(rule, "move to a head that never was", &unknown, &None)
}

async fn check_together<S: Store>(store: &S, rule: &'static str) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let chain = |from: u8, until: u8| {
        let batches = (from..=until).map(|next| {
            let before = next.checked_sub(1).filter(|before| *before > 0);
            batch(ALICE, step(before, next), &[&[next]])
        });
        batches.collect::<Vec<_>>()
    };
    store.append_all(Vec::new()).await.map_err(&fail)?;
    store.append_all(chain(1, 40)).await.map_err(&fail)?;
    let mut broken = chain(41, 42);
    broken.push(batch(ALICE, step(Some(7), 43), &[b"no"]));
    broken.extend(chain(43, 44));
    match store.append_all(broken).await {
        Err(StoreError::HeadMismatch { .. }) => {}
        other => must(
            rule,
            "answer",
            &format!("{other:?}"),
            &"HeadMismatch".to_owned(),
        )?,
    }
    let expected: Vec<_> = (1..=42u8).map(|next| vec![next]).collect();
    let found = store.read(ALICE).map_err(&fail)?;
    must(rule, "entries", &found, &expected)
}

async fn check_late<S: Store>(
    open: &impl AsyncFn(&'static str) -> Result<S, StoreError>,
    rule: &'static str,
) -> Result<(), ContractViolation> {
    let fail = failed(rule);
    let store = opened(rule, open).await?;
    let late = |entry: &'static [u8]| vec![entry.to_vec()];
    store
        .append(batch(ALICE, step(None, 1), &[b"first"]))
        .await
        .map_err(&fail)?;
    store
        .append_late(ALICE, late(b"late"))
        .await
        .map_err(&fail)?;
    store
        .append(batch(ALICE, step(Some(1), 2), &[b"second"]))
        .await
        .map_err(&fail)?;
    let mut expected = [&b"first"[..], b"late", b"second"]
        .map(<[u8]>::to_vec)
        .to_vec();
    let found = store.read(ALICE).map_err(&fail)?;
    must(rule, "entries", &found, &expected)?;
    // Nothing follows these but the end.
    store.append_late(BOB, late(b"bob")).await.map_err(&fail)?;
    store
        .append_late(ALICE, late(b"end"))
        .await
        .map_err(&fail)?;
    drop(store);
    let store = opened(rule, open).await?;
    expected.push(b"end".to_vec());
    let found = store.read(ALICE).map_err(&fail)?;
    must(rule, "entries after the end", &found, &expected)?;
    let found = store.read(BOB).map_err(&fail)?;
    must(rule, "bob's entries", &found, &vec![b"bob".to_vec()])
}
