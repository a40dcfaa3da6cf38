//! Keeps a number of logins in flight, over different accounts, and notes how each ended.
//!
//! An account has one login open at most, and the trust operator takes 120 proposals of an account
//! in 60 s: accounts take turns, and a bench with too few of them ends with a number to use.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use warifu_client_sdk::login_service::{
    LoginEnd, LoginServiceError, Pin,
    api::{Asked, Shown},
};

use super::{
    customers::{Customers, count},
    enrol::{Services, service_of},
};
use crate::output::{Exit, Failure};

/// Logins that an account begins in [`WINDOW`], at most: two fewer than the trust operator takes.
const PER_ACCOUNT: usize = 118;
/// One second more than the trust operator's window: it marks a proposal later than its begin.
const WINDOW: Duration = Duration::from_secs(61);
/// What a login service does after a failure, so that failures don't become a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// A login that was admitted and verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When the receipt was verified.
    pub(super) ended: Instant,
    /// From begin to there.
    pub(super) took: Duration,
}

/// What came of all logins.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Those admitted, in the order of their ends.
    pub(super) admitted: Vec<Sample>,
    /// Those not admitted, by what happened.
    pub(super) errors: BTreeMap<String, u64>,
    /// No account was free at a moment when one was wanted.
    starved: bool,
}

struct Account {
    device: usize,
    pin: Pin,
    /// Its begins within [`WINDOW`].
    begins: VecDeque<Instant>,
}

struct Shared {
    services: Services,
    customers: Arc<Customers>,
    idle: Mutex<VecDeque<Account>>,
    ends: Mutex<Ends>,
}

/// Logins that are kept in flight from [`Load::go`] to [`Load::rest`].
pub(super) struct Load {
    shared: Arc<Shared>,
    going: tokio::sync::watch::Sender<bool>,
    workers: JoinSet<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Nothing yet. `pins` are the accounts in the order of their devices.
    pub(super) fn new(services: Services, customers: Arc<Customers>, pins: Vec<Pin>) -> Load {
        let account = |(device, pin)| Account {
            device,
            pin,
            begins: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            services,
            customers,
            idle: Mutex::new(pins.into_iter().enumerate().map(account).collect()),
            ends: Mutex::default(),
        });
        Load {
            shared,
            going: tokio::sync::watch::Sender::new(false),
            workers: JoinSet::new(),
        }
    }

    /// Begins `in_flight` logins at once, and another whenever one ends.
    pub(super) fn go(&mut self, in_flight: usize) {
        self.going.send_replace(true);
        for _ in 0..in_flight {
            let (shared, going) = (Arc::clone(&self.shared), self.going.subscribe());
            let another = async move { while *going.borrow() && shared.another().await {} };
            self.workers.spawn(another);
        }
    }

    /// Begins a login every `pace`, however long the others take.
    pub(super) fn go_paced(&mut self, pace: Duration) {
        self.going.send_replace(true);
        let (own, going) = (Arc::clone(&self.shared), self.going.subscribe());
        self.workers.spawn(async move {
            let mut due = tokio::time::interval(pace);
            let mut open = JoinSet::new();
            while *going.borrow() {
                due.tick().await;
                let shared = Arc::clone(&own);
                open.spawn(async move { shared.another().await });
                while open.try_join_next().is_some() {}
            }
            open.join_all().await;
        });
    }

    /// What ended since this was asked last.
    pub(super) fn take_ends(&self) -> Ends {
        std::mem::take(&mut *lock(&self.shared.ends))
    }

    /// Logins admitted so far.
    pub(super) fn admitted(&self) -> usize {
        lock(&self.shared.ends).admitted.len()
    }

    /// Begins no more and waits for those in flight.
    pub(super) async fn rest(&mut self) {
        self.going.send_replace(false);
        while self.workers.join_next().await.is_some() {}
    }

    /// All that ended.
    ///
    /// # Errors
    /// When there were too few accounts to keep so many logins in flight.
    pub(super) fn ends(self) -> Result<Ends, Failure> {
        let ends = std::mem::take(&mut *lock(&self.shared.ends));
        if ends.starved {
            let accounts = lock(&self.shared.idle).len();
            let text = format!(
                "{accounts} accounts are too few: the trust operator takes 120 proposals of an \
                 account in 60 s, and all were used up; take more --accounts or fewer --seconds"
            );
            return Err(Failure::new(Exit::Usage, text));
        }
        Ok(ends)
    }
}

impl Shared {
    /// One login from begin to end; false if no account may begin one now.
    async fn another(&self) -> bool {
        let Some(mut account) = self.take() else {
            lock(&self.ends).starved = true;
            return false;
        };
        let begun = Instant::now();
        account.begins.push_back(begun);
        match self.login(&account).await {
            Ok(()) => {
                let ended = Instant::now();
                let took = ended.duration_since(begun);
                lock(&self.ends).admitted.push(Sample { ended, took });
            }
            Err(what) => {
                count(&mut lock(&self.ends).errors, what);
                tokio::time::sleep(PAUSE).await;
            }
        }
        lock(&self.idle).push_back(account);
        true
    }

    /// The account that has rested longest, of those that may begin a login.
    fn take(&self) -> Option<Account> {
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        for _ in 0..idle.len() {
            let mut account = idle.pop_front()?;
            let is_old = |begun: &Instant| now.duration_since(*begun) > WINDOW;
            while account.begins.front().is_some_and(is_old) {
                account.begins.pop_front();
            }
            if account.begins.len() < PER_ACCOUNT {
                return Some(account);
            }
            idle.push_back(account);
        }
        None
    }

    async fn login(&self, account: &Account) -> Result<(), String> {
        let device = account.device;
        let service = service_of(&self.services, device).ok_or("there is no login service")?;
        let shown = Shown {
            channel: "bench".to_owned(),
            address: "127.0.0.1".to_owned(),
            details: Vec::new(),
            reference: None,
        };
        let login = service.begin(account.pin, Asked::Login, shown).await;
        let login = login.map_err(|error| kind("begin", &error))?;
        let nonce = &login.expected().nonce;
        let told = self.customers.type_number(device, nonce, login.number());
        told.await?;
        match service.wait(login).await {
            Ok(LoginEnd::Admitted(_)) => Ok(()),
            Ok(LoginEnd::Refused { by, reason }) => Err(format!("refused by the {by}: {reason}")),
            Ok(LoginEnd::Expired) => Err("expired".to_owned()),
            Err(error) => Err(kind("wait", &error)),
        }
    }
}

/// What kind of error this is: texts with names in them would make every error a kind of its own.
fn kind(step: &str, error: &LoginServiceError) -> String {
    match error {
        LoginServiceError::Problem(problem) => format!("{step}: {}", problem.title),
        error => format!("{step}: {error}"),
    }
}
