//! Runs a node of any role until it is told to stop, or has to.

use std::{future::Future, io::IsTerminal, net::SocketAddr, sync::Arc};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{net::TcpListener, sync::oneshot};
use warifu_client_sdk::{runtime::Clock, transport::Multiaddr};
use warifu_consensus::{agree::TrustOperatorOptions, party::Role};

use crate::{
    api, clock,
    config::{BrokerConfig, Config, ConfigError, RoleConfig, TrustOperatorConfig},
    control::ControlError,
    observe::{Listener, Recorder, RecorderError},
    output,
    roles::{
        broker::{Broker, BrokerSettings},
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

/// Runs the node of `config` until `shutdown` is ready, then stops it gracefully.
///
/// # Errors
/// [`RunError`] when it could not start or had to stop.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
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

/// A progress bar for a rebuilt index, where somebody looks.
struct Rebuild(Option<ProgressBar>);

impl Rebuild {
    fn new() -> Self {
        Self(None)
    }

    fn show(&mut self, done: u64, total: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.0.get_or_insert_with(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) =
                ProgressStyle::with_template("index {bar:40} {bytes}/{total_bytes} {eta}")
            {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    }
}

/// The listener for those who watch, if the configuration has one; bound before any store is opened.
async fn watch_listener(config: &Config) -> Result<Option<Listener>, RunError> {
    let Some(address) = config.node.metrics else {
        return Ok(None);
    };
    let bound = Listener::bind(address, Recorder::install()?).await;
    bound
        .map(Some)
        .map_err(|source| RunError::Listen { address, source })
}

/// Says that an operator is up, and where.
fn ready(role: Role, fields: &[(&str, &str)], watching: Option<&Listener>) -> Result<(), RunError> {
    let url = watching.map(Listener::url);
    let metrics = url.as_deref().map(|url| ("metrics", url));
    let fields: Vec<(&str, &str)> = fields.iter().copied().chain(metrics).collect();
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
        master_key: secrets::read_master_key(&config.node.master_key)?,
        sync_delay: config.node.sync_delay,
        listen: config.node.listen.clone(),
        other_addresses,
        clock: node_clock(),
        progress,
    })
}

async fn run_broker(
    config: Config,
    own: BrokerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let tokens = Tokens::read(&own.tokens)?;
    let listener = TcpListener::bind(own.http)
        .await
        .map_err(|source| RunError::Listen {
            address: own.http,
            source,
        })?;
    let mut watching = watch_listener(&config).await?;
    let mut bar = Rebuild::new();
    let mut progress = |done, total| bar.show(done, total);
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
    };
    let broker = Broker::start(options, settings).await?;
    if let Some(watching) = &mut watching {
        watching.serve(broker.readiness());
    }
    let http = listener.local_addr().unwrap_or(own.http);
    ready(
        Role::Broker,
        &[
            ("http", &format!("http://{http}")),
            ("listen", &broker.listeners().join(",")),
        ],
        watching.as_ref(),
    )?;
    let (stop, stopped) = oneshot::channel::<()>();
    let router = api::router(Arc::new(broker.clone()), tokens);
    let mut serving = tokio::spawn(api::serve(listener, router, async move {
        // The sender's end, said or dropped, is the word to stop.
        drop(stopped.await);
    }));
    let ending = broker.ending().clone();
    let ended = tokio::select! {
        () = shutdown => None,
        reason = ending.wait() => Some(RunError::Ended(reason)),
        served = &mut serving => served.ok().and_then(Result::err).map(RunError::Serve),
    };
    drop(stop);
    if !serving.is_finished()
        && let Ok(Err(error)) = serving.await
    {
        tracing::warn!(%error, "the http side did not end cleanly");
    }
    broker.stop().await;
    ended.map_or(Ok(()), Err)
}

async fn run_trust_operator(
    config: Config,
    own: TrustOperatorConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut watching = watch_listener(&config).await?;
    let mut bar = Rebuild::new();
    let mut progress = |done, total| bar.show(done, total);
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
        watching.serve(node.readiness());
    }
    ready(
        Role::TrustOperator,
        &[("listen", &node.listeners().join(","))],
        watching.as_ref(),
    )?;
    let ending = node.ending.clone();
    let ended = tokio::select! {
        () = shutdown => None,
        reason = ending.wait() => Some(RunError::Ended(reason)),
    };
    node.stop().await;
    ended.map_or(Ok(()), Err)
}
