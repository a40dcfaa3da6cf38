//! What each endpoint refuses, and in which words.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warifu_client_sdk::login_service::api::MAX_REQUEST;
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::agree::Refusal;
use warifu_consensus::chain::Status;
use warifu_consensus::encoding::text_b64;
use warifu_consensus::party::{Role, Sub};
use warifu_node::api::desk::DeskError;
use warifu_node::api::{self, Limits, ServeError};
use warifu_node::secrets::{Scope, Tokens};

use super::desk::{NOW, TestDesk};
use super::{BANK_TOKEN, NONCE, SHOP_TOKEN, Site, answer, begin_body, kind, problem, token_of};

/// Every endpoint behind a token: method, path, body, the scope.
fn endpoints() -> Vec<(Method, String, Value, Scope)> {
    let account = Sub([1; 16]);
    let id = text_b64(&[1; 16]);
    let session = text_b64(&[1; 32]);
    let unfreeze = json!({ "nonce": NONCE, "reference": "case 7", "channel": "desk" });
    let (get, post) = (Method::GET, Method::POST);
    let of = |end: &str| format!("/v1/accounts/{account}{end}");
    let enrolment = format!("/v1/enrolments/{session}");
    vec![
        (
            post.clone(),
            "/v1/logins".into(),
            begin_body(account),
            Scope::Login,
        ),
        (
            get.clone(),
            format!("/v1/logins/{id}"),
            Value::Null,
            Scope::Login,
        ),
        (
            Method::DELETE,
            format!("/v1/logins/{id}"),
            Value::Null,
            Scope::Login,
        ),
        (
            post.clone(),
            "/v1/enrolments".into(),
            json!({}),
            Scope::Enrol,
        ),
        (get.clone(), enrolment.clone(), Value::Null, Scope::Enrol),
        (
            post.clone(),
            format!("{enrolment}/confirm"),
            json!({ "digits": "123456" }),
            Scope::Enrol,
        ),
        (get.clone(), of(""), Value::Null, Scope::History),
        (get.clone(), of("/history"), Value::Null, Scope::History),
        (get, of("/last-login"), Value::Null, Scope::History),
        (post.clone(), of("/freeze"), json!({}), Scope::Freeze),
        (post, of("/unfreeze"), unfreeze, Scope::Desk),
    ]
}

#[tokio::test]
async fn nothing_is_answered_without_a_known_token() {
    let site = Site::open().await;
    for (method, path, body, _) in endpoints() {
        let url = format!("{}{path}", site.url());
        let bare = site.client.request(method, url).json(&body);
        let with = |value: &str| {
            let request = bare.try_clone().unwrap();
            request.header("authorization", value)
        };
        let longer = format!("Bearer {BANK_TOKEN}x");
        let shorter = format!("Bearer {}", BANK_TOKEN.get(1..).unwrap());
        let twice = with(&format!("Bearer {BANK_TOKEN}"))
            .header("authorization", format!("Bearer {SHOP_TOKEN}"));
        for request in [
            bare.try_clone().unwrap(),
            with("Bearer "),
            with("Bearer"),
            with(BANK_TOKEN),
            with(&format!("Basic {BANK_TOKEN}")),
            with(&longer),
            with(&shorter),
            with(&format!(
                "Bearer {}",
                warifu_node::secrets::token_hash(BANK_TOKEN)
            )),
            twice,
        ] {
            let (kind, problem) = problem(request).await;
            assert_eq!(kind, ProblemKind::NotAuthenticated, "{path}");
            assert!(!problem.detail.contains("warifu-token"));
        }
    }
}

#[tokio::test]
async fn each_endpoint_needs_its_scope_and_no_other() {
    let site = Site::open().await;
    for (method, path, body, needed) in endpoints() {
        for scope in Scope::ALL {
            let request = site
                .request(method.clone(), &path, &token_of(scope))
                .json(&body);
            let is_refused = match request.send().await.unwrap().json::<Value>().await {
                Ok(answer) => answer["type"] == ProblemKind::Scope.urn(),
                Err(error) => panic!("{method} {path}: {error}"),
            };
            assert_eq!(is_refused, scope != needed, "{method} {path} {scope:?}");
        }
    }
}

#[tokio::test]
async fn an_unfreeze_by_the_way_of_logins_needs_the_desk() {
    let site = Site::open().await;
    let account = site.desk.found();
    let mut body = begin_body(account);
    body["kind"] = json!("unfreeze");
    body["reference"] = json!("case 7");
    let login_only = token_of(Scope::Login);
    let request = site
        .request(Method::POST, "/v1/logins", &login_only)
        .json(&body);
    assert_eq!(kind(request).await, ProblemKind::Scope);
    assert_eq!(
        kind(site.post("/v1/logins", &body)).await,
        ProblemKind::NotFrozen
    );
}

#[tokio::test]
async fn logins_and_tickets_are_unknown_to_other_callers() {
    let site = Site::open().await;
    let account = site.desk.found();
    let id = site.begin(account).await;
    let path = format!("/v1/logins/{}", text_b64(&id.0));
    for method in [Method::GET, Method::DELETE] {
        let (found, theirs) = problem(site.request(method.clone(), &path, SHOP_TOKEN)).await;
        assert_eq!(found, ProblemKind::UnknownLogin);
        let never = format!("/v1/logins/{}", text_b64(&[0xee; 16]));
        let (_, nobodys) = problem(site.request(method, &never, SHOP_TOKEN)).await;
        assert_eq!(theirs, nobodys, "the answer tells nothing");
    }
    let (_, opened) = answer(site.post("/v1/enrolments", &json!({}))).await;
    let path = format!("/v1/enrolments/{}", opened["session"].as_str().unwrap());
    assert_eq!(
        kind(site.request(Method::GET, &path, SHOP_TOKEN)).await,
        ProblemKind::UnknownTicket
    );
    let confirm = site.request(Method::POST, &format!("{path}/confirm"), SHOP_TOKEN);
    let confirm = confirm.json(&json!({ "digits": "123456" }));
    assert_eq!(kind(confirm).await, ProblemKind::UnknownTicket);
    assert_eq!(answer(site.get(&path)).await.1["status"], "waiting");
}

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

#[tokio::test]
async fn the_machines_own_refusals_have_their_problems() {
    let site = Site::open().await;
    let account = site.desk.found();
    let begin = |account| site.post("/v1/logins", &begin_body(account));
    assert_eq!(kind(begin(Sub([9; 16]))).await, ProblemKind::UnknownAccount);
    let id = site.begin(account).await;
    assert_eq!(kind(begin(account)).await, ProblemKind::Busy);
    site.desk.approve(id);
    let path = format!("/v1/logins/{}", text_b64(&id.0));
    let cancel = site.request(Method::DELETE, &path, BANK_TOKEN);
    assert_eq!(kind(cancel).await, ProblemKind::TooLate);
    let freeze = format!("/v1/accounts/{account}/freeze");
    answer(site.post(&freeze, &json!({}))).await;
    assert_eq!(kind(begin(account)).await, ProblemKind::Frozen);
    let cut = site.desk.found();
    site.desk.with(|room| {
        let trio = room.accounts.get_mut(&cut).unwrap();
        trio.cut_trust_operator(&mut room.operators);
    });
    assert_eq!(
        kind(begin(cut)).await,
        ProblemKind::TrustOperatorUnreachable
    );
    let busy = site.desk.found();
    let mut last = None;
    for _ in 0..40 {
        let begun = begin(busy).send().await.unwrap();
        if begun.status() == 201 {
            site.desk.deny(busy);
        } else {
            last = Some(problem(begin(busy)).await);
            break;
        }
    }
    let (found, document) = last.expect("an account has a pace");
    assert_eq!(found, ProblemKind::TooMany);
    assert_eq!(document.retry_after, Some(600));
}

#[tokio::test]
async fn wrong_digits_say_how_many_tries_are_left() {
    let site = Site::open().await;
    let (_, opened) = answer(site.post("/v1/enrolments", &json!({}))).await;
    let session = opened["session"].as_str().unwrap();
    let path = format!("/v1/enrolments/{session}/confirm");
    let body = |digits: &str| json!({ "digits": digits });
    assert_eq!(
        kind(site.post(&path, &body("123456"))).await,
        ProblemKind::NoDigits
    );
    let digits = site
        .desk
        .scan(warifu_consensus::encoding::parse_b64(session).unwrap());
    for text in ["12345", "1234567", "12345x", "１２３４５６", ""] {
        assert_eq!(
            kind(site.post(&path, &body(text))).await,
            ProblemKind::Malformed
        );
    }
    let wrong = if digits.to_string() == "000000" {
        "111111"
    } else {
        "000000"
    };
    let (found, document) = problem(site.post(&path, &body(wrong))).await;
    assert_eq!(
        (found, document.tries_left),
        (ProblemKind::WrongDigits, Some(2))
    );
    let (_, done) = answer(site.post(&path, &body(&digits.to_string()))).await;
    assert_eq!(done["status"], "done");
}

#[tokio::test]
async fn every_desk_error_is_one_problem_and_every_problem_occurs() {
    let site = Site::open().await;
    let account = site.desk.found();
    let forbids = |found| {
        DeskError::Refused(Refusal::StatusForbids {
            found,
            kind: "login".to_owned(),
        })
    };
    let pending = |first: &str| {
        DeskError::Refused(Refusal::Pending {
            first: first.to_owned(),
        })
    };
    let pace = Refusal::Pace {
        found: 21,
        limit: 20,
        window_s: 600,
    };
    let limit = DeskError::Limit {
        what: "11 tickets are out, at most 10 allowed".to_owned(),
        retry_after_s: 7,
    };
    let wrong_party = Refusal::WrongParty {
        message: "number".to_owned(),
        found: Role::Broker,
        expected: "device".to_owned(),
    };
    let table = [
        (
            DeskError::UnknownAccount { account },
            ProblemKind::UnknownAccount,
        ),
        (DeskError::UnknownLogin, ProblemKind::UnknownLogin),
        (DeskError::UnknownTicket, ProblemKind::UnknownTicket),
        (
            DeskError::TrustOperatorUnreachable,
            ProblemKind::TrustOperatorUnreachable,
        ),
        (DeskError::WrongDigits { left: 1 }, ProblemKind::WrongDigits),
        (DeskError::NoDigits, ProblemKind::NoDigits),
        (limit, ProblemKind::TooMany),
        (
            DeskError::ShareMissing { account },
            ProblemKind::ShareMissing,
        ),
        (DeskError::Stopping, ProblemKind::Stopping),
        (
            DeskError::Refused(Refusal::Busy { until: 7 }),
            ProblemKind::Busy,
        ),
        (forbids(Status::Frozen), ProblemKind::Frozen),
        (forbids(Status::Revoked), ProblemKind::Revoked),
        (forbids(Status::Active), ProblemKind::NotFrozen),
        (pending("freeze"), ProblemKind::Frozen),
        (pending("restored"), ProblemKind::Pending),
        (DeskError::Refused(Refusal::NoGenesis), ProblemKind::Pending),
        (DeskError::Refused(Refusal::Locked), ProblemKind::TooLate),
        (
            DeskError::Refused(Refusal::TrustOperatorDown),
            ProblemKind::TrustOperatorUnreachable,
        ),
        (
            DeskError::Refused(Refusal::NoLogin),
            ProblemKind::UnknownLogin,
        ),
        (DeskError::Refused(pace), ProblemKind::TooMany),
        (
            DeskError::Refused(Refusal::Rule("claims".to_owned())),
            ProblemKind::Malformed,
        ),
        (DeskError::Refused(Refusal::Conflict), ProblemKind::Conflict),
        (
            DeskError::Refused(Refusal::DiskNearlyFull),
            ProblemKind::DiskNearlyFull,
        ),
        (
            DeskError::Refused(Refusal::Replayed { height: 3 }),
            ProblemKind::Malformed,
        ),
        (
            DeskError::Refused(Refusal::Dead),
            ProblemKind::UnknownAccount,
        ),
        (DeskError::Refused(wrong_party), ProblemKind::Internal),
    ];
    let mut seen = BTreeSet::from([
        // These come from requests, in the tests above.
        ProblemKind::NotAuthenticated.urn(),
        ProblemKind::Scope.urn(),
        ProblemKind::NotFound.urn(),
        ProblemKind::MethodNotAllowed.urn(),
        ProblemKind::TooLarge.urn(),
    ]);
    for (error, expected) in table {
        let shown = error.to_string();
        site.desk.with(|room| room.error = Some(error));
        let (found, document) = problem(site.post("/v1/logins", &begin_body(account))).await;
        assert_eq!(found, expected, "{shown}");
        assert_eq!(document.detail, shown);
        seen.insert(expected.urn());
    }
    let all: BTreeSet<&str> = ProblemKind::ALL.iter().map(|kind| kind.urn()).collect();
    assert_eq!(seen, all);
    assert_eq!(all.len(), ProblemKind::ALL.len(), "urns differ");
}

#[tokio::test]
async fn callers_have_a_pace_and_waits_are_bounded() {
    let site = Site::with_limits(Limits {
        begins_per_minute: 2,
        waits: 1,
        ..Limits::default()
    })
    .await;
    let account = site.desk.found();
    let id = site.begin(account).await;
    answer(site.post("/v1/enrolments", &json!({}))).await;
    let (found, document) = problem(site.post("/v1/enrolments", &json!({}))).await;
    assert_eq!(found, ProblemKind::TooMany);
    assert!(document.retry_after.unwrap() <= 30);
    let theirs = site.request(Method::POST, "/v1/enrolments", SHOP_TOKEN);
    assert_eq!(answer(theirs.json(&json!({}))).await.0, 201);

    let path = format!("/v1/logins/{}", text_b64(&id.0));
    let held = tokio::spawn(answer(site.get(&format!("{path}?wait=30"))));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = problem(site.get(&format!("{path}?wait=1"))).await;
    assert_eq!(
        (second.0, second.1.retry_after),
        (ProblemKind::TooMany, Some(1))
    );
    assert_eq!(answer(site.get(&path)).await.1["status"], "pending");
    site.desk.approve(id);
    assert_eq!(held.await.unwrap().1["status"], "admitted");
}

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
    let client = reqwest::Client::new();
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
