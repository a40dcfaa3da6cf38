//! Pins in one JSON file, replaced as a whole: for small login services and the command line.
//!
//! ```json
//! {"warifu":"pins/1","pins":{"1001":{"account":"…","jwk":{"crv":"Ed25519","kty":"OKP","x":"…"}}}}
//! ```
//! A second file beside it, `….lock`, is locked while pins are added, so that two processes can't
//! overwrite each other's. A missing file holds no pins; a damaged one is an error, never empty.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use warifu_consensus::party::Sub;

use super::pins::{Pin, PinError, PinStore, PinTable};

const VERSION: &str = "pins/1";

/// Largest file of pins in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Pins in one JSON file, mode 0600.
#[derive(Clone, Debug)]
pub struct FilePins {
    path: PathBuf,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    warifu: String,
    pins: PinTable,
}

impl FilePins {
    /// Pins in the file at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> FilePins {
        FilePins { path: path.into() }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    }

    fn read(&self) -> Result<PinTable, PinError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(PinTable::default()),
            Err(error) => return Err(io(&self.path, error)),
        };
        let mut text = Vec::new();
        file.take(MAX_FILE + 1)
            .read_to_end(&mut text)
            .map_err(|error| io(&self.path, error))?;
        let damaged = |what: String| PinError::Damaged {
            place: self.path.display().to_string(),
            what,
        };
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE {
            return Err(damaged(format!("file is larger than {MAX_FILE} bytes")));
        }
        let content: Content =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if content.warifu != VERSION {
            return Err(damaged(format!(
                "version is {}, expected {VERSION}",
                content.warifu
            )));
        }
        Ok(content.pins)
    }

    fn write(&self, pins: PinTable) -> Result<(), PinError> {
        let content = Content {
            warifu: VERSION.to_owned(),
            pins,
        };
        let mut text =
            serde_json::to_vec_pretty(&content).map_err(|error| io(&self.path, error.into()))?;
        text.push(b'\n');
        let new = self.beside(".new");
        let write = || -> std::io::Result<()> {
            // A leftover of a crash may have any mode: it is made anew.
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = private(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            // The rename survives power loss only when the directory is synced.
            let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| io(&self.path, error))
    }
}

impl PinStore for FilePins {
    fn pin(&self, customer: &str, pin: Pin) -> Result<(), PinError> {
        let lock = self.beside(".lock");
        let guard = private(&lock).map_err(|error| io(&lock, error))?;
        guard.lock().map_err(|error| io(&lock, error))?;
        let mut table = self.read()?;
        if table.add(customer, pin)? {
            self.write(table)?;
        }
        Ok(())
    }

    fn pinned(&self, customer: &str) -> Result<Option<Pin>, PinError> {
        self.read()?.pinned(customer)
    }

    fn of_account(&self, account: Sub) -> Result<Option<Pin>, PinError> {
        self.read()?.of_account(account)
    }
}

fn io(place: &Path, source: std::io::Error) -> PinError {
    PinError::Io {
        place: place.display().to_string(),
        source,
    }
}

/// Opens a file for writing that only its owner may read.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}
