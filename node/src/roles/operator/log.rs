//! The operator's side of the global log: the task that works at it, what the other operator and devices say about it.

use std::sync::Arc;

use warifu_client_sdk::runtime::Machine;
use warifu_consensus::{
    log::{LogKey, LogMessage, verify_consistency},
    party::{Role, Sub},
    wire::Message,
};

use super::{Operator, OperatorError};
use crate::{
    log::{LogEvent, LogParts, Sequencer, Unlogged, Witness},
    observe::counts,
    roles::ending::Ending,
};

impl<M: Machine> Operator<M> {
    /// Begins to work at the log: from now on, what the other operator says about it is heard.
    ///
    /// # Errors
    /// [`OperatorError::Log`].
    pub(in crate::roles) fn start_log(
        &self,
        key: LogKey,
        ending: &Ending,
    ) -> Result<(), OperatorError> {
        let (lines, other) = (Arc::clone(&self.lines), self.directory.other());
        let peer = self.directory.peer(&Sub::ZERO, other);
        let say = move |said: LogMessage| match Message::Log(Box::new(said)).to_frame() {
            Ok(frame) => {
                if let Some(peer) = peer {
                    lines.send_to(peer, frame);
                }
            }
            Err(error) => tracing::error!(%error, "a message about the log is not sent"),
        };
        let parts = LogParts {
            unlogged: Unlogged::open(&self.log)?,
            book: Arc::clone(&self.log),
            key,
            say: Arc::new(say),
            clock: Arc::clone(&self.clock),
        };
        let events = self.log_link.open();
        let (role, ending) = (self.role, ending.clone());
        self.signing().spawn(async move {
            let outcome = match role {
                Role::TrustOperator => Witness::new(parts).run(events).await,
                _ => Sequencer::new(parts).run(events).await,
            };
            if let Err(error) = outcome {
                ending.end(format!("the log: {error}"));
            }
        });
        Ok(())
    }

    /// Something about the log: from the other operator, or a device's question of how far it is.
    pub(super) fn log_said(&self, peer: [u8; 32], said: LogMessage) {
        if self.directory.is_other(&peer) {
            match said {
                LogMessage::Erased { accounts } => self.erasing.hear(accounts),
                said => self.log_link.tell(LogEvent::Said(Box::new(said))),
            }
            return;
        }
        let known = self.directory.account_of(&peer).is_some();
        match said {
            LogMessage::Seen { size } if known => self.show_log(peer, size),
            _ => {
                counts::frame_refused(counts::Refused::NoParty);
                self.cut(peer);
            }
        }
    }

    /// Shows a device how the log has grown from the size that it saw last.
    fn show_log(&self, peer: [u8; 32], seen: u64) {
        let Some((checkpoint, note)) = self.log.cosigned() else {
            return;
        };
        // One that saw more than there is hears of the smaller one, and refuses it.
        let from = seen.min(checkpoint.size);
        let to = checkpoint.size;
        let made = self
            .log
            .consistency(from, to)
            .and_then(|proof| Ok((self.log.root_of(from)?, proof)));
        // The log's files may have decayed: a device that is given a proof that does not hold approves nothing.
        let holds = made.and_then(|(root, proof)| {
            verify_consistency(from, to, &proof, &root, &checkpoint.root)?;
            Ok(proof)
        });
        let proof = match holds {
            Ok(proof) => proof,
            Err(error) => {
                tracing::error!(%error, "no proof of the log's growth for a device");
                return;
            }
        };
        let note = note.to_string();
        let said = Message::Log(Box::new(LogMessage::Grown { proof, note }));
        match said.to_frame() {
            Ok(frame) => self.lines.send_to(peer, frame),
            Err(error) => tracing::error!(%error, "a device is not told of the log"),
        }
    }
}
