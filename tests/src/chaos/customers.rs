//! Customers who log in, again and again, whatever happens to the nodes; and what they were told.
//!
//! Each has an account, a page (the login service's SDK over HTTP, with its own pins) and the device's
//! control channel. Most approve, a few deny, type a wrong number, or walk away. An *acknowledged* login
//! is one that the SDK verified after the broker had said "admitted": from then on it must be in every chain.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use warifu_client_sdk::login_service::{
    Advice, EnrolmentEnd, LoginEnd, LoginService, LoginServiceError, MemoryPins, Patience, Pin,
    Token,
    api::{Asked, Shown},
};
use warifu_consensus::party::Role;
use warifu_node::control::{Answer, ControlClient, EnrolState, PendingView, Request};
use warifu_simulator::chance::Chance;

use super::Trouble;
use crate::processes::Testnet;

/// Between two looks at the device.
const LOOK: Duration = Duration::from_millis(20);
/// After a begin that was refused or not answered.
const PAUSE: Duration = Duration::from_millis(150);
/// How long an enrolment may take in fair weather.
const ENROLMENT: Duration = Duration::from_secs(60);
/// A stopped broker must not stop its customers for long.
const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(3),
    overall: Duration::from_secs(6),
    tries: 2,
};

/// A login that the SDK verified: nobody may lose it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The account: 22 characters of base64url.
    pub account: String,
    /// The block's hash: 43 characters of base64url.
    pub hash: String,
}

/// What customers met, counted.
#[derive(Debug, Clone, Default)]
pub struct Met {
    /// In the order of their ends.
    pub acknowledged: Vec<Acknowledged>,
    /// Hashes of proposals that the device had denied durably: 43 characters of base64url.
    pub denied: Vec<String>,
    /// Logins that somebody refused.
    pub refused: u64,
    /// Logins whose time ran out.
    pub expired: u64,
    /// Begins and waits that ended without an answer, or with "not now".
    pub unanswered: u64,
    /// What no fault excuses: the broker told something that does not verify, or failed inside.
    pub wrong: Vec<String>,
}

/// The login service and the device's owner, of all accounts.
pub struct Customers {
    service: LoginService<MemoryPins>,
    control: PathBuf,
    met: Mutex<Met>,
}

impl Customers {
    /// The customers of a testnet's device.
    ///
    /// # Errors
    /// When ledger or token can't be read.
    pub fn of(net: &Testnet, device: &Path) -> Result<Arc<Self>, Trouble> {
        let ledger = warifu_node::config::read_ledger(Path::new(&net.ledger()))?;
        let token = Token::from_file(&net.token_file())?;
        let http = net.http.as_str();
        let pins = MemoryPins::default();
        let service = LoginService::new(http, token, ledger, Testnet::AUD, pins)?;
        Ok(Arc::new(Self {
            service: service.with_patience(PATIENCE),
            control: device.join("control.sock"),
            met: Mutex::default(),
        }))
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was met so far.
    #[must_use]
    pub fn told(&self) -> Met {
        self.met().clone()
    }

    async fn device(&self, request: Request) -> Option<Answer> {
        // A device that is down or stopped answers nothing, and the customer looks again.
        ControlClient::new(&self.control).ask(&request).await.ok()
    }

    /// Enrols the device for a customer, in fair weather.
    ///
    /// # Errors
    /// When the ticket, the digits or the genesis do not come.
    pub async fn enrol(&self, customer: &str) -> Result<Pin, Trouble> {
        let enrolling = self.try_enrol(customer);
        match tokio::time::timeout(ENROLMENT, enrolling).await {
            Ok(done) => done,
            Err(_) => Err(format!("{customer} was not enrolled in {ENROLMENT:?}").into()),
        }
    }

    async fn try_enrol(&self, customer: &str) -> Result<Pin, Trouble> {
        let opened = self.service.enrol(Some(customer)).await?;
        let uri = opened.ticket_uri.to_string();
        let mut request = Request::Enrol { uri };
        let digits = loop {
            match self.device(request).await {
                Some(Answer::Enrolment(view)) if view.state == EnrolState::Failed => {
                    return Err(view.reason.unwrap_or_default().into());
                }
                Some(Answer::Enrolment(view)) => {
                    if let Some(digits) = view.digits {
                        break digits;
                    }
                }
                other => return Err(format!("the device answers {other:?}").into()),
            }
            tokio::time::sleep(LOOK).await;
            request = Request::Enrolment {
                session: opened.session.clone(),
            };
        };
        loop {
            let state = self
                .service
                .enrolment(customer, &opened.session, LOOK)
                .await?;
            let state = match state {
                EnrolmentEnd::Digits => {
                    self.service
                        .confirm(customer, &opened.session, &digits)
                        .await?
                }
                other => other,
            };
            match state {
                EnrolmentEnd::Pinned { pin, .. } => return Ok(pin),
                EnrolmentEnd::Failed { reason } => return Err(reason.into()),
                EnrolmentEnd::Waiting | EnrolmentEnd::Digits => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Logs one customer in until `stop` says so.
    pub async fn keep_logging_in(&self, pin: Pin, mut chance: Chance, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let mood = Mood::of(&mut chance);
            if !self.log_in(pin, mood).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// One login from begin to end; whether it was admitted.
    pub async fn log_in(&self, pin: Pin, mood: Mood) -> bool {
        let shown = Shown::through("web", "203.0.113.7");
        let login = match self.service.begin(pin, Asked::Login, shown).await {
            Ok(login) => login,
            Err(error) => {
                self.note(&error, "begin");
                return false;
            }
        };
        let mut answering = Answering {
            customers: self,
            account: pin.account.to_string(),
            id: login.id().to_owned(),
            number: login.number().parse().unwrap_or(0),
            mood,
            denied: Vec::new(),
            is_taken_back: false,
        };
        let end = tokio::select! {
            end = self.service.wait(login) => end,
            never = answering.run() => match never {},
        };
        match end {
            Ok(LoginEnd::Admitted(admission)) => {
                let (account, hash) = (pin.account, admission.login.hash());
                let mut met = self.met();
                if answering.is_taken_back {
                    met.wrong.push(format!(
                        "block {hash} was admitted after its login was taken back"
                    ));
                }
                met.acknowledged.push(Acknowledged {
                    account: account.to_string(),
                    hash: hash.to_string(),
                });
                return true;
            }
            Ok(LoginEnd::Refused { by, .. }) => {
                let mut met = self.met();
                met.refused += 1;
                if by == Role::Device {
                    // Its word has reached the broker.
                    met.denied.append(&mut answering.denied);
                }
            }
            Ok(LoginEnd::Expired) => self.met().expired += 1,
            Err(error) => self.note(&error, "wait"),
        }
        false
    }

    fn note(&self, error: &LoginServiceError, step: &str) {
        let mut met = self.met();
        match error.advice() {
            Advice::Retry { .. } | Advice::TellCustomer => met.unanswered += 1,
            Advice::Fix | Advice::Page => met.wrong.push(format!("{step}: {error}")),
        }
    }
}

/// What a customer means to do with one login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Types the page's number into the device.
    Approves,
    /// Says no.
    Denies,
    /// Types another number.
    Mistypes,
    /// The page takes the login back while the customer approves it.
    TakesBack,
}

impl Mood {
    fn of(chance: &mut Chance) -> Self {
        match chance.below(40) {
            0 => Self::Denies,
            1 => Self::Mistypes,
            2 => Self::TakesBack,
            _ => Self::Approves,
        }
    }
}

/// One customer in front of one page and the device, until the page has its end.
struct Answering<'a> {
    customers: &'a Customers,
    account: String,
    id: String,
    number: u8,
    mood: Mood,
    denied: Vec<String>,
    is_taken_back: bool,
}

impl Answering<'_> {
    async fn run(&mut self) -> Infallible {
        loop {
            // While the device is down it asks nothing; the login goes on all the same.
            if let Some(Answer::Pending(pending)) = self.customers.device(Request::Pending).await {
                for asked in pending {
                    if asked.account == self.account {
                        self.decide(&asked).await;
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn decide(&mut self, asked: &PendingView) {
        let proposal = asked.proposal.clone();
        let approve = |number| Request::Approve {
            proposal: proposal.clone(),
            number,
        };
        match self.mood {
            Mood::Approves => drop(self.customers.device(approve(self.number)).await),
            Mood::Mistypes => {
                let wrong = (self.number + 1) % 100;
                drop(self.customers.device(approve(wrong)).await);
            }
            Mood::Denies => {
                let deny = Request::Deny {
                    proposal: proposal.clone(),
                    not_me: false,
                };
                self.denied = vec![proposal.clone()];
                drop(self.customers.device(deny).await);
            }
            Mood::TakesBack => {
                let (back, _) = tokio::join!(
                    self.customers.service.cancel(&self.id),
                    self.customers.device(approve(self.number)),
                );
                self.is_taken_back |= back.is_ok();
            }
        }
    }
}
