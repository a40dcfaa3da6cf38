//! What broker and trust operator have in common: they open the same things, and carry frames to
//! accounts the same way.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::runtime::{Builder, Handle, Runtime};
use warifu_client_sdk::{
    runtime::{Accounts, AccountsOptions, Clock, Keeper, KeeperError, Machine, Recover, Watch},
    store::{JournalOptions, MasterKey, Vault, VaultOptions},
    transport::{
        Admission, Admit, IdentitySecret, Limits, Multiaddr, NetEvent, NetEvents, Network,
        NetworkOptions, TransportError,
    },
};
use warifu_consensus::{
    agree::{Founding, Record},
    block::Sealed,
    party::{Ledger, Role, Sub},
    signature::IdentityKey,
    vote::{Statement, Verb, Vote},
    wire::{Agree, Message},
};

use super::{
    directory::Directory, enrolments::Enrolments, lines::OperatorLines, lock, signing_threads,
};
use crate::{
    observe::{Watched, counts, skew::Skew},
    output::role_name,
    store::{self, NodeStore},
};

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
    /// The push service.
    #[error(transparent)]
    Push(#[from] super::broker::PushError),
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
    /// Free bytes below which admits are refused.
    pub reserve_bytes: u64,
    /// Told bytes done and total while an index is rebuilt.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

/// Told of each account whose device's line is gone.
pub(super) type DeviceDown = Box<dyn Fn(&Sub) + Send + Sync>;

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
    skew: Skew,
    /// Devices whose first question in their session was answered without their account.
    greeted: Mutex<HashSet<[u8; 32]>>,
    device_down: OnceLock<DeviceDown>,
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
        journal.reserve_bytes = options.reserve_bytes;
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
        let signing = Builder::new_multi_thread()
            .worker_threads(signing_threads())
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
            skew: Skew::default(),
            greeted: Mutex::default(),
            device_down: OnceLock::new(),
            handle,
            signing: Signing(Mutex::new(Some(signing))),
        })
    }

    /// Where signing runs.
    #[must_use]
    pub fn signing(&self) -> &Handle {
        &self.handle
    }

    /// Sets who is told when a device's line is gone, once.
    pub(super) fn on_device_down(&self, told: DeviceDown) {
        if self.device_down.set(told).is_err() {
            tracing::error!("a second listener to devices' lines was offered and not taken");
        }
    }

    /// Enters every account of the store in the directory. Of each it reads the first record, and
    /// from the end as many as tell what is owed and lead back to a block that `is_old`, which
    /// for most accounts is their last block: `each` sees them.
    ///
    /// # Errors
    /// [`OperatorError::Keeper`].
    pub fn enter_accounts(
        &self,
        is_old: impl Fn(&Sealed) -> bool,
        mut each: impl FnMut(Sub, &Founding, &[Record]),
    ) -> Result<(), OperatorError> {
        for sub in self.keeper.accounts()? {
            let Some(Record::Founding(founding)) = self.keeper.first(&sub)? else {
                continue;
            };
            self.directory.add(sub, founding.parties.device);
            let mut told = false;
            let recent = self.keeper.tail(&sub, |record| {
                told |= record.is_behind_sealed();
                told && matches!(record, Record::Sealed(sealed) if is_old(sealed))
            })?;
            each(sub, &founding, &recent);
        }
        Ok(())
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
            limits: Limits::of_operator(),
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
                    counts::misbehaved(reason);
                    let peer = warifu_consensus::encoding::text_b64(&peer);
                    tracing::warn!(%peer, %reason, "peer misbehaved");
                }
                NetEvent::DialFailed { reason, .. } => {
                    counts::dial_failed();
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
            lock(&self.greeted).remove(&peer);
            // Nothing is loaded for a device that only comes back.
            if self.accounts.is_loaded(&sub) {
                self.accounts.line_up(sub, Role::Device, session.0);
            }
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
            lock(&self.greeted).remove(&peer);
            self.accounts.line_down(sub, Role::Device);
            if let Some(told) = self.device_down.get() {
                told(&sub);
            }
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
            counts::frame_refused(counts::Refused::Stranger);
            self.cut(peer);
            return;
        }
        let message = match Message::from_frame(frame) {
            Ok(message) => message,
            Err(error) => {
                let name = warifu_consensus::encoding::text_b64(&peer);
                counts::frame_refused(counts::Refused::Malformed);
                tracing::warn!(peer = %name, %error, "frame refused");
                self.cut(peer);
                return;
            }
        };
        match message {
            Message::Enrol(message) => enrolments.message(peer, *message),
            Message::Clock(said) if self.directory.is_other(&peer) => {
                if let Some(answer) = self.skew.hear(said, (self.clock)()) {
                    self.lines.send_to(peer, answer);
                }
            }
            Message::Clock(_) => {
                counts::frame_refused(counts::Refused::NoParty);
                self.cut(peer);
            }
            Message::Agree { sub, agree } => match self.directory.role_about(&sub, &peer) {
                Some(from) if self.directory.has(&sub) => {
                    if from != Role::Device || !self.greet(sub, peer, &agree) {
                        self.accounts.deliver(sub, from, session, *agree);
                    }
                }
                Some(from) if enrolments.may_found(&sub) => {
                    enrolments.defer(sub, from, session, *agree);
                }
                Some(_) => self.unknown_account(sub, &agree),
                None => {
                    counts::frame_refused(counts::Refused::NoParty);
                    let name = warifu_consensus::encoding::text_b64(&peer);
                    tracing::warn!(peer = %name, account = %sub, message = agree.name(),
                        "refused: a peer that is no party of this account");
                    self.cut(peer);
                }
            },
        }
    }

    /// Every device says its head when it comes (protocol rule 8). To one that is not behind, the
    /// broker answers without its account: after a restart all devices come back within seconds,
    /// and none of their accounts need be read, folded and compared. Once a session; whoever asks
    /// again is answered by the account.
    fn greet(&self, sub: Sub, peer: [u8; 32], agree: &Agree) -> bool {
        let Agree::HeadIs {
            head: Some(head),
            ask: true,
            notice: false,
            ..
        } = agree
        else {
            return false;
        };
        if self.role != Role::Broker
            || self.accounts.is_loaded(&sub)
            || !matches!(self.keeper.head(&sub), Ok(Some(own)) if own == head.hash)
            || !lock(&self.greeted).insert(peer)
        {
            return false;
        }
        let said = Statement {
            verb: Verb::Head,
            role: self.role,
            sub,
            hash: head.hash,
        };
        let agree = Agree::HeadIs {
            head: Some(*head),
            vote: Some(Vote::sign(&self.key, &said)),
            ask: false,
            notice: false,
        };
        let agree = Box::new(agree);
        match (Message::Agree { sub, agree }).to_frame() {
            Ok(frame) => self.lines.send_to(peer, frame),
            Err(error) => tracing::error!(account = %sub, %error, "not greeted"),
        }
        true
    }

    /// The other operator asks about an account that has no records here. The trust operator's
    /// answer is final: dead, durably, unless a session here may still found it.
    fn unknown_account(&self, sub: Sub, agree: &Agree) {
        counts::frame_refused(counts::Refused::UnknownAccount);
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

/// Whether an account's last records leave something that this operator owes; `fold` tells it of
/// records that begin with a founding or a checkpoint.
pub(super) fn owes(recent: &[Record], fold: impl FnOnce(&[Record]) -> bool) -> bool {
    let told = recent.iter().rposition(Record::is_behind_sealed);
    let (first, later) = match recent.get(told.unwrap_or(0)..) {
        Some([first, later @ ..]) => (first, later),
        _ => return false,
    };
    match first {
        // Nothing was owed then. An acknowledgement adds nothing; anything else is looked at.
        Record::Settled => later
            .iter()
            .any(|record| !matches!(record, Record::Acked(_))),
        _ => fold(recent.get(told.unwrap_or(0)..).unwrap_or_default()),
    }
}

impl<M: Machine> Watched for Operator<M> {
    fn readiness(&self) -> Result<(), String> {
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

    fn gauges(&self) {
        let set = |name: &'static str, value: f64| metrics::gauge!(name).set(value);
        let one = |is: bool| if is { 1.0 } else { 0.0 };
        set("warifu_ready", one(self.readiness().is_ok()));
        let store = self.keeper.store();
        set("warifu_store_running", one(store.is_running()));
        set("warifu_disk_free_bytes", float(store.free_bytes()));
        set("warifu_accounts", float(self.directory.accounts() as u64));
        let loaded = self.accounts.loaded().len();
        set("warifu_accounts_loaded", float(loaded as u64));
        let (mut devices, mut strangers, mut others) = (0, 0, 0);
        for peer in self.lines.peers() {
            if self.directory.is_other(&peer) {
                others += 1;
            } else if self.directory.account_of(&peer).is_some() {
                devices += 1;
            } else {
                strangers += 1;
            }
        }
        let connected = |role: &'static str, count: u32| {
            metrics::gauge!("warifu_peers_connected", "role" => role).set(f64::from(count));
        };
        connected(role_name(self.directory.other()), others);
        connected(role_name(Role::Device), devices);
        connected("stranger", strangers);
    }

    fn measure(&self) {
        let other = self.directory.peer(&Sub::ZERO, self.directory.other());
        if let Some(peer) = other.filter(|peer| self.lines.session_of(peer).is_some())
            && let Some(frame) = self.skew.ask((self.clock)())
        {
            self.lines.send_to(peer, frame);
        }
    }
}

/// Exact up to 2⁵³, and near enough above.
#[expect(clippy::cast_precision_loss, reason = "a gauge is read by people")]
fn float(value: u64) -> f64 {
    value as f64
}
