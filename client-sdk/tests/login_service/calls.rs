//! Which call is repeated and which is not, what a dropped call leaves behind, and what a later
//! broker may say.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warifu_client_sdk::login_service::api::Asked;
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_client_sdk::login_service::{
    Advice, EnrolmentEnd, FreezeEnd, LoginEnd, LoginServiceError, OpenLogin, Patience, PinStore,
};
use warifu_consensus::block::{Kind, Sealed, jwk};
use warifu_consensus::body::Body;
use warifu_consensus::time::Time;

use super::fake::{Fake, Reply, Request};
use super::lies::{AUD, House, LOGIN, NOW, admitted, begun, broker, shown};
use super::trio::body;

/// A broker that does what `first` says, one reply for each request, and then `last` for ever.
async fn scripted(first: Vec<Reply>, last: impl Fn() -> Reply + Send + 'static) -> Fake {
    let mut first = first.into_iter();
    Fake::open(move |_| first.next().unwrap_or_else(&last)).await
}

fn pending() -> Reply {
    Reply::Json(200, json!({"status": "pending", "expires_in": 60}))
}

fn refused() -> Reply {
    Reply::Json(
        200,
        json!({"status": "refused", "by": "broker", "reason": "cancelled"}),
    )
}

fn gone() -> Reply {
    Reply::Json(204, Value::Null)
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a call took is what the test is about"
)]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_wait_outlives_lost_halved_slow_and_failed_answers() {
    let house = Arc::new(Mutex::new(House::new(20)));
    let inside = Arc::clone(&house);
    let (mut nonce, mut looks) = (String::new(), 0);
    let fake = Fake::open(move |request: &Request| {
        if request.is("POST") {
            nonce = request.body["nonce"].as_str().unwrap().to_owned();
            return begun();
        }
        looks += 1;
        match looks {
            1 => Reply::Lost,
            2 => Reply::Half,
            3 => Reply::Json(500, json!("not a problem document")),
            4 => pending(),
            5 => Reply::problem(ProblemKind::Stopping),
            6 => Reply::problem(ProblemKind::Internal),
            _ => {
                let sealed = inside
                    .lock()
                    .unwrap()
                    .admit(Kind::Login, AUD, &nonce.clone());
                Reply::Json(200, admitted(&sealed))
            }
        }
    })
    .await;
    let (pin, service) = {
        let house = house.lock().unwrap();
        (house.pin(), house.service(&fake.url))
    };
    let login = service.begin(pin, Asked::Login, shown()).await.unwrap();
    let ended = service.wait(login).await.unwrap();
    assert!(matches!(ended, LoginEnd::Admitted(_)), "{ended:?}");
    assert_eq!(fake.count("GET /v1/logins/"), 7);
    assert_eq!(fake.count("POST /v1/logins"), 1);
}

#[tokio::test]
async fn a_slow_answer_is_given_up_and_asked_for_again() {
    let house = House::new(20);
    let fake = scripted(vec![Reply::Never, Reply::Never], || {
        Reply::Json(200, json!({"blocks": []}))
    });
    let fake = fake.await;
    let patience = Patience {
        answer: Duration::from_secs(1),
        overall: Duration::from_secs(15),
        tries: 3,
    };
    let service = house.service(&fake.url).with_patience(patience);
    let begun = now();
    let page = service.history(house.pin(), Some(0), None).await.unwrap();
    assert!(page.blocks.is_empty());
    assert_eq!(fake.count("GET"), 3);
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "two limits of an answer"
    );
    let never = scripted(vec![], || Reply::Never).await;
    let patience = Patience {
        overall: Duration::from_millis(1500),
        tries: 100,
        ..patience
    };
    let service = house.service(&never.url).with_patience(patience);
    let begun = now();
    let error = service.account(house.pin()).await.unwrap_err();
    assert!(matches!(
        error,
        LoginServiceError::Unreachable { is_sent: true, .. }
    ));
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_begin_is_sent_once_unless_it_never_left() {
    let house = House::new(20);
    for reply in [
        || Reply::Lost,
        || Reply::Half,
        || Reply::Json(503, Value::Null),
    ] {
        let fake = scripted(vec![], reply).await;
        let service = house.service(&fake.url);
        let error = service
            .begin(house.pin(), Asked::Login, shown())
            .await
            .unwrap_err();
        assert!(
            matches!(error, LoginServiceError::Unreachable { is_sent: true, .. }),
            "{error:?}"
        );
        assert!(matches!(error.advice(), Advice::Retry { .. }));
        assert_eq!(fake.count("POST"), 1);
    }
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let service = house.service(&url);
    let begun = now();
    let error = service
        .begin(house.pin(), Asked::Login, shown())
        .await
        .unwrap_err();
    assert!(
        matches!(error, LoginServiceError::Unreachable { is_sent: false, .. }),
        "{error:?}"
    );
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "it was tried again"
    );
}

#[tokio::test]
async fn a_dropped_begin_takes_itself_back_and_a_dropped_wait_does_not() {
    let house = House::new(20);
    let fake = Fake::open(|request: &Request| {
        if request.is("POST") {
            // The answer comes when the caller is gone.
            std::thread::sleep(Duration::from_millis(100));
            begun()
        } else if request.is("DELETE") {
            gone()
        } else {
            pending()
        }
    })
    .await;
    let service = house.service(&fake.url);
    let begin = service.begin(house.pin(), Asked::Login, shown());
    assert!(
        tokio::time::timeout(Duration::from_millis(30), begin)
            .await
            .is_err()
    );
    fake.saw(&format!("DELETE /v1/logins/{LOGIN}")).await;
    assert_eq!(fake.count("POST"), 1);

    let login = service
        .begin(house.pin(), Asked::Login, shown())
        .await
        .unwrap();
    let wait = service.wait(login);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), wait)
            .await
            .is_err()
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fake.count("DELETE"), 1, "the login stays open");
}

#[tokio::test]
async fn a_begin_with_no_number_takes_itself_back() {
    let house = House::new(20);
    let fake = Fake::open(|request: &Request| {
        if request.is("DELETE") {
            return gone();
        }
        Reply::Json(
            201,
            json!({"id": LOGIN, "number": "<script>", "expires_in": 90}),
        )
    })
    .await;
    let service = house.service(&fake.url);
    let begun = service.begin(house.pin(), Asked::Login, shown()).await;
    assert!(matches!(begun, Err(LoginServiceError::Answer { .. })));
    fake.saw(&format!("DELETE /v1/logins/{LOGIN}")).await;
}

#[tokio::test]
async fn a_cancel_whose_answer_was_lost_is_found_done() {
    let house = House::new(20);
    let too_late = || Reply::problem(ProblemKind::TooLate);
    let fake = scripted(vec![Reply::Lost, too_late(), refused()], gone).await;
    house.service(&fake.url).cancel(LOGIN).await.unwrap();
    assert_eq!(fake.count("DELETE"), 2);
    assert_eq!(fake.count("GET"), 1);
    // The same answer to the first try says what it says.
    let fake = scripted(vec![too_late()], refused).await;
    let error = house.service(&fake.url).cancel(LOGIN).await.unwrap_err();
    assert_eq!(error.advice(), Advice::TellCustomer);
    assert_eq!(fake.count("GET"), 0);
    // Lost, and then the customer had approved before: it is too late after all.
    let mut house = house;
    let sealed = house.admit(Kind::Login, AUD, "nonce-of-this-session-only");
    let told = admitted(&sealed);
    let fake = scripted(vec![Reply::Lost, too_late()], move || {
        Reply::Json(200, told.clone())
    });
    let error = house.service(&fake.await.url).cancel(LOGIN).await;
    assert!(matches!(error, Err(LoginServiceError::Problem(_))));
}

#[tokio::test]
async fn the_pause_that_the_broker_asks_for_is_kept() {
    let house = House::new(20);
    let busy = serde_json::json!({"type": ProblemKind::TooMany.urn(), "status": 429});
    let fake = scripted(vec![Reply::With(429, "retry-after: 1", busy)], || {
        Reply::Json(200, json!({"blocks": []}))
    });
    let fake = fake.await;
    let begun = now();
    let service = house.service(&fake.url);
    service.history(house.pin(), Some(0), None).await.unwrap();
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(fake.count("GET"), 2);
}

#[tokio::test]
async fn a_freeze_is_repeated_and_connections_are_kept() {
    let mut house = House::new(20);
    house.trio.freeze(&mut house.operators);
    let sealed: Sealed = house.trio.chain().last().unwrap().clone();
    let frozen = json!({"status": "frozen", "height": 1, "hash": sealed.block.hash(), "receipt": sealed.to_json()});
    let fake = scripted(vec![Reply::Json(503, Value::Null)], move || {
        Reply::Json(200, frozen.clone())
    });
    let fake = fake.await;
    let service = house.service(&fake.url);
    for _ in 0..10 {
        let frozen = service.freeze(house.pin()).await.unwrap();
        let FreezeEnd::Frozen { height, iat, .. } = frozen else {
            panic!("{frozen:?}");
        };
        assert_eq!((height, iat), (1, sealed.block.claims().iat));
    }
    assert_eq!(fake.count("POST"), 11);
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn a_freeze_that_came_before_an_unfreeze_is_told_with_its_own_height_and_time() {
    let mut house = House::new(20);
    house.trio.freeze(&mut house.operators);
    let sealed: Sealed = house.trio.chain().last().unwrap().clone();
    house.operators.now = Time(NOW.0 + 60_000);
    let shown = Body {
        reference: Some("case 7".to_owned()),
        ..body("desk")
    };
    let nonce = "nonce-of-the-unfreeze-here";
    house
        .trio
        .admit(&mut house.operators, Kind::Unfreeze, AUD, nonce, shown);
    let told = |height: u64| json!({"status": "frozen", "height": height, "hash": sealed.block.hash(), "receipt": sealed.to_json()});
    let old = told(1);
    let fake = scripted(vec![], move || Reply::Json(200, old.clone())).await;
    let end = house.service(&fake.url).freeze(house.pin()).await.unwrap();
    let FreezeEnd::Frozen { height, iat, .. } = end else {
        panic!("{end:?}");
    };
    assert_eq!((height, iat), (1, NOW.seconds()), "not now");
    // Nor can the broker call it a newer one.
    let newer = told(3);
    let fake = scripted(vec![], move || Reply::Json(200, newer.clone())).await;
    let error = house.service(&fake.url).freeze(house.pin()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, LoginServiceError::History(_)), "{error}");
}

/// How a broker tells these blocks.
fn entries<'a>(blocks: impl IntoIterator<Item = &'a Sealed>) -> Vec<Value> {
    let entry = |sealed: &Sealed| {
        let claims = sealed.block.claims();
        json!({
            "height": claims.height, "kind": claims.kind.name(), "aud": claims.aud,
            "time": claims.iat, "hash": sealed.block.hash(), "receipt": sealed.to_json(),
            "member-of-a-later-version": true,
        })
    };
    blocks.into_iter().map(entry).collect()
}

#[tokio::test]
async fn blocks_that_a_broker_hides_at_a_pages_borders_are_missed() {
    let mut house = House::new(20);
    for n in 1..=4 {
        let nonce = format!("nonce-of-session-number-{n}");
        house.admit(Kind::Login, AUD, &nonce);
    }
    let chain = house.trio.chain().to_vec();
    let told = async |before, heights: &[usize], next: Option<u64>, newer: Option<usize>| {
        let mut blocks = entries(heights.iter().map(|height| &chain[*height]));
        if let Some(newer) = newer {
            blocks[newer]["kind"] = json!("add-device");
        }
        let page = json!({"blocks": blocks, "next": next});
        let fake = scripted(vec![], move || Reply::Json(200, page.clone())).await;
        let service = house.service(&fake.url);
        service.history(house.pin(), before, None).await
    };
    for (before, heights, next) in [
        (None, &[4, 3, 2, 1, 0][..], None),
        (None, &[4, 3], Some(3)),
        (Some(3), &[2, 1], Some(1)),
        (Some(1), &[0], None),
        (Some(0), &[], None),
    ] {
        let page = told(before, heights, next, None).await.unwrap();
        assert_eq!((page.blocks.len(), page.next), (heights.len(), next));
    }
    for (before, heights, next, why) in [
        (Some(3), &[1, 0][..], None, "block 2 is hidden at the top"),
        (Some(3), &[3, 2, 1, 0], None, "it overlaps"),
        (Some(3), &[], None, "all are hidden"),
        (Some(3), &[2, 1], Some(0), "block 0 would be hidden"),
        (Some(3), &[2], Some(1), "block 1 would be hidden"),
        (Some(3), &[2], None, "the rest is hidden"),
        (Some(3), &[2], Some(3), "it goes round in a circle"),
        (Some(1), &[0], Some(0), "nothing is below genesis"),
        (Some(0), &[0], None, "nor is genesis"),
        (None, &[4, 3], None, "the rest is hidden"),
        (None, &[], None, "even genesis is hidden"),
        (None, &[4, 2], Some(2), "block 3 is hidden"),
    ] {
        let error = told(before, heights, next, None).await.expect_err(why);
        assert!(matches!(error, LoginServiceError::History(_)), "{error}");
        assert_eq!(error.advice(), Advice::Page);
    }
    // A block that can't be read hides none below it.
    let page = told(None, &[4, 3, 2, 1, 0], None, Some(1)).await.unwrap();
    assert_eq!((page.blocks.len(), page.newer.len()), (4, 1));
    assert!(told(None, &[4, 3, 1, 0], None, Some(1)).await.is_err());
}

#[tokio::test]
async fn a_confirm_whose_answer_was_lost_is_looked_for_and_never_sent_twice() {
    let house = House::new(20);
    let genesis = &house.trio.chain()[0];
    let session = genesis.block.claims().nonce.clone();
    let done = json!({
        "status": "done", "account": house.trio.sub(),
        "jwk": jwk(&house.trio.account_key()), "genesis": genesis.to_json(),
    });
    let fake = scripted(vec![Reply::Lost], move || Reply::Json(200, done.clone())).await;
    let service = house.service(&fake.url);
    let end = service.confirm("alice", &session, "123456").await.unwrap();
    assert!(matches!(end, EnrolmentEnd::Pinned { .. }), "{end:?}");
    assert_eq!(fake.count("POST"), 1);
    let pinned = service.pins().pinned("alice").await.unwrap();
    assert_eq!(pinned, Some(house.pin()));

    let digits = || Reply::Json(200, json!({"status": "digits"}));
    let fake = scripted(vec![Reply::Lost], digits).await;
    let service = house.service(&fake.url);
    let lost = service.confirm("alice", &session, "123456").await;
    assert!(matches!(
        lost,
        Err(LoginServiceError::Unreachable { is_sent: true, .. })
    ));
    assert_eq!((fake.count("POST"), fake.count("GET")), (1, 1));
}

#[tokio::test]
async fn what_a_later_broker_says_is_understood_as_far_as_it_can_be() {
    let mut house = House::new(20);
    let problem = |status: u16| {
        let problem = json!({"type": "urn:warifu:problem:of-a-later-version", "status": status});
        move || Reply::Json(status, problem.clone())
    };
    for (status, advice) in [
        (418, Advice::Fix),
        (409, Advice::TellCustomer),
        (500, Advice::Page),
    ] {
        let fake = scripted(vec![], problem(status)).await;
        let service = house.service(&fake.url);
        let begun = service.begin(house.pin(), Asked::Login, shown()).await;
        let error = begun.unwrap_err();
        assert!(
            matches!(&error, LoginServiceError::Problem(p) if p.kind().is_none()),
            "{error:?}"
        );
        assert_eq!(error.advice(), advice);
    }

    house.admit(Kind::Login, AUD, "nonce-of-this-session-only");
    house.admit(Kind::Login, AUD, "nonce-of-the-next-session-x");
    let mut blocks = entries(house.trio.chain().iter().rev());
    blocks[1]["kind"] = json!("add-device");
    blocks[1]["receipt"] = json!({"of": "another form"}).to_string().into();
    let told = json!({ "blocks": blocks });
    let fake = scripted(vec![], move || Reply::Json(200, told.clone())).await;
    let service = house.service(&fake.url);
    let page = service.history(house.pin(), None, None).await.unwrap();
    assert_eq!(page.blocks.len(), 2);
    assert_eq!(page.newer.len(), 1);
    assert_eq!(page.newer[0].kind, "add-device");
    // Its place in the chain is still checked.
    let mut moved = blocks.clone();
    moved[1]["hash"] = moved[0]["hash"].clone();
    let told = json!({ "blocks": moved });
    let fake = scripted(vec![], move || Reply::Json(200, told.clone())).await;
    let service = house.service(&fake.url);
    assert!(service.history(house.pin(), None, None).await.is_err());

    let of_account = json!({"status": "resting", "account": house.trio.sub(), "height": 3});
    let fake = scripted(vec![], move || Reply::Json(200, of_account.clone())).await;
    let service = house.service(&fake.url);
    let error = service.account(house.pin()).await.unwrap_err();
    assert!(matches!(error, LoginServiceError::Newer { .. }), "{error}");
    let error = service.freeze(house.pin()).await.unwrap_err();
    assert!(matches!(error, LoginServiceError::Newer { .. }), "{error}");
}

#[tokio::test]
async fn a_login_that_is_polled_from_stored_handles_is_let_in() {
    let house = Arc::new(Mutex::new(House::new(20)));
    let fake = broker(&house, |house, nonce| {
        admitted(&house.admit(Kind::Login, AUD, nonce))
    });
    let fake = fake.await;
    let (pin, service) = {
        let house = house.lock().unwrap();
        (house.pin(), house.service(&fake.url))
    };
    let login = service.begin(pin, Asked::Login, shown()).await.unwrap();
    let row = serde_json::to_vec(&login).unwrap();
    drop(login);
    let login: OpenLogin = serde_json::from_slice(&row).unwrap();
    assert_eq!(login.number(), "07");
    let ended = service.wait(login).await.unwrap();
    assert!(matches!(ended, LoginEnd::Admitted(_)));
    assert_eq!(fake.count("DELETE"), 0, "a dropped handle cancels nothing");
}
