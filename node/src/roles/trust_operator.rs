//! A running trust operator: it checks for itself, seals, and keeps what it sealed.

use std::sync::Arc;

use tracing::field::display;

use warifu_client_sdk::runtime::{About, KeeperError, Recover, Secrets, Watch};
use warifu_consensus::{
    agree::{Event, Record, TrustOperator as SealingMachine, TrustOperatorOptions},
    encoding::TraceName,
    party::{Role, Sub},
    signature::IdentityKey,
};

use crate::{
    log_http::LogSide,
    observe::{Watched, counts},
};

use super::{
    ending::Ending,
    enrolments::Enrolments,
    operator::{Operator, OperatorError, OperatorOptions, owes},
};

struct RecoverTrustOperator {
    key: Arc<IdentityKey>,
    options: TrustOperatorOptions,
}

impl Recover<SealingMachine> for RecoverTrustOperator {
    fn recover(
        &self,
        records: Vec<Record>,
        secrets: Secrets,
    ) -> Result<Option<SealingMachine>, String> {
        let ended = matches!(records.last(), Some(Record::Erased { .. }));
        if ended || matches!(records.first(), Some(Record::Dead)) {
            return Ok(None);
        }
        let key = Arc::clone(&self.key);
        SealingMachine::recover(records, key, secrets.share, self.options).map(Some)
    }
}

struct TrustOperatorWatch {
    ending: Ending,
}

impl Watch for TrustOperatorWatch {
    fn event(&self, about: &About, event: Event) {
        counts::told(&event);
        let (sub, height) = (&about.sub, about.height);
        let trace = || about.trace().map(display);
        match event {
            Event::Sealed(sealed) => {
                let c = sealed.block.claims();
                let trace = TraceName::of(&sealed.block.hash());
                tracing::info!(account = %sub, height = c.height, %trace, kind = c.kind.name(), "sealed");
            }
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
            Event::Dead => tracing::info!(account = %sub, "genesis declared dead"),
            _ => {}
        }
    }

    fn failed(&self, sub: &Sub, error: &KeeperError) {
        self.ending.end(format!("account {sub}: {error}"));
    }
}

/// The records leave something that the trust operator owes: recovered cheaply, without secrets.
fn has_duty(records: &[Record], policy: TrustOperatorOptions) -> bool {
    let key = Arc::new(IdentityKey::from_seed([0; 32]));
    SealingMachine::recover(records.iter().cloned(), key, None, policy)
        .map_or(true, |machine| !machine.has_no_duty())
}

/// A running trust operator.
pub struct TrustOperator {
    operator: Arc<Operator<SealingMachine>>,
    /// Why it has to stop by itself.
    pub ending: Ending,
}

impl TrustOperator {
    /// Opens everything and carries lines in the background.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn start(
        mut options: OperatorOptions<'_>,
        policy: TrustOperatorOptions,
    ) -> Result<Self, OperatorError> {
        let ending = Ending::default();
        let watch = Arc::new(TrustOperatorWatch {
            ending: ending.clone(),
        });
        let operator = Operator::open(&mut options, watch, |key| {
            Arc::new(RecoverTrustOperator {
                key: Arc::clone(key),
                options: policy,
            })
        })
        .await?;
        let operator = Arc::new(operator);
        operator.start_log(options.log_key, &ending)?;
        let mut duties = Vec::new();
        operator.enter_accounts(
            |_| true,
            |sub, _, recent| {
                if owes(recent, |records| has_duty(records, policy)) {
                    duties.push(sub);
                }
            },
        )?;
        operator.start_erasing().await?;
        let waking = Arc::clone(&operator);
        let enrolments = Enrolments::start(
            Arc::clone(&operator),
            Box::new(move |sub, _| waking.accounts.wake(sub)),
        );
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
        let carrying = Arc::clone(&operator);
        tokio::spawn(async move { carrying.carry(events, &enrolments).await });
        Ok(Self { operator, ending })
    }

    /// Where it listens, with actual ports.
    #[must_use]
    pub fn listeners(&self) -> Vec<String> {
        let network = self.operator.lines.network();
        network.map_or_else(Vec::new, |n| {
            n.listeners().iter().map(ToString::to_string).collect()
        })
    }

    /// What of the log is served for everyone.
    #[must_use]
    pub fn log_side(&self) -> LogSide {
        LogSide::of(&self.operator)
    }

    /// What those who watch it may ask.
    #[must_use]
    pub fn watched(&self) -> Arc<dyn Watched> {
        Arc::clone(&self.operator) as _
    }

    /// Ends lines and actors.
    pub async fn stop(self) {
        self.operator.stop().await;
    }
}
