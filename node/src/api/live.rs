//! What is read from files and follows them while the node runs: the certificate with its key, and
//! the callers' tokens.
//!
//! The files are looked at every two seconds and at SIGHUP. What can't be read, or is not what it
//! should be, changes nothing: the last good value stays, an error says so once, and the files are
//! read again at every look until they are good.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Between two looks at the files.
const POLL: Duration = Duration::from_secs(2);

/// What differs when a file, its owner or its permissions changed.
#[derive(Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    mode: u32,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// One for each file; nothing for a missing one.
type Stamps = Vec<Option<Stamp>>;

/// A value that may be replaced at any time; readers keep the one that they took.
#[derive(Debug)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// A value that nothing replaces yet.
    #[must_use]
    pub fn new(value: T) -> Live<T> {
        Live(RwLock::new(Arc::new(value)))
    }

    /// The value as it is now.
    #[must_use]
    pub fn now(&self) -> Arc<T> {
        // A value is replaced in one step: it is whole whatever happened.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// Files, and how a value is made from them.
pub struct Follow<F> {
    /// For the log: `certificate`, `tokens`.
    what: &'static str,
    files: Vec<PathBuf>,
    load: F,
    /// The files that gave the value; none after files that gave none.
    seen: Option<Stamps>,
    /// The error that was told last, while it stands.
    told: Option<String>,
}

impl<F> Follow<F> {
    /// Reads the value for the first time.
    ///
    /// # Errors
    /// What `load` says.
    pub fn open<T, E>(
        what: &'static str,
        files: Vec<PathBuf>,
        load: F,
    ) -> Result<(Live<T>, Follow<F>), E>
    where
        F: Fn() -> Result<T, E>,
    {
        // Before the reading: a change during it is noticed later.
        let seen = stamps(&files);
        let value = Live::new(load()?);
        let follow = Follow {
            what,
            files,
            load,
            seen: Some(seen),
            told: None,
        };
        Ok((value, follow))
    }

    /// Replaces `live` whenever the files changed, or at SIGHUP. Never ends by itself.
    pub async fn run<T, E>(self, live: Arc<Live<T>>)
    where
        F: Fn() -> Result<T, E> + Send + 'static,
        T: Send + Sync + 'static,
        E: Display + 'static,
    {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!(%error, what = self.what, "SIGHUP can't be heard");
                None
            }
        };
        let mut this = self;
        loop {
            let is_asked = tokio::select! {
                () = tokio::time::sleep(POLL) => false,
                () = heard(&mut hangup) => true,
            };
            let live = Arc::clone(&live);
            // Files are slow at times; the tasks of requests must not wait for them.
            let looked = tokio::task::spawn_blocking(move || {
                this.look(&live, is_asked);
                this
            });
            match looked.await {
                Ok(looked) => this = looked,
                Err(error) => {
                    tracing::error!(%error, "files are not followed any more");
                    return;
                }
            }
        }
    }

    fn look<T, E>(&mut self, live: &Live<T>, is_asked: bool)
    where
        F: Fn() -> Result<T, E>,
        E: Display,
    {
        let found = Some(stamps(&self.files));
        if found == self.seen && !is_asked {
            return;
        }
        match (self.load)() {
            Ok(value) => {
                self.seen = found;
                self.told = None;
                live.set(value);
                tracing::info!(what = self.what, "read again");
            }
            Err(error) => {
                // What was wrong may be mended without a trace in the files themselves.
                self.seen = None;
                let error = error.to_string();
                if is_asked || self.told.as_ref() != Some(&error) {
                    tracing::error!(
                        what = self.what,
                        error,
                        "not taken, the last good one stays"
                    );
                }
                self.told = Some(error);
            }
        }
    }
}

async fn heard(hangup: &mut Option<tokio::signal::unix::Signal>) {
    if let Some(signal) = hangup
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

fn stamps(files: &[PathBuf]) -> Stamps {
    let stamp = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some(Stamp {
            inode: found.ino(),
            mode: found.mode(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_once_and_a_bad_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let (path, loads) = (file.clone(), std::cell::Cell::new(0));
        let load = || {
            loads.set(loads.get() + 1);
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            text.parse::<u32>().map_err(|error| error.to_string())
        };
        let (live, mut follow) = Follow::open("number", vec![file.clone()], load).unwrap();
        assert_eq!(*live.now(), 1);
        follow.look(&live, false);
        assert_eq!(loads.get(), 1, "nothing changed");
        std::fs::write(&file, "22").unwrap();
        follow.look(&live, false);
        follow.look(&live, false);
        assert_eq!((*live.now(), loads.get()), (22, 2));
        std::fs::write(&file, "no number").unwrap();
        follow.look(&live, false);
        assert_eq!((*live.now(), loads.get()), (22, 3));
        assert!(follow.told.is_some());
        std::fs::remove_file(&file).unwrap();
        follow.look(&live, false);
        follow.look(&live, false);
        assert_eq!(
            (*live.now(), loads.get()),
            (22, 5),
            "a bad one is tried again"
        );
        let new = dir.path().join("new");
        std::fs::write(&new, "333").unwrap();
        std::fs::rename(&new, &file).unwrap();
        follow.look(&live, false);
        assert_eq!((*live.now(), &follow.told), (333, &None));
        follow.look(&live, true);
        assert_eq!(loads.get(), 7, "asked for by a signal");
    }

    #[test]
    fn what_is_mended_without_a_new_file_is_taken() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        let set = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::write(&file, "1").unwrap();
        set(0o600);
        let (path, is_well) = (file.clone(), std::cell::Cell::new(true));
        let load = || {
            let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
            let text = std::fs::read_to_string(&path).unwrap();
            match (mode, is_well.get()) {
                (0o600, true) => text.parse::<u32>().map_err(|error| error.to_string()),
                found => Err(format!("found {found:?}")),
            }
        };
        let (live, mut follow) = Follow::open("number", vec![file.clone()], load).unwrap();
        std::fs::write(&file, "2").unwrap();
        set(0o644);
        follow.look(&live, false);
        assert_eq!(*live.now(), 1);
        set(0o600);
        follow.look(&live, false);
        assert_eq!(*live.now(), 2);
        // What is wrong elsewhere leaves no stamp on the file.
        std::fs::write(&file, "33").unwrap();
        is_well.set(false);
        follow.look(&live, false);
        is_well.set(true);
        follow.look(&live, false);
        assert_eq!(*live.now(), 33);
        // A file that is taken and then opened to others is looked at again.
        set(0o644);
        follow.look(&live, false);
        assert!(follow.told.is_some());
    }
}
