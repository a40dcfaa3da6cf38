//! What an audit found wrong, and where.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use warifu_client_sdk::store::StoreError;
use warifu_consensus::party::Sub;

/// Something that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file, or the directory where a file is missing.
    pub file: PathBuf,
    /// The byte in it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What was found and expected.
    pub found: String,
    /// The file is derived, and nothing but its content is lost with it: it may be deleted while the node is stopped, and is made anew.
    pub derived: bool,
}

impl Fault {
    pub(crate) fn new(file: &Path, offset: Option<u64>, found: impl Into<String>) -> Self {
        Self {
            file: file.to_path_buf(),
            offset,
            found: found.into(),
            derived: false,
        }
    }

    pub(super) fn derived(self) -> Self {
        Self {
            derived: true,
            ..self
        }
    }

    /// A store's error, with the file and offset that it names.
    pub(super) fn store(error: &StoreError, dir: &Path) -> Self {
        match error {
            StoreError::Corrupt {
                file,
                offset,
                reason,
                ..
            } => Self::new(file, Some(*offset), *reason),
            StoreError::Io { path, .. } => Self::new(path, None, error.to_string()),
            _ => Self::new(dir, None, error.to_string()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset}")?;
        }
        write!(f, ": {}", self.found)?;
        if self.derived {
            f.write_str(
                "; it is derived: delete it while the node is stopped, and the next start makes it anew",
            )?;
        }
        Ok(())
    }
}

/// Where a record of a journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl At {
    /// A fault of this record, in the journal kept in `dir`.
    pub(super) fn fault(self, dir: &Path, found: impl Into<String>) -> Fault {
        let file = dir.join(format!("{:08}.seg", self.segment));
        Fault::new(&file, Some(self.offset), found)
    }
}

/// A block, as faults name it.
pub(super) fn named(sub: &Sub, height: u64) -> String {
    format!("account {sub}, block at height {height}")
}
