//! The log's texts, and that no signature of one honest log can be turned against it.

use std::{fmt::Display, sync::OnceLock};

use warifu_consensus::{
    encoding::Hash,
    log::{
        AddCheckpoint, Algorithm, Answer, Checkpoint, Digest, Evidence, EvidenceError, Frontier,
        LogKey, LogProof, Node, NoteKey, Opening, SignedNote, Tile, TreeError, consistency,
        inclusion, leaf_hash, range_root,
    },
};

/// Leaves of the honest log at its largest.
pub const LEAVES: u64 = 70;
/// The sizes that the honest log signed.
pub const SIGNED: [u64; 6] = [0, 1, 17, 64, 65, LEAVES];

/// A log, its witness, and all that both ever signed.
pub struct Honest {
    /// The log's key.
    pub log: LogKey,
    /// The witness's key.
    pub witness: LogKey,
    nodes: Vec<(Node, Digest)>,
}

/// The block of leaf `index`.
pub fn block(index: u64) -> Hash {
    let mut hash = [0xB1; 32];
    hash[..8].copy_from_slice(&index.to_be_bytes());
    Hash(hash)
}

/// Its opening.
pub fn opening(index: u64) -> Opening {
    let mut bytes = [0x0F; 32];
    bytes[..8].copy_from_slice(&index.to_be_bytes());
    Opening::from_bytes(bytes)
}

/// Made once.
pub fn honest() -> &'static Honest {
    static HONEST: OnceLock<Honest> = OnceLock::new();
    HONEST.get_or_init(|| Honest::of(LEAVES))
}

impl Honest {
    /// The same keys over a log of which only the first `same` leaves are the honest one's.
    pub fn of(same: u64) -> Self {
        let key = |seed, name, algorithm| LogKey::from_seed([seed; 32], name, algorithm).unwrap();
        let mut frontier = Frontier::new();
        let mut nodes = Vec::new();
        for index in 0..LEAVES {
            let index = if index < same { index } else { index + LEAVES };
            let leaf = leaf_hash(&opening(index).leaf(&block(index)).0);
            frontier.push(leaf, |node, hash| nodes.push((node, *hash)));
        }
        Self {
            log: key(7, "ledger.example/log", Algorithm::Ed25519),
            witness: key(8, "trust.example/witness", Algorithm::Cosignature),
            nodes,
        }
    }

    fn read(&self, wanted: Node) -> Result<Digest, TreeError> {
        let found = self.nodes.iter().find(|(node, _)| *node == wanted);
        Ok(found.expect("a node of the tree").1)
    }

    /// The checkpoint of a size.
    pub fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint {
            origin: self.log.public().name().to_owned(),
            size,
            root: range_root(0, size, &mut |node| self.read(node)).unwrap(),
        }
    }

    /// With both signatures.
    pub fn note(&self, size: u64) -> SignedNote {
        let mut note = self.checkpoint(size).signed(&self.log);
        note.sign(&self.witness, 1_800_000_000);
        note
    }

    /// From one size to a larger.
    pub fn consistency(&self, old: u64, new: u64) -> Vec<Digest> {
        consistency(old, new, |node| self.read(node)).unwrap()
    }

    /// Of a leaf, in the log of a size.
    pub fn proof(&self, index: u64, size: u64) -> LogProof {
        LogProof {
            opening: opening(index),
            index,
            path: inclusion(index, size, |node| self.read(node)).unwrap(),
            checkpoint: self.note(size),
        }
    }
}

fn written(value: &impl Display, text: &str) {
    assert_eq!(value.to_string(), text);
}

/// Notes, checkpoints, proofs, requests, keys, tiles' paths and evidence have one text each; what verifies under
/// the honest keys is what they signed; and nothing shows that they signed two logs.
pub fn log(data: &[u8]) {
    let honest = honest();
    if let Ok(note) = SignedNote::parse(data) {
        assert_eq!(note.to_string().as_bytes(), data);
        signed(&note);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        written(&checkpoint, text);
    }
    if let Ok(key) = text.parse::<NoteKey>() {
        written(&key, text);
    }
    if let Ok(tile) = text.parse::<Tile>() {
        written(&tile, text);
    }
    if let Ok(proof) = text.parse::<LogProof>() {
        written(&proof, text);
        for index in [proof.index, 0] {
            let held = proof.verify(&block(index), honest.log.public(), honest.witness.public());
            if let Ok((checkpoint, _)) = held {
                assert!(checkpoint.size <= LEAVES && proof.index < checkpoint.size);
                assert_eq!((proof.index, &proof.opening), (index, &opening(index)));
            }
        }
    }
    if let Ok(request) = text.parse::<AddCheckpoint>() {
        written(&request, text);
        for last in SIGNED {
            let known = (last > 0).then(|| (last, honest.checkpoint(last).root));
            if let Answer::Cosign(checkpoint) = request.answer(honest.log.public(), known) {
                assert!(checkpoint.size >= last);
                signed(&request.checkpoint);
            }
        }
    }
    if let Ok(evidence) = Evidence::from_text(text) {
        let again = Evidence::from_text(&evidence.to_text().unwrap());
        assert_eq!(again.as_ref(), Ok(&evidence));
        match evidence.judge() {
            Ok(_) => assert_ne!(&evidence.log, honest.log.public(), "an honest log forked"),
            Err(EvidenceError::Consistent { .. } | EvidenceError::Form(_)) => {}
            Err(error) => drop(error.to_string()),
        }
    }
}

/// What the honest log's key verifies, it signed.
fn signed(note: &SignedNote) {
    let honest = honest();
    if let Ok(checkpoint) = Checkpoint::open(note, honest.log.public()) {
        assert!(SIGNED.contains(&checkpoint.size));
        assert_eq!(checkpoint, honest.checkpoint(checkpoint.size));
    }
}
