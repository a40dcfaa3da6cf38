//! The listener for those who watch an operator: `/metrics`, `/healthz`, `/readyz`.
//!
//! It has neither TLS nor callers, and therefore tells nothing about any account; the configuration
//! keeps it on loopback unless its operator says otherwise. It takes no request that changes anything.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle};
use warifu_client_sdk::login_service::api::HealthAnswer;

use super::Recorder;

/// How often what was recorded is folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Says whether logins are possible, else why not: a text for `/readyz`.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A bound listener, and once it serves, its tasks. Dropping it ends them.
pub struct Listener {
    address: SocketAddr,
    bound: Option<TcpListener>,
    recorder: Recorder,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shown {
    recorder: Recorder,
    readiness: Readiness,
}

impl Listener {
    /// Binds `address`; connections wait until [`Listener::serve`].
    ///
    /// # Errors
    /// The operating system's.
    pub async fn bind(address: SocketAddr, recorder: Recorder) -> std::io::Result<Self> {
        let bound = TcpListener::bind(address).await?;
        Ok(Self {
            address: bound.local_addr()?,
            bound: Some(bound),
            recorder,
            tasks: Vec::new(),
        })
    }

    /// `http://` and the address bound, with its actual port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers from now on, in the background.
    pub fn serve(&mut self, readiness: Readiness) {
        let Some(bound) = self.bound.take() else {
            return;
        };
        let recorder = self.recorder.clone();
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(Shown {
                recorder: recorder.clone(),
                readiness,
            });
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(bound, router).await {
                tracing::error!(%error, "nobody can watch this node any more");
            }
        }));
        self.tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                recorder.upkeep();
            }
        }));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shown.recorder.render()).into_response()
}

async fn healthz() -> Json<HealthAnswer> {
    Json(HealthAnswer {
        status: "ok".to_owned(),
        reason: None,
    })
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let (code, status, reason) = match (shown.readiness)() {
        Ok(()) => (StatusCode::OK, "ok", None),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, "not-ready", Some(reason)),
    };
    let status = status.to_owned();
    (code, Json(HealthAnswer { status, reason })).into_response()
}
