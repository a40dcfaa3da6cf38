//! What a node has around it: ports, peers, clocks, certificates.

use super::*;

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
fn the_log_s_port_is_looked_at() {
    let house = House::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    house.edit("t", "log_http = \"\"", &format!("log_http = \"{address}\""));
    house
        .offline("t")
        .fails("ports", &format!("log_http {address}"), 3);
    drop(other);
    let told = format!("log_http {address} is free");
    house.offline("t").has("ports", "ok", &told);
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
