//! What both operators' sides of the log have in common: where they hear from, and how they answer.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::mpsc;
use warifu_client_sdk::{runtime::Clock, store::Store};
use warifu_consensus::log::{Checkpoint, LogKey, LogMessage, SignedNote};

use super::{LogBook, LogError, Unlogged};
use crate::observe::counts;

/// Events that may wait; more are dropped, and what was said is asked for again.
const QUEUE: usize = 64;

/// How often new blocks are looked for.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How long an answer is waited for, before heads are compared anew.
pub(super) const ANSWER: Duration = Duration::from_secs(3);

/// What comes in from the line to the other operator.
#[derive(Debug)]
pub enum LogEvent {
    /// A new line.
    Up,
    /// It is gone.
    Down,
    /// The other operator said something.
    Said(Box<LogMessage>),
}

/// Says something to the other operator; it may be lost.
pub type Said = Arc<dyn Fn(LogMessage) + Send + Sync>;

/// What lines speak into. Until somebody listens, nothing is kept: a line that came up before is asked for again.
#[derive(Debug, Default)]
pub struct LogLink(OnceLock<mpsc::Sender<LogEvent>>);

impl LogLink {
    /// Opens the queue, once; the end for the task.
    pub fn open(&self) -> mpsc::Receiver<LogEvent> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        if self.0.set(sender).is_err() {
            tracing::error!("a second listener to talk about the log was offered and not taken");
        }
        receiver
    }

    /// Passes an event on, unless too many wait.
    pub fn tell(&self, event: LogEvent) {
        if let Some(sender) = self.0.get()
            && sender.try_send(event).is_err()
        {
            tracing::debug!("the log is busy: dropped, it is said again");
        }
    }
}

/// What either side of the log is made of.
pub struct LogParts<S: Store> {
    /// The copy that it keeps.
    pub book: Arc<LogBook<S>>,
    /// Its own key.
    pub key: LogKey,
    /// Blocks without a leaf.
    pub unlogged: Unlogged,
    /// To the other operator.
    pub say: Said,
    /// The one clock.
    pub clock: Clock,
}

impl<S: Store> LogParts<S> {
    /// Says how far the log is here.
    pub(super) fn say_state(&self) {
        let note = self.book.cosigned().map(|(_, note)| note.to_string());
        (self.say)(LogMessage::State {
            size: self.book.state().size,
            note: note.unwrap_or_default(),
        });
    }

    /// The checkpoint of a note with both signatures, and the note with these two lines alone, however many it had.
    /// `None` for the empty text.
    pub(super) fn both_signed(
        &self,
        text: &str,
    ) -> Result<Option<(Checkpoint, SignedNote)>, LogError> {
        if text.is_empty() {
            return Ok(None);
        }
        let note = SignedNote::parse(text.as_bytes())?;
        let keys = self.book.keys();
        let checkpoint = Checkpoint::open(&note, &keys.log)?;
        Checkpoint::cosigned(&note, &keys.witness)?;
        Ok(Some((checkpoint, note.reduced(keys))))
    }

    /// New blocks, if any became durable.
    pub(super) fn follow(&mut self) -> Result<(), LogError> {
        let size = self.book.state().size;
        self.unlogged.follow(self.book.keeper(), size)?;
        counts::log_unlogged(self.unlogged.len(), self.unlogged.longest_wait());
        Ok(())
    }
}
