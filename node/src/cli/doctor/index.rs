//! The index, opened as a copy: sled writes to what it opens.

use std::{fs, io, path::Path};

use tempfile::TempDir;
use warifu_client_sdk::store::{Index, JournalOptions, StoreError};
use warifu_consensus::party::Role;

use super::{Patient, finding::Report};
use crate::{output::Exit, progress, store::SledIndex};

/// A copy of the node's index; the directory goes with it.
pub(super) struct Copied {
    pub(super) index: SledIndex,
    _dir: TempDir,
}

/// Copies and opens the index of a node that doesn't run; says why where it is not looked at.
pub(super) fn open_copy(patient: &Patient<'_>, report: &mut Report) -> Option<Copied> {
    let dir = patient.config.node.data.join("index");
    if patient.config.role() == Role::Device {
        // Its index is in memory.
        return None;
    }
    if patient.is_running() {
        let found = "not looked at while the node runs: it changes under the look";
        report.note("index", found, "", "stop the node first, if this matters");
        return None;
    }
    if !dir.is_dir() {
        if patient.config.node.data.join("journal").is_dir() {
            let found = "there is none";
            report.note(
                "index",
                found,
                "",
                "nothing: the next start rebuilds it from the journal",
            );
        }
        return None;
    }
    let copied = match copy_and_open(patient, &dir) {
        Ok(copied) => copied,
        Err(error) => {
            let found = format!("not looked at: {error}");
            let advice = "name a directory with room by TMPDIR";
            report.warning("index", found, "an index that can be copied", advice);
            return None;
        }
    };
    match copied.index.covered() {
        Ok(Some(_)) => Some(copied),
        Ok(None) => {
            let found = "it is empty, or not what was written last";
            let advice = "nothing: the next start rebuilds it from the journal";
            report.note("index", found, "", advice);
            None
        }
        Err(error) => {
            let advice = "delete data/index while the node is stopped";
            report.error(
                "index",
                Exit::Io,
                error.to_string(),
                "an index that opens",
                advice,
            );
            None
        }
    }
}

fn copy_and_open(patient: &Patient<'_>, dir: &Path) -> io::Result<Copied> {
    let total = size(dir)?;
    let place = tempfile::Builder::new()
        .prefix("warifu-doctor-")
        .tempdir()?;
    let options = JournalOptions::new(String::new(), patient.config.role().number());
    let free = (options.free_space)(place.path())?;
    if free < total {
        let text = format!(
            "{} bytes of index, {free} free in {}",
            total,
            place.path().display()
        );
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    let bar = progress::bytes("copying the index", patient.output.is_json());
    let mut done = 0;
    copy(dir, &place.path().join("index"), &mut |bytes: u64| {
        done += bytes;
        progress::show(&bar, done, total);
    })?;
    bar.finish_and_clear();
    let index = SledIndex::open(&place.path().join("index")).map_err(io_error)?;
    Ok(Copied { index, _dir: place })
}

fn io_error(error: StoreError) -> io::Error {
    io::Error::other(error.to_string())
}

fn size(dir: &Path) -> io::Result<u64> {
    let mut total = 0u64;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let bytes = if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
        total = total.saturating_add(bytes);
    }
    Ok(total)
}

fn copy(from: &Path, to: &Path, copied: &mut dyn FnMut(u64)) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.metadata()?.is_dir() {
            copy(&entry.path(), &target, copied)?;
        } else {
            copied(fs::copy(entry.path(), target)?);
        }
    }
    Ok(())
}
