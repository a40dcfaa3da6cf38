//! The commands of a login service, as real processes against a served desk.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use warifu_client_sdk::login_service::api::Jwk;
use warifu_client_sdk::login_service::{PinStore, SqlitePins};
use warifu_client_sdk::receipt::{Expected, Moment, verify_login};
use warifu_consensus::block::Kind;
use warifu_consensus::encoding::parse_b64;
use warifu_consensus::party::Sub;
use warifu_node::api::Limits;
use warifu_node::clock;
use warifu_node::config::render_ledger;

use super::desk::TestDesk;
use super::{BANK, BANK_TOKEN, LoginId, Site};
use crate::trio::ISS;

struct Shop {
    site: Site,
    dir: TempDir,
}

struct Ended {
    code: Option<i32>,
    lines: Vec<Value>,
    stderr: String,
}

impl Shop {
    async fn open() -> Shop {
        let dir = tempfile::tempdir().unwrap();
        let desk = TestDesk::new(60, clock::now());
        let site = Site::serve(desk, Limits::default()).await;
        let ledger = site.desk.with(|room| room.operators.ledger.clone());
        std::fs::write(
            dir.path().join("ledger.toml"),
            render_ledger(&ledger, &crate::log::keys()),
        )
        .unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, BANK_TOKEN).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&token, private).unwrap();
        Shop { site, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn pins(&self) -> SqlitePins {
        SqlitePins::open(self.path("pins.db")).await.unwrap()
    }

    /// A customer with an account.
    async fn customer(&self, name: &str) -> Sub {
        let account = self.site.desk.found();
        let desk = &self.site.desk;
        let pin = desk.with(|room| room.accounts[&account].pin(&room.operators));
        self.pins().await.pin(name, &pin).await.unwrap();
        account
    }

    fn start(&self, words: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_warifu"))
            .args(words)
            .args(["--json", "--aud", BANK, "--broker", &self.site.url()])
            .arg("--token-file")
            .arg(self.path("token"))
            .arg("--ledger")
            .arg(self.path("ledger.toml"))
            .arg("--pins")
            .arg(self.path("pins.db"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    async fn run(&self, words: &[&str]) -> Ended {
        let child = self.start(words);
        tokio::task::spawn_blocking(|| finish(child, Vec::new()))
            .await
            .unwrap()
    }

    /// Starts a command that begins a login; its first line, and the process.
    async fn begin(&self, words: &[&str]) -> (Value, Child) {
        let mut child = self.start(words);
        tokio::task::spawn_blocking(move || {
            let mut line = Vec::new();
            let stdout = child.stdout.as_mut().unwrap();
            // Byte by byte: nothing of the next line may be taken.
            while line.last() != Some(&b'\n') {
                let mut byte = [0];
                stdout.read_exact(&mut byte).unwrap();
                line.push(byte[0]);
            }
            (serde_json::from_slice(&line).unwrap(), child)
        })
        .await
        .unwrap()
    }
}

fn finish(mut child: Child, mut lines: Vec<Value>) -> Ended {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    lines.extend(
        stdout
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap()),
    );
    let mut stderr = String::new();
    let mut errors = child.stderr.take().unwrap();
    errors.read_to_string(&mut stderr).unwrap();
    let code = child.wait().unwrap().code();
    Ended {
        code,
        lines,
        stderr,
    }
}

async fn ended(child: Child) -> Ended {
    tokio::task::spawn_blocking(|| finish(child, Vec::new()))
        .await
        .unwrap()
}

fn login_id(first: &Value) -> LoginId {
    LoginId(parse_b64(first["id"].as_str().unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_its_number_first_and_its_block_last() {
    let shop = Shop::open().await;
    let account = shop.customer("1001").await;
    let (first, child) = shop.begin(&["login", "--customer", "1001"]).await;
    assert_eq!(first["number"].as_str().unwrap().len(), 2);
    assert!(first["expires_in"].as_u64().unwrap() <= 90);
    shop.site.desk.approve(login_id(&first));
    let ended = ended(child).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let [result] = ended.lines.as_slice() else {
        panic!("{:?}", ended.lines);
    };
    assert_eq!(result["status"], "admitted");
    assert_eq!(result["account"], serde_json::json!(account));
    assert_eq!(result["height"], 1);
    let jwk: Jwk = serde_json::from_value(result["jwk"].clone()).unwrap();
    let expected = Expected {
        iss: ISS.to_owned(),
        aud: BANK.to_owned(),
        account,
        account_key: jwk.key().unwrap(),
        nonce: first["nonce"].as_str().unwrap().to_owned(),
        kind: Kind::Login,
    };
    let block = result["block"].as_str().unwrap();
    let verified = verify_login(block, &expected, Moment::Live(clock::now())).unwrap();
    assert_eq!(result["hash"], serde_json::json!(verified.hash()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_login_exits_with_1_and_an_unreachable_broker_with_4() {
    let shop = Shop::open().await;
    let account = shop.customer("1001").await;
    let text = account.to_string();
    let (_, child) = shop.begin(&["login", "--account", &text]).await;
    shop.site.desk.deny(account);
    let denied = ended(child).await;
    assert_eq!(denied.code, Some(1));
    assert_eq!(denied.lines[0]["status"], "refused");
    assert_eq!(denied.lines[0]["by"], "device");
    let failure: Value = serde_json::from_str(&denied.stderr).unwrap();
    assert_eq!(failure["error"]["code"], 1);
    shop.site.server.abort();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let cut = shop.run(&["login", "--customer", "1001"]).await;
    assert_eq!((cut.code, cut.lines.len()), (Some(4), 0), "{}", cut.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_pins_tokens_and_words_have_their_exit_codes() {
    let shop = Shop::open().await;
    let nobody = shop.run(&["login", "--customer", "1002"]).await;
    assert_eq!(nobody.code, Some(1), "{}", nobody.stderr);
    assert_eq!(shop.run(&["login"]).await.code, Some(2));
    let both = [
        "login",
        "--customer",
        "a",
        "--account",
        "AAAAAAAAAAAAAAAAAAAAAA",
    ];
    assert_eq!(shop.run(&both).await.code, Some(2));
    shop.customer("1001").await;
    let control = ["login", "--customer", "1001", "--channel", "a\u{202e}b"];
    assert_eq!(shop.run(&control).await.code, Some(5));
    std::fs::write(shop.path("token"), "warifu-token-of-somebody-else").unwrap();
    let unknown = shop.run(&["login", "--customer", "1001"]).await;
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    assert!(!unknown.stderr.contains("somebody-else"));
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_by_scripts() {
    let shop = Shop::open().await;
    let opened = shop.run(&["enrol", "ticket", "--customer", "1001"]).await;
    assert_eq!(opened.code, Some(0), "{}", opened.stderr);
    let session = opened.lines[0]["session"].as_str().unwrap().to_owned();
    let uri = opened.lines[0]["ticket_uri"].as_str().unwrap();
    assert!(uri.starts_with("warifu:enrol?ticket="));
    let digits = shop
        .site
        .desk
        .scan(parse_b64(&session).unwrap())
        .to_string();
    let wrong = if digits == "000000" {
        "111111"
    } else {
        "000000"
    };
    let confirm = |digits: &str| {
        let words = ["enrol", "confirm", &session, digits, "--customer", "1001"];
        words.map(str::to_owned)
    };
    let words = confirm(wrong);
    let refused = shop.run(&words.each_ref().map(String::as_str)).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("2 tries left"),
        "{}",
        refused.stderr
    );
    assert_eq!(shop.pins().await.pinned("1001").await.unwrap(), None);
    let words = confirm(&digits);
    for _ in 0..2 {
        let done = shop.run(&words.each_ref().map(String::as_str)).await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(done.lines[0]["status"], "done");
        let pin = shop.pins().await.pinned("1001").await.unwrap().unwrap();
        assert_eq!(done.lines[0]["account"], serde_json::json!(pin.account));
    }
    let second = shop.run(&["enrol", "ticket", "--customer", "1001"]).await;
    assert_eq!(second.code, Some(1), "a second pin is refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_shown_frozen_and_unfrozen() {
    let shop = Shop::open().await;
    let account = shop.customer("1001").await;
    let of = |command: &'static str| ["account", command, "--customer", "1001"];
    let none = shop.run(&of("last-login")).await;
    assert_eq!(
        (none.code, &none.lines[0]["login"]),
        (Some(0), &Value::Null)
    );
    let (first, child) = shop.begin(&["login", "--customer", "1001"]).await;
    shop.site.desk.approve(login_id(&first));
    assert_eq!(ended(child).await.code, Some(0));
    let last = shop.run(&of("last-login")).await;
    assert_eq!(last.lines[0]["login"]["body"]["channel"], "cli");
    let frozen = shop.run(&of("freeze")).await;
    assert_eq!(frozen.lines[0]["status"], "frozen", "{}", frozen.stderr);
    assert_eq!(shop.run(&of("show")).await.lines[0]["status"], "frozen");
    assert_eq!(
        shop.run(&["login", "--customer", "1001"]).await.code,
        Some(1)
    );
    let mut words = of("unfreeze").to_vec();
    words.extend(["--reference", "case 7"]);
    let (first, child) = shop.begin(&words).await;
    shop.site.desk.approve(login_id(&first));
    let admitted = ended(child).await;
    assert_eq!(admitted.lines[0]["kind"], "unfreeze", "{}", admitted.stderr);
    let history = shop.run(&of("history")).await;
    let blocks = history.lines[0]["blocks"].as_array().unwrap();
    let kinds: Vec<&str> = blocks.iter().map(|b| b["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["unfreeze", "freeze", "login", "genesis"]);
    assert_eq!(history.lines[0]["account"], serde_json::json!(account));
}
