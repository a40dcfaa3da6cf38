//! The files of a data directory besides journal, vault and index.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64ct::{Base64, Encoding};
use warifu_consensus::log::{Checkpoint, Cosignature, Digest, Evidence, LogKeys, SignedNote};

use super::{batches::Batches, derived::Derived, directory::Audited, fault::Fault};

pub(super) fn base64(hash: &Digest) -> String {
    Base64::encode_string(hash)
}

/// The checkpoint file's checkpoint, both of whose signatures must hold; whether its root is the log's is seen
/// while the journal is read.
pub(super) fn checkpoint(log: &Path, keys: &LogKeys, audited: &mut Audited) -> Option<Checkpoint> {
    let path = log.join("checkpoint");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            let fault = Fault::new(&path, None, error.to_string());
            audited.faults.push(fault);
            return None;
        }
    };
    match both_signed(&bytes, keys) {
        Ok((checkpoint, _)) => {
            audited.signatures = audited.signatures.saturating_add(2);
            Some(checkpoint)
        }
        // A node that runs may just be writing it.
        Err(_) if audited.running => None,
        Err(found) => {
            audited
                .faults
                .push(Fault::new(&path, Some(0), found).derived());
            None
        }
    }
}

/// The checkpoint of a note that both operators signed.
pub(crate) fn both_signed(
    bytes: &[u8],
    keys: &LogKeys,
) -> Result<(Checkpoint, Cosignature), String> {
    let note = SignedNote::parse(bytes).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::open(&note, &keys.log).map_err(|error| error.to_string())?;
    let cosignature = Checkpoint::cosigned(&note, &keys.witness);
    Ok((checkpoint, cosignature.map_err(|error| error.to_string())?))
}

/// Each file of evidence must show what it was kept for; and that it is there means that the log was forked.
pub(super) fn evidence(log: &Path, keys: &LogKeys, audited: &mut Audited) {
    let dir = log.join("evidence");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            let fault = Fault::new(&dir, None, error.to_string());
            audited.faults.push(fault);
            return;
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let judged = fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| Evidence::from_text(&text).map_err(|e| e.to_string()))
            .and_then(|evidence| {
                if (&evidence.log, &evidence.witness) != (&keys.log, &keys.witness) {
                    return Err("evidence names other keys than the pinned ones".to_owned());
                }
                evidence.judge().map_err(|e| e.to_string())
            });
        let found = match judged {
            Ok(fork) => format!(
                "the log was forked at {} leaves: see `warifu ledger judge`",
                fork.size
            ),
            Err(error) => error,
        };
        audited.faults.push(Fault::new(&path, None, found));
    }
}

/// What the end of the journal says of the log's files.
pub(super) fn end(log: &Path, batches: &Batches<'_>, derived: Derived, audited: &mut Audited) {
    if batches.is_met() == Some(false) && !audited.running {
        let found = "checkpoint is not one of this log's past";
        let fault = Fault::new(&log.join("checkpoint"), Some(0), found);
        audited.faults.push(fault.derived());
    }
    if batches.is_open() {
        let note = "the log's last batch has no checkpoint: leaves were being taken over";
        audited.notes.push(note.to_owned());
    }
    let (faults, beyond) = derived.finish();
    audited.faults.extend(faults);
    if audited.running {
        return;
    }
    for (path, bytes) in beyond {
        audited.notes.push(format!(
            "{}: {bytes} bytes beyond the log's end mean nothing (a batch that a crash cut off)",
            path.display()
        ));
    }
}

/// Names the files that nothing here has read.
pub(super) fn others(data: &Path, audited: &mut Audited) {
    for path in listed(data) {
        let name = path.strip_prefix(data).unwrap_or(&path);
        let mut parts = name.iter().filter_map(|part| part.to_str());
        let (first, second) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let is_read = match first {
            "journal" | "vault" => {
                // An unheld lock is empty: a process id in it is a crash's, or a running node's.
                second.ends_with(".seg") || second == "lock" && (audited.running || is_lock(&path))
            }
            "index" => true,
            "log" => {
                ["leaves", "checkpoint", "evidence"].contains(&second)
                    || second.starts_with("hashes.")
            }
            _ => false,
        };
        if !is_read {
            audited.notes.push(format!(
                "{}: not read, it means nothing here",
                path.display()
            ));
        }
    }
}

fn is_lock(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.is_empty())
}

/// Every file below a directory, in order.
pub(super) fn listed(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found.sort();
    found
}
