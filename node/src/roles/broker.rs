//! A running broker: what login services ask for, on top of an operator.

mod desk;
mod logins;
mod push;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::{broadcast, watch};
use tracing::field::display;
use warifu_client_sdk::{
    runtime::{About, KeeperError, Recover, Secrets, Watch, outcome_name},
    transport::{Multiaddr, SessionId},
};
use warifu_consensus::{
    agree::{Broker as ProposingMachine, Event, Founding, Input, Outcome, Record},
    block::{Kind, Sealed},
    encoding::{TraceName, text_b64},
    party::{Role, Sub},
    signature::IdentityKey,
    time::Time,
};

use super::{
    ending::Ending,
    enrolments::Enrolments,
    operator::{Operator, OperatorError, OperatorOptions, owes},
};
use crate::{
    api::desk::EnrolmentState,
    log_http::LogSide,
    observe::{Watched, counts},
};
use logins::Logins;
use push::Push;
pub use push::{PushError, PushSettings};

/// A broker's own settings.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// Addresses written into tickets, where devices reach this broker.
    pub announce: Vec<Multiaddr>,
    /// Where devices reach the trust operator.
    pub trust_operator_announce: Vec<Multiaddr>,
    /// Seconds that a proposal lives.
    pub proposal_lifetime_s: u64,
    /// Seconds that a ticket lives.
    pub ticket_lifetime_s: u64,
    /// The push service that wakes phones.
    pub push: Option<PushSettings>,
}

struct RecoverBroker {
    key: Arc<IdentityKey>,
}

impl Recover<ProposingMachine> for RecoverBroker {
    fn recover(
        &self,
        records: Vec<Record>,
        secrets: Secrets,
    ) -> Result<Option<ProposingMachine>, String> {
        let ended = matches!(records.last(), Some(Record::Erased { .. }));
        if ended || matches!(records.first(), Some(Record::Dead)) {
            return Ok(None);
        }
        let key = Arc::clone(&self.key);
        ProposingMachine::recover(records, key, secrets.share, secrets.content_key).map(Some)
    }
}

/// What happens on accounts, for those who wait for it.
#[derive(Debug, Clone)]
pub(super) enum Happened {
    Sealed(Sub, Box<Sealed>),
    Dead(Sub),
    /// The genesis was refused; it is proposed once, so it will be dead.
    Refused(Sub, String),
}

struct BrokerWatch {
    logins: Arc<Logins>,
    /// Empty without a push service.
    push: Arc<OnceLock<Push>>,
    happened: broadcast::Sender<Happened>,
    ending: Ending,
    clock: warifu_client_sdk::runtime::Clock,
}

impl Watch for BrokerWatch {
    fn event(&self, about: &About, event: Event) {
        counts::told(&event);
        let now = (self.clock)();
        let (sub, height) = (&about.sub, about.height);
        let trace = || about.trace().map(display);
        match event {
            Event::Began { login, number, exp } => {
                self.logins.began(login, number, exp);
                if let Some(push) = self.push.get() {
                    push.opened(*sub, login, exp);
                }
            }
            Event::NotBegun { login, refusal } => self.logins.not_begun(login, refusal),
            Event::NotCancelled { login, refusal } => self.logins.not_cancelled(login, refusal),
            Event::Ended { login, outcome } => {
                let name = text_b64(&login.0);
                let (told, by) = outcome_name(&outcome);
                tracing::info!(account = %sub, height, login = name, trace = trace(),
                    outcome = told, by = by.map(display), "login ended");
                if let (Some(0), Outcome::Refused { by, reason }) = (height, &outcome) {
                    let reason = format!("the {by} refused the account's genesis: {reason}");
                    drop(self.happened.send(Happened::Refused(*sub, reason)));
                }
                self.logins.ended(login, outcome, now);
                if let Some(push) = self.push.get() {
                    push.ended(sub, login);
                }
            }
            Event::Sealed(sealed) => {
                let c = sealed.block.claims();
                let trace = TraceName::of(&sealed.block.hash());
                tracing::info!(account = %sub, height = c.height, %trace, kind = c.kind.name(), "sealed");
                // Nobody waiting is fine.
                drop(self.happened.send(Happened::Sealed(*sub, sealed)));
            }
            Event::Dead => drop(self.happened.send(Happened::Dead(*sub))),
            Event::Fault(fault) => {
                tracing::warn!(account = %sub, height, trace = trace(), %fault, "fault");
            }
            Event::Conflict {
                height: at,
                held,
                found,
            } => {
                tracing::error!(account = %sub, height = at, %held, %found,
                    "blocks that can't stand in one chain are on record: frozen until somebody looked");
            }
            // A device may repeat what is refused as fast as its line carries: no log fills with it.
            Event::Rejected {
                from: Role::Device,
                refusal,
            } => tracing::debug!(account = %sub, height, trace = trace(), %refusal,
                "rejected, from the device"),
            Event::Rejected { from, refusal } => {
                tracing::info!(account = %sub, height, trace = trace(), %from, %refusal, "rejected");
            }
            Event::Restored { until } => {
                tracing::warn!(account = %sub, until = crate::clock::local(until.seconds()),
                    "this broker is a restored copy: it opens with a `restored` block after this time");
            }
            Event::Compared { .. }
            | Event::Prompt(_)
            | Event::PromptGone { .. }
            | Event::NoPrompt { .. } => {}
        }
    }

    fn failed(&self, sub: &Sub, error: &KeeperError) {
        self.ending.end(format!("account {sub}: {error}"));
    }
}

/// A running broker. Clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    operator: Arc<Operator<ProposingMachine>>,
    enrolments: Arc<Enrolments<ProposingMachine>>,
    logins: Arc<Logins>,
    happened: broadcast::Sender<Happened>,
    settings: BrokerSettings,
    ending: Ending,
    phase: watch::Sender<Phase>,
}

impl Inner {
    fn fail_enrolment(&self, sub: &Sub, reason: String) {
        if let Ok(Some(Record::Founding(founding))) = self.operator.keeper.first(sub) {
            let state = EnrolmentState::Failed { reason };
            self.enrolments.settle(&founding.session, state);
        }
    }
}

/// How far a graceful stop is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Running,
    /// Nothing begins any more; what is open ends or is taken back.
    Closing,
    /// Whoever still waits is told that the node stops.
    Closed,
}

impl Broker {
    /// Opens everything and carries lines in the background.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn start(
        mut options: OperatorOptions<'_>,
        settings: BrokerSettings,
    ) -> Result<Self, OperatorError> {
        let ending = Ending::default();
        let logins = Arc::new(Logins::default());
        let happened = broadcast::Sender::new(1024);
        let push = Arc::new(OnceLock::new());
        let watch = Arc::new(BrokerWatch {
            logins: Arc::clone(&logins),
            push: Arc::clone(&push),
            happened: happened.clone(),
            ending: ending.clone(),
            clock: Arc::clone(&options.clock),
        });
        let operator = Operator::open(&mut options, watch, |key| {
            Arc::new(RecoverBroker {
                key: Arc::clone(key),
            })
        })
        .await?;
        let operator = Arc::new(operator);
        operator.start_log(options.log_key, &ending)?;
        if let Some(service) = settings.push.clone() {
            start_push(&operator, service, &push)?;
        }
        let now = (operator.clock)();
        let mut duties = Vec::new();
        let is_old = |sealed: &Sealed| Logins::is_forgotten(sealed.block.claims().exp, now);
        operator.enter_accounts(is_old, |sub, founding, recent| {
            logins.remember(sub, founding.account_key, recent, now);
            if owes(recent, has_duty) {
                duties.push(sub);
            }
        })?;
        operator.start_erasing().await?;
        let enrolments = Arc::new(Enrolments::start(
            Arc::clone(&operator),
            open_genesis(&operator, &settings),
        ));
        let events = operator
            .connect(
                options.wire_identity,
                options.listen,
                options.other_addresses,
            )
            .await?;
        for sub in duties {
            operator.accounts.wake(sub);
        }
        let inner = Arc::new(Inner {
            operator,
            enrolments,
            logins,
            happened,
            settings,
            ending,
            phase: watch::Sender::new(Phase::Running),
        });
        let carrying = Arc::clone(&inner);
        tokio::spawn(async move { carrying.operator.carry(events, &carrying.enrolments).await });
        tokio::spawn(settle_enrolments(Arc::clone(&inner)));
        Ok(Self { inner })
    }

    /// Why the broker has to stop by itself.
    #[must_use]
    pub fn ending(&self) -> &Ending {
        &self.inner.ending
    }

    /// Where it listens, with actual ports.
    #[must_use]
    pub fn listeners(&self) -> Vec<String> {
        let network = self.inner.operator.lines.network();
        network.map_or_else(Vec::new, |n| {
            n.listeners().iter().map(ToString::to_string).collect()
        })
    }

    /// What of the log is served for everyone.
    #[must_use]
    pub fn log_side(&self) -> LogSide {
        LogSide::of(&self.inner.operator)
    }

    /// What those who watch it may ask.
    #[must_use]
    pub fn watched(&self) -> Arc<dyn Watched> {
        Arc::clone(&self.inner.operator) as _
    }

    /// Begins a graceful stop: nothing begins any more, logins that nobody locked are taken back,
    /// and those that are locked get a moment to end. Whoever waits for anything else is then told
    /// that the node stops (503 `stopping`). Takes at most 1.5 s.
    pub async fn wind_down(&self) {
        self.inner.phase.send_replace(Phase::Closing);
        let ended = async {
            let mut asked = std::collections::HashSet::new();
            loop {
                let open = self.inner.logins.open_ones();
                if open.is_empty() {
                    return;
                }
                for (login, sub) in open {
                    if asked.insert(login) {
                        // A busy account's login stays open: its caller hears `stopping`.
                        let _ = self
                            .inner
                            .operator
                            .accounts
                            .ask(sub, Input::Cancel { login });
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(WIND_DOWN, ended).await.is_err() {
            let open = self.inner.logins.open_ones().len();
            tracing::info!(
                open,
                "stopping with locked logins, they go on after a start"
            );
        }
        self.inner.phase.send_replace(Phase::Closed);
    }

    /// Whether nothing begins any more.
    fn is_closing(&self) -> bool {
        *self.inner.phase.borrow() != Phase::Running
    }

    /// Whether whoever waits is told that the node stops.
    fn is_closed(&self) -> bool {
        *self.inner.phase.borrow() == Phase::Closed
    }

    /// Ready once whoever waits is to be told that the node stops.
    async fn closed(&self) {
        let mut phase = self.inner.phase.subscribe();
        // An error would mean that the sender is gone; this handle holds it.
        drop(phase.wait_for(|phase| *phase == Phase::Closed).await);
    }

    /// Ends lines and actors.
    pub async fn stop(&self) {
        self.inner.phase.send_replace(Phase::Closed);
        self.inner.operator.stop().await;
        self.inner.ending.end("stopped".into());
    }

    fn trust_operator_session(&self) -> Option<SessionId> {
        let operator = &self.inner.operator;
        let peer = operator.directory.peer(&Sub::ZERO, Role::TrustOperator)?;
        operator.lines.session_of(&peer)
    }
}

/// Follows open proposals and devices' lines from now on.
fn start_push(
    operator: &Arc<Operator<ProposingMachine>>,
    service: PushSettings,
    place: &OnceLock<Push>,
) -> Result<(), OperatorError> {
    let (directory, lines) = (Arc::clone(&operator.directory), Arc::clone(&operator.lines));
    let has_line = Box::new(move |sub: &Sub| {
        let device = directory.peer(sub, Role::Device);
        device.is_some_and(|device| lines.session_of(&device).is_some())
    });
    let (iss, clock) = (operator.ledger.iss.clone(), Arc::clone(&operator.clock));
    let push = Push::new(service, iss, clock, has_line)?;
    let told = push.clone();
    operator.on_device_down(Box::new(move |sub| told.line_down(sub)));
    if place.set(push).is_err() {
        tracing::error!("a second push service was offered and not taken");
    }
    Ok(())
}

/// The records leave something that the broker owes: recovered cheaply, without secrets.
fn has_duty(records: &[Record]) -> bool {
    let key = Arc::new(IdentityKey::from_seed([0; 32]));
    ProposingMachine::recover(records.iter().cloned(), key, None, None)
        .map_or(true, |machine| !machine.has_no_duty())
}

/// Once an account is founded, its genesis is proposed.
fn open_genesis(
    operator: &Arc<Operator<ProposingMachine>>,
    settings: &BrokerSettings,
) -> super::enrolments::OnFounded {
    let operator = Arc::clone(operator);
    let lifetime_s = settings.proposal_lifetime_s;
    Box::new(move |sub: Sub, _: &Founding| {
        let accounts = operator.accounts.clone();
        operator.signing().spawn(async move {
            let opened = accounts
                .with(sub, move |machine: &mut ProposingMachine, now: Time| {
                    match warifu_client_sdk::runtime::os_entropy() {
                        Ok(mut entropy) => {
                            (true, machine.open_genesis(now, lifetime_s, &mut entropy))
                        }
                        Err(error) => {
                            tracing::error!(%error, "no genesis proposed");
                            (false, Vec::new())
                        }
                    }
                })
                .await;
            if opened != Some(true) {
                tracing::error!(account = %sub, "genesis not proposed");
            }
        });
    })
}

/// Tells the pages of enrolments when a genesis is sealed, or dead.
async fn settle_enrolments(inner: Arc<Inner>) {
    let mut happened = inner.happened.subscribe();
    let stopped = inner.ending.clone();
    loop {
        let next = tokio::select! {
            next = happened.recv() => next,
            _ = stopped.wait() => return,
        };
        match next {
            Ok(Happened::Sealed(account, sealed)) => {
                let c = sealed.block.claims();
                let (Kind::Genesis, Some(genesis)) = (c.kind, &c.genesis) else {
                    continue;
                };
                let Ok(session) = warifu_consensus::encoding::parse_b64::<32>(&c.nonce) else {
                    continue;
                };
                let account_key = genesis.account_key;
                let state = EnrolmentState::Done {
                    account,
                    account_key,
                    genesis: sealed,
                };
                inner.enrolments.settle(&session, state);
            }
            Ok(Happened::Dead(sub)) => {
                tracing::warn!(account = %sub, "genesis is dead");
                inner.fail_enrolment(
                    &sub,
                    "the account's genesis was not sealed in time".to_owned(),
                );
            }
            Ok(Happened::Refused(sub, reason)) => {
                tracing::warn!(account = %sub, reason, "genesis refused");
                inner.fail_enrolment(&sub, reason);
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "enrolment pages fell behind");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// How long a stop waits for logins that are locked.
const WIND_DOWN: Duration = Duration::from_millis(1500);

/// How long a freeze waits for its block before it answers that it is wanted.
const FREEZE_WAIT: Duration = Duration::from_secs(10);
