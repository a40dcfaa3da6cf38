//! `warifu doctor`: each finding is provoked by doing the damage really.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;
use warifu_client_sdk::{
    runtime::{AccountSecret, Keeper},
    store::{JournalOptions, Place, Vault},
};
use warifu_consensus::{
    agree::{Founding, Record},
    encoding::{Hash, text_b64},
    log::{Checkpoint, Leaf, LogKey, LogKeys},
    party::{Ledger, Parties, Role, Sub},
    signature::IdentityKey,
    time::Time,
    vote::Vote,
};
use warifu_node::{config::Config, log::LogBook, secrets, store::NodeStore};

use super::{succeeds, warifu};

mod around;
mod damage;
mod fresh;

/// The two operators' and a device's directories on ports that were free.
struct House {
    dir: TempDir,
    broker_port: u16,
    http_port: u16,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl House {
    fn new() -> House {
        let house = House {
            dir: tempfile::tempdir().unwrap(),
            broker_port: free_port(),
            http_port: free_port(),
        };
        let (broker, http, trust) = (house.broker_port, house.http_port, free_port());
        for line in [
            format!(
                "broker --dir DIR/b --iss https://ledger.example --listen /ip4/127.0.0.1/tcp/{broker} --http 127.0.0.1:{http}"
            ),
            format!(
                "trust-operator --dir DIR/t --broker DIR/b/card.toml --listen /ip4/127.0.0.1/tcp/{trust}"
            ),
            "broker --dir DIR/b --trust-operator DIR/t/card.toml".to_owned(),
            "device --dir DIR/d --ledger DIR/t/ledger.toml".to_owned(),
        ] {
            let line = format!("init {line}").replace("DIR", house.dir.path().to_str().unwrap());
            succeeds(&warifu(&line.split(' ').collect::<Vec<_>>()));
        }
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Rewrites a directory's configuration.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.path(name).join("warifu.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in\n{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn offline(&self, name: &str) -> Findings {
        self.doctor(name, &["--offline"])
    }

    fn doctor(&self, name: &str, more: &[&str]) -> Findings {
        doctor(&self.path(name), more)
    }

    fn start(&self, name: &str) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_warifu"))
            .args(["run", "--dir", self.path(name).to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        assert!(ready.starts_with("ready "), "{ready}");
        Running(child)
    }

    /// Appends a record to an account's stream.
    fn append(&self, name: &str, sub: Sub, record: Record) {
        self.keeps(name, async |keeper, _| {
            keeper.append(&sub, &[record]).await.unwrap();
        });
    }

    /// Logs so many leaves under both signatures, and gives the root.
    fn log(&self, name: &str, leaves: u8, [log, witness]: [&LogKey; 2]) -> [u8; 32] {
        self.keeps(name, async |keeper, config: &Config| {
            let dir = config.node.data.join("log");
            let keys = LogKeys {
                log: log.public().clone(),
                witness: witness.public().clone(),
            };
            let book = LogBook::open(keeper.clone(), &dir, keys, &mut |_, _| {}).unwrap();
            let blocks = (0..leaves).map(|height| (Sub([1; 16]), height.into()));
            let leaves = (0..leaves).map(|number| Leaf([number; 32])).collect();
            let sign = |checkpoint: &Checkpoint| {
                let mut note = checkpoint.signed(log);
                note.sign(witness, 1_790_000_000);
                Ok(Some(note))
            };
            let grown = book.grow(leaves, blocks.collect(), (Place::START, 0), sign);
            grown.await.unwrap();
            book.state().root
        })
    }

    /// Opens a stopped node's stores.
    fn keeps<T>(
        &self,
        name: &str,
        use_it: impl AsyncFnOnce(&Keeper<NodeStore>, &Config) -> T,
    ) -> T {
        let config = Config::load(&self.path(name)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let data = &config.node.data;
            let options = JournalOptions::new(config.ledger.iss.clone(), config.role().number());
            let store = warifu_node::store::open(data, options, &mut |_, _| {}).unwrap();
            let master_key = secrets::read_master_key(&config.node.master_key).unwrap();
            let vault = Vault::open(&data.join("vault"), &master_key, &config.ledger.iss).unwrap();
            let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
            use_it(&keeper, &config).await
        })
    }

    /// Gives a node an account as an enrolment leaves it, and the share if told so.
    fn found(&self, name: &str, number: u8, with_share: bool) -> Sub {
        let config = Config::load(&self.path(name)).unwrap();
        let role = config.role();
        let sub = Sub([number; 16]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let data = &config.node.data;
            let options = JournalOptions::new(config.ledger.iss.clone(), role.number());
            let store = warifu_node::store::open(data, options, &mut |_, _| {}).unwrap();
            let master_key = secrets::read_master_key(&config.node.master_key).unwrap();
            let vault = Vault::open(&data.join("vault"), &master_key, &config.ledger.iss).unwrap();
            if with_share {
                for secret in [AccountSecret::Share, AccountSecret::ContentKey] {
                    vault.put(secret.key(&sub), &[number; 32]).await.unwrap();
                }
            }
            let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
            let records = [founding(&config.ledger, sub)];
            keeper.append(&sub, &records).await.unwrap();
        });
        sub
    }
}

fn founding(ledger: &Ledger, sub: Sub) -> Record {
    Record::Founding(Box::new(Founding {
        ledger: ledger.clone(),
        sub,
        account_key: IdentityKey::from_seed([9; 32]).public(),
        parties: Parties {
            device: IdentityKey::from_seed([8; 32]).public(),
            broker: ledger.broker,
            trust_operator: ledger.trust_operator,
        },
        transcript: Hash([6; 32]),
        votes: [Vote::Ed25519([0; 64]); 3],
        session: [8; 32],
        deadline: Time(1),
    }))
}

/// A node that dies with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Findings {
    code: i32,
    list: Vec<Value>,
}

fn doctor(dir: &Path, more: &[&str]) -> Findings {
    let mut args = vec!["--json", "doctor", dir.to_str().unwrap()];
    args.extend(more);
    let output = warifu(&args);
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let findings = Findings {
        code: output.status.code().unwrap(),
        list,
    };
    let has = |level: &str| findings.list.iter().any(|f| f["level"] == level);
    // The exit code is the worst finding's, always.
    match (has("error"), has("warning")) {
        (true, _) => assert!([3, 4, 6].contains(&findings.code), "{:?}", findings.list),
        (false, true) => assert_eq!(findings.code, 1, "{:?}", findings.list),
        (false, false) => assert_eq!(findings.code, 0, "{:?}", findings.list),
    }
    findings
}

impl Findings {
    /// The finding of this check and level whose text has this part.
    #[track_caller]
    fn has(&self, check: &str, level: &str, part: &str) -> &Value {
        let found = self.list.iter().find(|finding| {
            finding["check"] == check
                && finding["level"] == level
                && finding["found"].as_str().unwrap().contains(part)
        });
        found.unwrap_or_else(|| panic!("no {level} of {check} with {part:?} in {:#?}", self.list))
    }

    /// That, and an exit code; what is wrong says what was expected and what to do.
    #[track_caller]
    fn fails(&self, check: &str, part: &str, code: i32) {
        let finding = self.has(check, "error", part);
        assert!(
            finding["expected"].is_string() && finding["do"].is_string(),
            "{finding}"
        );
        assert_eq!(self.code, code, "{:#?}", self.list);
    }

    /// No finding of this check but good ones.
    #[track_caller]
    fn is_well(&self, check: &str) {
        let levels: Vec<&Value> = self
            .list
            .iter()
            .filter(|finding| finding["check"] == check)
            .map(|finding| &finding["level"])
            .collect();
        assert!(
            !levels.is_empty() && levels.iter().all(|l| **l == "ok"),
            "{:#?}",
            self.list
        );
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
