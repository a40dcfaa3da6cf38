//! Bundles: everything that verifies them is in them, and nothing in them may be changed.

use std::fs;

use warifu_consensus::encoding::Hash;
use warifu_node::log::audit::bundle::{
    BundleError, Collect, CollectError, VerifiedBundle, is_bundle, verify,
};

use super::*;
use crate::cli::{fails, run, succeeds};

fn collect(kept: &Kept, account: Sub, only: Vec<Hash>) -> Collect {
    Collect {
        data: kept.data(),
        ledger: ledger(),
        keys: keys(),
        master_key: master(),
        account,
        only,
    }
}

fn write(kept: &Kept, account: Sub, only: Vec<Hash>) -> PathBuf {
    let bundle = collect(kept, account, only).run(&mut |_, _| {}).unwrap();
    let path = kept.dir.path().join("bundle");
    bundle.write(fs::File::create(&path).unwrap()).unwrap();
    path
}

fn check(path: &Path) -> Result<VerifiedBundle, BundleError> {
    verify(path, &ledger(), &keys())
}

#[tokio::test]
async fn a_chain_verifies_from_one_file_and_every_changed_byte_fails() {
    for role in [2, 3] {
        let (kept, chains) = kept(role, 7).await;
        let sub = chains[0][0].block.claims().sub;
        let path = write(&kept, sub, Vec::new());
        assert!(is_bundle(&path));
        let verified = check(&path).unwrap();
        assert_eq!(
            (verified.blocks, verified.logged, verified.size),
            (5, 4, 28)
        );
        assert_eq!(
            (verified.whole, verified.status.as_deref()),
            (true, Some("frozen"))
        );
        assert_eq!(verified.head, chains[0][4].block.hash());
        let bytes = fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(if role == 2 { 7 } else { 101 }) {
            let mut changed = bytes.clone();
            changed[at] ^= [1, 0x20, 0x80][at % 3];
            fs::write(&path, &changed).unwrap();
            assert!(check(&path).is_err(), "byte {at}");
        }
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(check(&path).is_err());
        fs::write(&path, [&bytes[..], b"\n"].concat()).unwrap();
        assert!(check(&path).is_err());
    }
}

#[tokio::test]
async fn lines_left_out_or_moved_fail_even_under_a_right_hash() {
    let (kept, chains) = kept(2, 3).await;
    let sub = chains[1][0].block.claims().sub;
    let path = write(&kept, sub, Vec::new());
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let of = |body: &[&str]| {
        let blocks = (body.len() - 2) / 2;
        let body: String = body.iter().map(|line| format!("{line}\n")).collect();
        let hash = blake3::hash(body.as_bytes()).to_hex();
        format!("{body}{{\"blocks\":{blocks},\"blake3\":\"{hash}\"}}\n")
    };
    let whole = &lines[..lines.len() - 1];
    assert_eq!(of(whole), text, "the test's own hash is right");
    let refuse = |body: &[&str], part: &str| {
        fs::write(&path, of(body)).unwrap();
        let told = check(&path).unwrap_err().to_string();
        assert!(told.contains(part), "{told}");
    };
    // Genesis left out; another block's proof; a block twice; the other way round.
    refuse(&[&whole[..2], &whole[4..]].concat(), "genesis");
    let mut swapped = whole.to_vec();
    swapped.swap(3, 5);
    refuse(&swapped, "another root");
    refuse(
        &[&whole[..6], &whole[4..]].concat(),
        "at height 1 after one at 1",
    );
    // A block left out in the middle: the rest is shown, the status is not.
    fs::write(&path, of(&[&whole[..4], &whole[6..]].concat())).unwrap();
    let verified = check(&path).unwrap();
    assert_eq!((verified.whole, verified.status), (false, None));
}

#[tokio::test]
async fn keys_are_the_verifier_s_own() {
    let (kept, chains) = kept(2, 3).await;
    let path = write(&kept, chains[0][0].block.claims().sub, Vec::new());
    let other = LogKeys {
        witness: LogKey::from_seed([1; 32], "witness.example", Algorithm::Cosignature)
            .unwrap()
            .public()
            .clone(),
        ..keys()
    };
    let told = verify(&path, &ledger(), &other).unwrap_err().to_string();
    assert!(told.contains("its witness is"), "{told}");
    let elsewhere = Ledger {
        broker: [7; 32],
        ..ledger()
    };
    let told = verify(&path, &elsewhere, &keys()).unwrap_err().to_string();
    assert!(told.contains("its broker is"), "{told}");
}

#[tokio::test]
async fn single_logins_come_with_genesis_and_with_nothing_else() {
    let (kept, chains) = kept(3, 3).await;
    let login = &chains[2][2];
    let sub = login.block.claims().sub;
    let path = write(&kept, sub, vec![login.block.hash()]);
    let verified = check(&path).unwrap();
    assert_eq!(
        (verified.blocks, verified.logged, verified.whole),
        (2, 2, false)
    );
    assert_eq!((verified.status, verified.head), (None, login.block.hash()));
    let unknown = collect(&kept, sub, vec![Hash([1; 32])]).run(&mut |_, _| {});
    assert!(matches!(unknown, Err(CollectError::Login { .. })));
    let nobody = collect(&kept, Sub([9; 16]), Vec::new()).run(&mut |_, _| {});
    assert!(matches!(nobody, Err(CollectError::Account(_))));
    let open = kept.open();
    open.keeper.forget(&sub).await.unwrap();
    drop(open);
    let erased = collect(&kept, sub, Vec::new()).run(&mut |_, _| {});
    assert!(matches!(erased, Err(CollectError::Erased(_))));
}

#[tokio::test]
async fn the_command_bundles_what_a_receipt_names() {
    let (kept, chains) = kept(2, 3).await;
    let dir = kept.dir.path();
    let text = warifu_node::config::render_ledger(&ledger(), &keys());
    fs::write(dir.join("ledger.toml"), text).unwrap();
    fs::write(dir.join("master"), [5; 32]).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(dir.join("master"), mode).unwrap();
    let sealed = chains[0][1].to_json();
    fs::write(dir.join("plain"), &sealed).unwrap();
    let begun = serde_json::json!({ "number": "12", "id": "x", "nonce": "y", "expires_in": 90 });
    let answer = serde_json::json!({ "status": "admitted", "receipt": sealed });
    fs::write(dir.join("answer"), format!("{begun}\n{answer}\n")).unwrap();
    fs::write(dir.join("other"), chains[1][1].to_json()).unwrap();
    let bundle = |receipts: &str| {
        let line = format!(
            "ledger bundle DIR/data --out DIR/out --ledger DIR/ledger.toml --master-key DIR/master --login {receipts}"
        );
        run(&line.split(' ').collect::<Vec<_>>(), dir)
    };
    let verify = ["ledger", "verify", "DIR/out", "--ledger", "DIR/ledger.toml"];
    for receipt in ["DIR/plain", "DIR/answer"] {
        let told = succeeds(&bundle(receipt));
        assert!(told.starts_with("2 blocks of account "), "{told}");
        let told = succeeds(&run(&verify, dir));
        assert!(told.contains("2 blocks, 2 in the log"), "{told}");
        // What is there is never written over.
        let told = fails(&bundle(receipt), 2);
        assert!(told.contains("/out is there already"), "{told}");
        assert!(succeeds(&run(&verify, dir)).contains("2 blocks"));
        fs::remove_file(dir.join("out")).unwrap();
    }
    assert!(fails(&bundle("DIR/plain DIR/other"), 5).contains("one account a bundle"));
    fails(&bundle("DIR/ledger.toml"), 5);
}
