//! Real processes: what three nodes promise survives SIGKILL.

mod hostile;
mod outage;
mod push;
mod secrets;
mod stopping;
mod terminal;
mod watching;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use warifu_consensus::random::{Entropy, SeededEntropy};
use warifu_tests::processes::{Ended, Failed, Node, Testnet, Warifu};

/// SIGKILLs while logins run.
const KILLS: usize = 24;
const CUSTOMERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// Seconds that a proposal lives: a killed login must not hold its account for long.
const LIFETIME_S: u64 = 8;

/// The `warifu` binary of this build: a workspace's test run builds it beside the tests.
fn warifu() -> Warifu {
    Warifu::beside().unwrap()
}

/// One login from begin to end, with a customer who approves it as soon as it is asked.
fn log_in(net: &RwLock<Testnet>, customer: &str, account: &str) -> Result<Ended, Failed> {
    let login = net.read().unwrap().begin(customer)?;
    let number = login.number();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(login.end()));
    loop {
        if let Ok(ended) = ended.recv_timeout(Duration::from_millis(20)) {
            return Ok(ended);
        }
        let net = net.read().unwrap();
        // While the device is down it answers nothing; the login goes on all the same.
        for (about, proposal) in net.pending().unwrap_or_default() {
            if about == account {
                let _ = net.device(&["approve", "--number", &number], &[&proposal]);
            }
        }
    }
}

fn hashes(net: &Testnet, node: Node) -> BTreeMap<String, usize> {
    let dir = net.node(node).display().to_string();
    let export = net.warifu.text(["ledger", "export", &dir]).unwrap();
    let file = net.dir.join(format!("{}.export", node.name()));
    std::fs::write(&file, &export).unwrap();
    let file = file.display().to_string();
    net.warifu
        .text(["ledger", "verify", &file, "--ledger", &net.ledger()])
        .unwrap();
    let mut found = BTreeMap::new();
    for line in export.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(input) = find_input(&line) else {
            continue;
        };
        let block = warifu_consensus::block::Block::parse(&input).unwrap();
        *found.entry(block.hash().to_string()).or_insert(0) += 1;
    }
    found
}

/// The signing input of the one block in an export's line.
fn find_input(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.starts_with("eyJ") && text.matches('.').count() == 1 => {
            Some(text.clone())
        }
        Value::Object(map) => map.values().find_map(find_input),
        Value::Array(list) => list.iter().find_map(find_input),
        _ => None,
    }
}

#[derive(serde::Deserialize)]
struct LoginClaims {
    sub: String,
    aud: String,
    kind: String,
    iat: u64,
    exp: u64,
}

/// What a broker's engineer does with the block: a stock JOSE library, the pinned key, no code of
/// this project. `iat`, where given, is the moment of evidence.
fn verified_by_stock_library(
    block: &str,
    x: &str,
    evidence_at: Option<u64>,
) -> Result<LoginClaims, jsonwebtoken::errors::Error> {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[Testnet::AUD]);
    validation.set_issuer(&[Testnet::ISS]);
    validation.set_required_spec_claims(&["exp", "aud", "iss"]);
    // The library compares `exp` with its clock less the leeway: a leeway of the time since then
    // sets the clock back to that moment.
    let now = warifu_node::clock::now().seconds();
    validation.leeway = evidence_at.map_or(0, |at| now - at);
    let key = DecodingKey::from_ed_components(x)?;
    Ok(jsonwebtoken::decode::<LoginClaims>(block, &key, &validation)?.claims)
}

#[test]
fn a_login_verifies_with_a_stock_library() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), 3).unwrap();
    net.start_all().unwrap();
    let account = net.enrol("alice").unwrap();
    let net = RwLock::new(net);
    let ended = log_in(&net, "alice", &account).unwrap();
    assert_eq!(ended.line["status"], "admitted", "{ended:?}");
    let block = ended.line["block"].as_str().unwrap();
    let x = ended.line["jwk"]["x"].as_str().unwrap();

    let claims = verified_by_stock_library(block, x, None).unwrap();
    assert_eq!(
        (claims.sub.as_str(), claims.kind.as_str()),
        (account.as_str(), "login")
    );
    assert_eq!(claims.aud, Testnet::AUD);

    // `exp` limits admission; as evidence the receipt is verified at time `iat`.
    thread::sleep(Duration::from_secs(claims.exp - claims.iat + 1));
    let late = verified_by_stock_library(block, x, None)
        .map(drop)
        .unwrap_err();
    assert_eq!(
        late.kind(),
        &jsonwebtoken::errors::ErrorKind::ExpiredSignature
    );
    verified_by_stock_library(block, x, Some(claims.iat)).unwrap();
    verified_by_stock_library(block, x, Some(claims.exp + 1))
        .map(drop)
        .unwrap_err();

    // The operators' own signatures are never taken for a login: not by the pinned key, and the
    // account's key is none of theirs.
    let net = net.into_inner().unwrap();
    let receipt: Value = serde_json::from_str(ended.line["receipt"].as_str().unwrap()).unwrap();
    let input = block.rsplit_once('.').unwrap().0;
    for vote in ["assent", "endorse", "seal"] {
        let vote = receipt["votes"][vote]
            .as_str()
            .unwrap()
            .strip_prefix("ed25519:")
            .unwrap();
        let forged = format!("{input}.{vote}");
        verified_by_stock_library(&forged, x, Some(claims.iat))
            .map(drop)
            .unwrap_err();
    }
    for node in [Node::Broker, Node::TrustOperator] {
        let seed = std::fs::read(net.node(node).join("identity.key")).unwrap();
        let key = warifu_consensus::signature::IdentityKey::from_seed(seed.try_into().unwrap());
        let own = warifu_consensus::encoding::text_b64(&key.sign(input.as_bytes()));
        let forged = format!("{input}.{own}");
        verified_by_stock_library(&forged, x, Some(claims.iat))
            .map(drop)
            .unwrap_err();
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_sigkill() {
    let seed = std::env::var("WARIFU_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1u8);
    println!("seed {seed} (WARIFU_SEED)");
    let mut entropy = SeededEntropy::new([seed; 32]);
    let mut below = move |limit: u64| {
        let mut bytes = [0u8; 8];
        entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit
    };
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), LIFETIME_S).unwrap();
    net.start_all().unwrap();
    let accounts: Vec<String> = CUSTOMERS.iter().map(|c| net.enrol(c).unwrap()).collect();
    let net = RwLock::new(net);
    let acknowledged = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for (customer, account) in CUSTOMERS.iter().zip(&accounts) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match log_in(&net, customer, account) {
                        Ok(ended) if ended.line["status"] == "admitted" => {
                            let hash = ended.line["hash"].as_str().unwrap().to_owned();
                            acknowledged.lock().unwrap().push(hash);
                        }
                        Ok(_) => {}
                        Err(_) => thread::sleep(Duration::from_millis(100)),
                    }
                }
            });
        }
        for kill in 0..KILLS {
            thread::sleep(Duration::from_millis(300 + below(1_200)));
            let node = Node::ALL[usize::try_from(below(3)).unwrap()];
            let mut net = net.write().unwrap();
            println!(
                "kill {kill}: {} after {} logins",
                node.name(),
                acknowledged.lock().unwrap().len()
            );
            net.kill(node);
            thread::sleep(Duration::from_millis(below(300)));
            net.start(node).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });

    // No account is stuck: each logs in once more.
    for (customer, account) in CUSTOMERS.iter().zip(&accounts) {
        let admitted = (0..120).any(|_| {
            let ended = log_in(&net, customer, account);
            let admitted = ended.as_ref().is_ok_and(|e| e.line["status"] == "admitted");
            if let Ok(ended) = &ended
                && admitted
            {
                let hash = ended.line["hash"].as_str().unwrap().to_owned();
                acknowledged.lock().unwrap().push(hash);
            } else {
                thread::sleep(Duration::from_millis(500));
            }
            admitted
        });
        assert!(admitted, "{customer}'s account is stuck");
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    let mut net = net.into_inner().unwrap();
    assert!(net.stop_all(), "a node did not stop by itself");
    println!(
        "{} logins acknowledged over {KILLS} kills",
        acknowledged.len()
    );
    assert!(
        acknowledged.len() >= KILLS,
        "too few logins to mean anything"
    );
    let broker = hashes(&net, Node::Broker);
    let trust_operator = hashes(&net, Node::TrustOperator);
    for hash in &acknowledged {
        assert_eq!(broker.get(hash), Some(&1), "{hash} at the broker");
        assert_eq!(
            trust_operator.get(hash),
            Some(&1),
            "{hash} at the trust operator"
        );
    }
}
