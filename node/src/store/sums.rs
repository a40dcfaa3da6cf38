//! The bytes of an index that was closed in order: sums over its files, so that an auditor can say which of them
//! changed since.
//!
//! Sled's files hold more than entries, and no two writings of the same entries are alike, so nothing else could tell. The
//! sums are written when nobody writes to the files any more, and removed before they are opened again. After a crash there
//! are none, and the entries alone are compared.
//!
//! Text: for each file, by name, a line `FILE name bytes`, then one line of 64 hex digits (BLAKE3) for each 4096 bytes; at the
//! end the BLAKE3 hash of all lines before.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use super::index::generation_of;

/// Bytes of one sum.
const CHUNK: usize = 4096;

/// Where an index's bytes are not those that were closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The file.
    pub file: PathBuf,
    /// The first byte of the 4096 that differ.
    pub offset: u64,
    /// What was found.
    pub found: &'static str,
}

/// The file of a generation's sums.
pub(super) fn path_of(generation: &Path) -> PathBuf {
    generation.with_extension("sums")
}

/// Writes the sums of a generation that nobody writes to.
///
/// # Errors
/// The operating system's.
pub(super) fn write(generation: &Path) -> io::Result<()> {
    let text = sums(generation)?;
    let path = path_of(generation);
    let temporary = path.with_extension("sums.tmp");
    fs::write(&temporary, text)?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(temporary, path)
}

fn sums(generation: &Path) -> io::Result<String> {
    let mut text = String::new();
    for path in files(generation)? {
        let name = path.strip_prefix(generation).unwrap_or(&path);
        let length = path.metadata()?.len();
        text.push_str(&format!("FILE {} {length}\n", name.display()));
        let mut reader = BufReader::new(File::open(&path)?);
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            (&mut reader).take(CHUNK as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                break;
            }
            text.push_str(&blake3::hash(&chunk).to_hex());
            text.push('\n');
        }
    }
    let end = blake3::hash(text.as_bytes()).to_hex();
    Ok(format!("{text}{end}\n"))
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the index in `dir` (`DATA/index`) is byte for byte the one that was closed; `None` if it was not closed in
/// order, so that nobody knows.
///
/// # Errors
/// The operating system's.
pub fn compare(dir: &Path) -> io::Result<Option<Result<(), Changed>>> {
    let mut generation = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "sums") {
            generation = Some(path);
        }
    }
    let Some(path) = generation else {
        return Ok(None);
    };
    let changed = |file: &Path, offset, found| {
        Ok(Some(Err(Changed {
            file: file.to_path_buf(),
            offset,
            found,
        })))
    };
    let bytes = fs::read(&path)?;
    let whole = bytes
        .len()
        .checked_sub(65)
        .and_then(|at| bytes.split_at_checked(at));
    let is_whole = whole
        .is_some_and(|(text, end)| end == format!("{}\n", blake3::hash(text).to_hex()).as_bytes());
    let Some(kept) = String::from_utf8(bytes).ok().filter(|_| is_whole) else {
        return changed(&path, 0, "sums are not what was written");
    };
    let generation = generation_of(&path);
    if !generation.is_dir() {
        return changed(&generation, 0, "is missing");
    }
    let found = sums(&generation)?;
    let (mut file, mut chunk) = (generation.clone(), 0_u64);
    for (kept, found) in kept.lines().zip(found.lines()) {
        if let Some(named) = kept.strip_prefix("FILE ") {
            let name = named.rsplit_once(' ').map_or(named, |(name, _)| name);
            (file, chunk) = (generation.join(name), 0);
            if kept != found {
                return changed(
                    &file,
                    0,
                    "is missing, or has another length than when it was closed",
                );
            }
            continue;
        }
        if kept != found {
            let offset = chunk.saturating_mul(CHUNK as u64);
            return changed(
                &file,
                offset,
                "4096 bytes from here are not those that were closed",
            );
        }
        chunk = chunk.saturating_add(1);
    }
    if kept == found {
        Ok(Some(Ok(())))
    } else {
        changed(&generation, 0, "holds other files than when it was closed")
    }
}
