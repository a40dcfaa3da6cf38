//! A node's configuration: `warifu.toml` in its directory, checked whole before anything starts.
//!
//! Decides which role the directory has, which ledger it pins, and where its keys and data lie.
//! Every error names the field. Never reads a key or a token: see [`crate::secrets`].

mod card;
mod device;
mod error;
pub(crate) mod file;
mod limits;
mod log;
mod push;
mod watching;
mod witness;

use std::{
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use warifu_client_sdk::transport::{self, Multiaddr};
use warifu_consensus::{
    encoding::{parse_b64, text_b64},
    enrol::MAX_TICKET_S,
    log::LogKeys,
    party::{Ledger, Role},
    time::MAX_LIFETIME_S,
};

pub use card::{Card, read_ledger, read_log_keys, render_ledger};
pub use device::DeviceConfig;
pub use error::ConfigError;
pub use file::{BrokerTable, DeviceTable, File, LedgerTable, NodeTable, TrustOperatorTable};
pub use limits::LimitsTable;
pub use log::checkpoint_key;
pub use push::{PushConfig, PushTable, PushUrl};
pub use witness::{PublicWitness, WitnessTable, WitnessUrl};

use crate::{api::Limits, secrets::IdentitySeed};

/// The configuration's file name in a node's directory.
pub const FILE_NAME: &str = "warifu.toml";

/// A node's configuration, complete and checked. Paths are joined to `dir`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The node's directory.
    pub dir: PathBuf,
    /// The pinned ledger.
    pub ledger: Ledger,
    /// The pinned keys of its log.
    pub log_keys: LogKeys,
    /// What every role has.
    pub node: NodeConfig,
    /// What one role has.
    pub role: RoleConfig,
}

/// What every role has.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// The identity seed's file; `None` for a device, whose keys are made per account.
    pub identity: Option<PathBuf>,
    /// The file of the seed that the log's checkpoints are signed with; `None` for a device.
    pub checkpoint_key: Option<PathBuf>,
    /// The vault's master key, outside of the node's directory and of `data`.
    pub master_key: PathBuf,
    /// Where journal, index and vault lie.
    pub data: PathBuf,
    /// Where to listen for parties; empty for a device, which only dials.
    pub listen: Vec<Multiaddr>,
    /// What is logged: a filter such as `info` or `warifu_node=debug,info`.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Extra time of each sync of journal and vault: never from the file, a bench's wish.
    pub sync_delay: Duration,
    /// Where an operator is watched (`/metrics`); `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where the log is served for everyone; `None` for nowhere.
    pub log_http: Option<SocketAddr>,
    /// The collector that gets spans: `http://` and an authority; `None` for none.
    pub otlp: Option<String>,
    /// Free bytes below which admits are refused and restricts still taken.
    pub disk_reserve_bytes: u64,
}

/// The form of log lines on stderr.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What one role has.
#[derive(Clone, Debug, PartialEq)]
pub enum RoleConfig {
    /// The broker.
    Broker(BrokerConfig),
    /// The trust operator.
    TrustOperator(TrustOperatorConfig),
    /// A device.
    Device(DeviceConfig),
}

impl RoleConfig {
    /// Which role this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            RoleConfig::Broker(_) => Role::Broker,
            RoleConfig::TrustOperator(_) => Role::TrustOperator,
            RoleConfig::Device(_) => Role::Device,
        }
    }
}

/// What a broker has.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// Where the trust operator listens; written into tickets and dialled.
    pub trust_operator_addresses: Vec<Multiaddr>,
    /// Where devices and the trust operator reach this node; written into tickets.
    pub announce: Vec<Multiaddr>,
    /// Where the HTTP side listens: loopback, or anywhere with `tls`.
    pub http: SocketAddr,
    /// The certificate chain and its key, PEM.
    pub tls: Option<TlsFiles>,
    /// The file of the login services' hashed tokens.
    pub tokens: PathBuf,
    /// `exp` − `iat` of a proposal in seconds, 1 to 180.
    pub proposal_lifetime_s: u64,
    /// How long an enrolment ticket is good in seconds, 1 to 600.
    pub ticket_lifetime_s: u64,
    /// The push service that wakes phones; `None` for nobody.
    pub push: Option<PushConfig>,
    /// Others that are shown the log's checkpoints, and cosign them.
    pub witnesses: Vec<PublicWitness>,
    /// How much callers may ask for.
    pub limits: Limits,
}

/// A certificate chain with its key, PEM, both read again when they change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// The chain, own certificate first.
    pub certificate: PathBuf,
    /// The key, mode 0600.
    pub private_key: PathBuf,
}

/// What a trust operator has.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustOperatorConfig {
    /// Where devices and the broker reach this node.
    pub announce: Vec<Multiaddr>,
    /// Seconds between a `freeze` and the first `unfreeze` that this operator agrees to.
    pub unfreeze_delay_s: u64,
    /// Where the broker listens, if this node shall dial it too.
    pub broker_addresses: Vec<Multiaddr>,
}

impl Config {
    /// Reads and checks `warifu.toml` in `dir`.
    ///
    /// # Errors
    /// [`ConfigError`], naming file and field.
    pub fn load(dir: &Path) -> Result<Config, ConfigError> {
        let path = dir.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ConfigError::Missing {
                dir: dir.to_path_buf(),
            },
            _ => ConfigError::Read {
                path: path.clone(),
                source,
            },
        })?;
        Config::check(dir, File::parse(&path, &text)?).map_err(|error| error.located(&text))
    }

    /// Checks what `dir/warifu.toml` would hold.
    ///
    /// # Errors
    /// As [`Config::load`]; [`ConfigError::Incomplete`] only if everything else is well.
    pub fn check(dir: &Path, file: File) -> Result<Config, ConfigError> {
        let path = dir.join(FILE_NAME);
        Check { path, dir }.config(file)
    }

    /// Which role this directory has.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role.role()
    }

    /// Reads an operator's identity key; `None` for a device.
    ///
    /// # Errors
    /// [`ConfigError::Secret`], or [`ConfigError::Identity`] when the ledger pins another key for
    /// this role.
    pub fn identity(&self) -> Result<Option<IdentitySeed>, ConfigError> {
        let Some(path) = &self.node.identity else {
            return Ok(None);
        };
        let seed = IdentitySeed::read(path)?;
        let role = self.role();
        let expected = match role {
            Role::TrustOperator => &self.ledger.trust_operator,
            Role::Broker | Role::Device => &self.ledger.broker,
        };
        if seed.public() == *expected {
            return Ok(Some(seed));
        }
        Err(ConfigError::Identity {
            path: path.clone(),
            role,
            found: text_b64(&seed.public()),
            expected: text_b64(expected),
        })
    }
}

/// The name of a directory's default master key: beside the directory, never in it.
#[must_use]
pub fn default_master_key(dir: &Path) -> PathBuf {
    let name = dir
        .canonicalize()
        .ok()
        .and_then(|dir| {
            dir.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        })
        .unwrap_or_else(|| "node".to_owned());
    PathBuf::from(format!("../{name}.master-key"))
}

/// One file being checked.
pub(crate) struct Check<'a> {
    /// The file, for errors.
    pub(crate) path: PathBuf,
    /// What paths are relative to.
    pub(crate) dir: &'a Path,
}

impl Check<'_> {
    fn config(&self, file: File) -> Result<Config, ConfigError> {
        let File {
            ledger,
            node,
            broker,
            trust_operator,
            device,
        } = file;
        let (kind, role) = match (broker, trust_operator, device) {
            (Some(table), None, None) => (Role::Broker, self.broker(table).map(RoleConfig::Broker)),
            (None, Some(table), None) => {
                let own = self.trust_operator(table);
                (Role::TrustOperator, own.map(RoleConfig::TrustOperator))
            }
            (None, None, Some(table)) => (
                Role::Device,
                device::check(self, table).map(RoleConfig::Device),
            ),
            (broker, trust_operator, device) => {
                let tables = [
                    (broker.is_some(), "[broker]"),
                    (trust_operator.is_some(), "[trust_operator]"),
                    (device.is_some(), "[device]"),
                ];
                return Err(self.roles(&tables));
            }
        };
        // Each table is checked whatever the others hold: whoever mends a file sees all of it.
        match (self.node(node, kind), role, self.ledger(ledger)) {
            (Ok(node), Ok(role), Ok((ledger, log_keys))) => {
                if let RoleConfig::Broker(own) = &role {
                    self.witnesses_are_others(&own.witnesses, &log_keys)?;
                }
                Ok(Config {
                    dir: self.dir.to_path_buf(),
                    ledger,
                    log_keys,
                    node,
                    role,
                })
            }
            (node, role, ledger) => {
                let errors = [node.err(), role.err(), ledger.err()];
                let errors = errors.into_iter().flatten().collect();
                Err(ConfigError::joined(errors).unwrap_or_else(|| self.roles(&[])))
            }
        }
    }

    fn roles(&self, tables: &[(bool, &str)]) -> ConfigError {
        let found: Vec<&str> = tables
            .iter()
            .filter_map(|(is_there, name)| is_there.then_some(*name))
            .collect();
        let found = match found.len() {
            0 => "no role".to_owned(),
            2 => format!("two roles: {}", found.join(" and ")),
            count => format!("{count} roles: {}", found.join(", ")),
        };
        let path = self.path.clone();
        ConfigError::Roles { path, found }
    }

    pub(crate) fn field(
        &self,
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Field {
            path: self.path.clone(),
            line: None,
            field: field.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// An origin as blocks carry it (docs/protocol.md, claim `iss`).
    pub(crate) fn iss(&self, field: &str, iss: String) -> Result<String, ConfigError> {
        let printable = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\';
        if (1..=128).contains(&iss.len()) && iss.bytes().all(printable) {
            return Ok(iss);
        }
        let expected = "1 to 128 printable ascii characters without quote and backslash";
        Err(self.field(field, format!("{iss:?}"), expected))
    }

    /// An identity public key from its 43 characters.
    pub(crate) fn key(&self, field: &str, text: &str) -> Result<[u8; 32], ConfigError> {
        let expected = "an Ed25519 public key as 43 characters of base64url";
        parse_b64::<32>(text)
            .ok()
            .filter(|key| transport::peer_id(key).is_ok())
            .ok_or_else(|| self.field(field, format!("{text:?}"), expected))
    }

    pub(crate) fn addresses(
        &self,
        field: &str,
        texts: &[String],
    ) -> Result<Vec<Multiaddr>, ConfigError> {
        let parse = |(at, text): (usize, &String)| {
            let address = text.parse::<Multiaddr>().ok();
            address
                .filter(|address| address.to_string().contains("/tcp/"))
                .ok_or_else(|| {
                    let expected =
                        "an address such as /ip4/192.0.2.1/tcp/7340 or /dns/host.example/tcp/7340";
                    self.field(format!("{field}[{at}]"), format!("{text:?}"), expected)
                })
        };
        texts.iter().enumerate().map(parse).collect()
    }

    /// Addresses that others dial: no wildcard address, no port 0.
    pub(crate) fn dialled(
        &self,
        field: &str,
        texts: &[String],
    ) -> Result<Vec<Multiaddr>, ConfigError> {
        const UNDIALLABLE: [&str; 3] = ["/ip4/0.0.0.0/", "/ip6/::/", "/tcp/0/"];
        let addresses = self.addresses(field, texts)?;
        for (at, text) in addresses.iter().map(ToString::to_string).enumerate() {
            let whole = format!("{text}/");
            if UNDIALLABLE.iter().any(|part| whole.contains(part)) {
                let expected = "an address and port that others can dial";
                return Err(self.field(format!("{field}[{at}]"), text, expected));
            }
        }
        Ok(addresses)
    }

    /// Addresses that this node listens on: its own, so no host name.
    fn listened(&self, texts: &[String]) -> Result<Vec<Multiaddr>, ConfigError> {
        let addresses = self.addresses("node.listen", texts)?;
        for (at, text) in addresses.iter().map(ToString::to_string).enumerate() {
            if text.starts_with("/dns") {
                let expected = "an address of this machine such as /ip4/0.0.0.0/tcp/7340; a host name belongs in announce";
                return Err(self.field(format!("node.listen[{at}]"), text, expected));
            }
        }
        Ok(addresses)
    }

    fn reserve(&self, found: u64, role: Role) -> Result<u64, ConfigError> {
        if role == Role::Device && found != file::disk_reserve_mib() {
            let expected = "no such field: a device keeps the default";
            return Err(self.field("node.disk_reserve_mib", found.to_string(), expected));
        }
        if (file::MIN_RESERVE_MIB..=file::MAX_RESERVE_MIB).contains(&found) {
            return Ok(found.saturating_mul(1 << 20));
        }
        let (least, most) = (file::MIN_RESERVE_MIB, file::MAX_RESERVE_MIB);
        let expected = format!("{least} to {most} MiB");
        Err(self.field("node.disk_reserve_mib", found.to_string(), expected))
    }

    fn seconds(&self, field: &str, found: u64, max: u64) -> Result<u64, ConfigError> {
        if (1..=max).contains(&found) {
            return Ok(found);
        }
        Err(self.field(field, found.to_string(), format!("1 to {max} seconds")))
    }

    fn ledger(&self, table: LedgerTable) -> Result<(Ledger, LogKeys), ConfigError> {
        let incomplete = || ConfigError::Incomplete {
            path: self.path.clone(),
            dir: self.dir.to_path_buf(),
        };
        let iss = self.iss("ledger.iss", table.iss)?;
        let broker = self.key("ledger.broker", &table.broker)?;
        let log = self.log_key("ledger.log", &table.log, Role::Broker)?;
        let trust_operator = table.trust_operator.ok_or_else(incomplete)?;
        let witness = table.witness.ok_or_else(incomplete)?;
        let witness = self.log_key("ledger.witness", &witness, Role::TrustOperator)?;
        let ledger = Ledger {
            iss,
            broker,
            trust_operator: self.key("ledger.trust_operator", &trust_operator)?,
        };
        if ledger.broker == ledger.trust_operator {
            let expected = "another key than ledger.broker: the two operators must differ";
            return Err(self.field("ledger.trust_operator", trust_operator, expected));
        }
        Ok((ledger, LogKeys { log, witness }))
    }

    fn node(&self, table: NodeTable, role: Role) -> Result<NodeConfig, ConfigError> {
        let data = self.dir.join(&table.data);
        let master_key = table
            .master_key
            .unwrap_or_else(|| default_master_key(self.dir));
        let master_key = self.outside("node.master_key", &master_key, &data)?;
        let listen = self.listened(&table.listen)?;
        let disk_reserve_bytes = self.reserve(table.disk_reserve_mib, role)?;
        let identity = match (role, table.identity) {
            (Role::Device, None) => None,
            (Role::Device, Some(path)) => {
                let expected = "no such field: a device makes a key for each account";
                return Err(self.field("node.identity", path.display().to_string(), expected));
            }
            (_, path) => Some(self.dir.join(path.unwrap_or_else(|| "identity.key".into()))),
        };
        let checkpoint_key = table.checkpoint_key.unwrap_or_else(file::checkpoint_key);
        let checkpoint_key = (role != Role::Device).then(|| self.dir.join(checkpoint_key));
        if role == Role::Device && !listen.is_empty() {
            let expected = "an empty list: a device only dials";
            return Err(self.field("node.listen", format!("{:?}", table.listen), expected));
        }
        if role != Role::Device && listen.is_empty() {
            return Err(self.field("node.listen", "empty", "one address or more"));
        }
        let log_format = match table.log_format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            found => {
                return Err(self.field("node.log_format", format!("{found:?}"), "text or json"));
            }
        };
        if tracing_subscriber::EnvFilter::try_new(&table.log).is_err() {
            let expected = "a filter such as info or warifu_node=debug,info";
            return Err(self.field("node.log", format!("{:?}", table.log), expected));
        }
        let metrics = self.metrics(&table.metrics, table.metrics_off_loopback, role)?;
        let log_http = self.log_http(&table.log_http, role)?;
        let otlp = self.otlp(table.otlp)?;
        Ok(NodeConfig {
            identity,
            checkpoint_key,
            master_key,
            data,
            listen,
            log: table.log,
            log_format,
            sync_delay: Duration::ZERO,
            metrics,
            log_http,
            otlp,
            disk_reserve_bytes,
        })
    }

    /// Joins the path and refuses one inside the node's directory or its data: a copy of either
    /// must not open the vault.
    fn outside(&self, field: &str, path: &Path, data: &Path) -> Result<PathBuf, ConfigError> {
        let joined = self.dir.join(path);
        let real = real_path(&joined);
        if [self.dir, data]
            .iter()
            .any(|dir| real.starts_with(real_path(dir)))
        {
            let expected = "a path outside of the node's directory and its data";
            return Err(self.field(field, path.display().to_string(), expected));
        }
        Ok(joined)
    }

    fn broker(&self, table: BrokerTable) -> Result<BrokerConfig, ConfigError> {
        let http = table.http.parse::<SocketAddr>().map_err(|_| {
            let expected = "an address and port such as 127.0.0.1:7201";
            self.field("broker.http", format!("{:?}", table.http), expected)
        })?;
        let tls = match (&table.certificate, &table.private_key) {
            (Some(certificate), Some(private_key)) => Some(TlsFiles {
                certificate: self.dir.join(certificate),
                private_key: self.dir.join(private_key),
            }),
            (None, None) => None,
            (Some(_), None) => {
                let expected = "the key's file: broker.certificate is there";
                return Err(self.field("broker.private_key", "missing", expected));
            }
            (None, Some(_)) => {
                let expected = "the certificate's file: broker.private_key is there";
                return Err(self.field("broker.certificate", "missing", expected));
            }
        };
        if !http.ip().is_loopback() && tls.is_none() {
            let expected =
                "a loopback address, or broker.certificate and broker.private_key for TLS";
            return Err(self.field("broker.http", http.to_string(), expected));
        }
        let addresses = &table.trust_operator_addresses;
        Ok(BrokerConfig {
            trust_operator_addresses: self.dialled("broker.trust_operator_addresses", addresses)?,
            announce: self.dialled("broker.announce", &table.announce)?,
            http,
            tls,
            tokens: self.dir.join(&table.tokens),
            proposal_lifetime_s: self.seconds(
                "broker.proposal_lifetime_s",
                table.proposal_lifetime_s,
                MAX_LIFETIME_S,
            )?,
            ticket_lifetime_s: self.seconds(
                "broker.ticket_lifetime_s",
                table.ticket_lifetime_s,
                MAX_TICKET_S,
            )?,
            push: table.push.map(|push| push.check(self)).transpose()?,
            witnesses: self.witnesses(table.witness)?,
            limits: self.limits(&table.limits)?,
        })
    }

    fn trust_operator(
        &self,
        table: TrustOperatorTable,
    ) -> Result<TrustOperatorConfig, ConfigError> {
        let addresses = &table.broker_addresses;
        Ok(TrustOperatorConfig {
            announce: self.dialled("trust_operator.announce", &table.announce)?,
            unfreeze_delay_s: table.unfreeze_delay_s,
            broker_addresses: self.dialled("trust_operator.broker_addresses", addresses)?,
        })
    }
}

/// The path with links followed as far as it exists, and `..` taken away in the rest.
fn real_path(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.components().next_back()) {
        (Some(parent), Some(Component::ParentDir)) => {
            let mut real = real_path(parent);
            real.pop();
            real
        }
        (Some(parent), Some(last)) if !parent.as_os_str().is_empty() => {
            real_path(parent).join(last)
        }
        _ => std::env::current_dir().map_or_else(|_| path.to_path_buf(), |dir| dir.join(path)),
    }
}
