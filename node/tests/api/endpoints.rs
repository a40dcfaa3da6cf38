//! What each endpoint answers when all is well.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use warifu_client_sdk::login_service::api::{Jwk, MAX_PAGE};
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::block::Sealed;
use warifu_consensus::encoding::{parse_b64, text_b64};
use warifu_consensus::enrol::Ticket;

use super::{BANK, BANK_TOKEN, NONCE, Site, answer, begin_body, kind};
use crate::contract;

#[tokio::test]
async fn a_login_from_begin_to_its_block() {
    let site = Site::open().await;
    let account = site.desk.found();
    let (status, begun) = answer(site.post("/v1/logins", &begin_body(account))).await;
    assert_eq!(status, StatusCode::CREATED);
    let number = begun["number"].as_str().unwrap();
    assert!(number.len() == 2 && number.parse::<u8>().is_ok());
    assert_eq!(begun["expires_in"], 90);
    let id = begun["id"].as_str().unwrap();
    let path = format!("/v1/logins/{id}");

    let (_, pending) = answer(site.get(&path)).await;
    assert_eq!(pending, json!({ "status": "pending", "expires_in": 90 }));

    let waiting = tokio::spawn(answer(site.get(&format!("{path}?wait=30"))));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    site.desk.approve(super::LoginId(parse_b64(id).unwrap()));
    let (status, ended) = waiting.await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(ended["status"], "admitted");

    let receipt = Sealed::from_json(ended["receipt"].as_str().unwrap()).unwrap();
    assert_eq!(receipt.compact().as_deref(), ended["block"].as_str());
    let claims = receipt.block.claims();
    assert_eq!((claims.aud.as_str(), claims.sub), (BANK, account));
    assert_eq!(claims.nonce, NONCE);
    let key = site.desk.with(|room| room.accounts[&account].account_key());
    assert_eq!(ended["jwk"], serde_json::to_value(Jwk::of(&key)).unwrap());
    assert_eq!(
        site.desk.with(|room| room.begun_for.clone().unwrap()),
        ("bank".to_owned(), BANK.to_owned())
    );
    assert_eq!(answer(site.get(&path)).await.1, ended, "asked again");
}

#[tokio::test]
async fn a_denied_a_cancelled_and_an_expired_login() {
    let site = Site::open().await;
    let account = site.desk.found();
    let id = site.begin(account).await;
    site.desk.deny(account);
    let (_, ended) = answer(site.get(&path_of(id))).await;
    assert_eq!(ended["status"], "refused");
    assert_eq!(ended["by"], "device");

    let id = site.begin(account).await;
    let cancelled = site.request(Method::DELETE, &path_of(id), BANK_TOKEN);
    let cancelled = cancelled.send().await.unwrap();
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
    let (_, ended) = answer(site.get(&path_of(id))).await;
    assert_eq!(
        (&ended["status"], &ended["by"]),
        (&json!("refused"), &json!("broker"))
    );

    let id = site.begin(account).await;
    site.desk.pass(200);
    let (_, ended) = answer(site.get(&path_of(id))).await;
    assert_eq!(ended, json!({ "status": "expired" }));
}

fn path_of(id: super::LoginId) -> String {
    format!("/v1/logins/{}", text_b64(&id.0))
}

#[tokio::test]
async fn an_enrolment_from_ticket_to_account() {
    let site = Site::open().await;
    let (status, opened) = answer(site.post("/v1/enrolments", &json!({}))).await;
    assert_eq!(
        (status, &opened["expires_in"]),
        (StatusCode::CREATED, &json!(600))
    );
    let text = opened["session"].as_str().unwrap();
    let ticket = Ticket::from_uri(opened["ticket_uri"].as_str().unwrap()).unwrap();
    assert_eq!(text_b64(&ticket.session), text);
    let path = format!("/v1/enrolments/{text}");
    assert_eq!(answer(site.get(&path)).await.1["status"], "waiting");

    let waiting = tokio::spawn(answer(site.get(&format!("{path}?wait=30"))));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let digits = site.desk.scan(ticket.session);
    assert_eq!(waiting.await.unwrap().1["status"], "digits");

    let confirm = format!("{path}/confirm");
    let body = json!({ "digits": digits.to_string() });
    let (status, done) = answer(site.post(&confirm, &body)).await;
    assert_eq!((status, &done["status"]), (StatusCode::OK, &json!("done")));
    let genesis = Sealed::from_json(done["genesis"].as_str().unwrap()).unwrap();
    let claims = genesis.block.claims();
    assert_eq!(done["account"], json!(claims.sub));
    let key = claims.genesis.as_ref().unwrap().account_key;
    assert_eq!(done["jwk"], json!(Jwk::of(&key)));
    assert_eq!(answer(site.get(&path)).await.1, done);
}

#[tokio::test]
async fn history_comes_in_linked_pages_with_opened_bodies() {
    let site = Site::open().await;
    let account = site.desk.found();
    for _ in 0..3 {
        let id = site.begin(account).await;
        site.desk.approve(id);
    }
    let path = format!("/v1/accounts/{account}/history");
    let mut heights = Vec::new();
    let mut before = String::new();
    loop {
        let (_, page) = answer(site.get(&format!("{path}?limit=2{before}"))).await;
        for block in page["blocks"].as_array().unwrap() {
            heights.push(block["height"].as_u64().unwrap());
            let sealed = Sealed::from_json(block["receipt"].as_str().unwrap()).unwrap();
            assert_eq!(block["hash"], json!(sealed.block.hash()));
            let is_login = block["kind"] == "login";
            assert_eq!(is_login, block["body"]["channel"] == "web");
            assert_eq!(is_login, block["aud"] == BANK);
        }
        match page["next"].as_u64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(heights, [3, 2, 1, 0]);
    let (_, all) = answer(site.get(&format!("{path}?limit={MAX_PAGE}"))).await;
    assert_eq!(all["blocks"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_chain_is_drawn_as_linked_blocks_in_the_reader_s_language() {
    let site = Site::open().await;
    let account = site.desk.found();
    for _ in 0..2 {
        let id = site.begin(account).await;
        site.desk.approve(id);
    }
    let path = format!("/v1/accounts/{account}/chain");
    let page = contract::send(site.get(&path)).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    // Each block names the one below it, by a link to it.
    let (_, history) = answer(site.get(&format!("/v1/accounts/{account}/history"))).await;
    for block in history["blocks"].as_array().unwrap() {
        let (height, hash) = (&block["height"], block["hash"].as_str().unwrap());
        assert!(page.text.contains(&format!("id=\"b{height}\"")), "{height}");
        let links = page.text.matches(hash).count();
        assert_eq!(links, if *height == 2 { 1 } else { 2 }, "{height}");
    }
    assert!(page.text.contains("href=\"#b1\"") && page.text.contains("href=\"#b0\""));
    assert!(!page.text.contains("Not linked"));
    let older = contract::send(site.get(&format!("{path}?before=2&lang=ja"))).await;
    assert_eq!(older.headers["content-language"], "ja");
    assert!(older.text.contains("口座の記録") && !older.text.contains("id=\"b2\""));
    let asked = site.get(&path).header("accept-language", "ja,en;q=0.5");
    assert!(
        contract::send(asked)
            .await
            .text
            .contains("<html lang=\"ja\">")
    );
    for wrong in ["lang=fr", "limit=2", "before=x"] {
        let refused = kind(site.get(&format!("{path}?{wrong}"))).await;
        assert_eq!(refused, ProblemKind::Malformed, "{wrong}");
    }
}

#[tokio::test]
async fn the_last_login_is_found_below_other_blocks() {
    let site = Site::open().await;
    let account = site.desk.found();
    let path = format!("/v1/accounts/{account}/last-login");
    let none = json!({ "login": null, "searched_to": 0 });
    assert_eq!(answer(site.get(&path)).await.1, none);
    let id = site.begin(account).await;
    site.desk.approve(id);
    for _ in 0..3 {
        site.begin(account).await;
        site.desk.deny(account);
    }
    let (_, found) = answer(site.get(&path)).await;
    assert_eq!(found["login"]["height"], 1);
    assert_eq!(found["login"]["kind"], "login");
    assert_eq!(found["searched_to"], 1);
}

#[tokio::test]
async fn freeze_and_unfreeze() {
    let site = Site::open().await;
    let account = site.desk.found();
    let path = format!("/v1/accounts/{account}");
    assert_eq!(answer(site.get(&path)).await.1["status"], "active");
    let (status, frozen) = answer(site.post(&format!("{path}/freeze"), &json!({}))).await;
    assert_eq!(
        (status, &frozen["status"]),
        (StatusCode::OK, &json!("frozen"))
    );
    let (_, shown) = answer(site.get(&path)).await;
    assert_eq!(shown["status"], "frozen");
    assert_eq!(shown["head"], frozen["hash"]);
    assert_eq!(shown["height"], frozen["height"]);

    let ask = json!({ "nonce": NONCE, "reference": "case 7", "channel": "desk" });
    let (status, begun) = answer(site.post(&format!("{path}/unfreeze"), &ask)).await;
    assert_eq!(status, StatusCode::CREATED, "{begun}");
    let id = super::LoginId(parse_b64(begun["id"].as_str().unwrap()).unwrap());
    site.desk.approve(id);
    assert_eq!(answer(site.get(&path)).await.1["status"], "active");
}

#[tokio::test]
async fn a_freeze_that_waits_for_the_trust_operator_is_accepted() {
    let site = Site::open().await;
    let account = site.desk.found();
    site.desk.with(|room| room.silent = true);
    let path = format!("/v1/accounts/{account}/freeze");
    let (status, pending) = answer(site.post(&path, &json!({}))).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(pending, json!({ "status": "pending" }));
}

#[tokio::test]
async fn health_needs_no_token_and_readiness_says_what_is_missing() {
    let site = Site::open().await;
    let ask = |path: &str| site.client.get(format!("{}{path}", site.url()));
    let ok: Value = json!({ "status": "ok" });
    assert_eq!(answer(ask("/healthz")).await, (StatusCode::OK, ok.clone()));
    assert_eq!(answer(ask("/readyz")).await, (StatusCode::OK, ok));
    site.desk.with(|room| {
        room.error = Some(warifu_node::api::desk::DeskError::TrustOperatorUnreachable);
    });
    let (status, answer) = answer(ask("/readyz")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["status"], "not-ready");
    assert!(
        answer["reason"]
            .as_str()
            .unwrap()
            .contains("trust operator")
    );
}
