//! Pins in one SQLite file, for login services on one machine: any number of threads and
//! processes, each with a connection of its own. Beside the pins it keeps the nonces that let
//! somebody in, so that none does twice, whichever process looks.
//!
//! Write-ahead log, `synchronous=FULL`: a pin that was answered `Ok` survives power loss. What the
//! schema itself refuses, no program that opens the file can do by accident: a second pin of a
//! customer or of an account, and any change of a pin. Deleting a row is left to the login
//! service's own hand, for the day when a customer's data must go. Not for network file systems,
//! where SQLite's locks don't hold.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior,
    params,
};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Parties, Sub};
use warifu_consensus::time::Time;

use super::{Pin, PinError, PinStore, Spending, check_customer, is_new};

/// `WRFP`, in the file's header.
const APPLICATION: u32 = 0x5752_4650;

/// The version of the schema: 2 keeps nonces. A file of version 1 is brought to it when it is
/// opened.
const VERSION: u32 = 2;

/// How much longer than its login a nonce is kept, in seconds: processes whose clocks differ by
/// less don't forget each other's.
const MARGIN_S: u64 = 24 * 3600;

/// How long a connection waits for another one's write.
const BUSY: Duration = Duration::from_secs(5);

/// How often a file is tried that others open at the same time, how long each try waits for their locks,
/// and the pause before the next: together about as long as [`BUSY`].
const OPENINGS: u32 = 50;
const OPENING_BUSY: Duration = Duration::from_millis(100);
const OPENING_PAUSE: Duration = Duration::from_millis(10);

const SCHEMA: &str = "
CREATE TABLE pins (
    customer       TEXT NOT NULL PRIMARY KEY,
    account        BLOB NOT NULL UNIQUE CHECK (length(account) = 16),
    account_key    BLOB NOT NULL UNIQUE CHECK (length(account_key) = 32),
    genesis        BLOB NOT NULL CHECK (length(genesis) = 32),
    device         BLOB NOT NULL CHECK (length(device) = 32),
    broker         BLOB NOT NULL CHECK (length(broker) = 32),
    trust_operator BLOB NOT NULL CHECK (length(trust_operator) = 32)
) STRICT;
CREATE TRIGGER pins_are_set_once BEFORE UPDATE ON pins
BEGIN SELECT RAISE(ABORT, 'a pin is set once'); END;
";

/// What version 2 has more. Times are milliseconds since the Unix epoch.
const SCHEMA_OF_NONCES: &str = "
CREATE TABLE spent (
    nonce    TEXT NOT NULL PRIMARY KEY,
    keep_to  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_by_end ON spent (keep_to);
";

const COLUMNS: &str = "customer, account, account_key, genesis, device, broker, trust_operator";

/// Pins in one SQLite file, mode 0600. Clones share a connection.
#[derive(Clone, Debug)]
pub struct SqlitePins(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    place: String,
    connection: Mutex<Connection>,
}

impl SqlitePins {
    /// Opens the file, which is made when it is missing. Dropping the future may leave an empty
    /// file, which the next call takes.
    ///
    /// # Errors
    /// [`PinError::Damaged`] when the file is another program's, [`PinError::Version`] when a later
    /// SDK wrote it, or what SQLite reports.
    pub async fn open(path: impl Into<PathBuf>) -> Result<SqlitePins, PinError> {
        let path = path.into();
        let place = path.display().to_string();
        blocking(place.clone(), move || {
            let connection = open(&path, &place)?;
            Ok(SqlitePins(Arc::new(Shared {
                place,
                connection: Mutex::new(connection),
            })))
        })
        .await
    }

    /// One transaction, on a thread that may block.
    async fn within<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, PinError> {
        let shared = Arc::clone(&self.0);
        let place = shared.place.clone();
        blocking(place, move || {
            let lock = &shared.connection;
            // A transaction that a panic left open was rolled back when it was dropped.
            let mut connection = lock.lock().unwrap_or_else(PoisonError::into_inner);
            transact(&mut connection, behavior, act).map_err(|fault| fault.at(&shared.place))
        })
        .await
    }
}

impl PinStore for SqlitePins {
    async fn pin(&self, customer: &str, pin: &Pin) -> Result<(), PinError> {
        check_customer(customer)?;
        let (customer, pin) = (customer.to_owned(), *pin);
        // Immediate: a read that becomes a write in the middle could not wait for another writer.
        self.within(TransactionBehavior::Immediate, move |transaction| {
            add(transaction, &customer, &pin)
        })
        .await
    }

    async fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
        let customer = customer.to_owned();
        self.within(TransactionBehavior::Deferred, move |transaction| {
            of_customer(transaction, &customer)
        })
        .await
    }

    async fn of_account(&self, account: Sub) -> Result<Option<(String, Pin)>, PinError> {
        self.within(TransactionBehavior::Deferred, move |transaction| {
            let sql = format!("SELECT {COLUMNS} FROM pins WHERE account = ?1");
            Ok(transaction.query_row(&sql, [account.0], read).optional()?)
        })
        .await
    }

    async fn spend(&self, nonce: &str, ends: Time, now: Time) -> Result<Spending, PinError> {
        let nonce = nonce.to_owned();
        self.within(TransactionBehavior::Immediate, move |transaction| {
            use_up(transaction, &nonce, ends, now)
        })
        .await
    }
}

/// What stops a call before it knows where it is.
enum Fault {
    Sqlite(rusqlite::Error),
    Pin(PinError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sqlite(error)
    }
}

impl From<PinError> for Fault {
    fn from(error: PinError) -> Fault {
        Fault::Pin(error)
    }
}

impl Fault {
    fn is_busy(&self) -> bool {
        matches!(self, Fault::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
    }

    fn at(self, place: &str) -> PinError {
        let error = match self {
            Fault::Pin(error) => return error,
            Fault::Sqlite(error) => error,
        };
        let place = place.to_owned();
        let is_damage = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
        ) || matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
        );
        if is_damage {
            let what = error.to_string();
            return PinError::Damaged { place, what };
        }
        let source = Box::new(error);
        PinError::Store { place, source }
    }
}

async fn blocking<T: Send + 'static>(
    place: String,
    work: impl FnOnce() -> Result<T, PinError> + Send + 'static,
) -> Result<T, PinError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|source| {
        let source = Box::new(source);
        Err(PinError::Store { place, source })
    })
}

fn transact<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    act: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    let done = act(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn open(path: &Path, place: &str) -> Result<Connection, PinError> {
    let io = |source: std::io::Error| PinError::Store {
        place: place.to_owned(),
        source: Box::new(source),
    };
    make(path).map_err(io)?;
    let mut prepared = prepare(path, place);
    for _ in 1..OPENINGS {
        match &prepared {
            // Whoever turns to write-ahead logging while others open the file may be told "busy" at once:
            // SQLite does not wait where two could wait for each other.
            Err(fault) if fault.is_busy() => std::thread::sleep(OPENING_PAUSE),
            _ => break,
        }
        prepared = prepare(path, place);
    }
    prepared.map_err(|fault| fault.at(place))
}

fn prepare(path: &Path, place: &str) -> Result<Connection, Fault> {
    let mut connection = connect(path)?;
    let behavior = TransactionBehavior::Immediate;
    transact(&mut connection, behavior, |transaction| {
        migrate(transaction, place)
    })?;
    write_ahead(&connection, place)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Makes the file if there is none, for its owner only; SQLite gives its log the same mode.
fn make(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    // The new name survives power loss only when the directory is synced.
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(OPENING_BUSY)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // On macOS fsync alone does not reach the disk; elsewhere this says nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    Ok(connection)
}

/// Readers then never wait for a writer. The file keeps the mode.
fn write_ahead(connection: &Connection, place: &str) -> Result<(), Fault> {
    let read = |row: &Row<'_>| row.get::<_, String>(0);
    let found = connection.pragma_update_and_check(None, "journal_mode", "wal", read)?;
    if found == "wal" {
        return Ok(());
    }
    Err(PinError::Damaged {
        place: place.to_owned(),
        what: format!("journal mode is {found}, expected wal: is it a network file system?"),
    }
    .into())
}

/// The schema of this version; nothing of a file that is another program's, or of a later version,
/// is touched.
fn migrate(transaction: &Transaction<'_>, place: &str) -> Result<(), Fault> {
    let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let sql = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = transaction.query_row(sql, [], |row| row.get(0))?;
    let place = place.to_owned();
    match (application, version, tables) {
        (0, 0, 0) => {
            transaction.execute_batch(SCHEMA)?;
            transaction.execute_batch(SCHEMA_OF_NONCES)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            Ok(())
        }
        (APPLICATION, VERSION, _) => Ok(()),
        (APPLICATION, 1, _) => {
            transaction.execute_batch(SCHEMA_OF_NONCES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            Ok(())
        }
        (APPLICATION, found, _) if found > VERSION => Err(PinError::Version {
            place,
            found,
            expected: VERSION,
        }
        .into()),
        _ => Err(PinError::Damaged {
            place,
            what: format!(
                "application id is {application:#010x} and version {version}, expected {APPLICATION:#010x} and {VERSION}"
            ),
        }
        .into()),
    }
}

fn add(transaction: &Transaction<'_>, customer: &str, pin: &Pin) -> Result<(), Fault> {
    let held = of_customer(transaction, customer)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM pins WHERE account = ?1 OR account_key = ?2)";
    let taken = params![pin.account.0, pin.account_key];
    let is_taken: bool = transaction.query_row(sql, taken, |row| row.get(0))?;
    if is_new(customer, pin, held.as_ref(), is_taken)? {
        let sql = format!("INSERT INTO pins ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
        let parties = &pin.parties;
        transaction.execute(
            &sql,
            params![
                customer,
                pin.account.0,
                pin.account_key,
                pin.genesis.0,
                parties.device,
                parties.broker,
                parties.trust_operator
            ],
        )?;
    }
    Ok(())
}

fn use_up(
    transaction: &Transaction<'_>,
    nonce: &str,
    ends: Time,
    now: Time,
) -> Result<Spending, Fault> {
    // SQLite's integers are signed; later than that nobody asks.
    let stored = |time: Time| i64::try_from(time.0).unwrap_or(i64::MAX);
    transaction.execute("DELETE FROM spent WHERE keep_to <= ?1", [stored(now)])?;
    let keep_to = ends.checked_add_seconds(MARGIN_S).unwrap_or(ends);
    let sql = "INSERT INTO spent (nonce, keep_to) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let inserted = transaction.execute(sql, params![nonce, stored(keep_to)])?;
    Ok(if inserted == 1 {
        Spending::First
    } else {
        Spending::Again
    })
}

fn of_customer(transaction: &Transaction<'_>, customer: &str) -> Result<Option<Pin>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM pins WHERE customer = ?1");
    let row = transaction.query_row(&sql, [customer], read).optional()?;
    Ok(row.map(|(_, pin)| pin))
}

fn read(row: &Row<'_>) -> rusqlite::Result<(String, Pin)> {
    let pin = Pin {
        account: Sub(row.get("account")?),
        account_key: row.get("account_key")?,
        genesis: Hash(row.get("genesis")?),
        parties: Parties {
            device: row.get("device")?,
            broker: row.get("broker")?,
            trust_operator: row.get("trust_operator")?,
        },
    };
    Ok((row.get("customer")?, pin))
}
