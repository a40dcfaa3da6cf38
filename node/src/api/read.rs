//! Reading requests: JSON bodies, path segments and queries, each bounded and strict.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::{header, request::Parts};
use serde::de::DeserializeOwned;
use warifu_client_sdk::login_service::api::{MAX_REQUEST, MAX_WAIT_S, parse_login_id};
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::agree::LoginId;
use warifu_consensus::encoding;
use warifu_consensus::party::Sub;

use super::Api;
use super::desk::Desk;
use super::problem::Refused;

pub(super) fn malformed(detail: impl Into<String>) -> Refused {
    Refused::new(ProblemKind::Malformed, detail)
}

/// A request's JSON body, at most [`MAX_REQUEST`] bytes.
pub(super) struct Json<T>(pub(super) T);

impl<D: Desk, T: DeserializeOwned> FromRequest<Api<D>> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api<D>) -> Result<Self, Refused> {
        // Browsers send other types to other origins without asking; this one they ask for.
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|mime| mime.trim().eq_ignore_ascii_case("application/json"));
        if !is_json {
            return Err(malformed("expected content-type application/json"));
        }
        let (parts, body) = request.into_parts();
        check_length(&parts)?;
        let bytes = read_body(body, api.limits().body_time).await?;
        serde_json::from_slice(&bytes)
            .map(Json)
            .map_err(|error| malformed(error.to_string()))
    }
}

fn too_large(found: &str) -> Refused {
    Refused::new(
        ProblemKind::TooLarge,
        format!("body has {found} bytes, at most {MAX_REQUEST} allowed"),
    )
}

fn check_length(parts: &Parts) -> Result<(), Refused> {
    let told = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    match told {
        Some(found) if found > MAX_REQUEST as u64 => Err(too_large(&found.to_string())),
        _ => Ok(()),
    }
}

async fn read_body(body: Body, limit: Duration) -> Result<axum::body::Bytes, Refused> {
    match tokio::time::timeout(limit, to_bytes(body, MAX_REQUEST)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            let is_limit = source.is_some_and(|source| source.to_string().contains("limit"));
            Err(if is_limit {
                too_large("more")
            } else {
                malformed("body ended early")
            })
        }
        Err(_) => Err(malformed(format!(
            "body took longer than {} s",
            limit.as_secs()
        ))),
    }
}

/// The one named segment of a path.
async fn segment<D: Desk>(parts: &mut Parts, api: &Api<D>) -> Result<String, Refused> {
    Path::<String>::from_request_parts(parts, api)
        .await
        .map(|Path(text)| text)
        .map_err(|_| Refused::new(ProblemKind::NotFound, "path is not readable"))
}

/// An account in a path.
pub(super) struct InAccount(pub(super) Sub);

impl<D: Desk> FromRequestParts<Api<D>> for InAccount {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api<D>) -> Result<Self, Refused> {
        let text = segment(parts, api).await?;
        text.parse()
            .map(InAccount)
            .map_err(|error| malformed(format!("account: {error}")))
    }
}

/// A login in a path.
pub(super) struct InLogin(pub(super) LoginId);

impl<D: Desk> FromRequestParts<Api<D>> for InLogin {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api<D>) -> Result<Self, Refused> {
        let text = segment(parts, api).await?;
        parse_login_id(&text)
            .map(InLogin)
            .map_err(|error| malformed(format!("login: {error}")))
    }
}

/// An enrolment session in a path.
pub(super) struct InSession(pub(super) [u8; 32]);

impl<D: Desk> FromRequestParts<Api<D>> for InSession {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api<D>) -> Result<Self, Refused> {
        let text = segment(parts, api).await?;
        encoding::parse_b64(&text)
            .map(InSession)
            .map_err(|error| malformed(format!("session: {error}")))
    }
}

/// The one query parameter that is no number but true or false.
const PROOF: &str = "proof";

/// The one query parameter that names a language.
const LANGUAGE: &str = "lang";

/// A query of numbers, each name at most once.
pub(super) struct Numbers(BTreeMap<String, u64>);

impl Numbers {
    /// Takes a number out.
    pub(super) fn take(&mut self, name: &str) -> Option<u64> {
        self.0.remove(name)
    }

    /// Takes `wait` out: how long to wait, 0 when absent, at most 30 s.
    pub(super) fn take_wait(&mut self) -> Duration {
        Duration::from_secs(self.take("wait").unwrap_or(0).min(MAX_WAIT_S))
    }

    /// Takes `proof` out: whether the log's proof is asked for.
    pub(super) fn take_proof(&mut self) -> bool {
        self.take(PROOF) == Some(1)
    }

    /// Takes `lang` out, which is read elsewhere.
    pub(super) fn skip_language(&mut self) {
        self.0.remove(LANGUAGE);
    }

    /// Refuses what is left.
    pub(super) fn end(self) -> Result<(), Refused> {
        match self.0.into_keys().next() {
            Some(name) => Err(malformed(format!(
                "query parameter {name:?} is unknown here"
            ))),
            None => Ok(()),
        }
    }
}

impl<D: Desk> FromRequestParts<Api<D>> for Numbers {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api<D>) -> Result<Self, Refused> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, api)
            .await
            .map_err(|_| malformed("query is not readable"))?;
        let mut numbers = BTreeMap::new();
        for (name, text) in pairs {
            let number = match (name.as_str(), text.as_str()) {
                (PROOF, "true") => 1,
                (PROOF, "false") => 0,
                (PROOF, _) => {
                    return Err(malformed(
                        "query parameter \"proof\" is neither true nor false",
                    ));
                }
                (LANGUAGE, "ja" | "en") => 0,
                (LANGUAGE, _) => {
                    return Err(malformed("query parameter \"lang\" is neither ja nor en"));
                }
                (_, text) => text
                    .parse::<u64>()
                    .map_err(|_| malformed(format!("query parameter {name:?} is not a number")))?,
            };
            if numbers.insert(name.clone(), number).is_some() {
                return Err(malformed(format!("query parameter {name:?} stands twice")));
            }
        }
        Ok(Numbers(numbers))
    }
}
