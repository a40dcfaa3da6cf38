//! Where a bench plays: a temporary directory with a broker, a trust operator and devices, made by
//! the code of `warifu init`, and the processes that run them.
//!
//! Everything is gone when the stage is: the processes first, then the directory.

use std::{
    ffi::OsString,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use tempfile::TempDir;
use warifu_client_sdk::login_service::{LoginService, MemoryPins, Token};

use super::{devices, marker, pipe::Told, process::Process};
use crate::{
    cli::init,
    config::{self, read_ledger},
    output::{Exit, Failure, Output},
    secrets::{self, Caller, Scope, SecretError, Tokens, read_or_create_token, token_hash},
};

/// The relying party of the bench's login services.
const AUD: &str = "https://bench.example";
/// The ledger's origin.
const ISS: &str = "https://ledger.example";
/// Login services: each may begin 6,000 logins in a minute.
pub(super) const CALLERS: usize = 16;
/// How long the operators may take to find each other.
const MEET: Duration = Duration::from_secs(30);
/// Between two looks whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// Options that every bench takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StageArgs {
    /// Where the bench makes its directory, and removes it; choose the disk to be measured
    /// [default: the system's temporary directory].
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
}

/// `warifu init …` as its users write it.
#[derive(Parser)]
#[command(name = "init")]
struct Init {
    #[command(subcommand)]
    command: init::Command,
}

/// The two operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Node {
    /// The broker.
    Broker,
    /// The trust operator.
    TrustOperator,
}

impl Node {
    /// Both, in the order of starting.
    pub(super) const ALL: [Node; 2] = [Node::TrustOperator, Node::Broker];

    /// Its directory's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Node::Broker => "broker",
            Node::TrustOperator => "trust-operator",
        }
    }
}

/// See the module.
pub(super) struct Stage {
    broker: Option<Process>,
    trust_operator: Option<Process>,
    devices: Option<Process>,
    hostile: Option<Process>,
    sync_delay_ms: u64,
    http: String,
    metrics: [String; 2],
    tokens: Vec<Token>,
    marker: String,
    // Dropped last: nobody may miss it before.
    dir: TempDir,
}

fn io(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Io, format!("could not {what}: {error}"))
}

fn secret(error: SecretError) -> Failure {
    Failure::from_error(Exit::Io, &error)
}

/// An address of loopback whose port is free now.
fn free_address() -> Result<String, Failure> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.map_err(|error| io("find a free port", &error))?.port();
    Ok(format!("/ip4/127.0.0.1/tcp/{port}"))
}

impl Stage {
    /// Makes the temporary directory, and nothing in it. Every sync of the operators will take
    /// `sync_delay_ms` longer.
    pub(super) fn new(args: &StageArgs, sync_delay_ms: u64) -> Result<Stage, Failure> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("warifu-bench-");
        let dir = match &args.dir {
            Some(dir) => builder.tempdir_in(dir),
            None => builder.tempdir(),
        };
        let dir = dir.map_err(|error| io("make a temporary directory", &error))?;
        Ok(Stage {
            broker: None,
            trust_operator: None,
            devices: None,
            hostile: None,
            sync_delay_ms,
            http: String::new(),
            metrics: Default::default(),
            tokens: Vec::new(),
            marker: String::new(),
            dir,
        })
    }

    /// Makes the directories of two operators and this many devices; nothing runs yet.
    pub(super) async fn prepare(&mut self, devices: usize) -> Result<(), Failure> {
        self.init_operators()?;
        for node in Node::ALL {
            self.watch(node)?;
        }
        self.add_callers()?;
        std::fs::create_dir(self.devices_dir()).map_err(|error| io("make devices", &error))?;
        self.marker = marker::make(&self.devices_dir())?;
        let bar = super::progress("directories", devices);
        for device in 0..devices {
            self.init_device(device)?;
            bar.inc(1);
            // A signal must be seen between two of them.
            tokio::task::yield_now().await;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Lets an operator be watched, at a port that the system chooses.
    fn watch(&self, node: Node) -> Result<(), Failure> {
        let path = self.path(node).join(config::FILE_NAME);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| io("read a configuration", &error))?;
        let mut file = config::File::parse(&path, &text)
            .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
        file.node.metrics = "127.0.0.1:0".to_owned();
        secrets::replace(&path, file.render().as_bytes(), 0o600).map_err(secret)
    }

    /// Where an operator tells what it counts.
    pub(super) fn metrics(&self, node: Node) -> &str {
        let [broker, trust_operator] = &self.metrics;
        match node {
            Node::Broker => broker,
            Node::TrustOperator => trust_operator,
        }
    }

    fn path(&self, node: Node) -> PathBuf {
        self.dir.path().join(node.name())
    }

    fn devices_dir(&self) -> PathBuf {
        self.dir.path().join("devices")
    }

    /// Where an operator keeps journal, vault and index.
    pub(super) fn data(&self, node: Node) -> PathBuf {
        self.path(node).join("data")
    }

    fn init(&self, arguments: &[&str]) -> Result<(), Failure> {
        let all = std::iter::once(&"init").chain(arguments);
        let init = Init::try_parse_from(all)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        init::run(init.command, Output::new(false, None).quiet())
    }

    fn init_operators(&self) -> Result<(), Failure> {
        let text = |path: &Path| path.display().to_string();
        let (broker, trust) = (
            text(&self.path(Node::Broker)),
            text(&self.path(Node::TrustOperator)),
        );
        let card = |dir: &str| text(&Path::new(dir).join("card.toml"));
        let (first, second) = (free_address()?, free_address()?);
        self.init(&[
            "broker",
            "--dir",
            &broker,
            "--iss",
            ISS,
            "--aud",
            AUD,
            "--listen",
            &first,
            "--http",
            "127.0.0.1:0",
        ])?;
        self.init(&[
            "trust-operator",
            "--dir",
            &trust,
            "--broker",
            &card(&broker),
            "--listen",
            &second,
        ])?;
        self.init(&[
            "broker",
            "--dir",
            &broker,
            "--trust-operator",
            &card(&trust),
        ])
    }

    /// Enters the bench's login services at the broker, as its operator would.
    fn add_callers(&mut self) -> Result<(), Failure> {
        let dir = self.path(Node::Broker);
        let path = dir.join("tokens.toml");
        let mut callers = Tokens::read(&path).map_err(secret)?.callers().to_vec();
        for number in 0..CALLERS {
            let file = dir.join(format!("bench-{number}.token"));
            let token = read_or_create_token(&file).map_err(secret)?;
            callers.push(Caller {
                name: format!("bench-{number}"),
                aud: AUD.to_owned(),
                scopes: vec![Scope::Login, Scope::Enrol],
                hash: token_hash(&token),
            });
            let token = Token::new(&token);
            self.tokens
                .push(token.map_err(|error| Failure::from_error(Exit::Io, &error))?);
        }
        let text = Tokens::new(callers).render();
        let text = text.map_err(|error| io("write the callers", &error))?;
        secrets::replace(&path, text.as_bytes(), 0o600).map_err(secret)
    }

    fn init_device(&self, device: usize) -> Result<(), Failure> {
        let dir = devices::directory(&self.devices_dir(), device);
        let ledger = self.path(Node::Broker).join("ledger.toml");
        let (dir, ledger) = (dir.display().to_string(), ledger.display().to_string());
        self.init(&["device", "--dir", &dir, "--ledger", &ledger])
    }

    /// The process of an operator.
    pub(super) fn node(&self, node: Node) -> Result<&Process, Failure> {
        let process = match node {
            Node::Broker => &self.broker,
            Node::TrustOperator => &self.trust_operator,
        };
        process.as_ref().ok_or_else(|| {
            Failure::new(
                Exit::Unreachable,
                format!("the {} is not running", node.name()),
            )
        })
    }

    /// The process of the devices.
    pub(super) fn devices(&mut self) -> Result<&mut Process, Failure> {
        let missing = || Failure::new(Exit::Unreachable, "the devices are not running");
        self.devices.as_mut().ok_or_else(missing)
    }

    /// Starts an operator and waits until it is ready.
    pub(super) async fn start(&mut self, node: Node) -> Result<(), Failure> {
        let mut arguments: Vec<OsString> = vec!["run".into(), "--dir".into()];
        arguments.push(self.path(node).into());
        arguments.push("--until-stdin-ends".into());
        arguments.push(format!("--sync-delay-ms={}", self.sync_delay_ms).into());
        let log = self.dir.path().join(format!("{}.log", node.name()));
        let process = Process::spawn(node.name(), arguments, log)?;
        // Kept before it is waited for: whatever comes, it is stopped with the stage.
        let process = match node {
            Node::Broker => self.broker.insert(process),
            Node::TrustOperator => self.trust_operator.insert(process),
        };
        let ready = process.first_line().await?;
        if let Some(url) = field(&ready, "metrics") {
            let [broker, trust_operator] = &mut self.metrics;
            let place = match node {
                Node::Broker => broker,
                Node::TrustOperator => trust_operator,
            };
            *place = format!("{url}/metrics");
        }
        if let Some(http) = field(&ready, "http") {
            http.clone_into(&mut self.http);
        }
        Ok(())
    }

    /// Starts both operators, and waits until they have found each other.
    pub(super) async fn start_operators(&mut self) -> Result<(), Failure> {
        for node in Node::ALL {
            self.start(node).await?;
        }
        self.wait_ready().await
    }

    /// Waits until the broker says that logins are possible.
    pub(super) async fn wait_ready(&self) -> Result<(), Failure> {
        let ready = format!("{}/readyz", self.http);
        let meeting = async {
            while !super::scrape::is_ok(&ready).await {
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| Failure::new(Exit::Unreachable, "the operators did not find each other");
        tokio::time::timeout(MEET, meeting).await.map_err(late)
    }

    /// Starts the process of the devices and waits until all have started.
    pub(super) async fn start_devices(&mut self, devices: usize) -> Result<(), Failure> {
        let mut arguments: Vec<OsString> = vec!["bench".into(), "devices".into(), "--dir".into()];
        arguments.push(self.devices_dir().into());
        arguments.push(format!("--devices={devices}").into());
        let log = self.dir.path().join("devices.log");
        let process = Process::spawn("devices' process", arguments, log)?;
        let process = self.devices.insert(process);
        let marker = self.marker.clone();
        process.tell(&Told::Marker { marker }).await?;
        process.first_line().await.map(drop)
    }

    /// Starts the process of hostile peers: `pinned` of them have the keys of the devices from
    /// number `from` on, which must not run.
    pub(super) async fn start_hostile(
        &mut self,
        from: usize,
        pinned: usize,
        connections: usize,
    ) -> Result<(), Failure> {
        let mut arguments: Vec<OsString> = vec!["bench".into(), "flood".into(), "--dir".into()];
        arguments.push(self.devices_dir().into());
        arguments.extend([
            format!("--from={from}").into(),
            format!("--pinned={pinned}").into(),
            format!("--connections={connections}").into(),
            "--operators".into(),
        ]);
        for node in [Node::Broker, Node::TrustOperator] {
            arguments.push(self.socket(node)?.into());
        }
        let log = self.dir.path().join("hostile.log");
        let process = Process::spawn("process of hostile peers", arguments, log)?;
        let process = self.hostile.insert(process);
        let marker = self.marker.clone();
        process.tell(&Told::Marker { marker }).await?;
        process.first_line().await.map(drop)
    }

    /// The process of hostile peers.
    pub(super) fn hostile(&mut self) -> Result<&mut Process, Failure> {
        let missing = || Failure::new(Exit::Unreachable, "no hostile peers are running");
        self.hostile.as_mut().ok_or_else(missing)
    }

    /// Where an operator listens for parties: address and port.
    fn socket(&self, node: Node) -> Result<String, Failure> {
        let path = self.path(node).join(config::FILE_NAME);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| io("read a configuration", &error))?;
        let file = config::File::parse(&path, &text)
            .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
        let listen = file.node.listen.first().map(String::as_str);
        let mut parts = listen.unwrap_or_default().split('/').skip(2).step_by(2);
        match (parts.next(), parts.next()) {
            (Some(ip), Some(port)) => Ok(format!("{ip}:{port}")),
            _ => Err(Failure::new(
                Exit::Configuration,
                format!("the {} listens nowhere", node.name()),
            )),
        }
    }

    /// What an operator has logged.
    pub(super) fn log(&self, node: Node) -> Result<String, Failure> {
        let path = self.dir.path().join(format!("{}.log", node.name()));
        std::fs::read_to_string(path).map_err(|error| io("read a log", &error))
    }

    /// Stops the process of the devices.
    pub(super) async fn stop_devices(&mut self) {
        if let Some(devices) = self.devices.take() {
            devices.stop().await;
        }
    }

    /// Stops an operator.
    pub(super) async fn stop_node(&mut self, node: Node) {
        let process = match node {
            Node::Broker => self.broker.take(),
            Node::TrustOperator => self.trust_operator.take(),
        };
        if let Some(process) = process {
            process.stop().await;
        }
    }

    /// The bench's login services, each with pins of its own.
    pub(super) fn login_services(&mut self) -> Result<Vec<LoginService<MemoryPins>>, Failure> {
        let path = self.path(Node::Broker).join("ledger.toml");
        let ledger =
            read_ledger(&path).map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
        let tokens = std::mem::take(&mut self.tokens);
        let service = |token| {
            let pins = MemoryPins::default();
            LoginService::new(&self.http, token, ledger.clone(), AUD, pins)
                .map_err(|error| Failure::from_error(Exit::Io, &error))
        };
        tokens.into_iter().map(service).collect()
    }

    /// Stops every process, the devices first, and removes the directory.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        if let Some(hostile) = self.hostile.take() {
            hostile.stop().await;
        }
        self.stop_devices().await;
        for node in Node::ALL.into_iter().rev() {
            self.stop_node(node).await;
        }
        self.dir
            .close()
            .map_err(|error| io("remove the bench's directory", &error))
    }
}

/// The value of `name=value` in a line that tells that a node is ready.
fn field<'a>(ready: &'a str, name: &str) -> Option<&'a str> {
    ready
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}
