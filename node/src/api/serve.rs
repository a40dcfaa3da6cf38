//! The HTTP side's connections: accepted, bounded, encrypted, and ended.
//!
//! A connection that is one too many is closed at once, so that those who are in stay served. Slow
//! handshakes, slow request heads, idle connections and peers that don't read their answers are cut
//! off. On a stop nobody new comes in,
//! requests that wait are answered with how things stand, and after five seconds the rest is cut.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;

use super::limits::{Limits, MAX_HEAD, MAX_HEADERS, STOP_GRACE};
use super::network::{Entered, Present};

/// After the operating system gave no connection, such as when it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two log lines about connections that are too many.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Why the HTTP side did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Tokens would travel in the clear.
    #[error(
        "http address is {found}, expected loopback, or broker.certificate and broker.private_key for TLS"
    )]
    NotLoopback {
        /// The address bound.
        found: SocketAddr,
    },
    /// The operating system refuses.
    #[error("http side: {0}")]
    Io(#[from] std::io::Error),
}

/// Told when the node stops.
#[derive(Clone, Debug)]
pub(super) struct Stopping(Option<watch::Receiver<bool>>);

impl Stopping {
    /// Waits until the node stops; forever where nothing serves.
    pub(super) async fn said(&mut self) {
        match &mut self.0 {
            // A sender that is gone stopped too.
            Some(stopping) => drop(stopping.wait_for(|is_said| *is_said).await),
            None => std::future::pending().await,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Stopping {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Stopping, Infallible> {
        let known = parts.extensions.get::<Stopping>().cloned();
        Ok(known.unwrap_or(Stopping(None)))
    }
}

/// Serves in the clear, on loopback, with the usual limits. See [`serve_with`].
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    serve_with(listener, router, None, Limits::default(), shutdown).await
}

/// Serves until `shutdown` is ready, then answers what is under way and stops, at most 5 s later.
/// Without `tls` on loopback only.
///
/// # Errors
/// [`ServeError`].
pub async fn serve_with(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let found = listener.local_addr()?;
    if tls.is_none() && !found.ip().is_loopback() {
        return Err(ServeError::NotLoopback { found });
    }
    serve_until(listener, router, tls, limits, shutdown).await;
    Ok(())
}

/// [`serve_with`] in the clear on any address: for what is public and asks nobody who calls.
pub async fn serve_public(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    serve_until(listener, router, None, limits, shutdown).await;
}

async fn serve_until(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (stop, stopping) = watch::channel(false);
    let stopping = Stopping(Some(stopping));
    let mut door = Door {
        router: router.layer(Extension(stopping.clone())),
        tls: tls.map(TlsAcceptor::from),
        limits,
        stopping,
        places: Arc::new(Semaphore::new(limits.connections)),
        present: Present::default(),
        full: Seldom::default(),
    };
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => door.admit(socket, peer, &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "no connection from the operating system");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Ended connections are forgotten as they end.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
        tracing::info!(cut = connections.len(), "connections cut at the stop");
    }
    connections.shutdown().await;
}

/// What every connection needs.
struct Door {
    router: Router,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    stopping: Stopping,
    places: Arc<Semaphore>,
    present: Present,
    full: Seldom,
}

/// A connection's share of the bounds, given back when it ends.
struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_network: Entered,
}

/// What happens as often as strangers like, and is told at most every [`TOLD_EVERY`].
#[derive(Debug, Default)]
struct Seldom {
    told: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Counts one. How many there were since the last time that was told, if it is time to tell.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.untold = self.untold.saturating_add(1);
        if self
            .told
            .is_some_and(|told| now.duration_since(told) < TOLD_EVERY)
        {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl Door {
    fn admit(&mut self, socket: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        let Ok(of_all) = Arc::clone(&self.places).try_acquire_owned() else {
            let allowed = self.limits.connections;
            if let Some(closed) = self.full.count(Instant::now()) {
                tracing::warn!(
                    allowed,
                    closed,
                    "connection closed, as many are open as allowed"
                );
            }
            return;
        };
        let most = self.limits.connections_per_network;
        let Some(of_network) = self.present.enter(peer.ip(), most) else {
            tracing::debug!(allowed = most, "connection closed, its network has as many");
            return;
        };
        let place = Place {
            _of_all: of_all,
            _of_network: of_network,
        };
        let carried = carry(
            socket,
            self.tls.clone(),
            self.router.clone(),
            self.limits,
            self.stopping.clone(),
        );
        connections.spawn(async move {
            let _place = place;
            carried.await;
        });
    }
}

async fn carry(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    mut stopping: Stopping,
) {
    // Answers are small and awaited: none may wait for the next one.
    drop(socket.set_nodelay(true));
    // Below TLS, where bytes are seen to go or to stay.
    let mut socket = TimeoutWriter::new(socket);
    socket.set_timeout(Some(limits.write_time));
    let socket = Box::pin(socket);
    let Some(tls) = tls else {
        return talk(socket, router, limits, stopping).await;
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limits.handshake_time, tls.accept(socket)) => shaken,
        () = stopping.said() => return,
    };
    match shaken {
        Ok(Ok(stream)) => talk(stream, router, limits, stopping).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
        Err(_) => tracing::debug!(limit = ?limits.handshake_time, "TLS handshake too slow"),
    }
}

async fn talk<S>(stream: S, router: Router, limits: Limits, mut stopping: Stopping)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.said() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_at_the_door_is_told_once_a_second() {
        let mut full = Seldom::default();
        let begun = Instant::now();
        let told: Vec<u64> = (0..2_500)
            .filter_map(|ms| full.count(begun + Duration::from_millis(ms)))
            .collect();
        assert_eq!(told, [1, 1_000, 1_000]);
    }
}
