//! `warifu-sim`: runs seeds of the simulator, replays one, and tells a failing one's shortest story.

use std::{collections::BTreeSet, io::IsTerminal, ops::Range, process::ExitCode, time::Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use warifu_simulator::{
    Failure, Totals, campaign, flavour, run_muted,
    shrink::{Shrunk, shrink},
};

/// Simulates broker, trust operator and devices with everything that goes wrong around them, and
/// audits what an outsider sees. Exit code 1: something did not hold.
#[derive(Debug, Parser)]
#[command(name = "warifu-sim", version)]
struct Options {
    /// Replays one seed and prints what it saw and the hash of its whole story.
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "seeds",
        required_unless_present = "seeds"
    )]
    seed: Option<u64>,
    /// Runs the seeds from A up to, and without, B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// With --seed: prints every line of the story.
    #[arg(long)]
    story: bool,
    /// Threads; as many as there are cores, unless said.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Runs that shrinking a failing seed may take.
    #[arg(long, value_name = "N", default_value_t = 400)]
    tries: usize,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parse = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
    let (first, last) = text.split_once("..").ok_or("expected A..B")?;
    let range = parse(first)?..parse(last)?;
    if range.is_empty() {
        return Err(format!("{text} is empty"));
    }
    Ok(range)
}

fn main() -> ExitCode {
    let options = Options::parse();
    // A party that panics is a finding, told with its story.
    std::panic::set_hook(Box::new(|_| {}));
    let held = match (options.seed, options.seeds) {
        (Some(seed), _) => one(seed, options.story, options.tries),
        (None, Some(seeds)) => many(seeds, options.threads, options.tries),
        (None, None) => true,
    };
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn one(seed: u64, tells: bool, tries: usize) -> bool {
    println!("seed {seed}: {}", flavour(seed));
    let ended = run_muted(seed, &BTreeSet::new(), true);
    match ended {
        Ok(summary) => {
            let figures = summary.figures;
            println!(
                "held: {} accounts, {} steps, {} simulated s, {} logins, {} blocks, {} faults, {} crashes, {} restores",
                summary.accounts,
                figures.steps,
                summary.lived_ms / 1000,
                summary.admitted,
                summary.blocks,
                summary.faults,
                figures.crashes,
                figures.restores,
            );
            println!("story {}", summary.story);
            if tells {
                for line in &summary.lines {
                    println!("{line}");
                }
            }
            true
        }
        Err(failure) => {
            if tells {
                print!("{failure}");
            }
            told(failure.seed, tries);
            false
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how fast seeds go, for whoever waits; no seed sees it"
)]
fn many(seeds: Range<u64>, threads: Option<usize>, tries: usize) -> bool {
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into));
    let bar = ProgressBar::new(seeds.end - seeds.start);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    let began = Instant::now();
    let ended = campaign(seeds, threads.unwrap_or(1), || bar.inc(1));
    bar.finish_and_clear();
    match ended {
        Ok(totals) => {
            println!("{}", figures(&totals, began.elapsed().as_secs_f64()));
            true
        }
        Err(failure) => {
            told(failure.seed, tries);
            false
        }
    }
}

fn figures(totals: &Totals, seconds: f64) -> String {
    let (sum, figures) = (&totals.sum, totals.sum.figures);
    format!(
        "{} seeds held: {} steps, {:.0} simulated hours, {} accounts, {} logins, {} blocks, {} faults, {} crashes, \
         {} restores, {} rotten disks, {} runs with one cheat, {} with two, {} messages judged; {:.0} s, {:.1} seeds/s",
        totals.seeds,
        figures.steps,
        sum.lived_ms as f64 / 3_600_000.0,
        totals.accounts,
        sum.admitted,
        sum.blocks,
        totals.faults,
        figures.crashes,
        figures.restores,
        figures.rotten,
        totals.one_cheat,
        totals.two_cheats,
        sum.judged.get("message").copied().unwrap_or(0),
        seconds,
        totals.seeds as f64 / seconds.max(0.001),
    )
}

/// Tells a failing seed's shortest story.
fn told(seed: u64, tries: usize) {
    eprintln!("seed {seed} failed; looking for its shortest story");
    let Some(Shrunk {
        muted,
        failure,
        tries,
    }) = shrink(seed, tries)
    else {
        println!("seed {seed} failed once and holds when it is run again: this must not be");
        return;
    };
    let Failure {
        violations, fired, ..
    } = &*failure;
    println!(
        "seed {seed} FAILED ({}): what did not hold",
        failure.flavour
    );
    for violation in violations {
        println!("  {violation}");
    }
    println!(
        "its shortest story, {} of {} faults left after {tries} runs:",
        fired.len(),
        fired.len() + muted.len()
    );
    // Accounts that nothing is wrong with have no part in it.
    let concerned = |line: &String| {
        let account = line
            .split_whitespace()
            .nth(1)
            .filter(|word| word.starts_with('a'));
        let named = |a: &str| {
            violations
                .iter()
                .any(|v| v.starts_with(&format!("account {}:", &a[1..])))
        };
        account.is_none_or(|a| a[1..].parse::<u32>().is_err() || named(a))
    };
    for line in warifu_simulator::retell(seed, &muted)
        .iter()
        .filter(|line| concerned(line))
    {
        println!("  {line}");
    }
    println!("to see all of it: warifu-sim --seed {seed} --story");
}
