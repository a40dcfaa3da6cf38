//! The contract as a test: any [`PinStore`] can be run through it.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use warifu_client_sdk::login_service::SqlitePins;
//! use warifu_client_sdk::login_service::pins::suite::run_contract;
//!
//! let dir = std::env::temp_dir().join("pins");
//! std::fs::create_dir_all(&dir)?;
//! run_contract(async |name| SqlitePins::open(dir.join(name)).await).await?;
//! # Ok(())
//! # }
//! ```
//! What only the implementation can bring about (a full disk, a damaged file) is tested beside it.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Parties, Sub};
use warifu_consensus::time::Time;

use super::{MAX_CUSTOMER, Pin, PinError, PinStore, Spending};

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
        source: PinError,
    },
}

type Kept = Result<(), ContractViolation>;

const CONCURRENT: u8 = 16;

/// Customer ids that careless stores take for one another.
const DISTINCT: [&str; 12] = [
    "alice",
    "Alice",
    "alice ",
    " alice",
    "1001",
    "01001",
    "1001.0",
    "caf\u{e9}",
    "cafe\u{301}",
    "cafe",
    "%",
    "'; DROP TABLE pins; --",
];

/// Runs every rule. `open` gives the store of a name (letters only): empty the first time, later
/// with everything that was acknowledged, and possibly while it is open already, as another process
/// would.
///
/// # Errors
/// The first rule that does not hold.
pub async fn run_contract<S, F>(open: F) -> Kept
where
    S: PinStore + 'static,
    F: AsyncFn(&'static str) -> Result<S, PinError>,
{
    check_reads(&at("reads", &open).await?).await?;
    check_once(&at("once", &open).await?).await?;
    check_taken(&at("taken", &open).await?).await?;
    check_customers(&at("customers", &open).await?).await?;
    check_lengths(&at("lengths", &open).await?).await?;
    check_race_of_pins("pins", &open).await?;
    check_race_of_customers("claims", &open).await?;
    check_reopened("reopened", &open).await?;
    check_spent("spent", &open).await?;
    check_race_of_spends("spends", &open).await
}

async fn at<S: PinStore>(
    name: &'static str,
    open: &impl AsyncFn(&'static str) -> Result<S, PinError>,
) -> Result<S, ContractViolation> {
    open(name)
        .await
        .map_err(failed("a store opens, and opens again"))
}

fn failed(rule: &'static str) -> impl Fn(PinError) -> ContractViolation {
    move |source| ContractViolation::Failed { rule, source }
}

fn must<T: PartialEq + std::fmt::Debug>(rule: &'static str, found: &T, expected: &T) -> Kept {
    if found == expected {
        return Ok(());
    }
    Err(ContractViolation::Broken {
        rule,
        found: format!("found {found:?}, expected {expected:?}"),
    })
}

/// A pin whose every byte differs from those of other numbers.
fn pin(n: u8) -> Pin {
    Pin {
        account: Sub([n; 16]),
        account_key: [n.wrapping_add(50); 32],
        genesis: Hash([n.wrapping_add(100); 32]),
        parties: Parties {
            device: [n.wrapping_add(150); 32],
            broker: [201; 32],
            trust_operator: [202; 32],
        },
    }
}

/// How a store answered a pin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Made,
    Pinned,
    Taken,
    Customer,
}

async fn answer(
    rule: &'static str,
    store: &impl PinStore,
    customer: &str,
    pin: &Pin,
) -> Result<Answer, ContractViolation> {
    match store.pin(customer, pin).await {
        Ok(()) => Ok(Answer::Made),
        Err(PinError::Pinned { .. }) => Ok(Answer::Pinned),
        Err(PinError::Taken { .. }) => Ok(Answer::Taken),
        Err(PinError::Customer { .. }) => Ok(Answer::Customer),
        Err(source) => Err(ContractViolation::Failed { rule, source }),
    }
}

async fn check_held(
    rule: &'static str,
    store: &impl PinStore,
    customer: &str,
    expected: Option<Pin>,
) -> Kept {
    let found = store.pinned(customer).await.map_err(failed(rule))?;
    must(rule, &found, &expected)
}

async fn check_reads(store: &impl PinStore) -> Kept {
    let rule = "an unknown customer has no pin, and a pin is read back exactly, by its account too";
    check_held(rule, store, "alice", None).await?;
    must(
        rule,
        &answer(rule, store, "alice", &pin(1)).await?,
        &Answer::Made,
    )?;
    check_held(rule, store, "alice", Some(pin(1))).await?;
    check_held(rule, store, "bob", None).await?;
    let found = store
        .of_account(pin(1).account)
        .await
        .map_err(failed(rule))?;
    must(rule, &found, &Some(("alice".to_owned(), pin(1))))?;
    let found = store
        .of_account(pin(2).account)
        .await
        .map_err(failed(rule))?;
    must(rule, &found, &None)
}

async fn check_once(store: &impl PinStore) -> Kept {
    let rule = "a customer's first pin stays: the same again is no error, another is refused";
    for _ in 0..2 {
        must(
            rule,
            &answer(rule, store, "alice", &pin(1)).await?,
            &Answer::Made,
        )?;
    }
    let mut other_device = pin(1);
    other_device.parties.device = [9; 32];
    let others = [
        pin(2),
        Pin {
            account_key: [9; 32],
            ..pin(1)
        },
        Pin {
            account: Sub([9; 16]),
            ..pin(1)
        },
        Pin {
            genesis: Hash([9; 32]),
            ..pin(1)
        },
        other_device,
    ];
    for other in others {
        must(
            rule,
            &answer(rule, store, "alice", &other).await?,
            &Answer::Pinned,
        )?;
    }
    check_held(rule, store, "alice", Some(pin(1))).await?;
    // What was refused is not held elsewhere either: it is free for another customer.
    must(
        rule,
        &answer(rule, store, "bob", &pin(2)).await?,
        &Answer::Made,
    )
}

async fn check_taken(store: &impl PinStore) -> Kept {
    let rule = "an account, and an account key, is one customer's at most";
    must(
        rule,
        &answer(rule, store, "alice", &pin(1)).await?,
        &Answer::Made,
    )?;
    let taken = [
        pin(1),
        Pin {
            account: pin(1).account,
            ..pin(2)
        },
        Pin {
            account_key: pin(1).account_key,
            ..pin(2)
        },
    ];
    for taken in taken {
        must(
            rule,
            &answer(rule, store, "bob", &taken).await?,
            &Answer::Taken,
        )?;
    }
    check_held(rule, store, "bob", None).await
}

async fn check_customers(store: &impl PinStore) -> Kept {
    let rule = "customer ids are compared byte for byte";
    for (n, customer) in (1_u8..).zip(DISTINCT) {
        let found = answer(rule, store, customer, &pin(n)).await?;
        must(rule, &(customer, found), &(customer, Answer::Made))?;
    }
    for (n, customer) in (1_u8..).zip(DISTINCT) {
        check_held(rule, store, customer, Some(pin(n))).await?;
    }
    check_held(rule, store, "ALICE", None).await
}

async fn check_lengths(store: &impl PinStore) -> Kept {
    let rule = "a customer id has 1 to 256 bytes";
    let longest = "x".repeat(MAX_CUSTOMER);
    let made = answer(rule, store, &longest, &pin(1)).await?;
    must(rule, &made, &Answer::Made)?;
    check_held(rule, store, &longest, Some(pin(1))).await?;
    for bad in [String::new(), format!("{longest}x")] {
        let refused = answer(rule, store, &bad, &pin(2)).await?;
        must(rule, &refused, &Answer::Customer)?;
    }
    Ok(())
}

/// Pins at once, each through a store of its own; how each was answered.
async fn race<S: PinStore + 'static>(
    rule: &'static str,
    stores: Vec<S>,
    offers: impl Fn(u8) -> (String, Pin),
) -> Result<Vec<(u8, Answer)>, ContractViolation> {
    let mut under_way = JoinSet::new();
    for (n, store) in (1..=CONCURRENT).zip(stores) {
        let (customer, pin) = offers(n);
        under_way.spawn(async move { (n, answer(rule, &store, &customer, &pin).await) });
    }
    let mut answers = Vec::new();
    while let Some(ended) = under_way.join_next().await {
        let (n, answer) = ended.map_err(|error| ContractViolation::Broken {
            rule,
            found: error.to_string(),
        })?;
        answers.push((n, answer?));
    }
    Ok(answers)
}

async fn many<S: PinStore>(
    name: &'static str,
    open: &impl AsyncFn(&'static str) -> Result<S, PinError>,
) -> Result<Vec<S>, ContractViolation> {
    let mut stores = Vec::new();
    for _ in 0..CONCURRENT {
        stores.push(at(name, open).await?);
    }
    Ok(stores)
}

fn winner(
    rule: &'static str,
    answers: &[(u8, Answer)],
    loses: Answer,
) -> Result<u8, ContractViolation> {
    let made = answers.iter().filter(|(_, answer)| *answer == Answer::Made);
    let winners: Vec<u8> = made.map(|(n, _)| *n).collect();
    let others: BTreeSet<bool> = answers
        .iter()
        .filter(|(_, answer)| *answer != Answer::Made)
        .map(|(_, answer)| *answer == loses)
        .collect();
    match winners.as_slice() {
        [winner] if !others.contains(&false) => Ok(*winner),
        _ => Err(ContractViolation::Broken {
            rule,
            found: format!("found {answers:?}, expected one made and the others {loses:?}"),
        }),
    }
}

async fn check_race_of_pins<S: PinStore + 'static>(
    name: &'static str,
    open: &impl AsyncFn(&'static str) -> Result<S, PinError>,
) -> Kept {
    let rule = "of concurrent pins of one customer one succeeds, and stays";
    let stores = many(name, open).await?;
    let answers = race(rule, stores, |n| ("alice".to_owned(), pin(n))).await?;
    let winner = winner(rule, &answers, Answer::Pinned)?;
    check_held(rule, &at(name, open).await?, "alice", Some(pin(winner))).await
}

async fn check_race_of_customers<S: PinStore + 'static>(
    name: &'static str,
    open: &impl AsyncFn(&'static str) -> Result<S, PinError>,
) -> Kept {
    let rule = "of concurrent customers of one account one succeeds, and stays";
    let stores = many(name, open).await?;
    let answers = race(rule, stores, |n| (format!("customer-{n}"), pin(1))).await?;
    let winner = winner(rule, &answers, Answer::Taken)?;
    let store = at(name, open).await?;
    let found = store
        .of_account(pin(1).account)
        .await
        .map_err(failed(rule))?;
    must(rule, &found, &Some((format!("customer-{winner}"), pin(1))))
}

async fn check_reopened<S: PinStore>(
    name: &'static str,
    open: &impl AsyncFn(&'static str) -> Result<S, PinError>,
) -> Kept {
    let rule = "what was acknowledged is there when the store is opened again";
    let store = at(name, open).await?;
    let made = answer(rule, &store, "alice", &pin(1)).await?;
    must(rule, &made, &Answer::Made)?;
    drop(store);
    let store = at(name, open).await?;
    check_held(rule, &store, "alice", Some(pin(1))).await?;
    let other = answer(rule, &store, "alice", &pin(2)).await?;
    must(rule, &other, &Answer::Pinned)?;
    let taken = answer(rule, &store, "bob", &pin(1)).await?;
    must(rule, &taken, &Answer::Taken)
}

const NOW: Time = Time(1_790_000_000_000);
const ENDS: Time = Time(1_790_000_120_000);

async fn check_spent<S: PinStore>(
    name: &'static str,
    open: &impl AsyncFn(&'static str) -> Result<S, PinError>,
) -> Kept {
    let rule = "a nonce is spent once until its login is over, or the store keeps none";
    let store = at(name, open).await?;
    let spend = async |store: &S, nonce: &str, now| {
        store.spend(nonce, ENDS, now).await.map_err(failed(rule))
    };
    let (first, again) = match spend(&store, "nonce-of-one-session-a", NOW).await? {
        Spending::Unkept => (Spending::Unkept, Spending::Unkept),
        found => {
            must(rule, &found, &Spending::First)?;
            (Spending::First, Spending::Again)
        }
    };
    for now in [NOW, Time(ENDS.0.saturating_sub(1))] {
        let found = spend(&store, "nonce-of-one-session-a", now).await?;
        must(rule, &found, &again)?;
    }
    // Nonces are compared byte for byte, too.
    let found = spend(&store, "nonce-of-one-session-A", NOW).await?;
    must(rule, &found, &first)?;
    drop(store);
    let store = at(name, open).await?;
    let found = spend(&store, "nonce-of-one-session-a", NOW).await?;
    must(rule, &found, &again)
}

async fn check_race_of_spends<S: PinStore + 'static>(
    name: &'static str,
    open: &impl AsyncFn(&'static str) -> Result<S, PinError>,
) -> Kept {
    let rule = "of concurrent spends of one nonce one is the first";
    let mut under_way = JoinSet::new();
    for store in many(name, open).await? {
        under_way.spawn(async move { store.spend("nonce-of-one-session-a", ENDS, NOW).await });
    }
    let mut found = Vec::new();
    while let Some(ended) = under_way.join_next().await {
        let spent = ended.map_err(|error| ContractViolation::Broken {
            rule,
            found: error.to_string(),
        })?;
        found.push(spent.map_err(failed(rule))?);
    }
    let of = |expected| found.iter().filter(|found| **found == expected).count();
    let (first, unkept) = (of(Spending::First), of(Spending::Unkept));
    if (first == 1 && unkept == 0) || unkept == found.len() {
        return Ok(());
    }
    Err(ContractViolation::Broken {
        rule,
        found: format!("found {found:?}, expected one first and the others again"),
    })
}
