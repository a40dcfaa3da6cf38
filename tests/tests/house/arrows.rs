//! Arrows point down: `node → client-sdk → consensus`, and what is heavy stays where it is used.

use std::{collections::BTreeSet, env, process::Command};

use super::sources::root;

/// Every package that a build of `package` links or runs, by name, itself included: normal
/// dependencies of this platform. Build scripts' own are left out.
fn tree(package: &str, features: &[&str]) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--locked", "--offline", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}", "--package", package])
        .args(features)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

fn found<'a>(tree: &BTreeSet<String>, unwanted: &[&'a str]) -> Vec<&'a str> {
    let wanted_by_none = unwanted.iter().copied();
    wanted_by_none.filter(|name| tree.contains(*name)).collect()
}

/// The workspace's own packages in a tree.
fn members(tree: &BTreeSet<String>) -> Vec<&str> {
    let names = tree.iter().map(String::as_str);
    names.filter(|name| name.starts_with("warifu-")).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn consensus_depends_on_no_runtime_no_wire_no_store_no_randomness() {
    let tree = tree("warifu-consensus", &[]);
    let outer = [
        "tokio",
        "libp2p",
        "yamux",
        "sled",
        "axum",
        "hyper",
        "reqwest",
        "getrandom",
        "clap",
    ];
    assert_eq!(found(&tree, &outer), NONE);
    assert_eq!(members(&tree), ["warifu-consensus"]);
    assert!(
        tree.contains("frost-ed25519"),
        "the tree was not read: {tree:?}"
    );
}

#[test]
fn client_sdk_knows_neither_node_nor_index_nor_http_server() {
    let tree = tree("warifu-client-sdk", &["--all-features"]);
    assert_eq!(found(&tree, &["warifu-node", "sled", "axum", "clap"]), NONE);
    assert_eq!(members(&tree), ["warifu-client-sdk", "warifu-consensus"]);
    assert_eq!(found(&tree, &["libp2p", "reqwest"]), ["libp2p", "reqwest"]);
}

#[test]
fn a_login_service_pulls_in_no_device() {
    let only = ["--no-default-features", "--features", "login-service"];
    let tree = tree("warifu-client-sdk", &only);
    let of_devices = [
        "libp2p",
        "libp2p-core",
        "libp2p-swarm",
        "yamux",
        "sled",
        "axum",
    ];
    assert_eq!(found(&tree, &of_devices), NONE);
    assert!(tree.contains("reqwest"), "the tree was not read: {tree:?}");
}

#[test]
fn a_device_pulls_in_no_http() {
    let only = ["--no-default-features", "--features", "device"];
    let tree = tree("warifu-client-sdk", &only);
    assert_eq!(found(&tree, &["reqwest", "hyper", "axum", "sled"]), NONE);
    assert!(tree.contains("libp2p"), "the tree was not read: {tree:?}");
}

#[test]
fn node_rests_on_the_two_crates_below_it_only() {
    let tree = tree("warifu-node", &[]);
    assert_eq!(
        members(&tree),
        ["warifu-client-sdk", "warifu-consensus", "warifu-node"]
    );
    assert_eq!(
        found(&tree, &["sled", "axum", "libp2p"]),
        ["sled", "axum", "libp2p"]
    );
}

#[test]
fn the_simulator_rests_on_consensus_alone() {
    let tree = tree("warifu-simulator", &[]);
    assert_eq!(members(&tree), ["warifu-consensus", "warifu-simulator"]);
    assert_eq!(found(&tree, &["tokio", "libp2p", "sled", "axum"]), NONE);
}

/// It is written from the rules: what it says about them must not come from the code.
#[test]
fn the_model_rests_on_no_crate_of_the_house() {
    let tree = tree("warifu-model", &[]);
    assert_eq!(members(&tree), ["warifu-model"]);
}

#[test]
fn no_tree_links_another_tls_or_a_vulnerable_bincode() {
    let tree = tree("warifu-node", &["--all-features"]);
    assert_eq!(
        found(&tree, &["openssl-sys", "native-tls", "aws-lc-sys"]),
        NONE
    );
}
