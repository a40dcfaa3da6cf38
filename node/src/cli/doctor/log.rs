//! The log's files, as far as a look tells: the checkpoint that is served, and evidence of a fork. An audit reads the rest.

use std::{fs, io, path::Path};

use warifu_consensus::party::Role;

use super::finding::Report;
use crate::{
    clock,
    config::Config,
    log::{audit::both_signed, kept_evidence},
    output::Exit,
};

pub(super) fn check(config: &Config, report: &mut Report) {
    if config.role() == Role::Device {
        return;
    }
    let dir = config.node.data.join("log");
    checkpoint(config, &dir, report);
    evidence(&dir, report);
}

fn checkpoint(config: &Config, dir: &Path, report: &mut Report) {
    let path = dir.join("checkpoint");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return report.note("log", "no checkpoint of both operators yet", "", "");
        }
        Err(error) => {
            let found = format!("{}: {error}", path.display());
            let advice = "run doctor as the node's user";
            return report.error("log", Exit::Io, found, "a file that can be read", advice);
        }
    };
    match both_signed(&bytes, &config.log_keys) {
        Ok((checkpoint, cosignature)) => {
            let (size, time) = (checkpoint.size, clock::local(cosignature.time));
            report.ok(
                "log",
                format!("checkpoint of {size} leaves, cosigned {time}"),
            );
        }
        Err(error) => {
            let found = format!("{}: {error}", path.display());
            let advice = "ask `warifu ledger audit` whether more is wrong; the next line between the operators writes it anew";
            report.warning("log", found, "both pinned keys' signatures", advice);
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
