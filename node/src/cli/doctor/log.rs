//! The log's files, as far as a look tells: what both operators signed, which the journal must hold, and evidence of a fork. An
//! audit reads the rest.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use warifu_consensus::{
    log::{Checkpoint, Cosignature, EMPTY_ROOT},
    party::Role,
};

use super::{finding::Report, journal::Journal};
use crate::{
    clock,
    config::Config,
    log::{AHEAD_FILE, audit::open_cosigned, kept_evidence},
    output::Exit,
};

/// What a file beside the leaves holds: a checkpoint that both signed, or why it is none.
type Signed = (PathBuf, Result<(Checkpoint, Cosignature), String>);

/// What lies beside the leaves; read before the journal, which only grows meanwhile.
pub(super) struct Checkpoints(io::Result<Vec<Signed>>);

impl Checkpoints {
    pub(super) fn read(config: &Config) -> Self {
        let dir = config.node.data.join("log");
        let read = |name| {
            let path = dir.join(name);
            match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => {
                    let text = format!("{}: {error}", path.display());
                    Err(io::Error::new(error.kind(), text))
                }
                Ok(bytes) => Ok(Some((path, open_cosigned(&bytes, &config.log_keys)))),
            }
        };
        let found = ["checkpoint", AHEAD_FILE].map(read).into_iter();
        Self(found.filter_map(Result::transpose).collect())
    }

    /// The sizes whose roots the journal is asked for.
    pub(super) fn sizes(&self) -> impl Iterator<Item = u64> {
        let found = self.0.iter().flatten();
        found.filter_map(|(_, signed)| signed.as_ref().ok().map(|(checkpoint, _)| checkpoint.size))
    }
}

pub(super) fn check(
    config: &Config,
    checkpoints: &Checkpoints,
    journal: Option<&Journal>,
    report: &mut Report,
) {
    if config.role() == Role::Device {
        return;
    }
    match &checkpoints.0 {
        Ok(found) if found.is_empty() => {
            report.note("log", "no checkpoint of both operators yet", "", "");
        }
        Ok(found) => {
            for signed in found {
                checkpoint(signed, journal, report);
            }
        }
        Err(error) => {
            let advice = "run doctor as the node's user";
            report.error(
                "log",
                Exit::Io,
                error.to_string(),
                "a file that can be read",
                advice,
            );
        }
    }
    evidence(&config.node.data.join("log"), report);
}

fn checkpoint((path, signed): &Signed, journal: Option<&Journal>, report: &mut Report) {
    let (checkpoint, cosignature) = match signed {
        Ok(signed) => signed,
        Err(error) => {
            let found = format!("{}: {error}", path.display());
            let advice = "ask `warifu ledger audit` whether more is wrong; the next line between the operators writes it anew";
            return report.warning("log", found, "both pinned keys' signatures", advice);
        }
    };
    let (size, time) = (checkpoint.size, clock::local(cosignature.time));
    let about = format!("checkpoint of {size} leaves, cosigned {time}");
    let Some(journal) = journal else {
        let found = format!("{about}: not compared with the journal, which is damaged");
        return report.note("log", found, "", "");
    };
    let wrong = |found: &str| format!("{}: {about}, {found}", path.display());
    match journal.log_roots.get(&size) {
        _ if size > journal.log_size => {
            let found = format!("but the journal's log has {}", journal.log_size);
            let advice = "keep this file, it may be the only trace of a rollback: put the newer journal back, or start the node, which takes the rest over from the other operator";
            let expected = "a journal that holds what both signed";
            report.error("log", Exit::Io, wrong(&found), expected, advice);
        }
        Some(Some(root)) if *root == checkpoint.root => report.ok("log", about),
        Some(Some(_)) => {
            let advice = "keep this file, it is evidence; show it to the other operator and to your auditors";
            let found = wrong("whose root is not the journal's: the log was forked");
            report.error("log", Exit::Io, found, "one log", advice);
        }
        _ if (size, checkpoint.root) == (0, EMPTY_ROOT) => report.ok("log", about),
        _ => {
            let advice = "ask `warifu ledger audit`, which computes the root of every size";
            let found = wrong("but no batch of the journal ends there");
            report.warning("log", found, "a batch's checkpoint", advice);
        }
    }
}

fn evidence(dir: &Path, report: &mut Report) {
    let dir = dir.join("evidence");
    let files = match kept_evidence(&dir) {
        Ok(files) => files,
        Err(error) => {
            let found = format!("{}: {error}", dir.display());
            let advice = "run doctor as the node's user";
            return report.error(
                "log",
                Exit::Io,
                found,
                "a directory that can be read",
                advice,
            );
        }
    };
    if files > 0 {
        let found = format!(
            "the log was forked: evidence in {}, {files} kept",
            dir.display()
        );
        let advice = "`warifu ledger judge FILE` explains it; show it to the other operator and to your auditors";
        report.error("log", Exit::Io, found, "one log", advice);
    }
}
