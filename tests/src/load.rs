//! Many accounts logging in at once through the real runtime, with the network left out: the three
//! parties of each account run in one process, and a frame is handed to the other side as it is.
//!
//! Counts what each operator's journal and vault did. Says nothing about lines, HTTP or sled's own
//! files, and judges no rule: the scenarios do.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};
use warifu_client_sdk::{
    runtime::{
        About, Accounts, AccountsOptions, Clock, Keeper, KeeperError, Lines, Machine, Recover,
        Secrets, Watch,
    },
    store::{BeforeSync, Counters, JournalOptions, MasterKey, Vault, VaultOptions},
};
use warifu_consensus::{
    agree::{
        Begin, Broker, Device, Event, Input, LoginId, Outcome, Record, TrustOperator,
        TrustOperatorOptions,
    },
    block::Kind,
    body::{Body, ContentKey},
    encoding::text_b64,
    party::{Role, Sub},
    share::KeyShare,
    signature::IdentityKey,
    time::Time,
    vote::Word,
    wire::{Agree, Message},
};
use warifu_node::store::{self, NodeStore};

use warifu_simulator::{
    founded::{Founded, START_MS, found, operators},
    party::at,
    with_genesis,
};

/// How a disk behaves.
#[derive(Clone, Default)]
pub struct Disk {
    /// Extra time of every sync of the operators' journals and vaults.
    pub sync_delay: Duration,
    /// Runs before every one of them.
    pub before_sync: Option<BeforeSync>,
    /// Frames sent and events told so far.
    pub activity: Arc<AtomicU64>,
}

impl Disk {
    /// A disk on which a sync ends only when nothing has happened anywhere for 10 ms: when
    /// everybody waits for a sync.
    #[must_use]
    pub fn patient() -> Self {
        let activity = Arc::<AtomicU64>::default();
        let seen = Arc::clone(&activity);
        let before_sync = move || {
            loop {
                let before = seen.load(Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
                if seen.load(Ordering::Relaxed) == before {
                    return Ok(());
                }
            }
        };
        Self {
            before_sync: Some(Arc::new(before_sync)),
            activity,
            ..Self::default()
        }
    }
}

/// What an operator's files went through.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The journal.
    pub journal: Counters,
    /// The vault.
    pub vault: Counters,
}

impl Written {
    /// Syncs of both files.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.journal.syncs + self.vault.syncs
    }
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Logins admitted.
    pub logins: u64,
    /// At the broker.
    pub broker: Written,
    /// At the trust operator.
    pub trust_operator: Written,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The three parties, once all are there.
struct Parties {
    device: Accounts<Device, NodeStore>,
    broker: Accounts<Broker, NodeStore>,
    trust_operator: Accounts<TrustOperator, NodeStore>,
}

/// One session that never ends, and no wire.
struct Direct {
    from: Role,
    parties: Arc<OnceLock<Parties>>,
    activity: Arc<AtomicU64>,
}

impl Lines for Direct {
    fn session(&self, _: &Sub, role: Role) -> Option<u64> {
        let dialled = (self.from, role) != (Role::Device, Role::TrustOperator)
            && (self.from, role) != (Role::TrustOperator, Role::Device);
        (dialled && role != self.from).then_some(1)
    }

    fn send(&self, _: &Sub, to: Role, frame: Vec<u8>) {
        self.activity.fetch_add(1, Ordering::Relaxed);
        let Some(parties) = self.parties.get() else {
            return;
        };
        let Ok(Message::Agree { sub, agree }) = Message::from_frame(&frame) else {
            panic!("a frame that was just made");
        };
        match to {
            Role::Device => parties.device.deliver(sub, self.from, 1, *agree),
            Role::Broker => parties.broker.deliver(sub, self.from, 1, *agree),
            Role::TrustOperator => parties.trust_operator.deliver(sub, self.from, 1, *agree),
        }
    }

    fn want(&self, _: &Sub, _: Role, _: bool) {}
}

/// The customers: they see the page's number and type it.
struct Customers {
    parties: Arc<OnceLock<Parties>>,
    numbers: Mutex<HashMap<Sub, u8>>,
    ended: UnboundedSender<(Sub, bool)>,
    activity: Arc<AtomicU64>,
}

impl Watch for Customers {
    fn event(&self, about: &About, event: Event) {
        let sub = &about.sub;
        self.activity.fetch_add(1, Ordering::Relaxed);
        match event {
            Event::Began { number, .. } => drop(lock(&self.numbers).insert(*sub, number)),
            Event::Prompt(prompt) => {
                let number = lock(&self.numbers).get(sub).copied();
                let (Some(number), Some(parties)) = (number, self.parties.get()) else {
                    panic!("a prompt before its number");
                };
                let hash = prompt.hash;
                let approve = Input::Approve { hash, number };
                parties.device.ask(*sub, approve).expect("a free device");
            }
            Event::Ended { outcome, .. } => {
                let admitted = matches!(outcome, Outcome::Admitted(_));
                let _ = self.ended.send((*sub, admitted));
            }
            Event::NotBegun { refusal, .. } => panic!("not begun: {refusal}"),
            Event::Fault(fault) => panic!("fault: {fault}"),
            _ => {}
        }
    }

    fn failed(&self, sub: &Sub, error: &KeeperError) {
        panic!("account {sub} failed: {error}");
    }
}

struct Recovery;

fn own_key(role: Role) -> Arc<IdentityKey> {
    match role {
        Role::Broker => operators().broker.clone(),
        _ => operators().trust_operator.clone(),
    }
}

impl Recover<Broker> for Recovery {
    fn recover(&self, records: Vec<Record>, s: Secrets) -> Result<Option<Broker>, String> {
        Broker::recover(records, own_key(Role::Broker), s.share, s.content_key).map(Some)
    }
}

impl Recover<TrustOperator> for Recovery {
    fn recover(&self, records: Vec<Record>, s: Secrets) -> Result<Option<TrustOperator>, String> {
        let options = TrustOperatorOptions {
            unfreeze_delay_s: 0,
        };
        TrustOperator::recover(records, own_key(Role::TrustOperator), s.share, options).map(Some)
    }
}

impl Recover<Device> for Recovery {
    fn recover(&self, records: Vec<Record>, s: Secrets) -> Result<Option<Device>, String> {
        let seed = s.identity.ok_or("a device without its identity")?;
        let key = Arc::new(IdentityKey::from_seed(*seed));
        let content_key = s.content_key.ok_or("a device without its content key")?;
        Device::recover(records, key, s.share, content_key).map(Some)
    }
}

/// The three parties of a number of accounts, at work.
pub struct Trio {
    parties: Arc<OnceLock<Parties>>,
    customers: Arc<Customers>,
    ended: UnboundedReceiver<(Sub, bool)>,
    subs: Vec<Sub>,
    begun: u64,
    /// What the clock was put forward by, in milliseconds.
    passed: Arc<AtomicU64>,
}

/// Accounts with a sealed genesis; the same numbers give the same accounts.
#[must_use]
pub fn accounts(count: u64) -> Vec<Founded> {
    with_genesis((0..count).map(|number| found(0x10_0000 + number)).collect())
}

async fn keeper(dir: &Path, role: Role, founded: &[Founded], disk: &Disk) -> Keeper<NodeStore> {
    let iss = &operators().ledger.iss;
    let options = JournalOptions {
        reserve_bytes: 0,
        sync_delay: disk.sync_delay,
        before_sync: disk.before_sync.clone(),
        ..JournalOptions::new(iss.clone(), role.number())
    };
    // Opened twice: the accounts are put in without the disk's trouble, and not counted.
    let calm = JournalOptions {
        sync_delay: Duration::ZERO,
        before_sync: None,
        ..options.clone()
    };
    let open = |options: JournalOptions, vault: VaultOptions| {
        let store = store::open(dir, options, &mut |_, _| {}).expect("a store");
        let key = MasterKey::from_bytes(zeroize::Zeroizing::new([7; 32]));
        let vault = Vault::open_with(&dir.join("vault"), &key, iss, vault).expect("a vault");
        Keeper::new(Arc::new(store), Arc::new(vault))
    };
    let filling = open(calm, VaultOptions::default());
    for founded in founded {
        let sub = founded.founding.sub;
        if filling.store_has(&sub).expect("a store") {
            continue;
        }
        let share = KeyShare::decode(&founded.shares[at(role)]).expect("a share");
        let content_key = ContentKey::from_bytes(founded.content_key);
        let secrets = Secrets {
            share: Some(share),
            content_key: (role != Role::TrustOperator).then_some(content_key),
            identity: (role == Role::Device).then(|| zeroize::Zeroizing::new(founded.device_seed)),
        };
        filling.keep_secrets(&sub, &secrets).await.expect("secrets");
        let journal = &founded.journals[at(role)];
        filling.append(&sub, journal).await.expect("a journal");
    }
    drop(filling);
    let vault = VaultOptions {
        sync_delay: disk.sync_delay,
        before_sync: disk.before_sync.clone(),
        ..VaultOptions::default()
    };
    open(options, vault)
}

impl Trio {
    /// Opens stores in `dir` for these accounts; the operators' disks behave like `disk`, the
    /// devices' well.
    pub async fn open(dir: &Path, founded: &[Founded], disk: &Disk) -> Self {
        let parties = Arc::new(OnceLock::new());
        let (sender, ended) = unbounded_channel();
        let customers = Arc::new(Customers {
            parties: Arc::clone(&parties),
            numbers: Mutex::default(),
            ended: sender,
            activity: Arc::clone(&disk.activity),
        });
        let begun = Instant::now();
        let passed = Arc::<AtomicU64>::default();
        let put_forward = Arc::clone(&passed);
        let clock: Clock = Arc::new(move || {
            let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            Time(START_MS + 600_000 + elapsed + put_forward.load(Ordering::Relaxed))
        });
        let calm = Disk::default();
        let device = keeper(&dir.join("device"), Role::Device, founded, &calm).await;
        let broker = keeper(&dir.join("broker"), Role::Broker, founded, disk).await;
        let trust_operator = keeper(
            &dir.join("trust-operator"),
            Role::TrustOperator,
            founded,
            disk,
        )
        .await;
        let all = Parties {
            device: party(Role::Device, device, &clock, &customers),
            broker: party(Role::Broker, broker, &clock, &customers),
            trust_operator: party(Role::TrustOperator, trust_operator, &clock, &customers),
        };
        assert!(parties.set(all).is_ok(), "set once");
        Self {
            parties,
            customers,
            ended,
            subs: founded.iter().map(|f| f.founding.sub).collect(),
            begun: 0,
            passed,
        }
    }

    /// Puts every clock forward: what is paced by the minute may go on.
    pub fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.passed.fetch_add(ms, Ordering::Relaxed);
    }

    fn parties(&self) -> &Parties {
        self.parties.get().expect("set in open")
    }

    fn begin(&mut self, sub: Sub) {
        self.begun += 1;
        let mut login = [0; 16];
        login[..8].copy_from_slice(&self.begun.to_be_bytes());
        let begin = Begin {
            login: LoginId(login),
            caller: "shop".into(),
            aud: "https://shop.example".into(),
            nonce: text_b64(&login),
            kind: Kind::Login,
            body: Body {
                channel: "web".into(),
                address: "192.0.2.7".into(),
                details: vec![],
                reference: None,
            },
            lifetime_s: 90,
        };
        let begin = Input::Begin(Box::new(begin));
        self.parties()
            .broker
            .ask(sub, begin)
            .expect("a free account");
    }

    /// Every account logs in again as soon as it is in, until there were `logins` logins.
    ///
    /// # Panics
    /// When a login is not admitted.
    pub async fn log_in(&mut self, logins: u64) -> Counted {
        // What the genesis left open is settled, and every account in RAM.
        for sub in self.subs.clone() {
            self.parties().device.wake(sub);
            self.parties().trust_operator.wake(sub);
            self.parties().broker.wake(sub);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = self.written().await;
        let target = self.begun + logins;
        for sub in self.subs.clone() {
            if self.begun < target {
                self.begin(sub);
            }
        }
        let mut admitted = 0;
        while admitted < logins {
            let (sub, well) = self.ended.recv().await.expect("somebody is logging in");
            assert!(well, "a login of {sub} was not admitted");
            admitted += 1;
            if self.begun < target {
                self.begin(sub);
            }
        }
        // Acknowledgements that are under way count too, and what was put off for a second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let after = self.written().await;
        Counted {
            logins,
            broker: difference(before.0, after.0),
            trust_operator: difference(before.1, after.1),
        }
    }

    async fn written(&self) -> (Written, Written) {
        let parties = self.parties();
        (
            written(parties.broker.keeper()).await,
            written(parties.trust_operator.keeper()).await,
        )
    }

    /// The records of an account at an operator, all of them.
    ///
    /// # Panics
    /// When they can't be read.
    #[must_use]
    pub fn records(&self, role: Role, account: usize) -> Vec<Record> {
        let sub = self.subs[account];
        let parties = self.parties();
        match role {
            Role::Device => parties.device.keeper().records(&sub),
            Role::Broker => parties.broker.keeper().records(&sub),
            Role::TrustOperator => parties.trust_operator.keeper().records(&sub),
        }
        .expect("records")
    }

    /// An operator's keeper; the broker's for the device.
    #[must_use]
    pub fn keeper(&self, role: Role) -> &Keeper<NodeStore> {
        match role {
            Role::TrustOperator => self.parties().trust_operator.keeper(),
            _ => self.parties().broker.keeper(),
        }
    }

    /// The trust operator is told a device's word, as on a line of the device's own. That line
    /// must count as the current one: here it is the broker's, which forwards words.
    pub fn tell_word(&self, account: usize, word: Word) {
        let agree = Agree::Word {
            word,
            proposal: None,
        };
        let sub = self.subs[account];
        self.parties()
            .trust_operator
            .deliver(sub, Role::Broker, 1, agree);
    }

    /// Ends all actors.
    pub fn stop(self) {
        let Self {
            parties, customers, ..
        } = self;
        drop(customers);
        if let Some(parties) = parties.get() {
            parties.device.stop();
            parties.broker.stop();
            parties.trust_operator.stop();
        }
    }
}

fn party<M: Machine>(
    role: Role,
    keeper: Keeper<NodeStore>,
    clock: &Clock,
    customers: &Arc<Customers>,
) -> Accounts<M, NodeStore>
where
    Recovery: Recover<M>,
{
    Accounts::new(AccountsOptions {
        keeper,
        clock: Arc::clone(clock),
        lines: Arc::new(Direct {
            from: role,
            parties: Arc::clone(&customers.parties),
            activity: Arc::clone(&customers.activity),
        }),
        watch: Arc::clone(customers) as Arc<dyn Watch>,
        recover: Arc::new(Recovery),
        runtime: Handle::current(),
    })
}

async fn written(keeper: &Keeper<NodeStore>) -> Written {
    Written {
        journal: keeper.store().counters(),
        vault: keeper.vault().counters().await,
    }
}

fn difference(before: Written, after: Written) -> Written {
    let less = |after: Counters, before: Counters| Counters {
        records: after.records - before.records,
        syncs: after.syncs - before.syncs,
        bytes: after.bytes - before.bytes,
    };
    Written {
        journal: less(after.journal, before.journal),
        vault: less(after.vault, before.vault),
    }
}
