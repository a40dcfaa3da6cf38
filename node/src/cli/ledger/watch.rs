//! `warifu ledger watch`: both operators' logs, followed.

use std::{path::PathBuf, time::Duration};

use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{audit::failed, pinned::KeyArgs};
use crate::{
    cli::block_on,
    clock,
    log::audit::{Follower, Heard, Limits, LogClient},
    output::{Exit, Failure, Output, Style},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Where the log is served: the broker, and the trust operator.
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
    /// Seconds that a log may stand still while another is larger.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    stall: u64,
    /// Seconds that no log need grow: longer than the quietest part of the day.
    #[arg(long, value_name = "SECONDS", default_value_t = 43_200)]
    quiet: u64,
    /// Look once, and leave: exit code 1 on an alarm.
    #[arg(long)]
    once: bool,
    /// Go on from what an earlier run saw, and write it down.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where evidence of a fork is put.
    #[arg(long, value_name = "DIR", default_value = ".")]
    evidence: PathBuf,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let clients = args.urls.iter().map(|url| LogClient::new(url));
    let clients: Result<Vec<_>, _> = clients.collect();
    let clients = clients.map_err(|error| failed(&error.into()))?;
    let limits = Limits {
        stall: Duration::from_secs(args.stall),
        quiet: Duration::from_secs(args.quiet),
    };
    let mut follower = Follower::new(clients, args.keys.required()?, &args.evidence, limits);
    if let Some(path) = &args.state {
        follower.resume(path).map_err(|error| {
            let text = format!("{}: {error}", path.display());
            Failure::new(Exit::Input, text)
        })?;
    }
    let alarms = block_on(follow(&mut follower, args, output))?;
    if alarms == 0 {
        return Ok(());
    }
    let plural = if alarms == 1 { "" } else { "s" };
    Err(Failure::new(
        Exit::Refused,
        format!("{alarms} alarm{plural}"),
    ))
}

/// Follows until it is told to end; how many alarms there were.
async fn follow(follower: &mut Follower, args: &Args, output: Output) -> Result<u64, Failure> {
    let watch = |kind| signal(kind).map_err(|error| Failure::from_error(Exit::Io, &error));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let period = Duration::from_secs(args.interval);
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said: Vec<Heard> = Vec::new();
    let mut alarms = 0_u64;
    let mut since = Duration::ZERO;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = interrupt.recv() => return Ok(alarms),
            _ = terminate.recv() => return Ok(alarms),
        }
        let heard = follower.look(since).await;
        since = period;
        for one in &heard {
            // An alarm is told once, until something changes.
            if !said.contains(one) {
                alarms = alarms.saturating_add(u64::from(one.alarm.is_some()));
                tell(one, output)?;
            }
        }
        said = heard;
        if let Some(path) = &args.state {
            follower.keep(path).map_err(|error| {
                let text = format!("{}: {error}", path.display());
                Failure::new(Exit::Io, text)
            })?;
        }
        if args.once {
            alone(&said, output)?;
            return Ok(alarms);
        }
    }
}

/// One look at one log shows no fork between the two: that is said.
fn alone(said: &[Heard], output: Output) -> Result<(), Failure> {
    let [Heard { url, .. }] = said else {
        return Ok(());
    };
    let note = "one log was looked at, so two were not compared: name both operators'";
    output.print(&json!({ "url": url, "note": note }), || {
        format!("note: {note}")
    })
}

fn tell(heard: &Heard, output: Output) -> Result<(), Failure> {
    let now = clock::now().seconds();
    let answer = json!({
        "time": now,
        "url": heard.url,
        "size": heard.size,
        "alarm": heard.alarm,
        "found": heard.found,
        "evidence": heard.evidence,
    });
    output.print(&answer, || {
        let time = clock::local(now);
        match (heard.alarm, heard.size) {
            (None, Some(size)) => format!("{time}  {}  {size} leaves", heard.url),
            _ => format!(
                "{time}  {}: {}",
                output.paint(Style::Bad, "ALARM"),
                heard.found
            ),
        }
    })
}
