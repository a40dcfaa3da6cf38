//! cargo-mutants: which mutants there are, and what one suite of tests says to some of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{
    error::Error,
    mutant::Listed,
    results::{Judged, Verdict},
};

/// The package that is mutated.
const MUTATED: &str = "warifu-consensus";

/// The tests that a mutant meets, cheapest for it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Consensus's own.
    Own,
    /// The simulator's scenarios.
    Scenarios,
    /// The simulator's scenarios and the 360 seeds of the plain check.
    Seeds,
}

impl Suite {
    /// Which suites judge the mutants of a source file, in turn: one survives if none catches it.
    /// What the parties agree upon is shown by scenarios, all else by tests beside the code.
    #[must_use]
    pub(crate) fn of(file: &str) -> &'static [Self] {
        if file.starts_with("consensus/src/agree/") {
            &[Self::Scenarios, Self::Own, Self::Seeds]
        } else {
            &[Self::Own, Self::Seeds]
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Own => MUTATED,
            Self::Scenarios | Self::Seeds => "warifu-simulator",
        }
    }

    /// Seconds after which a test does not end: ten times what it takes with two processors.
    const fn patience(self) -> u32 {
        match self {
            Self::Own | Self::Scenarios => 60,
            Self::Seeds => 240,
        }
    }
}

/// A copy of the checkout with its own build directory: `tree`, `target` and `out` under one directory.
#[derive(Debug)]
pub(crate) struct Bench(PathBuf);

#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: Scenario,
    summary: String,
    log_path: PathBuf,
}

#[derive(Deserialize)]
enum Scenario {
    Baseline,
    Mutant(Listed),
}

impl Bench {
    /// In this directory.
    #[must_use]
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// The copy's top.
    #[must_use]
    pub(crate) fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("cargo");
        command
            .arg("mutants")
            .current_dir(self.tree())
            .env("CARGO_TARGET_DIR", self.0.join("target"))
            .env("CARGO_INCREMENTAL", "1")
            .stdin(Stdio::null());
        command
    }

    /// Every mutant, in the tool's order.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Ended`], [`Error::Json`].
    pub(crate) fn list(&self) -> Result<Vec<Listed>, Error> {
        let output = self
            .command()
            .args(["--list", "--json", "--package", MUTATED])
            .stderr(Stdio::inherit())
            .output()
            .map_err(started)?;
        if !output.status.success() {
            return Err(ended(output.status));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// What `suite` says to these mutants, by name. With `baseline`, the suite must first hold without any.
    ///
    /// # Errors
    /// All of [`Error`] but those on results.
    pub(crate) fn judge(
        &self,
        suite: Suite,
        mutants: &[&Listed],
        baseline: bool,
    ) -> Result<BTreeMap<String, Judged>, Error> {
        let out = self.0.join("out");
        let _ = fs::remove_dir_all(out.join("mutants.out"));
        let mut command = self.command();
        command
            .args(["--in-place", "--no-shuffle", "--colors", "never"])
            .args(["--cap-lints", "true", "--package", MUTATED])
            .args(["--test-package", suite.package()])
            .args(["--baseline", if baseline { "run" } else { "skip" }])
            .args(["--timeout", &suite.patience().to_string()])
            .args(["--build-timeout", "300"])
            .arg("--output")
            .arg(&out)
            .env_remove("WARIFU_SEEDS");
        // Chosen by file too: cargo-mutants 27.1 takes deleted fields in whatever --re says.
        for file in mutants.iter().map(|m| &m.file).collect::<BTreeSet<_>>() {
            command.arg("--file").arg(file);
        }
        for mutant in mutants {
            command.arg("--re").arg(exactly(&mutant.name));
        }
        // Examples in documentation are slow to build and show nothing that the tests don't.
        command.args(["--", "--locked", "--lib", "--tests"]);
        if suite == Suite::Scenarios {
            command.args(["--", "--skip", "many_seeds_hold"]);
        }
        let status = command.stdout(Stdio::null()).status().map_err(started)?;
        match status.code() {
            // All caught; some missed; some that did not end.
            Some(0 | 2 | 3) => self.outcomes(&out.join("mutants.out")),
            Some(4) => Err(Error::Baseline {
                packages: suite.package().to_owned(),
                log: out.join("mutants.out/log/baseline.log"),
            }),
            _ => Err(ended(status)),
        }
    }

    fn outcomes(&self, directory: &Path) -> Result<BTreeMap<String, Judged>, Error> {
        let path = directory.join("outcomes.json");
        let text = fs::read(&path).map_err(|source| Error::File { path, source })?;
        let Outcomes { outcomes } = serde_json::from_slice(&text)?;
        let mut judged = BTreeMap::new();
        for outcome in outcomes {
            let Scenario::Mutant(mutant) = outcome.scenario else {
                continue;
            };
            let (verdict, note) = match outcome.summary.as_str() {
                "CaughtMutant" => (Verdict::Caught, killer(&directory.join(&outcome.log_path))?),
                "Timeout" => (Verdict::Timeout, String::new()),
                "Unviable" => (Verdict::Unviable, String::new()),
                "MissedMutant" => (Verdict::Survived, String::new()),
                other => {
                    return Err(Error::Ended {
                        program: "cargo mutants",
                        status: format!("{other:?} for {}", mutant.name),
                    });
                }
            };
            judged.insert(mutant.name, Judged { verdict, note });
        }
        Ok(judged)
    }
}

fn started(source: std::io::Error) -> Error {
    Error::Program {
        program: "cargo mutants",
        source,
    }
}

fn ended(status: std::process::ExitStatus) -> Error {
    Error::Ended {
        program: "cargo mutants",
        status: status.to_string(),
    }
}

/// A regular expression that this name alone fits.
fn exactly(name: &str) -> String {
    let mut expression = String::from("^");
    for character in name.chars() {
        if character.is_ascii_punctuation() {
            expression.push('\\');
        }
        expression.push(character);
    }
    expression.push('$');
    expression
}

/// The first test that failed, by the tests' output.
fn killer(log: &Path) -> Result<String, Error> {
    let text = fs::read(log).map_err(|source| Error::File {
        path: log.to_owned(),
        source,
    })?;
    Ok(first_failed(&String::from_utf8_lossy(&text)))
}

fn first_failed(output: &str) -> String {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .min()
        .unwrap_or("the tests ended early")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::{exactly, first_failed};

    #[test]
    fn a_name_is_chosen_and_no_other() {
        assert_eq!(
            exactly("a.rs:1:2: replace <T>::f -> () with ()"),
            r"^a\.rs\:1\:2\: replace \<T\>\:\:f \-\> \(\) with \(\)$"
        );
    }

    #[test]
    fn the_test_that_failed_is_named() {
        let output = "test b::c ... ok\ntest b::z ... FAILED\ntest b::d ... FAILED\n";
        assert_eq!(first_failed(output), "b::d");
        assert_eq!(first_failed("killed"), "the tests ended early");
    }
}
