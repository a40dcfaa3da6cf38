//! `warifu bench hostile`: honest logins at a steady pace, in turn with and without hostile peers that hold
//! hundreds of connections and send as fast as they can.
//!
//! Both halves of a turn are measured in the same run, on the same processes, a few seconds apart: what is told
//! is how much longer the slowest hundredth of the logins took. The hostile peers are a process of their own at
//! the lowest priority, since a machine's processors are shared here by those who would not share one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    customers::{Customers, count},
    enrol::{Services, enrol_all},
    files,
    load::{Ends, Load},
    measured::{percentile, real},
    pipe::{Said, Told},
    play, progress,
    stage::{Node, Stage, StageArgs},
    usage::{Cpu, peak_kib},
};
use crate::output::{Exit, Failure, Output};

/// What is left out after hostile peers begin or end.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the hostile peers may take to say what they did.
const ANSWER: Duration = Duration::from_secs(30);
/// The slowest hundredth may take so much longer, by the median of all turns.
const MOST_RATIO: f64 = 2.0;
/// An operator may use so much memory, in MiB.
const MOST_MIB: f64 = 256.0;

/// Arguments of `warifu bench hostile`.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Honest logins that begin each second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(super) per_second: u64,
    /// Accounts of honest customers, each with a device of its own.
    #[arg(long, default_value_t = 64)]
    pub(super) accounts: usize,
    /// Connections of hostile peers whose keys nobody knows, half of them to each operator.
    #[arg(long, default_value_t = 500)]
    pub(super) connections: usize,
    /// Hostile peers with the key of an enrolled device.
    #[arg(long, default_value_t = 4)]
    pub(super) pinned: usize,
    /// How long each half of a turn is measured.
    #[arg(long, default_value_t = 8)]
    pub(super) seconds: u64,
    /// How often calm and hostile seconds alternate.
    #[arg(long, default_value_t = 5)]
    pub(super) turns: usize,
    #[command(flatten)]
    pub(super) stage: StageArgs,
}

/// One half of a turn.
#[derive(Clone, Debug, Serialize)]
struct Half {
    logins: usize,
    p50_ms: f64,
    p99_ms: f64,
    /// Processor time of both operators, as a part of one processor.
    operators_cpu: f64,
}

/// What was measured. docs/operating.md says what each field means.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Hostile {
    per_second: u64,
    connections: usize,
    pinned: usize,
    calm: Vec<Half>,
    hostile: Vec<Half>,
    p99_ratios: Vec<f64>,
    median_p99_ratio: f64,
    hostile_connections: u64,
    hostile_handshakes: u64,
    hostile_frames: u64,
    hostile_mib: f64,
    peak_mib: BTreeMap<&'static str, f64>,
    panics: usize,
    errors: u64,
    error_kinds: BTreeMap<String, u64>,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let per_account = args.per_second * 60 / u64::try_from(args.accounts.max(1)).unwrap_or(1);
    if args.pinned == 0 || args.turns == 0 || args.seconds == 0 || per_account > 100 {
        let text = format!(
            "found --pinned {} --turns {} --seconds {} --accounts {} for {} logins a second, expected at \
             least one of each, and at most 100 logins of an account in a minute",
            args.pinned, args.turns, args.seconds, args.accounts, args.per_second
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    files::allow(args.accounts + args.pinned + args.connections)?;
    let measured = play(&args.stage, 0, async |stage| act(stage, args).await)?;
    output.print(&measured, || measured.table())?;
    measured.verdict()
}

async fn act(stage: &mut Stage, args: &Args) -> Result<Hostile, Failure> {
    let all = args.accounts + args.pinned;
    stage.prepare(all).await?;
    stage.start_operators().await?;
    stage.start_devices(all).await?;
    let services: Services = Arc::new(stage.login_services()?);
    let customers = Customers::of(stage.devices()?)?;
    let mut pins = enrol_all(&services, &customers, all).await?;
    // The last devices change sides.
    drop(customers);
    stage.stop_devices().await;
    stage.start_devices(args.accounts).await?;
    pins.truncate(args.accounts);
    let customers = Customers::of(stage.devices()?)?;
    super::idle::wait_for_lines(&customers, args.accounts).await?;
    stage
        .start_hostile(args.accounts, args.pinned, args.connections)
        .await?;
    let pace = Duration::from_secs(1) / u32::try_from(args.per_second).unwrap_or(1);
    let mut load = Load::new(services, Arc::clone(&customers), pins);
    load.go_paced(pace);
    let mut measured = Hostile::of(args);
    let bar = progress("turns", 2 * args.turns);
    for _ in 0..args.turns {
        let calm = half(stage, &load, args, &mut measured).await?;
        measured.calm.push(calm);
        bar.inc(1);
        flood(stage, true, &mut measured).await?;
        let hostile = half(stage, &load, args, &mut measured).await?;
        measured.hostile.push(hostile);
        flood(stage, false, &mut measured).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    load.rest().await;
    measured.note(load.ends()?);
    for (reason, times) in customers.failures() {
        for _ in 0..times {
            count(&mut measured.error_kinds, format!("device: {reason}"));
        }
    }
    for node in Node::ALL {
        let peak = peak_kib(stage.node(node)?.id()?)?;
        measured.peak_mib.insert(node.name(), real(peak) / 1024.0);
        let log = stage.log(node)?;
        measured.panics += log.matches("panicked at").count();
    }
    measured.compare();
    Ok(measured)
}

/// Lets the nodes settle, then measures one half of a turn.
async fn half(
    stage: &Stage,
    load: &Load,
    args: &Args,
    measured: &mut Hostile,
) -> Result<Half, Failure> {
    tokio::time::sleep(SETTLE).await;
    measured.note(load.take_ends());
    let (begun, before) = (Instant::now(), cpus(stage)?);
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let (lasted, after) = (begun.elapsed(), cpus(stage)?);
    let ends = load.take_ends();
    let mut took: Vec<f64> = ends
        .admitted
        .iter()
        .map(|sample| sample.took.as_secs_f64() * 1e3)
        .collect();
    took.sort_by(f64::total_cmp);
    measured.note(ends);
    let used: u64 = before.iter().zip(&after).map(|(b, a)| a.since_ns(b)).sum();
    Ok(Half {
        logins: took.len(),
        p50_ms: percentile(&took, 50),
        p99_ms: percentile(&took, 99),
        operators_cpu: real(used) / 1e9 / lasted.as_secs_f64(),
    })
}

fn cpus(stage: &Stage) -> Result<Vec<Cpu>, Failure> {
    let of = |node| Cpu::of(stage.node(node)?.id()?);
    Node::ALL.into_iter().map(of).collect()
}

/// Begins or ends the flood, and notes what it did so far.
async fn flood(stage: &mut Stage, on: bool, measured: &mut Hostile) -> Result<(), Failure> {
    let process = stage.hostile()?;
    process.tell(&Told::Flood { on }).await?;
    let line = match &mut process.lines {
        Some(lines) => tokio::time::timeout(ANSWER, lines.next_line()).await,
        None => return Err(process.failed("has no pipes left")),
    };
    let said = match line {
        Ok(Ok(Some(line))) => serde_json::from_str(&line).ok(),
        _ => None,
    };
    let Some(Said::Flooded {
        connections,
        handshakes,
        frames,
        bytes,
    }) = said
    else {
        return Err(process.failed("does not say what it did"));
    };
    measured.hostile_connections = connections;
    measured.hostile_handshakes = handshakes;
    measured.hostile_frames = frames;
    measured.hostile_mib = real(bytes) / 1024.0 / 1024.0;
    Ok(())
}

impl Hostile {
    fn of(args: &Args) -> Self {
        Self {
            per_second: args.per_second,
            connections: args.connections,
            pinned: args.pinned,
            calm: Vec::new(),
            hostile: Vec::new(),
            p99_ratios: Vec::new(),
            median_p99_ratio: 0.0,
            hostile_connections: 0,
            hostile_handshakes: 0,
            hostile_frames: 0,
            hostile_mib: 0.0,
            peak_mib: BTreeMap::new(),
            panics: 0,
            errors: 0,
            error_kinds: BTreeMap::new(),
        }
    }

    /// Errors count whenever they come.
    fn note(&mut self, ends: Ends) {
        for (kind, times) in ends.errors {
            self.errors = self.errors.saturating_add(times);
            for _ in 0..times {
                count(&mut self.error_kinds, kind.clone());
            }
        }
    }

    fn compare(&mut self) {
        let turns = self.calm.iter().zip(&self.hostile);
        self.p99_ratios = turns
            .map(|(calm, hostile)| hostile.p99_ms / calm.p99_ms)
            .collect();
        let mut sorted = self.p99_ratios.clone();
        sorted.sort_by(f64::total_cmp);
        self.median_p99_ratio = percentile(&sorted, 50);
    }

    /// For people.
    fn table(&self) -> String {
        let mut rows = vec![format!(
            "{} logins/s, {} hostile connections and {} hostile devices\n\n\
             turn  calm p50   p99  hostile p50   p99  ratio  operators' cpu",
            self.per_second, self.connections, self.pinned
        )];
        let turns = self.calm.iter().zip(&self.hostile).zip(&self.p99_ratios);
        for (number, ((calm, hostile), ratio)) in turns.enumerate() {
            rows.push(format!(
                "{:4} {:6.1} ms {:5.1} {:8.1} ms {:6.1} {ratio:6.2}  {:.2}, {:.2}",
                number + 1,
                calm.p50_ms,
                calm.p99_ms,
                hostile.p50_ms,
                hostile.p99_ms,
                calm.operators_cpu,
                hostile.operators_cpu
            ));
        }
        rows.push(format!(
            "\nmedian ratio of p99   {:.2}, at most {MOST_RATIO} wanted",
            self.median_p99_ratio
        ));
        rows.push(format!(
            "hostile peers         {} connections, {} handshakes, {} frames, {:.0} MiB",
            self.hostile_connections,
            self.hostile_handshakes,
            self.hostile_frames,
            self.hostile_mib
        ));
        for (node, mib) in &self.peak_mib {
            rows.push(format!("memory, peak          {mib:.1} MiB {node}"));
        }
        rows.push(format!(
            "panics, errors        {}, {}",
            self.panics, self.errors
        ));
        for (kind, times) in &self.error_kinds {
            rows.push(format!("  {times} × {kind}"));
        }
        rows.join("\n")
    }

    /// A failure that names what was missed.
    fn verdict(&self) -> Result<(), Failure> {
        let mut missed = Vec::new();
        if self.median_p99_ratio.is_nan() || self.median_p99_ratio > MOST_RATIO {
            missed.push(format!(
                "p99 is {:.2} times the calm one, at most {MOST_RATIO} wanted",
                self.median_p99_ratio
            ));
        }
        for (node, mib) in &self.peak_mib {
            if *mib > MOST_MIB {
                missed.push(format!(
                    "the {node} used {mib:.0} MiB, at most {MOST_MIB} wanted"
                ));
            }
        }
        if self.panics > 0 {
            missed.push(format!("{} panics stand in the logs", self.panics));
        }
        if self.errors > 0 {
            missed.push(format!("{} honest logins were not admitted", self.errors));
        }
        if missed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Exit::Refused, missed.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(p99_ms: f64) -> Half {
        Half {
            logins: 400,
            p50_ms: 1.0,
            p99_ms,
            operators_cpu: 0.1,
        }
    }

    #[test]
    fn the_median_of_the_turns_decides_and_what_is_missed_is_named() {
        let mut measured = Hostile {
            per_second: 50,
            connections: 500,
            pinned: 4,
            calm: [10.0; 5].map(half).to_vec(),
            hostile: [10.0, 90.0, 15.0, 19.0, 90.0].map(half).to_vec(),
            p99_ratios: Vec::new(),
            median_p99_ratio: 0.0,
            hostile_connections: 0,
            hostile_handshakes: 0,
            hostile_frames: 0,
            hostile_mib: 0.0,
            peak_mib: BTreeMap::from([("broker", 40.0)]),
            panics: 0,
            errors: 0,
            error_kinds: BTreeMap::new(),
        };
        measured.compare();
        assert!((measured.median_p99_ratio - 1.9).abs() < 1e-9);
        measured.verdict().unwrap();
        measured.hostile[3].p99_ms = 21.0;
        measured.compare();
        measured.peak_mib.insert("broker", 300.0);
        (measured.panics, measured.errors) = (1, 3);
        let missed = measured.verdict().unwrap_err().message;
        for named in ["2.10 times", "300 MiB", "1 panics", "3 honest logins"] {
            assert!(missed.contains(named), "{missed}");
        }
    }
}
