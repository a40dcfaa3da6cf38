//! `warifu bench log`: how much the global log bears, apart from the logins that feed it.
//!
//! Two operators as processes of their own, each with journal, vault and line as a node has them, seal blocks that
//! both make by themselves; the trust operator first, as it is in a login. Told is how many a second got a leaf and a
//! checkpoint with both signatures, how long each took from durable at the broker until its proof could be made,
//! and what the log holds on both disks. Then, in this process, what an append and a proof cost at two sizes.

mod blocks;
mod side;
mod sizes;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use serde::Serialize;

use super::{
    marker,
    measured::real,
    pipe::{LogBytes, LogTimes, Said, Told},
    process::Process,
    progress,
    stage::StageArgs,
    unless_stopped,
    usage::{Cpu, peak_kib},
};
use crate::{
    cli::block_on,
    output::{Exit, Failure, Output},
};
pub(super) use side::{Args as SideArgs, run as run_side};
use sizes::Sizes;

/// Between two rounds of feeding.
const PACE: Duration = Duration::from_millis(10);
/// Fed before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Blocks without a cosigned leaf while as much is fed as the log takes.
const BACKLOG: u64 = 1024;
/// Where both operators' keys and blocks come from.
const SEED: u64 = 1;

/// What is wanted of each figure, on two processors.
const LEAST_PER_S: f64 = 2000.0;
const MOST_P99_MS: f64 = 1000.0;
const MOST_BYTES: f64 = 120.0;
const MOST_PROOF_BYTES: usize = 1400;
const MOST_APPEND_RATIO: f64 = 1.2;
const MOST_PROOF_RATIO: f64 = 1.8;

/// Arguments of `warifu bench log`.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Blocks a second while they come at a pace.
    #[arg(long, default_value_t = 2200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// How long each half is measured: at that pace, and as fast as the log takes them.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Accounts whose blocks they are.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    accounts: u64,
    /// Leaves of the small log that a large one is compared with.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    small: u64,
    /// Leaves of the large one, about 35 bytes of disk each.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    large: u64,
    #[command(flatten)]
    stage: StageArgs,
}

/// One half.
#[derive(Clone, Debug, Serialize)]
struct Half {
    seconds: f64,
    blocks: usize,
    appends_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    proofs: usize,
    prove_p50_us: f64,
    prove_p99_us: f64,
    broker_cpu_us: f64,
    trust_operator_cpu_us: f64,
}

/// What the log holds at one operator, in bytes for each block.
#[derive(Clone, Debug, Serialize)]
struct Held {
    blocks: u64,
    leaves_per_batch: f64,
    block_itself: f64,
    stream: f64,
    files: f64,
    openers: f64,
    index: f64,
    bytes_per_block: f64,
}

/// What was measured. docs/operating.md says what each field means.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    rate: u64,
    accounts: u64,
    paced: Half,
    full: Half,
    broker: Held,
    trust_operator: Held,
    peak_mib: [f64; 2],
    sizes: Sizes,
    missed: Vec<String>,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let measured = measure(args)?;
    output.print(&measured, || measured.table())
}

fn measure(args: &Args) -> Result<Measured, Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("warifu-bench-");
    let dir = match &args.stage.dir {
        Some(dir) => builder.tempdir_in(dir),
        None => builder.tempdir(),
    };
    let dir = dir.map_err(|error| Failure::from_error(Exit::Io, &error))?;
    block_on(async {
        let (mut pair, feeding) = (None, dir.path());
        let fed = unless_stopped(async {
            let pair = pair.insert(Pair::start(feeding, args.accounts).await?);
            pair.act(args).await
        })
        .await;
        if let Some(pair) = pair {
            pair.stop().await;
        }
        let (halves, held, peak_mib) = fed?;
        let (at, small, large) = (dir.path().to_path_buf(), args.small, args.large);
        let sizes = tokio::task::spawn_blocking(move || sizes::measure(&at, small, large, SEED));
        let sizes = unless_stopped(async {
            sizes
                .await
                .map_err(|error| Failure::from_error(Exit::Io, &error))?
        });
        let [paced, full] = halves;
        let [broker, trust_operator] = held.map(|bytes| Held::of(&bytes));
        let mut measured = Measured {
            rate: args.rate,
            accounts: args.accounts,
            paced,
            full,
            broker,
            trust_operator,
            peak_mib,
            sizes: sizes.await?,
            missed: Vec::new(),
        };
        measured.missed = measured.missed();
        Ok(measured)
    })
}

/// Both operators.
struct Pair {
    broker: Process,
    trust_operator: Process,
    /// Sealed at the trust operator, and at both.
    fed: [u64; 2],
    cosigned: u64,
}

impl Pair {
    async fn start(dir: &Path, accounts: u64) -> Result<Self, Failure> {
        let marker = marker::make(dir)?;
        let (trust_operator, address) =
            side(dir, "trust operator", &marker, accounts, None).await?;
        let (broker, _) = side(dir, "broker", &marker, accounts, Some(address)).await?;
        Ok(Self {
            broker,
            trust_operator,
            fed: [0, 0],
            cosigned: 0,
        })
    }

    async fn stop(self) {
        tokio::join!(self.broker.stop(), self.trust_operator.stop());
    }

    async fn act(&mut self, args: &Args) -> Result<([Half; 2], [LogBytes; 2], [f64; 2]), Failure> {
        self.feed(WARM_UP, |fed, _, since| paced(args.rate, fed, since))
            .await?;
        let length = Duration::from_secs(args.seconds);
        let paced = self.half(length, |fed, _, since| paced(args.rate, fed, since));
        let paced = paced.await?;
        let full = self
            .half(length, |_, cosigned, _| cosigned + BACKLOG)
            .await?;
        self.settle().await?;
        let held = [
            bytes(&mut self.broker).await?,
            bytes(&mut self.trust_operator).await?,
        ];
        let peak = |process: &Process| Ok(real(peak_kib(process.id()?)?) / 1024.0);
        let peaks = [peak(&self.broker)?, peak(&self.trust_operator)?];
        Ok(([paced, full], held, peaks))
    }

    /// Feeds for a while and tells what became of it; begins with nothing that waits.
    async fn half(
        &mut self,
        length: Duration,
        until: impl Fn(u64, u64, Duration) -> u64,
    ) -> Result<Half, Failure> {
        self.settle().await?;
        let ids = [self.broker.id()?, self.trust_operator.id()?];
        let [broker, trust_operator] = [Cpu::of(ids[0])?, Cpu::of(ids[1])?];
        let began = Instant::now();
        self.feed(length, until).await?;
        let times = ask_times(&mut self.broker, &Told::CatchUp).await?;
        let blocks = real(u64::try_from(times.blocks).unwrap_or(u64::MAX).max(1));
        let cpu = |id, before: &Cpu| Ok(real(Cpu::of(id)?.since_ns(before)) / 1e3 / blocks);
        Ok(Half {
            // Until the last of them was cosigned.
            appends_per_s: blocks / began.elapsed().as_secs_f64(),
            broker_cpu_us: cpu(ids[0], &broker)?,
            trust_operator_cpu_us: cpu(ids[1], &trust_operator)?,
            seconds: times.seconds,
            blocks: times.blocks,
            p50_ms: times.p50_ms,
            p99_ms: times.p99_ms,
            max_ms: times.max_ms,
            proofs: times.proofs,
            prove_p50_us: times.prove_p50_us,
            prove_p99_us: times.prove_p99_us,
        })
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        ask_times(&mut self.broker, &Told::CatchUp).await?;
        ask_times(&mut self.trust_operator, &Told::CatchUp).await?;
        Ok(())
    }

    /// Seals at the trust operator, and while it seals the next ones, at the broker what it sealed.
    async fn feed(
        &mut self,
        length: Duration,
        until: impl Fn(u64, u64, Duration) -> u64,
    ) -> Result<(), Failure> {
        let (began, [_, from]) = (Instant::now(), self.fed);
        let bar = progress("seconds", usize::try_from(length.as_secs()).unwrap_or(0));
        let mut rounds = tokio::time::interval(PACE);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while began.elapsed() < length {
            rounds.tick().await;
            let wanted = until(from, self.cosigned, began.elapsed());
            self.round(wanted).await?;
            bar.set_position(began.elapsed().as_secs());
        }
        let [ahead, _] = self.fed;
        self.round(ahead).await?;
        bar.finish_and_clear();
        Ok(())
    }

    async fn round(&mut self, wanted: u64) -> Result<(), Failure> {
        let [ahead, _] = self.fed;
        let next = wanted.max(ahead);
        let (sealed, both) = tokio::join!(
            fed(&mut self.trust_operator, next),
            fed(&mut self.broker, ahead)
        );
        sealed?;
        self.cosigned = both?;
        self.fed = [next, ahead];
        Ok(())
    }
}

fn paced(rate: u64, from: u64, since: Duration) -> u64 {
    let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    from + rate.saturating_mul(ms) / 1000
}

async fn side(
    dir: &Path,
    name: &'static str,
    marker: &str,
    accounts: u64,
    dial: Option<String>,
) -> Result<(Process, String), Failure> {
    let (seed, accounts) = (SEED.to_string(), accounts.to_string());
    let mut arguments: Vec<OsString> = vec!["bench".into(), "log-side".into()];
    let dir_text: PathBuf = dir.to_path_buf();
    arguments.extend(["--dir".into(), dir_text.into_os_string()]);
    arguments.extend(["--seed", &seed, "--accounts", &accounts].map(OsString::from));
    if let Some(address) = dial {
        arguments.extend(["--dial".into(), address.into()]);
    }
    let log = dir.join(format!("{name}.log"));
    let mut process = Process::spawn(name, arguments, log)?;
    let marker = marker.to_owned();
    match ask(&mut process, &Told::Marker { marker }).await? {
        Said::Listening { address } => Ok((process, address)),
        _ => Err(process.failed("said something else than that it is ready")),
    }
}

async fn ask(process: &mut Process, told: &Told) -> Result<Said, Failure> {
    process.tell(told).await?;
    let line = process.first_line().await?;
    serde_json::from_str(&line).map_err(|_| process.failed("said what is not understood"))
}

async fn fed(process: &mut Process, until: u64) -> Result<u64, Failure> {
    match ask(process, &Told::Feed { until }).await? {
        Said::Fed { cosigned, .. } => Ok(cosigned),
        _ => Err(process.failed("sealed nothing")),
    }
}

async fn ask_times(process: &mut Process, told: &Told) -> Result<LogTimes, Failure> {
    match ask(process, told).await? {
        Said::Times(times) => Ok(times),
        _ => Err(process.failed("told no times")),
    }
}

async fn bytes(process: &mut Process) -> Result<LogBytes, Failure> {
    match ask(process, &Told::Bytes).await? {
        Said::Bytes(bytes) => Ok(bytes),
        _ => Err(process.failed("told no bytes")),
    }
}

impl Held {
    fn of(bytes: &LogBytes) -> Self {
        let each = |all: u64| real(all) / real(bytes.blocks.max(1));
        Self {
            blocks: bytes.blocks,
            leaves_per_batch: real(bytes.blocks) / real(bytes.batches.max(1)),
            block_itself: each(bytes.sealed),
            stream: each(bytes.stream),
            files: each(bytes.files),
            openers: each(bytes.openers),
            index: each(bytes.index),
            bytes_per_block: bytes.per_block(),
        }
    }
}

impl Measured {
    /// Figures that are worse than wanted, in words.
    fn missed(&self) -> Vec<String> {
        let held = self.broker.bytes_per_block;
        let held = held.max(self.trust_operator.bytes_per_block);
        let sizes = &self.sizes;
        let mut missed = Vec::new();
        let mut check = |is_met: bool, text: String| {
            if !is_met {
                missed.push(text);
            }
        };
        let (rate, p99) = (self.full.appends_per_s, self.full.p99_ms);
        check(
            rate >= LEAST_PER_S && p99 <= MOST_P99_MS,
            format!(
                "{rate:.0} appends/s with a p99 of {p99:.0} ms, wanted {LEAST_PER_S} within {MOST_P99_MS}"
            ),
        );
        check(
            self.paced.p99_ms <= MOST_P99_MS,
            format!(
                "at a pace the p99 is {:.0} ms, wanted {MOST_P99_MS}",
                self.paced.p99_ms
            ),
        );
        check(
            held <= MOST_BYTES,
            format!("{held:.0} bytes a block, wanted {MOST_BYTES}"),
        );
        check(
            sizes.proof_bytes <= MOST_PROOF_BYTES,
            format!(
                "a proof has {} bytes, wanted {MOST_PROOF_BYTES}",
                sizes.proof_bytes
            ),
        );
        check(
            sizes.append_ratio <= MOST_APPEND_RATIO,
            format!(
                "append grows by {:.2}, wanted {MOST_APPEND_RATIO}",
                sizes.append_ratio
            ),
        );
        check(
            sizes.proof_ratio <= MOST_PROOF_RATIO,
            format!(
                "a proof grows by {:.2}, wanted {MOST_PROOF_RATIO}",
                sizes.proof_ratio
            ),
        );
        missed
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let half = |name: &str, half: &Half| {
            format!(
                "{name:<15}{:>9.0} appends/s   p50 {:>6.1} ms   p99 {:>6.1} ms   max {:>6.1} ms   CPU {:.0} + {:.0} µs each\n",
                half.appends_per_s,
                half.p50_ms,
                half.p99_ms,
                half.max_ms,
                half.broker_cpu_us,
                half.trust_operator_cpu_us
            )
        };
        let held = |name: &str, held: &Held| {
            format!(
                "{name:<15}{:>9.1} B a block   stream {:.1}, files {:.1}, openers {:.1}, index {:.1}; {:.0} leaves a batch\n",
                held.bytes_per_block,
                held.stream,
                held.files,
                held.openers,
                held.index,
                held.leaves_per_batch
            )
        };
        let sizes = &self.sizes;
        let mut text = half("at a pace", &self.paced);
        text += &half("full", &self.full);
        text += &held("broker", &self.broker);
        text += &held("trust operator", &self.trust_operator);
        text += &format!(
            "append         ×{:.2} by CPU, ×{:.2} by the clock   proof ×{:.2}   {} B at {} leaves",
            sizes.append_ratio,
            sizes.append_wall_ratio,
            sizes.proof_ratio,
            sizes.proof_bytes,
            sizes.proof_leaves
        );
        for missed in &self.missed {
            text += "\nmissed         ";
            text += missed;
        }
        text
    }
}
