//! Runs a node of any role until it is told to stop, or has to.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};
use warifu_client_sdk::{
    runtime::Clock,
    store::{self, Occupant, StoreError},
    transport::Multiaddr,
};
use warifu_consensus::{agree::TrustOperatorOptions, party::Role};

use crate::{
    api::{self, Follow, Live},
    clock,
    config::{
        BrokerConfig, Config, ConfigError, PublicWitness, PushConfig, RoleConfig, TlsFiles,
        TrustOperatorConfig,
    },
    control::ControlError,
    log::PublicWitnesses,
    log_http::{LogListener, LogSide},
    observe::{Listener, Recorder, RecorderError},
    output, progress,
    roles::{
        broker::{Broker, BrokerSettings, PushSettings},
        device::{self, DeviceRunError},
        operator::{OperatorError, OperatorOptions},
        trust_operator::TrustOperator,
    },
    secrets::{self, IdentitySeed, SecretError, Tokens},
};

/// Why a node did not start, or stopped on its own.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A key or token file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The configuration lacks something that this role needs.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A node runs in this directory.
    #[error("{} is in use by {holder}, expected nobody: one node runs in a directory", .dir.display())]
    InUse {
        /// The node's directory.
        dir: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The directory's lock can't be looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An operator's store or lines.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A device's store, lines or control channel.
    #[error(transparent)]
    Device(#[from] DeviceRunError),
    /// The control channel.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The HTTP side.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// What the node does can't be counted.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// The HTTP side's certificate or its key.
    #[error(transparent)]
    Certificate(#[from] api::TlsError),
    /// Public witnesses can't be asked.
    #[error("public witnesses can't be asked: {0}")]
    PublicWitnesses(String),
    /// TLS can't be set up.
    #[error("no TLS: {0}")]
    Tls(rustls::Error),
    /// The HTTP side stopped.
    #[error(transparent)]
    Serve(#[from] api::ServeError),
    /// Standard output is gone.
    #[error("cannot say that the node is ready: {0}")]
    Ready(std::io::Error),
    /// Keeping what must be kept failed: nothing is signed any more.
    #[error("stopped, because what must be kept can't be kept: {0}")]
    Ended(String),
}

/// How long the HTTP side may still answer what is under way.
const HTTP_END: Duration = Duration::from_secs(2);

/// Runs the node of `config` until `shutdown` is ready, then stops it gracefully.
///
/// # Errors
/// [`RunError`] when it could not start or had to stop.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    refuse_second(&config)?;
    match config.role.clone() {
        RoleConfig::Broker(broker) => run_broker(config, broker, shutdown).await,
        RoleConfig::TrustOperator(own) => run_trust_operator(config, own, shutdown).await,
        RoleConfig::Device(own) => Ok(device::run(config, own, shutdown).await?),
    }
}

/// The one clock, as the runtime wants it.
pub(crate) fn node_clock() -> Clock {
    Arc::new(clock::now)
}

/// Says who runs in a directory before anything of it is opened; the lock itself is the store's.
fn refuse_second(config: &Config) -> Result<(), RunError> {
    match store::occupant(&config.node.data)? {
        None => Ok(()),
        Some(Occupant { pid }) => Err(RunError::InUse {
            dir: config.dir.clone(),
            holder: pid.map_or_else(
                || "another process".to_owned(),
                |pid| format!("process {pid}"),
            ),
        }),
    }
}

/// The listener for those who watch, if the configuration has one; bound before any store is opened.
async fn watch_listener(config: &Config) -> Result<Option<Listener>, RunError> {
    let Some(address) = config.node.metrics else {
        return Ok(None);
    };
    let recorder = Recorder::install()?;
    recorder.begin(config.role());
    let bound = Listener::bind(address, recorder).await;
    bound
        .map(Some)
        .map_err(|source| RunError::Listen { address, source })
}

/// The listener for everyone who reads the log, if the configuration has one; bound as early.
async fn log_listener(config: &Config) -> Result<Option<LogListener>, RunError> {
    let Some(address) = config.node.log_http else {
        return Ok(None);
    };
    let bound = LogListener::bind(address).await;
    bound
        .map(Some)
        .map_err(|source| RunError::Listen { address, source })
}

/// Shows the log's checkpoints to public witnesses until what is given back is dropped.
fn show_witnesses(
    side: &mut LogSide,
    witnesses: Vec<PublicWitness>,
) -> Result<JoinSet<()>, RunError> {
    let mut showing = JoinSet::new();
    if witnesses.is_empty() {
        return Ok(showing);
    }
    side.witnesses = witnesses.iter().map(|other| other.key.clone()).collect();
    let (rounds, witnessed) = PublicWitnesses::new(Arc::clone(&side.book), witnesses)
        .map_err(RunError::PublicWitnesses)?;
    side.witnessed = Some(witnessed);
    showing.spawn(rounds.run());
    Ok(showing)
}

/// Says that an operator is up, and where.
fn ready(
    role: Role,
    fields: &[(&str, &str)],
    watching: Option<&Listener>,
    log: Option<&LogListener>,
) -> Result<(), RunError> {
    let (watching, log) = (watching.map(Listener::url), log.map(LogListener::url));
    let metrics = watching.as_deref().map(|url| ("metrics", url));
    let log = log.as_deref().map(|url| ("log", url));
    let fields: Vec<(&str, &str)> = fields.iter().copied().chain(metrics).chain(log).collect();
    output::ready(role, &fields).map_err(RunError::Ready)
}

fn operator_options<'a>(
    config: &'a Config,
    role: Role,
    other_addresses: Vec<Multiaddr>,
    progress: &'a mut dyn FnMut(u64, u64),
) -> Result<OperatorOptions<'a>, RunError> {
    let path = config.node.identity.as_deref().unwrap_or(&config.dir);
    let seed = IdentitySeed::read(path)?;
    Ok(OperatorOptions {
        role,
        ledger: config.ledger.clone(),
        identity: Arc::new(seed.key()),
        wire_identity: seed.wire(),
        data: &config.node.data,
        log_keys: config.log_keys.clone(),
        log_key: config
            .checkpoint_key()?
            .ok_or_else(|| ConfigError::Missing {
                dir: config.dir.clone(),
            })?,
        master_key: secrets::read_master_key(&config.node.master_key)?,
        sync_delay: config.node.sync_delay,
        listen: config.node.listen.clone(),
        other_addresses,
        clock: node_clock(),
        reserve_bytes: config.node.disk_reserve_bytes,
        progress,
    })
}

/// The push service with its token.
fn push_settings(push: &PushConfig) -> Result<PushSettings, SecretError> {
    Ok(PushSettings {
        url: push.url.clone(),
        token: secrets::read_token(&push.token_file)?,
        timeout: push.timeout,
    })
}

async fn run_broker(
    config: Config,
    own: BrokerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let door = Door::open(&own)?;
    let listener = TcpListener::bind(own.http)
        .await
        .map_err(|source| RunError::Listen {
            address: own.http,
            source,
        })?;
    let mut watching = watch_listener(&config).await?;
    let mut log = log_listener(&config).await?;
    let bar = progress::bytes("index", false);
    let mut progress = |done, total| progress::show(&bar, done, total);
    let options = operator_options(
        &config,
        Role::Broker,
        own.trust_operator_addresses.clone(),
        &mut progress,
    )?;
    let settings = BrokerSettings {
        announce: own.announce.clone(),
        trust_operator_announce: own.trust_operator_addresses.clone(),
        proposal_lifetime_s: own.proposal_lifetime_s,
        ticket_lifetime_s: own.ticket_lifetime_s,
        push: own.push.as_ref().map(push_settings).transpose()?,
    };
    let broker = Broker::start(options, settings).await?;
    if let Some(watching) = &mut watching {
        watching.serve(broker.watched());
    }
    let mut side = broker.log_side();
    let showing = show_witnesses(&mut side, own.witnesses)?;
    if let Some(log) = &mut log {
        log.serve(side);
    }
    let http = listener.local_addr().unwrap_or(own.http);
    ready(
        Role::Broker,
        &[
            ("http", &format!("{}://{http}", door.scheme())),
            ("listen", &broker.listeners().join(",")),
        ],
        watching.as_ref(),
        log.as_ref(),
    )?;
    let (stop, stopped) = oneshot::channel::<()>();
    let router = api::router_with(Arc::new(broker.clone()), door.tokens, own.limits);
    let stopped = async move {
        // The sender's end, said or dropped, is the word to stop.
        drop(stopped.await);
    };
    let serving = api::serve_with(listener, router, door.tls, own.limits, stopped);
    let mut serving = tokio::spawn(serving);
    let ending = broker.ending().clone();
    let ended = tokio::select! {
        () = shutdown => None,
        reason = ending.wait() => Some(RunError::Ended(reason)),
        served = &mut serving => served.ok().and_then(Result::err).map(RunError::Serve),
    };
    // Who waits on the HTTP side gets its answer while that side still answers.
    broker.wind_down().await;
    drop(stop);
    if !serving.is_finished() {
        match tokio::time::timeout(HTTP_END, &mut serving).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the http side did not end cleanly"),
            Ok(Err(error)) => tracing::warn!(%error, "the http side did not end cleanly"),
            Err(_) => tracing::info!("slow http clients are cut off"),
        }
        serving.abort();
    }
    drop(showing);
    if let Some(log) = log {
        log.end().await;
    }
    broker.stop().await;
    ended.map_or(Ok(()), Err)
}

/// What guards a broker's HTTP side, followed as its files change until this is dropped.
struct Door {
    tokens: Arc<Live<Tokens>>,
    tls: Option<Arc<rustls::ServerConfig>>,
    _following: JoinSet<()>,
}

impl Door {
    fn open(own: &BrokerConfig) -> Result<Self, RunError> {
        let mut following = JoinSet::new();
        let (path, files) = (own.tokens.clone(), vec![own.tokens.clone()]);
        let (tokens, follow) = Follow::open("tokens", files, move || Tokens::read(&path))?;
        let tokens = Arc::new(tokens);
        following.spawn(follow.run(Arc::clone(&tokens)));
        let tls = match own.tls.clone() {
            None => None,
            Some(TlsFiles {
                certificate,
                private_key,
            }) => {
                let files = vec![certificate.clone(), private_key.clone()];
                let read = move || api::read_pair(&certificate, &private_key);
                let (pair, follow) = Follow::open("certificate", files, read)?;
                let pair = Arc::new(pair);
                following.spawn(follow.run(Arc::clone(&pair)));
                Some(api::server_config(pair).map_err(RunError::Tls)?)
            }
        };
        Ok(Self {
            tokens,
            tls,
            _following: following,
        })
    }

    const fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}

async fn run_trust_operator(
    config: Config,
    own: TrustOperatorConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut watching = watch_listener(&config).await?;
    let mut log = log_listener(&config).await?;
    let bar = progress::bytes("index", false);
    let mut progress = |done, total| progress::show(&bar, done, total);
    let options = operator_options(
        &config,
        Role::TrustOperator,
        own.broker_addresses.clone(),
        &mut progress,
    )?;
    let policy = TrustOperatorOptions {
        unfreeze_delay_s: own.unfreeze_delay_s,
    };
    let node = TrustOperator::start(options, policy).await?;
    if let Some(watching) = &mut watching {
        watching.serve(node.watched());
    }
    if let Some(log) = &mut log {
        log.serve(node.log_side());
    }
    ready(
        Role::TrustOperator,
        &[("listen", &node.listeners().join(","))],
        watching.as_ref(),
        log.as_ref(),
    )?;
    let ending = node.ending.clone();
    let ended = tokio::select! {
        () = shutdown => None,
        reason = ending.wait() => Some(RunError::Ended(reason)),
    };
    if let Some(log) = log {
        log.end().await;
    }
    node.stop().await;
    ended.map_or(Ok(()), Err)
}
