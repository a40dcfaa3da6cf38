//! What the machines refuse, and in which words.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::agree::Refusal;
use warifu_consensus::chain::Status;
use warifu_consensus::encoding::text_b64;
use warifu_consensus::party::{Role, Sub};
use warifu_node::api::desk::DeskError;

use super::{BANK_TOKEN, Site, answer, begin_body, kind, problem, read_problem};
use crate::contract;

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
        (DeskError::Erased { account }, ProblemKind::Erased),
        (
            DeskError::NotFrozen("active".into()),
            ProblemKind::NotFrozen,
        ),
        (DeskError::Unlogged("block 3".into()), ProblemKind::Pending),
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
            DeskError::Refused(Refusal::NoShare),
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
        let request = site.post("/v1/logins", &begin_body(account));
        let (found, document) = read_problem(contract::send_to_liar(request).await);
        assert_eq!(found, expected, "{shown}");
        // Busy adds until when, which only this side's clock can say in words.
        assert!(document.detail.starts_with(&shown), "{}", document.detail);
        assert!(document.detail == shown || expected == ProblemKind::Busy);
        seen.insert(expected.urn());
    }
    let all: BTreeSet<&str> = ProblemKind::ALL.iter().map(|kind| kind.urn()).collect();
    assert_eq!(seen, all);
    assert_eq!(all.len(), ProblemKind::ALL.len(), "urns differ");
}
