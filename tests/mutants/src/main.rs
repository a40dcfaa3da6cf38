//! Judges the mutants of consensus: each small change of its code must make a test fail.
//!
//! Which mutants there are, and making them, is cargo-mutants' work. Kept here is what was judged, in
//! `tests/mutants/results`, so that a run goes on where another stopped, and a change of the code costs
//! the mutants of the functions that it changed. What weakens a test is not seen: only `--again` is.

mod error;
mod mutant;
mod results;
mod tool;
mod tree;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use error::Error;
use mutant::{Key, Listed};
use results::{Judged, Results, Verdict, Verdicts};
use tool::{Bench, Suite};

/// Mutants that one call of the tool judges: what a run that is stopped loses at most.
const CHUNK: usize = 16;
/// The least share of viable mutants that must be killed, in percent.
const LEAST: usize = 95;

/// Judges the mutants of consensus that no verdict is kept of, and ends with a line of figures.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Only each N-th mutant from the K-th on, K/N; shards may run side by side.
    #[arg(long, default_value = "0/1", value_parser = shard)]
    shard: (usize, usize),
    /// Only source files whose path contains this.
    #[arg(long)]
    file: Option<String>,
    /// Begins nothing more after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Judges survivors without a reason once more, and with --file every mutant of those files.
    #[arg(long)]
    again: bool,
    /// Judges nothing: says what is kept, and names survivors that have no reason.
    #[arg(long)]
    report: bool,
    /// Judges only what changed since the verdicts were kept, and fails if one of those survives or is left.
    #[arg(long)]
    in_diff: bool,
}

fn shard(text: &str) -> Result<(usize, usize), Error> {
    let wrong = || Error::Shard(text.to_owned());
    let (k, n) = text.split_once('/').ok_or_else(wrong)?;
    let (k, n) = (
        k.parse().map_err(|_| wrong())?,
        n.parse().map_err(|_| wrong())?,
    );
    if k < n { Ok((k, n)) } else { Err(wrong()) }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(2)
        }
    }
}

/// A mutant under its key.
type Keyed = (Key, Listed);

fn run(options: &Options) -> Result<bool, Error> {
    let root = env::current_dir().map_err(|source| Error::File {
        path: ".".into(),
        source,
    })?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let (k, n) = options.shard;
    let directory = target.join(format!("mutants/{k}-of-{n}"));
    let bench = Bench::new(directory.clone());
    fs::create_dir_all(bench.tree()).map_err(|source| Error::File {
        path: bench.tree(),
        source,
    })?;
    tree::refresh(&root, &bench.tree())?;
    let results = Results::new(root.join("tests/mutants/results"));
    let files = by_file(&root, bench.list()?)?;
    if !options.report {
        judge(options, &bench, &results, &files)?;
    }
    report(options, &results, &files)
}

fn by_file(root: &Path, listed: Vec<Listed>) -> Result<BTreeMap<String, Vec<Keyed>>, Error> {
    let mut files = BTreeMap::<String, Vec<Keyed>>::new();
    let mut source = (String::new(), String::new());
    for mutant in listed {
        if source.0 != mutant.file {
            let path = root.join(&mutant.file);
            let text = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
            source = (mutant.file.clone(), text);
        }
        let key = mutant.key(&source.1)?;
        files
            .entry(mutant.file.clone())
            .or_default()
            .push((key, mutant));
    }
    Ok(files)
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it may go on is time that passes, not a time of the protocol"
)]
fn judge(
    options: &Options,
    bench: &Bench,
    results: &Results,
    files: &BTreeMap<String, Vec<Keyed>>,
) -> Result<(), Error> {
    let until = options
        .minutes
        .map(|minutes| Instant::now() + Duration::from_secs(minutes.saturating_mul(60)));
    let (k, n) = options.shard;
    let mut held = Vec::new();
    for (file, all) in files {
        let chosen = |part: &String| file.contains(part);
        if !options.file.as_ref().is_none_or(chosen) {
            continue;
        }
        let kept = results.read(file)?;
        let due = |key: &Key| match kept.get(key) {
            None => true,
            Some(_) if !options.again => false,
            Some(judged) => {
                options.file.is_some()
                    || judged.verdict == Verdict::Survived && judged.note.is_empty()
            }
        };
        let due: Vec<&Keyed> = all
            .iter()
            .skip(k)
            .step_by(n)
            .filter(|(key, _)| due(key))
            .collect();
        let keys: Vec<Key> = all.iter().map(|(key, _)| key.clone()).collect();
        let mut left = due.len();
        for chunk in due.chunks(CHUNK) {
            if until.is_some_and(|until| Instant::now() > until) {
                return Ok(());
            }
            eprintln!("mutants: {file}, {left} to judge");
            let new = verdicts(bench, chunk, Suite::of(file), &mut held)?;
            results.merge(file, &keys, new)?;
            left = left.saturating_sub(chunk.len());
        }
    }
    Ok(())
}

/// A chunk's verdicts; `held` are the suites that were seen to hold without a mutation.
fn verdicts(
    bench: &Bench,
    chunk: &[&Keyed],
    suites: &[Suite],
    held: &mut Vec<Suite>,
) -> Result<Verdicts, Error> {
    let mut verdicts = Verdicts::new();
    let mut left = chunk.to_vec();
    for &suite in suites {
        if left.is_empty() {
            break;
        }
        let mutants: Vec<&Listed> = left.iter().map(|(_, mutant)| mutant).collect();
        let said = bench.judge(suite, &mutants, !held.contains(&suite))?;
        held.push(suite);
        left.retain(|(key, mutant)| {
            let Some(judged) = said.get(&mutant.name) else {
                return true;
            };
            verdicts.insert(key.clone(), judged.clone());
            judged.verdict == Verdict::Survived
        });
    }
    Ok(verdicts)
}

fn report(
    options: &Options,
    results: &Results,
    files: &BTreeMap<String, Vec<Keyed>>,
) -> Result<bool, Error> {
    let (mut killed, mut unviable, mut explained, mut bare, mut unjudged) = (0, 0, 0, 0, 0);
    for (file, all) in files {
        let kept = results.read(file)?;
        for (key, mutant) in all {
            match kept.get(key) {
                None => unjudged += 1,
                Some(Judged { verdict, note }) => match verdict {
                    Verdict::Caught | Verdict::Timeout => killed += 1,
                    Verdict::Unviable => unviable += 1,
                    Verdict::Survived if note.is_empty() => {
                        bare += 1;
                        println!("survived: {}", mutant.name);
                    }
                    Verdict::Survived => explained += 1,
                },
            }
        }
    }
    let viable: usize = killed + explained + bare;
    let thousandths = (killed * 1000).checked_div(viable).unwrap_or(0);
    println!(
        "mutants: {killed} of {viable} viable killed ({}.{} %), {explained} survive for a reason, {bare} without, \
         {unviable} unviable, {unjudged} not judged",
        thousandths / 10,
        thousandths % 10,
    );
    let enough = killed * 100 >= viable * LEAST;
    Ok(bare == 0 && enough && (unjudged == 0 || !(options.report || options.in_diff)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shard_is_below_its_number() {
        assert_eq!(super::shard("2/3").unwrap(), (2, 3));
        for wrong in ["3/3", "1", "a/2", "-1/2"] {
            assert!(super::shard(wrong).is_err(), "{wrong}");
        }
    }
}
