//! What is read from files and follows them while the node runs: the certificate with its key, and
//! the callers' tokens.
//!
//! The files are looked at every two seconds and at SIGHUP. What can't be read, or is not what it
//! should be, changes nothing: the last good value stays, and an error says so.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Between two looks at the files.
const POLL: Duration = Duration::from_secs(2);

/// Inode, time of change in nanoseconds, and length of each file; nothing for a missing one.
type Stamps = Vec<Option<(u64, i64, i64, u64)>>;

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
    seen: Stamps,
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
            seen,
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
        let found = stamps(&self.files);
        if found == self.seen && !is_asked {
            return;
        }
        self.seen = found;
        match (self.load)() {
            Ok(value) => {
                live.set(value);
                tracing::info!(what = self.what, "read again");
            }
            Err(error) => {
                tracing::error!(what = self.what, %error, "not taken, the last good one stays");
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
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
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
        std::fs::remove_file(&file).unwrap();
        follow.look(&live, false);
        follow.look(&live, false);
        assert_eq!((*live.now(), loads.get()), (22, 4));
        let new = dir.path().join("new");
        std::fs::write(&new, "333").unwrap();
        std::fs::rename(&new, &file).unwrap();
        follow.look(&live, false);
        assert_eq!(*live.now(), 333);
        follow.look(&live, true);
        assert_eq!(loads.get(), 6, "asked for by a signal");
    }
}
