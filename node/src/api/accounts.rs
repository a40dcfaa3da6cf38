//! `/v1/accounts/{account}`: status, history, last login, freeze, unfreeze.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use warifu_client_sdk::login_service::api::{
    AccountAnswer, BeginUnfreeze, DEFAULT_PAGE, EraseAnswer, FreezeAnswer, HistoryAnswer,
    HistoryEntry, Jwk, LastLoginAnswer, LoginBegun, MAX_PAGE, OpenEnrolment,
};
use warifu_consensus::block::{Kind, Sealed};
use warifu_consensus::body::Body;

use super::Api;
use super::auth::Authenticated;
use super::desk::{Desk, Entry, Frozen};
use super::logins;
use super::problem::Refused;
use super::read::{InAccount, Json, Numbers, malformed};
use crate::explorer::{self, Language, Links};
use crate::secrets::Scope;

/// Pages that a search for the last login looks through, so that one request is bounded.
const SEARCHED_PAGES: u64 = 20;

/// Status, head and key of an account, as this broker tells them.
#[utoipa::path(
    get,
    path = "/v1/accounts/{account}",
    params(("account" = String, Path, description = "The account: 22 characters of base64url.")),
    responses(
        (status = 200, description = "The account.", body = AccountAnswer),
    )
)]
pub(super) async fn show<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InAccount(account): InAccount,
) -> Result<axum::Json<AccountAnswer>, Refused> {
    caller.require(Scope::History)?;
    let state = api.desk().account(account).await?;
    Ok(axum::Json(AccountAnswer {
        account,
        status: state.status.into(),
        height: state.head.height,
        head: state.head.hash,
        jwk: Jwk::of(&state.account_key),
    }))
}

/// Blocks of an account, newest first, bodies opened.
#[utoipa::path(
    get,
    path = "/v1/accounts/{account}/history",
    params(("account" = String, Path, description = "The account: 22 characters of base64url."), ("before" = Option<u64>, Query, description = "Only blocks below this height."), ("limit" = Option<u64>, Query, description = "How many blocks; 20 when absent.", minimum = 1, maximum = 100)),
    responses(
        (status = 200, description = "A page.", body = HistoryAnswer),
    )
)]
pub(super) async fn history<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InAccount(account): InAccount,
    mut query: Numbers,
) -> Result<axum::Json<HistoryAnswer>, Refused> {
    caller.require(Scope::History)?;
    let before = query.take("before");
    let limit = query.take("limit").unwrap_or(DEFAULT_PAGE);
    query.end()?;
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(malformed(format!(
            "limit is {limit}, expected 1 to {MAX_PAGE}"
        )));
    }
    let entries = api.desk().history(account, before, limit).await?;
    let blocks: Vec<HistoryEntry> = entries.into_iter().map(entry).collect();
    let next = blocks.last().map(|last| last.height).filter(|h| *h > 0);
    Ok(axum::Json(HistoryAnswer { blocks, next }))
}

/// Blocks of an account as a page for people: linked, newest first.
#[utoipa::path(
    get,
    path = "/v1/accounts/{account}/chain",
    params(("account" = String, Path, description = "The account: 22 characters of base64url."), ("before" = Option<u64>, Query, description = "Only blocks below this height."), ("lang" = Option<String>, Query, description = "`ja` or `en`; as `Accept-Language` says when absent.")),
    responses(
        (status = 200, description = "HTML without scripts.", content_type = "text/html; charset=utf-8", body = String),
    )
)]
pub(super) async fn chain<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InAccount(account): InAccount,
    language: Language,
    mut query: Numbers,
) -> Result<Response, Refused> {
    caller.require(Scope::History)?;
    let before = query.take("before");
    query.skip_language();
    query.end()?;
    let status = api.desk().account(account).await?.status;
    let entries = api.desk().history(account, before, DEFAULT_PAGE).await?;
    let blocks: Vec<Sealed> = entries.into_iter().map(|entry| entry.sealed).collect();
    let last = blocks.last().map(|last| last.block.claims().height);
    Ok(explorer::chain(
        language,
        &Links {
            account,
            status,
            blocks,
            next: last.filter(|height| *height > 0),
            before,
        },
    ))
}

/// The newest login of an account.
#[utoipa::path(
    get,
    path = "/v1/accounts/{account}/last-login",
    params(("account" = String, Path, description = "The account: 22 characters of base64url.")),
    responses(
        (status = 200, description = "The login, or null.", body = LastLoginAnswer),
    )
)]
pub(super) async fn last_login<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InAccount(account): InAccount,
) -> Result<axum::Json<LastLoginAnswer>, Refused> {
    caller.require(Scope::History)?;
    let mut searched_to = api.desk().account(account).await?.head.height;
    let mut before = None;
    for _ in 0..SEARCHED_PAGES {
        let entries = api.desk().history(account, before, MAX_PAGE).await?;
        for found in entries {
            let claims = found.sealed.block.claims();
            searched_to = claims.height;
            if claims.kind == Kind::Login {
                return Ok(axum::Json(LastLoginAnswer {
                    login: Some(entry(found)),
                    searched_to,
                }));
            }
        }
        // No progress means no more blocks.
        if searched_to == 0 || before == Some(searched_to) {
            break;
        }
        before = Some(searched_to);
    }
    Ok(axum::Json(LastLoginAnswer {
        login: None,
        searched_to,
    }))
}

/// Freezes an account: nothing is admitted until an unfreeze. Never refused for coming too often.
#[utoipa::path(
    post,
    path = "/v1/accounts/{account}/freeze",
    params(("account" = String, Path, description = "The account: 22 characters of base64url.")),
    request_body = OpenEnrolment,
    responses(
        (status = 200, description = "The freeze is sealed.", body = FreezeAnswer),
        (status = 202, description = "The wish is durable and nothing is admitted; the trust operator has not answered yet.", body = FreezeAnswer),
    )
)]
pub(super) async fn freeze<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InAccount(account): InAccount,
    Json(OpenEnrolment {}): Json<OpenEnrolment>,
) -> Result<Response, Refused> {
    caller.require(Scope::Freeze)?;
    Ok(match api.desk().freeze(account).await? {
        Frozen::Sealed(sealed) => {
            let answer = FreezeAnswer::Frozen {
                height: sealed.block.claims().height,
                hash: sealed.block.hash(),
                receipt: sealed.to_json(),
            };
            (StatusCode::OK, axum::Json(answer)).into_response()
        }
        Frozen::Wanted => (StatusCode::ACCEPTED, axum::Json(FreezeAnswer::Pending)).into_response(),
    })
}

/// Erases a frozen account for good: content key, salts, shares and openers are forgotten at both operators.
#[utoipa::path(
    post,
    path = "/v1/accounts/{account}/erase",
    params(("account" = String, Path, description = "The account: 22 characters of base64url.")),
    request_body = OpenEnrolment,
    responses(
        (status = 200, description = "Erased at both operators.", body = EraseAnswer),
        (status = 202, description = "Erased here, durably; the trust operator has not answered yet.", body = EraseAnswer),
    )
)]
pub(super) async fn erase<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InAccount(account): InAccount,
    Json(OpenEnrolment {}): Json<OpenEnrolment>,
) -> Result<Response, Refused> {
    caller.require(Scope::Erase)?;
    Ok(if api.desk().erase(account).await? {
        (StatusCode::OK, axum::Json(EraseAnswer::Erased)).into_response()
    } else {
        (StatusCode::ACCEPTED, axum::Json(EraseAnswer::Pending)).into_response()
    })
}

/// Asks the customer's device to unfreeze, after re-identification. Answers as a begin.
#[utoipa::path(
    post,
    path = "/v1/accounts/{account}/unfreeze",
    params(("account" = String, Path, description = "The account: 22 characters of base64url.")),
    request_body = BeginUnfreeze,
    responses(
        (status = 201, description = "The unfreeze is open.", body = LoginBegun),
    )
)]
pub(super) async fn unfreeze<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InAccount(account): InAccount,
    Json(request): Json<BeginUnfreeze>,
) -> Result<Response, Refused> {
    caller.require(Scope::Desk)?;
    let body = Body {
        channel: request.channel,
        address: request.address,
        details: Vec::new(),
        reference: Some(request.reference),
    };
    logins::open(
        &api,
        &caller,
        account,
        Kind::Unfreeze,
        request.nonce,
        body,
        None,
    )
    .await
}

fn entry(entry: Entry) -> HistoryEntry {
    let block = &entry.sealed.block;
    let claims = block.claims();
    HistoryEntry {
        height: claims.height,
        kind: claims.kind.name().to_owned(),
        aud: claims.aud.clone(),
        time: claims.iat,
        hash: block.hash(),
        receipt: entry.sealed.to_json(),
        body: entry.body.map(Into::into),
    }
}
