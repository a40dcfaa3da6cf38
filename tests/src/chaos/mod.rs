//! Real processes under faults: three nodes behind a fault proxy, killed, stopped and cut off while customers
//! log in; then healed, asked for life, stopped, and audited from outside.
//!
//! [`run`] judges: every acknowledged login stands once in both operators' chains, with three votes; nothing
//! that the device denied was sealed; no chain forks; no party took itself for restored or blamed another, for
//! all are honest; no process panicked; each stopped by itself; and every account logs in again afterwards.

pub mod audit;
mod customers;
pub mod proxy;
pub mod storm;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::Instant};
use warifu_client_sdk::login_service::Pin;
use warifu_simulator::chance::Chance;

pub use customers::{Acknowledged, Customers, Met, Mood};
use storm::{Counts, Link, Links, Storm};

use crate::processes::{Node, Testnet, Warifu};

/// What went wrong, for people.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Seconds that a proposal lives: a login that was cut off must not hold its account for long.
const LIFETIME_S: u64 = 8;
/// How long an account may take to log in again once all is healed: a lock's `exp`, 30 s of grace, and the
/// longest pauses of lines (30 s) and broker (16 s).
const LIFE: Duration = Duration::from_secs(120);
/// How long customers may take to hear the end of what they have open.
const LAST_ENDS: Duration = Duration::from_secs(90);
/// Purposes of the seed's streams.
const STORM: u8 = 1;
const CUSTOMERS: u8 = 2;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// The command.
    pub warifu: Warifu,
    /// An empty directory, for the nodes' directories and logs.
    pub dir: PathBuf,
    /// Decides the faults, and the customers' moods.
    pub seed: u64,
    /// How long faults come.
    pub lasts: Duration,
    /// How many customers log in.
    pub accounts: usize,
}

/// What came of a run in which nothing was wrong.
#[derive(Debug, Clone)]
pub struct Figures {
    counts: Counts,
    lasted: Duration,
    met: Met,
    blocks: usize,
    carried: u64,
    healed_in: Duration,
}

impl Figures {
    /// Logins that were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.met.acknowledged.len()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            kills,
            stops,
            cuts,
            stalls,
            slow,
        } = self.counts;
        write!(
            f,
            "{:.1} min: {} logins acknowledged, {} refused, {} expired, {} unanswered; {kills} kills, {stops} \
             stops, {cuts} cuts, {stalls} stalls, {slow} slow lines, {} KiB carried; all accounts live again \
             {:.1} s after the last fault; {} blocks audited, lost 0, twice 0, unproven 0, forked 0",
            self.lasted.as_secs_f64() / 60.0,
            self.met.acknowledged.len(),
            self.met.refused,
            self.met.expired,
            self.met.unanswered,
            self.carried / 1024,
            self.healed_in.as_secs_f64(),
            self.blocks,
        )
    }
}

/// What was wrong, and what had happened until then.
#[derive(Debug)]
pub struct Failure {
    /// Each a sentence.
    pub wrong: Vec<String>,
    /// Faults with their times.
    pub story: Vec<String>,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self {
            wrong: vec![trouble.to_string()],
            story: Vec::new(),
        }
    }
}

/// Plays once. `progress` is called with a line now and then.
///
/// # Errors
/// [`Failure`]; the directories stay as they are.
pub async fn run(options: &Options, mut progress: impl FnMut(&str)) -> Result<Figures, Failure> {
    progress("starting and enrolling");
    let (net, links) = start(options).await?;
    let customers = Customers::of(&net, &net.node(Node::Device))?;
    let mut pins = Vec::new();
    for number in 0..options.accounts {
        pins.push(customers.enrol(&format!("customer {number}")).await?);
    }
    let net = separate_lines(net, &links).map_err(Failure::from)?;
    let mut storm = Storm::over(net, links, Chance::new(options.seed, STORM));
    let begun = Instant::now();
    let raged = rage(options, &mut storm, &customers, &pins, &mut progress).await;
    let lasted = begun.elapsed();
    let mut wrong = Vec::new();
    let mut healed_in = Duration::ZERO;
    match raged {
        Ok(healed) => {
            progress("healed; every account logs in again");
            wrong.extend(live(&customers, &pins).await);
            healed_in = healed.elapsed();
        }
        Err(trouble) => wrong.push(trouble.to_string()),
    }
    let (mut net, links, counts, story) = storm.over_with();
    progress("stopping and auditing");
    if !tokio::task::block_in_place(|| net.stop_all()) {
        wrong.push("a node did not stop by itself".to_owned());
    }
    let met = customers.told();
    wrong.extend(
        met.wrong
            .iter()
            .map(|what| format!("a customer met: {what}")),
    );
    let blocks = tokio::task::block_in_place(|| audit_all(&net, &met, &mut wrong));
    if wrong.is_empty() {
        let carried = Link::ALL.into_iter().map(|link| links.of(link).carried());
        return Ok(Figures {
            counts,
            lasted,
            met,
            blocks,
            carried: carried.sum(),
            healed_in,
        });
    }
    Err(Failure { wrong, story })
}

/// Three nodes, of which devices learn addresses behind the proxies.
async fn start(options: &Options) -> Result<(Testnet, Links), Trouble> {
    let net = Testnet::init(options.warifu.clone(), &options.dir, LIFETIME_S)?;
    let links = Links::start(
        socket(&net.get(Node::Broker, "listen")?)?,
        socket(&net.get(Node::TrustOperator, "listen")?)?,
    )
    .await?;
    let at = |link| address(links.of(link).port());
    net.set(Node::Broker, "announce", &at(Link::DeviceToBroker))?;
    // Tickets carry these addresses, and the broker dials them.
    let to_trust_operator = at(Link::DeviceToTrustOperator);
    net.set(Node::Broker, "trust_operator_addresses", &to_trust_operator)?;
    for node in Node::ALL {
        net.set(node, "log_format", "\"json\"")?;
    }
    // Six customers who are cut off begin often.
    for field in [
        "begins_per_minute_per_account",
        "begins_per_minute_per_network",
    ] {
        net.set(Node::Broker, field, "6000")?;
    }
    let mut net = net;
    tokio::task::block_in_place(|| net.start_all())?;
    Ok((net, links))
}

/// After the enrolments, the operators' own line gets its own proxy.
fn separate_lines(mut net: Testnet, links: &Links) -> Result<Testnet, Trouble> {
    tokio::task::block_in_place(|| {
        if net.stop(Node::Broker) != Some(0) {
            return Err("the broker did not stop by itself before the storm".into());
        }
        let own = address(links.of(Link::Operators).port());
        net.set(Node::Broker, "trust_operator_addresses", &own)?;
        net.start(Node::Broker)?;
        net.wait_ready()?;
        Ok(net)
    })
}

/// An address in TOML: a list of one.
fn address(port: u16) -> String {
    format!("[\"/ip4/127.0.0.1/tcp/{port}\"]")
}

/// The socket of such a list.
fn socket(list: &str) -> Result<SocketAddr, Trouble> {
    let text = list.trim_matches(['[', ']', '"', ' ']);
    let mut parts = text.split('/').skip(2).step_by(2);
    match (parts.next(), parts.next()) {
        (Some(ip), Some(port)) => Ok(format!("{ip}:{port}").parse()?),
        _ => Err(format!("{text} is no address of TCP").into()),
    }
}

/// Customers log in while faults come; afterwards they wait for what they have open. When all was healed.
async fn rage(
    options: &Options,
    storm: &mut Storm,
    customers: &Arc<Customers>,
    pins: &[Pin],
    progress: &mut impl FnMut(&str),
) -> Result<Instant, Trouble> {
    let (stop, stopped) = watch::channel(false);
    let mut logging_in = JoinSet::new();
    for (number, pin) in pins.iter().enumerate() {
        let mut chance = Chance::new(options.seed, CUSTOMERS);
        for _ in 0..number {
            chance.bytes::<8>();
        }
        let own = Chance::new(chance.below(u64::MAX), CUSTOMERS);
        let (customers, pin, stopped) = (Arc::clone(customers), *pin, stopped.clone());
        logging_in.spawn(async move { customers.keep_logging_in(pin, own, stopped).await });
    }
    let begun = Instant::now();
    let raged = storm
        .rage(options.lasts, |counts| {
            let Counts {
                kills,
                stops,
                cuts,
                stalls,
                slow,
            } = counts;
            progress(&format!(
                "{:.0} of {:.0} s, {} logins acknowledged, {kills} kills, {stops} stops, {cuts} cuts, \
                 {stalls} stalls, {slow} slow",
                begun.elapsed().as_secs_f64(),
                options.lasts.as_secs_f64(),
                customers.told().acknowledged.len(),
            ));
        })
        .await;
    stop.send_replace(true);
    raged?;
    let healed = Instant::now();
    storm.heal()?;
    let last = async { while logging_in.join_next().await.is_some() {} };
    tokio::time::timeout(LAST_ENDS, last)
        .await
        .map_err(|_| format!("a customer heard no end of a login in {LAST_ENDS:?}"))?;
    Ok(healed)
}

/// Every account logs in once more; the sentences about those that don't.
async fn live(customers: &Arc<Customers>, pins: &[Pin]) -> Vec<String> {
    let mut trying = JoinSet::new();
    for pin in pins.iter().copied() {
        let customers = Arc::clone(customers);
        trying.spawn(async move {
            let tries = async {
                while !customers.log_in(pin, Mood::Approves).await {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            };
            let lived = tokio::time::timeout(LIFE, tries).await;
            lived.map_err(|_| format!("account {} is stuck: no login in {LIFE:?}", pin.account))
        });
    }
    let mut stuck = Vec::new();
    while let Some(lived) = trying.join_next().await {
        match lived {
            Ok(Ok(())) => {}
            Ok(Err(what)) => stuck.push(what),
            Err(error) => stuck.push(error.to_string()),
        }
    }
    stuck
}

/// Reads all three directories; adds what is wrong, and gives the number of blocks.
fn audit_all(net: &Testnet, met: &Met, wrong: &mut Vec<String>) -> usize {
    let mut chains = Vec::new();
    for node in [Node::Device, Node::Broker, Node::TrustOperator] {
        match read(net, node) {
            Ok(read) => chains.push(read),
            Err(trouble) => wrong.push(trouble.to_string()),
        }
        wrong.extend(look_at_log(net, node));
    }
    let [device, broker, trust_operator] = &chains[..] else {
        return 0;
    };
    let verdict = audit::judge(
        &met.acknowledged,
        &met.denied,
        device,
        broker,
        trust_operator,
    );
    let all = [
        ("lost", &verdict.lost),
        ("twice", &verdict.twice),
        ("denied and sealed", &verdict.denied),
        ("forked", &verdict.forks),
    ];
    for (what, found) in all {
        wrong.extend(found.iter().map(|which| format!("{what}: {which}")));
    }
    for block in trust_operator.values().flatten() {
        if block.kind == "restored" {
            wrong.push(format!(
                "block {} says that somebody was restored",
                block.hash
            ));
        }
    }
    verdict.blocks
}

/// What a directory holds, which `warifu ledger verify` must accept too.
fn read(net: &Testnet, node: Node) -> Result<audit::Chains, Trouble> {
    let dir = net.node(node).display().to_string();
    let export = net.warifu.text(["ledger", "export", &dir])?;
    let file = net.dir.join(format!("{}.export.jsonl", node.name()));
    std::fs::write(&file, &export)?;
    let file = file.display().to_string();
    net.warifu
        .text(["ledger", "verify", &file, "--ledger", &net.ledger()])?;
    Ok(audit::read_export(node.name(), &export)?)
}

/// Lines that no honest, healthy party writes.
fn look_at_log(net: &Testnet, node: Node) -> Vec<String> {
    let bad = ["panicked at", "\"message\":\"fault\"", "restored copy"];
    let log = match net.log(node) {
        Ok(log) => log,
        Err(failed) => return vec![failed.to_string()],
    };
    let named = |line: &&str| bad.iter().any(|bad| line.contains(bad));
    let lines = log.lines().filter(named).take(5);
    lines
        .map(|line| format!("the {}'s log says {line}", node.name()))
        .collect()
}

/// Where a run's data lie, relative to its directory: what to look at after a failure.
#[must_use]
pub fn remains(dir: &Path) -> String {
    format!(
        "{0}/device, {0}/broker, {0}/trust-operator, {0}/*.log",
        dir.display()
    )
}
