//! Files of evidence: two signed checkpoints that no one log can have.

use warifu_consensus::log::{
    Algorithm, Checkpoint, CheckpointError, Digest, Evidence, EvidenceError, Fork, Frontier,
    LogKey, MAX_EVIDENCE, Node, SignedNote, TreeError, consistency, leaf_hash,
};

const ORIGIN: &str = "ledger.example/log";

fn log() -> LogKey {
    LogKey::from_seed([1; 32], ORIGIN, Algorithm::Ed25519).unwrap()
}

fn witness() -> LogKey {
    LogKey::from_seed([2; 32], "ledger.example/witness", Algorithm::Cosignature).unwrap()
}

/// A tree, every node of it.
struct Tree {
    frontier: Frontier,
    nodes: Vec<(Node, Digest)>,
}

/// A tree of so many leaves; the one at `changed` is another than that of every other tree.
fn tree(leaves: u64, changed: Option<u64>) -> Tree {
    let (mut frontier, mut nodes) = (Frontier::new(), Vec::new());
    for index in 0..leaves {
        let leaf = [if changed == Some(index) { 0xff } else { 0 }, index as u8];
        frontier.push(leaf_hash(&leaf), |node, hash| nodes.push((node, *hash)));
    }
    Tree { frontier, nodes }
}

impl Tree {
    fn root(&self) -> Digest {
        self.frontier.root()
    }

    fn proof(&self, from: u64) -> Vec<Digest> {
        let read = |node: Node| -> Result<Digest, TreeError> {
            let (_, hash) = self.nodes.iter().find(|(held, _)| *held == node).unwrap();
            Ok(*hash)
        };
        consistency(from, self.frontier.size(), read).unwrap()
    }

    fn signed(&self, is_cosigned: bool) -> SignedNote {
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size: self.frontier.size(),
            root: self.root(),
        };
        let mut note = checkpoint.signed(&log());
        if is_cosigned {
            note.sign(&witness(), 1_790_000_000);
        }
        note
    }
}

/// Of five leaves, and of nine whose third is another.
fn evidence(cosigned: [bool; 2]) -> Evidence {
    let (small, large) = (tree(5, None), tree(9, Some(2)));
    Evidence {
        log: log().public().clone(),
        witness: witness().public().clone(),
        first: small.signed(cosigned[0]),
        second: large.signed(cosigned[1]),
        begins: tree(5, Some(2)).root(),
        proof: large.proof(5),
    }
}

#[test]
fn a_fork_is_shown_and_names_whoever_signed_both() {
    for cosigned in [[true, true], [true, false], [false, true], [false, false]] {
        let shown = evidence(cosigned).judge();
        let fork = Fork {
            size: 5,
            first: tree(5, None).root(),
            second: tree(5, Some(2)).root(),
            witness_too: cosigned == [true, true],
        };
        assert_eq!(shown, Ok(fork));
    }
    // Of one size no proof is needed.
    let (one, other) = (tree(5, None), tree(5, Some(4)));
    let same = Evidence {
        first: one.signed(true),
        second: other.signed(true),
        begins: other.root(),
        proof: Vec::new(),
        ..evidence([true; 2])
    };
    assert!(same.judge().is_ok());
}

#[test]
fn what_can_be_of_one_log_is_no_evidence() {
    let (small, large) = (tree(5, None), tree(9, None));
    let consistent = Evidence {
        second: large.signed(true),
        begins: small.root(),
        proof: large.proof(5),
        ..evidence([true; 2])
    };
    assert_eq!(
        consistent.judge(),
        Err(EvidenceError::Consistent { size: 5 })
    );
    // Whoever makes up the beginning has no proof of it.
    let made_up = Evidence {
        begins: [9; 32],
        ..consistent.clone()
    };
    assert!(matches!(made_up.judge(), Err(EvidenceError::Proof(_))));
    let swapped = Evidence {
        first: evidence([true; 2]).second,
        second: evidence([true; 2]).first,
        ..evidence([true; 2])
    };
    assert!(matches!(
        swapped.judge(),
        Err(EvidenceError::Proof(TreeError::Sizes { old: 9, new: 5 }))
    ));
    let mut cut = evidence([true; 2]);
    cut.proof.pop();
    assert!(matches!(cut.judge(), Err(EvidenceError::Proof(_))));
}

#[test]
fn only_what_the_log_signed_counts() {
    let stranger = LogKey::from_seed([3; 32], ORIGIN, Algorithm::Ed25519).unwrap();
    let strange = |size, root| {
        let origin = ORIGIN.to_owned();
        Checkpoint { origin, size, root }.signed(&stranger)
    };
    let first = Evidence {
        first: strange(5, [1; 32]),
        ..evidence([true; 2])
    };
    assert!(matches!(
        first.judge(),
        Err(EvidenceError::Checkpoint {
            which: "first",
            error: CheckpointError::Note(_)
        })
    ));
    let second = Evidence {
        second: strange(9, [1; 32]),
        ..evidence([true; 2])
    };
    assert!(matches!(
        second.judge(),
        Err(EvidenceError::Checkpoint {
            which: "second",
            ..
        })
    ));
}

#[test]
fn a_file_is_read_as_it_was_written() {
    for cosigned in [[true, true], [false, false]] {
        let written = evidence(cosigned).to_text().unwrap();
        assert_eq!(Evidence::from_text(&written), Ok(evidence(cosigned)));
    }
}

#[test]
fn a_file_of_another_form_is_refused_by_name() {
    let written = evidence([true; 2]).to_text().unwrap();
    let refused = |text: &str| match Evidence::from_text(text) {
        Err(EvidenceError::Form(found)) => found,
        other => panic!("{other:?}"),
    };
    for (from, to, named) in [
        ("warifu-log-evidence/1", "warifu-log-evidence/2", "format"),
        ("\"begins\"", "\"begin\"", "JSON"),
        (ORIGIN, "ledger example/log", "log key"),
        ("ledger.example/witness+", "witness", "witness key"),
    ] {
        let found = refused(&written.replacen(from, to, 1));
        assert!(found.contains(named), "{from}: {found}");
    }
    let hash = base64(&tree(5, Some(2)).root());
    for damaged in [&hash[..40], "", &hash.replace('=', "")] {
        let found = refused(&written.replace(&hash, damaged));
        assert!(found.contains("32 bytes of base64"), "{found}");
    }
    let first = evidence([true; 2]).first.to_string();
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let found = refused(&written.replace(&quoted(&first), "\"\""));
    assert!(found.contains("first checkpoint"), "{found}");
    // The longest is read; a byte more is not.
    let padded = |length: usize| format!("{written}{}", " ".repeat(length - written.len()));
    assert!(Evidence::from_text(&padded(MAX_EVIDENCE)).is_ok());
    assert!(refused(&padded(MAX_EVIDENCE + 1)).contains("expected at most"));
    assert!(refused(&padded(2 * MAX_EVIDENCE)).contains("expected at most"));
}

fn base64(bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(bytes)
}
