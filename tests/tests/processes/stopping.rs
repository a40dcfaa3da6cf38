//! Stopping: each role, with everything that can hang hanging.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    thread,
    time::Duration,
};

use tokio::time::Instant;
use warifu_tests::processes::{Node, Testnet};

use super::{LIFETIME_S, warifu};

fn started(dir: &std::path::Path, lifetime_s: u64) -> Testnet {
    let mut net = Testnet::init(warifu(), dir, lifetime_s).unwrap();
    net.start_all().unwrap();
    net
}

fn authority(net: &Testnet) -> String {
    net.http.strip_prefix("http://").unwrap().to_owned()
}

/// Connections of peers that say nothing, or half of something.
fn hung(net: &Testnet) -> Vec<TcpStream> {
    let at = authority(net);
    let mut hung: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(&at).unwrap()).collect();
    hung[0]
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    hung[1]
        .write_all(b"POST /v1/logins HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        .unwrap();
    hung
}

fn token(net: &Testnet) -> String {
    let path = net.node(Node::Broker).join("login-service.token");
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// One request, and the whole answer.
fn ask(net: &Testnet, method: &str, path: &str) -> std::io::Result<String> {
    let at = authority(net);
    let mut stream = TcpStream::connect(&at)?;
    let token = token(net);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_broker_stops_in_time_and_answers_everybody_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = started(dir.path(), 60);
    net.enrol("alice").unwrap();
    let login = net.begin("alice").unwrap();
    net.asked().unwrap();
    let ticket = net
        .service(&["enrol", "ticket", "--customer", "bob", "--no-wait"], &[])
        .unwrap();
    let session = ticket.text("session");
    let _hung = hung(&net);
    // Both peers hang, with their lines up.
    net.signal(Node::TrustOperator, "STOP");
    net.signal(Node::Device, "STOP");
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| ask(&net, "GET", &format!("/v1/enrolments/{session}?wait=30")));
        thread::sleep(Duration::from_millis(300));
        net.signal(Node::Broker, "TERM");
        // Nobody locked it: it is taken back, and whoever waits for it hears so.
        let ended = login.end();
        assert_eq!(ended.line["status"], "refused", "{ended:?}");
        assert_eq!(ended.line["by"], "broker", "{ended:?}");
        assert_eq!(ended.code, 1);
        let answer = waiting.join().unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("urn:warifu:problem:stopping"), "{answer}");
    });
    assert_eq!(net.ended(Node::Broker), Some(0));
    net.signal(Node::TrustOperator, "CONT");
    net.signal(Node::Device, "CONT");
    // The account is free for the next login at once.
    net.start(Node::Broker).unwrap();
    let again = (0..100).find_map(|_| {
        thread::sleep(Duration::from_millis(100));
        net.begin("alice").ok()
    });
    again.expect("a login after the restart").signal("TERM");
}

#[test]
fn trust_operator_and_device_stop_while_their_peers_hang() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = started(dir.path(), LIFETIME_S);
    net.enrol("alice").unwrap();
    let login = net.begin("alice").unwrap();
    let proposal = net.asked().unwrap();
    let number = login.number();
    net.signal(Node::Broker, "STOP");
    // The customer's command waits for a decision that nobody can make.
    let device = net.node(Node::Device).display().to_string();
    let mut approving = net
        .warifu
        .command([
            "device", "--dir", &device, "approve", "--number", &number, &proposal,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(approving.try_wait().unwrap().is_none(), "it did not wait");
    assert_eq!(net.stop(Node::Device), Some(0));
    let told = approving.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(6), "{told:?}");
    assert_eq!(net.stop(Node::TrustOperator), Some(0));
    net.signal(Node::Broker, "CONT");
    drop(login.end());
    assert_eq!(net.stop(Node::Broker), Some(0));
}

#[test]
fn a_second_signal_ends_a_node_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = started(dir.path(), 60);
    // Half a request keeps the first stop waiting for a while.
    let _hung = hung(&net);
    net.signal(Node::Broker, "TERM");
    thread::sleep(Duration::from_millis(150));
    let second = Instant::now();
    net.signal(Node::Broker, "TERM");
    let code = net.ended(Node::Broker);
    assert!(
        second.elapsed() < Duration::from_secs(1),
        "{:?}",
        second.elapsed()
    );
    // 6 by the second signal; 0 if the first stop was over before it.
    assert!(matches!(code, Some(6 | 0)), "{code:?}");
    net.start(Node::Broker).unwrap();
}

#[test]
fn a_second_start_names_the_process_that_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let net = started(dir.path(), LIFETIME_S);
    for node in Node::ALL {
        let path = net.node(node).display().to_string();
        let refused = net.warifu.text(["run", "--dir", &path]).unwrap_err();
        assert_eq!(refused.code, 6, "{refused}");
        let expected = format!("is in use by process {}", net.pid(node).unwrap());
        assert!(refused.stderr.contains(&expected), "{refused}");
    }
}

#[test]
fn a_login_that_is_interrupted_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let net = started(dir.path(), 120);
    net.enrol("alice").unwrap();
    for name in ["TERM", "INT", "HUP"] {
        let login = net.begin("alice").unwrap();
        login.signal(name);
        let ended = login.end();
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains("taken back"), "{ended:?}");
    }
    // One that stays open keeps the next one out, and says until when and how long.
    let open = net.begin("alice").unwrap();
    let Err(busy) = net.begin("alice") else {
        panic!("two logins are open");
    };
    assert!(busy.stderr.contains("s from now"), "{busy}");
    assert!(!busy.stderr.contains("Unix"), "{busy}");
    open.signal("TERM");
    drop(open.end());
}
