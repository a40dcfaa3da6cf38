//! What broker and trust operator have in common: they open the same things, and carry frames to
//! accounts the same way.

mod log;
mod options;
mod watched;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock},
};

use tokio::runtime::{Builder, Handle, Runtime};
use warifu_client_sdk::{
    runtime::{Accounts, AccountsOptions, Clock, Keeper, KeeperError, Machine, Recover, Watch},
    store::{JournalOptions, Vault, VaultOptions},
    transport::{
        Admission, Admit, IdentitySecret, Limits, Multiaddr, NetEvent, NetEvents, Network,
        NetworkOptions,
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
    directory::Directory,
    enrolments::Enrolments,
    erasing::{Erasing, State},
    lines::OperatorLines,
    lock, signing_threads,
};
use crate::{
    log::{LogBook, LogEvent, LogLink},
    observe::{counts, skew::Skew},
    store::{self, NodeStore},
};

pub use options::{OperatorError, OperatorOptions};

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
    /// This operator's copy of the global log.
    pub log: Arc<LogBook<NodeStore>>,
    log_link: LogLink,
    pub(super) erasing: Arc<Erasing<M>>,
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
        let log = options.data.join("log");
        let log = LogBook::open(
            keeper.clone(),
            &log,
            options.log_keys.clone(),
            options.progress,
        )?;
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
        let log = Arc::new(log);
        let erasing = Arc::new(Erasing {
            role,
            key: Arc::clone(&key),
            broker: ledger.broker,
            keeper: keeper.clone(),
            accounts: accounts.clone(),
            directory: Arc::clone(&directory),
            lines: Arc::clone(&lines),
            log: Arc::clone(&log),
            state: State::default(),
        });
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
            log,
            log_link: LogLink::default(),
            erasing,
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
            if let Some(Record::Erased {
                erasure: Some(erasure),
                both,
            }) = recent.last()
            {
                self.erasing.remember(sub, *erasure, *both);
            }
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
            self.log_link.tell(LogEvent::Up);
            self.erasing.line_up();
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
            self.log_link.tell(LogEvent::Down);
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
            Message::Log(said) => self.log_said(peer, *said),
            Message::Clock(_) => {
                counts::frame_refused(counts::Refused::NoParty);
                self.cut(peer);
            }
            Message::Agree { sub, agree } => match self.directory.role_about(&sub, &peer) {
                Some(from) if self.erasing.answers(sub, from, &agree) => {}
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

    /// Deletes again what is erased, and from now on repeats what the other operator has not answered. Once all
    /// accounts are entered.
    ///
    /// # Errors
    /// [`OperatorError::Keeper`].
    pub(super) async fn start_erasing(&self) -> Result<(), OperatorError> {
        self.erasing.forget_again().await?;
        self.signing().spawn(Arc::clone(&self.erasing).repeat());
        Ok(())
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
    if matches!(recent.last(), Some(Record::Erased { .. })) {
        return false;
    }
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
