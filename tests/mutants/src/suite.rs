//! Running tests against one mutant until one fails.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    build::{Program, SIMULATOR},
    error::Error,
    mutant::MUTATED,
    results::{Judged, Verdict},
    switch::{ENTERED, ON},
};

/// The simulator's test that walks through seeds.
const SEEDS: &str = "seeds::many_seeds_hold";

/// Some of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suite {
    /// Consensus's own.
    Own,
    /// The simulator's scenarios.
    Scenarios,
    /// A third of the plain check's seeds: most mutants that these don't meet are met by none.
    Seeds,
}

impl Suite {
    /// Which suites judge the mutants of a source file, in turn: one survives if none catches it.
    /// What the parties agree upon is shown by scenarios, all else by tests beside the code.
    pub(crate) fn of(file: &str) -> [Self; 3] {
        if file.starts_with("consensus/src/agree/") {
            [Self::Scenarios, Self::Own, Self::Seeds]
        } else {
            [Self::Own, Self::Scenarios, Self::Seeds]
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Own => MUTATED,
            Self::Scenarios | Self::Seeds => SIMULATOR,
        }
    }

    fn choice(self) -> &'static [&'static str] {
        match self {
            Self::Own => &[],
            Self::Scenarios => &["--skip", SEEDS],
            Self::Seeds => &["--exact", SEEDS],
        }
    }

    /// How long a program of the suite may take: ten times what it does on a calm machine.
    fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Own | Self::Scenarios => 90,
            Self::Seeds => 180,
        })
    }
}

/// What a run of tests said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Passed,
    /// The test that failed first.
    Failed(String),
    Late,
}

/// The functions that a suite enters, by number, as it runs without a mutation.
///
/// # Errors
/// [`Error::Baseline`] if it fails so.
pub(crate) fn entered(
    suite: Suite,
    programs: &[Program],
    list: &Path,
) -> Result<BTreeSet<usize>, Error> {
    let failed = |source| Error::File {
        path: list.to_owned(),
        source,
    };
    fs::write(list, "").map_err(failed)?;
    for program in of(suite, programs) {
        let mut command = command(suite, program);
        command.env(ENTERED, list);
        match run(command, suite.patience())? {
            Said::Passed => {}
            Said::Failed(test) => return Err(Error::Baseline { test }),
            Said::Late => {
                let test = format!("{} (too late)", program.package);
                return Err(Error::Baseline { test });
            }
        }
    }
    let text = fs::read_to_string(list).map_err(failed)?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// What these suites say of the mutant of this number, or of the programs as they are.
///
/// # Errors
/// [`Error::Program`], [`Error::File`].
pub(crate) fn judge(
    suites: impl IntoIterator<Item = Suite>,
    programs: &[Program],
    number: Option<usize>,
) -> Result<Judged, Error> {
    for suite in suites {
        for program in of(suite, programs) {
            let mut command = command(suite, program);
            if let Some(number) = number {
                command.env(ON, number.to_string());
            }
            let (verdict, note) = match run(command, suite.patience())? {
                Said::Passed => continue,
                Said::Failed(test) => (Verdict::Caught, test),
                Said::Late => (Verdict::Timeout, String::new()),
            };
            return Ok(Judged { verdict, note });
        }
    }
    Ok(Judged {
        verdict: Verdict::Survived,
        note: String::new(),
    })
}

fn of(suite: Suite, programs: &[Program]) -> impl Iterator<Item = &Program> {
    programs
        .iter()
        .filter(move |p| p.package == suite.package())
}

fn command(suite: Suite, program: &Program) -> Command {
    let mut command = Command::new(&program.path);
    command
        .args(suite.choice())
        .args(["--test-threads", "1"])
        .current_dir(&program.directory)
        .env("WARIFU_SEEDS", "0..120")
        .env_remove(ON)
        .env_remove(ENTERED);
    command
}

fn run(mut command: Command, patience: Duration) -> Result<Said, Error> {
    let program = "a test program";
    let failed = |source| Error::Program { program, source };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let said = watch(&mut child, patience);
    let _ = child.kill();
    let status = child.wait().map_err(failed)?;
    Ok(match said {
        Said::Passed if !status.success() => Said::Failed("the tests ended early".into()),
        said => said,
    })
}

/// Reads until the first failure, the end, or until patience is at its end.
fn watch(child: &mut Child, patience: Duration) -> Said {
    let (lines, heard) = mpsc::channel();
    let output = child.stdout.take();
    let reader = thread::spawn(move || {
        let output = output
            .into_iter()
            .flat_map(|output| BufReader::new(output).lines());
        for line in output.map_while(Result::ok) {
            if let Some(test) = failed_test(&line) {
                let _ = lines.send(test.to_owned());
            }
        }
    });
    match heard.recv_timeout(patience) {
        Ok(test) => Said::Failed(test),
        Err(mpsc::RecvTimeoutError::Timeout) => Said::Late,
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let _ = reader.join();
            let _ = child.wait();
            Said::Passed
        }
    }
}

fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::{Said, run};

    fn shell(script: &str) -> Said {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, Duration::from_secs(3)).unwrap()
    }

    #[test]
    fn the_first_failure_ends_a_run() {
        let script = "echo 'test a::b ... ok'; echo 'test a::c ... FAILED'; sleep 60";
        assert_eq!(shell(script), Said::Failed("a::c".into()));
        assert_eq!(shell("echo 'test a::b ... ok'"), Said::Passed);
        assert_eq!(
            shell("exit 101"),
            Said::Failed("the tests ended early".into())
        );
    }

    #[test]
    fn what_does_not_end_is_late() {
        assert_eq!(shell("while :; do :; done"), Said::Late);
    }
}
