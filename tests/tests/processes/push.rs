//! A device that sleeps is woken through the operator's push service.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::OpenOptionsExt,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;
use warifu_tests::processes::{Node, Testnet};

use super::warifu;

const TOKEN: &str = "a-token-for-the-push-service";
const PATIENCE: Duration = Duration::from_secs(20);

/// What the push service got: path, `authorization`, body.
struct Call {
    path: String,
    authorization: String,
    body: Value,
}

/// A push service on loopback: refuses the first call for now, takes the others.
fn push_service() -> (u16, mpsc::Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, calls) = mpsc::channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut path, mut authorization, mut length) = (String::new(), String::new(), 0);
            for line in reader.by_ref().lines().map_while(Result::ok) {
                let lower = line.to_ascii_lowercase();
                if let Some(rest) = line.strip_prefix("POST ") {
                    path = rest.split(' ').next().unwrap_or_default().to_owned();
                } else if lower.starts_with("authorization:") {
                    authorization = line["authorization:".len()..].trim().to_owned();
                } else if let Some(found) = lower.strip_prefix("content-length:") {
                    length = found.trim().parse().unwrap();
                } else if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let status = if number == 0 { "503 Busy" } else { "204 Taken" };
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            let body = serde_json::from_slice(&body).unwrap();
            let call = Call {
                path,
                authorization,
                body,
            };
            if told.send(call).is_err() {
                return;
            }
        }
    });
    (port, calls)
}

fn configure(net: &Testnet, port: u16) {
    let dir = net.node(Node::Broker);
    let mut token = std::fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(dir.join("push.token"))
        .unwrap();
    writeln!(token, "{TOKEN}").unwrap();
    let path = dir.join("warifu.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(&format!(
        "\n[broker.push]\nurl = \"http://127.0.0.1:{port}/wake?key=s3cret\"\n"
    ));
    std::fs::write(&path, text).unwrap();
}

#[test]
fn a_sleeping_device_is_woken_and_its_login_admitted() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), 60).unwrap();
    let (port, calls) = push_service();
    configure(&net, port);
    net.start_all().unwrap();
    let account = net.enrol("alice").unwrap();

    // A device that is there is not woken.
    let login = net.begin("alice").unwrap();
    let proposal = net.asked().unwrap();
    net.device(&["approve", "--number", &login.number()], &[&proposal])
        .unwrap();
    assert_eq!(login.end().line["status"], "admitted");
    assert!(calls.try_recv().is_err());

    net.stop(Node::Device);
    let login = net.begin("alice").unwrap();
    for _ in 0..2 {
        // The first call was answered 503, and is repeated.
        let call = calls.recv_timeout(PATIENCE).expect("a call");
        assert_eq!(call.path, "/wake?key=s3cret");
        assert_eq!(call.authorization, format!("Bearer {TOKEN}"));
        let told = call.body.as_object().unwrap();
        let names: Vec<&str> = told.keys().map(String::as_str).collect();
        assert_eq!(names, ["expires_at", "iss", "sub"]);
        assert_eq!(told["sub"], account.as_str());
        assert_eq!(told["iss"], Testnet::ISS);
        let now = warifu_node::clock::now().seconds();
        let left = told["expires_at"].as_u64().unwrap() - now;
        assert!((1..=60).contains(&left), "{left}");
    }
    net.start(Node::Device).unwrap();
    let proposal = net.asked().unwrap();
    net.device(&["approve", "--number", &login.number()], &[&proposal])
        .unwrap();
    let ended = login.end();
    assert_eq!(ended.line["status"], "admitted", "{ended:?}");
    assert!(calls.recv_timeout(Duration::from_secs(2)).is_err());

    // A device that vanishes while it is asked is woken too.
    let login = net.begin("alice").unwrap();
    net.asked().unwrap();
    net.kill(Node::Device);
    calls.recv_timeout(PATIENCE).expect("a call");
    net.start(Node::Device).unwrap();
    let proposal = net.asked().unwrap();
    net.device(&["deny"], &[&proposal]).unwrap();
    assert_eq!(login.end().line["status"], "refused");

    let log = std::fs::read_to_string(dir.path().join("broker.log")).unwrap();
    assert!(log.contains("push failed, it is repeated"), "{log}");
    for secret in [TOKEN, "s3cret", "/wake"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
