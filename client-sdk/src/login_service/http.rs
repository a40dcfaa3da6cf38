//! Requests to the broker: bounded answers, typed problems, repeats only of what has no effect or
//! never left.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::LoginServiceError;
use super::problem::Problem;
use super::retry::{Patience, Tries};
use super::tls::{BrokerAddress, client_config};
use super::token::Token;

/// Longest answer that is read, in bytes: a full page of history fits.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// An idle connection is given up before the broker does so (20 s): a `POST` must not meet its end.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

/// A client of one broker.
#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
    token: Token,
    pub(super) patience: Patience,
}

impl Http {
    pub(super) fn new(broker: &BrokerAddress, token: Token) -> Result<Http, LoginServiceError> {
        let (client, base) = client(broker)?;
        Ok(Http {
            client,
            base,
            token,
            patience: Patience::default(),
        })
    }

    /// `GET`; has no effect, so it is tried again when nothing came back, or 408, 429 or 5xx.
    /// `wait` is how long the broker may take on purpose.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        wait: Duration,
    ) -> Result<T, LoginServiceError> {
        let mut tries = Tries::of(&self.patience, wait);
        loop {
            let limit = self.limit(wait).min(tries.left());
            match self.get_once(path, query, limit).await {
                Err(error) if error.is_passing() && tries.again(&error).await => {}
                answer => return answer,
            }
        }
    }

    /// `GET`, one try, given up after `limit`.
    pub(super) async fn get_once<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        limit: Duration,
    ) -> Result<T, LoginServiceError> {
        let request = self.request(Method::GET, path, query)?;
        let (_, answer) = answer(request.timeout(limit)).await?;
        Ok(answer)
    }

    /// For one try during which the broker may take `wait` on purpose.
    pub(super) fn limit(&self, wait: Duration) -> Duration {
        self.patience.answer.saturating_add(wait)
    }

    /// `POST` of what may have an effect: repeated only when no connection was made, so that the
    /// request never left. Answers with the status too.
    pub(super) async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
        wait: Duration,
    ) -> Result<(StatusCode, T), LoginServiceError> {
        let never_left = |error: &LoginServiceError| matches!(error, LoginServiceError::Unreachable { is_sent, .. } if !is_sent);
        self.post_while(never_left, path, body, wait).await
    }

    /// `POST` of what may be asked any number of times, repeated as `GET` is.
    pub(super) async fn post_again<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
        wait: Duration,
    ) -> Result<(StatusCode, T), LoginServiceError> {
        self.post_while(LoginServiceError::is_passing, path, body, wait)
            .await
    }

    async fn post_while<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        is_passing: impl Fn(&LoginServiceError) -> bool,
        path: &[&str],
        body: &B,
        wait: Duration,
    ) -> Result<(StatusCode, T), LoginServiceError> {
        let mut tries = Tries::of(&self.patience, wait);
        loop {
            let request = self.request(Method::POST, path, &[])?.json(body);
            let limit = self.limit(wait).min(tries.left());
            match answer(request.timeout(limit)).await {
                Err(error) if is_passing(&error) && tries.again(&error).await => {}
                answer => return answer,
            }
        }
    }

    /// `DELETE`, which answers 204; repeated as `GET` is. On success, and beside an error, says
    /// whether an earlier try may have had the effect.
    pub(super) async fn delete(&self, path: &[&str]) -> (Result<(), LoginServiceError>, bool) {
        let mut tries = Tries::of(&self.patience, Duration::ZERO);
        let mut may_be_done = false;
        loop {
            match self
                .delete_once(path, self.limit(Duration::ZERO).min(tries.left()))
                .await
            {
                Err(error) if error.is_passing() => {
                    may_be_done |=
                        !matches!(error, LoginServiceError::Unreachable { is_sent: false, .. });
                    if !tries.again(&error).await {
                        return (Err(error), may_be_done);
                    }
                }
                ended => return (ended, may_be_done),
            }
        }
    }

    async fn delete_once(&self, path: &[&str], limit: Duration) -> Result<(), LoginServiceError> {
        let request = self.request(Method::DELETE, path, &[])?;
        let response = request.timeout(limit).send().await.map_err(unreachable)?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        Err(problem(response).await)
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<RequestBuilder, LoginServiceError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            // Each segment is percent-encoded: an id in an answer can't choose another path.
            Ok(mut segments) => segments.clear().push("v1").extend(path),
            Err(()) => return Err(base_url(self.base.as_str())),
        };
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.request(method, url);
        Ok(request.bearer_auth(self.token.expose()))
    }
}

/// A client for one broker, and where that is.
pub(super) fn client(broker: &BrokerAddress) -> Result<(reqwest::Client, Url), LoginServiceError> {
    let base = base(&broker.url)?;
    let tls = client_config(base.scheme() == "https", broker.authorities.as_ref())?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .pool_idle_timeout(IDLE_LIMIT)
        .connect_timeout(CONNECT_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| LoginServiceError::Setup {
            what: error.to_string(),
        })?;
    Ok((client, base))
}

fn base_url(found: &str) -> LoginServiceError {
    LoginServiceError::BaseUrl {
        found: found.to_owned(),
    }
}

/// A bearer token in plain HTTP may travel on loopback only; in TLS anywhere.
fn base(base: &str) -> Result<Url, LoginServiceError> {
    let url = Url::parse(base).map_err(|_| base_url(base))?;
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
    let has_no_user = url.username().is_empty() && url.password().is_none();
    let is_private = match url.scheme() {
        "https" => !host.is_empty(),
        "http" => is_loopback,
        _ => false,
    };
    if is_private && is_bare && has_no_user {
        Ok(url)
    } else {
        Err(base_url(base))
    }
}

pub(super) fn unreachable(error: reqwest::Error) -> LoginServiceError {
    // The error's own text hides the cause that says what to do, such as "connection refused".
    let mut what = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        what = format!("{what}: {cause}");
        source = cause.source();
    }
    LoginServiceError::Unreachable {
        what,
        is_sent: !error.is_connect(),
    }
}

async fn answer<T: DeserializeOwned>(
    request: RequestBuilder,
) -> Result<(StatusCode, T), LoginServiceError> {
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if !status.is_success() {
        return Err(problem(response).await);
    }
    let bytes = read(response).await?;
    let value = serde_json::from_slice(&bytes).map_err(|error| LoginServiceError::Answer {
        what: error.to_string(),
    })?;
    Ok((status, value))
}

async fn problem(response: Response) -> LoginServiceError {
    let status = response.status();
    let header = response.headers().get(RETRY_AFTER);
    // The other form, a date, is for browsers' caches; no broker of ours writes it.
    let retry_after: Option<u64> = header.and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes = match read(response).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    match serde_json::from_slice::<Problem>(&bytes) {
        // The status line is what intermediaries act on; a document that contradicts it is none.
        Ok(mut problem) if problem.status == status.as_u16() => {
            problem.retry_after = problem.retry_after.or(retry_after);
            LoginServiceError::Problem(Box::new(problem))
        }
        _ if matches!(status.as_u16(), 408 | 429 | 500..=599) => LoginServiceError::Unreachable {
            what: format!("status {status} without a problem document"),
            is_sent: true,
        },
        _ => LoginServiceError::Answer {
            what: format!("status {status} without a problem document"),
        },
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, LoginServiceError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return Err(LoginServiceError::Answer {
                what: format!("more than {MAX_ANSWER} bytes"),
            });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_travel_in_tls_or_on_loopback() {
        for good in [
            "http://127.0.0.1:7201",
            "http://127.8.8.8:1/",
            "http://[::1]:7201",
            "http://localhost:7201",
            "https://127.0.0.1:7201",
            "https://broker.example",
            "https://[2001:db8::1]:7201/",
        ] {
            assert!(base(good).is_ok(), "{good}");
        }
        for bad in [
            "https://broker.example/v1",
            "https://user@broker.example",
            "https://",
            "ftp://127.0.0.1",
            "http://10.0.0.1:7201",
            "http://broker.example",
            "http://127.0.0.1.example",
            "http://user@127.0.0.1",
            "http://127.0.0.1/v1",
            "http://127.0.0.1/?a=b",
            "http://0.0.0.0:1",
            "127.0.0.1:7201",
            "",
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }
}
