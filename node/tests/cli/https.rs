//! `warifu run` of a broker that serves TLS, and the commands of a login service that calls it.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use warifu_client_sdk::login_service::{Pin, PinStore, SqlitePins};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Parties, Sub};
use warifu_node::secrets::{Scope, read_token, token_hash};

use super::{fails, run, succeeds, warifu};
use crate::pki::Authority;

/// A running broker; its trust operator is not there.
struct Running {
    dir: TempDir,
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn init(dir: &Path) {
    for args in [
        "init broker --dir DIR/b --iss https://ledger.example --listen /ip4/127.0.0.1/tcp/0 \
         --announce /ip4/127.0.0.1/tcp/9 --http 127.0.0.1:0 --certificate tls.pem --private-key tls.key",
        "init trust-operator --dir DIR/t --broker DIR/b/card.toml --listen /ip4/127.0.0.1/tcp/7102",
        "init broker --dir DIR/b --trust-operator DIR/t/card.toml",
    ] {
        let args: Vec<&str> = args.split_whitespace().collect();
        succeeds(&run(&args, dir));
    }
}

impl Running {
    fn start(authority: &Authority) -> Running {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path());
        authority.issue().write(&dir.path().join("b"));
        fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_warifu"))
            .args(["run", "--dir"])
            .arg(dir.path().join("b"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let url = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="));
        let url = url.unwrap_or_else(|| panic!("{line}")).to_owned();
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        Running { dir, child, url }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// `warifu account show` of an account that the broker doesn't know.
    fn ask(&self, ca: Option<&str>) -> std::process::Output {
        let pins = self.path("pins.db");
        let pin = Pin {
            account: Sub([9; 16]),
            account_key: [9; 32],
            genesis: Hash([9; 32]),
            parties: Parties {
                device: [9; 32],
                broker: [9; 32],
                trust_operator: [9; 32],
            },
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let pins = SqlitePins::open(&pins).await.unwrap();
            pins.pin("1001", &pin).await.unwrap();
        });
        let (token, ledger) = (
            self.path("b/login-service.token"),
            self.path("b/ledger.toml"),
        );
        let mut args = vec!["account", "show", "--customer", "1001", "--json"];
        args.extend(["--broker", &self.url, "--token-file", &token]);
        args.extend(["--ledger", &ledger, "--pins", &pins]);
        args.extend(ca.into_iter().flat_map(|ca| ["--ca", ca]));
        warifu(&args)
    }

    fn hang_up(&self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-HUP", &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Asks until the answer says so.
    fn eventually(&self, ca: &str, expected: &str) {
        let mut said = String::new();
        for _ in 0..80 {
            said = String::from_utf8(self.ask(Some(ca)).stderr).unwrap();
            if said.contains(expected) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{said}, expected {expected}");
    }
}

#[test]
fn a_broker_serves_tls_and_its_callers_name_the_authority() {
    let authority = Authority::new("the broker's house");
    let running = Running::start(&authority);
    let ca = running.path("ca.pem");
    let reached = fails(&running.ask(Some(&ca)), 1);
    assert!(reached.contains("unknown here"), "{reached}");
    let stranger = fails(&running.ask(None), 4);
    assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    let none = fails(&running.ask(Some(&running.path("no-such.pem"))), 3);
    assert!(none.contains("no-such.pem"), "{none}");

    // Another house's certificate, at SIGHUP; then the callers change.
    let other = Authority::new("another house");
    other.issue().write(&running.dir.path().join("b"));
    fs::write(running.path("other.pem"), &other.pem).unwrap();
    running.hang_up();
    running.eventually(&running.path("other.pem"), "unknown here");
    let other = running.path("other.pem");
    let tokens = running.path("b/tokens.toml");
    let text = fs::read_to_string(&tokens).unwrap();
    fs::write(&tokens, text.replace("\"history\"", "\"histories\"")).unwrap();
    running.hang_up();
    std::thread::sleep(Duration::from_millis(300));
    running.eventually(&other, "unknown here");
    fs::write(&tokens, text.replace("\"history\", ", "")).unwrap();
    running.hang_up();
    running.eventually(&other, "lacks scope history");
    fs::write(&tokens, "").unwrap();
    running.hang_up();
    running.eventually(&other, "not authenticated");
}

#[test]
fn a_pair_that_is_none_stops_the_start_by_name() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let authority = Authority::new("the broker's house");
    let start = || fails(&run(&["run", "--dir", "DIR/b"], dir.path()), 3);
    assert!(start().contains("tls.pem"), "a missing file is named");
    let (_, key) = authority.issue().write(&dir.path().join("b"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let unsafe_key = start();
    assert!(
        unsafe_key.contains("tls.key has mode 0640, expected 0600"),
        "{unsafe_key}"
    );
    fs::write(&key, authority.issue().private_key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let mismatch = start();
    assert!(mismatch.contains("are no pair"), "{mismatch}");
}

#[test]
fn a_scope_that_is_none_is_named_with_its_caller() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    authority_files(dir.path());
    let tokens = dir.path().join("b/tokens.toml");
    let text = fs::read_to_string(&tokens).unwrap();
    for scope in Scope::USUAL {
        assert!(text.contains(&format!("\"{}\"", scope.name())), "{text}");
    }
    fs::write(&tokens, text.replace("\"desk\"", "\"admin\"")).unwrap();
    let error = fails(&run(&["run", "--dir", "DIR/b"], dir.path()), 3);
    let named = "caller \"login-service\" has scope \"admin\", expected some of login, enrol, \
                 history, freeze, desk, erase";
    assert!(error.contains(named), "{error}");
    let token = read_token(&dir.path().join("b/login-service.token")).unwrap();
    let answer: Value = serde_json::json!({ "hash": token_hash(&token) });
    assert!(!error.contains(token.as_str()) && !error.contains(answer["hash"].as_str().unwrap()));
}

fn authority_files(dir: &Path) {
    Authority::new("the broker's house")
        .issue()
        .write(&dir.join("b"));
}
