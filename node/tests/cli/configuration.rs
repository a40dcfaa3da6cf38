//! `warifu.toml`: what is refused, and that the error names the field.

use std::{fs, path::Path, time::Duration};

use warifu_consensus::log::{Algorithm, LogKey};
use warifu_node::{
    api::Limits,
    config::{Config, ConfigError, File, RoleConfig},
};

use super::init_all;

fn error(dir: &Path, name: &str, edit: impl Fn(&str) -> String) -> String {
    let path = dir.join(name).join("warifu.toml");
    let text = fs::read_to_string(&path).unwrap();
    let edited = edit(&text);
    assert_ne!(edited, text, "the edit changed nothing");
    fs::write(&path, edited).unwrap();
    let error = Config::load(&dir.join(name)).unwrap_err().to_string();
    fs::write(&path, text).unwrap();
    error
}

#[test]
fn errors_name_the_field() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let replaced = |from: &'static str, to: &'static str| move |text: &str| text.replace(from, to);
    let cases: [(&str, &str, &str, &[&str]); 27] = [
        (
            "b",
            "ticket_lifetime_s",
            "ticket_lifetime",
            &["unknown field `ticket_lifetime`", "line"],
        ),
        (
            "b",
            "[node]",
            "[node]\ncolour = 1",
            &["unknown field `colour`"],
        ),
        (
            "b",
            "iss = \"https://ledger.example\"\n",
            "",
            &["missing field `iss`"],
        ),
        (
            "b",
            "= 90",
            "= 181",
            &["broker.proposal_lifetime_s is 181, expected 1 to 180"],
        ),
        ("b", "= 90", "= 0", &["broker.proposal_lifetime_s is 0"]),
        (
            "b",
            "= 90",
            "= \"90\"",
            &["proposal_lifetime_s", "invalid type"],
        ),
        (
            "b",
            "= 600",
            "= 601",
            &["broker.ticket_lifetime_s is 601, expected 1 to 600"],
        ),
        (
            "b",
            "127.0.0.1:7201",
            "192.0.2.1:7201",
            &[
                "broker.http is 192.0.2.1:7201",
                "loopback",
                "broker.certificate",
            ],
        ),
        (
            "b",
            "# certificate = \"…\"",
            "certificate = \"tls.pem\"",
            &["broker.private_key is missing"],
        ),
        (
            "b",
            "# private_key = \"…\"",
            "private_key = \"tls.key\"",
            &["broker.certificate is missing"],
        ),
        (
            "b",
            "waits = 4096",
            "waits = 0",
            &["broker.limits.waits is 0, expected 1 or more"],
        ),
        (
            "b",
            "connections_per_network = 4096",
            "connections_per_network = 8193",
            &["broker.limits.connections_per_network is 8193, expected at most connections, 8192"],
        ),
        (
            "b",
            "begins_per_minute_per_account = 100",
            "begins_per_minute_per_account = 6001",
            &["broker.limits.begins_per_minute_per_account is 6001"],
        ),
        (
            "b",
            "[broker.limits]",
            "[broker.limits]\nlogins = 1",
            &["unknown field `logins`"],
        ),
        (
            "b",
            "\"../b.master-key\"",
            "\"data/m\"",
            &["node.master_key is data/m", "outside"],
        ),
        (
            "b",
            "\"../b.master-key\"",
            "\"../x/../b/m\"",
            &["node.master_key"],
        ),
        ("b", "log = \"info\"", "log = \"a=b=c\"", &["node.log is"]),
        (
            "b",
            "\"text\"",
            "\"xml\"",
            &["node.log_format is \"xml\", expected text or json"],
        ),
        (
            "t",
            "metrics = \"\"",
            "metrics = \"7203\"",
            &["node.metrics is \"7203\"", "127.0.0.1:7203"],
        ),
        (
            "b",
            "metrics = \"\"",
            "metrics = \"192.0.2.1:7203\"",
            &["node.metrics is", "loopback", "metrics_off_loopback"],
        ),
        (
            "t",
            "log_http = \"\"",
            "log_http = \"localhost\"",
            &["node.log_http is \"localhost\"", "0.0.0.0:7204"],
        ),
        (
            "d",
            "listen = []",
            "listen = []\nlog_http = \"127.0.0.1:7204\"",
            &["node.log_http is", "a device listens nowhere"],
        ),
        (
            "d",
            "otlp = \"\"",
            "otlp = \"https://collector.example:4318\"",
            &["node.otlp is", "no https"],
        ),
        (
            "b",
            "otlp = \"\"",
            "otlp = \"http://127.0.0.1:4318/v1/traces\"",
            &["node.otlp is", "no path"],
        ),
        (
            "d",
            "listen = []",
            "listen = []\nmetrics = \"127.0.0.1:7203\"",
            &["node.metrics is", "a device listens nowhere"],
        ),
        (
            "d",
            "listen = []",
            "listen = [\"/ip4/127.0.0.1/tcp/1\"]",
            &["node.listen", "only dials"],
        ),
        (
            "t",
            "/ip4/127.0.0.1/tcp/7102\"]",
            "/ip4/127.0.0.1/udp/7\"]",
            &["/udp/7", "tcp/7340"],
        ),
    ];
    for (name, from, to, expected) in cases {
        let told = error(dir.path(), name, replaced(from, to));
        assert!(expected.iter().all(|part| told.contains(part)), "{told}");
    }
}

#[test]
fn exactly_one_role() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let told = error(dir.path(), "b", |text| format!("{text}[device]\n"));
    assert!(
        told.contains("found two roles: [broker] and [device], expected one"),
        "{told}"
    );
    let told = error(dir.path(), "d", |text| {
        text.split("[device]").next().unwrap().to_owned()
    });
    assert!(told.contains("found no role, expected one"), "{told}");
}

#[test]
fn operators_must_differ_and_keys_must_be_points() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let file = fs::read_to_string(dir.path().join("d/warifu.toml")).unwrap();
    let file = File::parse(Path::new("d"), &file).unwrap();
    let known = file.ledger.trust_operator.clone().unwrap();
    let broker = file.ledger.broker.clone();
    let told = error(dir.path(), "d", |text| text.replace(&known, &broker));
    assert!(
        told.contains("ledger.trust_operator") && told.contains("differ"),
        "{told}"
    );
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let no_point = warifu_consensus::encoding::text_b64(&no_point);
    let told = error(dir.path(), "d", |text| text.replace(&broker, &no_point));
    assert!(told.contains("ledger.broker is"), "{told}");
}

#[test]
fn a_broker_without_its_trust_operator_is_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let path = dir.path().join("b/warifu.toml");
    let mut file = File::parse(&path, &fs::read_to_string(&path).unwrap()).unwrap();
    file.ledger.trust_operator = None;
    fs::write(&path, file.render()).unwrap();
    let error = Config::load(&dir.path().join("b")).unwrap_err();
    assert!(matches!(error, ConfigError::Incomplete { .. }));
    assert!(
        error.to_string().contains("--trust-operator CARD"),
        "{error}"
    );
}

#[test]
fn what_is_written_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    for name in ["b", "t", "d"] {
        let path = dir.path().join(name).join("warifu.toml");
        let mut file = File::parse(&path, &fs::read_to_string(&path).unwrap()).unwrap();
        file.node.log = "warifu=\"debug\"\\\n\t,info".to_owned();
        file.node.data = "with space/ü".into();
        assert_eq!(File::parse(&path, &file.render()).unwrap(), file);
    }
}

#[test]
fn a_master_key_behind_a_link_into_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    std::os::unix::fs::symlink(dir.path().join("b"), dir.path().join("elsewhere")).unwrap();
    let told = error(dir.path(), "b", |text| {
        text.replace("../b.master-key", "../elsewhere/m")
    });
    assert!(told.contains("node.master_key"), "{told}");
}

#[test]
fn a_socket_path_that_no_system_takes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let long = "x".repeat(108);
    let told = error(dir.path(), "d", |text| text.replace("control.sock", &long));
    assert!(told.contains("device.control is"), "{told}");
}

#[test]
fn with_a_certificate_the_http_side_may_be_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let path = dir.path().join("b/warifu.toml");
    let text = fs::read_to_string(&path).unwrap();
    let edited = text
        .replace("127.0.0.1:7201", "0.0.0.0:7201")
        .replace("# certificate = \"…\"", "certificate = \"tls.pem\"")
        .replace(
            "# private_key = \"…\"",
            "private_key = \"/run/secrets/tls.key\"",
        )
        .replace(
            "begins_per_minute_per_network = 600",
            "begins_per_minute_per_network = 7",
        );
    fs::write(&path, edited).unwrap();
    let config = Config::load(&dir.path().join("b")).unwrap();
    let RoleConfig::Broker(broker) = config.role else {
        panic!("a broker's directory")
    };
    let tls = broker.tls.unwrap();
    assert_eq!(tls.certificate, dir.path().join("b/tls.pem"));
    assert_eq!(tls.private_key, Path::new("/run/secrets/tls.key"));
    assert_eq!(broker.limits.begins_per_minute_per_network, 7);
    // A table of limits may name some, or be absent.
    let (before, after) = text.split_once("[broker.limits]").unwrap();
    assert!(!after.contains("\n["), "it is the last table");
    fs::write(&path, before).unwrap();
    let config = Config::load(&dir.path().join("b")).unwrap();
    assert!(matches!(config.role, RoleConfig::Broker(b) if b.limits == Limits::default()));
}

#[test]
fn public_witnesses_are_others_each_once_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let key = |seed: u8, name: &str, algorithm| {
        let key = LogKey::from_seed([seed; 32], name, algorithm).unwrap();
        key.public().to_string()
    };
    let one = key(7, "w.example/a", Algorithm::Cosignature);
    let log = key(7, "w.example/a", Algorithm::Ed25519);
    let path = dir.path().join("b/warifu.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (_, own) = text.split_once("witness = \"").unwrap();
    let own = own.split('"').next().unwrap().to_owned();
    let table =
        |key: &str, url: &str| format!("\n[[broker.witness]]\nkey = \"{key}\"\nurl = \"{url}\"\n");
    let good = table(&one, "https://w.example/submit");
    let nine: String = (0..9)
        .map(|n| {
            table(
                &key(n, "w.example", Algorithm::Cosignature),
                "http://w.example",
            )
        })
        .collect();
    let second = format!(", line {}: broker.witness[1].key", text.lines().count() + 7);
    for (tables, expected) in [
        (
            table("x", "https://w.example"),
            "broker.witness[0].key is \"x\"",
        ),
        (table(&log, "https://w.example"), "of type 0x04"),
        (
            table(&own, "https://w.example"),
            "another key than the ledger's own two",
        ),
        (table(&one, "ftp://w.example"), "broker.witness[0].url"),
        (good.clone() + &good, "broker.witness[1].key"),
        (good.clone() + &table("y", "z"), second.as_str()),
        (nine, "broker.witness is 9, expected at most 8"),
        (good.clone() + "body = 1\n", "`body`"),
    ] {
        let tables = tables.clone();
        let told = error(dir.path(), "b", move |text| format!("{text}{tables}"));
        assert!(told.contains(expected), "{told}, expected {expected}");
    }
    let file = File::parse(&path, &format!("{text}{good}")).unwrap();
    assert_eq!(File::parse(&path, &file.render()).unwrap(), file);
    let config = Config::check(&dir.path().join("b"), file).unwrap();
    let RoleConfig::Broker(broker) = config.role else {
        panic!("not a broker");
    };
    let [witness] = broker.witnesses.as_slice() else {
        panic!("{:?}", broker.witnesses);
    };
    assert_eq!(witness.key.to_string(), one);
    assert_eq!(
        witness.url.to_string(),
        "https://w.example/submit/add-checkpoint"
    );
}

#[test]
fn a_push_service_is_named_with_care_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let with = |fields: &'static str| {
        move |text: &str| text.replace("# [broker.push]", &format!("[broker.push]\n{fields}"))
    };
    for (fields, expected) in [
        ("url = \"http://push.example/s3cret\"", "broker.push.url"),
        ("url = \"https://u:s3cret@push.example\"", "broker.push.url"),
        (
            "url = \"https://push.example\"\ntimeout_s = 31",
            "broker.push.timeout_s is 31, expected 1 to 30",
        ),
        ("timeout_s = 5", "missing field `url`"),
        ("url = \"https://push.example\"\nbody = true", "`body`"),
    ] {
        let told = error(dir.path(), "b", with(fields));
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
    let path = dir.path().join("b/warifu.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = with("url = \"https://push.example/s3cret\"\ntimeout_s = 7")(&text);
    let file = File::parse(&path, &text).unwrap();
    assert_eq!(File::parse(&path, &file.render()).unwrap(), file);
    let config = Config::check(&dir.path().join("b"), file).unwrap();
    let RoleConfig::Broker(broker) = config.role else {
        panic!("not a broker");
    };
    let push = broker.push.unwrap();
    assert_eq!(push.timeout, Duration::from_secs(7));
    assert_eq!(push.token_file, dir.path().join("b/push.token"));
    assert!(!format!("{push:?}").contains("s3cret"));
}

#[test]
fn a_device_asks_in_a_language_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let told = error(dir.path(), "d", |text| text.replace("\"locale\"", "\"fr\""));
    assert!(
        told.contains("device.language is \"fr\", expected locale, ja or en"),
        "{told}"
    );
}
