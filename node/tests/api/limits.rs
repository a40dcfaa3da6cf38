//! How much callers may ask for, and that those who ask for less are served meanwhile.

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

#[tokio::test]
async fn freezes_and_unfreezes_have_a_pace_and_a_frozen_account_is_frozen_for_nothing() {
    let site = Site::with_limits(Limits {
        begins_per_minute_per_caller: 3,
        freezes_per_minute_per_account: 2,
        freezes_per_minute_per_caller: 3,
        ..Limits::default()
    })
    .await;
    let account = site.desk.found();
    let freeze = |account: Sub| site.post(&format!("/v1/accounts/{account}/freeze"), &json!({}));
    let unfreeze = |account: Sub, end: &str| {
        let nonce = format!("a-challenge-of-enough-characters-{end}");
        let ask = json!({ "nonce": nonce, "reference": "case 7", "channel": "desk" });
        site.post(&format!("/v1/accounts/{account}/unfreeze"), &ask)
    };
    for _ in 0..10 {
        assert_eq!(answer(freeze(account)).await.0, 200);
    }
    let (status, begun) = answer(unfreeze(account, "1")).await;
    assert_eq!(status, 201, "{begun}");
    let id = warifu_consensus::encoding::parse_b64(begun["id"].as_str().unwrap()).unwrap();
    site.desk.approve(super::LoginId(id));
    // A freeze and an unfreeze were two.
    let (found, document) = problem(freeze(account)).await;
    assert_eq!(
        (found, document.retry_after),
        (ProblemKind::TooMany, Some(30))
    );
    assert_eq!(kind(unfreeze(account, "2")).await, ProblemKind::TooMany);
    // The caller has one left, for another account, and begins are counted apart.
    let (second, third) = (site.desk.found(), site.desk.found());
    assert_eq!(answer(freeze(second)).await.0, 200);
    assert_eq!(kind(freeze(third)).await, ProblemKind::TooMany);
    assert_eq!(answer(freeze(second)).await.0, 200, "frozen already");
    site.begin(third).await;
}
