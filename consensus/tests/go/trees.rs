//! Roots and proofs: the very same bytes as the reference's, and what was altered refused by both.

use sha2::{Digest as _, Sha256};
use warifu_consensus::log::{
    Digest, EMPTY_ROOT, Node, TreeError, consistency, inclusion, leaf_hash, range_root,
    verify_consistency, verify_inclusion,
};

use super::{Go, Value, b64, digest, digests, hashes, json};
use crate::logs::{Grown, MOST, entry, grown};

/// Has the reference grow the same tree; its roots by size, from 0.
pub(super) fn grow(go: &mut Go) -> Vec<Digest> {
    let entries: Value = (0..MOST).map(|index| b64(entry(index))).collect();
    let grown = go.ask(json!({"op": "append", "entries": entries}));
    digests(&grown.unwrap()["roots"])
}

/// All of them in small trees, in others the ends and both sides of where the tree divides.
fn spread(size: u64, all_to: u64) -> Vec<u64> {
    if size <= all_to {
        return (0..size).collect();
    }
    let half = size.next_power_of_two() / 2;
    let mut at = vec![0, 1, 2, half / 2, half - 1, half, half + 1];
    at.extend([
        size / 3,
        size / 2,
        size * 7 % 13 * size / 13,
        size - 2,
        size - 1,
    ]);
    at.retain(|at| *at < size);
    at.sort_unstable();
    at.dedup();
    at
}

/// A proof as asked of the reference's check, and this project's verdict on the same.
#[derive(Clone)]
struct Inclusion {
    index: u64,
    size: u64,
    leaf: Digest,
    proof: Vec<Digest>,
    root: Digest,
}

impl Inclusion {
    fn of(grown: &Grown, index: u64, size: u64) -> Self {
        Self {
            index,
            size,
            leaf: leaf_hash(&entry(index)),
            proof: inclusion::<TreeError>(index, size, grown.read(size)).unwrap(),
            root: grown.roots[size as usize],
        }
    }

    fn request(&self) -> Value {
        json!({
            "op": "check inclusion", "index": self.index, "size": self.size, "leaf": b64(self.leaf),
            "proof": hashes(&self.proof), "root": b64(self.root),
        })
    }

    fn holds(&self) -> bool {
        verify_inclusion(&self.leaf, self.index, self.size, &self.proof, &self.root).is_ok()
    }
}

#[derive(Clone)]
struct Consistency {
    old: u64,
    size: u64,
    proof: Vec<Digest>,
    old_root: Digest,
    root: Digest,
}

impl Consistency {
    fn of(grown: &Grown, old: u64, size: u64) -> Self {
        Self {
            old,
            size,
            proof: consistency::<TreeError>(old, size, grown.read(size)).unwrap(),
            old_root: grown.roots[old as usize],
            root: grown.roots[size as usize],
        }
    }

    fn request(&self) -> Value {
        json!({
            "op": "check consistency", "old": self.old, "size": self.size, "oldRoot": b64(self.old_root),
            "proof": hashes(&self.proof), "root": b64(self.root),
        })
    }

    fn holds(&self) -> bool {
        verify_consistency(self.old, self.size, &self.proof, &self.old_root, &self.root).is_ok()
    }
}

#[test]
#[ignore = "needs Go"]
fn roots_and_proofs_are_those_of_the_reference() {
    let (grown, mut go) = (grown(), Go::start());
    let roots = grow(&mut go);
    // RFC 6962 §2.1 has SHA-256 of nothing for the empty tree; older releases of the reference have zeros.
    assert!([EMPTY_ROOT, [0; 32]].contains(&roots[0]));
    assert_eq!(roots[1..], grown.roots[1..]);
    for size in 1..=MOST {
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for index in spread(size, 64) {
            let ours = Inclusion::of(&grown, index, size);
            requests.push(json!({"op": "inclusion", "index": index, "size": size}));
            requests.push(ours.request());
            assert!(ours.holds());
            expected.push((format!("leaf {index} of {size}"), ours.proof));
        }
        // From the empty tree nothing needs a proof here (C2SP tlog-witness: none at size 0); the reference refuses.
        for old in spread(size + 1, 48).into_iter().filter(|old| *old > 0) {
            let ours = Consistency::of(&grown, old, size);
            requests.push(json!({"op": "consistency", "old": old, "size": size}));
            requests.push(ours.request());
            assert!(ours.holds());
            expected.push((format!("{old} to {size}"), ours.proof));
        }
        let answers = go.ask_all(requests);
        for (answers, (what, ours)) in answers.chunks(2).zip(expected) {
            let [made, checked] = answers else {
                unreachable!("two requests each")
            };
            assert_eq!(digests(&made.as_ref().unwrap()["proof"]), ours, "{what}");
            assert!(checked.is_ok(), "{what}: {checked:?}");
        }
    }
}

/// Every proof with one bit of one hash flipped, one hash more and one less.
fn altered(proof: &[Digest]) -> Vec<Vec<Digest>> {
    let mut all = vec![[proof, &[[7; 32]]].concat()];
    all.extend(proof.split_last().map(|(_, rest)| rest.to_vec()));
    for at in 0..proof.len() {
        let mut flipped = proof.to_vec();
        flipped[at][at % 32] ^= 1 << (at % 8);
        all.push(flipped);
    }
    all
}

fn flipped(digest: &Digest) -> Digest {
    let mut flipped = *digest;
    flipped[31] ^= 1;
    flipped
}

/// A number with one bit flipped. The reference's sizes are signed, and it loops for ever above 2^62.
fn near(number: u64) -> impl Iterator<Item = u64> {
    (0..=10).chain([40, 60]).map(move |bit| number ^ (1 << bit))
}

/// Small trees, and those around full tiles.
fn sizes() -> impl Iterator<Item = u64> {
    (1..=20).chain([
        63, 64, 65, 127, 129, 255, 256, 257, 300, 511, 512, 513, 599, 600,
    ])
}

/// Asks the reference about what this project has a verdict on; how many both took.
fn compare(go: &mut Go, cases: Vec<(Value, bool)>) -> usize {
    let (requests, ours): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let answers = go.ask_all(requests.clone());
    for ((request, ours), theirs) in requests.iter().zip(&ours).zip(&answers) {
        assert_eq!(theirs.is_ok(), *ours, "{request}: {theirs:?}");
    }
    ours.into_iter().filter(|ours| *ours).count()
}

#[test]
#[ignore = "needs Go"]
fn an_altered_inclusion_is_refused_by_both() {
    let (grown, mut go) = (grown(), Go::start());
    let (mut lies, mut shapes) = (Vec::new(), Vec::new());
    for size in sizes() {
        for index in spread(size, 20) {
            let good = Inclusion::of(&grown, index, size);
            let mut lie = |alter: &dyn Fn(&mut Inclusion)| {
                let mut altered = good.clone();
                alter(&mut altered);
                lies.push((altered.request(), altered.holds()));
            };
            for proof in altered(&good.proof) {
                lie(&|case| case.proof.clone_from(&proof));
            }
            lie(&|case| case.root = flipped(&case.root));
            lie(&|case| case.leaf = flipped(&case.leaf));
            for index in near(index) {
                lie(&|case| case.index = index);
            }
            for size in near(size) {
                let case = Inclusion {
                    size,
                    ..good.clone()
                };
                shapes.push((case.request(), case.holds()));
            }
        }
    }
    assert_eq!(compare(&mut go, lies), 0);
    // A proof alone does not tell sizes apart in which its leaf has a path of the same turns; the checkpoint does,
    // where size and root are signed together.
    assert!(compare(&mut go, shapes) > 0);
}

#[test]
#[ignore = "needs Go"]
fn an_altered_consistency_is_refused_by_both() {
    let (grown, mut go) = (grown(), Go::start());
    let (mut lies, mut shapes) = (Vec::new(), Vec::new());
    for size in sizes() {
        for old in spread(size + 1, 20).into_iter().filter(|old| *old > 0) {
            let good = Consistency::of(&grown, old, size);
            let mut lie = |alter: &dyn Fn(&mut Consistency)| {
                let mut altered = good.clone();
                alter(&mut altered);
                lies.push((altered.request(), altered.holds()));
            };
            for proof in altered(&good.proof) {
                lie(&|case| case.proof.clone_from(&proof));
            }
            lie(&|case| case.root = flipped(&case.root));
            lie(&|case| case.old_root = flipped(&case.old_root));
            // The empty tree is no old tree to the reference.
            let olds = near(old).filter(|old| *old > 0).map(|old| Consistency {
                old,
                ..good.clone()
            });
            let news = near(size).map(|size| Consistency {
                size,
                ..good.clone()
            });
            shapes.extend(olds.chain(news).map(|case| (case.request(), case.holds())));
        }
    }
    assert_eq!(compare(&mut go, lies), 0);
    assert!(compare(&mut go, shapes) > 0);
}

#[test]
#[ignore = "needs Go"]
fn trees_too_large_to_be_made_have_the_same_shape() {
    let mut go = Go::start();
    // As the program's `unmade`: hashes that only say which subtree is meant.
    let mut read = |node: Node| {
        let hash = Sha256::new().chain_update([node.level]);
        Ok::<Digest, TreeError>(
            hash.chain_update(node.index.to_be_bytes())
                .finalize()
                .into(),
        )
    };
    for power in [9_u32, 16, 17, 24, 31, 32, 33, 40, 53, 60] {
        let (size, seed) = (1_u64 << power, 0x9e37_79b9_7f4a_7c15_u64);
        for size in [
            size - 1,
            size,
            size + 1,
            size + size / 2 + 5,
            size + seed % size,
        ] {
            for index in spread(size, 0) {
                let old = index + 1;
                let asked = json!({"op": "unmade", "size": size, "index": index, "old": old});
                let theirs = go.ask(asked).unwrap();
                let what = format!("leaf {index} of {size}");
                let root = range_root(0, size, &mut read).unwrap();
                assert_eq!(digest(&theirs["root"]), root, "{what}");
                let ours = inclusion(index, size, &mut read).unwrap();
                assert_eq!(digests(&theirs["inclusion"]), ours, "{what}");
                let ours = consistency(old, size, &mut read).unwrap();
                assert_eq!(digests(&theirs["consistency"]), ours, "{what}");
            }
        }
    }
}
