//! What a store asks of the file system beyond files: one writer, durable names, free space.
//!
//! Never removes a directory, and waits for a lock no longer than a look at it takes.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    StoreError,
    disk::{Disk, DiskFile},
};

/// The file in a journal's and a vault's directory that a writer locks; it holds the writer's pid.
const LOCK_FILE: &str = "lock";

/// How often, and how long, a writer waits for somebody who only looks at the lock.
const LOOKS: u32 = 3;
const LOOK: Duration = Duration::from_millis(10);

/// Held while one store writes to a directory; released when dropped, or by the system when the
/// process ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: DiskFile,
}

/// A lock that nobody holds names nobody. Told to the file system alone, as the lock itself is: nothing
/// rests on it.
impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if let Err(error) = self.file.file().set_len(0) {
            tracing::debug!(%error, "lock file still names its last holder");
        }
    }
}

impl DirectoryLock {
    /// Creates the directory if needed (its name made durable in its parent) and takes its lock.
    pub(crate) fn take(disk: &Disk, dir: &Path) -> Result<Self, StoreError> {
        create_durably(disk, dir)?;
        let path = dir.join(LOCK_FILE);
        let mut file = disk.open_or_create(&path)?;
        let mut looks = LOOKS;
        loop {
            match file.file().try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if looks > 0 => {
                    looks -= 1;
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Locked {
                        dir: dir.to_path_buf(),
                        holder: told_holder(&path),
                    });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(StoreError::io("lock", path)(source));
                }
            }
        }
        tell_holder(&mut file);
        Ok(Self { file })
    }
}

/// Writes down who holds the lock. On a full disk nobody learns it; the lock holds all the same.
fn tell_holder(file: &mut DiskFile) {
    let told = file
        .set_length(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    if let Err(error) = told {
        tracing::debug!(%error, "lock file does not name its holder");
    }
}

fn told_holder(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whoever writes to a store's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its process, as it wrote it down; `None` if it could not.
    pub pid: Option<u32>,
}

/// Looks whether the store in `dir` (the directory that it is opened with) is open for writing, by
/// this process or another. Takes nothing and changes nothing.
///
/// # Errors
/// [`StoreError::Io`] if the lock's file can't be read.
pub fn occupant(dir: &Path) -> Result<Option<Occupant>, StoreError> {
    let path = dir.join("journal").join(LOCK_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(Occupant {
            pid: told_holder(&path),
        })),
        Err(TryLockError::Error(source)) => Err(StoreError::io("examine", path)(source)),
    }
}

/// Makes what is missing of a directory, each name durable before the next is made. A process killed
/// in between has left one name that may not be durable, the last that is there: that one is made
/// durable here.
fn create_durably(disk: &Disk, dir: &Path) -> Result<(), StoreError> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut current = dir.to_path_buf();
    while !current.as_os_str().is_empty() && !current.exists() {
        missing.push(current.clone());
        let Some(parent) = current.parent() else {
            break;
        };
        current = parent.to_path_buf();
    }
    match disk.sync_directory(parent_of(&current)) {
        // Whoever may not look into a directory has not made a name there either.
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
        synced => synced?,
    }
    for path in missing.iter().rev() {
        match disk.create_directory(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::io("create", path)(error)),
        }
        disk.sync_directory(parent_of(path))?;
    }
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    let parent = path.parent();
    parent
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Bytes that an unprivileged writer may still use on the file system of `dir`.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(dir)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}
