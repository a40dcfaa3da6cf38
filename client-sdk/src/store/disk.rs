//! Every change that journal and vault make to the file system, in one place.
//!
//! Decides nothing: it does what it is told and says what went wrong. That it is the only way to
//! change a file lets a test watch each change, make it fail, and work out what a power loss after
//! it could leave. A store in use has no watch, and pays one comparison for that.
//!
//! Reading does not go through here: what is read is checked by its hashes, wherever it comes from.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::StoreError;

/// One change to the file system, told before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskChange<'a> {
    /// A directory is made.
    CreateDirectory {
        /// The directory.
        path: &'a Path,
    },
    /// A file is made; one that was there is emptied.
    Create {
        /// The file.
        path: &'a Path,
    },
    /// Bytes are written.
    Write {
        /// The file.
        path: &'a Path,
        /// Where in the file, in bytes.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// A file is cut, or made longer by zeros.
    SetLength {
        /// The file.
        path: &'a Path,
        /// Its length in bytes afterwards.
        length: u64,
    },
    /// A file's content is made durable (`fdatasync`, `fsync`).
    Sync {
        /// The file.
        path: &'a Path,
    },
    /// The names in a directory are made durable (`fsync` of the directory).
    SyncDirectory {
        /// The directory.
        path: &'a Path,
    },
    /// A file gets another name, in place of whatever had it.
    Rename {
        /// The name before.
        from: &'a Path,
        /// The name after.
        to: &'a Path,
    },
    /// A file's name is removed.
    Remove {
        /// The name.
        path: &'a Path,
    },
}

/// How a change fails.
#[derive(Debug)]
pub struct DiskFault {
    /// Of a write, how many bytes are written before it fails; of anything else 0 for not done, more
    /// for done all the same.
    pub done: usize,
    /// What the store is told.
    pub error: io::Error,
}

/// Sees each change before it is made, on the thread that makes it, and may let it fail.
pub trait DiskWatch: Send + Sync + 'static {
    /// `None` lets the change be made.
    fn before(&self, change: &DiskChange<'_>) -> Option<DiskFault>;
}

/// The file system, watched or not.
#[derive(Clone, Default)]
pub struct Disk {
    watch: Option<Arc<dyn DiskWatch>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("watched", &self.watch.is_some())
            .finish()
    }
}

impl Disk {
    /// A file system whose changes `watch` sees.
    #[must_use]
    pub fn watched(watch: Arc<dyn DiskWatch>) -> Self {
        Self { watch: Some(watch) }
    }

    fn fault(&self, change: DiskChange<'_>) -> Option<DiskFault> {
        self.watch.as_ref().and_then(|watch| watch.before(&change))
    }

    /// Makes a change that is done or not.
    fn make<T>(
        &self,
        change: DiskChange<'_>,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.fault(change) {
            None => act(),
            Some(fault) => {
                if fault.done > 0 {
                    act()?;
                }
                Err(fault.error)
            }
        }
    }

    /// With mode 0700: account names stand in a store's records.
    pub(crate) fn create_directory(&self, path: &Path) -> io::Result<()> {
        let change = DiskChange::CreateDirectory { path };
        self.make(change, || fs::DirBuilder::new().mode(0o700).create(path))
    }

    pub(crate) fn sync_directory(&self, path: &Path) -> Result<(), StoreError> {
        let change = DiskChange::SyncDirectory { path };
        self.make(change, || File::open(path)?.sync_all())
            .map_err(StoreError::io("sync", path))
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let change = DiskChange::Remove { path };
        self.make(change, || fs::remove_file(path))
            .map_err(StoreError::io("remove", path))
    }

    /// An empty file under this name.
    pub(crate) fn create(&self, path: &Path) -> Result<DiskFile, StoreError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let change = DiskChange::Create { path };
        let file = self
            .make(change, || options.open(path))
            .map_err(StoreError::io("create", path))?;
        Ok(DiskFile::new(self, file, path, 0))
    }

    /// A file that is there, or made if it is not, with its content. Writing begins at its start.
    pub(crate) fn open_or_create(&self, path: &Path) -> Result<DiskFile, StoreError> {
        if path.exists() {
            return self.open(path, 0);
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let change = DiskChange::Create { path };
        let file = self
            .make(change, || options.open(path))
            .map_err(StoreError::io("create", path))?;
        Ok(DiskFile::new(self, file, path, 0))
    }

    /// A file that is there; writing begins at `offset`.
    pub(crate) fn open(&self, path: &Path, offset: u64) -> Result<DiskFile, StoreError> {
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(StoreError::io("open", path))?;
        file.seek(SeekFrom::Start(offset))
            .map_err(StoreError::io("seek", path))?;
        Ok(DiskFile::new(self, file, path, offset))
    }
}

/// A file open for writing.
#[derive(Debug)]
pub(crate) struct DiskFile {
    disk: Disk,
    file: File,
    path: PathBuf,
    /// Where the next write begins.
    offset: u64,
}

impl DiskFile {
    fn new(disk: &Disk, file: File, path: &Path, offset: u64) -> Self {
        Self {
            disk: disk.clone(),
            file,
            path: path.to_path_buf(),
            offset,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For locking it.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let fault = self.disk.fault(DiskChange::Write {
            path: &self.path,
            offset: self.offset,
            bytes,
        });
        let written = match fault {
            None => self.file.write_all(bytes),
            Some(fault) => {
                let part = bytes.get(..fault.done).unwrap_or(bytes);
                self.file.write_all(part).and(Err(fault.error))
            }
        };
        written.map_err(StoreError::io("write", &self.path))?;
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(())
    }

    pub(crate) fn set_length(&self, length: u64) -> Result<(), StoreError> {
        let path = &self.path;
        let change = DiskChange::SetLength { path, length };
        self.disk
            .make(change, || self.file.set_len(length))
            .map_err(StoreError::io("truncate", path))
    }

    /// Content durable, and of its metadata what reading it back needs.
    pub(crate) fn sync_data(&self) -> Result<(), StoreError> {
        let path = &self.path;
        self.disk
            .make(DiskChange::Sync { path }, || self.file.sync_data())
            .map_err(StoreError::io("sync", path))
    }

    /// Content and metadata durable.
    pub(crate) fn sync_all(&self) -> Result<(), StoreError> {
        let path = &self.path;
        self.disk
            .make(DiskChange::Sync { path }, || self.file.sync_all())
            .map_err(StoreError::io("sync", path))
    }

    /// Gives the file another name.
    pub(crate) fn rename(&mut self, to: &Path) -> Result<(), StoreError> {
        let from = &self.path;
        let change = DiskChange::Rename { from, to };
        self.disk
            .make(change, || fs::rename(from, to))
            .map_err(StoreError::io("rename", from))?;
        self.path = to.to_path_buf();
        Ok(())
    }
}
