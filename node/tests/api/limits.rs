//! How much callers may ask for, and that those who ask for less are served meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::encoding::text_b64;
use warifu_consensus::party::Sub;
use warifu_node::api::Limits;

use super::{SHOP_TOKEN, Site, answer, begin_body, kind, problem};

#[tokio::test]
async fn callers_have_a_pace_and_waits_are_bounded() {
    let site = Site::with_limits(Limits {
        begins_per_minute_per_caller: 2,
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

fn from(account: Sub, client_ip: &str) -> Value {
    let mut body = begin_body(account);
    body["client_ip"] = client_ip.into();
    body
}

/// What an account that is not there answers, once the limits let a begin through to it.
const PASSED: ProblemKind = ProblemKind::UnknownAccount;

#[tokio::test]
async fn a_network_has_a_pace_and_its_neighbours_are_the_same_network() {
    let site = Site::with_limits(Limits {
        begins_per_minute_per_network: 2,
        ..Limits::default()
    })
    .await;
    let begin = |client_ip: &str| site.post("/v1/logins", &from(Sub([9; 16]), client_ip));
    for (client_ip, expected) in [
        ("203.0.113.7", PASSED),
        ("203.0.113.250", PASSED),
        ("203.0.113.8", ProblemKind::TooMany),
        ("::ffff:203.0.113.9", ProblemKind::TooMany),
        ("203.0.112.8", PASSED),
        ("2001:db8:0:1200::1", PASSED),
        ("2001:db8:0:12ff::2", PASSED),
        ("2001:db8:0:1234::3", ProblemKind::TooMany),
        ("2001:db8:0:1300::3", PASSED),
    ] {
        let (found, document) = problem(begin(client_ip)).await;
        assert_eq!(found, expected, "{client_ip}");
        assert!(!document.detail.contains(client_ip), "{}", document.detail);
        if expected == ProblemKind::TooMany {
            assert_eq!(document.retry_after, Some(30));
        }
    }
    for bad in [
        "",
        "203.0.113",
        "203.0.113.7:80",
        "localhost",
        "203.0.113.0/24",
        "[::1]",
    ] {
        assert_eq!(kind(begin(bad)).await, ProblemKind::Malformed, "{bad}");
    }
    let unsaid = site.post("/v1/logins", &begin_body(Sub([9; 16])));
    assert_eq!(kind(unsaid).await, PASSED, "an address is optional");
}

#[tokio::test]
async fn an_account_has_a_pace_whoever_asks() {
    let site = Site::with_limits(Limits {
        begins_per_minute_per_account: 2,
        ..Limits::default()
    })
    .await;
    let begin = |account: u8, token: &str| {
        let request = site.request(Method::POST, "/v1/logins", token);
        request.json(&begin_body(Sub([account; 16])))
    };
    assert_eq!(kind(begin(9, super::BANK_TOKEN)).await, PASSED);
    assert_eq!(kind(begin(9, SHOP_TOKEN)).await, PASSED);
    for token in [super::BANK_TOKEN, SHOP_TOKEN] {
        let (found, document) = problem(begin(9, token)).await;
        assert_eq!(
            (found, document.retry_after),
            (ProblemKind::TooMany, Some(30))
        );
    }
    assert_eq!(kind(begin(8, SHOP_TOKEN)).await, PASSED);
}

fn unfreeze(site: &Site, account: Sub, token: &str) -> reqwest::RequestBuilder {
    // A challenge is good for one block.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let count = ASKED.fetch_add(1, Ordering::Relaxed);
    let nonce = format!("a-challenge-of-enough-characters-{count}");
    let ask = json!({ "nonce": nonce, "reference": "case 7", "channel": "desk" });
    let path = format!("/v1/accounts/{account}/unfreeze");
    site.request(Method::POST, &path, token).json(&ask)
}

fn freeze(site: &Site, account: Sub) -> reqwest::RequestBuilder {
    site.post(&format!("/v1/accounts/{account}/freeze"), &json!({}))
}

#[tokio::test]
async fn no_freeze_is_turned_away_and_unfreezes_have_a_pace() {
    let site = Site::with_limits(Limits {
        begins_per_minute_per_caller: 1,
        begins_per_minute_per_account: 1,
        unfreezes_per_minute_per_account: 2,
        unfreezes_per_minute_per_caller: 2,
        ..Limits::default()
    })
    .await;
    // A bank that freezes many accounts at once.
    for _ in 0..10 {
        let account = site.desk.found();
        assert_eq!(answer(freeze(&site, account)).await.0, 200);
    }
    // One account, frozen and unfrozen until no unfreeze is left: the freeze comes all the same.
    let account = site.desk.found();
    for _ in 0..2 {
        for _ in 0..3 {
            assert_eq!(answer(freeze(&site, account)).await.0, 200);
        }
        let (status, begun) = answer(unfreeze(&site, account, super::BANK_TOKEN)).await;
        assert_eq!(status, 201, "{begun}");
        let id = warifu_consensus::encoding::parse_b64(begun["id"].as_str().unwrap()).unwrap();
        site.desk.approve(super::LoginId(id));
    }
    assert_eq!(answer(freeze(&site, account)).await.0, 200);
    let (found, document) = problem(unfreeze(&site, account, SHOP_TOKEN)).await;
    assert_eq!(
        (found, document.retry_after),
        (ProblemKind::TooMany, Some(30))
    );
    assert!(
        document.detail.contains("this account"),
        "{}",
        document.detail
    );
    site.begin(site.desk.found()).await;
}

#[tokio::test]
async fn an_unfreeze_that_cannot_be_uses_up_nothing_of_the_account() {
    let site = Site::with_limits(Limits {
        unfreezes_per_minute_per_account: 2,
        unfreezes_per_minute_per_caller: 1,
        ..Limits::default()
    })
    .await;
    let account = site.desk.found();
    for _ in 0..5 {
        let active = kind(unfreeze(&site, account, super::BANK_TOKEN)).await;
        assert_eq!(active, ProblemKind::NotFrozen);
        let unknown = kind(unfreeze(&site, Sub([9; 16]), super::BANK_TOKEN)).await;
        assert_eq!(unknown, ProblemKind::UnknownAccount);
    }
    assert_eq!(answer(freeze(&site, account)).await.0, 200);
    assert_eq!(
        answer(unfreeze(&site, account, super::BANK_TOKEN)).await.0,
        201
    );
    // A caller over their own limit leaves the account's to others.
    for _ in 0..5 {
        let (found, document) = problem(unfreeze(&site, account, super::BANK_TOKEN)).await;
        assert_eq!(found, ProblemKind::TooMany);
        assert!(
            document.detail.contains("this caller"),
            "{}",
            document.detail
        );
    }
    let theirs = kind(unfreeze(&site, account, SHOP_TOKEN)).await;
    assert_eq!(theirs, ProblemKind::Busy, "let through to the desk");
}
