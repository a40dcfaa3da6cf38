//! Notes that somebody lengthened until nobody reads them, and a broker that repeats what was matched once.

use warifu_consensus::log::{Evidence, Offered, SignedNote};
use warifu_node::log::LogRecord;

use super::{
    wrong::{Alone, evidence_of, offered, offers_and_signs, signed},
    *,
};

/// A line under nobody's key with so many characters of payload.
fn junk(name: usize, length: usize) -> String {
    let payload = "junk".repeat(length.div_ceil(4));
    format!("\u{2014} junk-{name}.example {payload}\n")
}

/// As many lines as a note may have, and as many bytes.
fn pads() -> [String; 2] {
    let many = (1..100).map(|name| junk(name, 8)).collect();
    [many, junk(1, 65_300)]
}

async fn is_alone_with(number: u8) -> (Alone, Vec<Offered>) {
    let mut alone = Alone::new();
    let mut blocks = Vec::new();
    for number in 1..=number {
        blocks.push(offered(&alone.seals(number).await));
    }
    (alone, blocks)
}

/// Both signatures, and nothing beside them.
fn is_clean(note: &str) {
    let note = SignedNote::parse(note.as_bytes()).unwrap();
    Checkpoint::open(&note, &keys().log).unwrap();
    Checkpoint::cosigned(&note, &keys().witness).unwrap();
    assert_eq!(note, note.reduced(&keys()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_padded_checkpoint_is_cosigned_without_what_pads_it_and_the_next_start_reads_it() {
    for pad in pads() {
        let (mut alone, blocks) = is_alone_with(2).await;
        assert_eq!(alone.offers(0, &blocks).await, []);
        let note = format!("{}{pad}", signed(&blocks));
        SignedNote::parse(note.as_bytes()).expect("it is a note so far");
        alone.say(LogMessage::Signed { note }).await;
        let LogMessage::Cosigned { note } = alone.hears().await else {
            panic!("not cosigned")
        };
        is_clean(&note);
        let record = alone.up.book.last_record().unwrap().unwrap();
        assert_eq!(record.note, note);
        let Alone { pair, up, .. } = alone;
        pair.cut();
        up.stop().await;
        let up = pair.trust_operator();
        assert_eq!(up.book.cosigned().unwrap().1.to_string(), note);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_poisoned_opens() {
    for pad in pads() {
        let (alone, blocks) = is_alone_with(2).await;
        let mut note = signed(&blocks);
        let own = note.to_string();
        let text = note.text().to_owned();
        note.sign(&witness_key(), 1_780_000_400);
        let clean = note.to_string();
        let cosigned = clean.strip_prefix(&own).unwrap();
        let checkpoint = Checkpoint::open(&note, &keys().log).unwrap();
        let record = LogRecord {
            size: checkpoint.size,
            root: checkpoint.root,
            // As it once was: the broker's line, what it added, the cosignature.
            note: format!("{own}{pad}{cosigned}"),
            through: warifu_client_sdk::store::Place::START,
            since: 0,
            leaves: blocks.iter().map(|b| b.opener.leaf(&b.block)).collect(),
            blocks: blocks.iter().map(|b| (b.sub, b.height)).collect(),
        };
        assert!(SignedNote::parse(record.note.as_bytes()).is_err());
        let Alone { pair, up, .. } = alone;
        let bytes = record.encode().unwrap();
        let appended = up.keeper.append_log(None, checkpoint.root, bytes);
        appended.await.unwrap();
        pair.cut();
        up.stop().await;
        let up = pair.trust_operator();
        assert_eq!(up.book.cosigned().unwrap().1.to_string(), clean);
        pair.cut();
        up.stop().await;
        // Without the log's own signature it is none.
        let pair = Pair::new();
        let keeper = pair.sides[1].keeper();
        let note = format!("{text}\n{pad}{cosigned}");
        let bytes = LogRecord { note, ..record }.encode().unwrap();
        let appended = keeper.append_log(None, checkpoint.root, bytes);
        appended.await.unwrap();
        let error = pair.sides[1].book(&keeper).err().expect("no checkpoint");
        assert_eq!(error.to_string(), "no signature of log.example");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_no_start_would_read_is_not_written() {
    for pad in pads() {
        let pair = Pair::new();
        let keeper = pair.sides[1].keeper();
        let book = pair.sides[1].book(&keeper).unwrap();
        let sub = account(1);
        let leaf = Opener::of(&content_key(&sub), &sub).leaf(&Hash([9; 32]));
        let start = (warifu_client_sdk::store::Place::START, 0);
        let sign = |checkpoint: &Checkpoint| {
            let note = format!("{}{pad}", checkpoint.signed(&log_key()));
            let mut note = SignedNote::parse(note.as_bytes()).unwrap();
            note.sign(&witness_key(), 1_780_000_400);
            Ok(Some(note))
        };
        let grown = book.grow(vec![leaf], vec![(sub, 0)], start, sign).await;
        assert!(matches!(grown, Err(LogError::Note(_))), "{grown:?}");
        assert_eq!((book.state().size, keeper.log_records().unwrap()), (0, 0));
        // And the log goes on.
        let sign = |checkpoint: &Checkpoint| Ok(Some(checkpoint.signed(&log_key())));
        let grown = book.grow(vec![leaf], vec![(sub, 0)], start, sign);
        grown.await.unwrap();
        assert_eq!(book.state().size, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_of_padded_notes_judges_itself() {
    for pad in pads() {
        let (mut alone, blocks) = is_alone_with(2).await;
        assert_eq!(alone.offers(0, &blocks).await, []);
        let note = format!("{}{pad}", signed(&blocks));
        alone.say(LogMessage::Signed { note }).await;
        assert!(matches!(alone.hears().await, LogMessage::Cosigned { .. }));
        let swapped = [blocks[1].clone(), blocks[0].clone()];
        let note = format!("{}{pad}", signed(&swapped));
        alone.say(LogMessage::Signed { note }).await;
        let dir = alone.pair.dir(3).join("log/evidence");
        let fork = evidence_of(&dir).await.judge().unwrap();
        assert_eq!((fork.size, fork.witness_too), (2, false));
    }
}

/// A file of evidence counts only if a judge takes it, who pins this log's keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_shows_nothing_shadows_no_evidence() {
    let (mut alone, blocks) = is_alone_with(2).await;
    let heard = offers_and_signs(&mut alone, 0, &blocks).await;
    assert!(matches!(heard, LogMessage::Cosigned { .. }), "{heard:?}");
    let rival = signed(&[blocks[1].clone(), blocks[0].clone()]);
    let theirs = Checkpoint::open(&rival, &keys().log).unwrap();
    let book = &alone.up.book;
    let kept = || book.keep_evidence(&theirs, &rival).unwrap().unwrap();
    let file = kept();
    let good = std::fs::read_to_string(&file).unwrap();
    let evidence = Evidence::from_text(&good).unwrap();
    evidence.judge().unwrap();
    let consistent = Evidence {
        first: signed(&blocks),
        ..evidence.clone()
    };
    let foreign = LogKey::from_seed([1; 32], WITNESS, Algorithm::Cosignature).unwrap();
    let other_keys = Evidence {
        witness: foreign.public().clone(),
        ..evidence
    };
    for shows_nothing in [
        format!("{good}{}", " ".repeat(64 * 1024)),
        good[..100].to_owned(),
        consistent.to_text().unwrap(),
        other_keys.to_text().unwrap(),
    ] {
        std::fs::write(&file, shows_nothing).unwrap();
        assert_eq!(kept(), file);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), good);
    }
    // What a judge takes stays as it is.
    let spaced = format!("{good}\n");
    std::fs::write(&file, &spaced).unwrap();
    assert_eq!(kept(), file);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), spaced);
    let files = std::fs::read_dir(file.parent().unwrap()).unwrap();
    assert_eq!(files.count(), 1);
}

/// What a restored trust operator matched before it took the leaf over is not cosigned once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_was_matched_before_a_take_over_gets_no_second_leaf() {
    let (mut alone, blocks) = is_alone_with(1).await;
    let [block] = blocks.as_slice() else {
        unreachable!("one block")
    };
    assert_eq!(alone.offers(0, &blocks).await, []);
    let mut genuine = signed(&blocks);
    genuine.sign(&witness_key(), 1_780_000_400);
    let note = genuine.to_string();
    let size = 1;
    alone.say(LogMessage::State { size, note }).await;
    let heard = alone.hears().await;
    assert!(matches!(heard, LogMessage::WantLeaves { from: 0 }));
    let leaf = block.opener.leaf(&block.block);
    let leaves = vec![(leaf, block.sub, block.height)];
    alone.say(LogMessage::Leaves { from: 0, leaves }).await;
    let taken = LogMessage::State {
        size,
        note: genuine.to_string(),
    };
    assert_eq!(alone.hears().await, taken);
    let note = signed(&[block.clone(), block.clone()]).to_string();
    alone.say(LogMessage::Signed { note }).await;
    assert_eq!(alone.hears().await, taken, "not cosigned");
    assert_eq!(alone.up.book.state().size, 1);
    let kept = alone.up.keeper.opener(&block.sub).unwrap();
    assert_eq!(kept, None, "no leaf was made with it here");
}

/// Nor is it on a new line, or once heads were compared: both begin anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_matched_is_forgotten_when_heads_are_compared() {
    for is_new_line in [true, false] {
        let (mut alone, blocks) = is_alone_with(1).await;
        assert_eq!(alone.offers(0, &blocks).await, []);
        if is_new_line {
            alone.up.events.send(LogEvent::Up).await.unwrap();
        } else {
            let note = String::new();
            alone.say(LogMessage::State { size: 0, note }).await;
        }
        let empty = LogMessage::State {
            size: 0,
            note: String::new(),
        };
        assert_eq!(alone.hears().await, empty);
        let note = signed(&blocks).to_string();
        alone.say(LogMessage::Signed { note }).await;
        assert_eq!(alone.hears().await, empty, "not cosigned");
        let heard = offers_and_signs(&mut alone, 0, &blocks).await;
        assert!(matches!(heard, LogMessage::Cosigned { .. }), "{heard:?}");
    }
}
