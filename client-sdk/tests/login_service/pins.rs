//! Pins are written once, by whatever store: the published contract on both implementations, and
//! what only a file can suffer.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use warifu_client_sdk::login_service::pins::suite::{ContractViolation, run_contract};
use warifu_client_sdk::login_service::{
    MemoryPins, Pin, PinError, PinStore, Spending, SqlitePins, Token, TokenError,
};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Parties, Sub};
use warifu_consensus::time::Time;

fn pin(n: u8) -> Pin {
    Pin {
        account: Sub([n; 16]),
        account_key: [n; 32],
        genesis: Hash([n; 32]),
        parties: Parties {
            device: [n; 32],
            broker: [1; 32],
            trust_operator: [2; 32],
        },
    }
}

/// Stores by name, each made once.
fn by_name<S>(make: impl Fn() -> S) -> impl Fn(&'static str) -> Arc<S> {
    let made = Mutex::new(HashMap::new());
    move |name| {
        let mut made = made.lock().unwrap();
        Arc::clone(made.entry(name).or_insert_with(|| Arc::new(make())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    let stores = by_name(MemoryPins::default);
    run_contract(async |name| Ok(stores(name))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    run_contract(async |name| SqlitePins::open(dir.path().join(name)).await)
        .await
        .unwrap();
}

/// What a database with a case-insensitive collation does.
struct Caseless(MemoryPins);

impl PinStore for Caseless {
    async fn pin(&self, customer: &str, pin: &Pin) -> Result<(), PinError> {
        self.0.pin(&customer.to_lowercase(), pin).await
    }
    async fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
        self.0.pinned(&customer.to_lowercase()).await
    }
    async fn of_account(&self, account: Sub) -> Result<Option<(String, Pin)>, PinError> {
        self.0.of_account(account).await
    }
}

/// What two statements without a transaction do.
#[derive(Default)]
struct Racing(Mutex<HashMap<String, Pin>>);

impl PinStore for Racing {
    async fn pin(&self, customer: &str, pin: &Pin) -> Result<(), PinError> {
        let checked = MemoryPins::default();
        let held = self.0.lock().unwrap().clone();
        for (customer, pin) in held {
            checked.pin(&customer, &pin).await?;
        }
        checked.pin(customer, pin).await?;
        tokio::task::yield_now().await;
        self.0.lock().unwrap().insert(customer.to_owned(), *pin);
        Ok(())
    }
    async fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
        Ok(self.0.lock().unwrap().get(customer).copied())
    }
    async fn of_account(&self, account: Sub) -> Result<Option<(String, Pin)>, PinError> {
        let held = self.0.lock().unwrap();
        let mut pins = held.iter();
        let found = pins.find(|(_, pin)| pin.account == account);
        Ok(found.map(|(customer, pin)| (customer.clone(), *pin)))
    }
}

#[tokio::test]
async fn the_suite_finds_stores_that_confuse_customers_or_race() {
    let broken = |found: Result<(), ContractViolation>| match found {
        Err(ContractViolation::Broken { rule, .. }) => rule,
        other => panic!("{other:?}"),
    };
    let stores = by_name(|| Caseless(MemoryPins::default()));
    let found = run_contract(async |name| Ok(stores(name))).await;
    assert_eq!(broken(found), "customer ids are compared byte for byte");
    let stores = by_name(Racing::default);
    let found = run_contract(async |name| Ok(stores(name))).await;
    assert!(broken(found).starts_with("of concurrent pins of one customer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_private_and_takes_many_openers_at_once() {
    // The race for the journal's mode is short: one round in forty met it.
    for _ in 0..20 {
        open_by_many().await;
    }
}

async fn open_by_many() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.db");
    let openers: Vec<_> = (1..=16)
        .map(|n| {
            let path = path.clone();
            tokio::spawn(async move {
                let pins = SqlitePins::open(path).await.unwrap();
                pins.pin(&format!("customer-{n}"), &pin(n)).await.unwrap();
                pins
            })
        })
        .collect();
    let mut open = Vec::new();
    for opener in openers {
        open.push(opener.await.unwrap());
    }
    for name in ["pins.db", "pins.db-wal"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
    let last = open.last().unwrap();
    assert_eq!(last.pinned("customer-3").await.unwrap(), Some(pin(3)));
}

#[tokio::test]
async fn other_files_and_later_versions_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.db");
    let pins = SqlitePins::open(&path).await.unwrap();
    pins.pin("1001", &pin(1)).await.unwrap();
    drop(pins);
    let raw = Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 3).unwrap();
    assert!(matches!(
        SqlitePins::open(&path).await,
        Err(PinError::Version {
            found: 3,
            expected: 2,
            ..
        })
    ));
    raw.pragma_update(None, "user_version", 2).unwrap();
    drop(raw);
    let again = SqlitePins::open(&path).await.unwrap();
    assert_eq!(again.pinned("1001").await.unwrap(), Some(pin(1)));

    let other = dir.path().join("other.db");
    let raw = Connection::open(&other).unwrap();
    raw.execute_batch("CREATE TABLE pins (a)").unwrap();
    drop(raw);
    let text = dir.path().join("text");
    std::fs::write(&text, "{\"warifu\":\"pins/1\",\"pins\":{}}".repeat(200)).unwrap();
    for path in [other, text] {
        let before = std::fs::read(&path).unwrap();
        let opened = SqlitePins::open(&path).await;
        assert!(
            matches!(opened, Err(PinError::Damaged { .. })),
            "{opened:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
    let missing = dir.path().join("no").join("pins.db");
    let opened = SqlitePins::open(missing).await;
    assert!(matches!(opened, Err(PinError::Store { .. })), "{opened:?}");
}

/// What two statements without a transaction make of a nonce.
#[derive(Default)]
struct Twice {
    pins: MemoryPins,
    spent: Mutex<HashSet<String>>,
}

impl PinStore for Twice {
    async fn pin(&self, customer: &str, pin: &Pin) -> Result<(), PinError> {
        self.pins.pin(customer, pin).await
    }
    async fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
        self.pins.pinned(customer).await
    }
    async fn of_account(&self, account: Sub) -> Result<Option<(String, Pin)>, PinError> {
        self.pins.of_account(account).await
    }
    async fn spend(&self, nonce: &str, _: Time, _: Time) -> Result<Spending, PinError> {
        let is_known = self.spent.lock().unwrap().contains(nonce);
        tokio::task::yield_now().await;
        self.spent.lock().unwrap().insert(nonce.to_owned());
        Ok(if is_known {
            Spending::Again
        } else {
            Spending::First
        })
    }
}

#[tokio::test]
async fn the_suite_takes_stores_that_keep_no_nonces_and_finds_those_that_race() {
    /// Three calls and no more.
    #[derive(Default)]
    struct Three(MemoryPins);
    impl PinStore for Three {
        async fn pin(&self, customer: &str, pin: &Pin) -> Result<(), PinError> {
            self.0.pin(customer, pin).await
        }
        async fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
            self.0.pinned(customer).await
        }
        async fn of_account(&self, account: Sub) -> Result<Option<(String, Pin)>, PinError> {
            self.0.of_account(account).await
        }
    }
    let stores = by_name(Three::default);
    run_contract(async |name| Ok(stores(name))).await.unwrap();
    let stores = by_name(Twice::default);
    let found = run_contract(async |name| Ok(stores(name))).await;
    assert!(
        matches!(&found, Err(ContractViolation::Broken { rule, .. }) if rule.contains("spends")),
        "{found:?}"
    );
}

#[tokio::test]
async fn nonces_are_kept_a_day_longer_than_their_logins_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.db");
    let pins = SqlitePins::open(&path).await.unwrap();
    let (now, ends) = (Time(1_790_000_000_000), Time(1_790_000_120_000));
    let day = 24 * 3_600_000;
    for (nonce, at, expected) in [
        ("a", now, Spending::First),
        // By the clock of a process that is ahead.
        ("b", Time(ends.0 + day - 1), Spending::First),
        ("a", now, Spending::Again),
        ("c", Time(ends.0 + day), Spending::First),
    ] {
        assert_eq!(pins.spend(nonce, ends, at).await.unwrap(), expected);
    }
    let raw = Connection::open(&path).unwrap();
    let count = "SELECT group_concat(nonce) FROM spent";
    let held: String = raw.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(held, "c");
    let far = Time(u64::MAX);
    assert_eq!(pins.spend("d", far, far).await.unwrap(), Spending::First);
    assert_eq!(pins.spend("d", far, now).await.unwrap(), Spending::Again);
}

#[tokio::test]
async fn a_file_of_the_first_version_keeps_its_pins_and_learns_to_keep_nonces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.db");
    let pins = SqlitePins::open(&path).await.unwrap();
    pins.pin("1001", &pin(1)).await.unwrap();
    drop(pins);
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("DROP TABLE spent; PRAGMA user_version = 1;")
        .unwrap();
    drop(raw);
    let (now, ends) = (Time(1), Time(2));
    for expected in [Spending::First, Spending::Again] {
        let pins = SqlitePins::open(&path).await.unwrap();
        assert_eq!(pins.pinned("1001").await.unwrap(), Some(pin(1)));
        assert_eq!(pins.spend("a", ends, now).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn the_file_itself_refuses_changes_and_wrong_lengths_and_reports_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.db");
    let pins = SqlitePins::open(&path).await.unwrap();
    pins.pin("1001", &pin(1)).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    let key = "UPDATE pins SET account_key = zeroblob(32)";
    assert!(raw.execute(key, []).is_err());
    let short = "INSERT INTO pins VALUES ('x', x'00', x'00', x'00', x'00', x'00', x'00')";
    assert!(raw.execute(short, []).is_err());
    let mode: String = raw
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    drop((pins, raw));
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, bytes).unwrap();
    let read = match SqlitePins::open(&path).await {
        Ok(pins) => pins.pinned("1001").await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(matches!(read, Err(PinError::Damaged { .. })), "{read:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn waiting_for_another_writer_does_not_block_the_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.db");
    let pins = SqlitePins::open(&path).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = pins.clone();
    let pinning = tokio::spawn(async move { waiting.pin("1001", &pin(1)).await });
    // On the one thread of this runtime these would not run while SQLite waits.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!pinning.is_finished());
    raw.execute_batch("COMMIT").unwrap();
    pinning.await.unwrap().unwrap();
    assert_eq!(pins.pinned("1001").await.unwrap(), Some(pin(1)));
}

#[tokio::test]
async fn a_dropped_pin_is_made_or_not_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let pins = SqlitePins::open(dir.path().join("pins.db")).await.unwrap();
    for n in 1..=20 {
        let customer = format!("customer-{n}");
        let dropped = Duration::from_micros(u64::from(n) * 20);
        drop(tokio::time::timeout(dropped, pins.pin(&customer, &pin(n))).await);
        pins.pin(&customer, &pin(n)).await.unwrap();
        assert_eq!(pins.pinned(&customer).await.unwrap(), Some(pin(n)));
    }
}

#[test]
fn tokens_come_from_private_files_and_are_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "warifu-token-0123456789abcdef\n").unwrap();
    let set = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(0o640);
    assert!(matches!(
        Token::from_file(&path),
        Err(TokenError::Mode { found: 0o640, .. })
    ));
    set(0o600);
    let token = Token::from_file(&path).unwrap();
    assert_eq!(format!("{token:?}"), "Token(<redacted>)");
    for bad in [
        "short",
        "white space inside the token",
        "line\nbreak-in-the-token",
        "",
    ] {
        assert!(matches!(Token::new(bad), Err(TokenError::Form { .. })));
    }
}
