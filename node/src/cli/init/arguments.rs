//! What `warifu init` is told, and what it can't do without.
//!
//! All that is missing is named at once, so that nobody runs it once for each argument. What is there is
//! judged by `init` itself.

use std::path::{Path, PathBuf};

use warifu_consensus::party::Role;

use crate::{
    config::FILE_NAME,
    output::{Exit, Failure, role_name},
};

// What is needed is looked for in one place, by `require`, which names all that is missing.
#[derive(Debug, clap::Args)]
#[command(override_usage = "warifu init broker --dir DIR --iss ORIGIN --listen ADDRESS [OPTIONS]")]
pub(in crate::cli) struct Broker {
    /// The directory; made if it isn't there. Needed.
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    /// The ledger's origin, such as https://ledger.example; needed the first time.
    #[arg(long, value_name = "ORIGIN")]
    pub(super) iss: Option<String>,
    /// Where to listen for parties, such as /ip4/0.0.0.0/tcp/7101; needed the first time.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Vec<String>,
    /// Where others reach this node [default: as --listen].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) announce: Vec<String>,
    /// Where login services reach this node [default: 127.0.0.1:7201]. Off loopback only with
    /// --certificate and --private-key.
    #[arg(long, value_name = "IP:PORT")]
    pub(super) http: Option<String>,
    /// The HTTP side's certificate chain, PEM; relative to the directory.
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub(super) certificate: Option<String>,
    /// The certificate's key, PEM, mode 0600; relative to the directory.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(super) private_key: Option<String>,
    /// Where the log and its pages are served for everyone, such as 0.0.0.0:7204 [default: nowhere].
    #[arg(long, value_name = "IP:PORT")]
    pub(super) log_http: Option<String>,
    /// What the first login service's blocks name as relying party [default: as --iss].
    #[arg(long, value_name = "ORIGIN")]
    pub(super) aud: Option<String>,
    /// The trust operator's card.
    #[arg(long, value_name = "CARD")]
    pub(super) trust_operator: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "warifu init trust-operator --dir DIR --broker CARD --listen ADDRESS [OPTIONS]"
)]
pub(in crate::cli) struct TrustOperator {
    /// The directory; made if it isn't there. Needed.
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    /// The broker's card, the card.toml in its directory; needed.
    #[arg(long, value_name = "CARD")]
    pub(super) broker: Option<PathBuf>,
    /// Where to listen for parties, such as /ip4/0.0.0.0/tcp/7102; needed the first time.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Vec<String>,
    /// Where others reach this node [default: as --listen].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) announce: Vec<String>,
    /// Where the log and its pages are served for everyone, such as 0.0.0.0:7204 [default: nowhere].
    #[arg(long, value_name = "IP:PORT")]
    pub(super) log_http: Option<String>,
    /// Seconds that must pass between a freeze and an unfreeze [default: 3600].
    #[arg(long, value_name = "SECONDS")]
    pub(super) unfreeze_delay: Option<u64>,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "warifu init device --dir DIR --ledger FILE [OPTIONS]")]
pub(in crate::cli) struct Device {
    /// The directory; made if it isn't there. Needed.
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    /// The ledger's file, the ledger.toml in either operator's directory; needed.
    #[arg(long, value_name = "FILE")]
    pub(super) ledger: Option<PathBuf>,
}

/// An argument that `init` can't do without, and an example of it.
pub(super) type Needed = (&'static str, &'static str);

pub(super) const DIR: Needed = ("--dir", "DIR");
pub(super) const ISS: Needed = ("--iss", "https://ledger.example");
pub(super) const BROKER_LISTEN: Needed = ("--listen", "/ip4/127.0.0.1/tcp/7101");
pub(super) const TRUST_OPERATOR_LISTEN: Needed = ("--listen", "/ip4/127.0.0.1/tcp/7102");
pub(super) const BROKER: Needed = ("--broker", "BROKER-DIR/card.toml");
pub(super) const LEDGER: Needed = ("--ledger", "BROKER-DIR/ledger.toml");

/// Names all that is missing at once, with the command that has it.
pub(super) fn require(role: Role, needed: &[(Needed, bool)]) -> Result<(), Failure> {
    let missing: Vec<Needed> = needed
        .iter()
        .filter(|(_, is_given)| !is_given)
        .map(|(needed, _)| *needed)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let examples: Vec<String> = missing
        .iter()
        .map(|(name, example)| format!("{name} {example}"))
        .collect();
    let are = if names.len() == 1 { "is" } else { "are" };
    let text = format!(
        "{} {are} missing, such as: {}; see `warifu init {} --help`",
        names.join(", "),
        examples.join(" "),
        role_name(role),
    );
    Err(Failure::new(Exit::Usage, text))
}

/// Whether no configuration stands there yet.
pub(super) fn is_first(dir: Option<&Path>) -> bool {
    dir.is_none_or(|dir| dir.join(FILE_NAME).symlink_metadata().is_err())
}
