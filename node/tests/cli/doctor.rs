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
    store::{JournalOptions, Vault},
};
use warifu_consensus::{
    agree::{Founding, Record},
    encoding::{Hash, text_b64},
    party::{Ledger, Parties, Role, Sub},
    signature::IdentityKey,
    time::Time,
    vote::Vote,
};
use warifu_node::{config::Config, secrets};

use super::{succeeds, warifu};

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

#[test]
fn a_directory_that_is_none_is_pointed_to_init() {
    let dir = tempfile::tempdir().unwrap();
    let findings = doctor(dir.path(), &[]);
    findings.fails("config", "warifu init broker", 3);
    let findings = doctor(&dir.path().join("nothing"), &[]);
    findings.fails("config", "is no node's directory", 3);
    let told = warifu(&["run", "--dir", dir.path().to_str().unwrap()]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(
        told.contains("make one with `warifu init broker`"),
        "{told}"
    );
}

#[test]
fn fresh_directories_of_every_role_are_well() {
    let house = House::new();
    for name in ["b", "t", "d"] {
        let findings = house.offline(name);
        for check in ["config", "directory", "identity", "master key"] {
            findings.is_well(check);
        }
        findings.has("journal", "note", "there is none yet");
        findings.has("process", "note", "no node runs");
        assert!(
            findings.list.iter().all(|f| f["level"] != "error"),
            "{:#?}",
            findings.list
        );
    }
    let text = warifu(&["doctor", house.path("b").to_str().unwrap(), "--offline"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("ok       directory    "), "{text}");
    assert!(
        !text.contains('\x1b'),
        "colours although stdout is no terminal"
    );
}

#[test]
fn files_that_others_read_and_keys_of_others_are_named() {
    let house = House::new();
    chmod(&house.path("b"), 0o755);
    let key = house.path("b.master-key");
    chmod(&key, 0o644);
    let findings = house.offline("b");
    findings.has("directory", "warning", "mode 0755");
    findings.fails("master key", "mode 0644", 3);
    chmod(&key, 0o600);
    chmod(&house.path("b"), 0o700);
    chmod(&house.path("b/tokens.toml"), 0o640);
    house.offline("b").fails("tokens", "mode 0640", 3);
    chmod(&house.path("b/tokens.toml"), 0o600);
    fs::write(house.path("b/tokens.toml"), "").unwrap();
    house
        .offline("b")
        .has("tokens", "warning", "names no caller");
    fs::copy(house.path("t/identity.key"), house.path("b/identity.key")).unwrap();
    house.offline("b").fails("identity", "holds the key", 3);
    fs::remove_file(key).unwrap();
    house
        .offline("b")
        .has("master key", "error", "b.master-key");
}

#[test]
fn a_configuration_of_a_later_release_is_told_as_such() {
    let house = House::new();
    house.edit("t", "[node]\n", "[node]\ncolour = 1\n");
    let findings = house.offline("t");
    findings.fails("config", "unknown field `colour`", 3);
    let advice = findings.has("config", "error", "colour")["do"]
        .as_str()
        .unwrap();
    assert!(advice.contains("later release"), "{advice}");
}

#[test]
fn an_account_with_its_share_is_well_and_one_without_is_named() {
    let house = House::new();
    house.found("b", 1, true);
    let findings = house.offline("b");
    findings.is_well("journal");
    findings.is_well("vault");
    findings.is_well("index");
    let bare = house.found("b", 2, false);
    let findings = house.offline("b");
    findings.fails("vault", &format!("no share of 1 accounts: {bare}"), 6);
    fs::remove_dir_all(house.path("b/data/vault")).unwrap();
    house
        .offline("b")
        .fails("vault", "there is none beside a journal of 2 accounts", 6);
}

#[test]
fn doctor_changes_nothing() {
    let house = House::new();
    house.found("t", 1, true);
    let files = |dir: &Path| {
        let mut found = Vec::new();
        let mut open = vec![dir.to_path_buf()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    open.push(entry.path());
                } else {
                    let bytes = fs::read(entry.path()).unwrap();
                    found.push((entry.path(), metadata.modified().unwrap(), bytes));
                }
            }
        }
        found.sort();
        found
    };
    let before = files(house.dir.path());
    house.doctor("t", &[]);
    assert!(before == files(house.dir.path()), "a file was changed");
}

#[test]
fn a_flipped_byte_is_named_by_file_and_offset() {
    let house = House::new();
    house.found("b", 1, true);
    for (part, check) in [("journal", "journal"), ("vault", "vault")] {
        let path = house.path("b/data").join(part).join("00000001.seg");
        let good = fs::read(&path).unwrap();
        let mut bytes = good.clone();
        let at = bytes.len() - 5;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        house.offline("b").fails(check, "is corrupt at byte", 6);
        fs::write(path, good).unwrap();
    }
    house.offline("b").is_well("journal");
}

#[test]
fn a_cut_last_record_and_a_missing_index_are_only_noted() {
    let house = House::new();
    house.found("b", 1, true);
    let path = house.path("b/data/journal/00000001.seg");
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(&[1, 2, 3]).unwrap();
    let findings = house.offline("b");
    findings.has("journal", "note", "3 bytes of an unfinished last write");
    fs::remove_dir_all(house.path("b/data/index")).unwrap();
    house.offline("b").has("index", "note", "there is none");
}

#[test]
fn an_index_of_another_journal_is_warned_of() {
    let house = House::new();
    house.found("b", 1, true);
    fs::rename(house.path("b/data"), house.path("b/before")).unwrap();
    house.found("b", 2, true);
    fs::remove_dir_all(house.path("b/data/index")).unwrap();
    fs::rename(house.path("b/before/index"), house.path("b/data/index")).unwrap();
    house
        .offline("b")
        .has("index", "warning", "something else than this journal");
}

#[test]
fn an_index_that_is_behind_is_only_noted() {
    let house = House::new();
    house.found("b", 1, true);
    fs::rename(house.path("b/data/index"), house.path("older")).unwrap();
    house.found("b", 2, true);
    fs::remove_dir_all(house.path("b/data/index")).unwrap();
    fs::rename(house.path("older"), house.path("b/data/index")).unwrap();
    let findings = house.offline("b");
    findings.has("index", "note", "the last 1 records are not in it yet");
}

#[test]
fn a_journal_of_a_later_release_or_another_role_is_refused() {
    let house = House::new();
    house.found("b", 1, true);
    let path = house.path("b/data/journal/00000001.seg");
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let length = (length & (u32::MAX >> 1)) as usize;
    // Length 4, check 8, chain hash 32, then the header's payload: magic 14, version 4.
    bytes[44 + 14] = 3;
    let mut hasher = blake3::Hasher::new_derive_key("warifu 2026 journal record v1");
    hasher.update(&[0; 32]);
    hasher.update(&bytes[44..44 + length]);
    bytes[12..44].copy_from_slice(hasher.finalize().as_bytes());
    fs::write(&path, bytes).unwrap();
    house
        .offline("b")
        .fails("journal", "format version 3, newest supported 2", 3);
    fs::write(&path, good).unwrap();
    fs::rename(house.path("b/data"), house.path("t/data")).unwrap();
    house
        .offline("t")
        .fails("journal", "directory belongs to ledger", 3);
}

#[test]
fn another_nodes_master_key_is_told_from_damage() {
    let house = House::new();
    house.found("b", 1, true);
    fs::copy(house.path("t.master-key"), house.path("b.master-key")).unwrap();
    house
        .offline("b")
        .fails("vault", "sealed under another master key", 3);
}

#[test]
fn a_disk_with_less_than_the_reserve_is_an_error() {
    let house = House::new();
    house.edit(
        "b",
        "disk_reserve_mib = 256",
        "disk_reserve_mib = 1073741824",
    );
    let findings = house.offline("b");
    findings.fails("disk", "MiB are kept in reserve", 6);
    let is_written = |finding: &&Value| finding["found"].as_str().unwrap().contains("synced in");
    // How long it took is the machine's affair.
    assert!(findings.list.iter().any(|finding| is_written(&finding)));
}

#[test]
fn a_port_that_others_have_is_named() {
    let house = House::new();
    let _http = TcpListener::bind(("127.0.0.1", house.http_port)).unwrap();
    let findings = house.offline("b");
    findings.fails("ports", &format!("http 127.0.0.1:{}", house.http_port), 3);
    findings.has(
        "ports",
        "ok",
        &format!("listen 127.0.0.1:{} is free", house.broker_port),
    );
}

#[test]
fn a_running_node_is_looked_at_beside_itself() {
    let house = House::new();
    let trust = house.start("t");
    let findings = house.doctor("t", &[]);
    findings.has("process", "ok", &format!("process {}", trust.0.id()));
    findings.has("ports", "ok", "is this node's, by its key");
    findings.has("index", "note", "not looked at while the node runs");
    findings.is_well("journal");
    findings.is_well("vault");
    let broker = house.start("b");
    let url = format!("http://127.0.0.1:{}", house.http_port);
    let findings = house.doctor("b", &["--broker", &url]);
    findings.has("peers", "ok", "proved the pinned key");
    findings.has("clock", "ok", "by Date of");
    findings.has(
        "ports",
        "ok",
        &format!("http 127.0.0.1:{} answers", house.http_port),
    );
    let device = house.start("d");
    let findings = house.doctor("d", &[]);
    findings.has("control", "ok", "answers, 0 proposals");
    findings.has("peers", "note", "no account is enrolled");
    drop((trust, broker, device));
    let findings = house.doctor("b", &[]);
    findings.fails("peers", "trust-operator at /ip4/127.0.0.1/tcp/", 4);
    findings.has("process", "note", "no node runs");
    house
        .doctor("d", &[])
        .has("control", "note", "is a leftover");
}

#[test]
fn a_peer_with_another_key_is_named() {
    let house = House::new();
    let _trust = house.start("t");
    let config = Config::load(&house.path("b")).unwrap();
    let pinned = IdentityKey::from_seed([77; 32]).public();
    let (before, after) = (text_b64(&config.ledger.trust_operator), text_b64(&pinned));
    house.edit("b", &before, &after);
    let findings = house.doctor("b", &[]);
    let peer = |key: &[u8; 32]| {
        let peer = warifu_client_sdk::transport::peer_id(key);
        peer.unwrap().to_string()
    };
    findings.fails("peers", &peer(&config.ledger.trust_operator), 4);
    let finding = findings.has("peers", "error", "");
    assert!(
        finding["expected"]
            .as_str()
            .unwrap()
            .contains(&peer(&pinned))
    );
}

#[test]
fn a_broker_is_reached_by_its_host_name() {
    let house = House::new();
    let _trust = house.start("t");
    house.edit("b", "[\"/ip4/127.0.0.1/tcp/", "[\"/dns4/localhost/tcp/");
    // That also made this node's own addresses names: where it listens must be an address.
    let path = house.path("b/warifu.toml");
    let text = fs::read_to_string(&path).unwrap();
    let wrong = house.offline("b");
    wrong.fails("config", "node.listen[0] is /dns4/localhost", 3);
    let listen = format!("listen = [\"/dns4/localhost/tcp/{}", house.broker_port);
    let mended = format!("listen = [\"/ip4/127.0.0.1/tcp/{}", house.broker_port);
    fs::write(&path, text.replace(&listen, &mended)).unwrap();
    let findings = house.doctor("b", &[]);
    findings.has("peers", "ok", "trust-operator at /dns4/localhost/tcp/");
}

/// Answers one request with a `Date` of its own.
fn clock_at(date: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).unwrap();
        assert!(request[..read].starts_with(b"GET /healthz "));
        let answer = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    url
}

#[test]
fn a_clock_that_is_off_is_told_and_how_it_was_measured() {
    let house = House::new();
    let url = clock_at("Sat, 01 Jan 2022 00:00:00 GMT");
    let findings = house.doctor("d", &["--broker", &url]);
    findings.fails("clock", "s ahead, by Date of", 3);
    let findings = house.doctor("d", &["--broker", "http://127.0.0.1:1"]);
    findings.fails("clock", "127.0.0.1", 4);
    house.doctor("d", &[]).has("clock", "note", "not compared");
}

mod certificates {
    use rcgen::{CertificateParams, KeyPair};

    use super::{House, chmod, fs};

    fn write(house: &House, from: (i32, u8, u8), until: (i32, u8, u8), is_own: bool) {
        let mut params = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let stored = if is_own {
            key
        } else {
            KeyPair::generate().unwrap()
        };
        fs::write(house.path("b/tls.pem"), certificate.pem()).unwrap();
        fs::write(house.path("b/tls.key"), stored.serialize_pem()).unwrap();
        chmod(&house.path("b/tls.key"), 0o600);
    }

    fn with_files() -> House {
        let house = House::new();
        let path = house.path("b/warifu.toml");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with("certificate =") && !line.starts_with("private_key ="))
            .map(|line| {
                if line == "[broker]" {
                    "[broker]\ncertificate = \"tls.pem\"\nprivate_key = \"tls.key\"".to_owned()
                } else {
                    line.to_owned()
                }
            })
            .collect();
        fs::write(path, lines.join("\n")).unwrap();
        house
    }

    #[test]
    fn their_dates_names_and_keys_are_checked() {
        let house = with_files();
        write(&house, (2020, 1, 1), (2999, 1, 1), true);
        let findings = house.offline("b");
        findings.is_well("certificate");
        findings.has("certificate", "ok", "own certificate for broker.example");
        write(&house, (2020, 1, 1), (2021, 1, 1), true);
        house
            .offline("b")
            .fails("certificate", "expired on 2021-01-01", 3);
        write(&house, (2998, 1, 1), (2999, 1, 1), true);
        house
            .offline("b")
            .fails("certificate", "is valid from 2998-01-01", 3);
        write(&house, (2020, 1, 1), (2999, 1, 1), false);
        house.offline("b").fails("certificate", "tls.key", 3);
        write(&house, (2020, 1, 1), (2999, 1, 1), true);
        chmod(&house.path("b/tls.key"), 0o644);
        house.offline("b").fails("certificate", "mode 0644", 3);
        fs::remove_file(house.path("b/tls.pem")).unwrap();
        house.offline("b").fails("certificate", "tls.pem", 3);
    }

    #[test]
    fn one_that_ends_soon_is_warned_of() {
        let house = with_files();
        // Between 5 and 28 days from now: rcgen dates are days.
        let soon = warifu_node::clock::now().seconds() + 15 * 86_400;
        let text = warifu_node::clock::local(soon);
        let part = |at: std::ops::Range<usize>| text[at].parse::<u16>().unwrap();
        let day = |value: u16| u8::try_from(value).unwrap();
        let until = (i32::from(part(0..4)), day(part(5..7)), day(part(8..10)));
        write(&house, (2020, 1, 1), until, true);
        let findings = house.offline("b");
        findings.has("certificate", "warning", "expires in 1");
    }
}

#[test]
fn the_role_is_known_from_the_directory() {
    let house = House::new();
    for (name, role) in [
        ("b", Role::Broker),
        ("t", Role::TrustOperator),
        ("d", Role::Device),
    ] {
        let part = warifu_node::output::role_name(role);
        house.offline(name).has("config", "ok", part);
    }
}
