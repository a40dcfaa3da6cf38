//! A running broker: what login services ask for, on top of an operator.

mod desk;
mod logins;

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast;
use warifu_client_sdk::{
    runtime::{KeeperError, Recover, Secrets, Watch},
    transport::{Multiaddr, SessionId},
};
use warifu_consensus::{
    agree::{Broker as ProposingMachine, Event, Founding, Outcome, Record},
    block::{Kind, Sealed},
    party::{Role, Sub},
    signature::IdentityKey,
    time::Time,
};

use super::{
    enrolments::Enrolments,
    operator::{Ending, Operator, OperatorError, OperatorOptions},
};
use crate::{api::desk::EnrolmentState, observe::Readiness};
use logins::Logins;

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
        if matches!(records.first(), Some(Record::Dead)) {
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
}

struct BrokerWatch {
    logins: Arc<Logins>,
    happened: broadcast::Sender<Happened>,
    ending: Ending,
    clock: warifu_client_sdk::runtime::Clock,
}

impl Watch for BrokerWatch {
    fn event(&self, sub: &Sub, event: Event) {
        let now = (self.clock)();
        match event {
            Event::Began { login, number, exp } => self.logins.began(login, number, exp),
            Event::NotBegun { login, refusal } => self.logins.not_begun(login, refusal),
            Event::NotCancelled { login, refusal } => self.logins.not_cancelled(login, refusal),
            Event::Ended { login, outcome } => {
                let told = match &outcome {
                    Outcome::Admitted(_) => "admitted",
                    Outcome::Refused { .. } => "refused",
                    Outcome::Expired => "expired",
                };
                tracing::info!(account = %sub, outcome = told, "login ended");
                self.logins.ended(login, outcome, now);
            }
            Event::Sealed(sealed) => {
                let c = sealed.block.claims();
                tracing::info!(account = %sub, height = c.height, kind = c.kind.name(), "sealed");
                // Nobody waiting is fine.
                drop(self.happened.send(Happened::Sealed(*sub, sealed)));
            }
            Event::Dead => drop(self.happened.send(Happened::Dead(*sub))),
            Event::Fault(fault) => tracing::warn!(account = %sub, %fault, "fault"),
            // A device may repeat what is refused as fast as its line carries: no log fills with it.
            Event::Rejected {
                from: Role::Device,
                refusal,
            } => tracing::debug!(account = %sub, %refusal, "rejected, from the device"),
            Event::Rejected { from, refusal } => {
                tracing::info!(account = %sub, %from, %refusal, "rejected");
            }
            Event::Restored { until } => {
                tracing::warn!(account = %sub, until_s = until.seconds(),
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
        let watch = Arc::new(BrokerWatch {
            logins: Arc::clone(&logins),
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
        let now = (operator.clock)();
        let mut duties = Vec::new();
        operator.enter_accounts(|sub, records| {
            logins.remember(sub, records, now);
            if has_duty(records) {
                duties.push(sub);
            }
        })?;
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

    /// Whether it can propose, for those who watch it.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let operator = Arc::clone(&self.inner.operator);
        Arc::new(move || operator.readiness())
    }

    /// Ends lines and actors.
    pub async fn stop(&self) {
        self.inner.operator.stop().await;
        self.inner.ending.end("stopped".into());
    }

    fn trust_operator_session(&self) -> Option<SessionId> {
        let operator = &self.inner.operator;
        let peer = operator.directory.peer(&Sub::ZERO, Role::TrustOperator)?;
        operator.lines.session_of(&peer)
    }
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
                if let Ok(records) = inner.operator.keeper.records(&sub)
                    && let Some(Record::Founding(founding)) = records.first()
                {
                    let reason = "the account's genesis was not sealed in time".to_owned();
                    let state = EnrolmentState::Failed { reason };
                    inner.enrolments.settle(&founding.session, state);
                }
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "enrolment pages fell behind");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// How long a freeze waits for its block before it answers that it is wanted.
const FREEZE_WAIT: Duration = Duration::from_secs(10);
