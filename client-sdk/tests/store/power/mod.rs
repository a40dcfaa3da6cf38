//! The store under a file system that loses power, fills up, or fails.
//!
//! The [`Recorder`](recorder::Recorder) sees every change that the store makes. [`platter`] keeps what of it a
//! disk is bound to have, and [`images`] makes every directory that a power loss could leave: each is
//! opened with the real code, and all of it compared with what was acknowledged.

mod faults;
mod images;
mod journal;
mod platter;
mod recorder;
mod vault;

/// A directory in memory where there is one: these tests open thousands of stores.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}
