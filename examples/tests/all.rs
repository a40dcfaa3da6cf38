//! The three programs against a real broker and a real trust operator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect stops loudly"
)]

use std::{
    ffi::OsStr,
    fmt::Debug,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use warifu_client_sdk::login_service::system_clock;
use warifu_consensus::block::Sealed;
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
        for _ in 0..PATIENCE.as_millis() / 20 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the program runs on after {PATIENCE:?}");
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
        let stage = (0..100).find_map(|_| {
            // The operators find each other after they are ready.
            let service = service(&net, "enrol");
            let first = service.lines.recv_timeout(PATIENCE).ok();
            let ticket = first.and_then(|line| Some(line.strip_prefix("ticket")?.to_owned()));
            thread::sleep(Duration::from_millis(100));
            Some((service, ticket?))
        });
        let (mut service, ticket) = stage.expect("no ticket in 10 s");
        fs::write(dir.join("ticket"), ticket.trim()).unwrap();
        let device = device(&net, true);
        let digits = device.said("digits");
        let wrong = if digits == "000000" {
            "111111"
        } else {
            "000000"
        };
        service.type_line(wrong);
        service.said("again");
        service.type_line(&digits);
        let account = service.said("account");
        // What a JOSE library takes, and what to do next.
        assert!(
            service
                .said("jwk")
                .starts_with(r#"{"crv":"Ed25519","kty":"OKP","x":""#)
        );
        assert!(service.said("next").contains("`login`"));
        assert_eq!(service.exit_code(), Some(0));
        assert_eq!(device.said("account"), account);
        device.said("next");
        Self {
            net,
            device,
            account,
        }
    }

    /// The `login_service` program with a login that its customer is being asked about, and the
    /// number on its page.
    fn begin(&self) -> (Program, String) {
        let service = service(&self.net, "login");
        let number = service.said("number");
        assert_eq!(
            self.device.said("asked"),
            format!("login at {}", Testnet::AUD)
        );
        (service, number)
    }
}

/// The `login_service` program for alice.
fn service(net: &Testnet, act: &str) -> Program {
    let token = net.node(Node::Broker).join("login-service.token");
    let arguments = [
        net.http.clone(),
        token.display().to_string(),
        net.ledger(),
        net.dir.join("pins.db").display().to_string(),
        Testnet::AUD.to_owned(),
        act.to_owned(),
        "alice".to_owned(),
    ];
    Program::start(env!("CARGO_BIN_EXE_login_service"), &arguments)
}

/// The `device` program, to enrol or as after a restart.
fn device(net: &Testnet, enrols: bool) -> Program {
    let text = |name: &str| net.dir.join(name).display().to_string();
    let mut arguments = vec![text("phone"), text("phone.key"), net.ledger()];
    arguments.extend(enrols.then(|| text("ticket")));
    Program::start(env!("CARGO_BIN_EXE_device"), &arguments)
}

/// Runs `verify` to its end.
fn verify<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    command.args(arguments).output().unwrap()
}

fn verified<S: AsRef<OsStr> + Debug>(arguments: &[S]) -> String {
    let output = verify(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Fails unless `verify` refuses, with these words.
fn refused<S: AsRef<OsStr> + Debug>(arguments: &[S], words: &str) {
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
    assert!(service.said("receipt").starts_with('{'));
    assert_eq!(service.exit_code(), Some(0));
    stage.device.said("approved");

    let (mut service, number) = stage.begin();
    let wrong = (number.parse::<u8>().unwrap() + 1) % 100;
    stage.device.type_line(&format!("{wrong:02}"));
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
fn a_device_that_was_killed_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(dir.path());
    // Killed at rest: the account and its share are there again.
    stage.device.child.kill().unwrap();
    stage.device.child.wait().unwrap();
    stage.device = device(&stage.net, false);
    let (mut service, number) = stage.begin();
    stage.device.type_line(&number);
    stage.device.said("approved");
    assert_eq!(service.exit_code(), Some(0));

    // Killed while it asks: the broker asks it again.
    let (mut service, number) = stage.begin();
    stage.device.child.kill().unwrap();
    stage.device.child.wait().unwrap();
    stage.device = device(&stage.net, false);
    stage.device.said("asked");
    stage.device.type_line(&number);
    stage.device.said("approved");
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn a_kept_receipt_and_an_export_verify_without_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::open(dir.path());
    let (service, number) = stage.begin();
    stage.device.type_line(&number);
    let nonce = service.said("nonce");
    let receipt = service.said("receipt");
    let sealed = Sealed::from_json(&receipt).unwrap();
    let hash = sealed.block.hash();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let kept = file("receipt.json", &receipt);
    let ledger = stage.net.ledger();
    let pins = dir.path().join("pins.db").display().to_string();
    let of = |what: &'static str, nonce: &str, receipt: &str| {
        [what, &ledger, &pins, "alice", Testnet::AUD, nonce, receipt].map(ToOwned::to_owned)
    };

    // By the keys that the login service pinned at enrolment.
    for what in ["live", "evidence"] {
        let said = verified(&of(what, &nonce, &kept));
        assert!(
            said.starts_with(&format!("verified, height 1, hash {hash}\n")),
            "{said}"
        );
        assert!(
            said.contains("votes of device, broker, trust operator"),
            "{said}"
        );
    }
    refused(
        &of("evidence", "another-sessions-challenge", &kept),
        "nonce",
    );
    let block = sealed.compact().unwrap();
    let (_, signature) = block.rsplit_once('.').unwrap();
    let swapped: String = signature.chars().rev().collect();
    let forged = file("forged.json", &receipt.replace(signature, &swapped));
    refused(&of("evidence", &nonce, &forged), "signature");
    let (before, vote) = receipt.rsplit_once("ed25519:").unwrap();
    let other = receipt.split("ed25519:").nth(1).unwrap();
    let swapped = format!("{before}ed25519:{}{}", &other[..86], &vote[86..]);
    let renamed = file("renamed.json", &swapped);
    refused(&of("evidence", &nonce, &renamed), "vote");

    assert!(stage.net.stop_all(), "a node did not stop by itself");
    let broker = stage.net.node(Node::Broker).display().to_string();
    let export = stage.net.warifu.text(["ledger", "export", &broker]);
    let export = export.unwrap();
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
    let exp = sealed.block.claims().exp;
    let left_s = exp.saturating_sub(system_clock().seconds());
    thread::sleep(Duration::from_secs(left_s + 1));
    refused(&of("live", &nonce, &kept), "expired");
    verified(&of("evidence", &nonce, &kept));
}
