//! Both operators' logs, looked at again and again: each must grow, and all must be one.
//!
//! Keeps the largest checkpoint that anybody served, with signatures that verified, and every other is compared with it by
//! consistency computed from tiles. Decides what is an alarm; what is done about one is the caller's.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use warifu_consensus::log::{Checkpoint, LogKeys, SignedNote};

use super::{
    fetch::{FetchError, LogClient},
    remote::{self, RemoteError, extends},
};
use crate::secrets;

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Alarm {
    /// Two checkpoints that are not of one log: evidence was kept.
    Fork,
    /// A log is smaller than it was.
    Shrank,
    /// A log does not grow while another does, or none has grown for too long.
    Stalled,
    /// What is served is not signed as it should be, or does not fit its own checkpoint.
    Wrong,
    /// Nobody answers.
    Unreachable,
}

/// What one look at one operator gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// Where it is served.
    pub url: String,
    /// Leaves, if a checkpoint verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// In words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub found: String,
    /// The file of evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<PathBuf>,
}

/// One operator's log, as it was last.
struct Seen {
    client: LogClient,
    size: u64,
    /// How long it has not grown while a larger one was known.
    still: Duration,
}

/// What was seen, for a later run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Followed {
    /// The largest checkpoint, a signed note; empty if there was none.
    pub largest: String,
    /// How many leaves each address had last.
    pub sizes: std::collections::BTreeMap<String, u64>,
}

/// How long no growth is no alarm.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one log, while a larger one is known.
    pub stall: Duration,
    /// Of all: operators that stand still together show nothing else.
    pub quiet: Duration,
}

/// See the module.
pub struct Follower {
    logs: Vec<Seen>,
    keys: LogKeys,
    evidence: PathBuf,
    limits: Limits,
    /// How long the largest has not grown.
    still: Duration,
    largest: Option<(Checkpoint, SignedNote, LogClient)>,
}

impl Follower {
    /// Follows the logs of these readers; evidence is kept in `evidence`.
    #[must_use]
    pub fn new(clients: Vec<LogClient>, keys: LogKeys, evidence: &Path, limits: Limits) -> Self {
        let seen = |client| Seen {
            client,
            size: 0,
            still: Duration::ZERO,
        };
        Self {
            logs: clients.into_iter().map(seen).collect(),
            keys,
            evidence: evidence.to_path_buf(),
            limits,
            still: Duration::ZERO,
            largest: None,
        }
    }

    /// Goes on from what an earlier run saw.
    ///
    /// # Errors
    /// Why the file is none, in words; there need not be one.
    pub fn resume(&mut self, path: &Path) -> Result<(), String> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            text => text.map_err(|error| error.to_string())?,
        };
        let followed: Followed = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        for log in &mut self.logs {
            log.size = followed.sizes.get(log.client.url()).copied().unwrap_or(0);
        }
        if !followed.largest.is_empty() {
            let note = SignedNote::parse(followed.largest.as_bytes()).map_err(|e| e.to_string())?;
            let opened = Checkpoint::open(&note, &self.keys.log).map_err(|e| e.to_string())?;
            let client = self.logs.first().map(|log| log.client.clone());
            self.largest = client.map(|client| (opened, note, client));
        }
        Ok(())
    }

    /// Writes down what was seen.
    ///
    /// # Errors
    /// In words.
    pub fn keep(&self, path: &Path) -> Result<(), String> {
        let largest = self.largest.as_ref();
        let followed = Followed {
            largest: largest.map_or_else(String::new, |(_, note, _)| note.to_string()),
            sizes: self
                .logs
                .iter()
                .map(|log| (log.client.url().to_owned(), log.size))
                .collect(),
        };
        let bytes = serde_json::to_vec(&followed).map_err(|error| error.to_string())?;
        secrets::replace(path, &bytes, 0o644).map_err(|error| error.to_string())
    }

    /// Looks at each once; `since` is the time since the last look.
    pub async fn look(&mut self, since: Duration) -> Vec<Heard> {
        let size = |largest: &Option<(Checkpoint, _, _)>| largest.as_ref().map(|(c, _, _)| c.size);
        let before = size(&self.largest);
        let mut heard = Vec::new();
        for number in 0..self.logs.len() {
            heard.extend(self.look_at(number, since).await);
        }
        self.still = if size(&self.largest) > before {
            Duration::ZERO
        } else {
            self.still.saturating_add(since)
        };
        if self.still >= self.limits.quiet
            && let Some(most) = size(&self.largest)
        {
            for one in heard.iter_mut().filter(|one| one.alarm.is_none()) {
                one.alarm = Some(Alarm::Stalled);
                one.found = format!(
                    "no log has grown beyond {most} leaves for {} s",
                    self.limits.quiet.as_secs()
                );
            }
        }
        heard
    }

    async fn look_at(&mut self, number: usize, since: Duration) -> Option<Heard> {
        let log = self.logs.get_mut(number)?;
        let client = log.client.clone();
        let mut heard = Heard {
            url: client.url().to_owned(),
            size: None,
            alarm: None,
            found: String::new(),
            evidence: None,
        };
        let (checkpoint, note, _) = match remote::checkpoint(&client, &self.keys).await {
            Ok(found) => found,
            Err(error) => {
                heard.tell(error);
                return Some(heard);
            }
        };
        let (size, before) = (checkpoint.size, log.size);
        heard.size = Some(size);
        log.size = size;
        log.still = if size > before {
            Duration::ZERO
        } else {
            log.still
        };
        let now = (checkpoint, note);
        if size < before {
            heard.tell(RemoteError::Shrank {
                url: heard.url.clone(),
                found: size,
                expected: before,
            });
        }
        let known = self.largest.take();
        let (largest, compared) = match known {
            None => ((now.0, now.1, client), Ok(())),
            Some((largest, signed, server)) => {
                let known = (largest, signed);
                // Tiles come from whoever serves the larger one.
                if known.0.size > now.0.size {
                    let pair = [&now, &known];
                    let compared = extends(&server, &self.keys, pair, &self.evidence).await;
                    ((known.0, known.1, server), compared)
                } else {
                    let pair = [&known, &now];
                    let compared = extends(&client, &self.keys, pair, &self.evidence).await;
                    let is_fork = matches!(compared, Err(RemoteError::Forked { .. }));
                    let larger = if is_fork {
                        (known, server)
                    } else {
                        (now, client)
                    };
                    ((larger.0.0, larger.0.1, larger.1), compared)
                }
            }
        };
        let most = largest.0.size;
        self.largest = Some(largest);
        if let Err(error) = compared {
            heard.tell(error);
        }
        let log = self.logs.get_mut(number)?;
        if size >= most {
            log.still = Duration::ZERO;
        } else {
            log.still = log.still.saturating_add(since);
            if log.still >= self.limits.stall && heard.alarm.is_none() {
                heard.alarm = Some(Alarm::Stalled);
                heard.found = format!(
                    "{} has stood at {size} leaves for {} s, the other has {most}",
                    heard.url,
                    self.limits.stall.as_secs()
                );
            }
        }
        Some(heard)
    }
}

impl Heard {
    /// The first thing that is wrong is told, but a fork before anything.
    fn tell(&mut self, error: RemoteError) {
        let alarm = match &error {
            RemoteError::Forked { evidence, .. } => {
                self.evidence = Some(evidence.clone());
                Alarm::Fork
            }
            RemoteError::Shrank { .. } => Alarm::Shrank,
            RemoteError::Fetch(FetchError::Unreachable { .. } | FetchError::Status { .. }) => {
                Alarm::Unreachable
            }
            _ => Alarm::Wrong,
        };
        if self.alarm.is_none() || alarm == Alarm::Fork {
            self.alarm = Some(alarm);
            self.found = error.to_string();
        }
    }
}
