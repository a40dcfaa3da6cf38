//! The arrow: a login service's program pulls in no libp2p, no store, no HTTP server.

use std::process::Command;

#[test]
fn login_service_pulls_in_neither_wire_nor_store_nor_server() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-p", "warifu-client-sdk"])
        .args(["--no-default-features", "--features", "login-service"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.contains(&"reqwest"), "the tree was read");
    for name in names {
        let is_banned = name.starts_with("libp2p")
            || name.starts_with("axum")
            || ["sled", "yamux", "warifu-node", "rusqlite", "libsqlite3-sys"].contains(&name);
        assert!(!is_banned, "{name}");
    }
}
