//! Waking phones: tells the operator's push service that a proposal waits for a device that has no
//! line.
//!
//! Decides for which proposals, and how often: until the service takes it, the device comes by
//! itself, or the proposal ends. The service learns that an account is asked something, and when;
//! never what, by whom, or the number. Nothing here delays a proposal: each call is a task of its
//! own, and beyond the bounds phones are simply not woken.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use serde::Serialize;
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle};
use warifu_client_sdk::runtime::Clock;
use warifu_consensus::{agree::LoginId, party::Sub, time::Time};
use zeroize::Zeroizing;

use crate::{config::PushUrl, outgoing, roles::lock};

/// Open proposals that are followed; at more, further phones are not woken.
const MAX_OPEN: usize = 4096;

/// Calls under way at once: a slow service must not hold a socket for each proposal.
const MAX_CALLS: usize = 16;

/// Pause after the first failed call; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause between calls.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The operator's push service.
#[derive(Clone)]
pub struct PushSettings {
    /// Where to post.
    pub url: PushUrl,
    /// The bearer token.
    pub token: Zeroizing<String>,
    /// Longest time that one call may take.
    pub timeout: Duration,
}

impl std::fmt::Debug for PushSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PushSettings({}, <redacted>)", self.url)
    }
}

/// Why phones can't be woken.
#[derive(Debug, thiserror::Error)]
#[error("the push service can't be called: {reason}")]
pub struct PushError {
    /// What TLS or the client lacks.
    reason: String,
}

/// What the service is told, and all that it is told.
#[derive(Serialize)]
struct Wake<'a> {
    iss: &'a str,
    sub: String,
    /// Seconds since the Unix epoch.
    expires_at: u64,
}

/// A proposal that is open.
struct Open {
    login: LoginId,
    exp: u64,
    /// The task that wakes its device; `None` while the device has a line.
    waking: Option<AbortHandle>,
}

/// Whether an account's device has a line.
pub(super) type HasLine = Box<dyn Fn(&Sub) -> bool + Send + Sync>;

/// See the module. Clones are the same.
#[derive(Clone)]
pub(super) struct Push {
    shared: Arc<Shared>,
}

struct Shared {
    settings: PushSettings,
    iss: String,
    client: Client,
    clock: Clock,
    has_line: HasLine,
    runtime: Handle,
    calls: Semaphore,
    /// An account has one open proposal at most.
    open: Mutex<HashMap<Sub, Open>>,
}

/// Why a call was for nothing.
enum Failed {
    /// The service may take it later.
    Passing(String),
    /// It never will: the address or the token is wrong.
    ForGood(String),
}

impl Push {
    /// Must be called within a tokio runtime, which the calls then run on.
    pub(super) fn new(
        settings: PushSettings,
        iss: String,
        clock: Clock,
        has_line: HasLine,
    ) -> Result<Self, PushError> {
        let failed = |reason: String| PushError { reason };
        let client = outgoing::trusting_the_system().map_err(|e| failed(e.to_string()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                iss,
                client,
                clock,
                has_line,
                runtime: Handle::current(),
                calls: Semaphore::new(MAX_CALLS),
                open: Mutex::default(),
            }),
        })
    }

    /// A proposal opens; its device is woken if it has no line.
    pub(super) fn opened(&self, sub: Sub, login: LoginId, exp: u64) {
        let shared = &self.shared;
        let mut open = lock(&shared.open);
        if open.len() >= MAX_OPEN {
            let now = (shared.clock)().seconds();
            open.retain(|_, o| o.exp > now);
        }
        if open.len() >= MAX_OPEN {
            count("dropped");
            tracing::warn!(account = %sub, "too many proposals are open, this device is not woken");
            return;
        }
        let waking = (!(shared.has_line)(&sub)).then(|| shared.wake(sub, exp));
        let replaced = open.insert(sub, Open { login, exp, waking });
        drop(open);
        replaced.into_iter().for_each(end);
    }

    /// A device's line is gone; it is woken if it is being asked something.
    pub(super) fn line_down(&self, sub: &Sub) {
        if let Some(open) = lock(&self.shared.open).get_mut(sub)
            && open.waking.is_none()
        {
            open.waking = Some(self.shared.wake(*sub, open.exp));
        }
    }

    /// A proposal ended, however.
    pub(super) fn ended(&self, sub: &Sub, login: LoginId) {
        let mut open = lock(&self.shared.open);
        if open.get(sub).is_some_and(|o| o.login == login) {
            open.remove(sub).into_iter().for_each(end);
        }
    }
}

fn end(open: Open) {
    if let Some(waking) = open.waking {
        waking.abort();
    }
}

impl Shared {
    fn wake(self: &Arc<Self>, sub: Sub, exp: u64) -> AbortHandle {
        let shared = Arc::clone(self);
        let waking = self
            .runtime
            .spawn(async move { shared.until_taken(sub, exp).await });
        waking.abort_handle()
    }

    async fn until_taken(&self, sub: Sub, exp: u64) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Ok(_call) = self.calls.acquire().await else {
                return;
            };
            let left = Time::from_seconds(exp).0.saturating_sub((self.clock)().0);
            if left == 0 || (self.has_line)(&sub) {
                return;
            }
            let timeout = self.settings.timeout.min(Duration::from_millis(left));
            match self.call(&sub, exp, timeout).await {
                Ok(()) => {
                    count("taken");
                    tracing::debug!(account = %sub, "push service told");
                    return;
                }
                Err(Failed::ForGood(reason)) => {
                    count("refused");
                    tracing::warn!(account = %sub, %reason, "push refused, the device is not woken");
                    return;
                }
                Err(Failed::Passing(reason)) => {
                    count("failed");
                    tracing::warn!(account = %sub, %reason, "push failed, it is repeated");
                }
            }
            drop(_call);
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    async fn call(&self, sub: &Sub, exp: u64, timeout: Duration) -> Result<(), Failed> {
        let wake = Wake {
            iss: &self.iss,
            sub: sub.to_string(),
            expires_at: exp,
        };
        let answer = self
            .client
            .post(self.settings.url.expose().clone())
            .bearer_auth(self.settings.token.as_str())
            .timeout(timeout)
            .json(&wake)
            .send()
            .await
            .map_err(|e| Failed::Passing(e.without_url().to_string()))?;
        let status = answer.status();
        let reason = format!("the service answered {}", status.as_u16());
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failed::Passing(reason))
            }
            status if status.is_server_error() => Err(Failed::Passing(reason)),
            _ => Err(Failed::ForGood(reason)),
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("warifu_pushes_total", "outcome" => outcome).increment(1);
}
