//! Public witnesses: shown what both operators signed, believed by their key only, never waited for.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU16, AtomicUsize, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use tokio::net::TcpListener;
use warifu_consensus::log::{AddCheckpoint, Answer, Digest, SignedNote};
use warifu_node::{
    config::{PublicWitness, WitnessUrl},
    log::PublicWitnesses,
};

use super::*;

/// A witness of another house.
struct Stranger {
    key: LogKey,
    /// What its configuration at the broker says.
    pinned: LogKey,
    last: Mutex<Option<(u64, Digest)>>,
    /// The status that it answers, if it answers wrongly.
    broken: AtomicU16,
    asked: AtomicUsize,
}

impl Stranger {
    fn new(name: &str, seed: u8, pinned: u8) -> Arc<Self> {
        let key = |seed| LogKey::from_seed([seed; 32], name, Algorithm::Cosignature).unwrap();
        Arc::new(Self {
            key: key(seed),
            pinned: key(pinned),
            last: Mutex::default(),
            broken: AtomicU16::new(0),
            asked: AtomicUsize::new(0),
        })
    }

    async fn serve(self: &Arc<Self>) -> PublicWitness {
        let router = Router::new()
            .route("/submit/add-checkpoint", post(add))
            .with_state(Arc::clone(self));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        PublicWitness {
            key: self.pinned.public().clone(),
            url: WitnessUrl::below(&format!("http://{address}/submit/")).unwrap(),
        }
    }

    fn has(&self) -> u64 {
        self.last.lock().unwrap().map_or(0, |(size, _)| size)
    }
}

async fn add(State(own): State<Arc<Stranger>>, body: String) -> (StatusCode, String) {
    own.asked.fetch_add(1, Ordering::SeqCst);
    let broken = own.broken.load(Ordering::SeqCst);
    if broken != 0 {
        return (StatusCode::from_u16(broken).unwrap(), "x".repeat(100_000));
    }
    let request: AddCheckpoint = body.parse().unwrap();
    let mut last = own.last.lock().unwrap();
    let answer = request.answer(&keys().log, *last);
    let status = StatusCode::from_u16(answer.status()).unwrap();
    let text = match answer {
        Answer::Cosign(checkpoint) => {
            *last = Some((checkpoint.size, checkpoint.root));
            let mut note: SignedNote = request.checkpoint;
            note.sign(&own.key, 1_780_000_600);
            note.lines_of(own.key.public())
        }
        Answer::OtherSize(size) => format!("{size}\n"),
        other => format!("{other:?}"),
    };
    (status, text)
}

async fn grow(pair: &mut Pair, broker: &Up, trust_operator: &Up) {
    let size = broker.book.state().size;
    for number in 1..=5 {
        pair.seal(broker, trust_operator, account(number)).await;
    }
    broker.cosigned(size + 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_public_witnesses_are_joined_and_a_broken_one_holds_up_nobody() {
    let mut pair = Pair::new();
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    pair.connect([&broker, &trust_operator]).await;
    let good = Stranger::new("one.example", 41, 41);
    let liar = Stranger::new("two.example", 42, 43);
    let broken = Stranger::new("three.example", 44, 44);
    broken.broken.store(500, Ordering::SeqCst);
    let mut witnesses = Vec::new();
    for stranger in [&good, &liar, &broken] {
        witnesses.push(stranger.serve().await);
    }
    let (rounds, mut witnessed) =
        PublicWitnesses::new(Arc::clone(&broker.book), witnesses).unwrap();
    let rounds = tokio::spawn(rounds.run());
    for round in 1..=3_u64 {
        grow(&mut pair, &broker, &trust_operator).await;
        let size = round * 5;
        let seen = witnessed.wait_for(|seen| seen.as_ref().is_some_and(|(c, _)| c.size == size));
        let (_, note) = timeout(PATIENCE, seen)
            .await
            .expect("witnessed")
            .unwrap()
            .clone()
            .unwrap();
        assert_eq!(good.has(), size);
        // The published note has the line: it verifies beside both operators'.
        let (checkpoint, published) = broker.book.cosigned().unwrap();
        assert_eq!((checkpoint.size, &published), (size, &note));
        Checkpoint::cosigned(&published, &keys().witness).unwrap();
        Checkpoint::cosigned(&published, good.key.public()).unwrap();
        assert!(
            !published.to_string().contains("two.example"),
            "{published}"
        );
        assert!(
            !published.to_string().contains("three.example"),
            "{published}"
        );
    }
    // Who fails is asked again, less often each time; once it works, its line is there.
    assert!(
        broken.asked.load(Ordering::SeqCst) <= 6,
        "{:?}",
        broken.asked
    );
    broken.broken.store(0, Ordering::SeqCst);
    let mut joined = witnessed.clone();
    let has = joined.wait_for(|seen| {
        let note = seen.as_ref().map(|(_, note)| note.to_string());
        note.is_some_and(|note| note.contains("three.example") && note.contains("one.example"))
    });
    drop(
        timeout(PATIENCE, has)
            .await
            .expect("it cosigns after all")
            .unwrap(),
    );
    assert_eq!(broken.has(), 15);

    // After a start nobody is asked to sign what it signed already, beyond what it says itself; lines are still there.
    rounds.abort();
    let published = broker.book.cosigned().unwrap().1;
    pair.cut();
    broker.stop().await;
    let keeper = pair.sides[0].keeper();
    let book = pair.sides[0].book(&keeper).unwrap();
    assert_eq!(book.cosigned().unwrap().1, published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_knows_more_is_not_believed_and_the_log_goes_on() {
    let mut pair = Pair::new();
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    pair.connect([&broker, &trust_operator]).await;
    let ahead = Stranger::new("one.example", 41, 41);
    *ahead.last.lock().unwrap() = Some((1_000, [7; 32]));
    let witness = ahead.serve().await;
    let (rounds, witnessed) =
        PublicWitnesses::new(Arc::clone(&broker.book), vec![witness]).unwrap();
    let rounds = tokio::spawn(rounds.run());
    for _ in 0..2 {
        grow(&mut pair, &broker, &trust_operator).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(ahead.asked.load(Ordering::SeqCst) > 0);
    assert!(witnessed.borrow().is_none());
    assert_eq!(broker.book.cosigned().unwrap().0.size, 10);
    assert!(!rounds.is_finished());
    rounds.abort();
}

/// Answers with whatever `say` makes of the note.
async fn serves(say: fn(SignedNote) -> String) -> String {
    let answer = move |body: String| async move {
        let request: AddCheckpoint = body.parse().unwrap();
        say(request.checkpoint)
    };
    let router = Router::new().route("/add-checkpoint", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/")
}

fn stranger_key() -> LogKey {
    LogKey::from_seed([45; 32], "four.example", Algorithm::Cosignature).unwrap()
}

/// A line that holds, on another text that begins as the checkpoint does.
fn on_another_text(note: SignedNote) -> String {
    let mut other = SignedNote::new(format!("{}\nmore\n", note.text()));
    other.sign(&stranger_key(), 1_780_000_600);
    let lines = other.lines_of(stranger_key().public());
    format!("more\n\n{lines}")
}

/// As many lines that hold as make any reader refuse the note.
fn too_many(note: SignedNote) -> String {
    let line = |time| {
        let mut note = SignedNote::new(note.text().to_owned());
        note.sign(&stranger_key(), time);
        note.lines_of(stranger_key().public())
    };
    (0..99).map(|n| line(1_780_000_600 + n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_witness_adds_one_line_that_holds_or_none() {
    for (say, expected) in [
        (on_another_text as fn(SignedNote) -> String, 0),
        (too_many as fn(SignedNote) -> String, 1),
    ] {
        let mut pair = Pair::new();
        let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
        pair.connect([&broker, &trust_operator]).await;
        let witness = PublicWitness {
            key: stranger_key().public().clone(),
            url: WitnessUrl::below(&serves(say).await).unwrap(),
        };
        let (rounds, _witnessed) =
            PublicWitnesses::new(Arc::clone(&broker.book), vec![witness]).unwrap();
        let rounds = tokio::spawn(rounds.run());
        grow(&mut pair, &broker, &trust_operator).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let published = broker.book.cosigned().unwrap().1;
        let lines = published.lines_of(stranger_key().public());
        assert_eq!(lines.lines().count(), expected, "{published}");
        if expected > 0 {
            Checkpoint::cosigned(&published, stranger_key().public()).unwrap();
        }
        SignedNote::parse(published.to_string().as_bytes()).expect("readers can read it");
        // A new line: heads are compared, and the log goes on.
        pair.connect([&broker, &trust_operator]).await;
        grow(&mut pair, &broker, &trust_operator).await;
        rounds.abort();
    }
}
