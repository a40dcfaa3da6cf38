//! `warifu bench logins`: keeps logins in flight for some seconds and tells what one costs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    customers::{Customers, count},
    enrol::{Services, enrol_all},
    files,
    floor::FloorTimes,
    load::{Ends, Load},
    play, progress, scrape,
    stage::{Node, Stage, StageArgs},
    usage::{Cpu, occupied_bytes, peak_kib, written_bytes},
};
use crate::output::{Exit, Failure, Output};

/// What is left out at the beginning.
const WARM_UP: Duration = Duration::from_secs(1);
/// Between two looks of the progress bar.
const TICK: Duration = Duration::from_millis(500);
/// Kinds of errors that are named.
const NAMED: usize = 5;

/// Arguments of `warifu bench logins`.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Accounts, each with a device of its own.
    #[arg(long, default_value_t = 256)]
    pub(super) accounts: usize,
    /// Logins open at the same time.
    #[arg(long, default_value_t = 64)]
    pub(super) in_flight: usize,
    /// How long to measure, after a second of warming up.
    #[arg(long, default_value_t = 10)]
    pub(super) seconds: u64,
    /// Makes every sync of both operators' journals and vaults so much slower, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(super) sync_delay_ms: u64,
    #[command(flatten)]
    pub(super) stage: StageArgs,
}

/// What was measured. docs/operating.md says what each field means.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) accounts: usize,
    pub(super) in_flight: usize,
    pub(super) seconds: f64,
    pub(super) sync_delay_ms: u64,
    pub(super) logins: usize,
    pub(super) logins_per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) cpu_us_per_login: f64,
    pub(super) cpu_us_per_login_by_role: BTreeMap<&'static str, f64>,
    pub(super) floor_cpu_us_per_login: f64,
    pub(super) floor_alone_cpu_us_per_login: f64,
    pub(super) cpu_ratio: f64,
    pub(super) fsyncs_per_login: f64,
    pub(super) disk_bytes_per_login: f64,
    pub(super) disk_growth_bytes_per_login: f64,
    pub(super) rss_mib: f64,
    pub(super) errors: u64,
    pub(super) error_kinds: BTreeMap<String, u64>,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let measured = measure(args)?;
    output.print(&measured, || measured.table())?;
    measured.verdict()
}

/// Runs one measurement from an empty directory to its removal.
pub(super) fn measure(args: &Args) -> Result<Measured, Failure> {
    if args.in_flight == 0 || args.seconds == 0 || args.accounts < args.in_flight {
        let text = format!(
            "found --accounts {} --in-flight {} --seconds {}, expected at least one login in flight, \
             one second, and an account for each login in flight",
            args.accounts, args.in_flight, args.seconds
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    files::allow(args.accounts)?;
    let mut floor = FloorTimes::default();
    floor.measure(args.in_flight)?;
    let window = play(&args.stage, args.sync_delay_ms, async |stage| {
        act(stage, args).await
    })?;
    floor.measure(args.in_flight)?;
    Ok(window.measured(args, floor.medians_us()))
}

/// What processes and disks had used at one moment.
struct Moment {
    at: Instant,
    cpu: Vec<(&'static str, Cpu)>,
    nodes: Vec<NodeUse>,
}

struct NodeUse {
    syncs: u64,
    written: u64,
    occupied: u64,
}

impl Moment {
    /// The begin: CPU time is read last, so that looking is not in what is measured.
    async fn first(stage: &mut Stage) -> Result<Moment, Failure> {
        let nodes = uses(stage).await?;
        let cpu = cpus(stage)?;
        let at = Instant::now();
        Ok(Moment { at, cpu, nodes })
    }

    /// The end: CPU time is read first.
    async fn last(stage: &mut Stage) -> Result<Moment, Failure> {
        let at = Instant::now();
        let cpu = cpus(stage)?;
        let nodes = uses(stage).await?;
        Ok(Moment { at, cpu, nodes })
    }
}

async fn uses(stage: &Stage) -> Result<Vec<NodeUse>, Failure> {
    let mut nodes = Vec::new();
    for node in Node::ALL {
        nodes.push(NodeUse {
            syncs: scrape::syncs(stage.metrics(node)).await?,
            written: written_bytes(stage.node(node)?.id()?)?,
            occupied: occupied_bytes(&stage.data(node)),
        });
    }
    Ok(nodes)
}

fn cpus(stage: &mut Stage) -> Result<Vec<(&'static str, Cpu)>, Failure> {
    Ok(vec![
        ("broker", Cpu::of(stage.node(Node::Broker)?.id()?)?),
        (
            "trust_operator",
            Cpu::of(stage.node(Node::TrustOperator)?.id()?)?,
        ),
        ("devices", Cpu::of(stage.devices()?.id()?)?),
        ("login_service", Cpu::of(std::process::id())?),
    ])
}

/// The measured seconds, from both ends.
struct Window {
    before: Moment,
    after: Moment,
    ends: Ends,
    /// What devices could not do.
    failures: BTreeMap<String, u64>,
    peak_kib: u64,
}

async fn act(stage: &mut Stage, args: &Args) -> Result<Window, Failure> {
    stage.prepare(args.accounts).await?;
    stage.start_operators().await?;
    stage.start_devices(args.accounts).await?;
    let services: Services = Arc::new(stage.login_services()?);
    let customers = Customers::of(stage.devices()?)?;
    let pins = enrol_all(&services, &customers, args.accounts).await?;
    let load = Load::start(services, Arc::clone(&customers), pins, args.in_flight);
    let bar = progress(
        "logins",
        usize::try_from(args.seconds).unwrap_or(usize::MAX),
    );
    tokio::time::sleep(WARM_UP).await;
    let before = Moment::first(stage).await?;
    let already = load.admitted();
    let end = before.at + Duration::from_secs(args.seconds);
    while let Some(left) = end.checked_duration_since(Instant::now())
        && !left.is_zero()
    {
        tokio::time::sleep(TICK.min(left)).await;
        bar.set_position(before.at.elapsed().as_secs());
        bar.set_message(format!("s, {} logins", load.admitted() - already));
    }
    let after = Moment::last(stage).await?;
    let ends = load.stop().await?;
    bar.finish_and_clear();
    let mut peak = 0;
    for node in Node::ALL {
        peak = peak.max(peak_kib(stage.node(node)?.id()?)?);
    }
    Ok(Window {
        before,
        after,
        ends,
        failures: customers.failures(),
        peak_kib: peak,
    })
}

/// For ratios and means: counts here stay far below 2^52.
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

fn counted(count: usize) -> f64 {
    real(u64::try_from(count).unwrap_or(u64::MAX))
}

/// `count` for each of `logins`; zero if there were none.
fn each(count: f64, logins: usize) -> f64 {
    if logins == 0 {
        0.0
    } else {
        count / counted(logins)
    }
}

impl Window {
    fn measured(self, args: &Args, (floor_alone_us, floor_us): (f64, f64)) -> Measured {
        let (from, to) = (self.before.at, self.after.at);
        let within = self
            .ends
            .admitted
            .iter()
            .filter(|s| s.ended > from && s.ended <= to);
        let mut took: Vec<f64> = within.map(|s| s.took.as_secs_f64() * 1e3).collect();
        took.sort_by(f64::total_cmp);
        let logins = took.len();
        let seconds = to.duration_since(from).as_secs_f64();
        let mut by_role = BTreeMap::new();
        for ((role, before), (_, after)) in self.before.cpu.iter().zip(&self.after.cpu) {
            by_role.insert(*role, each(real(after.since_ns(before)) / 1e3, logins));
        }
        let cpu: f64 = by_role.values().sum();
        let larger = |read: fn(&NodeUse) -> u64| {
            let nodes = self.before.nodes.iter().zip(&self.after.nodes);
            let used = nodes.map(|(before, after)| read(after).saturating_sub(read(before)));
            each(real(used.max().unwrap_or_default()), logins)
        };
        let mut kinds = self.ends.errors;
        let errors = kinds.values().sum();
        // A login that a device could not approve is among the errors already: this only says why.
        for (reason, times) in self.failures {
            for _ in 0..times {
                count(&mut kinds, format!("device: {reason}"));
            }
        }
        Measured {
            accounts: args.accounts,
            in_flight: args.in_flight,
            seconds,
            sync_delay_ms: args.sync_delay_ms,
            logins,
            logins_per_s: counted(logins) / seconds,
            p50_ms: percentile(&took, 50),
            p99_ms: percentile(&took, 99),
            cpu_us_per_login: cpu,
            cpu_us_per_login_by_role: by_role,
            floor_cpu_us_per_login: floor_us,
            floor_alone_cpu_us_per_login: floor_alone_us,
            cpu_ratio: cpu / floor_us,
            fsyncs_per_login: larger(|node| node.syncs),
            disk_bytes_per_login: larger(|node| node.written),
            disk_growth_bytes_per_login: larger(|node| node.occupied),
            rss_mib: real(self.peak_kib) / 1024.0,
            errors,
            error_kinds: kinds,
        }
    }
}

/// The smallest value that is not exceeded by `percent` of the sorted values (nearest rank).
pub(super) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

impl Measured {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![
            (
                "accounts, in flight",
                format!("{}, {}", self.accounts, self.in_flight),
            ),
            (
                "measured",
                format!("{:.1} s, {} logins", self.seconds, self.logins),
            ),
            ("sync delay", format!("{} ms", self.sync_delay_ms)),
            ("logins", format!("{:.1} /s", self.logins_per_s)),
            (
                "latency p50, p99",
                format!("{:.1} ms, {:.1} ms", self.p50_ms, self.p99_ms),
            ),
            ("cpu of a login", format!("{:.0} µs", self.cpu_us_per_login)),
        ];
        for (role, us) in &self.cpu_us_per_login_by_role {
            rows.push(("", format!("{us:.0} µs {}", role.replace('_', " "))));
        }
        rows.extend([
            (
                "floor of a login",
                format!("{:.0} µs", self.floor_cpu_us_per_login),
            ),
            ("cpu to floor", format!("{:.2}", self.cpu_ratio)),
            ("syncs of a login", format!("{:.2}", self.fsyncs_per_login)),
            (
                "written to disk",
                format!("{:.0} bytes a login", self.disk_bytes_per_login),
            ),
            (
                "left on disk",
                format!("{:.0} bytes a login", self.disk_growth_bytes_per_login),
            ),
            ("memory, peak", format!("{:.1} MiB", self.rss_mib)),
            ("errors", self.errors.to_string()),
        ]);
        let rows: Vec<String> = rows
            .iter()
            .map(|(name, value)| format!("{name:20} {value}"))
            .collect();
        rows.join("\n")
    }

    /// A failure that names what went wrong, if anything did.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.errors == 0 && self.logins > 0 {
            return Ok(());
        }
        let mut kinds: Vec<_> = self.error_kinds.iter().collect();
        kinds.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let named = kinds
            .iter()
            .take(NAMED)
            .map(|(kind, times)| format!("\n  {times} × {kind}"));
        let text = format!(
            "{} logins were not admitted, {} were{}",
            self.errors,
            self.logins,
            named.collect::<String>()
        );
        Err(Failure::new(Exit::Refused, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            [50, 99, 100].map(|p| percentile(&values, p)),
            [100.0, 198.0, 200.0]
        );
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
