//! What broker and trust operator have in common: they open the same things, and carry frames to
//! accounts the same way.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::watch,
};
use warifu_client_sdk::{
    runtime::{Accounts, AccountsOptions, Clock, Keeper, KeeperError, Machine, Recover, Watch},
    store::{JournalOptions, MasterKey, Vault, VaultOptions},
    transport::{
        Admission, Admit, IdentitySecret, Limits, Multiaddr, NetEvent, NetEvents, Network,
        NetworkOptions, TransportError,
    },
};
use warifu_consensus::{
    agree::Record,
    party::{Ledger, Role, Sub},
    signature::IdentityKey,
    wire::{Agree, Message},
};

use super::{directory::Directory, enrolments::Enrolments, lines::OperatorLines, lock};
use crate::store::{self, NodeStore};

/// Why an operator did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Journal or vault.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The network.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The pinned key of the other operator is none.
    #[error("the pinned key of the {role} is no identity key")]
    Pinned {
        /// Whose.
        role: Role,
    },
    /// The identity file holds another key than the pinned one.
    #[error("this node's identity key is {found}, the ledger pins {expected} for the {role}")]
    Identity {
        /// This node's role.
        role: Role,
        /// Public key of the identity file.
        found: String,
        /// As pinned.
        expected: String,
    },
    /// The operating system gives no threads.
    #[error("cannot start the signing threads: {0}")]
    Threads(std::io::Error),
}

/// What an operator needs to start.
pub struct OperatorOptions<'a> {
    /// Its role.
    pub role: Role,
    /// The pinned ledger.
    pub ledger: Ledger,
    /// Its identity key.
    pub identity: Arc<IdentityKey>,
    /// The same key for the wire.
    pub wire_identity: IdentitySecret,
    /// Its data directory.
    pub data: &'a Path,
    /// Opens the vault.
    pub master_key: MasterKey,
    /// Extra time of each sync of journal and vault: none but in a bench.
    pub sync_delay: Duration,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Where to dial the other operator; empty where the other dials.
    pub other_addresses: Vec<Multiaddr>,
    /// The one clock.
    pub clock: Clock,
    /// Told bytes done and total while an index is rebuilt.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

/// An operator's open things.
pub struct Operator<M: Machine> {
    /// Its role.
    pub role: Role,
    /// The pinned ledger.
    pub ledger: Ledger,
    /// Its identity key.
    pub key: Arc<IdentityKey>,
    /// The one clock.
    pub clock: Clock,
    /// Journal and vault.
    pub keeper: Keeper<NodeStore>,
    /// Accounts' actors.
    pub accounts: Accounts<M, NodeStore>,
    /// Who is who.
    pub directory: Arc<Directory>,
    /// Lines.
    pub lines: Arc<OperatorLines>,
    /// Strangers that spoke in their session, at most as many as hold a line.
    heard: Mutex<HashSet<[u8; 32]>>,
    handle: Handle,
    signing: Signing,
}

/// The signing threads. The tasks on them hold the operator, so they are ended by `stop`, and
/// without blocking whoever drops the last handle.
struct Signing(Mutex<Option<Runtime>>);

impl Signing {
    fn end(&self) {
        if let Some(runtime) = lock(&self.0).take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        self.end();
    }
}

impl<M: Machine> Operator<M> {
    /// Opens store and vault, starts the signing threads; no line is open yet.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing was changed.
    pub async fn open(
        options: &mut OperatorOptions<'_>,
        watch: Arc<dyn Watch>,
        recover: impl FnOnce(&Arc<IdentityKey>) -> Arc<dyn Recover<M>>,
    ) -> Result<Self, OperatorError> {
        let OperatorOptions { role, ledger, .. } = &*options;
        let (role, ledger) = (*role, ledger.clone());
        let (pinned, other, other_key) = match role {
            Role::TrustOperator => (ledger.trust_operator, Role::Broker, ledger.broker),
            _ => (ledger.broker, Role::TrustOperator, ledger.trust_operator),
        };
        let public = options.identity.public();
        if public != pinned {
            return Err(OperatorError::Identity {
                role,
                found: warifu_consensus::encoding::text_b64(&public),
                expected: warifu_consensus::encoding::text_b64(&pinned),
            });
        }
        let mut journal = JournalOptions::new(ledger.iss.clone(), role.number());
        journal.sync_delay = options.sync_delay;
        let store =
            store::open(options.data, journal, options.progress).map_err(KeeperError::from)?;
        let vault = Vault::open_with(
            &options.data.join("vault"),
            &options.master_key,
            &ledger.iss,
            VaultOptions {
                sync_delay: options.sync_delay,
                ..VaultOptions::default()
            },
        )
        .map_err(KeeperError::from)?;
        let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
        let forgotten = keeper.forget_orphans().await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "secrets of unfinished enrolments deleted");
        }
        let directory = Arc::new(Directory::new(other, other_key));
        let lines = Arc::new(OperatorLines::new(Arc::clone(&directory)));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let signing = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("warifu-sign")
            .enable_time()
            .build()
            .map_err(OperatorError::Threads)?;
        let key = Arc::clone(&options.identity);
        let accounts = Accounts::new(AccountsOptions {
            keeper: keeper.clone(),
            clock: Arc::clone(&options.clock),
            lines: Arc::clone(&lines) as _,
            watch,
            recover: recover(&key),
            runtime: signing.handle().clone(),
        });
        let clock = Arc::clone(&options.clock);
        let handle = signing.handle().clone();
        Ok(Self {
            role,
            ledger,
            key,
            clock,
            keeper,
            accounts,
            directory,
            lines,
            heard: Mutex::default(),
            handle,
            signing: Signing(Mutex::new(Some(signing))),
        })
    }

    /// Whether logins are possible, as far as this operator sees; else why not.
    ///
    /// # Errors
    /// A text for whoever watches.
    pub fn readiness(&self) -> Result<(), String> {
        if !self.keeper.store().is_running() {
            return Err("the journal has stopped: a write or sync failed".to_owned());
        }
        let other = self.directory.other();
        let peer = self.directory.peer(&Sub::ZERO, other);
        if peer.and_then(|peer| self.lines.session_of(&peer)).is_none() {
            return Err(format!("the line to the {other} is down"));
        }
        Ok(())
    }

    /// Where signing runs.
    #[must_use]
    pub fn signing(&self) -> &Handle {
        &self.handle
    }

    /// Enters every account of the store in the directory; `each` sees an account's records.
    ///
    /// # Errors
    /// [`OperatorError::Keeper`].
    pub fn enter_accounts(
        &self,
        mut each: impl FnMut(Sub, &[Record]),
    ) -> Result<Vec<Sub>, OperatorError> {
        let mut entered = Vec::new();
        for sub in self.keeper.accounts()? {
            let records = self.keeper.records(&sub)?;
            if let Some(Record::Founding(founding)) = records.first() {
                self.directory.add(sub, founding.parties.device);
                each(sub, &records);
                entered.push(sub);
            }
        }
        Ok(entered)
    }

    /// Opens the lines.
    ///
    /// # Errors
    /// [`OperatorError::Transport`]: an address can't be listened on.
    pub async fn connect(
        &self,
        wire_identity: IdentitySecret,
        listen: Vec<Multiaddr>,
        other_addresses: Vec<Multiaddr>,
    ) -> Result<NetEvents, OperatorError> {
        let (network, events) = Network::start(NetworkOptions {
            identity: wire_identity,
            listen,
            admission: Arc::clone(&self.directory) as _,
            limits: Limits::default(),
        })
        .await?;
        let other = self.directory.other();
        if !other_addresses.is_empty()
            && let Some(peer) = self.directory.peer(&Sub::ZERO, other)
        {
            network
                .connect(peer, other_addresses)
                .map_err(|_| OperatorError::Pinned { role: other })?;
        }
        self.lines.set_network(network);
        Ok(events)
    }

    /// Carries events to accounts and enrolments, until the network ends.
    pub async fn carry(&self, mut events: NetEvents, enrolments: &Enrolments<M>) {
        while let Some(event) = events.recv().await {
            match event {
                NetEvent::Up { peer, session } => self.up(peer, session, enrolments),
                NetEvent::Down { peer, reason, .. } => self.down(peer, &reason.to_string()),
                NetEvent::Frame {
                    peer,
                    session,
                    frame,
                } => {
                    self.frame(peer, session.0, &frame, enrolments);
                }
                NetEvent::Misbehaved { peer, reason } => {
                    let peer = warifu_consensus::encoding::text_b64(&peer);
                    tracing::warn!(%peer, %reason, "peer misbehaved");
                }
                NetEvent::DialFailed { reason, .. } => {
                    tracing::warn!(%reason, "dial failed, it is repeated");
                }
            }
        }
    }

    fn up(
        &self,
        peer: [u8; 32],
        session: warifu_client_sdk::transport::SessionId,
        enrolments: &Enrolments<M>,
    ) {
        self.lines.set_session(peer, Some(session));
        lock(&self.heard).remove(&peer);
        if self.directory.is_other(&peer) {
            let role = self.directory.other();
            tracing::info!(%role, "line up");
            for sub in self.accounts.loaded() {
                self.accounts.line_up(sub, role, session.0);
            }
        } else if let Some(sub) = self.directory.account_of(&peer) {
            tracing::debug!(account = %sub, "device line up");
            self.accounts.line_up(sub, Role::Device, session.0);
        } else {
            enrolments.up(peer);
        }
    }

    fn down(&self, peer: [u8; 32], reason: &str) {
        self.lines.set_session(peer, None);
        lock(&self.heard).remove(&peer);
        if self.directory.is_other(&peer) {
            let role = self.directory.other();
            tracing::warn!(%role, reason, "line down");
            for sub in self.accounts.loaded() {
                self.accounts.line_down(sub, role);
            }
        } else if let Some(sub) = self.directory.account_of(&peer) {
            tracing::debug!(account = %sub, reason, "device line down");
            self.accounts.line_down(sub, Role::Device);
        }
    }

    /// Ends a peer's line: whoever breaks the rules once has to come again, at the price of a
    /// handshake, so that nobody fills the log as fast as a line carries. Never the other operator's.
    fn cut(&self, peer: [u8; 32]) {
        if !self.directory.is_other(&peer)
            && let Some(network) = self.lines.network()
        {
            network.forget(peer);
        }
    }

    /// A stranger says one thing in a session, its hello, before a checked ticket makes it known.
    fn may_speak(&self, peer: &[u8; 32]) -> bool {
        self.directory.admit(peer) == Admit::Known || lock(&self.heard).insert(*peer)
    }

    fn frame(&self, peer: [u8; 32], session: u64, frame: &[u8], enrolments: &Enrolments<M>) {
        if !self.may_speak(&peer) {
            self.cut(peer);
            return;
        }
        let message = match Message::from_frame(frame) {
            Ok(message) => message,
            Err(error) => {
                let name = warifu_consensus::encoding::text_b64(&peer);
                tracing::warn!(peer = %name, %error, "frame refused");
                self.cut(peer);
                return;
            }
        };
        match message {
            Message::Enrol(message) => enrolments.message(peer, *message),
            Message::Agree { sub, agree } => match self.directory.role_about(&sub, &peer) {
                Some(from) if self.directory.has(&sub) => {
                    self.accounts.deliver(sub, from, session, *agree);
                }
                Some(from) if enrolments.may_found(&sub) => {
                    enrolments.defer(sub, from, session, *agree);
                }
                Some(_) => self.unknown_account(sub, &agree),
                None => {
                    let name = warifu_consensus::encoding::text_b64(&peer);
                    tracing::warn!(peer = %name, account = %sub, message = agree.name(),
                        "refused: a peer that is no party of this account");
                    self.cut(peer);
                }
            },
        }
    }

    /// The other operator asks about an account that has no records here. The trust operator's
    /// answer is final: dead, durably, unless a session here may still found it.
    fn unknown_account(&self, sub: Sub, agree: &Agree) {
        tracing::warn!(account = %sub, message = agree.name(), "unknown account");
        let asks_genesis = matches!(agree, Agree::HeadIs { head: None, .. });
        if self.role != Role::TrustOperator || !asks_genesis {
            return;
        }
        let (keeper, lines) = (self.keeper.clone(), Arc::clone(&self.lines));
        let other = self.directory.peer(&sub, self.directory.other());
        self.signing().spawn(async move {
            match keeper.bury(&sub).await {
                Ok(true) => {
                    let message = Message::Agree {
                        sub,
                        agree: Box::new(Agree::GenesisDead),
                    };
                    if let (Some(peer), Ok(frame)) = (other, message.to_frame()) {
                        lines.send_to(peer, frame);
                    }
                }
                Ok(false) => tracing::debug!(account = %sub, "founded meanwhile"),
                Err(error) => tracing::error!(account = %sub, %error, "not buried"),
            }
        });
    }

    /// Ends lines and actors; what was promised is on disk already.
    pub async fn stop(&self) {
        self.accounts.stop();
        if let Some(network) = self.lines.network().cloned() {
            network.shutdown().await;
        }
        self.signing.end();
    }
}

/// A node's own end: told once, watched by its `run`.
#[derive(Clone)]
pub struct Ending {
    sender: Arc<watch::Sender<Option<String>>>,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            sender: Arc::new(watch::channel(None).0),
        }
    }
}

impl Ending {
    /// The node must stop; the first reason stands.
    pub fn end(&self, reason: String) {
        self.sender.send_if_modified(|r| {
            let first = r.is_none();
            if first {
                *r = Some(reason);
            }
            first
        });
    }

    /// Waits for the end.
    pub async fn wait(&self) -> String {
        let mut receiver = self.sender.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}
