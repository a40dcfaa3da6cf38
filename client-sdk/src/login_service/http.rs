//! Requests to the broker: bounded answers, typed problems, repeats of `GET` only.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::LoginServiceError;
use super::problem::Problem;
use super::tls::{BrokerAddress, client_config};
use super::token::Token;

/// Longest answer that is read, in bytes: a full page of history fits.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// An idle connection is given up before the broker does so (20 s): a `POST` must not meet its end.
const IDLE_LIMIT: Duration = Duration::from_secs(15);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Waits between the tries of a `GET`.
const RETRY_AFTER: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// A client of one broker.
pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
    token: Token,
}

impl Http {
    pub(super) fn new(broker: &BrokerAddress, token: Token) -> Result<Http, LoginServiceError> {
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
        Ok(Http {
            client,
            base,
            token,
        })
    }

    /// `GET`; has no effect, so it is tried again when nothing or 502 to 504 came back. `wait` is
    /// how long the broker may take on purpose.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        wait: Duration,
    ) -> Result<T, LoginServiceError> {
        let mut pauses = RETRY_AFTER.into_iter();
        loop {
            let request = self.request(Method::GET, path, query)?;
            let request = request.timeout(ANSWER_LIMIT.saturating_add(wait));
            let error = match answer(request).await {
                Ok((_, answer)) => return Ok(answer),
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if is_passing(&error) => tokio::time::sleep(pause).await,
                _ => return Err(error),
            }
        }
    }

    /// `POST`; never repeated. Answers with the status too.
    pub(super) async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
        wait: Duration,
    ) -> Result<(StatusCode, T), LoginServiceError> {
        let request = self.request(Method::POST, path, &[])?.json(body);
        answer(request.timeout(ANSWER_LIMIT.saturating_add(wait))).await
    }

    /// `DELETE`, which answers 204.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), LoginServiceError> {
        let request = self
            .request(Method::DELETE, path, &[])?
            .timeout(ANSWER_LIMIT);
        let response = request.send().await.map_err(unreachable)?;
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

fn is_passing(error: &LoginServiceError) -> bool {
    match error {
        LoginServiceError::Unreachable { .. } => true,
        LoginServiceError::Problem(problem) => matches!(problem.status, 502..=504),
        _ => false,
    }
}

fn unreachable(error: reqwest::Error) -> LoginServiceError {
    // The error's own text hides the cause that says what to do, such as "connection refused".
    let mut what = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        what = format!("{what}: {cause}");
        source = cause.source();
    }
    LoginServiceError::Unreachable { what }
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
    let bytes = match read(response).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    match serde_json::from_slice::<Problem>(&bytes) {
        // The status line is what intermediaries act on; a document that contradicts it is none.
        Ok(problem) if problem.status == status.as_u16() => {
            LoginServiceError::Problem(Box::new(problem))
        }
        _ if matches!(status.as_u16(), 502..=504) => LoginServiceError::Unreachable {
            what: format!("status {status} without a problem document"),
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
