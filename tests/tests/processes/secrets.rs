//! A testnet is used in every way, with its logs at their loudest; then everything that it left behind is
//! searched for every secret that it had.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use warifu_client_sdk::store::{MasterKey, Vault, inspect_vault};
use warifu_consensus::{encoding::text_b64, enrol::Ticket};
use warifu_tests::processes::{Ended, Failed, Node, OpenLogin, Testnet};

use super::warifu;

/// Bytes of a spelling by which it is looked up first.
const PREFIX: usize = 8;

/// Secrets by name, in every spelling in which they might be written.
#[derive(Default)]
struct Secrets {
    /// What a spelling begins with → whole spellings and whose they are.
    spellings: HashMap<u64, Vec<(Vec<u8>, String)>>,
    names: Vec<String>,
}

impl Secrets {
    /// Raw, hexadecimal, both alphabets of base64 at all three alignments, and Rust's own list of numbers.
    fn add(&mut self, name: &str, bytes: &[u8]) {
        assert!(bytes.len() >= 16, "{name} is too short to be looked for");
        self.names.push(name.to_owned());
        self.spell(name, bytes.to_vec());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.spell(name, hex.to_uppercase().into_bytes());
        self.spell(name, hex.into_bytes());
        // In the middle of a longer text the first group may belong to what stands before.
        for skipped in 0..3 {
            let whole = (bytes.len() - skipped) / 3 * 3;
            let url = text_b64(&bytes[skipped..skipped + whole]);
            self.spell(name, url.replace('-', "+").replace('_', "/").into_bytes());
            self.spell(name, url.into_bytes());
        }
        for separator in [", ", ",", " "] {
            let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
            self.spell(name, numbers.join(separator).into_bytes());
        }
    }

    fn add_text(&mut self, name: &str, text: &str) {
        self.add(name, text.as_bytes());
    }

    fn spell(&mut self, name: &str, spelling: Vec<u8>) {
        let first = spelling[..PREFIX].try_into().map(u64::from_be_bytes);
        let same = self.spellings.entry(first.unwrap()).or_default();
        same.push((spelling, name.to_owned()));
    }

    /// The names of the secrets that stand in these bytes.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        let mut first = 0u64;
        for (end, byte) in bytes.iter().enumerate() {
            first = first << 8 | u64::from(*byte);
            let Some(start) = (end + 1).checked_sub(PREFIX) else {
                continue;
            };
            for (spelling, name) in self.spellings.get(&first).into_iter().flatten() {
                if bytes[start..].starts_with(spelling) {
                    found.push(name.as_str());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[test]
fn a_secret_is_found_however_it_is_spelled() {
    let secret: Vec<u8> = (0..32_u16).map(|n| ((n * 7 + 200) % 251) as u8).collect();
    let mut secrets = Secrets::default();
    secrets.add("it", &secret);
    let hex: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    let mut texts = vec![
        format!("x{hex}x"),
        format!("{secret:?}"),
        hex.to_lowercase(),
    ];
    for before in 0..4 {
        let mut longer = vec![9; before];
        longer.extend(&secret);
        longer.extend([1, 2, 3]);
        texts.push(text_b64(&longer));
        texts.push(text_b64(&longer).replace('_', "/").replace('-', "+"));
        texts.push(format!("{longer:?}"));
    }
    for text in texts {
        assert_eq!(secrets.found_in(text.as_bytes()), ["it"], "{text}");
    }
    assert_eq!(secrets.found_in(&[&[0; 9], &secret[..]].concat()), ["it"]);
    let mut other = secret.clone();
    other[16] ^= 1;
    assert!(secrets.found_in(&other).is_empty());
}

/// What commands printed and nodes showed, by where.
#[derive(Default)]
struct Shown(Vec<(String, Vec<u8>)>);

impl Shown {
    fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    /// What a command said, whatever came of it.
    fn answer<T: std::fmt::Debug>(&mut self, place: &str, answer: Result<T, Failed>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.add(place, format!("{answer:?}"));
                Some(answer)
            }
            Err(failed) => {
                self.add(place, format!("{failed}"));
                None
            }
        }
    }

    fn ended(&mut self, place: &str, ended: &Ended) {
        self.add(place, format!("{} {}", ended.line, ended.stderr));
    }

    /// What the system tells everybody, and its owner, about each process.
    fn processes(&mut self, net: &Testnet) {
        for node in Node::ALL {
            let pid = net.pid(node).unwrap();
            for file in ["cmdline", "environ", "comm", "status"] {
                let path = format!("/proc/{pid}/{file}");
                // The environment of an undumpable process is for root alone.
                if let Ok(bytes) = fs::read(&path) {
                    self.add(path.as_str(), bytes);
                }
            }
        }
    }
}

/// One login that the customer answers as told.
fn answered(net: &Testnet, shown: &mut Shown, place: &str, answer: impl Fn(&OpenLogin, &str)) {
    let login = net.begin("alice").unwrap();
    let proposal = net.asked().unwrap();
    shown.answer(place, net.device(&["pending"], &[]));
    shown.processes(net);
    answer(&login, &proposal);
    let ended = login.end();
    shown.ended(place, &ended);
}

fn use_it(net: &Testnet, shown: &mut Shown) -> Ticket {
    let ticket = ["enrol", "ticket", "--customer", "alice", "--no-wait"];
    // What the page shows holds the ticket: it is nowhere else than there.
    let opened = net.service(&ticket, &[]).unwrap();
    let uri = opened.text("ticket_uri");
    let session = opened.text("session");
    let page = tempfile::NamedTempFile::new().unwrap();
    fs::write(page.path(), &uri).unwrap();
    let page_path = page.path().display().to_string();
    let enrolling = net.device(&["enrol"], &[&page_path]).unwrap();
    let digits = enrolling.text("digits");
    let wrong = if digits == "000000" {
        "000001"
    } else {
        "000000"
    };
    let confirm = ["enrol", "confirm", "--customer", "alice"];
    shown.answer(
        "confirm, wrong digits",
        net.service(&confirm, &[&session, wrong]),
    );
    net.confirm("alice", &session, &digits).unwrap();
    shown.answer("enrol again", net.device(&["enrol"], &[&page_path]));
    let mut altered = uri.clone();
    altered.replace_range(60..61, if &uri[60..61] == "A" { "B" } else { "A" });
    fs::write(page.path(), altered).unwrap();
    shown.answer("enrol, altered", net.device(&["enrol"], &[&page_path]));

    let decide = |arguments: &[&str], proposal: &str| drop(net.device(arguments, &[proposal]));
    answered(net, shown, "approve", |login, proposal| {
        decide(&["approve", "--number", &login.number()], proposal);
    });
    answered(net, shown, "wrong number", |login, proposal| {
        decide(&["approve", "--number", &login.wrong_number()], proposal);
    });
    answered(net, shown, "deny", |_, proposal| {
        decide(&["deny"], proposal)
    });
    answered(net, shown, "disown", |_, proposal| {
        decide(&["deny", "--not-me"], proposal);
    });
    for arguments in [
        &["account", "history", "--customer", "alice"][..],
        &["account", "freeze", "--customer", "alice"],
        &["account", "history", "--customer", "mallory"],
    ] {
        shown.answer("account", net.service(arguments, &[]));
    }
    shown.answer("history", net.device(&["history"], &[]));
    shown.answer("accounts", net.device(&["accounts"], &[]));
    for node in Node::ALL {
        let dir = net.node(node).display().to_string();
        shown.answer("doctor", net.warifu.text(["doctor", &dir]));
    }
    Ticket::from_uri(&uri).unwrap()
}

/// Frames that are none, and a token that is none, so that refusals are logged.
fn provoke(net: &Testnet, shown: &mut Shown) {
    let file = net.dir.join("other.token");
    fs::write(
        &file,
        "warifu-token-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, mode).unwrap();
    let options = net.login_service();
    let token = net.token_file().display().to_string();
    let mut arguments = vec!["account", "history", "--customer", "alice"];
    let other = file.display().to_string();
    for option in &options {
        arguments.push(if *option == token { &other } else { option });
    }
    shown.answer("wrong token", net.warifu.json(&arguments));
    let listen = net.get(Node::Broker, "listen").unwrap();
    let port: u16 = listen
        .trim_matches(['[', ']', '"'])
        .rsplit('/')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 300]] {
        use std::io::Write;
        let mut line = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        line.write_all(bytes).unwrap();
    }
    thread::sleep(Duration::from_millis(200));
}

fn master_key(net: &Testnet, node: Node) -> PathBuf {
    net.dir.join(format!("{}.master-key", node.name()))
}

/// Every secret that the three parties keep: what the vaults hold, opened, and what lies in files.
fn collect(net: &Testnet, ticket: &Ticket) -> Secrets {
    let mut secrets = Secrets::default();
    for node in Node::ALL {
        let name = node.name();
        let key: [u8; 32] = fs::read(master_key(net, node)).unwrap().try_into().unwrap();
        secrets.add(&format!("{name}'s master key"), &key);
        let key = MasterKey::from_bytes(key.into());
        let dir = net.node(node).join("data/vault");
        let keys = inspect_vault(&dir, &key, Testnet::ISS, &mut |_, _| {}).unwrap();
        let vault = Vault::open(&dir, &key, Testnet::ISS).unwrap();
        assert!(!keys.is_empty(), "{name} keeps no secret");
        for (number, key) in keys.iter().enumerate() {
            let value = vault.get(key).unwrap().unwrap();
            // A share is 162 bytes, of which the scalar at 2 is the secret one.
            let secret = if value.len() == 162 {
                &value[2..34]
            } else {
                &value[..]
            };
            secrets.add(&format!("{name}'s vault, {number}"), secret);
        }
        let seed = net.node(node).join("identity.key");
        if let Ok(seed) = fs::read(seed) {
            secrets.add(&format!("{name}'s identity"), &seed);
        }
        if let Ok(seed) = fs::read(net.node(node).join("checkpoint.key")) {
            secrets.add(&format!("{name}'s checkpoint key"), &seed);
        }
    }
    let token = fs::read_to_string(net.token_file()).unwrap();
    let token = token.trim();
    secrets.add_text("the token", token);
    secrets.add_text("the token's end", token.trim_start_matches("warifu-token-"));
    let secret: Vec<u8> =
        serde_json::from_value(serde_json::to_value(&ticket.secret).unwrap()).unwrap();
    secrets.add("the ticket's secret", &secret);
    secrets
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.is_file() {
            into.push(path);
        }
    }
}

#[test]
fn no_secret_is_left_anywhere_but_in_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), 30).unwrap();
    for node in Node::ALL {
        // Every crate, the libraries' own included.
        net.set(node, "node.log", "\"trace\"").unwrap();
    }
    net.start_all().unwrap();
    let mut shown = Shown::default();
    shown.processes(&net);
    let ticket = use_it(&net, &mut shown);
    provoke(&net, &mut shown);
    assert!(net.stop_all(), "a node did not stop by itself");
    for node in Node::ALL {
        let dir = net.node(node).display().to_string();
        let export = net.warifu.text(["ledger", "export", &dir]).unwrap();
        assert!(
            export.lines().count() > 4,
            "{} has hardly a chain",
            node.name()
        );
        shown.add(format!("{} export", node.name()), export);
        shown.answer("show", net.warifu.text(["ledger", "show", &dir]));
    }
    // A start that fails says why, and not with which key.
    let (own, other) = (Node::Broker, Node::TrustOperator);
    let kept = fs::read(master_key(&net, own)).unwrap();
    fs::write(
        master_key(&net, own),
        fs::read(master_key(&net, other)).unwrap(),
    )
    .unwrap();
    let refused = net.start(own).unwrap_err();
    assert!(
        refused.to_string().contains("another master key"),
        "{refused}"
    );
    shown.add("wrong master key", refused.to_string());
    fs::write(master_key(&net, own), kept).unwrap();

    let secrets = collect(&net, &ticket);
    // Three shares, two content keys, the device's identity, and salts at two parties.
    assert!(secrets.names.len() > 14, "{:?}", secrets.names);
    let mut all = Vec::new();
    files(&net.dir, &mut all);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut logged = 0;
    for path in all {
        let bytes = fs::read(&path).unwrap();
        let name = path.strip_prefix(&net.dir).unwrap().display().to_string();
        if name.ends_with(".log") {
            logged += bytes.len();
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.contains("TRACE"), "{name} is quiet");
            assert!(!text.contains("panicked"), "{name}");
        }
        let names = secrets.found_in(&bytes);
        if !names.is_empty() {
            found.insert(name, names.into_iter().map(ToOwned::to_owned).collect());
        }
    }
    println!(
        "{logged} bytes of logs, {} spelled secrets",
        secrets.names.len()
    );
    assert!(logged > 100_000, "logs are not loud");
    // Each secret file holds its own secret, which shows that the search sees; nothing else holds any.
    let own = |node: Node, what: &str| vec![format!("{}'s {what}", node.name())];
    let mut expected = BTreeMap::from([
        (
            "broker/login-service.token".to_owned(),
            vec!["the token".to_owned(), "the token's end".to_owned()],
        ),
        (
            "broker/identity.key".to_owned(),
            own(Node::Broker, "identity"),
        ),
        (
            "trust-operator/identity.key".to_owned(),
            own(Node::TrustOperator, "identity"),
        ),
        (
            "broker/checkpoint.key".to_owned(),
            own(Node::Broker, "checkpoint key"),
        ),
        (
            "trust-operator/checkpoint.key".to_owned(),
            own(Node::TrustOperator, "checkpoint key"),
        ),
    ]);
    for node in Node::ALL {
        let name = format!("{}.master-key", node.name());
        expected.insert(name, own(node, "master key"));
    }
    assert_eq!(found, expected);
    for (place, bytes) in &shown.0 {
        let names = secrets.found_in(bytes);
        assert!(names.is_empty(), "{place} shows {names:?}");
    }
    assert!(shown.0.len() > 40, "hardly anything was looked at");
    let history = shown
        .0
        .iter()
        .find(|(place, _)| place == "history")
        .unwrap();
    let history = String::from_utf8_lossy(&history.1);
    for kind in ["login", "refuse", "deny", "freeze"] {
        assert!(history.contains(kind), "no {kind}: {history}");
    }
}

/// `PR_SET_DUMPABLE` shows from outside: what a process's owner could read in /proc is root's then.
#[test]
fn a_running_node_leaves_no_core_dump() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), 30).unwrap();
    net.start(Node::TrustOperator).unwrap();
    let pid = net.pid(Node::TrustOperator).unwrap();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size"));
    let values: Vec<&str> = core.unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"]);
    // Root owns everything of an undumpable process; as root itself only the limit can be seen.
    let own = fs::metadata("/proc/self").unwrap().uid();
    let environ = fs::metadata(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(
        environ.uid(),
        0,
        "the tester, {own}, owns the node's memory"
    );
    let node = net.node(Node::TrustOperator).display().to_string();
    let said = net.warifu.text(["doctor", "--offline", &node]);
    let said = format!("{said:?}");
    assert!(said.contains("the node may write none"), "{said}");
    net.kill(Node::TrustOperator);
}
