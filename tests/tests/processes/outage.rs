//! How long the operators' line is down after one of them was killed and started again.

use std::{thread, time::Duration};

use warifu_tests::processes::{Node, Testnet};

use super::warifu;

/// A session this old is no simultaneous dial any more (5 s).
const SETTLED: Duration = Duration::from_secs(6);

/// Time from the moment that a killed operator says it is up until logins are possible.
#[expect(clippy::disallowed_methods, reason = "a stopwatch")]
fn outage(net: &mut Testnet, node: Node) -> Duration {
    net.kill(node);
    net.start(node).unwrap();
    let up = std::time::Instant::now();
    net.wait_ready().unwrap();
    up.elapsed()
}

/// The trust operator dials the broker too.
fn dial_both_ways(net: &Testnet) {
    let address = |node: Node| {
        let text = std::fs::read_to_string(net.node(node).join("warifu.toml")).unwrap();
        let line = text.lines().find(|l| l.starts_with("announce"));
        line.unwrap().split_once('=').unwrap().1.trim().to_owned()
    };
    let path = net.node(Node::TrustOperator).join("warifu.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let dialled = format!("broker_addresses = {}", address(Node::Broker));
    let text = text.replace("broker_addresses = []", &dialled);
    assert!(text.contains(&dialled));
    std::fs::write(&path, text).unwrap();
}

#[test]
fn the_operators_line_is_back_at_once() {
    for both_ways in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut net = Testnet::init(warifu(), dir.path(), 60).unwrap();
        if both_ways {
            dial_both_ways(&net);
        }
        net.start(Node::TrustOperator).unwrap();
        net.start(Node::Broker).unwrap();
        net.wait_ready().unwrap();
        let mut outages = Vec::new();
        for node in [
            Node::TrustOperator,
            Node::Broker,
            Node::Broker,
            Node::TrustOperator,
        ] {
            outages.push((node, "young", outage(&mut net, node)));
        }
        for node in [Node::Broker, Node::TrustOperator] {
            thread::sleep(SETTLED);
            outages.push((node, "settled", outage(&mut net, node)));
        }
        println!("both ways {both_ways}: {outages:?}");
        let mut times: Vec<Duration> = outages.iter().map(|(.., time)| *time).collect();
        times.sort();
        // A busy machine may delay one of them; no rule of the line may delay most of them.
        assert!(
            times[times.len() / 2] < Duration::from_secs(2),
            "{outages:?}"
        );
    }
}
