//! The customer's device: enrols, shows what is asked, approves, denies, freezes.
//!
//! A [`Device`] holds any number of accounts, each with its own identity key and its own line, so
//! that two relying parties can't tell that one person stands behind two accounts. It dials out
//! only: to the broker always, to the trust operator for enrolment, for a deny or freeze, and for
//! head checks. What the customer decides comes in through [`Device::approve`], [`Device::deny`]
//! and [`Device::freeze`]; it never decides by itself.

mod enrolment;
mod erasing;
mod line;
mod seen;
mod watch;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{runtime::Handle, sync::broadcast};
use warifu_consensus::{
    agree::{Base, Device as Machine, Input, Prompt, Record},
    block::Sealed,
    body::{self, Body},
    chain::{Head, Status},
    encoding::Hash,
    enrol::{Ticket, TicketError},
    log::{Checkpoint, LogKeys},
    party::{Ledger, Role, Sub},
    signature::IdentityKey,
    wire::Reason,
};

use crate::{
    runtime::{
        Accounts, AccountsOptions, Clock, Keeper, KeeperError, Lines, NodeRecord, Recover, Secrets,
    },
    store::{JournalOptions, JournalStore, MasterKey, MemoryIndex, StoreError, Vault},
    transport::{IdentityError, Limits, Multiaddr, TransportError},
};

pub use enrolment::{EnrolStage, Enrolling};
use line::DeviceLines;
pub use seen::LogTrouble;
use seen::{Seen, Stop};
pub use watch::DeviceEvent;
use watch::DeviceWatch;

/// A device's store: the journal, with an index in memory.
type DeviceStore = JournalStore<MemoryIndex>;

/// How long [`Device::approve`] waits for the block.
const DECISION_WAIT: Duration = Duration::from_secs(15);

/// What a device needs to start.
pub struct DeviceOptions {
    /// Its data directory; created if absent.
    pub dir: PathBuf,
    /// Seals the vault; kept elsewhere than `dir`.
    pub master_key: MasterKey,
    /// The pinned ledger.
    pub ledger: Ledger,
    /// The pinned keys of its log.
    pub log_keys: LogKeys,
    /// The one clock.
    pub clock: Clock,
    /// Where signing runs: not the reactor's threads.
    pub signing: Handle,
    /// The wire's bounds.
    pub limits: Limits,
}

/// Why a device can't do something. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Journal or vault.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The network did not start.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A key is no identity key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The ticket.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// An address is no multiaddress.
    #[error("address `{found}` is no multiaddress: {reason}")]
    Address {
        /// As found.
        found: String,
        /// Why.
        reason: String,
    },
    /// Nothing of that name is pending.
    #[error("no proposal {proposal} is pending on this device")]
    NoProposal {
        /// As named.
        proposal: Hash,
    },
    /// No such account.
    #[error("no account {account} on this device")]
    NoAccount {
        /// As named.
        account: Sub,
    },
    /// The number has more than two digits.
    #[error("number is {found}, expected 0 to 99")]
    Number {
        /// As typed.
        found: u8,
    },
    /// The operators were caught with two logs: nothing is approved any more.
    #[error(
        "the ledger's log was forked, so this device approves nothing: see log-evidence.json in its directory"
    )]
    Forked,
    /// The broker's last proof of the log's growth did not hold: nothing is approved until one does.
    #[error(
        "the broker does not show how the ledger's log grew from what this device saw, so nothing is approved until it does"
    )]
    Unproven,
    /// Too much is going on, or the device is stopping.
    #[error("the device is busy or stopping, try again")]
    Busy,
}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        Self::Keeper(error.into())
    }
}

/// What became of an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The block is sealed.
    Sealed(Box<Sealed>),
    /// It was refused, by this device, the broker or the trust operator.
    Refused(Option<Reason>),
    /// No answer yet; the history will show it.
    Open,
}

/// An account as this device sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountView {
    /// The account.
    pub sub: Sub,
    /// Its status; `None` before the genesis is sealed.
    pub status: Option<Status>,
    /// Its head.
    pub head: Option<Head>,
    /// Its public key, 32 bytes.
    pub account_key: [u8; 32],
    /// Whether the line to the broker is up.
    pub broker_line: bool,
}

/// A proposal in front of the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingView {
    /// The account.
    pub sub: Sub,
    /// What is asked.
    pub prompt: Prompt,
}

/// A block of the history, with its body where this device was asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The block.
    pub sealed: Sealed,
    /// Its body.
    pub body: Option<Body>,
}

pub(crate) struct Inner {
    ledger: Ledger,
    clock: Clock,
    limits: Limits,
    keeper: Keeper<DeviceStore>,
    accounts: Accounts<Machine, DeviceStore>,
    lines: Arc<DeviceLines>,
    watch: Arc<DeviceWatch>,
    enrolments: Mutex<Vec<Enrolling>>,
    seen: Seen,
}

/// See the module. Clones are the same device.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

struct DeviceRecover;

impl Recover<Machine> for DeviceRecover {
    fn recover(&self, records: Vec<Record>, secrets: Secrets) -> Result<Option<Machine>, String> {
        if matches!(records.last(), Some(Record::Erased { .. })) {
            return Ok(None);
        }
        let seed = secrets
            .identity
            .ok_or("the vault holds no identity key of the account")?;
        let content_key = secrets
            .content_key
            .ok_or("the vault holds no content key of the account")?;
        let key = Arc::new(IdentityKey::from_seed(*seed));
        Machine::recover(records, key, secrets.share, content_key).map(Some)
    }
}

fn open_store(dir: &Path, ledger: &Ledger) -> Result<DeviceStore, StoreError> {
    let options = JournalOptions::new(ledger.iss.clone(), Role::Device.number());
    JournalStore::open(dir, options, || Ok(MemoryIndex::default()), &mut |_, _| {})
}

impl Device {
    /// Opens the directory, connects every account, and takes up what is owed.
    ///
    /// # Errors
    /// [`DeviceError`]: a locked, foreign or corrupt directory, a wrong master key.
    pub async fn start(options: DeviceOptions) -> Result<Self, DeviceError> {
        let DeviceOptions {
            dir,
            master_key,
            ledger,
            log_keys,
            clock,
            signing,
            limits,
        } = options;
        let store = Arc::new(open_store(&dir, &ledger)?);
        let vault = Arc::new(Vault::open(&dir.join("vault"), &master_key, &ledger.iss)?);
        let keeper = Keeper::new(store, vault);
        keeper.forget_orphans().await?;
        let seen = Seen::open(&keeper, &dir, log_keys)?;
        let lines = Arc::new(DeviceLines::default());
        let watch = Arc::new(DeviceWatch::new());
        let accounts = Accounts::new(AccountsOptions {
            keeper: keeper.clone(),
            clock: Arc::clone(&clock),
            lines: Arc::clone(&lines) as Arc<dyn Lines>,
            watch: Arc::clone(&watch) as _,
            recover: Arc::new(DeviceRecover),
            runtime: signing,
        });
        let inner = Arc::new(Inner {
            ledger,
            clock,
            limits,
            keeper,
            accounts,
            lines,
            watch,
            enrolments: Mutex::new(Vec::new()),
            seen,
        });
        for sub in inner.keeper.accounts()? {
            if inner.keeper.erased(&sub)?.is_some() {
                // A crash, or an older vault, may have left something.
                inner.keeper.forget_erased(&[sub]).await?;
            }
            inner.start_account(sub).await?;
        }
        Ok(Self { inner })
    }

    /// Answers a scanned ticket: checks it against the pinned ledger and begins the enrolment.
    ///
    /// # Errors
    /// [`DeviceError::Ticket`] with found and expected; nothing was sent.
    pub async fn enrol(&self, ticket: &Ticket) -> Result<Enrolling, DeviceError> {
        ticket.check(&self.inner.ledger, (self.inner.clock)())?;
        enrolment::begin(&self.inner, ticket).await
    }

    /// The enrolments since this device started, newest last.
    #[must_use]
    pub fn enrolments(&self) -> Vec<Enrolling> {
        watch::lock(&self.inner.enrolments).clone()
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<DeviceEvent> {
        self.inner.watch.subscribe()
    }

    /// What waits for the customer.
    #[must_use]
    pub fn pending(&self) -> Vec<PendingView> {
        self.inner.watch.pending()
    }

    /// The customer approves and typed the page's number. Waits up to 15 s for the block.
    ///
    /// # Errors
    /// [`DeviceError::NoProposal`], [`DeviceError::Number`], [`DeviceError::Forked`], [`DeviceError::Unproven`],
    /// [`DeviceError::Busy`].
    pub async fn approve(&self, proposal: Hash, number: u8) -> Result<Decision, DeviceError> {
        if number > 99 {
            return Err(DeviceError::Number { found: number });
        }
        match self.inner.seen.stops() {
            None => {}
            Some(Stop::Forked) => return Err(DeviceError::Forked),
            Some(Stop::Unproven) => return Err(DeviceError::Unproven),
        }
        self.decide(
            proposal,
            Input::Approve {
                hash: proposal,
                number,
            },
        )
        .await
    }

    /// The customer denies; `not_me` also freezes the account.
    ///
    /// # Errors
    /// [`DeviceError::NoProposal`], [`DeviceError::Busy`].
    pub async fn deny(&self, proposal: Hash, not_me: bool) -> Result<Decision, DeviceError> {
        self.decide(
            proposal,
            Input::Deny {
                hash: proposal,
                not_me,
            },
        )
        .await
    }

    async fn decide(&self, proposal: Hash, input: Input) -> Result<Decision, DeviceError> {
        let sub = self
            .inner
            .watch
            .account_of(&proposal)
            .ok_or(DeviceError::NoProposal { proposal })?;
        let mut events = self.inner.watch.subscribe();
        self.inner
            .accounts
            .ask(sub, input)
            .map_err(|_| DeviceError::Busy)?;
        let answer = async {
            loop {
                match events.recv().await {
                    Ok(DeviceEvent::Sealed { sealed, .. }) if sealed.block.hash() == proposal => {
                        return Decision::Sealed(sealed);
                    }
                    Ok(DeviceEvent::Gone { hash, reason, .. }) if hash == proposal => {
                        return Decision::Refused(reason);
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Decision::Open,
                }
            }
        };
        Ok(tokio::time::timeout(DECISION_WAIT, answer)
            .await
            .unwrap_or(Decision::Open))
    }

    /// The customer freezes an account. Durable on this device when it returns; told to both
    /// operators until a `freeze` block is sealed.
    ///
    /// # Errors
    /// [`DeviceError::NoAccount`].
    pub async fn freeze(&self, account: Sub) -> Result<(), DeviceError> {
        self.base(account).await?;
        self.inner
            .accounts
            .ask(account, Input::FreezeByCustomer)
            .map_err(|_| DeviceError::Busy)?;
        // The next answer comes after the freeze was performed.
        self.base(account).await.map(drop)
    }

    async fn base(&self, account: Sub) -> Result<Base, DeviceError> {
        if self.inner.keeper.store_has(&account)? {
            let base = self
                .inner
                .accounts
                .with(account, |m, _| (m.base().clone(), Vec::new()));
            if let Some(base) = base.await {
                return Ok(base);
            }
        }
        Err(DeviceError::NoAccount { account })
    }

    /// The largest checkpoint of the ledger's log that this device saw.
    pub async fn checkpoint(&self) -> Option<Checkpoint> {
        self.inner.seen.checkpoint().await
    }

    /// The accounts on this device.
    ///
    /// # Errors
    /// [`DeviceError::Keeper`].
    pub async fn accounts(&self) -> Result<Vec<AccountView>, DeviceError> {
        let mut views = Vec::new();
        for sub in self.inner.keeper.accounts()? {
            if self.inner.keeper.erased(&sub)?.is_some() {
                continue;
            }
            let base = self.base(sub).await?;
            views.push(AccountView {
                sub,
                status: base.status(),
                head: base.head(),
                account_key: *base.account_key(),
                broker_line: self.inner.lines.session(&sub, Role::Broker).is_some(),
            });
        }
        Ok(views)
    }

    /// An account's sealed blocks, oldest first.
    ///
    /// # Errors
    /// [`DeviceError::NoAccount`], [`DeviceError::Keeper`].
    pub fn history(&self, account: Sub) -> Result<Vec<HistoryEntry>, DeviceError> {
        let keeper = &self.inner.keeper;
        let records = keeper.records(&account)?;
        if records.is_empty() {
            return Err(DeviceError::NoAccount { account });
        }
        let content_key = keeper.secrets(&account)?.content_key;
        let mut bodies = std::collections::HashMap::new();
        let mut entries = Vec::new();
        for record in records {
            match record {
                Record::Body { hash, body } => {
                    bodies.insert(hash, body);
                }
                Record::Sealed(sealed) => {
                    let hash = sealed.block.hash();
                    let salt = keeper.salt(&account, &hash)?;
                    let opened = match (&content_key, salt, bodies.get(&hash)) {
                        (Some(key), Some(salt), Some(sealed_body)) => {
                            body::open_body(key, &salt, &sealed.block, sealed_body).ok()
                        }
                        _ => None,
                    };
                    entries.push(HistoryEntry {
                        sealed: *sealed,
                        body: opened,
                    });
                }
                _ => {}
            }
        }
        Ok(entries)
    }

    /// Ends every line and takes nothing any more.
    pub async fn stop(self) {
        self.inner.accounts.stop();
        self.inner.lines.stop().await;
    }
}

impl Inner {
    /// Starts the line of an account that has records.
    async fn start_account(self: &Arc<Self>, sub: Sub) -> Result<(), DeviceError> {
        let Some(Record::Founding(founding)) = self.keeper.first(&sub)? else {
            return Ok(());
        };
        // Nothing follows the record of a dead genesis.
        if let [Record::Dead] = self.keeper.tail(&sub, |_| true)?.as_slice() {
            return Ok(());
        }
        let Some(seed) = self.keeper.secrets(&sub)?.identity else {
            return Ok(());
        };
        let mut addresses = (Vec::new(), Vec::new());
        for record in self.keeper.own()? {
            if let NodeRecord::Addresses {
                sub: s,
                broker,
                trust_operator,
            } = record
                && s == sub
            {
                addresses = (parse(&broker)?, parse(&trust_operator)?);
            }
        }
        let parties = founding.parties;
        let mut line = line::Line::start(*seed, self.limits.clone(), &parties, addresses).await?;
        line.connect_broker()?;
        let events = line.take_events();
        self.lines.add(sub, line);
        self.accounts.wake(sub);
        if let Some(events) = events {
            tokio::spawn(line::run(Arc::clone(self), sub, parties, events));
        }
        Ok(())
    }
}

pub(crate) fn parse(addresses: &[String]) -> Result<Vec<Multiaddr>, DeviceError> {
    addresses
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|e: libp2p::multiaddr::Error| DeviceError::Address {
                    found: text.clone(),
                    reason: e.to_string(),
                })
        })
        .collect()
}
