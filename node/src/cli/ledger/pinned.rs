//! Which keys the commands about the log go by: a file's, the command line's, or those that a node's directory pins.

use std::path::{Path, PathBuf};

use warifu_client_sdk::store::MasterKey;
use warifu_consensus::{
    log::{LogKeys, NoteKey},
    party::Ledger,
};

use crate::{
    config::{Config, FILE_NAME, read_ledger, read_log_keys},
    output::{Exit, Failure},
    secrets::read_master_key,
};

/// The keys that a log's checkpoints are verified with.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// The ledger's origin and keys.
    #[arg(long, value_name = "FILE")]
    pub(super) ledger: Option<PathBuf>,
    /// Instead of --ledger: the log's verifier key (C2SP signed-note).
    #[arg(
        long,
        value_name = "VKEY",
        requires = "witness_key",
        conflicts_with = "ledger"
    )]
    log_key: Option<NoteKey>,
    /// Instead of --ledger: the witness's verifier key.
    #[arg(
        long,
        value_name = "VKEY",
        requires = "log_key",
        conflicts_with = "ledger"
    )]
    witness_key: Option<NoteKey>,
}

fn configuration(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(Exit::Configuration, error)
}

impl KeyArgs {
    /// The pinned keys, if any are named.
    pub(super) fn pinned(&self) -> Result<Option<LogKeys>, Failure> {
        if let (Some(log), Some(witness)) = (&self.log_key, &self.witness_key) {
            return Ok(Some(LogKeys {
                log: log.clone(),
                witness: witness.clone(),
            }));
        }
        let read = self.ledger.as_deref().map(read_log_keys).transpose();
        read.map_err(|error| configuration(&error))
    }

    /// The pinned keys, which nobody can do without.
    pub(super) fn required(&self) -> Result<LogKeys, Failure> {
        let missing = "whose signatures count? Name --ledger FILE, or --log-key and --witness-key";
        self.pinned()?
            .ok_or_else(|| Failure::new(Exit::Usage, missing))
    }
}

/// A directory to be read in place.
pub(super) struct Directory {
    pub(super) data: PathBuf,
    pub(super) ledger: Ledger,
    pub(super) keys: LogKeys,
    pub(super) master_key: Option<MasterKey>,
    /// Of a node's whole directory.
    pub(super) config: Option<Config>,
}

impl Directory {
    /// A node's directory, with the keys that it pins; or a data directory, with those of `ledger`. A named ledger is always
    /// the one that counts.
    pub(super) fn open(
        dir: &Path,
        ledger: Option<&Path>,
        master_key: Option<&Path>,
    ) -> Result<Directory, Failure> {
        let config = if dir.join(FILE_NAME).is_file() {
            Some(Config::load(dir).map_err(|error| configuration(&error))?)
        } else {
            None
        };
        let (pinned, keys) = match (ledger, &config) {
            (Some(path), _) => (
                read_ledger(path).map_err(|error| configuration(&error))?,
                read_log_keys(path).map_err(|error| configuration(&error))?,
            ),
            (None, Some(config)) => (config.ledger.clone(), config.log_keys.clone()),
            (None, None) => {
                let text = format!(
                    "{} has no {FILE_NAME} that pins keys: name --ledger FILE",
                    dir.display()
                );
                return Err(Failure::new(Exit::Usage, text));
            }
        };
        let data = config.as_ref().map_or(dir, |config| &config.node.data);
        if !data.join("journal").is_dir() {
            let text = format!("{}: no journal here, expected one", data.display());
            return Err(Failure::new(Exit::Input, text));
        }
        let own = config.as_ref().map(|config| config.node.master_key.clone());
        let path = master_key.map(Path::to_path_buf).or(own);
        let master_key = path.as_deref().map(read_master_key).transpose();
        Ok(Directory {
            data: data.to_path_buf(),
            ledger: pinned,
            keys,
            master_key: master_key.map_err(|error| configuration(&error))?,
            config,
        })
    }
}
