//! What two operators exchange before they know each other, and what they hand to everyone after:
//! `card.toml` (one operator) and `ledger.toml` (origin and both keys). Nothing in them is secret,
//! nothing in them is signed: whoever reads a card got it from the operator itself.

use std::path::Path;

use serde::Deserialize;
use warifu_client_sdk::transport::{self, Multiaddr};
use warifu_consensus::{
    encoding::text_b64,
    log::{LogKeys, NoteKey},
    party::{Ledger, Role},
};

use super::{
    Check, ConfigError,
    file::{list, parse_toml, text},
};
use crate::output::role_name;

/// An operator's card.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// Broker or trust operator.
    pub role: Role,
    /// The ledger's origin.
    pub iss: String,
    /// The identity public key, 32 bytes; text: 43 characters of base64url.
    pub public_key: [u8; 32],
    /// What it signs the log's checkpoints with: the broker the log's own key, the trust operator the witness's.
    pub log_key: NoteKey,
    /// Where the operator is reached.
    pub addresses: Vec<Multiaddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardFile {
    role: String,
    iss: String,
    public_key: String,
    peer_id: String,
    log_key: String,
    addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerFile {
    iss: String,
    broker: String,
    trust_operator: String,
    log: String,
    witness: String,
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })
}

fn check(path: &Path) -> Check<'_> {
    Check {
        path: path.to_path_buf(),
        dir: Path::new(""),
    }
}

impl Card {
    /// Reads the card of the operator that should have this role.
    ///
    /// # Errors
    /// [`ConfigError`]: another role, a key that is none, or a PeerId that is not the key's.
    pub fn read(path: &Path, role: Role) -> Result<Card, ConfigError> {
        let file: CardFile = parse_toml(path, &read(path)?)?;
        let check = check(path);
        if file.role != role_name(role) {
            return Err(check.field("role", format!("{:?}", file.role), role_name(role)));
        }
        let card = Card {
            role,
            iss: check.iss("iss", file.iss)?,
            public_key: check.key("public_key", &file.public_key)?,
            log_key: check.log_key("log_key", &file.log_key, role)?,
            addresses: check.dialled("addresses", &file.addresses)?,
        };
        let expected = card.peer_id();
        if file.peer_id != expected {
            let expected = format!("{expected}, the public key's");
            return Err(check.field("peer_id", file.peer_id, expected));
        }
        if card.addresses.is_empty() {
            return Err(check.field("addresses", "empty", "one address or more"));
        }
        Ok(card)
    }

    /// The PeerId of the operator's key; empty if the key is no point, which `init` and
    /// [`Card::read`] exclude.
    #[must_use]
    pub fn peer_id(&self) -> String {
        transport::peer_id(&self.public_key)
            .map(|peer| peer.to_string())
            .unwrap_or_default()
    }

    /// The card's text.
    #[must_use]
    pub fn render(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        format!(
            "# A Warifu operator's card, for the other operator. Nothing in it is secret; hand it over\n\
             # by a way that others cannot alter.\n\
             role = {}\niss = {}\npublic_key = {}\npeer_id = {}\nlog_key = {}\naddresses = {}\n",
            text(role_name(self.role)),
            text(&self.iss),
            text(&text_b64(&self.public_key)),
            text(&self.peer_id()),
            text(&self.log_key.to_string()),
            list(&addresses),
        )
    }
}

/// Reads of `ledger.toml` who the parties are: `iss`, `broker`, `trust_operator` (keys as 43 characters of base64url).
///
/// # Errors
/// [`ConfigError`], naming the field.
pub fn read_ledger(path: &Path) -> Result<Ledger, ConfigError> {
    read_pinned(path).map(|(ledger, _)| ledger)
}

/// Reads of `ledger.toml` what its log's checkpoints are signed with: `log`, `witness` (C2SP verifier keys).
///
/// # Errors
/// [`ConfigError`], naming the field.
pub fn read_log_keys(path: &Path) -> Result<LogKeys, ConfigError> {
    read_pinned(path).map(|(_, keys)| keys)
}

fn read_pinned(path: &Path) -> Result<(Ledger, LogKeys), ConfigError> {
    let file: LedgerFile = parse_toml(path, &read(path)?)?;
    let check = check(path);
    let ledger = Ledger {
        iss: check.iss("iss", file.iss)?,
        broker: check.key("broker", &file.broker)?,
        trust_operator: check.key("trust_operator", &file.trust_operator)?,
    };
    if ledger.broker == ledger.trust_operator {
        let expected = "another key than broker: the two operators must differ";
        return Err(check.field("trust_operator", file.trust_operator, expected));
    }
    let keys = LogKeys {
        log: check.log_key("log", &file.log, Role::Broker)?,
        witness: check.log_key("witness", &file.witness, Role::TrustOperator)?,
    };
    Ok((ledger, keys))
}

/// The text of `ledger.toml`.
#[must_use]
pub fn render_ledger(ledger: &Ledger, keys: &LogKeys) -> String {
    format!(
        "# A Warifu ledger: its origin, its operators' identity public keys, and the keys that the checkpoints of\n\
         # its log are signed with. Devices and verifiers pin these five lines.\n\
         iss = {}\nbroker = {}\ntrust_operator = {}\nlog = {}\nwitness = {}\n",
        text(&ledger.iss),
        text(&text_b64(&ledger.broker)),
        text(&text_b64(&ledger.trust_operator)),
        text(&keys.log.to_string()),
        text(&keys.witness.to_string()),
    )
}
