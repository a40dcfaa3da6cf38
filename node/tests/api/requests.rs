//! Requests are read strictly: bodies, paths, queries.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warifu_client_sdk::login_service::api::MAX_REQUEST;
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::encoding::text_b64;
use warifu_node::api::Limits;

use super::{BANK_TOKEN, Site, answer, begin_body, kind};

#[tokio::test]
async fn a_request_cannot_choose_its_relying_party_nor_anything_unknown() {
    let site = Site::open().await;
    let account = site.desk.found();
    let good = begin_body(account);
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let without = |name: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let long = "x".repeat(65);
    for body in [
        with("aud", json!("https://shop.example")),
        with("caller", json!("shop")),
        with("expires_in", json!(1000)),
        with("kind", json!("genesis")),
        with("kind", json!("freeze")),
        with("kind", json!("Login")),
        with("kind", json!("unfreeze")),
        with("reference", json!("case 7")),
        with("nonce", json!("too-short-a-challenge")),
        with("nonce", json!("spaces in the challenge are none")),
        with("account", json!("AAAA")),
        with("account", json!(7)),
        with("channel", json!("")),
        with("channel", json!(long)),
        with("channel", json!("web\u{202e}")),
        with("address", json!("a\nb")),
        with("details", json!([{ "label": "", "value": "" }])),
        with("details", json!([{ "label": "a", "value": "b", "c": "d" }])),
        with(
            "details",
            json!(vec![json!({ "label": "a", "value": "b" }); 17]),
        ),
        without("account"),
        without("nonce"),
        without("channel"),
        json!([]),
        json!("login"),
        Value::Null,
    ] {
        let found = kind(site.post("/v1/logins", &body)).await;
        assert_eq!(found, ProblemKind::Malformed, "{body}");
    }
    assert_eq!(site.desk.with(|room| room.begun_for.clone()), None);
    assert_eq!(
        kind(site.post("/v1/enrolments", &json!({ "customer": "1001" }))).await,
        ProblemKind::Malformed
    );
}

#[tokio::test]
async fn bodies_are_json_once_and_small() {
    let site = Site::open().await;
    let account = site.desk.found();
    let text = begin_body(account).to_string();
    let send = |kind: &str, body: String| {
        let request = site.request(Method::POST, "/v1/logins", BANK_TOKEN);
        request.header("content-type", kind.to_owned()).body(body)
    };
    for (media, body) in [
        ("text/plain", text.clone()),
        ("application/x-www-form-urlencoded", text.clone()),
        ("application/json-seq", text.clone()),
        ("application/json", format!("{text}{text}")),
        ("application/json", text.replace('}', "")),
        (
            "application/json",
            text.replacen('{', r#"{"nonce":"x","#, 1),
        ),
        ("application/json", String::new()),
        ("application/json", "[".repeat(10_000)),
        ("application/json", "\u{feff}{}".to_owned()),
    ] {
        assert_eq!(
            kind(send(media, body)).await,
            ProblemKind::Malformed,
            "{media}"
        );
    }
    let padded = |length: usize| format!("{text}{}", " ".repeat(length - text.len()));
    assert_eq!(
        kind(send("application/json", padded(MAX_REQUEST + 1))).await,
        ProblemKind::TooLarge
    );
    let (status, _) = answer(send("application/json; charset=utf-8", padded(MAX_REQUEST))).await;
    assert_eq!(status, 201);
}

#[tokio::test]
async fn a_large_body_without_a_length_is_cut_off() {
    let site = Site::open().await;
    let mut line = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "POST /v1/enrolments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {BANK_TOKEN}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    line.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..20 {
        let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
        if line.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 64];
    let read = line.read(&mut answer).await.unwrap();
    let start = String::from_utf8_lossy(&answer[..read]);
    assert!(start.starts_with("HTTP/1.1 413"), "{start}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let site = Site::with_limits(Limits {
        body_time: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut line = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "POST /v1/enrolments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {BANK_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{"
    );
    line.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(Duration::from_secs(5), line.read(&mut answer));
    let read = read.await.unwrap().unwrap();
    let start = String::from_utf8_lossy(&answer[..read]);
    assert!(start.starts_with("HTTP/1.1 400"), "{start}");
}

#[tokio::test]
async fn paths_and_queries_are_strict() {
    let site = Site::open().await;
    let account = site.desk.found();
    for path in [
        "/",
        "/v1",
        "/v1/logins/a/b",
        "/v1/accounts",
        "/metrics",
        "/v2/logins",
    ] {
        assert_eq!(kind(site.get(path)).await, ProblemKind::NotFound, "{path}");
    }
    for (method, path) in [
        (Method::GET, "/v1/logins"),
        (Method::PUT, "/v1/logins"),
        (Method::POST, "/healthz"),
        (Method::DELETE, "/v1/enrolments"),
    ] {
        let request = site.request(method, path, BANK_TOKEN);
        assert_eq!(kind(request).await, ProblemKind::MethodNotAllowed, "{path}");
    }
    let id = site.begin(account).await;
    let login = format!("/v1/logins/{}", text_b64(&id.0));
    for path in [
        "/v1/logins/short".to_owned(),
        format!("{login}A"),
        "/v1/enrolments/short".to_owned(),
        "/v1/accounts/short".to_owned(),
        format!("{login}?wait=x"),
        format!("{login}?wait=-1"),
        format!("{login}?wait=1&wait=2"),
        format!("{login}?number=42"),
        format!("/v1/accounts/{account}/history?limit=0"),
        format!("/v1/accounts/{account}/history?limit=101"),
        format!("/v1/accounts/{account}/history?after=1"),
    ] {
        assert_eq!(
            kind(site.get(&path)).await,
            ProblemKind::Malformed,
            "{path}"
        );
    }
}
