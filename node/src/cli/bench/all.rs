//! `warifu bench all`: the set that a change is held against, as a table. Absolute times belong to
//! one machine at one moment; the ratios travel.

use std::{fmt::Write as _, path::PathBuf};

use serde_json::json;

use super::{
    idle::{self, Idle},
    logins,
    measured::Measured,
    stage::StageArgs,
};
use crate::output::{Exit, Failure, Output};

/// Arguments of `warifu bench all`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Also write the table to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Accounts of each run of logins.
    #[arg(long, default_value_t = 256)]
    accounts: usize,
    /// Logins at the same time in the loaded runs.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// How long each run of logins is measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How much slower each sync of the slowed run is, in milliseconds.
    #[arg(long, default_value_t = 5, value_name = "MS")]
    sync_delay_ms: u64,
    /// Devices of the idle run; 0 leaves it out.
    #[arg(long, default_value_t = 2000)]
    devices: usize,
    #[command(flatten)]
    stage: StageArgs,
}

struct Set {
    single: Measured,
    loaded: Measured,
    slowed: Measured,
    idle: Option<Idle>,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let logins = |in_flight, sync_delay_ms| {
        logins::measure(&logins::Args {
            accounts: args.accounts,
            in_flight,
            seconds: args.seconds,
            sync_delay_ms,
            stage: args.stage.clone(),
        })
    };
    let single = logins(1, 0)?;
    let loaded = logins(args.in_flight, 0)?;
    let slowed = logins(args.in_flight, args.sync_delay_ms)?;
    let idle = match args.devices {
        0 => None,
        devices => Some(idle::measure(&idle::Args {
            devices,
            settle: idle::SETTLE_S,
            stage: args.stage.clone(),
        })?),
    };
    let set = Set {
        single,
        loaded,
        slowed,
        idle,
    };
    let table = set.markdown();
    if let Some(path) = &args.markdown {
        std::fs::write(path, &table).map_err(|error| {
            Failure::new(
                Exit::Io,
                format!("could not write {}: {error}", path.display()),
            )
        })?;
    }
    let answer = json!({
        "single": set.single,
        "loaded": set.loaded,
        "slowed": set.slowed,
        "slowed_to_unslowed": set.slowed_to_unslowed(),
        "idle": set.idle,
    });
    output.print(&answer, || table)?;
    [&set.single, &set.loaded, &set.slowed]
        .into_iter()
        .try_for_each(Measured::verdict)
}

impl Set {
    fn slowed_to_unslowed(&self) -> f64 {
        self.slowed.logins_per_s / self.loaded.logins_per_s
    }

    fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", machine());
        text.push_str(
            "| in flight | sync delay | logins/s | p50 | p99 | CPU a login | floor | CPU ratio \
             | fsyncs a login | written a login | left a login | memory | errors |\n\
             |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for run in [&self.single, &self.loaded, &self.slowed] {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} ms | {:.1} | {:.1} ms | {:.1} ms | {:.0} µs | {:.0} µs | {:.2} | {:.2} \
                 | {:.0} B | {:.0} B | {:.1} MiB | {} |",
                run.in_flight,
                run.sync_delay_ms,
                run.logins_per_s,
                run.p50_ms,
                run.p99_ms,
                run.cpu_us_per_login,
                run.floor_cpu_us_per_login,
                run.cpu_ratio,
                run.fsyncs_per_login,
                run.disk_bytes_per_login,
                run.disk_growth_bytes_per_login,
                run.rss_mib,
                run.errors,
            );
        }
        text.push_str("\n| CPU a login | broker | trust operator | devices | login service |\n");
        text.push_str("|--|--:|--:|--:|--:|\n");
        for run in [&self.single, &self.loaded, &self.slowed] {
            let cpu = |role| {
                run.cpu_us_per_login_by_role
                    .get(role)
                    .copied()
                    .unwrap_or_default()
            };
            let _ = writeln!(
                text,
                "| {} in flight, {} ms | {:.0} µs | {:.0} µs | {:.0} µs | {:.0} µs |",
                run.in_flight,
                run.sync_delay_ms,
                cpu("broker"),
                cpu("trust_operator"),
                cpu("devices"),
                cpu("login_service"),
            );
        }
        let _ = writeln!(
            text,
            "\n- logins/s with syncs slowed by {} ms to unslowed: {:.2}",
            self.slowed.sync_delay_ms,
            self.slowed_to_unslowed()
        );
        if let Some(idle) = &self.idle {
            let _ = writeln!(
                text,
                "- an idle device costs the broker {:.1} KiB ({} devices: {:.1} MiB, without {:.1} MiB)",
                idle.kib_per_idle_device, idle.devices, idle.rss_mib, idle.rss_mib_without_devices
            );
        }
        text
    }
}

/// What the figures belong to.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, name)| name.trim());
    let profile = if cfg!(debug_assertions) {
        ", built without optimisation: its figures mean nothing"
    } else {
        ""
    };
    let version = env!("CARGO_PKG_VERSION");
    format!("warifu {version}{profile}, {cores} cores of {model}, all roles on one machine")
}
