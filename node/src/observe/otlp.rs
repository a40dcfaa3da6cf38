//! How spans travel to the collector: the exporter's thread hands each request to the node's runtime.
//!
//! Plain HTTP, so the collector belongs on this machine or its trusted network; no redirect is followed, and
//! of an answer no more than 64 KiB are read.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use crate::outgoing::{self, OutgoingError};

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 64 * 1024;

/// The exporter's HTTP client.
#[derive(Debug)]
pub(super) struct Poster {
    client: reqwest::Client,
    runtime: Handle,
}

impl Poster {
    pub(super) fn new(runtime: Handle) -> Result<Self, OutgoingError> {
        let client = outgoing::plain()?;
        Ok(Self { client, runtime })
    }
}

#[async_trait]
impl HttpClient for Poster {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::Request::try_from(request)?;
        *request.timeout_mut() = Some(TIMEOUT);
        let client = self.client.clone();
        // The exporter waits on a thread without a reactor.
        let sent = self.runtime.spawn(async move {
            let mut response = client.execute(request).await?;
            let mut answer = Vec::new();
            while answer.len() < MAX_ANSWER
                && let Some(chunk) = response.chunk().await?
            {
                answer.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>((response.status(), answer))
        });
        let (status, answer) = sent.await??;
        Ok(Response::builder()
            .status(status)
            .body(Bytes::from(answer))?)
    }
}
