//! The three programs against a real broker and a real trust operator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect stops loudly"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use warifu_client_sdk::login_service::system_clock;
use warifu_consensus::block::Block;
use warifu_tests::processes::{Node, Testnet, Warifu};

/// Longest silence of a program that should say something.
const PATIENCE: Duration = Duration::from_secs(30);
/// Seconds that a proposal lives.
const LIFETIME_S: u64 = 10;

/// A program that runs: its lines are read as they come, and it ends with the test.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(binary: &str, arguments: &[String]) -> Self {
        let mut child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        // Nobody listens any more once the test is over.
        thread::spawn(move || {
            let mut read = stdout.lines().map_while(Result::ok);
            read.try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The rest of the next line that begins with this word.
    fn said(&self, word: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|e| panic!("waiting for `{word}`: {e}"));
            println!("{line}");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Two operators, the `device` program enrolled for alice, and its account.
struct Stage {
    net: Testnet,
    device: Program,
    account: String,
}

impl Stage {
    fn open(dir: &Path) -> Self {
        let mut net = Testnet::init(Warifu::beside().unwrap(), dir, LIFETIME_S).unwrap();
        net.start(Node::TrustOperator).unwrap();
        net.start(Node::Broker).unwrap();
        let options = ["enrol", "ticket", "--customer", "alice", "--no-wait"];
        // The operators find each other after they are ready.
        let ticket = (0..100).find_map(|_| {
            let ticket = net.service(&options, &[]).ok();
            thread::sleep(Duration::from_millis(100));
            ticket
        });
        let ticket = ticket.expect("no ticket in 10 s");
        let file = dir.join("ticket");
        fs::write(&file, ticket.text("ticket_uri")).unwrap();
        let text = |name: &str| dir.join(name).display().to_string();
        let arguments = [
            text("phone"),
            text("phone.key"),
            net.ledger(),
            text("ticket"),
        ];
        let device = Program::start(env!("CARGO_BIN_EXE_device"), &arguments);
        let digits = device.said("digits");
        let account = net
            .confirm("alice", &ticket.text("session"), &digits)
            .unwrap();
        assert_eq!(device.said("account"), account);
        Self {
            net,
            device,
            account,
        }
    }

    /// The `login_service` program with a login that its customer is being asked about, and the
    /// number on its page.
    fn begin(&self) -> (Program, String) {
        let token = self.net.node(Node::Broker).join("login-service.token");
        let arguments = [
            self.net.http.clone(),
            token.display().to_string(),
            self.net.ledger(),
            self.net.dir.join("pins.json").display().to_string(),
            Testnet::AUD.to_owned(),
            "alice".to_owned(),
        ];
        let service = Program::start(env!("CARGO_BIN_EXE_login_service"), &arguments);
        let number = service.said("number");
        assert_eq!(
            self.device.said("asked"),
            format!("login at {}", Testnet::AUD)
        );
        (service, number)
    }
}

/// Runs `verify` to its end.
fn verify(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    command.args(arguments).output().unwrap()
}

fn verified(arguments: &[&str]) -> String {
    let output = verify(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Fails unless `verify` refuses, with these words.
fn refused(arguments: &[&str], words: &str) {
    let output = verify(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} verified");
    assert!(said.contains(words), "found {said}, expected {words}");
}

#[test]
fn a_login_service_lets_in_whom_the_device_approved_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(dir.path());

    let (mut service, number) = stage.begin();
    stage.device.type_line(&number);
    assert_eq!(service.said("height"), "1");
    assert_eq!(service.said("hash").len(), 43);
    assert_eq!(service.exit_code(), Some(0));
    stage.device.said("approved");

    let (mut service, number) = stage.begin();
    let wrong = (number.parse::<u8>().unwrap() + 1) % 100;
    stage.device.type_line(&wrong.to_string());
    assert_eq!(
        service.said("refused by the device:"),
        "the number was wrong"
    );
    assert_eq!(service.exit_code(), Some(1));
    stage.device.said("refused");

    let (mut service, _) = stage.begin();
    stage.device.type_line("");
    service.said("refused by the device");
    assert_eq!(service.exit_code(), Some(1));
}

#[test]
fn a_kept_block_and_an_export_verify_without_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(dir.path());
    let (service, number) = stage.begin();
    stage.device.type_line(&number);
    let hash = service.said("hash");
    let nonce = service.said("nonce");
    let block = service.said("block");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };

    // By the key that the login service pinned at enrolment.
    let pins = fs::read_to_string(dir.path().join("pins.json")).unwrap();
    let pins: Value = serde_json::from_str(&pins).unwrap();
    let known = |nonce: &str| {
        json!({
            "iss": Testnet::ISS, "aud": Testnet::AUD, "account": stage.account,
            "nonce": nonce, "kind": "login", "jwk": pins["pins"]["alice"]["jwk"],
        })
        .to_string()
    };
    let expected = file("expected.json", &known(&nonce));
    let kept = file("block.jwt", &block);
    let said = format!("verified, height 1, hash {hash}\n");
    assert_eq!(verified(&["live", &expected, &kept]), said);
    assert_eq!(verified(&["evidence", &expected, &kept]), said);
    let other = file("other.json", &known(&block[..nonce.len()]));
    refused(&["evidence", &other, &kept], "nonce");
    let (input, signature) = block.rsplit_once('.').unwrap();
    let swapped: String = signature.chars().rev().collect();
    let forged = file("forged.jwt", &format!("{input}.{swapped}"));
    refused(&["evidence", &expected, &forged], "signature");

    assert!(stage.net.stop_all(), "a node did not stop by itself");
    let broker = stage.net.node(Node::Broker).display().to_string();
    let export = stage.net.warifu.text(["ledger", "export", &broker]);
    let export = export.unwrap();
    let ledger = stage.net.ledger();
    let exported = file("export.jsonl", &export);
    let said = format!("{} active, height 1, head {hash}\n", stage.account);
    assert_eq!(verified(&["chain", &ledger, &exported]), said);
    let (cut, _) = export.trim_end().rsplit_once('\n').unwrap();
    let cut = file("cut.jsonl", cut);
    refused(&["chain", &ledger, &cut], "cut off");
    let pinned = fs::read_to_string(&ledger).unwrap();
    let exchanged = pinned
        .replace("trust_operator =", "x =")
        .replace("broker =", "trust_operator =")
        .replace("x =", "broker =");
    let strangers = file("strangers.toml", &exchanged);
    refused(&["chain", &strangers, &exported], "pinned");

    // `exp` limits admission, not proof.
    let exp = Block::parse(input).unwrap().claims().exp;
    let left_s = exp.saturating_sub(system_clock().seconds());
    thread::sleep(Duration::from_secs(left_s + 1));
    refused(&["live", &expected, &kept], "expired");
    verified(&["evidence", &expected, &kept]);
}
