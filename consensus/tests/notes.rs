//! Signed notes, checkpoints, proofs and witnesses of the log, as bytes.

use base64ct::{Base64, Encoding};
use warifu_consensus::{
    encoding::Hash,
    log::{
        AddCheckpoint, Algorithm, Answer, Checkpoint, CheckpointError, Digest, EMPTY_ROOT,
        Frontier, KeyError, LogKey, LogProof, NoteError, NoteKey, Opening, ProofError, SignedNote,
        TreeError, leaf_hash,
    },
};

const ORIGIN: &str = "ledger.example/log";
const NOW: u64 = 1_790_000_000;

/// The example of the Go reference's documentation (golang.org/x/mod/sumdb/note).
const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const HIS_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn log() -> LogKey {
    LogKey::from_seed([1; 32], ORIGIN, Algorithm::Ed25519).unwrap()
}

fn witness() -> LogKey {
    LogKey::from_seed([2; 32], "trust.example/log", Algorithm::Cosignature).unwrap()
}

fn checkpoint(size: u64, root: Digest) -> Checkpoint {
    Checkpoint {
        origin: ORIGIN.into(),
        size,
        root,
    }
}

#[test]
fn the_reference_s_example_verifies() {
    let key: NoteKey = NEUMANN.parse().unwrap();
    assert_eq!(
        (key.name(), key.id(), key.algorithm()),
        ("PeterNeumann", 0xc74f_20a3, Algorithm::Ed25519)
    );
    assert_eq!(key.to_string(), NEUMANN);
    let note = SignedNote::parse(HIS_NOTE.as_bytes()).unwrap();
    assert_eq!(note.verify(&key), Ok(None));
    assert_eq!(note.to_string(), HIS_NOTE);
    let altered = HIS_NOTE.replace("problem is", "problem was");
    let altered = SignedNote::parse(altered.as_bytes()).unwrap();
    assert!(
        matches!(altered.verify(&key), Err(NoteError::Signature { name }) if name == "PeterNeumann")
    );
}

#[test]
fn a_verifier_key_has_one_text() {
    for key in [log(), witness()] {
        let text = key.public().to_string();
        assert_eq!(text.parse::<NoteKey>().as_ref(), Ok(key.public()));
    }
    let good = log().public().to_string();
    let (name, rest) = good.split_once('+').unwrap();
    let other = format!("other+{rest}");
    assert!(matches!(other.parse::<NoteKey>(), Err(KeyError::Id { .. })));
    let upper = NEUMANN.replace("c74f20a3", "C74F20A3");
    for wrong in [
        "",
        name,
        "a b+00000000+AQ==",
        NEUMANN.trim_end_matches('W'),
        &upper,
    ] {
        assert!(
            matches!(wrong.parse::<NoteKey>(), Err(KeyError::Form { .. })),
            "{wrong}"
        );
    }
    for name in ["", "a b", "a+b", "a\nb", "a\u{3000}b"] {
        assert!(
            NoteKey::new(name, Algorithm::Ed25519, [1; 32]).is_err(),
            "{name:?}"
        );
    }
}

#[test]
fn a_note_that_is_none_is_refused() {
    let good = checkpoint(7, [3; 32]).signed(&log()).to_string();
    assert!(SignedNote::parse(good.as_bytes()).is_ok());
    let hyphen = good.replace('\u{2014}', "-");
    let wrong = [
        String::new(),
        good.trim_end().to_owned(),
        good.replace("\n\n", "\n"),
        format!("{good}\n"),
        good.replace('\n', "\r\n"),
        good.replacen("ledger", "led\u{7}ger", 1),
        hyphen,
    ];
    for wrong in wrong {
        assert_eq!(
            SignedNote::parse(wrong.as_bytes()),
            Err(NoteError::Form),
            "{wrong:?}"
        );
    }
    let long = "x".repeat(65_537);
    assert_eq!(
        SignedNote::parse(long.as_bytes()),
        Err(NoteError::Length { found: 65_537 })
    );
}

#[test]
fn signers_are_told_apart_and_strangers_are_passed_over() {
    let point = checkpoint(7, [3; 32]);
    let mut note = point.signed(&log());
    note.sign(&witness(), NOW);
    let stranger = LogKey::from_seed([9; 32], "stranger.example", Algorithm::Cosignature).unwrap();
    note.sign(&stranger, NOW - 5);
    let read = SignedNote::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(read, note);
    assert_eq!(Checkpoint::open(&read, log().public()), Ok(point));
    assert_eq!(
        Checkpoint::cosigned(&read, witness().public()).map(|c| c.time),
        Ok(NOW)
    );
    // The same key under another name is another key.
    let renamed = LogKey::from_seed([2; 32], "other.example", Algorithm::Cosignature).unwrap();
    assert!(matches!(
        read.verify(renamed.public()),
        Err(NoteError::Missing { .. })
    ));
    // A cosignature's time is signed.
    let again = {
        let mut again = note.clone();
        again.sign(&witness(), NOW + 1);
        again
    };
    assert_eq!(
        again.to_string().lines().count(),
        note.to_string().lines().count()
    );
    assert_eq!(
        Checkpoint::cosigned(&again, witness().public()).map(|c| c.time),
        Ok(NOW + 1)
    );
    assert_eq!(note.lines_of(witness().public()).lines().count(), 1);
    // A log's signature is no cosignature, whoever asks for one.
    let log_as_witness =
        NoteKey::new(ORIGIN, Algorithm::Cosignature, *log().public().public()).unwrap();
    assert!(Checkpoint::cosigned(&read, &log_as_witness).is_err());
    assert!(Checkpoint::cosigned(&read, log().public()).is_err());
}

#[test]
fn a_checkpoint_has_one_text() {
    let point = checkpoint(20_852_163, [0xc3; 32]);
    assert_eq!(point.to_string().parse(), Ok(point.clone()));
    let with = |size: &str, root: &str| format!("{ORIGIN}\n{size}\n{root}\n").parse::<Checkpoint>();
    let root = "w8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8M=";
    assert_eq!(with("20852163", root), Ok(point));
    for size in ["", "01", "+1", "-1", "1 ", "18446744073709551616", "0x1"] {
        assert!(
            matches!(with(size, root), Err(CheckpointError::Size { .. })),
            "{size:?}"
        );
    }
    for root in [
        "",
        "w8PDww==",
        root.trim_end_matches('='),
        &root.replace("M=", "N="),
    ] {
        assert_eq!(with("1", root), Err(CheckpointError::Root), "{root}");
    }
    let lines = |text: &str| text.parse::<Checkpoint>().is_err();
    assert!(lines("") && lines("o\n1\n") && lines(&format!("o\n1\n{root}\nmore\n")));
    assert!(lines(&format!("o\n1\n{root}")) && lines(&format!("\n1\n{root}\n")));
    let foreign = checkpoint(1, [0; 32]);
    let other = LogKey::from_seed([1; 32], "other.example/log", Algorithm::Ed25519).unwrap();
    let opened = Checkpoint::open(&foreign.signed(&other), other.public());
    assert!(matches!(opened, Err(CheckpointError::Foreign { .. })));
}

/// A tree of `size` leaves, of which the one at `index` is a block's; its proof.
fn proven(size: u64, index: u64, opening: &Opening, block: &Hash) -> LogProof {
    let mut nodes = std::collections::HashMap::new();
    let mut frontier = Frontier::new();
    for at in 0..size {
        let leaf = if at == index {
            opening.leaf(block).0
        } else {
            [at as u8; 32]
        };
        frontier.push(leaf_hash(&leaf), |node, hash| {
            nodes.insert(node, *hash);
        });
    }
    let read = |node| Ok::<_, TreeError>(nodes[&node]);
    let path = warifu_consensus::log::inclusion(index, size, read).unwrap();
    let mut checkpoint = checkpoint(size, frontier.root()).signed(&log());
    checkpoint.sign(&witness(), NOW);
    LogProof {
        opening: opening.clone(),
        index,
        path,
        checkpoint,
    }
}

#[test]
fn a_proof_shows_one_block_and_no_other() {
    let (opening, block) = (Opening::from_bytes([6; 32]), Hash([5; 32]));
    let proof = proven(300, 77, &opening, &block);
    let read: LogProof = proof.to_string().parse().unwrap();
    assert_eq!(read.to_string(), proof.to_string());
    let (log, witness) = (log(), witness());
    let (point, cosignature) = read.verify(&block, log.public(), witness.public()).unwrap();
    assert_eq!((point.size, cosignature.time), (300, NOW));
    let verdict =
        |proof: &LogProof, block: &Hash| proof.verify(block, log.public(), witness.public()).err();
    assert_eq!(
        verdict(&read, &Hash([4; 32])),
        Some(ProofError::Tree(TreeError::Root))
    );
    let mut other = read.clone();
    other.opening = Opening::from_bytes([7; 32]);
    assert_eq!(
        verdict(&other, &block),
        Some(ProofError::Tree(TreeError::Root))
    );
    let mut other = read.clone();
    other.index = 300;
    assert!(matches!(
        verdict(&other, &block),
        Some(ProofError::Tree(TreeError::Index { .. }))
    ));
    let mut other = read.clone();
    other.checkpoint = checkpoint(300, EMPTY_ROOT).signed(&log);
    let missing = verdict(&other, &block);
    assert!(matches!(
        missing,
        Some(ProofError::Note(NoteError::Missing { .. }))
    ));
}

#[test]
fn a_proof_of_a_million_is_short_and_has_one_text() {
    let (opening, block) = (Opening::from_bytes([6; 32]), Hash([5; 32]));
    let mut proof = proven(300, 77, &opening, &block);
    // A million leaves make twenty hashes; only their number matters here.
    proof.path.resize(20, [0xff; 32]);
    proof.index = 999_999;
    let text = proof.to_string();
    assert!(text.len() <= 1_400, "{} bytes", text.len());
    let wrong = [
        text.replace("@v1", "@v2"),
        text.replace("extra ", "extra  "),
        text.replace("index 999999", "index 0999999"),
        text.replacen("//8=", "//9=", 1),
        text.replacen("\n\n", "\n", 1),
        text.replacen("extra", "other", 1),
    ];
    for wrong in wrong {
        assert!(wrong.parse::<LogProof>().is_err(), "{wrong}");
    }
    proof.path.resize(65, [0; 32]);
    assert!(proof.to_string().parse::<LogProof>().is_err());
}

#[test]
fn a_witness_answers_as_the_specification_says() {
    let mut nodes = std::collections::HashMap::new();
    let mut frontier = Frontier::new();
    let mut roots = vec![frontier.root()];
    for at in 0..40_u8 {
        frontier.push(leaf_hash(&[at; 32]), |node, hash| {
            nodes.insert(node, *hash);
        });
        roots.push(frontier.root());
    }
    let request = |old: u64, new: u64| AddCheckpoint {
        old,
        proof: warifu_consensus::log::consistency(old, new, |n| Ok::<_, TreeError>(nodes[&n]))
            .unwrap(),
        checkpoint: checkpoint(new, roots[new as usize]).signed(&log()),
    };
    let key = log();
    let at = |size: u64| Some((size, roots[size as usize]));
    let status = |request: &AddCheckpoint, last| request.answer(key.public(), last).status();
    let good = request(17, 40);
    assert_eq!(good.to_string().parse(), Ok(good.clone()));
    assert_eq!(
        good.answer(key.public(), at(17)),
        Answer::Cosign(checkpoint(40, roots[40]))
    );
    assert_eq!(status(&request(0, 40), None), 200);
    assert_eq!(status(&request(40, 40), at(40)), 200);
    assert_eq!(good.answer(key.public(), at(20)), Answer::OtherSize(20));
    assert_eq!(status(&good, None), 409);
    let mut backwards = request(17, 17);
    backwards.old = 18;
    assert_eq!(status(&backwards, at(18)), 400);
    let mut unproven = good.clone();
    unproven.proof[0][0] ^= 1;
    assert_eq!(status(&unproven, at(17)), 422);
    let mut forked = request(17, 40);
    forked.checkpoint = checkpoint(40, [1; 32]).signed(&log());
    assert_eq!(status(&forked, at(17)), 422);
    let mut same_size = request(40, 40);
    same_size.checkpoint = checkpoint(40, [1; 32]).signed(&log());
    assert_eq!(status(&same_size, at(40)), 422);
    let mut unsigned = good.clone();
    unsigned.checkpoint = SignedNote::new(good.checkpoint.text().to_owned());
    assert_eq!(status(&unsigned, at(17)), 403);
    let impostor = LogKey::from_seed([8; 32], ORIGIN, Algorithm::Ed25519).unwrap();
    unsigned.checkpoint.sign(&impostor, 0);
    assert_eq!(status(&unsigned, at(17)), 403);
    let other = LogKey::from_seed([1; 32], "other.example/log", Algorithm::Ed25519).unwrap();
    let mut foreign = good.clone();
    foreign.checkpoint = Checkpoint {
        origin: "other.example/log".into(),
        ..checkpoint(40, roots[40])
    }
    .signed(&other);
    assert_eq!(status(&foreign, at(17)), 404);
    let text = good.to_string();
    for wrong in [
        text.replace("old 17", "old 017"),
        text.replace("old", "new"),
        text.replacen('\n', "\nAA==\n", 1),
    ] {
        assert!(wrong.parse::<AddCheckpoint>().is_err(), "{wrong}");
    }
}

#[test]
fn another_key_of_the_same_name_neither_helps_nor_harms() {
    let other = LogKey::from_seed([9; 32], ORIGIN, Algorithm::Ed25519).unwrap();
    let checkpoint = checkpoint(1, [7; 32]);
    let mut note = checkpoint.signed(&other);
    assert!(matches!(
        note.verify(log().public()),
        Err(NoteError::Missing { .. })
    ));
    assert_eq!(note.lines_of(log().public()), "");
    note.sign(&log(), 0);
    assert_eq!(note.verify(log().public()), Ok(None));
    assert_eq!(note.verify(other.public()), Ok(None));
    let own = checkpoint.signed(&log()).to_string();
    let own = own.strip_prefix(&format!("{checkpoint}\n")).unwrap();
    assert_eq!(note.lines_of(log().public()), own);
}

#[test]
fn notes_of_one_text_are_joined_line_by_line() {
    let first = checkpoint(1, [7; 32]);
    let mut note = first.signed(&log());
    let mut cosigned = note.clone();
    cosigned.sign(&witness(), NOW);
    note.join(&cosigned);
    assert_eq!(note, cosigned, "the missing line is added");
    note.join(&cosigned);
    assert_eq!(note, cosigned, "what is there is not added again");
    let mut elsewhere = checkpoint(2, [7; 32]).signed(&log());
    elsewhere.sign(&witness(), NOW);
    note.join(&elsewhere);
    assert_eq!(note, cosigned, "lines on another text are none on this");
}

#[test]
fn the_longest_note_has_64_kib() {
    let note = |length: usize| {
        let fixed = checkpoint(1, [7; 32]).signed(&log()).to_string();
        let line = fixed.split("\n\n").nth(1).unwrap();
        let text = "x".repeat(length - line.len() - 2);
        format!("{text}\n\n{line}")
    };
    assert_eq!(note(65_536).len(), 65_536);
    SignedNote::parse(note(65_536).as_bytes()).unwrap();
    for length in [65_537, 70_000] {
        assert_eq!(
            SignedNote::parse(note(length).as_bytes()),
            Err(NoteError::Length { found: length })
        );
    }
}

#[test]
fn a_path_has_at_most_64_hashes() {
    let opening = Opening::from_bytes([4; 32]);
    let text = proven(2, 1, &opening, &Hash([5; 32])).to_string();
    let (head, rest) = text.split_once("\n\n").unwrap();
    let with = |hashes: usize| {
        let head: Vec<&str> = head.lines().take(3).collect();
        let line = format!("\n{}", "A".repeat(43) + "=");
        format!("{}{}\n\n{rest}", head.join("\n"), line.repeat(hashes)).parse::<LogProof>()
    };
    assert_eq!(with(64).unwrap().path.len(), 64);
    for hashes in [65, 66] {
        let expected = "end of the path";
        assert_eq!(
            with(hashes).err(),
            Some(ProofError::Form { line: 68, expected })
        );
    }
}

#[test]
fn a_cosignature_s_time_has_63_bits() {
    let last = i64::MAX as u64;
    for (time, is_good) in [
        (0, true),
        (last, true),
        (last + 1, false),
        (u64::MAX, false),
    ] {
        let mut note = checkpoint(1, [7; 32]).signed(&log());
        note.sign(&witness(), time);
        let found = note.verify(witness().public());
        assert_eq!(found.ok(), is_good.then_some(Some(time)), "{time}");
    }
}

#[test]
fn a_request_has_at_most_63_hashes_and_errors_name_their_line() {
    let note = checkpoint(9, [7; 32]).signed(&log()).to_string();
    let hash = format!("{}=\n", "A".repeat(43));
    let request = |hashes: usize, note: &str| {
        let text = format!("old 3\n{}\n{note}", hash.repeat(hashes));
        text.parse::<AddCheckpoint>()
    };
    assert_eq!(request(63, &note).unwrap().proof.len(), 63);
    for hashes in [64, 65] {
        let error = request(hashes, &note).unwrap_err();
        assert_eq!((error.line, error.expected), (65, "end of the proof"));
    }
    for hashes in [0, 1, 2, 5] {
        let error = request(hashes, "no note").unwrap_err();
        assert_eq!((error.line, error.expected), (hashes + 3, "signed note"));
    }
}

/// The signed bytes themselves (C2SP tlog-cosignature): whoever signs and verifies wrongly alike would agree with himself.
#[test]
fn a_cosignature_is_over_the_specification_s_bytes() {
    let mut note = checkpoint(1, [7; 32]).signed(&log());
    note.sign(&witness(), NOW);
    let line = note.lines_of(witness().public());
    let encoded = line.trim_end().rsplit(' ').next().unwrap();
    let bytes = Base64::decode_vec(encoded).unwrap();
    let (id, rest) = bytes.split_at(4);
    let (time, signature) = rest.split_at(8);
    assert_eq!(id, witness().public().id().to_be_bytes());
    assert_eq!(time, NOW.to_be_bytes());
    let message = format!("cosignature/v1\ntime {NOW}\n{}", note.text());
    let signature: [u8; 64] = signature.try_into().unwrap();
    let public = witness().public().public().to_owned();
    warifu_consensus::signature::verify_strict(&public, message.as_bytes(), &signature).unwrap();
}

#[test]
fn a_note_is_reduced_to_one_line_of_each_operator_that_holds() {
    use warifu_consensus::log::LogKeys;

    let keys = LogKeys {
        log: log().public().clone(),
        witness: witness().public().clone(),
    };
    let point = checkpoint(7, [3; 32]);
    let mut clean = point.signed(&log());
    clean.sign(&witness(), NOW);
    assert_eq!(clean.reduced(&keys), clean);
    let line = |key: &LogKey, note: &SignedNote| note.lines_of(key.public());
    let (own, cosigned) = (line(&log(), &clean), line(&witness(), &clean));
    let mut later = point.signed(&log());
    later.sign(&witness(), NOW + 1);
    let later = line(&witness(), &later);
    // Under a key's name with another ID, under its ID with another name, and under both what it never signed.
    let (_, payload) = own.trim_end().rsplit_once(' ').unwrap();
    let mut bytes = Base64::decode_vec(payload).unwrap();
    bytes[0] ^= 1;
    let other_id = format!("\u{2014} {ORIGIN} {}\n", Base64::encode_string(&bytes));
    let other_name = format!("\u{2014} junk.example {payload}\n");
    let mut bytes = Base64::decode_vec(payload).unwrap();
    bytes[9] ^= 1;
    let wrong = format!("\u{2014} {ORIGIN} {}\n", Base64::encode_string(&bytes));
    let reduced = |lines: &[&str]| {
        let text = format!("{}\n{}", clean.text(), lines.concat());
        let note = SignedNote::parse(text.as_bytes()).unwrap();
        note.reduced(&keys).to_string()
    };
    let junk = [other_id.as_str(), &other_name, &wrong];
    let padded = [&junk[..], &[&cosigned, &later, &own], &junk[..]].concat();
    assert_eq!(reduced(&padded), clean.to_string());
    assert_eq!(
        reduced(&[&own, &other_name]),
        point.signed(&log()).to_string()
    );
    assert_eq!(reduced(&junk), format!("{}\n", clean.text()));
}
