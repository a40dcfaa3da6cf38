//! `warifu bench idle`: what a device that only keeps its line costs the broker.
//!
//! The broker is restarted after the enrolments, so that their heap is gone, and looked at before
//! any device has its line and again once all have had it for a while.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::json;

use super::{
    customers::Customers,
    enrol::{Services, enrol_all},
    files,
    measured::real,
    play, progress,
    stage::{Node, Stage, StageArgs},
    usage::rss_kib,
};
use crate::output::{Exit, Failure, Output};

/// How long all lines may take to come up.
const CONNECT: Duration = Duration::from_secs(180);
/// How long lines rest before the broker is looked at: its accounts leave RAM after 30 s.
pub(super) const SETTLE_S: u64 = 45;
/// How long a broker without lines rests.
const REST: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `warifu bench idle`.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Devices, each with a line of its own.
    #[arg(long, default_value_t = 2000)]
    pub(super) devices: usize,
    /// Seconds that all lines rest before the broker is looked at; an account that was just
    /// compared stays in RAM for 30.
    #[arg(long, default_value_t = SETTLE_S, value_name = "SECONDS")]
    pub(super) settle: u64,
    #[command(flatten)]
    pub(super) stage: StageArgs,
}

/// What was measured. docs/operating.md says what each field means.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    pub(super) devices: usize,
    pub(super) kib_per_idle_device: f64,
    pub(super) rss_mib: f64,
    pub(super) rss_mib_without_devices: f64,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let idle = measure(args)?;
    output.print(&json!(idle), || idle.table())
}

pub(super) fn measure(args: &Args) -> Result<Idle, Failure> {
    if args.devices == 0 {
        let text = "found --devices 0, expected at least one device";
        return Err(Failure::new(Exit::Usage, text));
    }
    files::allow(args.devices)?;
    play(&args.stage, 0, async |stage| act(stage, args).await)
}

async fn act(stage: &mut Stage, args: &Args) -> Result<Idle, Failure> {
    let devices = args.devices;
    stage.prepare(devices).await?;
    stage.start_operators().await?;
    stage.start_devices(devices).await?;
    let services: Services = Arc::new(stage.login_services()?);
    let customers = Customers::of(stage.devices()?)?;
    enrol_all(&services, &customers, devices).await?;
    drop(customers);
    stage.stop_devices().await;
    stage.stop_node(Node::Broker).await;
    stage.start(Node::Broker).await?;
    stage.wait_ready().await?;
    tokio::time::sleep(REST).await;
    let without = rss_kib(stage.node(Node::Broker)?.id()?)?;
    stage.start_devices(devices).await?;
    let customers = Customers::of(stage.devices()?)?;
    wait_for_lines(&customers, devices).await?;
    let bar = progress(
        "settling",
        usize::try_from(args.settle).unwrap_or(usize::MAX),
    );
    for _ in 0..args.settle {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
    bar.finish_and_clear();
    // A line that was lost meanwhile would make the devices look cheap.
    wait_for_lines(&customers, devices).await?;
    let with = rss_kib(stage.node(Node::Broker)?.id()?)?;
    let used = real(with.saturating_sub(without));
    Ok(Idle {
        devices,
        kib_per_idle_device: used / real(u64::try_from(devices).unwrap_or(u64::MAX)),
        rss_mib: real(with) / 1024.0,
        rss_mib_without_devices: real(without) / 1024.0,
    })
}

pub(super) async fn wait_for_lines(customers: &Customers, devices: usize) -> Result<(), Failure> {
    let bar = progress("lines", devices);
    let mut up = 0;
    let waiting = async {
        loop {
            up = customers.lines_up().await?;
            bar.set_position(u64::try_from(up).unwrap_or(u64::MAX));
            if up == devices {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = tokio::time::timeout(CONNECT, waiting).await;
    bar.finish_and_clear();
    waited.unwrap_or_else(|_| {
        let text = format!(
            "{up} of {devices} devices have their line after {} s",
            CONNECT.as_secs()
        );
        Err(Failure::new(Exit::Unreachable, text))
    })
}

impl Idle {
    /// For people.
    pub(super) fn table(&self) -> String {
        format!(
            "idle devices         {}\na device             {:.1} KiB\nbroker               {:.1} MiB \
             with them, {:.1} MiB without",
            self.devices, self.kib_per_idle_device, self.rss_mib, self.rss_mib_without_devices
        )
    }
}
