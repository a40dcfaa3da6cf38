//! The login service's SDK: with an honest broker it works, with a lying one nobody comes in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use warifu_client_sdk::login_service::api::{Asked, Shown};
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_client_sdk::login_service::{
    EnrolmentEnd, FreezeEnd, LoginEnd, LoginService, LoginServiceError, MemoryPins, OpenLogin, Pin,
    PinError, PinStore, Polled, Token,
};
use warifu_client_sdk::receipt::ReceiptError;
use warifu_consensus::block::{Block, Kind, Proof, Sealed};
use warifu_consensus::encoding::{parse_b64, text_b64};
use warifu_consensus::party::{Ledger, Role, Sub};
use warifu_consensus::time::Time;
use warifu_consensus::wire::Reason;
use warifu_node::api::desk::LoginState;

use super::desk::{NOW, admitted, refused};
use super::{BANK, BANK_TOKEN, LoginId, Site};
use crate::trio::{Operators, body};

type Service = LoginService<MemoryPins>;

fn service_at(url: &str, ledger: Ledger) -> Service {
    let token = Token::new(BANK_TOKEN).unwrap();
    LoginService::new(url, token, ledger, BANK, MemoryPins::default())
        .unwrap()
        .with_clock(|| NOW)
}

fn service(site: &Site) -> Service {
    let ledger = site.desk.with(|room| room.operators.ledger.clone());
    service_at(&site.url(), ledger)
}

fn shown() -> Shown {
    Shown::from(body("web"))
}

fn pin_of(site: &Site, account: Sub) -> Pin {
    let desk = &site.desk;
    desk.with(|room| room.accounts[&account].pin(&room.operators))
}

fn id_of(login: &OpenLogin) -> LoginId {
    LoginId(parse_b64(login.id()).unwrap())
}

fn refused_block(ended: Result<LoginEnd, LoginServiceError>) -> ReceiptError {
    match ended {
        Err(LoginServiceError::Verification(error)) => error,
        other => panic!("found {other:?}, expected a block that does not verify"),
    }
}

#[tokio::test]
async fn enrolled_pinned_and_logged_in() {
    let site = Site::open().await;
    let bank = service(&site);
    let opened = bank.enrol(Some("1001")).await.unwrap();
    assert!(!format!("{:?}", bank.enrol(None).await.unwrap().session).is_empty());
    let session = opened.session.as_str();
    let waiting = bank.enrolment("1001", session, Duration::ZERO).await;
    assert_eq!(waiting.unwrap(), EnrolmentEnd::Waiting);
    let digits = site.desk.scan(parse_b64(session).unwrap());
    let now = bank
        .enrolment("1001", session, Duration::from_secs(5))
        .await;
    assert_eq!(now.unwrap(), EnrolmentEnd::Digits);
    let wrong = if digits.to_string() == "000000" {
        "111111"
    } else {
        "000000"
    };
    let Err(LoginServiceError::Problem(problem)) = bank.confirm("1001", session, wrong).await
    else {
        panic!("wrong digits were taken");
    };
    assert_eq!(problem.kind(), Some(ProblemKind::WrongDigits));
    assert_eq!(problem.tries_left, Some(2));
    assert_eq!(bank.pins().pinned("1001").await.unwrap(), None);
    let done = bank.confirm("1001", session, &digits.to_string()).await;
    let EnrolmentEnd::Pinned { pin, .. } = done.unwrap() else {
        panic!("not pinned");
    };
    assert_eq!(bank.pin_of("1001").await.unwrap(), pin);

    let login = bank.begin(pin, Asked::Login, shown()).await.unwrap();
    let id = id_of(&login);
    let nonce = login.expected().nonce.clone();
    let Polled::Pending(login) = bank.poll(login, Duration::ZERO).await.unwrap() else {
        panic!("nobody approved yet");
    };
    let (ended, ()) = tokio::join!(bank.wait(login), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        site.desk.approve(id);
    });
    let LoginEnd::Admitted(admission) = ended.unwrap() else {
        panic!("not admitted");
    };
    assert_eq!(admission.account_key, pin.account_key);
    assert_eq!(admission.customer, "1001");
    let receipt = admission.receipt.to_json();
    let again = bank.verify("1001", &receipt, &nonce, Kind::Login).await;
    let again = again.unwrap();
    assert_eq!(again.login, admission.login);
    assert_eq!(again.checked.votes, Role::ALL);
    assert!(matches!(
        bank.verify("1002", &receipt, &nonce, Kind::Login).await,
        Err(LoginServiceError::NotPinned { .. })
    ));
}

#[tokio::test]
async fn history_last_login_freeze_and_unfreeze_are_verified() {
    let site = Site::open().await;
    let bank = service(&site);
    let account = site.desk.found();
    let pin = pin_of(&site, account);
    bank.pins().pin("1001", &pin).await.unwrap();
    assert_eq!(bank.last_login(pin).await.unwrap(), None);
    for _ in 0..2 {
        let login = bank.begin(pin, Asked::Login, shown()).await.unwrap();
        site.desk.approve(id_of(&login));
        assert!(matches!(bank.wait(login).await, Ok(LoginEnd::Admitted(_))));
    }
    let FreezeEnd::Frozen {
        sealed,
        height,
        iat,
    } = bank.freeze(pin).await.unwrap()
    else {
        panic!("not frozen");
    };
    assert_eq!((height, iat), (3, NOW.seconds()));
    assert_eq!(sealed.block.claims().height, height);
    let login = bank.unfreeze(pin, "case 7", "desk", "").await.unwrap();
    site.desk.approve(id_of(&login));
    assert!(matches!(bank.wait(login).await, Ok(LoginEnd::Admitted(_))));
    let page = bank.history(pin, None, Some(3)).await.unwrap();
    assert_eq!((page.blocks.len(), page.next), (3, Some(2)));
    let rest = bank.history(pin, page.next, None).await.unwrap();
    assert_eq!((rest.blocks.len(), rest.next), (2, None));
    let last = bank.last_login(pin).await.unwrap().unwrap();
    assert_eq!(last.sealed.block.claims().height, 2);
    assert_eq!(bank.account(pin).await.unwrap().height, 4);

    let other_key = Pin {
        account_key: [3; 32],
        ..pin
    };
    assert!(bank.history(other_key, None, None).await.is_err());
    assert!(bank.last_login(other_key).await.is_err());
    let mut foreign = site.desk.with(|room| room.operators.ledger.clone());
    foreign.trust_operator = foreign.broker;
    let elsewhere = service_at(&site.url(), foreign);
    assert!(elsewhere.history(pin, None, None).await.is_err());
    assert!(elsewhere.freeze(pin).await.is_err());
}

/// Begins a login, lets the broker lie about it, and says what became of it.
async fn lied_to(
    site: &Site,
    pin: Pin,
    lie: impl FnOnce(&OpenLogin) -> LoginState,
) -> Result<LoginEnd, LoginServiceError> {
    let bank = service(site);
    bank.pins().pin("1001", &pin).await.unwrap();
    let login = bank.begin(pin, Asked::Login, shown()).await.unwrap();
    bank.cancel(login.id()).await.unwrap();
    let state = lie(&login);
    site.desk.with(|room| room.lie = Some(state));
    let ended = bank.wait(login).await;
    site.desk.with(|room| room.lie = None);
    ended
}

fn admit(site: &Site, account: Sub, kind: Kind, aud: &str, nonce: &str) -> Sealed {
    site.desk.with(|room| {
        let trio = room.accounts.get_mut(&account).unwrap();
        trio.admit(&mut room.operators, kind, aud, nonce, body("web"))
    })
}

#[tokio::test]
async fn real_blocks_of_other_sessions_accounts_parties_and_kinds_let_nobody_in() {
    let site = Site::open().await;
    let (account, other) = (site.desk.found(), site.desk.found());
    let pin = pin_of(&site, account);
    let earlier = admit(
        &site,
        account,
        Kind::Login,
        BANK,
        "an-earlier-sessions-challenge",
    );
    let claim = |ended| match refused_block(ended) {
        ReceiptError::Claim { claim, .. } => claim,
        error => panic!("{error}"),
    };
    let replayed = lied_to(&site, pin, |_| admitted(earlier, pin.account_key)).await;
    assert_eq!(claim(replayed), "nonce");
    let shops = lied_to(&site, pin, |login| {
        let nonce = &login.expected().nonce;
        let shop = "https://shop.example";
        admitted(
            admit(&site, account, Kind::Login, shop, nonce),
            pin.account_key,
        )
    });
    assert_eq!(claim(shops.await), "aud");
    let approved = lied_to(&site, pin, |login| {
        let nonce = &login.expected().nonce;
        admitted(
            admit(&site, account, Kind::Approve, BANK, nonce),
            pin.account_key,
        )
    });
    assert_eq!(claim(approved.await), "kind");
    let others_key = pin_of(&site, other).account_key;
    let others = lied_to(&site, pin, |login| {
        let nonce = &login.expected().nonce;
        admitted(admit(&site, other, Kind::Login, BANK, nonce), others_key)
    });
    assert!(matches!(
        refused_block(others.await),
        ReceiptError::Kid { .. }
    ));
    let right = lied_to(&site, pin, |login| {
        let nonce = &login.expected().nonce;
        admitted(admit(&site, account, Kind::Login, BANK, nonce), others_key)
    });
    let LoginEnd::Admitted(admission) = right.await.unwrap() else {
        panic!("the very same with the right block is let in");
    };
    assert_eq!(admission.account_key, pin.account_key, "never the answer's");
}

#[tokio::test]
async fn an_operators_own_signature_lets_nobody_in() {
    let site = Site::open().await;
    let account = site.desk.found();
    let pin = pin_of(&site, account);
    for role in [Role::Broker, Role::TrustOperator, Role::Device] {
        let lied = lied_to(&site, pin, |login| {
            let nonce = login.expected().nonce.clone();
            let mut sealed = admit(&site, account, Kind::Login, BANK, &nonce);
            let key = site.desk.with(|room| match role {
                Role::Device => Arc::clone(&room.accounts[&account].device_key),
                Role::Broker => Arc::clone(&room.operators.broker_key),
                Role::TrustOperator => Arc::clone(&room.operators.trust_operator_key),
            });
            sealed.proof = Proof::Account(key.sign(sealed.block.input().as_bytes()));
            admitted(sealed, key.public())
        });
        assert_eq!(refused_block(lied.await), ReceiptError::Proof);
        let lied = lied_to(&site, pin, |login| {
            let nonce = login.expected().nonce.clone();
            let mut sealed = admit(&site, account, Kind::Login, BANK, &nonce);
            let key = site
                .desk
                .with(|room| Arc::clone(&room.operators.broker_key));
            sealed.block = Block::new(sealed.block.claims().clone(), &key.public()).unwrap();
            sealed.proof = Proof::Account(key.sign(sealed.block.input().as_bytes()));
            admitted(sealed, key.public())
        });
        assert!(matches!(
            refused_block(lied.await),
            ReceiptError::Kid { .. }
        ));
    }
}

#[tokio::test]
async fn an_expired_block_lets_nobody_in_and_neither_does_a_block_that_the_broker_refuses() {
    let site = Site::open().await;
    let account = site.desk.found();
    let pin = pin_of(&site, account);
    let late = service(&site).with_clock(|| Time(NOW.0 + 90_000));
    late.pins().pin("1001", &pin).await.unwrap();
    let login = late.begin(pin, Asked::Login, shown()).await.unwrap();
    site.desk.approve(id_of(&login));
    assert!(matches!(
        refused_block(late.wait(login).await),
        ReceiptError::Time(_)
    ));
    let ended = lied_to(&site, pin, |login| {
        let nonce = &login.expected().nonce;
        admit(&site, account, Kind::Login, BANK, nonce);
        refused(Role::Device, Reason::WrongNumber)
    });
    assert_eq!(
        ended.await.unwrap(),
        LoginEnd::Refused {
            by: Role::Device,
            reason: Reason::WrongNumber.to_string()
        }
    );
}

/// A broker of fixed answers.
async fn fake(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn json_route(answer: Value) -> axum::routing::MethodRouter {
    get(move || async move { axum::Json(answer) })
}

#[tokio::test]
async fn a_genesis_of_another_ledger_session_or_customer_is_not_pinned() {
    let mut operators = Operators::new(70, NOW);
    let mut foreign = Operators::new(90, NOW);
    let (ours, theirs) = (operators.found(), foreign.found());
    let path = "/v1/enrolments/{session}";
    let done = |trio: &crate::trio::Trio| {
        json!({
            "status": "done",
            "account": trio.sub(),
            "jwk": warifu_consensus::block::jwk(&trio.account_key()),
            "genesis": trio.chain()[0].to_json(),
        })
    };
    let session = ours.chain()[0].block.claims().nonce.clone();
    let url = fake(Router::new().route(path, json_route(done(&ours)))).await;
    let bank = service_at(&url, operators.ledger.clone());
    let look = |customer: &'static str, session: String| {
        let bank = &bank;
        async move { bank.enrolment(customer, &session, Duration::ZERO).await }
    };
    let other_session = text_b64(&[7; 32]);
    assert!(matches!(
        look("1001", other_session).await,
        Err(LoginServiceError::Answer { .. })
    ));
    assert_eq!(bank.pins().pinned("1001").await.unwrap(), None);
    for _ in 0..2 {
        let pinned = look("1001", session.clone()).await.unwrap();
        assert!(matches!(pinned, EnrolmentEnd::Pinned { .. }));
    }
    assert!(matches!(
        look("1002", session).await,
        Err(LoginServiceError::Pin(PinError::Taken { .. }))
    ));
    assert!(matches!(
        bank.enrol(Some("1001")).await,
        Err(LoginServiceError::AlreadyPinned { .. })
    ));

    let url = fake(Router::new().route(path, json_route(done(&theirs)))).await;
    let bank = service_at(&url, operators.ledger.clone());
    let session = theirs.chain()[0].block.claims().nonce.clone();
    assert!(matches!(
        bank.enrolment("1001", &session, Duration::ZERO).await,
        Err(LoginServiceError::Genesis(_))
    ));
    assert_eq!(bank.pins().pinned("1001").await.unwrap(), None);
}

#[tokio::test]
async fn a_receipt_of_another_block_is_noticed() {
    let mut operators = Operators::new(70, NOW);
    let mut trio = operators.found();
    let begun = json!({ "id": text_b64(&[1; 16]), "number": "07", "expires_in": 90 });
    let answers = Arc::new(std::sync::Mutex::new(
        json!({ "status": "pending", "expires_in": 9 }),
    ));
    let given = Arc::clone(&answers);
    let router = Router::new()
        .route(
            "/v1/logins",
            post(move || async move { (StatusCode::CREATED, axum::Json(begun)) }),
        )
        .route(
            "/v1/logins/{id}",
            get(move || async move { axum::Json(given.lock().unwrap().clone()) }),
        );
    let bank = service_at(&fake(router).await, operators.ledger.clone());
    let pin = trio.pin(&operators);
    bank.pins().pin("1001", &pin).await.unwrap();
    let earlier = trio.admit(
        &mut operators,
        Kind::Login,
        BANK,
        "an-earlier-challenge-xx",
        body("web"),
    );
    let login = bank.begin(pin, Asked::Login, shown()).await.unwrap();
    let nonce = login.expected().nonce.clone();
    let sealed = trio.admit(&mut operators, Kind::Login, BANK, &nonce, body("web"));
    *answers.lock().unwrap() = json!({
        "status": "admitted",
        "block": sealed.compact(),
        "receipt": earlier.to_json(),
        "jwk": warifu_consensus::block::jwk(&pin.account_key),
    });
    assert!(matches!(
        bank.wait(login).await,
        Err(LoginServiceError::Receipt)
    ));
}

#[tokio::test]
async fn only_reading_is_repeated_and_answers_are_bounded() {
    let counted = || Arc::new(AtomicU32::new(0));
    let (gets, posts) = (counted(), counted());
    let (got, posted) = (Arc::clone(&gets), Arc::clone(&posts));
    let account = "/v1/accounts/{account}";
    let router = Router::new()
        .route(
            account,
            get(move || async move {
                got.fetch_add(1, Ordering::SeqCst);
                StatusCode::SERVICE_UNAVAILABLE
            }),
        )
        .route(
            "/v1/logins",
            post(move || async move {
                posted.fetch_add(1, Ordering::SeqCst);
                StatusCode::SERVICE_UNAVAILABLE
            }),
        )
        .route(
            "/v1/accounts/{account}/history",
            get(|| async { "x".repeat(5 * 1024 * 1024) }),
        )
        .route(
            "/v1/accounts/{account}/last-login",
            get(|| async { axum::response::Redirect::temporary("http://127.0.0.1:9/") }),
        );
    let mut operators = Operators::new(70, NOW);
    let pin = operators.found().pin(&operators);
    let bank = service_at(&fake(router).await, operators.ledger);
    assert!(matches!(
        bank.account(pin).await,
        Err(LoginServiceError::Unreachable { .. })
    ));
    assert!(bank.begin(pin, Asked::Login, shown()).await.is_err());
    assert_eq!(gets.load(Ordering::SeqCst), 4);
    assert_eq!(posts.load(Ordering::SeqCst), 1);
    for answer in [
        bank.history(pin, None, None).await.unwrap_err(),
        bank.last_login(pin).await.unwrap_err(),
    ] {
        assert!(
            matches!(answer, LoginServiceError::Answer { .. }),
            "{answer}"
        );
    }
}
