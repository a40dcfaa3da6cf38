//! The log's tree against two other implementations, and its formats.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;
use tlog_tiles::tlog;
use warifu_consensus::log::{
    Digest, EMPTY_ROOT, Frontier, Node, TreeError, consistency, inclusion, leaf_hash, range_root,
    verify_consistency, verify_inclusion,
};

pub(crate) const MOST: u64 = 600;

pub(crate) fn entry(index: u64) -> [u8; 32] {
    *blake3::hash(&index.to_be_bytes()).as_bytes()
}

/// Every complete subtree of the largest tree, by level and index.
pub(crate) struct Grown {
    pub(crate) nodes: Vec<Vec<Digest>>,
    pub(crate) roots: Vec<Digest>,
}

pub(crate) fn grown() -> Grown {
    let mut frontier = Frontier::new();
    let (mut nodes, mut roots) = (Vec::<Vec<Digest>>::new(), vec![frontier.root()]);
    for index in 0..MOST {
        frontier.push(leaf_hash(&entry(index)), |node, hash| {
            let level = usize::from(node.level);
            if nodes.len() <= level {
                nodes.push(Vec::new());
            }
            assert_eq!(nodes[level].len() as u64, node.index);
            nodes[level].push(*hash);
        });
        roots.push(frontier.root());
    }
    Grown { nodes, roots }
}

impl Grown {
    /// Reads within a tree of `size` only.
    pub(crate) fn read(&self, size: u64) -> impl FnMut(Node) -> Result<Digest, TreeError> {
        move |node| {
            assert!(
                (node.index + 1) << node.level <= size,
                "{node:?} is beyond {size}"
            );
            Ok(self.nodes[usize::from(node.level)][node.index as usize])
        }
    }
}

#[test]
fn roots_and_proofs_are_those_of_two_other_implementations() {
    let grown = grown();
    let mut theirs = MemoryBackedTree::<Sha256, [u8; 32]>::new();
    assert_eq!(grown.roots[0], EMPTY_ROOT);
    for size in 1..=MOST {
        theirs.push(entry(size - 1));
        let root = grown.roots[size as usize];
        assert_eq!(theirs.root().as_bytes().as_slice(), root, "root of {size}");
        assert_eq!(range_root(0, size, &mut grown.read(size)), Ok(root));
        let restored = Frontier::restore(size, grown.read(size)).unwrap();
        assert_eq!((restored.size(), restored.root()), (size, root));
        for index in 0..size {
            let proof = inclusion(index, size, grown.read(size)).unwrap();
            let their = theirs.prove_inclusion(index as usize);
            assert_eq!(their.as_bytes(), proof.concat(), "leaf {index} of {size}");
            let leaf = leaf_hash(&entry(index));
            assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
            let path = proof.iter().map(|hash| tlog::Hash(*hash)).collect();
            let checked =
                tlog::check_record(&path, size, tlog::Hash(root), index, tlog::Hash(leaf));
            assert!(checked.is_ok(), "leaf {index} of {size}");
        }
        for old in 1..size {
            let proof = consistency(old, size, grown.read(size)).unwrap();
            let before = grown.roots[old as usize];
            assert_eq!(
                verify_consistency(old, size, &proof, &before, &root),
                Ok(())
            );
            let their = theirs.prove_consistency((size - old) as usize);
            assert_eq!(their.as_bytes(), proof.concat(), "{old} to {size}");
        }
    }
}

#[test]
fn a_proof_holds_for_one_place_in_one_tree() {
    let grown = grown();
    for size in [1, 2, 3, 7, 8, 255, 256, 257, 600] {
        let root = grown.roots[size as usize];
        for index in [0, 1, size / 2, size - 1]
            .into_iter()
            .filter(|index| *index < size)
        {
            let leaf = leaf_hash(&entry(index));
            let proof = inclusion::<TreeError>(index, size, grown.read(size)).unwrap();
            let holds = |leaf: &Digest, index, size, proof: &[Digest]| {
                verify_inclusion(leaf, index, size, proof, &root).is_ok()
            };
            assert!(holds(&leaf, index, size, &proof));
            assert!(!holds(&leaf_hash(b"another"), index, size, &proof));
            let others = (0..size + 3).filter(|other| *other != index);
            assert!(
                others
                    .into_iter()
                    .all(|other| !holds(&leaf, other, size, &proof))
            );
            for at in 0..proof.len() {
                let mut altered = proof.clone();
                altered[at][31] ^= 1;
                assert!(!holds(&leaf, index, size, &altered));
            }
            let longer = [proof.clone(), vec![root]].concat();
            assert!(!holds(&leaf, index, size, &longer));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!holds(&leaf, index, size, shorter));
            }
        }
    }
    assert!(verify_inclusion(&EMPTY_ROOT, 0, 0, &[], &EMPTY_ROOT).is_err());
    assert!(verify_inclusion(&EMPTY_ROOT, u64::MAX, u64::MAX, &[], &EMPTY_ROOT).is_err());
    let endless = vec![[0; 32]; 80];
    assert!(verify_inclusion(&EMPTY_ROOT, u64::MAX - 1, u64::MAX, &endless, &EMPTY_ROOT).is_err());
}

#[test]
fn a_tree_that_was_rewritten_is_consistent_with_nothing() {
    let grown = grown();
    for (old, new) in [
        (1, 2),
        (3, 7),
        (8, 9),
        (255, 600),
        (256, 600),
        (600, 600),
        (0, 5),
    ] {
        let (before, after) = (grown.roots[old as usize], grown.roots[new as usize]);
        let proof = consistency::<TreeError>(old, new, grown.read(new)).unwrap();
        let holds = |old, new, proof: &[Digest], before: &Digest, after: &Digest| {
            verify_consistency(old, new, proof, before, after).is_ok()
        };
        assert!(holds(old, new, &proof, &before, &after));
        assert!(!holds(old, new, &proof, &[7; 32], &after));
        assert!(old == 0 || !holds(old, new, &proof, &before, &[7; 32]));
        assert!(new == old || !holds(new, old, &proof, &after, &before));
        for at in 0..proof.len() {
            let mut altered = proof.clone();
            altered[at][0] ^= 0x80;
            assert!(!holds(old, new, &altered, &before, &after));
        }
        assert!(!holds(
            old,
            new,
            &[proof, vec![before]].concat(),
            &before,
            &after
        ));
    }
}
