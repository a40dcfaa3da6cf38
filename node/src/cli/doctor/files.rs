//! The node's files: who owns them, who may read them, whether the keys are the right ones.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::finding::Report;
use crate::{
    config::{BrokerConfig, Config, FILE_NAME},
    output::Exit,
    secrets::{self, SecretError, Tokens},
};

/// The first caller's token, as `init` writes it.
const TOKEN_FILE: &str = "login-service.token";

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

pub(super) fn directory(config: &Config, report: &mut Report) {
    for (name, path) in [("directory", &config.dir), ("data", &config.node.data)] {
        match path.metadata() {
            Ok(metadata) => one_directory(config, name, path, &metadata, report),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && name == "data" => {
                let found = format!("{} is not there yet", path.display());
                report.note(name, found, "", "nothing: the first `warifu run` makes it");
            }
            Err(error) => {
                let found = format!("{}: {error}", path.display());
                let advice = "run doctor as the node's user";
                report.error(
                    name,
                    Exit::Io,
                    found,
                    "a directory that can be read",
                    advice,
                );
            }
        }
    }
}

fn one_directory(
    config: &Config,
    name: &'static str,
    path: &Path,
    metadata: &Metadata,
    report: &mut Report,
) {
    let shown = path.display();
    if !metadata.is_dir() {
        let found = format!("{shown} is no directory");
        report.error(
            name,
            Exit::Configuration,
            found,
            "a directory",
            "mend node.data",
        );
        return;
    }
    if metadata.uid() != own_user() {
        let found = format!(
            "{shown} belongs to user {}, doctor runs as user {}",
            metadata.uid(),
            own_user()
        );
        let advice = "run doctor, and the node, as the user that owns the directory";
        report.warning(name, found, "one user for both", advice);
        return;
    }
    let mode = metadata.mode() & 0o7777;
    // Also inside of a closed directory: the data may be copied or moved to an open one.
    if mode & 0o077 != 0 {
        let found = format!("{shown} has mode {mode:04o}");
        let advice = format!("chmod 700 {shown}, and ask who could read it");
        report.warning(
            name,
            found,
            "mode 0700: keys and account names lie in it",
            &advice,
        );
        return;
    }
    if path == config.node.data
        && let Some((inside, mode)) = open_inside(path)
    {
        let found = format!("{} has mode {mode:04o}", inside.display());
        let advice = format!("chmod -R go= {shown}, and ask who could read it");
        report.warning(
            name,
            found,
            "directories of mode 0700, files of mode 0600",
            &advice,
        );
        return;
    }
    report.ok(
        name,
        format!("{shown}, mode {mode:04o}, owned by user {}", metadata.uid()),
    );
}

/// What of journal, vault and index others may read. The index's own files lie in a directory that is
/// closed, or named here.
fn open_inside(data: &Path) -> Option<(PathBuf, u32)> {
    let directories = ["journal", "vault", "index"].map(|name| data.join(name));
    let kept = directories.iter().take(2);
    let files = kept.filter_map(|path| path.read_dir().ok()).flatten();
    let files = files.filter_map(|entry| Some(entry.ok()?.path()));
    directories.iter().cloned().chain(files).find_map(|path| {
        let mode = path.metadata().ok()?.mode() & 0o7777;
        (mode & 0o077 != 0).then_some((path, mode))
    })
}

pub(super) fn secrets(config: &Config, report: &mut Report) {
    // Whether identity key and pinned key agree is what makes the node the one that others know.
    match config.identity() {
        Ok(Some(_)) => report.ok("identity", "the key is the pinned one, mode 0600"),
        Ok(None) => report.ok(
            "identity",
            "a device has a key for each account, in its vault",
        ),
        Err(error) => {
            let advice = "put the directory's own key back; a key of another directory is no help";
            report.error(
                "identity",
                Exit::Configuration,
                error.to_string(),
                "the key that the ledger pins, mode 0600",
                advice,
            );
        }
    }
    match config.checkpoint_key() {
        Ok(Some(_)) => report.ok("checkpoint key", "the key is the pinned one, mode 0600"),
        Ok(None) => {}
        Err(error) => {
            let advice = "put the directory's own key back; a key of another directory is no help";
            report.error(
                "checkpoint key",
                Exit::Configuration,
                error.to_string(),
                "the key that the ledger pins for this operator's checkpoints, mode 0600",
                advice,
            );
        }
    }
    match secrets::read_master_key(&config.node.master_key) {
        Ok(_) => {
            let found = format!("{}, 32 bytes, mode 0600", config.node.master_key.display());
            report.ok("master key", found);
        }
        Err(error) => secret("master key", &error, report),
    }
    let file = config.dir.join(FILE_NAME);
    if let Ok(metadata) = file.metadata()
        && metadata.mode() & 0o022 != 0
    {
        let found = format!(
            "{} has mode {:04o}",
            file.display(),
            metadata.mode() & 0o7777
        );
        let advice = format!("chmod 600 {}", file.display());
        report.warning(
            "config",
            found,
            "a file that only its owner writes: it pins the keys",
            &advice,
        );
    }
}

fn secret(check: &'static str, error: &SecretError, report: &mut Report) {
    let advice = match error {
        SecretError::Mode { path, .. } => {
            format!("chmod 600 {}, and ask who could read it", path.display())
        }
        SecretError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "put the file back from its backup: nothing opens without it".to_owned()
        }
        _ => "put the right file back from its backup".to_owned(),
    };
    let expected = "a file that only its owner may read";
    report.error(
        check,
        Exit::Configuration,
        error.to_string(),
        expected,
        &advice,
    );
}

pub(super) fn tokens(config: &Config, broker: &BrokerConfig, report: &mut Report) {
    match Tokens::read(&broker.tokens) {
        Ok(tokens) if tokens.callers().is_empty() => {
            let found = format!("{} names no caller", broker.tokens.display());
            let advice = "add a caller, docs/operating.md shows how";
            report.warning(
                "tokens",
                found,
                "one caller or more: nobody can log in",
                advice,
            );
        }
        Ok(tokens) => {
            let names: Vec<&str> = tokens.callers().iter().map(|c| c.name.as_str()).collect();
            let found = format!("callers: {}", names.join(", "));
            report.ok("tokens", found);
        }
        Err(error) => secret("tokens", &error, report),
    }
    let token = config.dir.join(TOKEN_FILE);
    if token.symlink_metadata().is_ok() {
        match secrets::read_token(&token) {
            Ok(_) => {
                let found = format!("{} is still here", token.display());
                report.note(
                    "tokens",
                    found,
                    "",
                    "hand it to the login service, then delete it",
                );
            }
            Err(error) => secret("tokens", &error, report),
        }
    }
}
