//! What the machines tell, kept for the customer.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;
use warifu_consensus::{
    agree::{Event, Prompt},
    block::Sealed,
    encoding::{Hash, TraceName},
    party::Sub,
    wire::Reason,
};

use super::{Enrolling, LogTrouble, PendingView};
use crate::runtime::{About, KeeperError, Watch};

/// Events that a slow reader may fall behind.
const BACKLOG: usize = 64;

/// What happens on a device.
#[derive(Debug, Clone)]
pub enum DeviceEvent {
    /// The customer is asked.
    Asked {
        /// The account.
        sub: Sub,
        /// What.
        prompt: Box<Prompt>,
    },
    /// A question is gone.
    Gone {
        /// The account.
        sub: Sub,
        /// The proposal.
        hash: Hash,
        /// Why, unless a newer one took its place.
        reason: Option<Reason>,
    },
    /// The account has a new block.
    Sealed {
        /// The account.
        sub: Sub,
        /// The block.
        sealed: Box<Sealed>,
    },
    /// An enrolment began; follow its stage.
    Enrolling(Enrolling),
    /// The account was never born.
    Dead {
        /// The account.
        sub: Sub,
    },
    /// The broker showed a checkpoint of the ledger's log that this device refuses.
    Log(LogTrouble),
    /// The device must stop: a write failed or records don't fit.
    Failed {
        /// Found and expected.
        reason: String,
    },
}

pub(super) struct DeviceWatch {
    prompts: Mutex<BTreeMap<Hash, (Sub, Prompt)>>,
    events: broadcast::Sender<DeviceEvent>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DeviceWatch {
    pub(super) fn new() -> Self {
        Self {
            prompts: Mutex::new(BTreeMap::new()),
            events: broadcast::Sender::new(BACKLOG),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<DeviceEvent> {
        self.events.subscribe()
    }

    pub(super) fn pending(&self) -> Vec<PendingView> {
        lock(&self.prompts)
            .values()
            .map(|(sub, prompt)| PendingView {
                sub: *sub,
                prompt: prompt.clone(),
            })
            .collect()
    }

    pub(super) fn account_of(&self, proposal: &Hash) -> Option<Sub> {
        lock(&self.prompts).get(proposal).map(|(sub, _)| *sub)
    }

    pub(super) fn tell(&self, event: DeviceEvent) {
        // Nobody listening is fine: `pending` and the history hold what matters.
        drop(self.events.send(event));
    }
}

impl Watch for DeviceWatch {
    fn event(&self, about: &About, event: Event) {
        let sub = about.sub;
        match event {
            Event::Prompt(prompt) => {
                lock(&self.prompts).insert(prompt.hash, (sub, prompt.clone()));
                self.tell(DeviceEvent::Asked {
                    sub,
                    prompt: Box::new(prompt),
                });
            }
            Event::PromptGone { hash, reason } => {
                lock(&self.prompts).remove(&hash);
                self.tell(DeviceEvent::Gone { sub, hash, reason });
            }
            Event::NoPrompt { hash } => {
                lock(&self.prompts).remove(&hash);
                self.tell(DeviceEvent::Gone {
                    sub,
                    hash,
                    reason: None,
                });
            }
            Event::Sealed(sealed) => {
                let height = sealed.block.claims().height;
                let trace = TraceName::of(&sealed.block.hash());
                tracing::info!(account = %sub, height, %trace, "sealed");
                lock(&self.prompts).retain(|_, (s, p)| *s != sub || p.claims.height > height);
                self.tell(DeviceEvent::Sealed { sub, sealed });
            }
            Event::Dead => self.tell(DeviceEvent::Dead { sub }),
            Event::Fault(fault) => {
                tracing::warn!(account = %sub, height = about.height,
                    trace = about.trace().map(display), %fault, "fault");
            }
            Event::Conflict {
                height,
                held,
                found,
            } => {
                tracing::error!(account = %sub, height, %held, %found,
                    "blocks that can't stand in one chain are on record: this device asks for a freeze");
            }
            Event::Rejected { from, refusal } => {
                tracing::info!(account = %sub, height = about.height,
                    trace = about.trace().map(display), %from, %refusal, "rejected");
            }
            Event::Began { .. }
            | Event::NotBegun { .. }
            | Event::Ended { .. }
            | Event::NotCancelled { .. }
            | Event::Restored { .. }
            | Event::Compared { .. } => {}
        }
    }

    fn failed(&self, sub: &Sub, error: &KeeperError) {
        tracing::error!(account = %sub, %error, "device stops");
        self.tell(DeviceEvent::Failed {
            reason: error.to_string(),
        });
    }
}
