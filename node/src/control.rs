//! The control channel of a running device: one JSON request a line, one JSON answer a line, over
//! a Unix socket that only the device's owner may open.
//!
//! Decides the words of that channel and their bounds. Never decides what a request does: that is
//! the device's ([`ControlHandler`]). File permissions are the only credential here, so the socket
//! lies in the device's directory with mode 0600.

use std::{
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};
use warifu_consensus::body::Detail;

/// Longest request in bytes, its line end included: a ticket's URI fits twice.
pub const MAX_REQUEST: usize = 8 * 1024;

/// Longest answer in bytes, its line end included: about 20,000 blocks of history.
pub const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Most commands that are answered at once; further ones wait.
const MAX_CLIENTS: usize = 16;

/// How long a client may take to send a request it began, or to read an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a command asks of the running device. JSON: `{"approve":{"proposal":"…","number":7}}`, or
/// `"pending"` where nothing is to be said.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Begin an enrolment with a scanned ticket.
    Enrol {
        /// `warifu:enrol?ticket=…`.
        uri: String,
    },
    /// How an enrolment stands.
    Enrolment {
        /// 43 characters of base64url, as [`EnrolView::session`].
        session: String,
    },
    /// All accounts of this device.
    Accounts,
    /// What waits for the customer's decision.
    Pending,
    /// Approve a proposal.
    Approve {
        /// The proposal's hash, 43 characters of base64url.
        proposal: String,
        /// The number on the login page, 0 to 99.
        number: u8,
    },
    /// Deny a proposal.
    Deny {
        /// The proposal's hash.
        proposal: String,
        /// "It wasn't me": freeze the account too.
        not_me: bool,
    },
    /// Freeze an account.
    Freeze {
        /// The account's `sub`, 22 characters of base64url.
        account: String,
    },
    /// Erase an account on this device, for good.
    Erase {
        /// The account's `sub`, 22 characters of base64url.
        account: String,
    },
    /// An account's blocks, newest first, bodies opened.
    History {
        /// The account's `sub`.
        account: String,
    },
}

/// What the device answers. JSON: `{"pending":[…]}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `enrol` and `enrolment`.
    Enrolment(EnrolView),
    /// To `accounts`.
    Accounts(Vec<AccountView>),
    /// To `pending`.
    Pending(Vec<PendingView>),
    /// To `approve`, `deny` and `freeze`.
    Decided(DecisionView),
    /// To `erase`: the account's `sub`.
    Erased(String),
    /// To `history`.
    History(Vec<HistoryView>),
    /// The request was not done.
    Refused(RefusalView),
}

/// Why a request was not done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefusalView {
    /// What a program may act on.
    pub kind: RefusalKind,
    /// For people: found and expected, lower case.
    pub reason: String,
    /// The same in Japanese, where a customer reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_ja: Option<String>,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request's text is not what it should be (exit code 5).
    Malformed,
    /// No such account, proposal or session (exit code 1).
    Unknown,
    /// The ledger's rules or a party refuse (exit code 1).
    Rule,
    /// An operator could not be reached (exit code 4).
    Unreachable,
}

/// An enrolment as the customer sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EnrolView {
    /// The session, 43 characters of base64url.
    pub session: String,
    /// How far it is.
    pub state: EnrolState,
    /// Six digits to type into the page, from [`EnrolState::Digits`] on.
    pub digits: Option<String>,
    /// The account's `sub`, when done.
    pub account: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// How far an enrolment is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrolState {
    /// The parties are making the key.
    Running,
    /// The customer must type the digits into the page.
    Digits,
    /// The genesis block is sealed.
    Done,
    /// Nothing was left behind.
    Failed,
}

/// An account on this device.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccountView {
    /// The `sub`, 22 characters of base64url.
    pub account: String,
    /// `founding`, `active`, `frozen`, `revoked` or `dead`.
    pub status: String,
    /// The head's height, once there is a genesis.
    pub height: Option<u64>,
    /// The head's hash, 43 characters of base64url.
    pub head: Option<String>,
    /// Whether the line to the broker is up.
    pub broker_line: bool,
}

/// A proposal that waits for the customer. `kind` and `aud` are the block's; `channel`, `address`,
/// `details` and `reference` are what the broker states.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PendingView {
    /// The proposal's hash, 43 characters of base64url.
    pub proposal: String,
    /// The account's `sub`.
    pub account: String,
    /// `login`, `approve`, `change` or `unfreeze`.
    pub kind: String,
    /// The relying party.
    pub aud: String,
    /// How the customer reached the login service, says the broker.
    pub channel: String,
    /// From where, says the broker.
    pub address: String,
    /// What is approved, says the broker.
    pub details: Vec<Detail>,
    /// Of an `unfreeze`, says the broker.
    pub reference: Option<String>,
    /// When the proposal ends, seconds since the Unix epoch.
    pub exp: u64,
    /// The height that the block would have.
    pub height: u64,
}

/// What became of a decision.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DecisionView {
    /// The account's `sub`.
    pub account: String,
    /// What the request was about, as a hash; `None` for a freeze.
    pub proposal: Option<String>,
    /// How it stands.
    pub state: DecisionState,
    /// The sealed block's height, when there is one.
    pub height: Option<u64>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The same in Japanese.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_ja: Option<String>,
}

/// How a decision stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionState {
    /// All three signed: the block is sealed.
    Sealed,
    /// It is durable here and on its way to the operators.
    Sent,
    /// A party refused (a wrong number, too late, ...).
    Refused,
}

/// One block of an account's history. `channel`, `address` are absent where the block has no body
/// or its salt is gone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HistoryView {
    /// Distance from genesis.
    pub height: u64,
    /// The block's kind.
    pub kind: String,
    /// The relying party.
    pub aud: String,
    /// Issued at, seconds since the Unix epoch.
    pub iat: u64,
    /// The block's hash, 43 characters of base64url.
    pub hash: String,
    /// The proposal that it displaced.
    pub supersedes: Option<String>,
    /// Says the broker.
    pub channel: Option<String>,
    /// Says the broker.
    pub address: Option<String>,
    /// Says the broker.
    pub details: Vec<Detail>,
}

/// What a running device does with requests.
pub trait ControlHandler: Send + Sync + 'static {
    /// Does what is asked, also if the client goes away meanwhile. Dropped only when [`serve`] is.
    fn answer(&self, request: Request) -> impl Future<Output = Answer> + Send;
}

/// Why the channel could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another device runs in this directory.
    #[error("{} is answered by a running device already", .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// No device answers.
    #[error("no running device answers at {}: {source}; start it with `warifu run`", .path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("could not {action} {}: {source}", .path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The line was longer than its bound, or cut off.
    #[error("control channel: {reason}")]
    Line {
        /// What was found, and what is allowed.
        reason: String,
    },
}

/// Listens at `path` with mode 0600. A socket that nobody answers is a leftover and is replaced.
///
/// # Errors
/// [`ControlError::InUse`] or [`ControlError::Io`].
pub async fn listen(path: &Path) -> Result<UnixListener, ControlError> {
    let failed = |action| {
        move |source| ControlError::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    };
    if path.symlink_metadata().is_ok() {
        if UnixStream::connect(path).await.is_ok() {
            let path = path.to_path_buf();
            return Err(ControlError::InUse { path });
        }
        std::fs::remove_file(path).map_err(failed("remove"))?;
    }
    // Bound under another name first: at no time does the real name answer to others.
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".n");
    let hidden = path.with_file_name(name);
    match std::fs::remove_file(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&hidden).map_err(failed("listen at"))?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))
        .map_err(failed("restrict"))?;
    std::fs::rename(&hidden, path).map_err(failed("name"))?;
    Ok(listener)
}

/// Serves the channel until it is dropped or the listener fails for good.
///
/// # Errors
/// The listener's.
pub async fn serve<H: ControlHandler>(listener: UnixListener, handler: Arc<H>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let mut clients = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let (stream, _) = listener.accept().await?;
        while clients.try_join_next().is_some() {}
        let handler = Arc::clone(&handler);
        clients.spawn(async move {
            if let Err(error) = client(stream, handler.as_ref()).await {
                tracing::debug!(%error, "control client gone");
            }
            drop(place);
        });
    }
}

async fn client<H: ControlHandler>(stream: UnixStream, handler: &H) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = timeout(PATIENCE, read_line(&mut reader, MAX_REQUEST));
        let answer = match line.await.map_err(|_| io::ErrorKind::TimedOut)?? {
            Line::End => return Ok(()),
            Line::TooLong => {
                let answer = malformed(format!("request is longer than {MAX_REQUEST} bytes"));
                // What follows on this connection cannot be told apart any more.
                return write_line(&mut writer, &answer).await;
            }
            Line::Whole(line) => match serde_json::from_slice::<Request>(&line) {
                Ok(request) => handler.answer(request).await,
                Err(error) => malformed(format!("request is not understood: {error}")),
            },
        };
        write_line(&mut writer, &answer).await?;
    }
}

fn malformed(reason: String) -> Answer {
    Answer::Refused(RefusalView {
        kind: RefusalKind::Malformed,
        reason,
        reason_ja: None,
    })
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
    End,
}

async fn read_line(reader: &mut (impl AsyncBufReadExt + Unpin), max: usize) -> io::Result<Line> {
    let mut line = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    reader.take(limit).read_until(b'\n', &mut line).await?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Line::Whole(line));
    }
    // Cut off before its end, the line is no request.
    Ok(if line.len() >= max {
        Line::TooLong
    } else {
        Line::End
    })
}

async fn write_line(writer: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    if line.len() >= MAX_ANSWER {
        let found = line.len();
        line = serde_json::to_vec(&malformed(format!(
            "answer has {found} bytes, at most {MAX_ANSWER} allowed"
        )))?;
    }
    line.push(b'\n');
    timeout(PATIENCE, writer.write_all(&line))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}

/// A command's end of the channel: one connection for each request, since between two requests a
/// customer may think for longer than the device waits.
#[derive(Clone, Debug)]
pub struct ControlClient {
    path: PathBuf,
}

impl ControlClient {
    /// Talks to the device that listens at `path`.
    #[must_use]
    pub fn new(path: &Path) -> ControlClient {
        ControlClient {
            path: path.to_path_buf(),
        }
    }

    /// Asks, and waits for the answer as long as it takes.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`]; others when the device went away or its answer is none.
    pub async fn ask(&self, request: &Request) -> Result<Answer, ControlError> {
        let failed = |action| {
            move |source| ControlError::Io {
                action,
                path: self.path.clone(),
                source,
            }
        };
        let broken = |reason: String| ControlError::Line { reason };
        let mut line = serde_json::to_vec(request).map_err(|error| broken(error.to_string()))?;
        line.push(b'\n');
        if line.len() > MAX_REQUEST {
            let found = line.len();
            return Err(broken(format!(
                "request has {found} bytes, at most {MAX_REQUEST} allowed"
            )));
        }
        let stream = UnixStream::connect(&self.path).await;
        let stream = stream.map_err(|source| ControlError::NotRunning {
            path: self.path.clone(),
            source,
        })?;
        let mut stream = BufReader::new(stream);
        let written = stream.get_mut().write_all(&line).await;
        written.map_err(failed("write to"))?;
        let read = read_line(&mut stream, MAX_ANSWER).await;
        match read.map_err(failed("read from"))? {
            Line::Whole(line) => serde_json::from_slice(&line)
                .map_err(|error| broken(format!("answer is not understood: {error}"))),
            Line::TooLong => Err(broken(format!("answer is longer than {MAX_ANSWER} bytes"))),
            Line::End => Err(broken("the device closed the channel".to_owned())),
        }
    }
}
