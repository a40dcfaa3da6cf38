//! Connections: who is let in, how long they may take, and how they end.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::encoding::text_b64;
use warifu_node::api::{self, Limits, ServeError};
use warifu_node::secrets::Tokens;

use super::desk::{NOW, TestDesk};
use super::{BANK_TOKEN, Site, answer, begin_body, kind};

#[tokio::test]
async fn it_is_served_on_loopback_only_and_stops_while_requests_wait() {
    let desk = std::sync::Arc::new(TestDesk::new(61, NOW));
    let router = api::router(std::sync::Arc::clone(&desk), Tokens::new(Vec::new()));
    let everywhere = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = api::serve(everywhere, router, std::future::pending());
    let refused = tokio::time::timeout(Duration::from_secs(1), refused).await;
    assert!(matches!(refused, Ok(Err(ServeError::NotLoopback { .. }))));

    let account = desk.found();
    let router = api::router(std::sync::Arc::clone(&desk), super::tokens());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(api::serve(listener, router, async {
        // A dropped sender stops it too.
        let _ = stopped.await;
    }));
    let client = crate::contract::client();
    let begun: Value = client
        .post(format!("http://{address}/v1/logins"))
        .bearer_auth(BANK_TOKEN)
        .json(&begin_body(account))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let path = format!(
        "http://{address}/v1/logins/{}?wait=30",
        begun["id"].as_str().unwrap()
    );
    let waiting = tokio::spawn(client.get(path).bearer_auth(BANK_TOKEN).send());
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(8), served).await;
    assert!(
        ended
            .expect("it stops though a request waits")
            .unwrap()
            .is_ok()
    );
    waiting.abort();
}

/// Reads until the other end closes; what came, and how long it took.
async fn until_closed(line: &mut TcpStream) -> (Vec<u8>, Duration) {
    let begun = tokio::time::Instant::now();
    let mut got = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(6), line.read_to_end(&mut got)).await;
    assert!(end.is_ok(), "the line is still open");
    (got, begun.elapsed())
}

#[tokio::test]
async fn slow_heads_are_cut_off_and_others_are_served_meanwhile() {
    let site = Site::with_limits(Limits {
        head_time: Duration::from_millis(500),
        ..Limits::default()
    })
    .await;
    let mut silent = TcpStream::connect(site.address).await.unwrap();
    let mut slow = TcpStream::connect(site.address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    let dripping = tokio::spawn(async move {
        let mut written = 0;
        // One byte at a time keeps nothing open.
        while slow.write_all(b"a").await.is_ok() && written < 100 {
            written += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (written, until_closed(&mut slow).await)
    });
    assert_eq!(answer(site.get("/healthz")).await.0, 200);
    let (got, took) = until_closed(&mut silent).await;
    assert!(got.is_empty() && took < Duration::from_secs(3), "{took:?}");
    let (written, (got, _)) = dripping.await.unwrap();
    assert!(written < 60, "{written} bytes were taken");
    assert!(!got.starts_with(b"HTTP/1.1 200"));
    // A connection that idles between two requests is let go too.
    let mut idle = TcpStream::connect(site.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let (got, took) = until_closed(&mut idle).await;
    assert!(got.starts_with(b"HTTP/1.1 200") && took < Duration::from_secs(3));
}

#[tokio::test]
async fn heads_are_bounded() {
    let site = Site::open().await;
    let many = "x: y\r\n".repeat(200);
    let long = format!("x: {}\r\n", "y".repeat(40_000));
    for headers in [many, long] {
        let mut line = TcpStream::connect(site.address).await.unwrap();
        let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        drop(line.write_all(head.as_bytes()).await);
        let mut start = [0; 12];
        line.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 431");
    }
    for garbage in [
        b"\0\0\0\0\0\0\0\0\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        &[0x16, 3, 1, 0, 5, 1],
    ] {
        let mut line = TcpStream::connect(site.address).await.unwrap();
        line.write_all(garbage).await.unwrap();
        drop(line.shutdown().await);
        let (got, _) = until_closed(&mut line).await;
        assert!(
            got.is_empty() || got.starts_with(b"HTTP/1.1 400"),
            "{got:?}"
        );
    }
    assert_eq!(answer(site.get("/healthz")).await.0, 200);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_room_is_made_by_those_who_leave() {
    let site = Site::with_limits(Limits {
        connections: 3,
        ..Limits::default()
    })
    .await;
    let mut lines = Vec::new();
    for _ in 0..3 {
        let mut line = TcpStream::connect(site.address).await.unwrap();
        line.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut start = [0; 12];
        line.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        lines.push(line);
    }
    let mut fourth = TcpStream::connect(site.address).await.unwrap();
    let mut got = Vec::new();
    // Closed with a reset where something was sent already.
    drop(fourth.read_to_end(&mut got).await);
    assert!(got.is_empty());
    drop(lines.pop());
    let served = async {
        while site.get("/healthz").send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), served)
        .await
        .expect("there is room again");
}

/// Asks and asks and never reads, until the other end takes no more.
async fn stuff(line: &mut TcpStream) {
    let asked = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_millis(100), line.write_all(asked.as_bytes())).await
    {
    }
}

#[tokio::test]
async fn whoever_reads_no_answer_keeps_no_place() {
    let site = Site::with_limits(Limits {
        connections: 1,
        write_time: Duration::from_secs(1),
        ..Limits::default()
    })
    .await;
    let mut deaf = TcpStream::connect(site.address).await.unwrap();
    stuff(&mut deaf).await;
    let served = async {
        while site.get("/healthz").send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), served)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn whoever_reads_slowly_is_served_to_the_end() {
    let site = Site::with_limits(Limits {
        write_time: Duration::from_millis(500),
        ..Limits::default()
    })
    .await;
    let mut line = TcpStream::connect(site.address).await.unwrap();
    let ask = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n";
    let last = format!(
        "{}{ask}connection: close\r\n\r\n",
        format!("{ask}\r\n").repeat(200)
    );
    let (mut read, mut write) = line.split();
    let reading = async {
        let (mut got, mut some) = (Vec::new(), vec![0; 256 * 1024]);
        loop {
            match read.read(&mut some).await.unwrap() {
                0 => return got,
                count => got.extend_from_slice(&some[..count]),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let begun = tokio::time::Instant::now();
    let (written, got) = tokio::join!(write.write_all(last.as_bytes()), reading);
    written.unwrap();
    assert!(begun.elapsed() > Duration::from_millis(500), "not slow");
    let answers = String::from_utf8_lossy(&got)
        .matches("HTTP/1.1 200")
        .count();
    assert_eq!(answers, 201);
}

#[tokio::test]
async fn a_request_has_one_name_in_both_logs() {
    let site = Site::open().await;
    let named = |name: &str| site.get("/healthz").header("x-request-id", name);
    let id = |answer: &crate::contract::Answer| {
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    for good in ["a", "01J.abc_DEF-9", &"x".repeat(64)] {
        assert_eq!(id(&crate::contract::send(named(good)).await), good);
    }
    let mut made = std::collections::BTreeSet::new();
    for bad in ["", &"x".repeat(65), "a b", "a\"b", "a\\b", "ä", "<script>"] {
        let id = id(&crate::contract::send(named(bad)).await);
        assert_eq!(id.len(), 16, "{id}");
        made.insert(id);
    }
    let twice = named("a").header("x-request-id", "b");
    made.insert(id(&crate::contract::send(twice).await));
    let refused = site.client.get(format!("{}/nowhere", site.url()));
    made.insert(id(&crate::contract::send(refused).await));
    assert_eq!(made.len(), 9, "no two are the same");
}

#[tokio::test]
async fn head_options_and_other_methods_are_answered_as_http_says() {
    let site = Site::open().await;
    let id = site.begin(site.desk.found()).await;
    let path = format!("/v1/logins/{}", text_b64(&id.0));
    let ask = |method: Method| site.request(method, &path, BANK_TOKEN).send();
    let (get, head) = (
        ask(Method::GET).await.unwrap(),
        ask(Method::HEAD).await.unwrap(),
    );
    assert_eq!(head.status(), get.status());
    assert_eq!(
        head.headers()["content-type"],
        get.headers()["content-type"]
    );
    assert_eq!(
        head.headers()["content-length"],
        get.headers()["content-length"]
    );
    assert_eq!(head.text().await.unwrap(), "");
    for method in [Method::OPTIONS, Method::PUT] {
        let answer = ask(method.clone()).await.unwrap();
        let allowed: std::collections::BTreeSet<&str> = answer.headers()["allow"]
            .to_str()
            .unwrap()
            .split(',')
            .collect();
        assert_eq!(allowed, ["DELETE", "GET", "HEAD"].into(), "{method}");
        assert_eq!(
            answer.status(),
            if method == Method::OPTIONS { 204 } else { 405 }
        );
        let cors = answer
            .headers()
            .keys()
            .find(|name| name.as_str().starts_with("access-control"));
        assert_eq!(cors, None, "no browser of another origin is let in");
    }
    assert_eq!(
        kind(site.request(Method::OPTIONS, "/nowhere", BANK_TOKEN)).await,
        ProblemKind::NotFound
    );
}

#[tokio::test]
async fn requests_that_wait_are_answered_when_the_node_stops() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let site = Site::until(TestDesk::new(60, NOW), stopped).await;
    let id = site.begin(site.desk.found()).await;
    let waits = format!("/v1/logins/{}?wait=30", text_b64(&id.0));
    let waiting = tokio::spawn(answer(site.get(&waits)));
    let (_, opened) = answer(site.post("/v1/enrolments", &json!({}))).await;
    let session = format!(
        "/v1/enrolments/{}?wait=30",
        opened["session"].as_str().unwrap()
    );
    let enrolling = tokio::spawn(answer(site.get(&session)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished() && !enrolling.is_finished());
    let begun = tokio::time::Instant::now();
    stop.send(()).unwrap();
    let (status, pending) = waiting.await.unwrap();
    assert_eq!(
        (status.as_u16(), &pending["status"]),
        (200, &json!("pending"))
    );
    assert_eq!(enrolling.await.unwrap().1["status"], "waiting");
    let mut site = site;
    (&mut site.server).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "nothing was left to wait for"
    );
    assert!(site.get("/healthz").send().await.is_err());
}
