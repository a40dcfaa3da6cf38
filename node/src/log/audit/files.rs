//! The files of a data directory besides journal, vault and index.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64ct::{Base64, Encoding};
use warifu_consensus::log::{Checkpoint, Cosignature, Digest, Evidence, LogKeys, SignedNote};

use super::{
    batches::{Batches, Wanted},
    derived::Derived,
    directory::Audited,
    fault::Fault,
};
use crate::log::AHEAD_FILE;

pub(super) fn base64(hash: &Digest) -> String {
    Base64::encode_string(hash)
}

/// Notes that both operators signed, which must be of this log's past: the last one, and one that a start found ahead of the
/// journal and set aside.
const CHECKPOINTS: [&str; 2] = ["checkpoint", AHEAD_FILE];

/// The checkpoints that lie beside the leaves, both of whose signatures must hold; whether their roots are the log's is seen
/// while the journal is read.
pub(super) fn checkpoints(log: &Path, keys: &LogKeys, audited: &mut Audited) -> Vec<Wanted> {
    let mut found = Vec::new();
    for name in CHECKPOINTS {
        let path = log.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let fault = Fault::new(&path, None, error.to_string());
                audited.faults.push(fault);
                continue;
            }
        };
        match open_cosigned(&bytes, keys) {
            Ok((checkpoint, _)) => {
                audited.signatures = audited.signatures.saturating_add(2);
                found.push(Wanted::new(path, checkpoint));
            }
            // A node that runs may just be writing it.
            Err(_) if audited.running => {}
            Err(found) => {
                let fault = Fault::new(&path, Some(0), found);
                audited.faults.push(fault.derived());
            }
        }
    }
    found
}

/// The checkpoint of a note that both operators signed.
pub(crate) fn open_cosigned(
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
pub(super) fn end(batches: &Batches<'_>, derived: Derived, audited: &mut Audited) {
    for wanted in batches.wanted() {
        met(wanted, batches.frontier().size(), audited);
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

/// Both signed it: where the journal does not have it, the file may be the only trace of a rollback or a fork, and is not derived.
fn met(wanted: &Wanted, size: u64, audited: &mut Audited) {
    let signed = wanted.checkpoint.size;
    if wanted.is_met {
        return;
    }
    if size >= signed {
        let found = format!(
            "both operators signed this checkpoint of {signed} leaves, but the journal's have another root: the log was forked; keep this file, it is the evidence"
        );
        audited
            .faults
            .push(Fault::new(&wanted.path, Some(0), found));
    } else if audited.running {
        audited.notes.push(format!(
            "{}: of {signed} leaves, {size} were read: not compared, the node runs",
            wanted.path.display()
        ));
    } else {
        let found = format!(
            "both operators signed this checkpoint of {signed} leaves, but the journal's log has {size}: the journal is behind it (rolled back, or a restored copy that has not caught up?); keep this file, it may be the only trace"
        );
        audited
            .faults
            .push(Fault::new(&wanted.path, Some(0), found));
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
                ["leaves", "evidence"].contains(&second)
                    || CHECKPOINTS.contains(&second)
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
