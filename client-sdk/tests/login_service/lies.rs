//! Protocol rule 6 through [`LoginService`]: nobody comes in unless the broker says "admitted" and
//! the block, with its votes, is this login's.

#![allow(unreachable_pub, reason = "shared with the module beside it")]

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::{Value, json};
use warifu_client_sdk::login_service::api::{Asked, Shown};
use warifu_client_sdk::login_service::{
    Advice, LoginEnd, LoginService, LoginServiceError, MemoryPins, OpenLogin, Patience, Pin,
    PinStore, Polled, SqlitePins, Token,
};
use warifu_client_sdk::receipt::{Expected, Moment, ReceiptError, Voters, verify_receipt};
use warifu_consensus::block::{Kind, Sealed, Votes, jwk};
use warifu_consensus::encoding::text_b64;
use warifu_consensus::party::{Ledger, Role};
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::time::Time;
use warifu_consensus::vote::{BadVote, Statement, Verb, Vote};

use super::fake::{Fake, Reply, Request};
use super::trio::{ISS, Operators, Trio, body};

pub const AUD: &str = "https://bank.example";
pub const NOW: Time = Time(1_790_000_000_000);
pub const LOGIN: &str = "AQEBAQEBAQEBAQEBAQEBAQ";

pub struct House {
    pub operators: Operators,
    pub trio: Trio,
}

impl House {
    pub fn new(seed: u8) -> House {
        let mut operators = Operators::new(seed, NOW);
        let trio = operators.found();
        House { operators, trio }
    }

    pub fn pin(&self) -> Pin {
        self.trio.pin(&self.operators)
    }

    pub fn admit(&mut self, kind: Kind, aud: &str, nonce: &str) -> Sealed {
        self.trio
            .admit(&mut self.operators, kind, aud, nonce, body("web"))
    }

    /// A service at which the account is pinned to `alice`.
    pub fn service(&self, url: &str) -> LoginService<MemoryPins> {
        self.service_with(url, pinned(&[("alice", self.pin())]))
    }

    pub fn service_with<P: PinStore>(&self, url: &str, pins: P) -> LoginService<P> {
        let token = Token::new("warifu-token-0123456789abcdef").unwrap();
        let ledger = Ledger {
            iss: ISS.to_owned(),
            ..self.operators.ledger.clone()
        };
        LoginService::new(url, token, ledger, AUD, pins)
            .unwrap()
            .with_clock(|| NOW)
            .with_patience(Patience {
                answer: Duration::from_secs(10),
                overall: Duration::from_secs(20),
                tries: 3,
            })
    }
}

/// Pins in memory, which never wait.
pub fn pinned(all: &[(&str, Pin)]) -> MemoryPins {
    let pins = MemoryPins::default();
    for (customer, pin) in all {
        let made = pin!(pins.pin(customer, pin)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(made, Poll::Ready(Ok(()))), "{made:?}");
    }
    pins
}

pub fn shown() -> Shown {
    Shown::through("web", "203.0.113.7")
}

pub fn begun() -> Reply {
    Reply::Json(201, json!({"id": LOGIN, "number": "07", "expires_in": 90}))
}

pub fn admitted(sealed: &Sealed) -> Value {
    json!({
        "status": "admitted",
        "block": sealed.compact(),
        "receipt": sealed.to_json(),
        "jwk": jwk(&[7; 32]),
        "member-of-a-later-broker": {"a": [1]},
    })
}

/// A broker that answers every look with what `answer` makes of the house and the begin's nonce.
pub async fn broker(
    house: &Arc<Mutex<House>>,
    answer: impl FnOnce(&mut House, &str) -> Value + Send + 'static,
) -> Fake {
    let (house, mut answer) = (Arc::clone(house), Some(answer));
    let (mut nonce, mut told) = (String::new(), Value::Null);
    Fake::open(move |request: &Request| {
        if request.is("POST /v1/logins") {
            nonce = request.body["nonce"].as_str().unwrap().to_owned();
            return begun();
        }
        if let Some(answer) = answer.take() {
            told = answer(&mut house.lock().unwrap(), &nonce);
        }
        Reply::Json(200, told.clone())
    })
    .await
}

/// What becomes of one login whose end the broker tells so.
async fn told(
    house: &Arc<Mutex<House>>,
    answer: impl FnOnce(&mut House, &str) -> Value + Send + 'static,
) -> Result<Polled, LoginServiceError> {
    let fake = broker(house, answer).await;
    let (pin, service) = {
        let house = house.lock().unwrap();
        (house.pin(), house.service(&fake.url))
    };
    let login = service.begin(pin, Asked::Login, shown()).await.unwrap();
    service.poll(login, Duration::ZERO).await
}

fn is_admitted(ended: &Result<Polled, LoginServiceError>) -> bool {
    matches!(ended, Ok(Polled::Ended(LoginEnd::Admitted(_))))
}

#[tokio::test]
async fn the_right_block_is_admitted_with_all_three_votes() {
    let house = Arc::new(Mutex::new(House::new(10)));
    let ended = told(&house, |house, nonce| {
        admitted(&house.admit(Kind::Login, AUD, nonce))
    });
    let Ok(Polled::Ended(LoginEnd::Admitted(admission))) = ended.await else {
        panic!("not admitted");
    };
    assert_eq!(admission.checked.votes, Role::ALL);
    assert_eq!(admission.checked.moment, Moment::Live(NOW));
    assert_eq!(
        admission.account_key,
        house.lock().unwrap().trio.account_key()
    );
}

/// A block that is real, and not this login's.
type Lie = fn(&mut House, &str) -> Sealed;

#[tokio::test]
async fn real_blocks_that_are_not_this_logins_let_nobody_in() {
    let claim = |error: &ReceiptError| match error {
        ReceiptError::Claim { claim, .. } => *claim,
        ReceiptError::Kid { .. } => "kid",
        ReceiptError::Time(_) => "time",
        other => panic!("{other}"),
    };
    let lies: [(&str, Lie); 6] = [
        ("nonce", |house, _| {
            house.admit(Kind::Login, AUD, "an-earlier-sessions-challenge")
        }),
        ("aud", |house, nonce| {
            house.admit(Kind::Login, "https://shop.example", nonce)
        }),
        ("kind", |house, nonce| {
            house.admit(Kind::Approve, AUD, nonce)
        }),
        ("kid", |house, nonce| {
            let mut other = house.operators.found();
            other.admit(&mut house.operators, Kind::Login, AUD, nonce, body("web"))
        }),
        ("time", |house, nonce| {
            house.operators.now = Time(NOW.0 - 200_000);
            house.admit(Kind::Login, AUD, nonce)
        }),
        ("iss", |house, nonce| house.admit(Kind::Login, AUD, nonce)),
    ];
    for (expected, lie) in lies {
        let mut house = House::new(10);
        if expected == "iss" {
            house.operators.ledger.iss = "https://other-ledger.example".to_owned();
            house.trio = house.operators.found();
        }
        let house = Arc::new(Mutex::new(house));
        let ended = told(&house, move |house, nonce| admitted(&lie(house, nonce))).await;
        let Err(LoginServiceError::Verification(error)) = &ended else {
            panic!("{expected}: {ended:?}");
        };
        assert_eq!(claim(error), expected);
    }
}

#[tokio::test]
async fn votes_that_are_not_the_parties_let_nobody_in() {
    for role in Role::ALL {
        let house = Arc::new(Mutex::new(House::new(10)));
        let ended = told(&house, move |house, nonce| {
            let mut sealed = house.admit(Kind::Login, AUD, nonce);
            let (claims, hash) = (sealed.block.claims().clone(), sealed.block.hash());
            let Votes::Admit {
                assent,
                endorse,
                seal,
            } = &mut sealed.votes
            else {
                panic!("an admit block");
            };
            let (vote, verb) = match role {
                Role::Device => (assent, Verb::Assent),
                Role::Broker => (endorse, Verb::Endorse),
                Role::TrustOperator => (seal, Verb::Seal),
            };
            let statement = Statement {
                verb,
                role,
                sub: claims.sub,
                hash,
            };
            *vote = Vote::sign(&IdentityKey::from_seed([99; 32]), &statement);
            admitted(&sealed)
        });
        let ended = ended.await;
        let Err(LoginServiceError::Verification(ReceiptError::Vote(BadVote { role: of, .. }))) =
            &ended
        else {
            panic!("{role}: {ended:?}");
        };
        assert_eq!(*of, role);
        assert_eq!(ended.unwrap_err().advice(), Advice::Page);
    }
}

#[tokio::test]
async fn admitted_without_a_valid_block_lets_nobody_in() {
    let house = Arc::new(Mutex::new(House::new(10)));
    let text = |block: Value, receipt: Value| json!({"status": "admitted", "block": block, "receipt": receipt, "jwk": jwk(&[7; 32])});
    for answer in [
        json!({"status": "admitted"}),
        json!({"status": "admitted", "block": null}),
        text(json!(""), json!("")),
        text(json!("a.b.c"), json!("{}")),
        text(json!("x".repeat(100_000)), json!("")),
        json!({"status": "ADMITTED"}),
        json!({"status": ["admitted"]}),
        json!("admitted"),
        json!(null),
    ] {
        let ended = told(&house, move |_, _| answer).await;
        assert!(!is_admitted(&ended), "{ended:?}");
    }
    // The block is right, its receipt is none, or another block's.
    let ended = told(&house, move |house, nonce| {
        let sealed = house.admit(Kind::Login, AUD, nonce);
        text(json!(sealed.compact()), json!("{}"))
    });
    assert!(matches!(ended.await, Err(LoginServiceError::Sealed(_))));
    let ended = told(&house, move |house, nonce| {
        let other = house.admit(Kind::Login, AUD, "another-sessions-challenge");
        let sealed = house.admit(Kind::Login, AUD, nonce);
        text(json!(sealed.compact()), json!(other.to_json()))
    });
    assert!(matches!(ended.await, Err(LoginServiceError::Receipt)));
}

#[tokio::test]
async fn a_valid_block_without_admitted_lets_nobody_in() {
    let house = Arc::new(Mutex::new(House::new(10)));
    let with_block = |status: &'static str, members: Value| {
        move |house: &mut House, nonce: &str| {
            let mut answer = admitted(&house.admit(Kind::Login, AUD, nonce));
            answer["status"] = json!(status);
            for (name, value) in members.as_object().unwrap() {
                answer[name] = value.clone();
            }
            answer
        }
    };
    let pending = told(&house, with_block("pending", json!({"expires_in": 9}))).await;
    assert!(matches!(pending, Ok(Polled::Pending(_))), "{pending:?}");
    let refused = json!({"by": "device", "reason": "the number was wrong"});
    let refused = told(&house, with_block("refused", refused)).await;
    assert!(matches!(
        refused,
        Ok(Polled::Ended(LoginEnd::Refused {
            by: Role::Device,
            ..
        }))
    ));
    let expired = told(&house, with_block("expired", json!({}))).await;
    assert!(matches!(expired, Ok(Polled::Ended(LoginEnd::Expired))));
    let later = told(&house, with_block("admitted-provisionally", json!({}))).await;
    assert!(matches!(later, Ok(Polled::Pending(_))), "{later:?}");
    let by_nobody = json!({"by": "second-device", "reason": "no"});
    let by_nobody = told(&house, with_block("refused", by_nobody)).await;
    assert!(matches!(by_nobody, Err(LoginServiceError::Answer { .. })));
}

#[tokio::test]
async fn a_handle_lets_in_once_however_often_it_is_restored() {
    let house = Arc::new(Mutex::new(House::new(10)));
    let fake = broker(&house, |house, nonce| {
        admitted(&house.admit(Kind::Login, AUD, nonce))
    });
    let fake = fake.await;
    let service = || house.lock().unwrap().service(&fake.url);
    let (service, elsewhere) = (service(), service());
    let pin = house.lock().unwrap().pin();
    let login = service.begin(pin, Asked::Login, shown()).await.unwrap();
    let printed = format!("{login:?}");
    let nonce = login.expected().nonce.clone();
    assert!(!printed.contains(&nonce), "{printed}");
    assert!(!printed.contains("07"), "{printed}");
    let stored = serde_json::to_string(&login).unwrap();
    let restored = || serde_json::from_str(&stored).unwrap();
    // In another process, as after a restart.
    let ended = elsewhere.wait(restored()).await.unwrap();
    assert!(matches!(ended, LoginEnd::Admitted(_)), "{ended:?}");
    for _ in 0..2 {
        let again = elsewhere.wait(restored()).await;
        assert!(matches!(again, Err(LoginServiceError::Spent)), "{again:?}");
    }
    // A handle outlives no login.
    let late = house.lock().unwrap().service(&fake.url);
    let late = late.with_clock(|| Time(NOW.0 + 121_000));
    let error = late.wait(restored()).await.unwrap_err();
    assert!(
        matches!(
            error,
            LoginServiceError::Verification(ReceiptError::Time(_))
        ),
        "{error}"
    );
    assert_eq!(error.advice(), Advice::TellCustomer);
}

#[tokio::test]
async fn a_nonce_lets_in_once_for_all_processes_that_share_a_pin_store_that_keeps_it() {
    let house = Arc::new(Mutex::new(House::new(10)));
    let fake = broker(&house, |house, nonce| {
        admitted(&house.admit(Kind::Login, AUD, nonce))
    });
    let fake = fake.await;
    let dir = tempfile::tempdir().unwrap();
    let pin = house.lock().unwrap().pin();
    let process = async || {
        let pins = SqlitePins::open(dir.path().join("pins.db")).await.unwrap();
        pins.pin("alice", &pin).await.unwrap();
        house.lock().unwrap().service_with(&fake.url, pins)
    };
    let (one, other) = (process().await, process().await);
    let login = one.begin(pin, Asked::Login, shown()).await.unwrap();
    let stored = serde_json::to_string(&login).unwrap();
    let restored = || serde_json::from_str(&stored).unwrap();
    let (a, b) = tokio::join!(one.wait(login), other.wait(restored()));
    let is_in = |ended: &Result<_, _>| matches!(ended, Ok(LoginEnd::Admitted(_)));
    let is_spent = |ended: &Result<_, _>| matches!(ended, Err(LoginServiceError::Spent));
    assert!(
        (is_in(&a) && is_spent(&b)) || (is_spent(&a) && is_in(&b)),
        "{a:?} {b:?}"
    );
    drop((one, other));
    let restarted = process().await.wait(restored()).await;
    assert!(is_spent(&restarted), "{restarted:?}");
}

/// The stored handle of a login, with the account of another pin in it.
fn retold(login: &OpenLogin, to: &Pin) -> Value {
    let mut stored = serde_json::to_value(login).unwrap();
    stored["account"] = json!(to.account);
    stored["account_key"] = json!(text_b64(&to.account_key));
    stored["device"] = json!(text_b64(&to.parties.device));
    stored
}

#[tokio::test]
async fn a_handle_that_was_altered_lets_in_nobody_but_the_customer_of_a_pin() {
    for is_pinned in [false, true] {
        let house = Arc::new(Mutex::new(House::new(10)));
        let (alice, mut mallory, pin) = {
            let mut house = house.lock().unwrap();
            let mallory = house.operators.found();
            let pin = mallory.pin(&house.operators);
            (house.pin(), mallory, pin)
        };
        // All three parties of another account really agreed to this very login.
        let fake = broker(&house, move |house, nonce| {
            let operators = &mut house.operators;
            admitted(&mallory.admit(operators, Kind::Login, AUD, nonce, body("web")))
        });
        let fake = fake.await;
        let mut known = vec![("alice", alice)];
        known.extend(is_pinned.then_some(("mallory", pin)));
        let service = house
            .lock()
            .unwrap()
            .service_with(&fake.url, pinned(&known));
        let login = service.begin(alice, Asked::Login, shown()).await.unwrap();
        let altered = retold(&login, &pin);
        let ended = service.wait(serde_json::from_value(altered).unwrap()).await;
        match ended {
            Ok(LoginEnd::Admitted(admission)) if is_pinned => {
                assert_eq!(admission.customer, "mallory", "and not alice");
            }
            Err(error @ LoginServiceError::Altered { what, .. }) if !is_pinned => {
                assert_eq!(what, "account");
                assert_eq!(error.advice(), Advice::Page);
            }
            other => panic!("{is_pinned}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_handle_with_another_key_or_device_than_the_pinned_lets_nobody_in() {
    for (expected, member) in [("account key", "account_key"), ("device", "device")] {
        let house = Arc::new(Mutex::new(House::new(10)));
        let other = house.lock().unwrap().operators.found();
        let fake = broker(&house, |house, nonce| {
            admitted(&house.admit(Kind::Login, AUD, nonce))
        });
        let fake = fake.await;
        let (pin, other, service) = {
            let house = house.lock().unwrap();
            let other = other.pin(&house.operators);
            (house.pin(), other, house.service(&fake.url))
        };
        let login = service.begin(pin, Asked::Login, shown()).await.unwrap();
        let mut altered = serde_json::to_value(&login).unwrap();
        altered[member] = retold(&login, &other)[member].clone();
        let ended = service.wait(serde_json::from_value(altered).unwrap()).await;
        assert!(
            matches!(ended, Err(LoginServiceError::Altered { what, .. }) if what == expected),
            "{ended:?}"
        );
        let ended = service.wait(login).await.unwrap();
        let LoginEnd::Admitted(admission) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(admission.customer, "alice");
    }
}

#[tokio::test]
async fn handles_of_other_versions_and_other_services_are_refused() {
    let house = Arc::new(Mutex::new(House::new(10)));
    let fake = broker(&house, |house, nonce| {
        admitted(&house.admit(Kind::Login, AUD, nonce))
    });
    let fake = fake.await;
    let (pin, service) = {
        let house = house.lock().unwrap();
        (house.pin(), house.service(&fake.url))
    };
    let login = service.begin(pin, Asked::Login, shown()).await.unwrap();
    let stored = serde_json::to_value(&login).unwrap();
    assert_eq!(stored["warifu"], "open-login/1");
    let altered = |name: &str, value: Value| {
        let mut altered = stored.clone();
        altered[name] = value;
        serde_json::from_value(altered)
    };
    for (name, value) in [
        ("warifu", json!("open-login/2")),
        ("kind", json!("freeze-ray")),
        ("account_key", json!("AAAA")),
        ("more", json!(1)),
    ] {
        let found: Result<warifu_client_sdk::login_service::OpenLogin, _> = altered(name, value);
        assert!(found.is_err(), "{name}");
    }
    for name in ["iss", "aud"] {
        let foreign = altered(name, json!("https://elsewhere.example")).unwrap();
        let ended = service.wait(foreign).await;
        assert!(
            matches!(ended, Err(LoginServiceError::Foreign { what, .. }) if what == name),
            "{ended:?}"
        );
    }
    let other_key = altered("account_key", json!(text_b64(&[3; 32]))).unwrap();
    assert!(service.wait(other_key).await.is_err());
    assert!(service.wait(login).await.is_ok(), "the very same is let in");
}

#[test]
fn a_kept_receipt_verifies_as_evidence_and_says_by_which_votes() {
    let mut house = House::new(10);
    let nonce = "nonce-of-this-session-only";
    let receipt = house.admit(Kind::Login, AUD, nonce).to_json();
    let expected = Expected {
        iss: ISS.to_owned(),
        aud: AUD.to_owned(),
        account: house.trio.sub(),
        account_key: house.trio.account_key(),
        nonce: nonce.to_owned(),
        kind: Kind::Login,
    };
    let all = Voters::from(house.pin().parties);
    let verified = verify_receipt(&receipt, &expected, &all, Moment::Evidence).unwrap();
    assert_eq!(verified.checked.votes, Role::ALL);
    assert_eq!(verified.sealed.to_json(), receipt);
    let operators = Voters::operators(&house.operators.ledger);
    let verified = verify_receipt(&receipt, &expected, &operators, Moment::Evidence).unwrap();
    assert_eq!(verified.checked.votes, [Role::Broker, Role::TrustOperator]);
    let text = verified.checked.to_string();
    assert!(text.contains("not the device's vote"), "{text}");
    for (role, voters) in [
        (
            Role::Device,
            Voters {
                device: Some([3; 32]),
                ..all
            },
        ),
        (
            Role::Broker,
            Voters {
                broker: all.trust_operator,
                ..all
            },
        ),
        (
            Role::TrustOperator,
            Voters {
                trust_operator: all.broker,
                ..all
            },
        ),
    ] {
        let refused = verify_receipt(&receipt, &expected, &voters, Moment::Evidence);
        assert!(
            matches!(refused, Err(ReceiptError::Vote(BadVote { role: of, .. })) if of == role),
            "{refused:?}"
        );
    }
    let late = Moment::Live(Time(NOW.0 + 90_000));
    assert!(matches!(
        verify_receipt(&receipt, &expected, &all, late),
        Err(ReceiptError::Time(_))
    ));
    house.trio.freeze(&mut house.operators);
    let freeze = house.trio.chain().last().unwrap().to_json();
    assert!(matches!(
        verify_receipt(&freeze, &expected, &all, Moment::Evidence),
        Err(ReceiptError::Class { .. })
    ));
    let genesis = house.trio.chain()[0].to_json();
    assert!(verify_receipt(&genesis, &expected, &all, Moment::Evidence).is_err());
}
