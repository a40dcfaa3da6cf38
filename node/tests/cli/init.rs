//! `warifu init`: once, again, half-way, contradicted.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use warifu_client_sdk::transport::peer_id;
use warifu_consensus::{encoding::text_b64, party::Role};
use warifu_node::{
    config::{Card, Config, RoleConfig, read_ledger},
    secrets::{Scope, Tokens, read_token},
};

use super::{fails, init_all, run, succeeds};

const BROKER: [&str; 8] = [
    "init",
    "broker",
    "--dir",
    "DIR/b",
    "--iss",
    "https://ledger.example",
    "--listen",
    "/ip4/127.0.0.1/tcp/7101",
];

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn three_directories_pin_one_ledger() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let config = |name| Config::load(&dir.path().join(name)).unwrap();
    let (broker, trust_operator, device) = (config("b"), config("t"), config("d"));
    assert_eq!(broker.ledger, trust_operator.ledger);
    assert_eq!(broker.ledger, device.ledger);
    assert_eq!(
        read_ledger(&dir.path().join("b/ledger.toml")).unwrap(),
        broker.ledger
    );
    for (config, key) in [
        (&broker, broker.ledger.broker),
        (&trust_operator, broker.ledger.trust_operator),
    ] {
        let seed = config.identity().unwrap().unwrap();
        assert_eq!(seed.public(), key);
        assert_eq!(seed.wire().public_key().unwrap(), key);
    }
    assert!(device.identity().unwrap().is_none());
    let RoleConfig::Broker(own) = &broker.role else {
        panic!("another role");
    };
    assert_eq!(own.trust_operator_addresses.len(), 1);
    assert!(
        !broker
            .node
            .master_key
            .canonicalize()
            .unwrap()
            .starts_with(dir.path().join("b"))
    );
}

#[test]
fn secrets_are_private_and_a_token_is_kept_as_a_hash() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let private = [
        "b/identity.key",
        "b.master-key",
        "b/login-service.token",
        "b/tokens.toml",
        "t/identity.key",
        "t.master-key",
        "d.master-key",
    ];
    for name in private {
        let mode = dir.path().join(name).metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let token = read_token(&dir.path().join("b/login-service.token")).unwrap();
    let path = dir.path().join("b/tokens.toml");
    assert!(!fs::read_to_string(&path).unwrap().contains(token.as_str()));
    let tokens = Tokens::read(&path).unwrap();
    let caller = tokens.caller(&token).unwrap();
    assert_eq!(caller.aud, "https://ledger.example");
    assert_eq!(
        caller.scopes,
        Scope::USUAL,
        "what nothing needs is given to nobody"
    );
    assert!(tokens.caller(&format!("{}x", token.as_str())).is_none());
    assert!(tokens.caller(&caller.hash).is_none());
}

#[test]
fn a_second_init_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    // An operator's own comment stays, too.
    let path = dir.path().join("b/warifu.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("# ours\n{text}")).unwrap();
    let before = files(dir.path());
    init_all(dir.path());
    succeeds(&run(&BROKER, dir.path()));
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_run_cut_short_is_completed_with_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let before = files(dir.path());
    for lost in [
        &["warifu.toml"][..],
        &["warifu.toml", "ledger.toml", "card.toml"],
        &["warifu.toml", "ledger.toml", "card.toml", "tokens.toml"],
    ] {
        for name in lost {
            fs::remove_file(dir.path().join("b").join(name)).unwrap();
        }
        // What a killed process leaves behind.
        fs::write(dir.path().join("b/warifu.toml.new"), "half").unwrap();
        init_all(dir.path());
        assert_eq!(files(dir.path()), before, "after losing {lost:?}");
    }
}

#[test]
fn contradictions_are_refused_with_found_and_expected() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let before = files(dir.path());
    let cases: [(&str, &str); 5] = [
        (
            "init broker --dir DIR/b --iss https://other.example",
            "iss given is https://other.example, expected https://ledger.example",
        ),
        (
            "init broker --dir DIR/b --listen /ip4/127.0.0.1/tcp/1",
            "listen given is /ip4/127.0.0.1/tcp/1, expected /ip4/127.0.0.1/tcp/7101",
        ),
        (
            "init broker --dir DIR/b --aud https://bank.example",
            "aud given is https://bank.example, expected https://ledger.example",
        ),
        (
            "init device --dir DIR/b --ledger DIR/b/ledger.toml",
            "role given is device, expected broker",
        ),
        (
            "init broker --dir DIR/b --trust-operator DIR/b/card.toml",
            "role is \"broker\", expected trust-operator",
        ),
    ];
    for (args, expected) in cases {
        let args: Vec<&str> = args.split(' ').collect();
        let told = fails(&run(&args, dir.path()), 3);
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(files(dir.path()), before);
}

#[test]
fn another_trust_operator_is_refused_and_a_moved_one_taken() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let args = |card| ["init", "broker", "--dir", "DIR/b", "--trust-operator", card];
    let other = [
        "init",
        "trust-operator",
        "--dir",
        "DIR/u",
        "--broker",
        "DIR/b/card.toml",
        "--listen",
        "/ip4/127.0.0.1/tcp/7103",
    ];
    succeeds(&run(&other, dir.path()));
    let told = fails(&run(&args("DIR/u/card.toml"), dir.path()), 3);
    assert!(told.contains("trust operator given is"), "{told}");
    let card = dir.path().join("t/card.toml");
    let text = fs::read_to_string(&card).unwrap().replace("7102", "7999");
    fs::write(&card, text).unwrap();
    succeeds(&run(&args("DIR/t/card.toml"), dir.path()));
    let RoleConfig::Broker(own) = Config::load(&dir.path().join("b")).unwrap().role else {
        panic!("another role");
    };
    assert_eq!(
        own.trust_operator_addresses[0].to_string(),
        "/ip4/127.0.0.1/tcp/7999"
    );
}

#[test]
fn a_card_whose_peer_id_is_not_its_keys_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let path = dir.path().join("t/card.toml");
    let card = Card::read(&path, Role::TrustOperator).unwrap();
    assert_eq!(
        card.peer_id(),
        peer_id(&card.public_key).unwrap().to_string()
    );
    let broker = Card::read(&dir.path().join("b/card.toml"), Role::Broker).unwrap();
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace(&text_b64(&card.public_key), &text_b64(&broker.public_key));
    fs::write(&path, text).unwrap();
    let error = Card::read(&path, Role::TrustOperator)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("peer_id is") && error.contains("expected"),
        "{error}"
    );
}

#[test]
fn a_lost_or_exchanged_key_is_told_and_never_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let again = ["init", "broker", "--dir", "DIR/b"];
    let key = dir.path().join("b/identity.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(fails(&run(&again, dir.path()), 3).contains("identity.key"));
    assert!(!key.exists());
    fs::copy(dir.path().join("t/identity.key"), &key).unwrap();
    assert!(fails(&run(&again, dir.path()), 3).contains("holds the key"));
    let error = Config::load(&dir.path().join("b"))
        .unwrap()
        .identity()
        .unwrap_err();
    assert!(
        error.to_string().contains("expected the broker's"),
        "{error}"
    );
    fs::write(&key, kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    succeeds(&run(&again, dir.path()));
    fs::remove_file(dir.path().join("b.master-key")).unwrap();
    assert!(fails(&run(&again, dir.path()), 3).contains("b.master-key"));
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    for name in ["b/identity.key", "b.master-key", "b/tokens.toml"] {
        let path = dir.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let told = fails(&run(&["init", "broker", "--dir", "DIR/b"], dir.path()), 3);
        assert!(told.contains("has mode 0640, expected 0600"), "{told}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let key = dir.path().join("b/identity.key");
    fs::write(&key, [0; 31]).unwrap();
    let told = fails(&run(&["init", "broker", "--dir", "DIR/b"], dir.path()), 3);
    assert!(told.contains("has 31 bytes, expected 32"), "{told}");
}

#[test]
fn all_that_is_missing_is_named_at_once_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (args, missing) in [
        ("init broker", "--dir, --iss, --listen are missing"),
        ("init broker --dir DIR/b", "--iss, --listen are missing"),
        (
            "init broker --iss https://ledger.example",
            "--dir, --listen are missing",
        ),
        (
            "init trust-operator",
            "--dir, --broker, --listen are missing",
        ),
        (
            "init trust-operator --dir DIR/t",
            "--broker, --listen are missing",
        ),
        ("init device", "--dir, --ledger are missing"),
        ("init device --dir DIR/d", "--ledger is missing"),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let told = fails(&run(&args, dir.path()), 2);
        assert!(told.contains(missing), "{args:?}: {told}");
        let help = format!("`warifu init {} --help`", args[1]);
        assert!(told.contains(&help), "{told}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// What `init` prints after `next:` is what the next role, or the node, is made with.
#[test]
fn each_role_is_told_the_next_command_and_it_works() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("two words");
    fs::create_dir(&dir).unwrap();
    let init = |args: &[&str]| succeeds(&run(args, &dir));
    let shown = |name: &str| format!("'{}/{name}'", dir.display());
    let told = init(&BROKER);
    let next = |told: &str, command: String| {
        assert!(told.contains("next:     "), "{told}");
        let line = told.lines().find(|line| line.contains(&command));
        assert!(line.is_some(), "{command} is missing in {told}");
    };
    next(
        &told,
        format!("trust-operator --dir DIR --broker {}", shown("b/card.toml")),
    );
    next(
        &told,
        format!("init broker --dir {} --trust-operator", shown("b")),
    );
    let told = init(&[
        "init",
        "trust-operator",
        "--dir",
        "DIR/t",
        "--broker",
        "DIR/b/card.toml",
        "--listen",
        "/ip4/127.0.0.1/tcp/7102",
    ]);
    next(&told, format!("--trust-operator {}", shown("t/card.toml")));
    next(&told, format!("warifu run --dir {}", shown("t")));
    let told = init(&[
        "init",
        "broker",
        "--dir",
        "DIR/b",
        "--trust-operator",
        "DIR/t/card.toml",
    ]);
    next(&told, format!("warifu run --dir {}", shown("b")));
    let told = init(&[
        "init",
        "device",
        "--dir",
        "DIR/d",
        "--ledger",
        "DIR/t/ledger.toml",
    ]);
    next(&told, format!("warifu run --dir {}", shown("d")));
    next(&told, format!("warifu device enrol - --dir {}", shown("d")));
}

#[test]
fn wrong_arguments_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    for (args, code) in [
        (
            "init broker --dir DIR/b --iss https://ledger.example --listen nowhere",
            3,
        ),
        (
            "init broker --dir DIR/b --iss https://ledger.example --listen /ip4/0.0.0.0/tcp/7101",
            3,
        ),
        (
            "init broker --dir DIR/b --iss https://ledger.example --listen /ip4/127.0.0.1/tcp/1 --http 0.0.0.0:80",
            3,
        ),
        (
            "init broker --dir DIR/b --listen /ip4/127.0.0.1/tcp/7101",
            2,
        ),
        ("init broker --dir DIR/b --iss https://ledger.example", 2),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        fails(&run(&args, dir.path()), code);
        assert!(files(dir.path()).is_empty(), "{args:?}");
    }
}
