//! Judges the mutants of consensus: each small change of its code must make a test fail.
//!
//! Which mutants there are is cargo-mutants' to say. Building one after the other would take a day, so most
//! are built together and chosen while the tests run. What was judged is kept in `tests/mutants/results`: a run
//! goes on where another stopped, and a change of the code costs the mutants of the functions that it changed.
//! A test that was weakened since is not noticed: `--again` with `--file` judges a file anew.

mod build;
mod error;
mod mutant;
mod report;
mod results;
mod suite;
mod switch;
mod tree;
mod trial;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use error::Error;
use mutant::{Key, Listed};
use results::Results;

/// Judges the mutants of consensus of which no verdict is kept, and ends with a line of figures.
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
    /// Judges survivors without a reason once more; with --file every mutant of those files.
    #[arg(long)]
    again: bool,
    /// Leaves the seeds out, which take most of the time: survivors are then judged whole by --again.
    #[arg(long)]
    quick: bool,
    /// Judges nothing: says what is kept, and names survivors that have no reason.
    #[arg(long)]
    report: bool,
    /// Fails if a function that changed since the verdicts has a survivor without a reason, or one not judged.
    #[arg(long)]
    in_diff: bool,
}

fn shard(text: &str) -> Result<(usize, usize), Error> {
    let wrong = || Error::Shard(text.to_owned());
    let (k, n) = text.split_once('/').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let (k, n) = (number(k)?, number(n)?);
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

/// A source file with its mutants, each under its key, in the tool's order.
#[derive(Debug)]
struct Source {
    text: String,
    mutants: Vec<(Key, Listed)>,
}

/// The source files by path from the top of the checkout.
type Sources = BTreeMap<String, Source>;

fn run(options: &Options) -> Result<bool, Error> {
    let root = env::current_dir().map_err(|source| Error::File {
        path: ".".into(),
        source,
    })?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let (k, n) = options.shard;
    let work = target.join(format!("mutants/{k}-of-{n}"));
    let tree = work.join("tree");
    fs::create_dir_all(&tree).map_err(|source| Error::File {
        path: tree.clone(),
        source,
    })?;
    tree::refresh(&root, &tree)?;
    let results = Results::new(root.join("tests/mutants/results"));
    let sources = sources(&tree)?;
    if !options.report {
        trial::hold(options, &work, &results, &sources)?;
        // What is copied is what git knows: mutations are not left for the next who looks.
        tree::refresh(&root, &tree)?;
    }
    report::report(options, &results, &sources)
}

fn sources(tree: &Path) -> Result<Sources, Error> {
    let mut sources = Sources::new();
    for mutant in mutant::list(tree)? {
        if !sources.contains_key(&mutant.file) {
            let path = tree.join(&mutant.file);
            let text = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
            let mutants = Vec::new();
            sources.insert(mutant.file.clone(), Source { text, mutants });
        }
        if let Some(source) = sources.get_mut(&mutant.file) {
            source.mutants.push((mutant.key(&source.text)?, mutant));
        }
    }
    Ok(sources)
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
