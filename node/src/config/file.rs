//! The text of `warifu.toml`: how it is read, and how `init` writes it with a comment for each
//! field. What is written reads back as the same values.

use std::path::{Path, PathBuf};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    ConfigError,
    limits::LimitsTable,
    push::{self, PushTable},
    witness::{self, WitnessTable},
};

/// `warifu.toml` as it stands in the file; nothing is checked but its form.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The pinned ledger.
    pub ledger: LedgerTable,
    /// What every role has.
    pub node: NodeTable,
    /// Present at a broker only.
    pub broker: Option<BrokerTable>,
    /// Present at a trust operator only.
    pub trust_operator: Option<TrustOperatorTable>,
    /// Present at a device only.
    pub device: Option<DeviceTable>,
}

/// `[ledger]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct LedgerTable {
    /// The ledger's origin.
    pub iss: String,
    /// The broker's public key, 43 characters of base64url.
    pub broker: String,
    /// The trust operator's public key; absent at a broker that doesn't know it yet.
    pub trust_operator: Option<String>,
    /// The key of the global log, the broker's, as a verifier key of the transparency world.
    pub log: String,
    /// The key of its witness, the trust operator's; absent as above.
    pub witness: Option<String>,
}

/// `[node]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NodeTable {
    /// The identity seed's file.
    pub identity: Option<PathBuf>,
    /// The file of the seed that an operator signs the log's checkpoints with.
    pub checkpoint_key: Option<PathBuf>,
    /// The vault's master key.
    pub master_key: Option<PathBuf>,
    /// Where journal, index and vault lie.
    #[serde(default = "data")]
    pub data: PathBuf,
    /// Where to listen.
    #[serde(default)]
    pub listen: Vec<String>,
    /// Log filter.
    #[serde(default = "log")]
    pub log: String,
    /// `text` or `json`.
    #[serde(default = "log_format")]
    pub log_format: String,
    /// Where an operator is watched: an address and port, empty for nowhere.
    #[serde(default)]
    pub metrics: String,
    /// Whether `metrics` may be an address that other machines reach.
    #[serde(default)]
    pub metrics_off_loopback: bool,
    /// Where an operator serves the log for everyone: an address and port, empty for nowhere.
    #[serde(default)]
    pub log_http: String,
    /// Where spans are exported to: a collector's `http://` address, empty for nowhere.
    #[serde(default)]
    pub otlp: String,
    /// Free disk space below which admits are refused, in MiB.
    #[serde(default = "disk_reserve_mib")]
    pub disk_reserve_mib: u64,
}

/// `[broker]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct BrokerTable {
    /// Where the trust operator listens.
    #[serde(default)]
    pub trust_operator_addresses: Vec<String>,
    /// Where others reach this node.
    pub announce: Vec<String>,
    /// The HTTP side's address and port.
    #[serde(default = "http")]
    pub http: String,
    /// The certificate chain of the HTTP side, PEM.
    pub certificate: Option<PathBuf>,
    /// The certificate's key, PEM.
    pub private_key: Option<PathBuf>,
    /// The hashed tokens' file.
    #[serde(default = "tokens")]
    pub tokens: PathBuf,
    /// Seconds a proposal lives.
    #[serde(default = "proposal_lifetime_s")]
    pub proposal_lifetime_s: u64,
    /// Seconds a ticket is good.
    #[serde(default = "ticket_lifetime_s")]
    pub ticket_lifetime_s: u64,
    /// The push service.
    pub push: Option<PushTable>,
    /// Public witnesses of the log.
    #[serde(default)]
    pub witness: Vec<WitnessTable>,
    /// How much callers may ask for.
    #[serde(default)]
    pub limits: LimitsTable,
}

/// `[trust_operator]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TrustOperatorTable {
    /// Where others reach this node.
    pub announce: Vec<String>,
    /// Seconds between freeze and unfreeze.
    #[serde(default = "unfreeze_delay_s")]
    pub unfreeze_delay_s: u64,
    /// Where the broker listens.
    #[serde(default)]
    pub broker_addresses: Vec<String>,
}

/// `[device]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DeviceTable {
    /// The control channel's socket.
    #[serde(default = "control")]
    pub control: PathBuf,
    /// `locale`, `ja` or `en`.
    #[serde(default = "language")]
    pub language: String,
}

/// Least of `node.disk_reserve_mib`: one segment's worth of restricts.
pub(super) const MIN_RESERVE_MIB: u64 = 16;

/// Most of `node.disk_reserve_mib`: 1 PiB.
pub(super) const MAX_RESERVE_MIB: u64 = 1 << 30;

/// Default of `node.disk_reserve_mib`.
pub(super) fn disk_reserve_mib() -> u64 {
    256
}

fn data() -> PathBuf {
    "data".into()
}

/// Default of `node.checkpoint_key`.
pub(crate) fn checkpoint_key() -> PathBuf {
    "checkpoint.key".into()
}

fn log() -> String {
    "info".into()
}

fn log_format() -> String {
    "text".into()
}

/// Default of `broker.http`.
pub(crate) fn http() -> String {
    "127.0.0.1:7201".into()
}

/// Default of `broker.tokens`.
pub(crate) fn tokens() -> PathBuf {
    "tokens.toml".into()
}

/// Default of `broker.proposal_lifetime_s`.
pub(crate) fn proposal_lifetime_s() -> u64 {
    warifu_consensus::time::DEFAULT_LIFETIME_S
}

/// Default of `broker.ticket_lifetime_s`.
pub(crate) fn ticket_lifetime_s() -> u64 {
    warifu_consensus::enrol::MAX_TICKET_S
}

/// Default of `trust_operator.unfreeze_delay_s`.
pub(crate) fn unfreeze_delay_s() -> u64 {
    3600
}

/// Default of `device.control`.
pub(crate) fn control() -> PathBuf {
    "control.sock".into()
}

/// Default of `device.language`.
pub(crate) fn language() -> String {
    "locale".into()
}

impl Default for BrokerTable {
    fn default() -> BrokerTable {
        BrokerTable {
            trust_operator_addresses: Vec::new(),
            announce: Vec::new(),
            http: http(),
            certificate: None,
            private_key: None,
            tokens: tokens(),
            proposal_lifetime_s: proposal_lifetime_s(),
            ticket_lifetime_s: ticket_lifetime_s(),
            push: None,
            witness: Vec::new(),
            limits: LimitsTable::default(),
        }
    }
}

impl NodeTable {
    /// The defaults of a role's node.
    #[must_use]
    pub fn new(identity: Option<PathBuf>, master_key: PathBuf, listen: Vec<String>) -> NodeTable {
        NodeTable {
            checkpoint_key: identity.as_ref().map(|_| checkpoint_key()),
            identity,
            master_key: Some(master_key),
            data: data(),
            listen,
            log: log(),
            log_format: log_format(),
            metrics: String::new(),
            metrics_off_loopback: false,
            log_http: String::new(),
            otlp: String::new(),
            disk_reserve_mib: disk_reserve_mib(),
        }
    }
}

impl File {
    /// Reads the text of the file `path`.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] with the line; unknown and missing fields are named.
    pub fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
        parse_toml(path, text)
    }

    /// The text of the file, every field with its meaning and default.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = Writer(String::new());
        out.heading("The configuration of one Warifu node. Paths are relative to this directory.");
        self.ledger.render(&mut out);
        self.node.render(&mut out);
        if let Some(table) = &self.broker {
            table.render(&mut out);
        }
        if let Some(table) = &self.trust_operator {
            table.render(&mut out);
        }
        if let Some(table) = &self.device {
            out.table("device", "This directory belongs to a customer's device.");
            out.field(
                "Unix socket by which `warifu device` talks to the running device (default control.sock).",
                "control",
                path(&table.control),
            );
            out.field(
                "In what language it asks on a terminal: locale, ja or en (default locale: as LANG says).",
                "language",
                text(&table.language),
            );
        }
        out.0
    }
}

impl LedgerTable {
    fn render(&self, out: &mut Writer) {
        out.table(
            "ledger",
            "What this node pins: the same five lines at every party.",
        );
        out.field(
            "The ledger's origin, as in every block.",
            "iss",
            text(&self.iss),
        );
        let about = "The broker's identity public key: Ed25519, 43 characters of base64url.";
        out.field(about, "broker", text(&self.broker));
        let about = "The key of the global log, the broker's (a C2SP verifier key): checkpoints are signed with it.";
        out.field(about, "log", text(&self.log));
        match &self.trust_operator {
            Some(key) => out.field("The trust operator's.", "trust_operator", text(key)),
            None => out.heading(
                "trust_operator is not known yet: `warifu init broker --dir DIR --trust-operator CARD`.",
            ),
        }
        if let Some(key) = &self.witness {
            let about = "The key of the log's witness, the trust operator's: checkpoints are cosigned with it.";
            out.field(about, "witness", text(key));
        }
    }
}

impl NodeTable {
    fn render(&self, out: &mut Writer) {
        out.table("node", "What every role has.");
        if let Some(identity) = &self.identity {
            out.field(
                "The identity key: a 32-byte Ed25519 seed, mode 0600 (default identity.key).",
                "identity",
                path(identity),
            );
        }
        if let Some(checkpoint_key) = &self.checkpoint_key {
            out.field(
                "The key that signs the log's checkpoints: a 32-byte Ed25519 seed, mode 0600 (default checkpoint.key).",
                "checkpoint_key",
                path(checkpoint_key),
            );
        }
        if let Some(master_key) = &self.master_key {
            out.field(
                "The vault's master key, 32 bytes, mode 0600; never in this directory nor in data.",
                "master_key",
                path(master_key),
            );
        }
        out.field(
            "Journal, index and vault (default data).",
            "data",
            path(&self.data),
        );
        out.field(
            "Where parties reach this node; a device listens nowhere.",
            "listen",
            list(&self.listen),
        );
        out.field("Log filter (default info).", "log", text(&self.log));
        out.field(
            "Log lines: text or json (default text).",
            "log_format",
            text(&self.log_format),
        );
        // A device has no identity file, and nobody to watch it.
        if self.identity.is_some() {
            out.field(
                "Free disk space in MiB below which admits are refused and restricts still taken (default 256).",
                "disk_reserve_mib",
                self.disk_reserve_mib.to_string(),
            );
            out.field(
                "Where /metrics, /healthz and /readyz are served, such as 127.0.0.1:7203 (default empty: nowhere).",
                "metrics",
                text(&self.metrics),
            );
            out.field(
                "That listener has neither TLS nor callers; true lets it leave loopback (default false).",
                "metrics_off_loopback",
                self.metrics_off_loopback.to_string(),
            );
            out.field(
                "Where the log and its pages are served for everyone, in the clear, such as 0.0.0.0:7204 (default empty: nowhere).",
                "log_http",
                text(&self.log_http),
            );
        }
        out.field(
            "An OpenTelemetry collector (OTLP over HTTP) that gets spans, such as http://127.0.0.1:4318 (default empty: none).",
            "otlp",
            text(&self.otlp),
        );
    }
}

impl BrokerTable {
    fn render(&self, out: &mut Writer) {
        out.table("broker", "This directory belongs to the broker.");
        out.field(
            "Where the trust operator listens: dialled, and written into tickets.",
            "trust_operator_addresses",
            list(&self.trust_operator_addresses),
        );
        out.field(
            "Where devices and the trust operator reach this node: written into tickets.",
            "announce",
            list(&self.announce),
        );
        out.field(
            "HTTP for login services; off loopback only with a certificate (default 127.0.0.1:7201).",
            "http",
            text(&self.http),
        );
        out.optional(
            "TLS: the certificate chain, PEM, own certificate first (default none: plain HTTP).",
            "certificate",
            self.certificate.as_deref().map(path),
        );
        out.optional(
            "TLS: the certificate's key, PEM, mode 0600. Both files are read again when they change.",
            "private_key",
            self.private_key.as_deref().map(path),
        );
        out.field(
            "The login services and the hashes of their tokens (default tokens.toml).",
            "tokens",
            path(&self.tokens),
        );
        out.field(
            "How long a proposal lives in seconds, 1 to 180 (default 90).",
            "proposal_lifetime_s",
            self.proposal_lifetime_s.to_string(),
        );
        out.field(
            "How long an enrolment ticket is good in seconds, 1 to 600 (default 600).",
            "ticket_lifetime_s",
            self.ticket_lifetime_s.to_string(),
        );
        self.limits.render(out);
        push::render(self.push.as_ref(), out);
        witness::render(&self.witness, out);
    }
}

impl TrustOperatorTable {
    fn render(&self, out: &mut Writer) {
        out.table(
            "trust_operator",
            "This directory belongs to the trust operator.",
        );
        out.field(
            "Where devices and the broker reach this node: written into its card.",
            "announce",
            list(&self.announce),
        );
        out.field(
            "Seconds that must pass between a freeze and an unfreeze (default 3600).",
            "unfreeze_delay_s",
            self.unfreeze_delay_s.to_string(),
        );
        out.field(
            "Where the broker listens, if this node shall dial it too (default none: it dials).",
            "broker_addresses",
            list(&self.broker_addresses),
        );
    }
}

/// The line (from 1) where a field such as `node.listen[0]` stands in a file's text.
pub(super) fn line_of(text: &str, field: &str) -> Option<usize> {
    let (table, key) = field.rsplit_once('.').unwrap_or(("", field));
    let key = key.split('[').next().unwrap_or(key);
    // `broker.witness[1]` is the second of that name.
    let (table, nth) = table.split_once('[').unwrap_or((table, "0]"));
    let mut before = nth.trim_end_matches(']').parse().unwrap_or(0_usize);
    let mut current = "";
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let name = header.trim_start_matches('[');
            current = name.split(']').next().unwrap_or_default().trim();
            if current == table && before > 0 {
                before -= 1;
                current = "";
            }
        } else if current == table
            && let Some((name, _)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(number);
        }
    }
    None
}

/// The file's text as it grows.
pub(super) struct Writer(String);

impl Writer {
    fn push(&mut self, parts: &[&str]) {
        self.0.extend(parts.iter().copied());
    }

    pub(super) fn heading(&mut self, comment: &str) {
        self.push(&["# ", comment, "\n"]);
    }

    pub(super) fn table(&mut self, name: &str, comment: &str) {
        self.push(&["\n# ", comment, "\n[", name, "]\n"]);
    }

    /// One of several tables of a name.
    pub(super) fn table_of(&mut self, name: &str, comment: &str) {
        self.push(&["\n# ", comment, "\n[[", name, "]]\n"]);
    }

    pub(super) fn field(&mut self, comment: &str, name: &str, value: String) {
        self.push(&["# ", comment, "\n", name, " = ", &value, "\n"]);
    }

    /// A field that may be absent: then it stands there as a comment.
    fn optional(&mut self, comment: &str, name: &str, value: Option<String>) {
        match value {
            Some(value) => self.field(comment, name, value),
            None => self.push(&["# ", comment, "\n# ", name, " = \"…\"\n"]),
        }
    }
}

/// A TOML basic string.
pub(super) fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

pub(super) fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// A TOML array of strings.
pub(super) fn list(values: &[String]) -> String {
    let items: Vec<String> = values.iter().map(|value| text(value)).collect();
    format!("[{}]", items.join(", "))
}

/// Reads TOML of one form; the error says line, key and what is wrong.
pub(crate) fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(text);
        let line = before.matches('\n').count().saturating_add(1);
        let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let key = source.split('=').next().unwrap_or_default().trim();
        let mut reason = error.message().replace('\n', ", ");
        if !key.is_empty() && !reason.contains(key) && !key.starts_with('#') {
            reason = format!("{key}: {reason}");
        }
        ConfigError::Syntax {
            path: path.to_path_buf(),
            line,
            reason,
        }
    })
}
