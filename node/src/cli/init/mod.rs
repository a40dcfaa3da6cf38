//! `warifu init`: prepares a party's directory. Idempotent; a run that was cut short is completed by
//! the next one; keys are made once and never replaced.
//!
//! Order of writing: keys, tokens, card, `ledger.toml`, and `warifu.toml` last, so that a directory
//! with a configuration has everything that it names. A second run may add what was missing (the
//! broker's trust operator) and refuses what contradicts.

mod arguments;
mod next;

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde_json::json;
use warifu_client_sdk::transport::Multiaddr;
use warifu_consensus::{
    encoding::text_b64,
    log::{Algorithm, KeyError, LogKey, NoteKey},
    party::Role,
    signature::IdentityKey,
};

use arguments::{
    BROKER, BROKER_LISTEN, DIR, ISS, LEDGER, TRUST_OPERATOR_LISTEN, is_first, require,
};

use crate::{
    config::{
        Card, Config, ConfigError, DeviceTable, FILE_NAME, File, LedgerTable, NodeTable,
        TrustOperatorTable, checkpoint_key, default_master_key, file, read_ledger, read_log_keys,
        render_ledger,
    },
    output::{Exit, Failure, Output, role_name},
    secrets::{
        self, Caller, IdentitySeed, Scope, SecretError, Tokens, read_or_create_token, token_hash,
    },
};

/// The file of the first login service's token in a broker's directory.
const TOKEN_FILE: &str = "login-service.token";

/// The first login service's name.
const FIRST_CALLER: &str = "login-service";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// A broker's directory. Run it again with --trust-operator once its card is there.
    Broker(arguments::Broker),
    /// A trust operator's directory; needs the broker's card.
    TrustOperator(arguments::TrustOperator),
    /// A device's directory; needs the ledger's file.
    Device(arguments::Device),
}

pub(super) fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Broker(args) => broker(args, output),
        Command::TrustOperator(args) => trust_operator(args, output),
        Command::Device(args) => device(args, output),
    }
}

fn broker(args: arguments::Broker, output: Output) -> Result<(), Failure> {
    let is_first = is_first(args.dir.as_deref());
    require(
        Role::Broker,
        &[
            (DIR, args.dir.is_some()),
            (ISS, args.iss.is_some() || !is_first),
            (BROKER_LISTEN, !args.listen.is_empty() || !is_first),
        ],
    )?;
    let dir = args.dir.unwrap_or_default();
    let place = Place::open(&dir, Role::Broker)?;
    let before = place.before.as_ref();
    let old = before.and_then(|file| file.broker.as_ref());
    let iss = place.once("iss", args.iss, before.map(|file| &file.ledger.iss))?;
    let iss = iss.unwrap_or_default();
    let listen = place.list("listen", args.listen, before.map(|file| &file.node.listen))?;
    let announce = place.list("announce", args.announce, old.map(|old| &old.announce))?;
    let http = place.once("http", args.http, old.map(|old| &old.http))?;
    let card = args
        .trust_operator
        .map(|path| read_card(&path, Role::TrustOperator, &iss))
        .transpose()?;
    let known = before.and_then(|file| file.ledger.trust_operator.as_ref());
    let found = card.as_ref().map(|card| text_b64(&card.public_key));
    let trust_operator = place.once("trust operator", found, known)?;
    let known = before.and_then(|file| file.ledger.witness.as_ref());
    let found = card.as_ref().map(|card| card.log_key.to_string());
    let witness = place.once("witness", found, known)?;
    let mut broker = old.cloned().unwrap_or_default();
    broker.announce = announce.unwrap_or_else(|| listen.clone().unwrap_or_default());
    broker.http = http.unwrap_or(broker.http);
    let text = |path: &PathBuf| path.display().to_string();
    let found = broker.certificate.as_ref().map(text);
    let certificate = place.once("certificate", args.certificate, found.as_ref())?;
    let found = broker.private_key.as_ref().map(text);
    let private_key = place.once("private key", args.private_key, found.as_ref())?;
    broker.certificate = certificate.map(PathBuf::from);
    broker.private_key = private_key.map(PathBuf::from);
    if let Some(card) = &card {
        broker.trust_operator_addresses = texts(&card.addresses);
    }
    let node = place.operator_node(listen, args.log_http)?;
    let tokens = dir.join(&broker.tokens);
    let wanted = |public: &[u8; 32], log: &NoteKey| File {
        ledger: LedgerTable {
            iss: iss.clone(),
            broker: text_b64(public),
            trust_operator: trust_operator.clone(),
            log: log.to_string(),
            witness: witness.clone(),
        },
        node: node.clone(),
        broker: Some(broker.clone()),
        trust_operator: None,
        device: None,
    };
    let token = dir.join(TOKEN_FILE);
    place.finish(wanted, output, |is_first| {
        ensure_tokens(&tokens, &token, args.aud.as_deref(), &iss, is_first)
    })
}

fn trust_operator(args: arguments::TrustOperator, output: Output) -> Result<(), Failure> {
    let is_first = is_first(args.dir.as_deref());
    require(
        Role::TrustOperator,
        &[
            (DIR, args.dir.is_some()),
            (BROKER, args.broker.is_some()),
            (TRUST_OPERATOR_LISTEN, !args.listen.is_empty() || !is_first),
        ],
    )?;
    let dir = args.dir.unwrap_or_default();
    let place = Place::open(&dir, Role::TrustOperator)?;
    let before = place.before.as_ref();
    let old = before.and_then(|file| file.trust_operator.as_ref());
    let card = Card::read(&args.broker.unwrap_or_default(), Role::Broker).map_err(configuration)?;
    let iss = place.once(
        "iss",
        Some(card.iss.clone()),
        before.map(|file| &file.ledger.iss),
    )?;
    let key = Some(text_b64(&card.public_key));
    let broker = place.once("broker", key, before.map(|file| &file.ledger.broker))?;
    let key = Some(card.log_key.to_string());
    let log = place.once("log", key, before.map(|file| &file.ledger.log))?;
    let listen = place.list("listen", args.listen, before.map(|file| &file.node.listen))?;
    let announce = place.list("announce", args.announce, old.map(|old| &old.announce))?;
    let delay = place.once(
        "unfreeze delay",
        args.unfreeze_delay,
        old.map(|old| &old.unfreeze_delay_s),
    )?;
    let table = TrustOperatorTable {
        announce: announce.unwrap_or_else(|| listen.clone().unwrap_or_default()),
        unfreeze_delay_s: delay.unwrap_or_else(file::unfreeze_delay_s),
        broker_addresses: old.map_or_else(Vec::new, |old| old.broker_addresses.clone()),
    };
    let node = place.operator_node(listen, args.log_http)?;
    let wanted = |public: &[u8; 32], witness: &NoteKey| File {
        ledger: LedgerTable {
            iss: iss.clone().unwrap_or_default(),
            broker: broker.clone().unwrap_or_default(),
            trust_operator: Some(text_b64(public)),
            log: log.clone().unwrap_or_default(),
            witness: Some(witness.to_string()),
        },
        node: node.clone(),
        broker: None,
        trust_operator: Some(table.clone()),
        device: None,
    };
    place.finish(wanted, output, |_| Ok(()))
}

fn device(args: arguments::Device, output: Output) -> Result<(), Failure> {
    require(
        Role::Device,
        &[(DIR, args.dir.is_some()), (LEDGER, args.ledger.is_some())],
    )?;
    let dir = args.dir.unwrap_or_default();
    let place = Place::open(&dir, Role::Device)?;
    let path = args.ledger.unwrap_or_default();
    let ledger = read_ledger(&path).map_err(configuration)?;
    let keys = read_log_keys(&path).map_err(configuration)?;
    let before = place.before.as_ref();
    let old = before.map(|file| &file.ledger);
    let iss = place.once("iss", Some(ledger.iss), old.map(|old| &old.iss))?;
    let (broker, trust_operator) = (text_b64(&ledger.broker), text_b64(&ledger.trust_operator));
    let broker = place.once("broker", Some(broker), old.map(|old| &old.broker))?;
    let known = old.and_then(|old| old.trust_operator.as_ref());
    let trust_operator = place.once("trust operator", Some(trust_operator), known)?;
    let log = place.once("log", Some(keys.log.to_string()), old.map(|old| &old.log))?;
    let known = old.and_then(|old| old.witness.as_ref());
    let witness = place.once("witness", Some(keys.witness.to_string()), known)?;
    let device = before.and_then(|file| file.device.clone());
    let file = File {
        ledger: LedgerTable {
            iss: iss.unwrap_or_default(),
            broker: broker.unwrap_or_default(),
            trust_operator,
            log: log.unwrap_or_default(),
            witness,
        },
        node: place.node(Some(Vec::new()))?,
        broker: None,
        trust_operator: None,
        device: Some(device.unwrap_or_else(|| DeviceTable {
            control: file::control(),
            language: file::language(),
        })),
    };
    let config = Config::check(place.dir, file.clone()).map_err(configuration)?;
    place.master_key(&config.node.master_key)?;
    place.write(&file)?;
    let answer = json!({ "role": role_name(Role::Device), "dir": place.dir });
    output.print(&answer, || {
        let next = next::after(Role::Device, place.dir, true);
        format!("device's directory: {}\n{next}", place.dir.display())
    })
}

/// A directory that `init` works on, locked against a second `init`.
struct Place<'a> {
    dir: &'a Path,
    role: Role,
    before: Option<File>,
    _lock: fs::File,
}

impl<'a> Place<'a> {
    fn open(dir: &'a Path, role: Role) -> Result<Place<'a>, Failure> {
        let io = |action: &str, error: &std::io::Error| {
            let text = format!("could not {action} {}: {error}", dir.display());
            Failure::new(Exit::Io, text)
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| io("create", &error))?;
        let lock = fs::File::open(dir).map_err(|error| io("open", &error))?;
        lock.try_lock().map_err(|_| {
            let text = format!("{} is in use by another `warifu init`", dir.display());
            Failure::new(Exit::Configuration, text)
        })?;
        let path = dir.join(FILE_NAME);
        let before = match fs::read_to_string(&path) {
            Ok(text) => Some(File::parse(&path, &text).map_err(configuration)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io("read warifu.toml in", &error)),
        };
        let place = Place {
            dir,
            role,
            before,
            _lock: lock,
        };
        place.require_role()?;
        Ok(place)
    }

    fn require_role(&self) -> Result<(), Failure> {
        let Some(file) = &self.before else {
            return Ok(());
        };
        let found = [
            (Role::Broker, file.broker.is_some()),
            (Role::TrustOperator, file.trust_operator.is_some()),
            (Role::Device, file.device.is_some()),
        ];
        match found
            .iter()
            .find(|(role, is_there)| *is_there && *role != self.role)
        {
            Some((found, _)) => Err(self.contradiction("role", found, &self.role)),
            None => Ok(()),
        }
    }

    fn contradiction(
        &self,
        field: &str,
        found: &impl std::fmt::Display,
        given: &impl std::fmt::Display,
    ) -> Failure {
        let path = self.dir.join(FILE_NAME);
        let text = format!(
            "{field} given is {given}, expected {found} as in {}: a directory keeps its {field}",
            path.display()
        );
        Failure::new(Exit::Configuration, text)
    }

    /// What was given, or what stands in the file; refused if both are there and differ.
    fn once<T: PartialEq + Clone + std::fmt::Display>(
        &self,
        field: &str,
        given: Option<T>,
        before: Option<&T>,
    ) -> Result<Option<T>, Failure> {
        match (given, before) {
            (Some(given), Some(found)) if given != *found => {
                Err(self.contradiction(field, found, &given))
            }
            (Some(given), _) => Ok(Some(given)),
            (None, found) => Ok(found.cloned()),
        }
    }

    fn list(
        &self,
        field: &str,
        given: Vec<String>,
        before: Option<&Vec<String>>,
    ) -> Result<Option<Vec<String>>, Failure> {
        match before {
            Some(found) if !given.is_empty() && given != *found => {
                Err(self.contradiction(field, &found.join(" "), &given.join(" ")))
            }
            Some(found) => Ok(Some(found.clone())),
            None => Ok((!given.is_empty()).then_some(given)),
        }
    }

    fn node(&self, listen: Option<Vec<String>>) -> Result<NodeTable, Failure> {
        if let Some(before) = &self.before {
            return Ok(before.node.clone());
        }
        let listen = listen.unwrap_or_default();
        let identity = (self.role != Role::Device).then(|| "identity.key".into());
        Ok(NodeTable::new(
            identity,
            default_master_key(self.dir),
            listen,
        ))
    }

    /// [`Place::node`] of an operator, who may serve the log; a later run may add that.
    fn operator_node(
        &self,
        listen: Option<Vec<String>>,
        log_http: Option<String>,
    ) -> Result<NodeTable, Failure> {
        let mut node = self.node(listen)?;
        let before = Some(&node.log_http).filter(|address| !address.is_empty());
        let log_http = self.once("log http address", log_http, before)?;
        node.log_http = log_http.unwrap_or_default();
        Ok(node)
    }

    /// Once a configuration stands, a missing key is a loss to be told, not a key to be made.
    fn identity(&self, path: &Path) -> Result<IdentitySeed, Failure> {
        let seed = if self.before.is_some() {
            IdentitySeed::read(path)
        } else {
            IdentitySeed::read_or_create(path)
        };
        seed.map_err(secret)
    }

    fn master_key(&self, path: &Path) -> Result<(), Failure> {
        let kept = if self.before.is_some() {
            secrets::read_master_key(path).map(drop)
        } else {
            secrets::ensure_master_key(path)
        };
        kept.map_err(secret)
    }

    /// Writes what is missing of an operator's directory, the configuration last, and tells.
    fn finish(
        &self,
        wanted: impl Fn(&[u8; 32], &NoteKey) -> File,
        output: Output,
        tokens: impl FnOnce(bool) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // Checked with any key first: wrong arguments leave nothing behind.
        let none = LogKey::from_seed([0; 32], "none", self.algorithm()).map_err(key_name)?;
        let trial = wanted(&IdentityKey::from_seed([0; 32]).public(), none.public());
        let iss = trial.ledger.iss.clone();
        let identity = trial.node.identity.clone();
        let identity = self
            .dir
            .join(identity.unwrap_or_else(|| "identity.key".into()));
        let node = trial.node.clone();
        check_but_keys(self.dir, trial)?;
        let seed = self.identity(&identity)?;
        let path = node
            .checkpoint_key
            .clone()
            .unwrap_or_else(file::checkpoint_key);
        let log_key = checkpoint_key(&self.dir.join(path), &iss, self.role, self.before.is_none());
        let log_key = log_key.map_err(configuration)?;
        let file = wanted(&seed.public(), log_key.public());
        if let Some(before) = &self.before {
            let (found, expected) = (own_key(&file, self.role), own_key(before, self.role));
            if found != expected {
                let text = format!(
                    "{} holds the key {found}, expected {expected} as in {FILE_NAME}",
                    identity.display()
                );
                return Err(Failure::new(Exit::Configuration, text));
            }
        }
        let ledger = match Config::check(self.dir, file.clone()) {
            Ok(config) => Some((config.ledger, config.log_keys)),
            Err(ConfigError::Incomplete { .. }) => None,
            Err(error) => return Err(configuration(error)),
        };
        let master_key = node
            .master_key
            .unwrap_or_else(|| default_master_key(self.dir));
        self.master_key(&self.dir.join(master_key))?;
        tokens(self.before.is_none())?;
        let card = self.card(&file, seed.public(), log_key.public().clone());
        let card_path = self.dir.join("card.toml");
        put(&card_path, &card.render(), 0o644)?;
        let ledger_path = self.dir.join("ledger.toml");
        if let Some((ledger, keys)) = &ledger {
            put(&ledger_path, &render_ledger(ledger, keys), 0o644)?;
        }
        self.write(&file)?;
        self.tell(&card, ledger.is_some(), output)
    }

    fn algorithm(&self) -> Algorithm {
        match self.role {
            Role::TrustOperator => Algorithm::Cosignature,
            Role::Broker | Role::Device => Algorithm::Ed25519,
        }
    }

    fn card(&self, file: &File, public_key: [u8; 32], log_key: NoteKey) -> Card {
        let announce = match (&file.broker, &file.trust_operator) {
            (Some(broker), _) => broker.announce.as_slice(),
            (None, Some(trust_operator)) => trust_operator.announce.as_slice(),
            (None, None) => &[],
        };
        Card {
            role: self.role,
            iss: file.ledger.iss.clone(),
            public_key,
            log_key,
            addresses: announce
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
        }
    }

    /// Writes the configuration if it says something new: comments of the operator's stay.
    fn write(&self, file: &File) -> Result<(), Failure> {
        if self.before.as_ref() == Some(file) {
            return Ok(());
        }
        let path = self.dir.join(FILE_NAME);
        secrets::replace(&path, file.render().as_bytes(), 0o600).map_err(secret)
    }

    fn tell(&self, card: &Card, complete: bool, output: Output) -> Result<(), Failure> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let token = (self.role == Role::Broker).then(|| path(TOKEN_FILE));
        let answer = json!({
            "role": role_name(self.role),
            "dir": self.dir,
            "public_key": text_b64(&card.public_key),
            "peer_id": card.peer_id(),
            "card": path("card.toml"),
            "ledger": complete.then(|| path("ledger.toml")),
            "token_file": token,
            "complete": complete,
        });
        output.print(&answer, || {
            let mut lines = vec![
                format!("{}'s directory: {}", self.role, self.dir.display()),
                format!("peer id:  {}", card.peer_id()),
                format!("card:     {}", path("card.toml")),
            ];
            lines.extend(token.map(|token| {
                format!("token:    {token} (hand it to the login service, then delete it)")
            }));
            lines.extend(complete.then(|| {
                let ledger = path("ledger.toml");
                format!("ledger:   {ledger} (for devices, login services and verifiers)")
            }));
            lines.push(next::after(self.role, self.dir, complete));
            lines.join("\n")
        })
    }
}

/// Everything but the keys, before any is made.
fn check_but_keys(dir: &Path, mut trial: File) -> Result<(), Failure> {
    trial.ledger.trust_operator = None;
    trial.ledger.witness = None;
    match Config::check(dir, trial) {
        Ok(_) | Err(ConfigError::Incomplete { .. }) => Ok(()),
        Err(error) => Err(configuration(error)),
    }
}

fn own_key(file: &File, role: Role) -> String {
    match role {
        Role::TrustOperator => file.ledger.trust_operator.clone().unwrap_or_default(),
        Role::Broker | Role::Device => file.ledger.broker.clone(),
    }
}

fn read_card(path: &Path, role: Role, iss: &str) -> Result<Card, Failure> {
    let card = Card::read(path, role).map_err(configuration)?;
    if card.iss == iss {
        return Ok(card);
    }
    let text = format!("{}: iss is {}, expected {iss}", path.display(), card.iss);
    Err(Failure::new(Exit::Configuration, text))
}

/// Makes the first caller. A half-done run left the token without its hash: it is used again.
fn ensure_tokens(
    tokens: &Path,
    token: &Path,
    aud: Option<&str>,
    iss: &str,
    is_first: bool,
) -> Result<(), Failure> {
    if tokens.symlink_metadata().is_ok() {
        let known = Tokens::read(tokens).map_err(secret)?;
        let first = known
            .callers()
            .iter()
            .find(|caller| caller.name == FIRST_CALLER);
        return match (aud, first) {
            (Some(given), Some(first)) if given != first.aud => Err(Failure::new(
                Exit::Configuration,
                format!(
                    "aud given is {given}, expected {} as in {}",
                    first.aud,
                    tokens.display()
                ),
            )),
            _ => Ok(()),
        };
    }
    if !is_first {
        let text = format!(
            "{} is missing, expected the callers' hashes",
            tokens.display()
        );
        return Err(Failure::new(Exit::Configuration, text));
    }
    let aud = aud.unwrap_or(iss);
    let secret_token = read_or_create_token(token).map_err(secret)?;
    let made = Tokens::new(vec![Caller {
        name: FIRST_CALLER.to_owned(),
        aud: aud.to_owned(),
        scopes: Scope::USUAL.to_vec(),
        hash: token_hash(&secret_token),
    }]);
    let text = made
        .render()
        .map_err(|error| Failure::from_error(Exit::Io, &error))?;
    secrets::create_new(tokens, text.as_bytes()).map_err(secret)
}

/// Writes a file unless it holds just this text.
fn put(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    secrets::replace(path, text.as_bytes(), mode).map_err(secret)
}

fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn key_name(error: KeyError) -> Failure {
    Failure::from_error(Exit::Configuration, &error)
}

fn configuration(error: ConfigError) -> Failure {
    Failure::from_error(Exit::Configuration, &error)
}

fn secret(error: SecretError) -> Failure {
    let exit = match &error {
        SecretError::Io { source, .. } if source.kind() != std::io::ErrorKind::NotFound => Exit::Io,
        _ => Exit::Configuration,
    };
    Failure::from_error(exit, &error)
}
