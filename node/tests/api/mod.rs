//! The HTTP side over a desk in memory: every endpoint and every problem, and the login service's
//! SDK against honest and lying brokers.

mod commands;
mod desk;
mod endpoints;
mod problems;
mod sdk;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use warifu_client_sdk::login_service::problem::{PROBLEM_JSON, Problem, ProblemKind};
use warifu_consensus::agree::LoginId;
use warifu_consensus::encoding::parse_b64;
use warifu_consensus::party::Sub;
use warifu_node::api::{self, Limits};
use warifu_node::secrets::{Caller, Scope, Tokens, token_hash};

use desk::{NOW, TestDesk};

const BANK: &str = "https://bank.example";
const BANK_TOKEN: &str = "warifu-token-of-the-bank-0001";
const SHOP_TOKEN: &str = "warifu-token-of-the-shop-0002";
const NONCE: &str = "a-challenge-of-22-or-more-characters";

/// A token with exactly these scopes exists for each single scope.
fn token_of(scope: Scope) -> String {
    format!("warifu-token-with-only-{scope:?}-scope")
}

fn caller(name: &str, aud: &str, scopes: &[Scope], token: &str) -> Caller {
    Caller {
        name: name.to_owned(),
        aud: aud.to_owned(),
        scopes: scopes.to_vec(),
        hash: token_hash(token),
    }
}

fn tokens() -> Tokens {
    let mut callers = vec![
        caller("bank", BANK, &Scope::ALL, BANK_TOKEN),
        caller("shop", "https://shop.example", &Scope::ALL, SHOP_TOKEN),
    ];
    callers.extend(
        Scope::ALL
            .map(|scope| caller(&format!("only {scope:?}"), BANK, &[scope], &token_of(scope))),
    );
    Tokens::new(callers)
}

/// A served desk.
struct Site {
    desk: Arc<TestDesk>,
    address: SocketAddr,
    client: reqwest::Client,
    server: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Site {
    async fn open() -> Site {
        Site::with_limits(Limits::default()).await
    }

    async fn with_limits(limits: Limits) -> Site {
        Site::serve(TestDesk::new(60, NOW), limits).await
    }

    async fn serve(desk: TestDesk, limits: Limits) -> Site {
        let desk = Arc::new(desk);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = api::router_with(Arc::clone(&desk), tokens(), limits);
        let server = tokio::spawn(async move {
            api::serve(listener, router, std::future::pending())
                .await
                .unwrap();
        });
        Site {
            desk,
            address,
            client: reqwest::Client::new(),
            server,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.url()))
            .bearer_auth(token)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path, BANK_TOKEN)
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path, BANK_TOKEN).json(body)
    }

    /// Begins a login of the bank; its id.
    async fn begin(&self, account: Sub) -> LoginId {
        // A challenge is good for one block.
        static LOGINS: AtomicU64 = AtomicU64::new(0);
        let mut body = begin_body(account);
        let count = LOGINS.fetch_add(1, Ordering::Relaxed);
        body["nonce"] = format!("challenge-of-login-number-{count}").into();
        let (status, begun) = answer(self.post("/v1/logins", &body)).await;
        assert_eq!(status, StatusCode::CREATED, "{begun}");
        LoginId(parse_b64(begun["id"].as_str().unwrap()).unwrap())
    }
}

fn begin_body(account: Sub) -> Value {
    serde_json::json!({
        "account": account,
        "nonce": NONCE,
        "channel": "web",
        "address": "203.0.113.7",
        "details": [{ "label": "振込先", "value": "山田 太郎" }],
    })
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let headers = response.headers();
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    (status, response.json().await.unwrap())
}

/// The problem that a request ends with, with all that the document and the status line must say.
async fn problem(request: RequestBuilder) -> (ProblemKind, Problem) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap();
    assert_eq!(headers[header::CONTENT_TYPE], PROBLEM_JSON, "{text}");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    let problem: Problem = serde_json::from_str(&text).unwrap();
    let kind = problem.kind().unwrap();
    assert_eq!(problem.status, status.as_u16());
    assert_eq!(kind.status(), status.as_u16());
    assert_eq!(problem.title, kind.title());
    assert!(!problem.detail.is_empty());
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
    assert_eq!(retry_after, problem.retry_after);
    assert_eq!(
        headers.contains_key(header::WWW_AUTHENTICATE),
        status == StatusCode::UNAUTHORIZED
    );
    (kind, problem)
}

async fn kind(request: RequestBuilder) -> ProblemKind {
    problem(request).await.0
}
