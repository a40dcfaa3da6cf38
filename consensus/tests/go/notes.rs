//! Checkpoints, cosignatures and proofs: signed on one side, opened on the other.

use warifu_consensus::{
    encoding::Hash,
    log::{
        Algorithm, Checkpoint, Frontier, LogKey, LogProof, NoteError, NoteKey, Opening, SignedNote,
        TreeError, inclusion, leaf_hash,
    },
};

use super::{Go, Value, b64, bytes, json};
use crate::logs::grown;

const ORIGIN: &str = "ledger.example/log";
const WITNESS: &str = "trust.example/log";
const NOW: u64 = 1_790_000_000;

pub(super) fn log() -> LogKey {
    LogKey::from_seed([1; 32], ORIGIN, Algorithm::Ed25519).unwrap()
}

pub(super) fn witness() -> LogKey {
    LogKey::from_seed([2; 32], WITNESS, Algorithm::Cosignature).unwrap()
}

pub(super) fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint {
        origin: ORIGIN.into(),
        size,
        root: grown().roots[size as usize],
    }
}

/// As the reference takes a note and the keys that it knows.
pub(super) fn open(note: impl AsRef<[u8]>, keys: &[&NoteKey]) -> Value {
    let keys: Value = keys.iter().map(ToString::to_string).collect();
    json!({"op": "open", "note": b64(note), "keys": keys})
}

/// Names of who signed, by the reference's answer.
fn names(lines: &Value) -> Vec<&str> {
    let lines = lines.as_array().unwrap();
    lines.iter().map(|l| l["name"].as_str().unwrap()).collect()
}

/// The key pair that the reference makes of a seed: its signer key and its verifier key.
fn generated(go: &mut Go, seed: [u8; 32], name: &str) -> (Value, NoteKey) {
    let made = go.ask(json!({"op": "generate", "name": name, "seed": b64(seed)}));
    let made = made.unwrap();
    (
        made["signer"].clone(),
        made["key"].as_str().unwrap().parse().unwrap(),
    )
}

#[test]
#[ignore = "needs Go"]
fn our_checkpoint_opens_there() {
    let (mut go, key) = (Go::start(), log());
    for size in [0, 1, 2, 255, 256, 600] {
        let point = checkpoint(size);
        let note = point.signed(&key).to_string();
        let opened = go.ask(open(&note, &[key.public()])).unwrap();
        assert_eq!(bytes(&opened["text"]), point.to_string().as_bytes());
        assert_eq!(names(&opened["verified"]), [ORIGIN]);
        assert_eq!(opened["verified"][0]["id"], key.public().id());
        assert!(names(&opened["unverified"]).is_empty());
    }
}

#[test]
#[ignore = "needs Go"]
fn their_checkpoint_opens_here() {
    let mut go = Go::start();
    for size in [0, 1, 2, 255, 256, 600] {
        let (signer, key) = generated(&mut go, [size as u8; 32], ORIGIN);
        let point = checkpoint(size);
        let text = b64(point.to_string());
        let signed = go.ask(json!({"op": "sign", "signer": signer, "text": text}));
        let signed = bytes(&signed.unwrap()["note"]);
        let note = SignedNote::parse(&signed).unwrap();
        assert_eq!(Checkpoint::open(&note, &key), Ok(point.clone()));
        assert_eq!(note.to_string().as_bytes(), signed);
        // Ed25519 leaves a signer no choice: the same seed signs the same bytes.
        let ours = LogKey::from_seed([size as u8; 32], ORIGIN, Algorithm::Ed25519).unwrap();
        assert_eq!(ours.public(), &key);
        assert_eq!(point.signed(&ours).to_string().as_bytes(), signed);
        let other = LogKey::from_seed([99; 32], ORIGIN, Algorithm::Ed25519).unwrap();
        let missing = note.verify(other.public());
        assert!(matches!(missing, Err(NoteError::Missing { .. })));
    }
}

#[test]
#[ignore = "needs Go"]
fn a_flipped_bit_is_refused_by_both() {
    let (mut go, key) = (Go::start(), log());
    let (text, signed) = (
        checkpoint(600).to_string(),
        checkpoint(600).signed(&key).to_string(),
    );
    // Through the text, the key's ID and the signature; forms are refusals.rs's.
    let digits = text.find("600").unwrap();
    let root = text.len() - 10;
    let signature = text.len() + ORIGIN.len() + 20;
    for at in [0, digits, root, signature, signature + 40] {
        let mut altered = signed.clone().into_bytes();
        altered[at] ^= 1;
        let note = SignedNote::parse(&altered).unwrap();
        assert!(Checkpoint::open(&note, key.public()).is_err(), "byte {at}");
        let opened = go.ask(open(&altered, &[key.public()]));
        assert!(opened.is_err(), "byte {at}");
    }
}

#[test]
#[ignore = "needs Go"]
fn our_cosignature_disturbs_nobody_and_verifies_there() {
    let (mut go, log, witness) = (Go::start(), log(), witness());
    let mut note = checkpoint(257).signed(&log);
    note.sign(&witness, NOW);
    let note = note.to_string();
    // To whoever knows the log only, it is a stranger's line.
    let opened = go.ask(open(&note, &[log.public()])).unwrap();
    assert_eq!(names(&opened["verified"]), [ORIGIN]);
    assert_eq!(names(&opened["unverified"]), [WITNESS]);
    assert_eq!(opened["unverified"][0]["id"], witness.public().id());
    let opened = go.ask(open(&note, &[log.public(), witness.public()]));
    let opened = opened.unwrap();
    assert_eq!(names(&opened["verified"]), [ORIGIN, WITNESS]);
    // Key ID 4 ‖ time u64 BE ‖ signature 64.
    let line = bytes(&opened["verified"][1]["base64"]);
    assert_eq!((line.len(), &line[4..12]), (76, &NOW.to_be_bytes()[..]));
    // Its time is signed; so is the text under it.
    let (head, payload) = note.trim_end().rsplit_once(' ').unwrap();
    let payload = bytes(&payload.into());
    for at in [11, 12, 75] {
        let mut altered = payload.clone();
        altered[at] ^= 1;
        let altered = format!("{head} {}\n", b64(altered));
        assert!(go.ask(open(&altered, &[witness.public()])).is_err(), "{at}");
        let here = SignedNote::parse(altered.as_bytes()).unwrap();
        assert!(Checkpoint::cosigned(&here, witness.public()).is_err());
    }
}

#[test]
#[ignore = "needs Go"]
fn their_lines_beside_ours_verify_here() {
    let (mut go, log) = (Go::start(), log());
    let note = checkpoint(300).signed(&log).to_string();
    let (signer, second) = generated(&mut go, [5; 32], "second.example");
    let mut asked = open(&note, &[log.public()]);
    (asked["op"], asked["signer"]) = ("sign".into(), signer);
    let twice = bytes(&go.ask(asked).unwrap()["note"]);
    let mut asked = open(&twice, &[log.public(), &second]);
    for (field, value) in [
        ("op", "cosign".into()),
        ("name", WITNESS.into()),
        ("seed", b64([2; 32]).into()),
        ("time", NOW.into()),
    ] {
        asked[field] = value;
    }
    let thrice = bytes(&go.ask(asked).unwrap()["note"]);
    let read = SignedNote::parse(&thrice).unwrap();
    assert_eq!(Checkpoint::open(&read, log.public()), Ok(checkpoint(300)));
    assert_eq!(read.verify(&second), Ok(None));
    let cosigned = Checkpoint::cosigned(&read, witness().public()).unwrap();
    assert_eq!(cosigned.time, NOW);
    // The very line that the same key writes here.
    let mut ours = checkpoint(300).signed(&log);
    ours.sign(&witness(), NOW);
    let line = ours.lines_of(witness().public());
    assert_eq!(read.lines_of(witness().public()), line);
}

#[test]
#[ignore = "needs Go"]
fn our_proof_verifies_there() {
    let (mut go, log, witness) = (Go::start(), log(), witness());
    let (opening, block) = (Opening::from_bytes([6; 32]), Hash([5; 32]));
    let leaf = opening.leaf(&block).0;
    for (size, index) in [(1, 0), (2, 1), (300, 77), (300, 299), (512, 256)] {
        let (mut nodes, mut frontier) = (std::collections::HashMap::new(), Frontier::new());
        for at in 0..size {
            let entry = if at == index { leaf } else { [at as u8; 32] };
            frontier.push(leaf_hash(&entry), |node, hash| {
                nodes.insert(node, *hash);
            });
        }
        let path = inclusion(index, size, |node| Ok::<_, TreeError>(nodes[&node])).unwrap();
        let point = Checkpoint {
            root: frontier.root(),
            ..checkpoint(size)
        };
        let mut signed = point.signed(&log);
        signed.sign(&witness, NOW);
        let proof = LogProof {
            opening: opening.clone(),
            index,
            path,
            checkpoint: signed,
        };
        let asked = |proof: &str, leaf: [u8; 32]| {
            let keys = [log.public().to_string(), witness.public().to_string()];
            json!({"op": "log proof", "text": b64(proof), "keys": keys, "entries": [b64(leaf)]})
        };
        let found = go.ask(asked(&proof.to_string(), leaf)).unwrap();
        assert_eq!(bytes(&found["extra"]), opening.as_bytes());
        assert_eq!(
            (&found["index"], &found["size"]),
            (&json!(index), &json!(size))
        );
        assert_eq!(found["origin"], ORIGIN);
        assert!(go.ask(asked(&proof.to_string(), [1; 32])).is_err());
        let elsewhere = proof.to_string().replacen(
            &format!("index {index}\n"),
            &format!("index {}\n", index ^ 1),
            1,
        );
        assert!(go.ask(asked(&elsewhere, leaf)).is_err());
    }
}
