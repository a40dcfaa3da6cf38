//! The vault's master key and its file: 32 raw bytes, readable by its owner only.
//!
//! Never keeps the key beside the vault: the path is the caller's, and a copy of the vault's
//! directory alone opens nothing.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use zeroize::Zeroizing;

use crate::store::{Disk, StoreError};

/// A vault's master key: 32 random bytes, wiped on drop.
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// Takes a key that is kept elsewhere (a key service, a platform's keystore).
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Makes a random key and stores it in a new file, mode 0600, durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if the file exists: a key is never replaced.
    /// [`StoreError::Sealing`] without randomness.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).map_err(|_| StoreError::Sealing)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(StoreError::io("create", path))?;
        file.write_all(key.as_ref())
            .map_err(StoreError::io("write", path))?;
        file.sync_all().map_err(StoreError::io("sync", path))?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        Disk::default().sync_directory(parent.unwrap_or(Path::new(".")))?;
        Ok(Self(key))
    }

    /// Reads a key's file.
    ///
    /// # Errors
    /// [`StoreError::MasterKeyFile`] if its group or others may do anything with it (unix only),
    /// or it has not exactly 32 bytes; [`StoreError::Io`].
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let refuse = |reason| StoreError::MasterKeyFile {
            path: path.to_path_buf(),
            reason,
        };
        let mut file = File::open(path).map_err(StoreError::io("open", path))?;
        let metadata = file.metadata().map_err(StoreError::io("examine", path))?;
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o077 != 0 {
            return Err(refuse(
                "is open to its group or to others, expected mode 0600",
            ));
        }
        if !metadata.is_file() || metadata.len() != 32 {
            return Err(refuse("is not a file of exactly 32 bytes"));
        }
        let mut key = Zeroizing::new([0; 32]);
        file.read_exact(key.as_mut())
            .map_err(StoreError::io("read", path))?;
        Ok(Self(key))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(<redacted>)")
    }
}
