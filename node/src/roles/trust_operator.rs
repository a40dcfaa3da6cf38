//! A running trust operator: it checks for itself, seals, and keeps what it sealed.

use std::sync::Arc;

use warifu_client_sdk::runtime::{KeeperError, Recover, Secrets, Watch};
use warifu_consensus::{
    agree::{Event, Record, TrustOperator as SealingMachine, TrustOperatorOptions},
    party::{Role, Sub},
    signature::IdentityKey,
};

use crate::observe::Readiness;

use super::{
    enrolments::Enrolments,
    operator::{Ending, Operator, OperatorError, OperatorOptions},
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
        if matches!(records.first(), Some(Record::Dead)) {
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
    fn event(&self, sub: &Sub, event: Event) {
        match event {
            Event::Sealed(sealed) => {
                let c = sealed.block.claims();
                tracing::info!(account = %sub, height = c.height, kind = c.kind.name(), "sealed");
            }
            Event::Fault(fault) => tracing::warn!(account = %sub, %fault, "fault"),
            // A device may repeat what is refused as fast as its line carries: no log fills with it.
            Event::Rejected {
                from: Role::Device,
                refusal,
            } => tracing::debug!(account = %sub, %refusal, "rejected, from the device"),
            Event::Rejected { from, refusal } => {
                tracing::info!(account = %sub, %from, %refusal, "rejected");
            }
            Event::Dead => tracing::info!(account = %sub, "genesis declared dead"),
            _ => {}
        }
    }

    fn failed(&self, sub: &Sub, error: &KeeperError) {
        self.ending.end(format!("account {sub}: {error}"));
    }
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
        let mut duties = Vec::new();
        operator.enter_accounts(|sub, records| {
            let words = records.iter().any(|r| matches!(r, Record::Word(_)));
            let genesis = records.iter().any(|r| matches!(r, Record::Sealed(_)));
            let dead = records.iter().any(|r| matches!(r, Record::Dead));
            if words || (!genesis && !dead) {
                duties.push(sub);
            }
        })?;
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

    /// Whether it can seal, for those who watch it.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let operator = Arc::clone(&self.operator);
        Arc::new(move || operator.readiness())
    }

    /// Ends lines and actors.
    pub async fn stop(self) {
        self.operator.stop().await;
    }
}
