//! The HTTP side over a desk in memory: every endpoint and every problem, and the login service's
//! SDK against honest and lying brokers.

mod callers;
mod commands;
mod connections;
mod desk;
mod endpoints;
mod limits;
mod openapi;
mod problems;
mod requests;
mod sdk;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use warifu_client_sdk::login_service::problem::{PROBLEM_JSON, Problem, ProblemKind};
use warifu_consensus::agree::LoginId;
use warifu_consensus::encoding::parse_b64;
use warifu_consensus::party::Sub;
use warifu_node::api::{self, Limits, Live};
use warifu_node::secrets::{Caller, Scope, Tokens, token_hash};

use crate::contract;
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
    scheme: &'static str,
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
        Site::start(
            desk,
            limits,
            None,
            contract::client(),
            std::future::pending(),
        )
        .await
    }

    /// Stops when the other end of `stop` says so.
    async fn until(desk: TestDesk, stop: oneshot::Receiver<()>) -> Site {
        let stop = async { stop.await.unwrap() };
        Site::start(desk, Limits::default(), None, contract::client(), stop).await
    }

    /// Speaks TLS; its client is configured to believe it.
    async fn secured(
        desk: TestDesk,
        limits: Limits,
        tls: Arc<rustls::ServerConfig>,
        trusted: rustls::ClientConfig,
    ) -> Site {
        let client = contract::client_with(trusted);
        Site::start(desk, limits, Some(tls), client, std::future::pending()).await
    }

    async fn start(
        desk: TestDesk,
        limits: Limits,
        tls: Option<Arc<rustls::ServerConfig>>,
        client: reqwest::Client,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Site {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let desk = Arc::new(desk);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = api::router_with(Arc::clone(&desk), Arc::new(Live::new(tokens())), limits);
        let server = tokio::spawn(async move {
            api::serve_with(listener, router, tls, limits, stop)
                .await
                .unwrap();
        });
        Site {
            desk,
            address,
            client,
            scheme,
            server,
        }
    }

    fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
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

/// An answer, checked against the document that the site serves.
async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = contract::send(request).await;
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    (answer.status, answer.json())
}

/// The problem that a request ends with, with all that the document and the status line must say.
async fn problem(request: RequestBuilder) -> (ProblemKind, Problem) {
    read_problem(contract::send(request).await)
}

fn read_problem(answer: contract::Answer) -> (ProblemKind, Problem) {
    let contract::Answer {
        status,
        headers,
        text,
        ..
    } = answer;
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
