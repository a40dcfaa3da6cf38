//! Which directories the process of devices may open: the bench's own, and no other.
//!
//! Its customers approve by themselves, so a device that belongs to somebody must never be opened
//! there. The bench writes a random marker beside the devices that it makes, and tells it on its
//! pipe before anything else; a directory without the same marker is refused, and so is whatever a
//! link leads out of it.

use std::{
    io,
    path::{Path, PathBuf},
};

use warifu_consensus::encoding::text_b64;

use crate::{
    config::NodeConfig,
    output::{Exit, Failure},
    secrets,
};

const FILE: &str = "bench.marker";

/// Longest marker in bytes.
const MAX: u64 = 64;

fn refused(text: String) -> Failure {
    Failure::new(Exit::Refused, text)
}

/// Writes a new marker into the directory of a bench's devices; its text is 43 characters of
/// base64url.
///
/// # Errors
/// When the system gives no randomness, or the file can't be written or exists.
pub(super) fn make(dir: &Path) -> Result<String, Failure> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Exit::Io, format!("no randomness: {error}")))?;
    let marker = text_b64(&random);
    secrets::create_new(&dir.join(FILE), marker.as_bytes())
        .map_err(|error| Failure::from_error(Exit::Io, &error))?;
    Ok(marker)
}

/// Refuses a directory that is not the one of the bench that told this marker.
///
/// # Errors
/// [`Exit::Refused`].
pub(super) fn check(dir: &Path, told: &str) -> Result<(), Failure> {
    check_no_link(dir)?;
    let path = dir.join(FILE);
    check_no_link(&path)?;
    let found = secrets::read_private(&path, MAX).map_err(|error| refused(error.to_string()))?;
    if !told.is_empty() && found.as_slice() == told.as_bytes() {
        return Ok(());
    }
    Err(refused(format!(
        "{} holds another marker than the bench told: it is not its directory",
        path.display()
    )))
}

/// Refuses a name that is a symbolic link, or is not there.
///
/// # Errors
/// [`Exit::Refused`].
pub(super) fn check_no_link(path: &Path) -> Result<(), Failure> {
    let text = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => "is a symbolic link".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    Err(refused(format!(
        "{}: {text}, expected what the bench made",
        path.display()
    )))
}

/// Refuses a device that keeps its data or its master key outside of the bench's directory.
///
/// # Errors
/// [`Exit::Refused`].
pub(super) fn check_inside(dir: &Path, node: &NodeConfig) -> Result<(), Failure> {
    let real = |path: &Path| {
        real_path(path).map_err(|error| refused(format!("{}: {error}", path.display())))
    };
    let dir = real(dir)?;
    for path in [&node.data, &node.master_key] {
        if !real(path)?.starts_with(&dir) {
            let (path, dir) = (path.display(), dir.display());
            return Err(refused(format!("{path} is not in {dir}, the bench's own")));
        }
    }
    Ok(())
}

/// Where a path leads to; its last name need not be there yet.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        // A link to nowhere would be followed when the name is made.
        (Err(error), Some(parent), Some(name))
            if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() =>
        {
            Ok(parent.canonicalize()?.join(name))
        }
        (found, ..) => found,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_the_directory_with_the_same_marker_is_taken_and_no_link_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (dir.path().join("own"), dir.path().join("other"));
        for dir in [&own, &other] {
            std::fs::create_dir(dir).unwrap();
        }
        let missing = check(&own, "").unwrap_err();
        assert_eq!(missing.exit, Exit::Refused);
        let (marker, others) = (make(&own).unwrap(), make(&other).unwrap());
        assert_eq!(marker.len(), 43);
        check(&own, &marker).unwrap();
        for told in ["", &others, &marker[1..]] {
            assert_eq!(check(&own, told).unwrap_err().exit, Exit::Refused);
        }
        assert!(make(&own).is_err(), "a marker is made once");
        let link = dir.path().join("link");
        symlink(&own, &link).unwrap();
        let failure = check(&link, &marker).unwrap_err();
        assert!(failure.message.contains("symbolic link"), "{failure}");
        std::fs::remove_file(other.join(FILE)).unwrap();
        symlink(own.join(FILE), other.join(FILE)).unwrap();
        assert!(check(&other, &marker).is_err());
    }

    #[test]
    fn what_a_link_leads_out_of_the_directory_is_not_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (own, away) = (root.join("own"), root.join("away"));
        for dir in [&own, &away] {
            std::fs::create_dir(dir).unwrap();
        }
        assert_eq!(real_path(&own.join("new")).unwrap(), own.join("new"));
        symlink(&away, own.join("link")).unwrap();
        assert_eq!(real_path(&own.join("link")).unwrap(), away);
        assert_eq!(real_path(&own.join("link/new")).unwrap(), away.join("new"));
        symlink(away.join("new"), own.join("dangling")).unwrap();
        assert!(real_path(&own.join("dangling")).is_err());
    }
}
