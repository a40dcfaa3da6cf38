//! Every endpoint and every problem type, of real nodes, over real HTTP: what is said of a type in
//! the documents is what a login service gets.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use warifu_client_sdk::login_service::problem::{Problem, ProblemKind};
use warifu_consensus::enrol::Ticket;
use warifu_node::api::{self, Limits, Live};
use warifu_node::secrets::{Caller, Scope, Tokens, token_hash};

use super::*;
use crate::contract;

const TOKEN: &str = "warifu-token-of-a-login-service";
const READER: &str = "warifu-token-of-a-reader";

/// Types that real nodes can't be brought to from outside; `api::problems` has them from a desk.
const ONLY_IN_MEMORY: [(ProblemKind, &str); 4] = [
    (
        ProblemKind::Revoked,
        "nothing in this version issues a revoke block",
    ),
    (
        ProblemKind::Conflict,
        "both operators would have to cheat together",
    ),
    (ProblemKind::DiskNearlyFull, "needs a full disk"),
    (ProblemKind::Internal, "no request leads to it"),
];

/// A broker's HTTP side, and what it was seen to answer.
struct Web {
    url: String,
    client: reqwest::Client,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Operations that did what they are for.
    served: BTreeSet<String>,
    kinds: BTreeSet<&'static str>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Web {
    async fn open(broker: &Broker, limits: Limits) -> Web {
        let caller = |name: &str, scopes: &[Scope], token: &str| Caller {
            name: name.to_owned(),
            aud: AUD.to_owned(),
            scopes: scopes.to_vec(),
            hash: token_hash(token),
        };
        let tokens = Tokens::new(vec![
            caller(CALLER, &Scope::ALL, TOKEN),
            caller("reader", &[Scope::History], READER),
        ]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(broker.clone());
        let router = api::router_with(desk, Arc::new(Live::new(tokens)), limits);
        let served = api::serve_with(listener, router, None, limits, std::future::pending());
        Web {
            url,
            client: contract::client(),
            server: tokio::spawn(async { served.await.unwrap() }),
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.bearer_auth(TOKEN)
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    fn begin(&self, account: Sub, kind: &str) -> reqwest::RequestBuilder {
        self.begin_with(account, kind, &fresh_nonce())
    }

    fn begin_with(&self, account: Sub, kind: &str, nonce: &str) -> reqwest::RequestBuilder {
        let mut body = json!({
            "account": account, "kind": kind, "nonce": nonce,
            "channel": "web", "address": "東京都", "client_ip": "203.0.113.7",
        });
        if kind == "unfreeze" {
            body["reference"] = json!("case-12");
        }
        self.post("/v1/logins", &body)
    }

    /// Begins until the account takes a begin; its challenge is added to the answer.
    async fn begun(&self, seen: &mut Seen, account: Sub) -> Value {
        let begun = async {
            loop {
                let nonce = fresh_nonce();
                let begin = self.begin_with(account, "login", &nonce);
                let (status, mut body) = seen.ask(begin).await;
                match status {
                    StatusCode::CREATED => {
                        body["nonce"] = json!(nonce);
                        return body;
                    }
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        timeout(PATIENCE, begun)
            .await
            .expect("the account takes a begin")
    }
}

/// The customer approves what was just begun, and nothing that was asked before: a prompt that was taken
/// back or displaced may stay on the device until it hears of it.
async fn approve(device: &Device, begun: &Value) {
    let nonce = begun["nonce"].as_str().unwrap();
    let asked = async {
        loop {
            let pending = device.pending();
            let mut about = pending
                .iter()
                .filter(|one| one.prompt.claims.nonce == nonce);
            match about.next() {
                Some(one) => return one.prompt.hash,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let asked = timeout(PATIENCE, asked).await;
    let hash = asked.unwrap_or_else(|_| panic!("asked {:?}", device.pending()));
    let number = begun["number"].as_str().unwrap().parse().unwrap();
    let decision = device.approve(hash, number).await.unwrap();
    assert!(matches!(decision, Decision::Sealed(_)), "{decision:?}");
}

impl Seen {
    /// An answer, checked against the document and remembered.
    async fn ask(&mut self, request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        let answer = contract::send(request).await;
        if let Ok(problem) = serde_json::from_str::<Problem>(&answer.text) {
            self.kinds.insert(problem.kind().unwrap().urn());
        } else if answer.status.is_success() {
            self.served.extend(answer.operation.clone());
        }
        let body = serde_json::from_str(&answer.text).unwrap_or(Value::Null);
        (answer.status, body)
    }

    async fn refused(&mut self, expected: ProblemKind, request: reqwest::RequestBuilder) -> Value {
        let (_, body) = self.ask(request).await;
        assert_eq!(body["type"], expected.urn(), "{body}");
        body
    }

    async fn eventually(&mut self, expected: ProblemKind, request: reqwest::RequestBuilder) {
        let found = async {
            while self.ask(request.try_clone().unwrap()).await.1["type"] != expected.urn() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = timeout(PATIENCE, found).await;
        assert!(waited.is_ok(), "{} never came", expected.urn());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_and_every_problem_of_real_nodes() {
    let mut seen = Seen::default();
    let net = net().await;
    let device = net.device("device").await;
    let web = Web::open(&net.broker, Limits::default()).await;
    strangers(&mut seen, &web).await;
    let account = enrolment(&mut seen, &web, &net, &device).await;
    logins(&mut seen, &web, &device, account).await;
    freezes(&mut seen, &web, &device, account).await;
    erasing(&mut seen, &web, &net).await;
    nothing_is_unserved(&seen, &web).await;
    limits(&mut seen, &net, account).await;
    drop(web);
    let net = restored(&mut seen, net, &device, account).await;
    let net = without_share(&mut seen, net, account).await;
    stopping(&mut seen, net, account).await;
    device.stop().await;

    let elsewhere = ONLY_IN_MEMORY.map(|(kind, _)| kind.urn());
    let twice: Vec<_> = elsewhere
        .iter()
        .filter(|urn| seen.kinds.contains(*urn))
        .collect();
    assert!(
        twice.is_empty(),
        "{twice:?} can be had: take them off the list"
    );
    seen.kinds.extend(elsewhere);
    let all: BTreeSet<&str> = ProblemKind::ALL.iter().map(|kind| kind.urn()).collect();
    assert_eq!(
        seen.kinds, all,
        "each type of problem is shown by real nodes"
    );
}

async fn strangers(seen: &mut Seen, web: &Web) {
    use ProblemKind as P;
    let unknown = Sub([9; 16]);
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(seen.ask(web.get(path)).await.0, 200);
    }
    let bare = web.client.get(format!("{}/v1/accounts/{unknown}", web.url));
    seen.refused(P::NotAuthenticated, bare).await;
    let reader = web.client.post(format!("{}/v1/enrolments", web.url));
    seen.refused(P::Scope, reader.bearer_auth(READER).json(&json!({})))
        .await;
    seen.refused(P::NotFound, web.get("/v1/nothing")).await;
    seen.refused(P::MethodNotAllowed, web.request(Method::PUT, "/v1/logins"))
        .await;
    seen.refused(P::Malformed, web.post("/v1/logins", &json!({})))
        .await;
    let large = json!({ "digits": "1".repeat(20_000) });
    let session = format!("/v1/enrolments/{}", text_b64(&[7; 32]));
    seen.refused(P::TooLarge, web.post(&format!("{session}/confirm"), &large))
        .await;
    seen.refused(P::UnknownTicket, web.get(&session)).await;
    seen.refused(
        P::UnknownLogin,
        web.get(&format!("/v1/logins/{}", text_b64(&[7; 16]))),
    )
    .await;
    for path in ["", "/history", "/chain", "/last-login"] {
        seen.refused(
            P::UnknownAccount,
            web.get(&format!("/v1/accounts/{unknown}{path}")),
        )
        .await;
    }
    seen.refused(P::UnknownAccount, web.begin(unknown, "login"))
        .await;
    let freeze = web.post(&format!("/v1/accounts/{unknown}/freeze"), &json!({}));
    seen.refused(P::UnknownAccount, freeze).await;
}

async fn enrolment(seen: &mut Seen, web: &Web, net: &Net, device: &Device) -> Sub {
    let (status, opened) = seen.ask(web.post("/v1/enrolments", &json!({}))).await;
    assert_eq!(status, 201);
    let session = format!("/v1/enrolments/{}", opened["session"].as_str().unwrap());
    let confirm = format!("{session}/confirm");
    let digits = |text: &str| web.post(&confirm, &json!({ "digits": text }));
    seen.refused(ProblemKind::NoDigits, digits("123456")).await;
    let mut ticket = Ticket::from_uri(opened["ticket_uri"].as_str().unwrap()).unwrap();
    ticket.broker_addresses = net.broker.listeners();
    let ticket = ticket.sign(&IdentityKey::from_seed([2; 32]));
    let mut enrolling = device.enrol(&ticket).await.unwrap();
    let shown = |stage: &EnrolStage| matches!(stage, EnrolStage::Digits(_));
    let stage = timeout(PATIENCE, enrolling.stage.wait_for(shown))
        .await
        .unwrap()
        .unwrap()
        .clone();
    let EnrolStage::Digits(right) = stage else {
        panic!("{stage:?}")
    };
    while seen.ask(web.get(&format!("{session}?wait=5"))).await.1["status"] != "digits" {}
    let wrong = if right.to_string() == "000000" {
        "111111"
    } else {
        "000000"
    };
    let left = seen.refused(ProblemKind::WrongDigits, digits(wrong)).await;
    assert_eq!(left["tries_left"], 2);
    let (_, done) = seen.ask(digits(&right.to_string())).await;
    assert_eq!(done["status"], "done", "{done}");
    done["account"].as_str().unwrap().parse().unwrap()
}

async fn logins(seen: &mut Seen, web: &Web, device: &Device, account: Sub) {
    let begun = web.begun(seen, account).await;
    let login = format!("/v1/logins/{}", begun["id"].as_str().unwrap());
    seen.refused(ProblemKind::Busy, web.begin(account, "login"))
        .await;
    approve(device, &begun).await;
    let (_, ended) = seen.ask(web.get(&format!("{login}?wait=20"))).await;
    assert_eq!(ended["status"], "admitted", "{ended}");
    let cancel = |path: &str| web.request(Method::DELETE, path);
    seen.refused(ProblemKind::TooLate, cancel(&login)).await;
    seen.refused(ProblemKind::NotFrozen, web.begin(account, "unfreeze"))
        .await;
    let begun = web.begun(seen, account).await;
    let login = format!("/v1/logins/{}", begun["id"].as_str().unwrap());
    assert_eq!(seen.ask(cancel(&login)).await.0, 204);
    let of = |end: &str| web.get(&format!("/v1/accounts/{account}{end}"));
    assert_eq!(seen.ask(of("")).await.1["height"], 1);
    assert_eq!(
        seen.ask(of("/last-login")).await.1["login"]["body"]["address"],
        "東京都"
    );
    let (status, _) = seen.ask(of("/chain?lang=ja")).await;
    assert_eq!(status, 200);
    let (_, history) = seen.ask(of("/history")).await;
    assert_eq!(history["blocks"].as_array().unwrap().len(), 2);
    let text = history.to_string();
    assert!(
        !text.contains("203.0.113"),
        "a customer's address is in no block: {text}"
    );
}

async fn freezes(seen: &mut Seen, web: &Web, device: &Device, account: Sub) {
    let freeze = || web.post(&format!("/v1/accounts/{account}/freeze"), &json!({}));
    let (status, first) = seen.ask(freeze()).await;
    assert_eq!((status.as_u16(), &first["status"]), (200, &json!("frozen")));
    // No second block, however often.
    for _ in 0..20 {
        assert_eq!(seen.ask(freeze()).await.1, first);
    }
    seen.refused(ProblemKind::Frozen, web.begin(account, "login"))
        .await;
    let ask = json!({ "nonce": fresh_nonce(), "reference": "case-12", "channel": "desk" });
    let unfreeze = web.post(&format!("/v1/accounts/{account}/unfreeze"), &ask);
    let (status, begun) = seen.ask(unfreeze).await;
    assert_eq!(status, 201, "{begun}");
    // With an unfreeze open a freeze is a freeze: it must come after whatever becomes of that.
    asked(device).await;
    let (_, second) = seen.ask(freeze()).await;
    assert!(
        second["height"].as_u64() > first["height"].as_u64(),
        "{second}"
    );
    let ask = json!({ "nonce": fresh_nonce(), "reference": "case-13", "channel": "desk" });
    let path = format!("/v1/accounts/{account}/unfreeze");
    let (_, mut begun) = seen.ask(web.post(&path, &ask)).await;
    begun["nonce"] = ask["nonce"].clone();
    approve(device, &begun).await;
    let login = format!("/v1/logins/{}?wait=20", begun["id"].as_str().unwrap());
    assert_eq!(seen.ask(web.get(&login)).await.1["status"], "admitted");
}

/// Of an account of its own: erased for good.
async fn erasing(seen: &mut Seen, web: &Web, net: &Net) {
    let device = net.device("other").await;
    let account = enrolment(seen, web, net, &device).await;
    device.stop().await;
    let post = |what: &str| web.post(&format!("/v1/accounts/{account}/{what}"), &json!({}));
    seen.refused(ProblemKind::NotFrozen, post("erase")).await;
    assert_eq!(seen.ask(post("freeze")).await.0, 200);
    // Refused as long as the log lacks a block of it.
    let erased = async {
        loop {
            let (status, body) = seen.ask(post("erase")).await;
            if status.is_success() {
                return body;
            }
            assert_eq!(body["type"], ProblemKind::Pending.urn(), "{body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let erased = timeout(PATIENCE, erased).await.expect("the log has it");
    assert_eq!(erased["status"], "erased", "{erased}");
    seen.refused(ProblemKind::Erased, web.begin(account, "unfreeze"))
        .await;
}

async fn nothing_is_unserved(seen: &Seen, web: &Web) {
    let names = contract::at(&web.client, &web.url.parse().unwrap())
        .await
        .names();
    let unserved: Vec<_> = names.difference(&seen.served).collect();
    assert!(
        unserved.is_empty(),
        "{unserved:?} never did what they are for"
    );
}

async fn limits(seen: &mut Seen, net: &Net, account: Sub) {
    let web = Web::open(
        &net.broker,
        Limits {
            begins_per_minute_per_network: 1,
            unfreezes_per_minute_per_account: 1,
            waits: 1,
            ..Limits::default()
        },
    )
    .await;
    let begun = web.begun(seen, account).await;
    let refused = seen
        .refused(ProblemKind::TooMany, web.begin(account, "login"))
        .await;
    assert!(refused["retry_after"].as_u64().unwrap() > 0);
    assert!(!refused.to_string().contains("203.0.113"), "{refused}");
    let login = format!("/v1/logins/{}", begun["id"].as_str().unwrap());
    assert_eq!(seen.ask(web.request(Method::DELETE, &login)).await.0, 204);
}

/// A broker from a backup waits for a `restored` block first.
async fn restored(seen: &mut Seen, net: Net, device: &Device, account: Sub) -> Net {
    let backup = net.dir.path().join("backup");
    let net = restart(net, |data| copy(data, &backup)).await;
    let web = Web::open(&net.broker, Limits::default()).await;
    let begun = web.begun(seen, account).await;
    approve(device, &begun).await;
    let login = format!("/v1/logins/{}?wait=20", begun["id"].as_str().unwrap());
    assert_eq!(seen.ask(web.get(&login)).await.1["status"], "admitted");
    drop(web);
    let net = restart(net, |data| {
        std::fs::remove_dir_all(data).unwrap();
        std::fs::rename(&backup, data).unwrap();
    })
    .await;
    let web = Web::open(&net.broker, Limits::default()).await;
    seen.eventually(ProblemKind::Pending, web.begin(account, "login"))
        .await;
    net
}

/// A second account whose share is gone.
async fn without_share(seen: &mut Seen, net: Net, _: Sub) -> Net {
    let device = net.device("second").await;
    let (account, _) = net.enrol(&device).await;
    let net = restart(net, |data| {
        std::fs::remove_dir_all(data.join("vault")).unwrap()
    })
    .await;
    let web = Web::open(&net.broker, Limits::default()).await;
    seen.eventually(ProblemKind::ShareMissing, web.begin(account, "login"))
        .await;
    device.stop().await;
    net
}

async fn stopping(seen: &mut Seen, net: Net, account: Sub) {
    let web = Web::open(&net.broker, Limits::default()).await;
    net.trust_operator.stop().await;
    let unreachable = ProblemKind::TrustOperatorUnreachable;
    seen.eventually(unreachable, web.post("/v1/enrolments", &json!({})))
        .await;
    seen.refused(unreachable, web.begin(account, "login")).await;
    let (status, unready) = seen.ask(web.get("/readyz")).await;
    assert_eq!(
        (status.as_u16(), &unready["status"]),
        (503, &json!("not-ready"))
    );
    net.broker.stop().await;
    seen.eventually(
        ProblemKind::Stopping,
        web.get(&format!("/v1/accounts/{account}")),
    )
    .await;
    assert_eq!(seen.ask(web.get("/healthz")).await.0, 200);
}
