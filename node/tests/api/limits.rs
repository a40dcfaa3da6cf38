//! How much callers may ask for, and that those who ask for less are served meanwhile.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::encoding::text_b64;
use warifu_node::api::Limits;

use super::{SHOP_TOKEN, Site, answer, problem};

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
