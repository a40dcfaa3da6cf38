//! Why a configuration is not used: in words that name file, line and field.

use std::path::PathBuf;

use warifu_consensus::party::Role;

use super::{FILE_NAME, file};
use crate::secrets::SecretError;

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The directory is not a node's.
    #[error(
        "{} is no node's directory, it has no {FILE_NAME}: make one with `warifu init broker`, `warifu init trust-operator` or `warifu init device`",
        .dir.display()
    )]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The file could not be read.
    #[error("could not read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file is not TOML of this form; the reason names unknown and missing fields.
    #[error("{}, line {line}: {reason}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A field's value is not one that it may have.
    #[error("{}{}: {field} is {found}, expected {expected}", .path.display(), line_text(.line))]
    Field {
        /// The file.
        path: PathBuf,
        /// Line from 1; `None` where the field does not stand in the file.
        line: Option<usize>,
        /// The field with its table.
        field: String,
        /// The value found.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// Not exactly one of the role tables.
    #[error("{}: found {found}, expected one of [broker], [trust_operator], [device]", .path.display())]
    Roles {
        /// The file.
        path: PathBuf,
        /// The tables found.
        found: String,
    },
    /// A broker's directory that still lacks its trust operator.
    #[error(
        "{}: ledger.trust_operator is missing, complete it with `warifu init broker --dir {} --trust-operator CARD`",
        .path.display(), .dir.display()
    )]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The node's directory.
        dir: PathBuf,
    },
    /// The identity key is not the one that the ledger pins for this role.
    #[error("{} holds the key {found}, expected the {role}'s {expected} as in [ledger]", .path.display())]
    Identity {
        /// The key's file.
        path: PathBuf,
        /// The role.
        role: Role,
        /// Its public key.
        found: String,
        /// The pinned public key.
        expected: String,
    },
    /// A key's file is unsafe or malformed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Several of these at once, at most one for each table.
    #[error("{}", all_texts(.errors))]
    Several {
        /// Two or more.
        errors: Vec<ConfigError>,
    },
}

fn line_text(line: &Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

fn all_texts(errors: &[ConfigError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

impl ConfigError {
    /// Says where in the file's text the field stands.
    pub(super) fn located(self, text: &str) -> ConfigError {
        match self {
            ConfigError::Field {
                path,
                field,
                found,
                expected,
                ..
            } => ConfigError::Field {
                path,
                line: file::line_of(text, &field),
                field,
                found,
                expected,
            },
            ConfigError::Several { errors } => ConfigError::Several {
                errors: errors
                    .into_iter()
                    .map(|error| error.located(text))
                    .collect(),
            },
            other => other,
        }
    }

    /// What is wrong with several tables, or with one.
    pub(super) fn joined(mut errors: Vec<ConfigError>) -> Option<ConfigError> {
        // `Incomplete` says that everything else is well.
        if errors.len() > 1 {
            errors.retain(|error| !matches!(error, ConfigError::Incomplete { .. }));
        }
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(ConfigError::Several { errors }),
        }
    }
}
