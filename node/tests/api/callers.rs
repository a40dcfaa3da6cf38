//! Who may ask for what.

use reqwest::Method;
use serde_json::{Value, json};
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::encoding::text_b64;
use warifu_consensus::party::Sub;
use warifu_node::secrets::Scope;

use super::{BANK_TOKEN, NONCE, SHOP_TOKEN, Site, answer, begin_body, kind, problem, token_of};

/// Every endpoint behind a token: method, path, body, the scope.
pub(super) fn endpoints() -> Vec<(Method, String, Value, Scope)> {
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
        (get.clone(), of("/chain"), Value::Null, Scope::History),
        (get, of("/last-login"), Value::Null, Scope::History),
        (post.clone(), of("/freeze"), json!({}), Scope::Freeze),
        (post.clone(), of("/erase"), json!({}), Scope::Erase),
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
            let answer = request.send().await.unwrap().text().await.unwrap();
            let is_refused = match serde_json::from_str::<Value>(&answer) {
                Ok(answer) => answer["type"] == ProblemKind::Scope.urn(),
                Err(error) if path.ends_with("/chain") => {
                    assert!(answer.starts_with("<!DOCTYPE html>"), "{error}: {answer}");
                    false
                }
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
