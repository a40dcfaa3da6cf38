//! Public witnesses: others, known by key and address, who are shown the log's checkpoints and cosign them (C2SP
//! tlog-witness).
//!
//! In rounds: the last checkpoint that both operators signed goes to everyone who has not seen it, at most one request to
//! each is under way, and what they sign is joined into the published note. Never waited for: the log grows without them,
//! and what they could not be shown in time they are shown later, in the next one. Whoever fails is left alone for longer
//! each time.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use tokio::{sync::watch, time::Instant};
use warifu_client_sdk::store::Store;
use warifu_consensus::log::{AddCheckpoint, Checkpoint, NoteError, SignedNote};

use super::{LogBook, LogError};
use crate::{config::PublicWitness, outgoing};

/// Between two rounds: a busy log signs several checkpoints a second.
const ROUND: Duration = Duration::from_secs(1);

/// Longest time that one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// After the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The longest answer that is read, in bytes: a line for each of a witness's keys.
const MAX_ANSWER: usize = 16 * 1024;

/// The last checkpoint that some public witness signed, with the lines of both operators and of the witnesses; `None`
/// until there is one. On a busy log the last one of all has moved on before they answer.
pub type Witnessed = watch::Receiver<Option<(Checkpoint, SignedNote)>>;

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum Unseen {
    #[error("could not be asked: {0}")]
    Request(String),
    #[error("answered {status}: {text:?}")]
    Status { status: u16, text: String },
    #[error("answered {found} bytes or more, expected at most {MAX_ANSWER}")]
    Length { found: usize },
    #[error("has {found} leaves, expected at most the checkpoint's {expected}")]
    Ahead { found: u64, expected: u64 },
    #[error("its cosignature: {0}")]
    Signature(#[from] NoteError),
    #[error("no proof for it: {0}")]
    Log(#[from] LogError),
}

/// One of them, and how far it is.
struct Other {
    witness: PublicWitness,
    /// The size that it has as far as is known; its own word corrects it.
    has: u64,
    /// The size that it last cosigned in this run.
    signed: u64,
    pause: Duration,
    not_before: Instant,
}

/// See the module.
pub struct PublicWitnesses<S: Store> {
    book: Arc<LogBook<S>>,
    client: Client,
    others: Vec<Other>,
    witnessed: watch::Sender<Option<(Checkpoint, SignedNote)>>,
}

impl<S: Store> PublicWitnesses<S> {
    /// Of a log and its public witnesses, and where the outcome is followed.
    ///
    /// # Errors
    /// The system's certificates can't be read; the library's reason.
    pub fn new(
        book: Arc<LogBook<S>>,
        witnesses: Vec<PublicWitness>,
    ) -> Result<(Self, Witnessed), String> {
        let client = outgoing::trusting_the_system().map_err(|error| error.to_string())?;
        let (sender, witnessed) = watch::channel(None);
        let now = Instant::now();
        let other = |witness| Other {
            witness,
            has: 0,
            signed: 0,
            pause: FIRST_PAUSE,
            not_before: now,
        };
        let others = witnesses.into_iter().map(other).collect();
        let rounds = Self {
            book,
            client,
            others,
            witnessed: sender,
        };
        Ok((rounds, witnessed))
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let mut grown = self.book.watch();
        loop {
            grown.borrow_and_update();
            if let Some((checkpoint, note)) = self.book.cosigned() {
                self.round(&checkpoint, &note).await;
                tokio::time::sleep(ROUND).await;
            }
            let size = self
                .book
                .cosigned()
                .map_or(0, |(checkpoint, _)| checkpoint.size);
            let waiting = self.others.iter().filter(|other| other.signed < size);
            let next = waiting.map(|other| other.not_before).min();
            let next = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = grown.changed() => if changed.is_err() {
                    return;
                },
                () = next => {}
            }
        }
    }

    async fn round(&mut self, checkpoint: &Checkpoint, note: &SignedNote) {
        let now = Instant::now();
        let (book, client) = (&self.book, &self.client);
        for other in &mut self.others {
            // Signed before a restart: a second line would say nothing new.
            if Checkpoint::cosigned(note, &other.witness.key).is_ok() {
                other.signed = checkpoint.size;
            }
        }
        let due = self
            .others
            .iter_mut()
            .filter(|other| other.signed < checkpoint.size && other.not_before <= now);
        let asked = due.map(|other| other.ask(book, client, checkpoint, note));
        let signed: Vec<SignedNote> = join_all(asked).await.into_iter().flatten().collect();
        if signed.is_empty() {
            return;
        }
        let mut joined = note.clone();
        signed.iter().for_each(|lines| joined.join(lines));
        if let Err(error) = self.book.publish(&joined) {
            tracing::error!(%error, "lines of public witnesses are not joined");
            return;
        }
        self.witnessed.send_modify(|before| {
            // Those who signed the same one in an earlier round.
            if let Some((_, before)) = before {
                joined.join(before);
            }
            *before = Some((checkpoint.clone(), joined));
        });
    }
}

impl Other {
    /// The note with this witness's lines alone.
    async fn ask<S: Store>(
        &mut self,
        book: &LogBook<S>,
        client: &Client,
        checkpoint: &Checkpoint,
        note: &SignedNote,
    ) -> Option<SignedNote> {
        let name = self.witness.key.name().to_owned();
        match self.show(book, client, checkpoint, note).await {
            Ok(lines) => {
                self.signed = checkpoint.size;
                self.has = checkpoint.size;
                self.pause = FIRST_PAUSE;
                tracing::debug!(witness = name, size = checkpoint.size, "cosigned");
                Some(lines)
            }
            Err(error) => {
                tracing::warn!(witness = name, size = checkpoint.size, %error,
                    retry_in_s = self.pause.as_secs(), "a public witness did not cosign");
                self.not_before = Instant::now() + self.pause;
                self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
                None
            }
        }
    }

    async fn show<S: Store>(
        &mut self,
        book: &LogBook<S>,
        client: &Client,
        checkpoint: &Checkpoint,
        note: &SignedNote,
    ) -> Result<SignedNote, Unseen> {
        let mut first = true;
        loop {
            let request = AddCheckpoint {
                old: self.has,
                proof: book.consistency(self.has, checkpoint.size)?,
                checkpoint: note.clone(),
            };
            let (status, text) = self.post(client, request.to_string()).await?;
            let told = (status == StatusCode::CONFLICT && first)
                .then(|| text.trim_end().parse::<u64>().ok())
                .flatten();
            match (status, told) {
                (StatusCode::OK, _) => return self.lines(note, &text),
                (_, Some(found)) if found > checkpoint.size => {
                    let expected = checkpoint.size;
                    return Err(Unseen::Ahead { found, expected });
                }
                (_, Some(found)) => {
                    self.has = found;
                    first = false;
                }
                (status, None) => {
                    let text = text.chars().take(200).collect();
                    let status = status.as_u16();
                    return Err(Unseen::Status { status, text });
                }
            }
        }
    }

    async fn post(&self, client: &Client, body: String) -> Result<(StatusCode, String), Unseen> {
        let failed = |error: reqwest::Error| Unseen::Request(error.without_url().to_string());
        let mut answer = client
            .post(self.witness.url.whole().clone())
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .timeout(PATIENCE)
            .body(body)
            .send()
            .await
            .map_err(failed)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(Unseen::Length { found: bytes.len() });
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok((answer.status(), text))
    }

    /// The first line under this witness's key that an answer holds, on the note; others are left aside: readers
    /// refuse a note with many.
    fn lines(&self, note: &SignedNote, answer: &str) -> Result<SignedNote, Unseen> {
        let key = &self.witness.key;
        let whole = SignedNote::parse(format!("{}\n{answer}", note.text()).as_bytes())?;
        let lines = whole.lines_of(key);
        let first = lines.split_inclusive('\n').next().unwrap_or_default();
        let own = SignedNote::parse(format!("{}\n{first}", note.text()).as_bytes())?;
        // On this very text: an answer can lengthen it.
        Checkpoint::cosigned(&own, key)?;
        Ok(own)
    }
}
