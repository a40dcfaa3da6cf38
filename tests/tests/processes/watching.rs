//! Watching real nodes: the traces that a collector gets, the measures that dashboard and documentation
//! name, and what log lines say and don't.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value, trace::v1::Span,
};
use prost::Message;
use serde_json::Value;
use warifu_consensus::{
    block::Block,
    encoding::{TraceName, text_b64},
};
use warifu_tests::processes::{Node, Testnet};

use super::warifu;

const OPERATORS: [Node; 2] = [Node::Broker, Node::TrustOperator];
/// The login service's own trace, as the W3C's examples have it.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A request over a line of its own; status and body.
fn ask(url: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let host = url.trim_start_matches("http://");
    let mut line = TcpStream::connect(host).unwrap();
    line.set_read_timeout(Some(Duration::from_secs(40)))
        .unwrap();
    write!(
        line,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn token(net: &Testnet) -> String {
    let file = net.node(Node::Broker).join("login-service.token");
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

/// One login over HTTP, asked for within a trace; how it ended.
fn log_in(net: &Testnet, account: &str) -> Value {
    let nonce = text_b64(&[7; 32]);
    let headers = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\ntraceparent: {PARENT}\r\n",
        token(net)
    );
    let body = format!(
        r#"{{"account":"{account}","nonce":"{nonce}","channel":"web","address":"203.0.113.7"}}"#
    );
    let (status, begun) = ask(&net.http, "POST", "/v1/logins", &headers, &body);
    assert_eq!(status, 201, "{begun}");
    let begun: Value = serde_json::from_str(&begun).unwrap();
    let proposal = net.asked().unwrap();
    let number = begun["number"].as_str().unwrap();
    net.device(&["approve", "--number", number], &[&proposal])
        .unwrap();
    let path = format!("/v1/logins/{}?wait=30", begun["id"].as_str().unwrap());
    let (status, ended) = ask(&net.http, "GET", &path, &headers, "");
    assert_eq!(status, 200, "{ended}");
    let mut ended: Value = serde_json::from_str(&ended).unwrap();
    assert_eq!(ended["status"], "admitted", "{ended}");
    ended["id"] = begun["id"].clone();
    ended
}

/// What the trace of an admitted login is called.
fn trace_of(ended: &Value) -> TraceName {
    let block = ended["block"].as_str().unwrap();
    let (input, _) = block.rsplit_once('.').unwrap();
    TraceName::of(&Block::parse(input).unwrap().hash())
}

type Received = Arc<Mutex<Vec<(String, Span)>>>;

/// A collector on loopback: its address, and the spans that it gets with their service's name.
fn collector() -> (String, Received) {
    async fn traces(State(received): State<Received>, body: Bytes) {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        for of_service in request.resource_spans {
            let attributes = of_service.resource.unwrap().attributes;
            let name = attributes.iter().find(|a| a.key == "service.name").unwrap();
            let Some(any_value::Value::StringValue(service)) =
                name.value.clone().and_then(|value| value.value)
            else {
                panic!("service.name is no string");
            };
            let spans = of_service.scope_spans.into_iter().flat_map(|s| s.spans);
            let named = spans.map(|span| (service.clone(), span));
            received.lock().unwrap().extend(named);
        }
    }
    let received = Received::default();
    let router = Router::new()
        .route("/v1/traces", post(traces))
        .with_state(Arc::clone(&received));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    (address, received)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_login_is_one_trace_across_three_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), 30).unwrap();
    let (address, received) = collector();
    for node in Node::ALL {
        net.set(node, "otlp", &format!("\"{address}\"")).unwrap();
    }
    net.start_all().unwrap();
    let account = net.enrol("alice").unwrap();
    let ended = log_in(&net, &account);
    assert!(net.stop_all(), "the last spans leave before a node ends");

    let name = trace_of(&ended);
    let spans = received.lock().unwrap();
    let traces: BTreeSet<String> = spans.iter().map(|(_, s)| hex(&s.trace_id)).collect();
    assert_eq!(traces, BTreeSet::from([name.to_string()]), "one trace");
    let (roots, steps): (Vec<_>, Vec<_>) = spans.iter().partition(|(_, s)| s.name == "login");
    let [(service, root)] = &roots[..] else {
        panic!("{} roots", roots.len());
    };
    assert_eq!(service, "warifu-broker");
    assert_eq!(root.span_id, name.root);
    assert!(root.parent_span_id.is_empty(), "{root:?}");
    assert_eq!(root.links.len(), 1, "the login service's own trace");
    assert_eq!(hex(&root.links[0].trace_id), TRACE);
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (service, step) in steps {
        assert_eq!(step.parent_span_id, root.span_id, "{service} {}", step.name);
        assert!(step.start_time_unix_nano <= step.end_time_unix_nano);
        if service == "warifu-broker" {
            assert!(
                step.end_time_unix_nano <= root.end_time_unix_nano,
                "{}",
                step.name
            );
        }
        found.entry(service).or_default().insert(&step.name);
    }
    let expected = BTreeMap::from([
        (
            "warifu-broker",
            BTreeSet::from(["prepare", "number", "assent", "lock", "endorse", "durable"]),
        ),
        ("warifu-trust-operator", BTreeSet::from(["commit", "seal"])),
        ("warifu-device", BTreeSet::from(["ask", "sign", "settle"])),
    ]);
    assert_eq!(found, expected);
}

fn documentation(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.parent().unwrap_or(Path::new(".")).join(path)).unwrap()
}

/// Words of a text that begin like a measure's name.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .map(ToOwned::to_owned)
        .collect()
}

/// The measures that a node exports, by name, with their kind.
fn exported(text: &str) -> BTreeMap<String, String> {
    let kinds = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '));
    kinds
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// A measure's value, of the series whose line begins so.
fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
        .parse()
        .unwrap()
}

fn scrape(net: &Testnet, node: Node) -> String {
    let url = net.said(node, "metrics").unwrap();
    let (status, text) = ask(url, "GET", "/metrics", "", "");
    assert_eq!(status, 200);
    text
}

/// Every measure that dashboard, alerts and guide name is exported, and every exported one is in the guide.
fn check_names(measures: &[String]) {
    let exported: BTreeMap<String, String> = measures.iter().flat_map(|t| exported(t)).collect();
    let is_exported = |word: &str| {
        let of_histogram = ["_bucket", "_count", "_sum"].iter().any(|ending| {
            let name = word.strip_suffix(ending);
            name.is_some_and(|n| exported.get(n).is_some_and(|kind| kind == "histogram"))
        });
        of_histogram || exported.contains_key(word)
    };
    let dashboard: Value =
        serde_json::from_str(&documentation("docs/grafana/warifu.json")).unwrap();
    let mut shown = String::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            shown.push_str(target["expr"].as_str().unwrap());
            shown.push('\n');
        }
    }
    let alerts: String = documentation("docs/grafana/alerts.yml")
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n");
    let guide = documentation("docs/operating.md");
    let guide = guide.split("## Watching").nth(1).unwrap();
    let guide = guide.split("\n## ").next().unwrap();
    for (place, text) in [
        ("dashboard", shown.as_str()),
        ("alerts", &alerts),
        ("guide", guide),
    ] {
        let words = [named(text, "warifu_"), named(text, "process_")].concat_sets();
        assert!(words.len() > 8, "{place} names only {words:?}");
        let missing: Vec<_> = words.iter().filter(|w| !is_exported(w)).collect();
        assert!(missing.is_empty(), "{place} names {missing:?}");
    }
    let documented = named(guide, "warifu_");
    let ours = exported.keys().filter(|name| name.starts_with("warifu_"));
    let silent: Vec<_> = ours.filter(|name| !documented.contains(*name)).collect();
    assert!(silent.is_empty(), "the guide lacks {silent:?}");
    for text in measures {
        let helped = |name: &str| text.contains(&format!("# HELP {name} "));
        let dumb: Vec<_> = self::exported(text)
            .into_keys()
            .filter(|name| !helped(name))
            .collect();
        assert!(dumb.is_empty(), "without a help text: {dumb:?}");
    }
}

trait ConcatSets {
    fn concat_sets(self) -> BTreeSet<String>;
}

impl ConcatSets for [BTreeSet<String>; 2] {
    fn concat_sets(self) -> BTreeSet<String> {
        self.into_iter().flatten().collect()
    }
}

/// Each line is one JSON object with a time; those that say it, by their message.
fn lines(log: &str) -> BTreeMap<String, Vec<Value>> {
    let mut said: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let time = line["timestamp"].as_str().unwrap();
        // RFC 3339, UTC: 2026-11-23T06:04:37.786111Z.
        let form: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(form, "0000-00-00T00:00:00.000000Z");
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        said.entry(message.to_owned()).or_default().push(line);
    }
    said
}

/// Each login's lines carry account, height and trace; none carries a secret.
fn check_logs(net: &Testnet, account: &str, ended: &Value, secrets: &[String]) {
    let trace = trace_of(ended).to_string();
    for node in Node::ALL {
        let log = net.log(node).unwrap();
        for secret in secrets {
            assert!(!log.contains(secret), "{}: {secret}", node.name());
        }
        let said = lines(&log);
        let sealed = said["sealed"].iter().find(|l| l["fields"]["height"] == 1);
        let fields = &sealed.unwrap()["fields"];
        assert_eq!(fields["account"], account, "{}", node.name());
        assert_eq!(fields["trace"], trace, "{}", node.name());
        if node == Node::Broker {
            let told: Vec<_> = said["login ended"].iter().map(|l| &l["fields"]).collect();
            let login = told.iter().find(|f| f["login"] == ended["id"]).unwrap();
            assert_eq!(login["account"], account);
            assert_eq!(login["height"], 1);
            assert_eq!(login["trace"], trace);
            assert_eq!(login["outcome"], "admitted");
        }
    }
}

#[test]
fn measures_are_shown_documented_and_right_and_logs_keep_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), 30).unwrap();
    for node in Node::ALL {
        net.set(node, "log_format", "\"json\"").unwrap();
        let filter = "\"info,warifu_node=trace,warifu_client_sdk=trace\"";
        net.set(node, "node.log", filter).unwrap();
    }
    for node in OPERATORS {
        net.set(node, "metrics", "\"127.0.0.1:0\"").unwrap();
    }
    net.start_all().unwrap();
    let trust_operator = net.said(Node::TrustOperator, "metrics").unwrap().to_owned();
    let ready = || ask(&trust_operator, "GET", "/readyz", "", "");
    assert_eq!(ready(), (200, r#"{"status":"ok"}"#.to_owned()));

    let ticket = net
        .service(
            &["enrol", "ticket", "--customer", "alice", "--no-wait"],
            &[],
        )
        .unwrap();
    let uri = ticket.text("ticket_uri");
    let digits = net.device(&["enrol"], &[&uri]).unwrap().text("digits");
    let account = net
        .confirm("alice", &ticket.text("session"), &digits)
        .unwrap();
    let ended = log_in(&net, &account);
    // The clocks are asked every 5 s.
    thread::sleep(Duration::from_secs(6));

    let [broker, trust] = OPERATORS.map(|node| scrape(&net, node));
    check_names(&[broker.clone(), trust.clone()]);
    for text in [&broker, &trust] {
        assert!(!text.contains(&account), "a label names an account");
        assert!(!text.contains(ended["id"].as_str().unwrap()));
        assert_eq!(value(text, "warifu_ready"), 1.0);
        assert_eq!(value(text, "warifu_store_running"), 1.0);
        assert_eq!(value(text, "warifu_accounts"), 1.0);
        assert!(value(text, "warifu_clock_skew_seconds").abs() < 5.0);
        assert!(value(text, "warifu_journal_syncs_total") >= 5.0);
        assert!(value(text, "warifu_vault_syncs_total") >= 3.0);
        assert!(value(text, "warifu_disk_free_bytes") > 1e6);
        assert_eq!(
            value(text, r#"warifu_blocks_sealed_total{kind="login"}"#),
            1.0
        );
        assert_eq!(
            value(text, r#"warifu_enrolments_total{outcome="founded"}"#),
            1.0
        );
    }
    let admitted = r#"warifu_logins_total{outcome="admitted",by="nobody"}"#;
    assert_eq!(value(&broker, admitted), 1.0);
    assert_eq!(value(&broker, "warifu_proposals_open"), 0.0);
    let steps = |text, names: &[&str]| {
        for step in names {
            let series = format!(r#"warifu_login_step_duration_seconds_count{{step="{step}"}}"#);
            assert_eq!(value(text, &series), 1.0, "{step}");
        }
    };
    let of_broker = [
        "prepare", "number", "assent", "lock", "endorse", "durable", "whole",
    ];
    steps(&broker, &of_broker);
    steps(&trust, &["commit", "seal"]);
    let devices = r#"warifu_peers_connected{role="device"}"#;
    assert_eq!(value(&broker, devices), 1.0);
    let begun = r#"warifu_http_requests_total{method="POST",route="/v1/logins",status="201"}"#;
    assert_eq!(value(&broker, begun), 1.0);

    check_logs(&net, &account, &ended, &[token(&net), uri, digits]);
    net.kill(Node::Broker);
    for _ in 0..100 {
        if ready().0 == 503 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let (status, why) = ready();
    assert_eq!(status, 503);
    assert!(why.contains("the line to the broker is down"), "{why}");
}
