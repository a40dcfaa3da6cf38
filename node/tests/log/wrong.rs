//! What the trust operator does not cosign, and what is kept when a log was forked.

use warifu_consensus::log::{Evidence, Offered, SignedNote, Unmatched};

use super::*;

/// The trust operator's side alone, and this test as the broker.
pub(super) struct Alone {
    pub(super) pair: Pair,
    pub(super) up: Up,
    heard: mpsc::Receiver<LogEvent>,
}

impl Alone {
    pub(super) fn new() -> Self {
        let pair = Pair::new();
        let (events, heard) = mpsc::channel(64);
        *pair.wires[0].lock().unwrap() = Some(events);
        let up = pair.trust_operator();
        Self { pair, up, heard }
    }

    pub(super) async fn seals(&mut self, number: u8) -> Sealed {
        let sealed = self.pair.next(account(number));
        self.up.seal(&sealed).await;
        sealed
    }

    pub(super) async fn say(&self, said: LogMessage) {
        self.up
            .events
            .send(LogEvent::Said(Box::new(said)))
            .await
            .unwrap();
    }

    pub(super) async fn hears(&mut self) -> LogMessage {
        let heard = timeout(PATIENCE, self.heard.recv())
            .await
            .expect("an answer")
            .unwrap();
        match heard {
            LogEvent::Said(said) => *said,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn offers(&mut self, size: u64, blocks: &[Offered]) -> Vec<(u16, Unmatched)> {
        self.say(LogMessage::Offer {
            size,
            blocks: blocks.to_vec(),
        })
        .await;
        match self.hears().await {
            LogMessage::Matched {
                size: said,
                refused,
            } if said == size => refused,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn offered(sealed: &Sealed) -> Offered {
    let claims = sealed.block.claims();
    Offered {
        sub: claims.sub,
        height: claims.height,
        block: sealed.block.hash(),
        opener: Opener::of(&content_key(&claims.sub), &claims.sub),
    }
}

pub(super) fn signed(blocks: &[Offered]) -> SignedNote {
    let mut tree = warifu_consensus::log::Frontier::new();
    for block in blocks {
        let leaf = block.opener.leaf(&block.block);
        tree.push(warifu_consensus::log::leaf_hash(&leaf.0), |_, _| {});
    }
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: tree.size(),
        root: tree.root(),
    };
    checkpoint.signed(&log_key())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_blocks_that_it_sealed_itself_each_once_and_in_turn() {
    let mut alone = Alone::new();
    let (first, second) = (alone.seals(1).await, alone.seals(1).await);
    let other = alone.seals(2).await;
    let mut never = offered(&other);
    never.height = 7;
    let mut altered = offered(&first);
    altered.block = Hash([9; 32]);
    let stranger = offered(&block(account(3), 0, Hash::ZERO));
    let wrong = [never, altered, stranger, offered(&second)];
    let expected = [
        (0, Unmatched::NotSealed),
        (1, Unmatched::NotSealed),
        (2, Unmatched::NotSealed),
        (3, Unmatched::OutOfTurn),
    ];
    assert_eq!(alone.offers(0, &wrong).await, expected);
    // In any order within an offer, but not twice.
    let twice = [offered(&second), offered(&first), offered(&first)];
    let refused = alone.offers(0, &twice).await;
    assert_eq!(refused, [(2, Unmatched::OutOfTurn)]);
    let good = [offered(&second), offered(&first)];
    assert_eq!(alone.offers(0, &good).await, []);
    alone
        .say(LogMessage::Signed {
            note: signed(&good).to_string(),
        })
        .await;
    let LogMessage::Cosigned { note } = alone.hears().await else {
        panic!("not cosigned")
    };
    let note = SignedNote::parse(note.as_bytes()).unwrap();
    assert_eq!(
        Checkpoint::cosigned(&note, &keys().witness).unwrap().time,
        1_780_000_500
    );
    let again = [offered(&first)];
    assert_eq!(alone.offers(2, &again).await, [(0, Unmatched::Logged)]);
    // An account's opener never changes.
    let third = alone.seals(1).await;
    let mut foreign = offered(&third);
    foreign.opener = Opener::from_bytes([5; 32]);
    assert_eq!(alone.offers(2, &[foreign]).await, [(0, Unmatched::Opener)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_over_anything_but_what_was_matched_is_not_cosigned() {
    let mut alone = Alone::new();
    let blocks = [alone.seals(1).await, alone.seals(2).await];
    let blocks: Vec<Offered> = blocks.iter().map(offered).collect();
    let swapped = [blocks[1].clone(), blocks[0].clone()];
    let foreign = LogKey::from_seed([1; 32], ORIGIN, Algorithm::Ed25519).unwrap();
    let unsigned = SignedNote::new(signed(&blocks).text().to_owned());
    let mut by_another = unsigned.clone();
    by_another.sign(&foreign, 0);
    for note in [signed(&swapped), unsigned, by_another] {
        assert_eq!(alone.offers(0, &blocks).await, []);
        alone
            .say(LogMessage::Signed {
                note: note.to_string(),
            })
            .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(alone.up.book.state().size, 0, "{note}");
        let kept = alone.up.keeper.opener(&account(1)).unwrap();
        assert_eq!(kept, None, "of a leaf that is none");
    }
    // A size that nobody matched: it says how far it is.
    alone
        .say(LogMessage::Signed {
            note: signed(&blocks[..1]).to_string(),
        })
        .await;
    let heard = alone.hears().await;
    assert_eq!(
        heard,
        LogMessage::State {
            size: 0,
            note: String::new()
        }
    );
    assert_eq!(alone.offers(0, &blocks).await, []);
    alone
        .say(LogMessage::Signed {
            note: signed(&blocks).to_string(),
        })
        .await;
    assert!(matches!(alone.hears().await, LogMessage::Cosigned { .. }));
    alone.up.cosigned(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_kept_as_evidence_that_judges_itself() {
    let mut alone = Alone::new();
    let blocks = [
        alone.seals(1).await,
        alone.seals(2).await,
        alone.seals(3).await,
    ];
    let blocks: Vec<Offered> = blocks.iter().map(offered).collect();
    assert_eq!(alone.offers(0, &blocks).await, []);
    alone
        .say(LogMessage::Signed {
            note: signed(&blocks).to_string(),
        })
        .await;
    assert!(matches!(alone.hears().await, LogMessage::Cosigned { .. }));
    // The broker shows another log of two leaves, with a cosignature that the witness once gave.
    let mut other = signed(&[blocks[1].clone(), blocks[0].clone()]);
    other.sign(&witness_key(), 1_780_000_400);
    let text = other.to_string();
    alone
        .say(LogMessage::State {
            size: 2,
            note: text,
        })
        .await;
    let dir = alone.pair.dir(3).join("log/evidence");
    let file = timeout(PATIENCE, async {
        loop {
            if let Some(Ok(file)) = std::fs::read_dir(&dir).ok().and_then(|mut d| d.next()) {
                return file.path();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("evidence");
    let text = std::fs::read_to_string(file).unwrap();
    let evidence = Evidence::from_text(&text).unwrap();
    let fork = evidence.judge().unwrap();
    assert_eq!(fork.size, 2);
    assert!(fork.witness_too);
    assert_eq!(fork.second, alone.up.book.root_of(2).unwrap());
    // It shows nothing once the smaller one is the log's own.
    let mut fitting = evidence.clone();
    fitting.first = signed(&blocks[..2]);
    assert_eq!(
        fitting.judge().unwrap_err().to_string(),
        "both checkpoints are of one log: at 2 leaves the roots are equal"
    );
    let mut unproven = evidence;
    unproven.begins = [7; 32];
    assert!(unproven.judge().is_err());
    drop(alone.up.task);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_account_s_opener_is_not_taken_again() {
    let mut alone = Alone::new();
    let sealed = alone.seals(1).await;
    let other = alone.seals(2).await;
    let sub = account(1);
    let record = Record::Erased {
        erasure: None,
        both: true,
    };
    alone.up.keeper.append(&sub, &[record]).await.unwrap();
    alone.up.keeper.forget_erased(&[sub]).await.unwrap();
    let offer = |sealed: &Sealed| {
        let claims = sealed.block.claims();
        Offered {
            sub: claims.sub,
            height: claims.height,
            block: sealed.block.hash(),
            opener: Opener::of(&content_key(&claims.sub), &claims.sub),
        }
    };
    let refused = alone.offers(0, &[offer(&sealed), offer(&other)]).await;
    assert_eq!(refused, [(0, Unmatched::Opener)], "and nothing else");
    assert_eq!(alone.up.keeper.opener(&sub).unwrap(), None);
    // Nor is that of one that was erased after the offer.
    let both = [offer(&other)];
    assert_eq!(alone.offers(0, &both).await, []);
    let sub = account(2);
    let record = Record::Erased {
        erasure: None,
        both: true,
    };
    alone.up.keeper.append(&sub, &[record]).await.unwrap();
    alone.up.keeper.forget_erased(&[sub]).await.unwrap();
    let note = signed(&both).to_string();
    alone.say(LogMessage::Signed { note }).await;
    // Said behind it, and so answered behind it.
    assert_eq!(alone.offers(0, &[]).await, []);
    assert_eq!(alone.up.book.state().size, 0);
    assert_eq!(alone.up.keeper.opener(&sub).unwrap(), None);
}

/// What an offer and its checkpoint lead to.
pub(super) async fn offers_and_signs(
    alone: &mut Alone,
    size: u64,
    blocks: &[Offered],
) -> LogMessage {
    assert_eq!(alone.offers(size, blocks).await, []);
    let note = signed(blocks).to_string();
    alone.say(LogMessage::Signed { note }).await;
    alone.hears().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_one_opener_within_one_offer_too() {
    let mut alone = Alone::new();
    let (first, second) = (alone.seals(1).await, alone.seals(1).await);
    let mut other = offered(&second);
    other.opener = Opener::from_bytes([5; 32]);
    // Only one of both would be kept, and the other leaf could be explained by nobody.
    let refused = alone.offers(0, &[other.clone(), offered(&first)]).await;
    assert_eq!(refused, [(0, Unmatched::Opener)]);
    let good = [offered(&second), offered(&first)];
    let heard = offers_and_signs(&mut alone, 0, &good).await;
    assert!(matches!(heard, LogMessage::Cosigned { .. }), "{heard:?}");
    assert_eq!(
        alone.up.keeper.opener(&account(1)).unwrap(),
        Some(good[0].opener.clone())
    );
}

pub(super) async fn evidence_of(dir: &Path) -> Evidence {
    let file = timeout(PATIENCE, async {
        loop {
            if let Some(Ok(file)) = std::fs::read_dir(dir).ok().and_then(|mut d| d.next()) {
                return file.path();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let text = std::fs::read_to_string(file.await.expect("evidence")).unwrap();
    Evidence::from_text(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_the_broker_says_it_signed_is_kept_as_evidence() {
    for rival in [1, 2] {
        let mut alone = Alone::new();
        let blocks = [alone.seals(1).await, alone.seals(2).await];
        let blocks: Vec<Offered> = blocks.iter().map(offered).collect();
        let heard = offers_and_signs(&mut alone, 0, &blocks).await;
        assert!(matches!(heard, LogMessage::Cosigned { .. }), "{heard:?}");
        let swapped = [blocks[1].clone(), blocks[0].clone()];
        let note = signed(&swapped[..rival]).to_string();
        alone.say(LogMessage::Signed { note }).await;
        let evidence = evidence_of(&alone.pair.dir(3).join("log/evidence")).await;
        let fork = evidence.judge().unwrap();
        assert_eq!((fork.size, fork.witness_too), (rival as u64, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_file_is_no_fork() {
    let mut alone = Alone::new();
    let mut blocks = Vec::new();
    for number in 1..=3 {
        blocks.push(offered(&alone.seals(number).await));
    }
    let heard = offers_and_signs(&mut alone, 0, &blocks).await;
    assert!(matches!(heard, LogMessage::Cosigned { .. }), "{heard:?}");
    let log = alone.pair.dir(3).join("log");
    let mut leaves = std::fs::read(log.join("leaves")).unwrap();
    leaves[40] ^= 4;
    std::fs::write(log.join("leaves"), leaves).unwrap();
    // The broker shows what it signed, and both did: that is no fault of its own.
    let mut honest = signed(&blocks[..2]);
    honest.sign(&witness_key(), 1_780_000_400);
    let note = honest.to_string();
    alone.say(LogMessage::State { size: 2, note }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!log.join("evidence").exists(), "nobody forked anything");
    assert!(!alone.up.task.is_finished(), "logins go on");
}

/// The broker's side alone, and this test as the trust operator.
struct BrokerAlone {
    pair: Pair,
    up: Up,
    heard: mpsc::Receiver<LogEvent>,
}

impl BrokerAlone {
    async fn new(pair: Pair) -> Self {
        let (events, heard) = mpsc::channel(64);
        *pair.wires[1].lock().unwrap() = Some(events);
        let up = pair.broker();
        let alone = Self { pair, up, heard };
        alone.up.events.send(LogEvent::Up).await.unwrap();
        alone
    }

    async fn seals(&mut self, number: u8) -> Sealed {
        let sealed = self.pair.next(account(number));
        if sealed.block.claims().height == 0 {
            self.up.keep_content_key(&account(number)).await;
        }
        self.up.seal(&sealed).await;
        sealed
    }

    async fn say(&self, said: LogMessage) {
        let said = LogEvent::Said(Box::new(said));
        self.up.events.send(said).await.unwrap();
    }

    async fn hears(&mut self) -> LogMessage {
        let heard = timeout(PATIENCE, self.heard.recv()).await;
        match heard.expect("it says something").unwrap() {
            LogEvent::Said(said) => *said,
            other => panic!("{other:?}"),
        }
    }

    /// The next offer; heads are compared as often as it likes.
    async fn offer(&mut self) -> Vec<Offered> {
        let offer = async {
            loop {
                match self.heard.recv().await.unwrap() {
                    LogEvent::Said(said) => match *said {
                        LogMessage::Offer { blocks, .. } => return blocks,
                        LogMessage::State { .. } => {
                            let note = String::new();
                            self.say(LogMessage::State { size: 0, note }).await;
                        }
                        _ => {}
                    },
                    other => panic!("{other:?}"),
                }
            }
        };
        timeout(PATIENCE, offer).await.expect("an offer")
    }

    async fn refuses(&self, refused: &[(u16, Unmatched)]) {
        let refused = refused.to_vec();
        self.say(LogMessage::Matched { size: 0, refused }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_without_a_leaf_is_offered_again_though_the_trust_operator_says_that_it_has_one() {
    let mut alone = BrokerAlone::new(Pair::new()).await;
    let sealed = alone.seals(1).await;
    assert_eq!(alone.offer().await, [offered(&sealed)]);
    alone.refuses(&[(0, Unmatched::Logged)]).await;
    assert_eq!(alone.offer().await, [offered(&sealed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_refuses_one_block_twice_takes_no_other_with_it() {
    let mut alone = BrokerAlone::new(Pair::new()).await;
    for number in 1..=3 {
        alone.seals(number).await;
    }
    while alone.offer().await.len() < 3 {
        alone.refuses(&[(0, Unmatched::NotSealed)]).await;
    }
    alone
        .refuses(&[(0, Unmatched::NotSealed), (0, Unmatched::NotSealed)])
        .await;
    // It is no answer: nothing is signed, and all are offered again.
    while alone.offer().await.len() < 3 {}
    assert_eq!(alone.up.book.state().size, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_blocks_that_a_restored_broker_lacks_does_not_stop_it() {
    let pair = Pair::new();
    {
        let keeper = pair.sides[0].keeper();
        let book = pair.sides[0].book(&keeper).unwrap();
        let sub = account(1);
        let leaf = Opener::of(&content_key(&sub), &sub).leaf(&Hash([9; 32]));
        let start = (warifu_client_sdk::store::Place::START, 0);
        let sign = |checkpoint: &Checkpoint| {
            let mut note = checkpoint.signed(&log_key());
            note.sign(&witness_key(), 1_780_000_400);
            Ok(Some(note))
        };
        let grown = book.grow(vec![leaf], vec![(sub, 0)], start, sign);
        grown.await.unwrap();
    }
    let alone = BrokerAlone::new(pair).await;
    let note = String::new();
    alone.say(LogMessage::State { size: 0, note }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!alone.up.task.is_finished(), "logins go on");
}

/// A restored broker has its blocks, not yet its leaves, and asks for those under both signatures.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_are_not_taken_over_under_the_names_of_others() {
    let mut alone = BrokerAlone::new(Pair::new()).await;
    let mut sealed = Vec::new();
    for number in 1..=2 {
        sealed.push(offered(&alone.seals(number).await));
    }
    let mut note = signed(&sealed);
    note.sign(&witness_key(), 1_780_000_400);
    let leaf = |block: &Offered| block.opener.leaf(&block.block);
    let [first, second] = sealed.as_slice() else {
        unreachable!("two blocks")
    };
    let named = |names: [&Offered; 2]| {
        let leaves = [leaf(first), leaf(second)].into_iter().zip(names);
        leaves.map(|(leaf, of)| (leaf, of.sub, of.height)).collect()
    };
    for (names, size) in [([second, first], 0), ([first, second], 2)] {
        alone
            .say(LogMessage::State {
                size: 2,
                note: note.to_string(),
            })
            .await;
        while !matches!(alone.hears().await, LogMessage::WantLeaves { from: 0 }) {}
        let leaves = named(names);
        alone.say(LogMessage::Leaves { from: 0, leaves }).await;
        let waited = Duration::from_millis(300);
        tokio::time::sleep(waited).await;
        assert_eq!(alone.up.book.state().size, size);
        assert!(!alone.up.task.is_finished());
    }
}
