//! `scripts/chaos MINUTES`: real processes under faults, then an audit of what they kept.
//!
//! Ends with one line of figures and exit code 0, or with the seed, what was wrong, what was done to whom and
//! when, and the directories, which then stay.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use tokio::time::Instant;
use warifu_tests::{
    chaos::{self, Options, Trouble},
    processes::Warifu,
};

/// Where nobody looks at a terminal, a line now and then is enough.
const SELDOM: Duration = Duration::from_secs(15);

/// Three nodes behind a fault proxy, killed, stopped and cut off while customers log in; then an audit.
#[derive(Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long faults come, in minutes; healing and audit come on top.
    #[arg(default_value_t = 3.0, value_parser = minutes)]
    minutes: f64,
    /// Decides the faults [default: the process id].
    #[arg(long)]
    seed: Option<u64>,
    /// Customers who log in, 1 to 64.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=64))]
    accounts: u64,
    /// Keep the data in this directory, which must be empty or absent.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= 1_440.0 => Ok(minutes),
        _ => Err("expected more than 0 and at most 1440 minutes".to_owned()),
    }
}

fn main() -> ExitCode {
    match play(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("chaos: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments) -> Result<bool, Trouble> {
    let seed = arguments.seed.unwrap_or_else(|| std::process::id().into());
    let temporary = tempfile::Builder::new().prefix("warifu-chaos-").tempdir()?;
    let dir = arguments.dir.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(dir)?;
    if std::fs::read_dir(dir)?.next().is_some() {
        let shown = dir.display();
        return Err(format!("{shown} is not empty, expected an empty or absent directory").into());
    }
    let options = Options {
        warifu: Warifu::beside()?,
        dir: dir.canonicalize()?,
        seed,
        lasts: Duration::from_secs_f64(arguments.minutes * 60.0),
        accounts: usize::try_from(arguments.accounts)?,
    };
    eprintln!("chaos: seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match runtime.block_on(chaos::run(&options, progress())) {
        Ok(figures) => {
            println!("chaos: {figures}; seed {seed}");
            Ok(true)
        }
        Err(failure) => {
            for line in &failure.story {
                println!("{line}");
            }
            for what in &failure.wrong {
                println!("WRONG: {what}");
            }
            println!("chaos: seed {seed} (--seed {seed} brings the same faults)");
            println!("chaos: look at {}", chaos::remains(&options.dir));
            // Whoever looks needs them.
            drop(temporary.keep());
            Ok(false)
        }
    }
}

/// One line that is written over on a terminal; elsewhere a line now and then.
fn progress() -> impl FnMut(&str) {
    let is_terminal = std::io::stderr().is_terminal();
    let mut last: Option<Instant> = None;
    move |line| {
        let mut stderr = std::io::stderr().lock();
        // Nobody who looks is nobody to tell.
        let _ = if is_terminal {
            write!(stderr, "\r\x1b[Kchaos: {line}").and_then(|()| stderr.flush())
        } else if last.is_none_or(|last| last.elapsed() >= SELDOM) {
            last = Some(Instant::now());
            writeln!(stderr, "chaos: {line}")
        } else {
            Ok(())
        };
    }
}
