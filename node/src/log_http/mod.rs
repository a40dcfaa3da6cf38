//! The log over HTTP, for everyone: checkpoint and tiles for programs (C2SP tlog-tiles), pages for people, and on the
//! trust operator's side what shows it checkpoints (C2SP tlog-witness).
//!
//! A listener of its own, in the clear and without callers: everything on it is public, it takes nothing that changes
//! anything, and whatever it gives is worth the signatures on it, whoever carried it. Never tells anything about an
//! account, nor which block a leaf is of.

mod add;
mod tiles;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use warifu_client_sdk::runtime::Machine;
use warifu_consensus::{
    log::{Checkpoint, NoteKey, SignedNote},
    party::{Ledger, Role},
};

use crate::{
    api::{Limits, serve_public},
    explorer,
    log::{LogBook, LogError, Witnessed},
    observe::http::observe,
    roles::operator::Operator,
    store::NodeStore,
};

/// The longest body of a request in bytes: a note of the longest kind, and a proof of 63 hashes.
const MAX_BODY: usize = 72 * 1024;

/// How long a request's body may take.
const BODY_TIME: Duration = Duration::from_secs(5);

/// How long answers that are under way at a stop may take.
const END: Duration = Duration::from_secs(1);

/// What is served.
#[derive(Clone)]
pub struct LogSide {
    /// This operator's copy of the log.
    pub book: Arc<LogBook<NodeStore>>,
    /// The pinned ledger.
    pub ledger: Ledger,
    /// Which operator this is.
    pub role: Role,
    /// The keys of the public witnesses that are shown its checkpoints.
    pub witnesses: Vec<NoteKey>,
    /// What public witnesses signed; `None` where nobody asks them.
    pub witnessed: Option<Witnessed>,
}

impl LogSide {
    /// An operator's copy of the log; nobody is asked to witness it yet.
    pub(crate) fn of<M: Machine>(operator: &Operator<M>) -> Self {
        Self {
            book: Arc::clone(&operator.log),
            ledger: operator.ledger.clone(),
            role: operator.role,
            witnesses: Vec::new(),
            witnessed: None,
        }
    }

    /// The last checkpoint that a public witness signed.
    pub(crate) fn witnessed(&self) -> Option<(Checkpoint, SignedNote)> {
        self.witnessed
            .as_ref()
            .and_then(|seen| seen.borrow().clone())
    }
}

/// What every request sees.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) side: Arc<LogSide>,
    pub(crate) growth: Arc<explorer::Growth>,
}

impl Served {
    /// Asks the log where that may block on the disk.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&LogSide) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, Response> {
        let side = Arc::clone(&self.side);
        let asked = tokio::task::spawn_blocking(move || ask(&side)).await;
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "the log can't be read for a request");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the log can't be read")
        };
        match asked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Everything that is served.
pub fn router(side: LogSide) -> Router {
    let mut router = Router::new()
        .route("/", get(explorer::home))
        .route("/receipt", get(explorer::form).post(explorer::verify))
        .route("/checkpoint", get(tiles::checkpoint))
        .route("/checkpoint/witnessed", get(tiles::witnessed))
        .route("/tile/{*tile}", get(tiles::tile));
    if side.role == Role::TrustOperator {
        router = router.route("/add-checkpoint", post(add::add));
    }
    router
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "no such path") })
        .layer(map_response(guarded))
        .layer(from_fn(observe))
        .with_state(Served {
            side: Arc::new(side),
            growth: Arc::default(),
        })
}

/// A short answer in words.
fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut text: String = text.into();
    text.push('\n');
    (status, [(header::CONTENT_TYPE, TEXT)], text).into_response()
}

/// The type of everything that is read as text.
const TEXT: &str = "text/plain; charset=utf-8";

/// Whatever a browser is shown here stays what it is said to be, and tells nobody where its reader came from.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name, value| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    );
    set(header::CACHE_CONTROL, "no-store");
    response
}

/// A request's whole body, in its time.
pub(crate) async fn read_body(body: axum::body::Body) -> Result<Bytes, Response> {
    let read = axum::body::to_bytes(body, MAX_BODY);
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("expected a body of at most {MAX_BODY} bytes"),
        )),
        Err(_) => Err(plain(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {} s", BODY_TIME.as_secs()),
        )),
    }
}

/// Many readers, few at once: whoever mirrors a log opens a handful of connections.
fn limits() -> Limits {
    Limits {
        connections: 1_024,
        connections_per_network: 64,
        head_time: Duration::from_secs(10),
        ..Limits::default()
    }
}

/// A bound listener, and once it serves, its task. Dropping it ends that.
pub struct LogListener {
    address: SocketAddr,
    bound: Option<TcpListener>,
    serving: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl LogListener {
    /// Binds `address`; connections wait until [`LogListener::serve`].
    ///
    /// # Errors
    /// The operating system's.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let bound = TcpListener::bind(address).await?;
        Ok(Self {
            address: bound.local_addr()?,
            bound: Some(bound),
            serving: None,
        })
    }

    /// `http://` and the address bound, with its actual port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers from now on, in the background.
    pub fn serve(&mut self, side: LogSide) {
        let Some(bound) = self.bound.take() else {
            return;
        };
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            // The sender's end, said or dropped, is the word to stop.
            drop(stopped.await);
        };
        let served = serve_public(bound, router(side), limits(), stopped);
        self.serving = Some((stop, tokio::spawn(served)));
    }

    /// Ends once what is under way is answered, or after a second.
    pub async fn end(mut self) {
        if let Some((stop, serving)) = self.serving.take() {
            drop(stop);
            let abort = serving.abort_handle();
            if tokio::time::timeout(END, serving).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for LogListener {
    fn drop(&mut self) {
        if let Some((_, serving)) = &self.serving {
            serving.abort();
        }
    }
}
