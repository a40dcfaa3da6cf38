//! Keeps what is in this process's memory out of files: no core dump, and on Linux no debugger of the same user.
//!
//! Decides nothing and reads no secret. It is best effort: swap and hibernation are the host's, and root sees
//! everything.

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Why memory could not be kept out of files.
#[derive(Debug, thiserror::Error)]
#[error("core dumps could not be switched off: {0}")]
pub struct Undone(#[from] Errno);

/// Lowers this process's limit of core files to 0 bytes, for good: its children inherit that.
///
/// # Errors
/// [`Undone`] when the system refuses.
pub fn no_core_files() -> Result<(), Undone> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// Whether this process may write a core file, by its limit.
#[must_use]
pub fn may_dump() -> bool {
    getrlimit(Resource::Core).current != Some(0)
}

/// Makes this process undumpable: no core dump even where the system pipes it to a program, which heeds no
/// limit, and nobody but root may trace it or read its memory or environment in /proc (`prctl`,
/// `PR_SET_DUMPABLE`; Linux only).
///
/// # Errors
/// [`Undone`] when the system refuses.
#[cfg(target_os = "linux")]
pub fn make_undumpable() -> Result<(), Undone> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Nothing to do where the system has no such switch: the limit stands.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn make_undumpable() -> Result<(), Undone> {
    Ok(())
}
