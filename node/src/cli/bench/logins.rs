//! `warifu bench logins`: keeps logins in flight for some seconds and tells what one costs.
//!
//! The seconds are measured in slices with the floor between them: what a login costs is compared with
//! a floor of the same moments.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    customers::Customers,
    enrol::{Services, enrol_all},
    files,
    floor::FloorTimes,
    load::{Ends, Load},
    measured::Measured,
    play, progress, scrape,
    stage::{Node, Stage, StageArgs},
    usage::{Cpu, occupied_bytes, peak_kib, written_bytes},
};
use crate::output::{Exit, Failure, Output};

/// What is left out at the beginning of each slice.
const WARM_UP: Duration = Duration::from_secs(1);
/// The longest slice between two measurements of the floor.
const SLICE: Duration = Duration::from_secs(2);
/// Between two looks of the progress bar.
const TICK: Duration = Duration::from_millis(500);

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
    let run = play(&args.stage, args.sync_delay_ms, async |stage| {
        act(stage, args).await
    })?;
    Ok(Measured::of(args, run))
}

/// What came of all slices.
pub(super) struct Run {
    pub(super) slices: Vec<Slice>,
    pub(super) ends: Ends,
    /// What devices could not do.
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) peak_kib: u64,
}

/// A stretch of the load, from both ends, and the floor around it.
pub(super) struct Slice {
    pub(super) before: Moment,
    pub(super) after: Moment,
    pub(super) floor: FloorTimes,
}

/// What processes and disks had used at one moment.
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) cpu: Vec<(&'static str, Cpu)>,
    pub(super) nodes: Vec<NodeUse>,
}

/// Of one operator.
pub(super) struct NodeUse {
    pub(super) syncs: u64,
    pub(super) written: u64,
    pub(super) occupied: u64,
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

async fn act(stage: &mut Stage, args: &Args) -> Result<Run, Failure> {
    stage.prepare(args.accounts).await?;
    stage.start_operators().await?;
    stage.start_devices(args.accounts).await?;
    let services: Services = Arc::new(stage.login_services()?);
    let customers = Customers::of(stage.devices()?)?;
    let pins = enrol_all(&services, &customers, args.accounts).await?;
    let mut load = Load::new(services, Arc::clone(&customers), pins);
    let bar = progress(
        "logins",
        usize::try_from(args.seconds).unwrap_or(usize::MAX),
    );
    let total = Duration::from_secs(args.seconds);
    let (mut slices, mut done) = (Vec::new(), Duration::ZERO);
    let mut floor = floor_of(args.in_flight).await?;
    while done < total {
        load.go(args.in_flight);
        tokio::time::sleep(WARM_UP).await;
        let before = Moment::first(stage).await?;
        let end = before.at + SLICE.min(total - done);
        while let Some(left) = end.checked_duration_since(Instant::now())
            && !left.is_zero()
        {
            tokio::time::sleep(TICK.min(left)).await;
            bar.set_position((done + before.at.elapsed()).as_secs());
            bar.set_message(format!("s, {} logins", load.admitted()));
        }
        let after = Moment::last(stage).await?;
        load.rest().await;
        done += SLICE;
        let behind = floor_of(args.in_flight).await?;
        slices.push(Slice {
            before,
            after,
            floor: floor.and(&behind),
        });
        floor = behind;
    }
    let ends = load.ends()?;
    bar.finish_and_clear();
    let mut peak = 0;
    for node in Node::ALL {
        peak = peak.max(peak_kib(stage.node(node)?.id()?)?);
    }
    Ok(Run {
        slices,
        ends,
        failures: customers.failures(),
        peak_kib: peak,
    })
}

/// Not on the runtime's own threads: lines go on being kept alive meanwhile.
async fn floor_of(in_flight: usize) -> Result<FloorTimes, Failure> {
    let measured = tokio::task::spawn_blocking(move || FloorTimes::measure(in_flight)).await;
    measured.map_err(|error| Failure::from_error(Exit::Io, &error))?
}
