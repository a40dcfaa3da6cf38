//! The global log's keys: pinned by everyone, and each operator's own.

use std::path::Path;

use warifu_consensus::{
    log::{Algorithm, LogKey, LogKeys, NoteKey},
    party::Role,
};

use super::{Check, Config, ConfigError};
use crate::secrets;

/// The name under which an operator of this ledger signs checkpoints: the origin without its scheme, then `/log` or
/// `/witness`. What a note can't carry in a name becomes `-`.
fn key_name(iss: &str, role: Role) -> String {
    let bare = iss.split_once("://").map_or(iss, |(_, rest)| rest);
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || "./_-:".contains(c) {
            c
        } else {
            '-'
        }
    };
    let bare: String = bare.trim_end_matches('/').chars().map(fit).collect();
    let what = if role == Role::TrustOperator {
        "witness"
    } else {
        "log"
    };
    format!("{bare}/{what}")
}

/// Which algorithm an operator's key is of.
const fn algorithm(role: Role) -> Algorithm {
    match role {
        Role::TrustOperator => Algorithm::Cosignature,
        Role::Broker | Role::Device => Algorithm::Ed25519,
    }
}

/// An operator's own key for checkpoints, made if there is none yet and `make` allows it.
///
/// # Errors
/// [`ConfigError`].
pub fn checkpoint_key(
    path: &Path,
    iss: &str,
    role: Role,
    make: bool,
) -> Result<LogKey, ConfigError> {
    let seed = secrets::read_seed(path, make)?;
    LogKey::from_seed(*seed, &key_name(iss, role), algorithm(role)).map_err(|error| {
        ConfigError::Field {
            path: path.to_path_buf(),
            line: None,
            field: "ledger.iss".to_owned(),
            found: iss.to_owned(),
            expected: error.to_string(),
        }
    })
}

impl Check<'_> {
    /// A pinned key of this ledger's log.
    pub(crate) fn log_key(
        &self,
        field: &str,
        text: &str,
        role: Role,
    ) -> Result<NoteKey, ConfigError> {
        let wrong = |expected: String| self.field(field, format!("{text:?}"), expected);
        let key: NoteKey = text
            .parse()
            .map_err(|error| wrong(format!("a verifier key: {error}")))?;
        if key.algorithm() != algorithm(role) {
            return Err(wrong(format!(
                "a key of type {:#04x}",
                algorithm(role).byte()
            )));
        }
        Ok(key)
    }
}

impl Config {
    /// Reads an operator's key for checkpoints; `None` for a device.
    ///
    /// # Errors
    /// [`ConfigError`], also when the ledger pins another.
    pub fn checkpoint_key(&self) -> Result<Option<LogKey>, ConfigError> {
        let Some(path) = &self.node.checkpoint_key else {
            return Ok(None);
        };
        let LogKeys { log, witness } = &self.log_keys;
        let role = self.role();
        let pinned = if role == Role::TrustOperator {
            witness
        } else {
            log
        };
        let seed = secrets::read_seed(path, false)?;
        let made = LogKey::from_seed(*seed, pinned.name(), algorithm(role));
        match made {
            Ok(key) if key.public() == pinned => Ok(Some(key)),
            made => Err(ConfigError::Field {
                path: path.clone(),
                line: None,
                field: "node.checkpoint_key".to_owned(),
                found: made.map_or_else(|error| error.to_string(), |key| key.public().to_string()),
                expected: format!("{pinned}, which the ledger pins for the {role}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_after_the_ledger() {
        for (iss, log) in [
            ("https://ledger.example", "ledger.example/log"),
            ("warifu.example.jp", "warifu.example.jp/log"),
            ("https://ledger.example/jp/", "ledger.example/jp/log"),
            ("A ledger+1", "A-ledger-1/log"),
        ] {
            assert_eq!(key_name(iss, Role::Broker), log);
            let seed = [1; 32];
            assert!(
                LogKey::from_seed(seed, log, Algorithm::Ed25519).is_ok(),
                "{log}"
            );
        }
        assert_eq!(
            key_name("https://l.example", Role::TrustOperator),
            "l.example/witness"
        );
    }
}
