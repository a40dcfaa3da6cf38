//! Building the tests of a mutated checkout: their programs, or the compiler's errors by place.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{error::Error, mutant::MUTATED};

/// The package whose scenarios play the parties against one another.
pub(crate) const SIMULATOR: &str = "warifu-simulator";

/// A built test program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The executable.
    pub(crate) path: PathBuf,
    /// Its package's directory, in which cargo would start it.
    pub(crate) directory: PathBuf,
    /// Whose tests these are.
    pub(crate) package: String,
}

/// An error of the compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The file, from the top of the checkout.
    pub(crate) file: String,
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// As `E0308`, or the message where there is no code.
    pub(crate) what: String,
}

/// What became of a build.
pub(crate) enum Built {
    /// The test programs.
    Programs(Vec<Program>),
    /// Where it does not compile.
    Complaints(Vec<Complaint>),
}

#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-artifact")]
    Artifact {
        manifest_path: PathBuf,
        target: Target,
        executable: Option<PathBuf>,
    },
    #[serde(rename = "compiler-message")]
    Objection { message: Diagnostic },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    code: Option<Code>,
    spans: Vec<Place>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    line_start: usize,
    is_primary: bool,
}

/// Builds the tests of the checkout at `tree` into `target`.
///
/// # Errors
/// [`Error::Program`], [`Error::Ended`] where a build fails without an error of the compiler, [`Error::Json`].
pub(crate) fn build(tree: &Path, target: &Path) -> Result<Built, Error> {
    let program = "cargo test --no-run";
    let output = Command::new("cargo")
        .args([
            "test",
            "--no-run",
            "--quiet",
            "--locked",
            "--message-format=json",
        ])
        .args([
            "--lib",
            "--test",
            "all",
            "--package",
            MUTATED,
            "--package",
            SIMULATOR,
        ])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "1")
        // A mutant may leave a variable unused.
        .env("RUSTFLAGS", "--cap-lints allow")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|source| Error::Program { program, source })?;
    let read = read(&String::from_utf8_lossy(&output.stdout))?;
    match read {
        Built::Complaints(complaints) if complaints.is_empty() => Err(Error::Ended {
            program,
            status: output.status.to_string(),
        }),
        Built::Programs(_) if !output.status.success() => Err(Error::Ended {
            program,
            status: output.status.to_string(),
        }),
        read => Ok(read),
    }
}

fn read(output: &str) -> Result<Built, Error> {
    let (mut programs, mut complaints) = (Vec::new(), Vec::new());
    for line in output.lines().filter(|line| line.starts_with('{')) {
        match serde_json::from_str(line)? {
            Message::Artifact {
                manifest_path,
                target,
                executable: Some(path),
            } if !target.kind.iter().any(|kind| kind == "bin") => {
                let directory = manifest_path.parent().unwrap_or(Path::new("")).to_owned();
                let simulator = directory.ends_with("tests/simulator");
                programs.push(Program {
                    path,
                    directory,
                    package: if simulator { SIMULATOR } else { MUTATED }.to_owned(),
                });
            }
            Message::Objection { message } if message.level == "error" => {
                complaints.extend(complaint(message));
            }
            _ => {}
        }
    }
    Ok(if programs.is_empty() || !complaints.is_empty() {
        Built::Complaints(complaints)
    } else {
        Built::Programs(programs)
    })
}

fn complaint(message: Diagnostic) -> Option<Complaint> {
    let place = message.spans.into_iter().find(|place| place.is_primary)?;
    Some(Complaint {
        file: place.file_name,
        line: place.line_start,
        what: message.code.map_or(message.message, |code| code.code),
    })
}

#[cfg(test)]
mod tests {
    use super::{Built, Complaint, read};

    #[test]
    fn errors_are_read_with_their_places() {
        let output = r#"{"reason":"compiler-message","message":{"level":"error","message":"no","code":{"code":"E0308"},"spans":[{"file_name":"b.rs","line_start":1,"is_primary":false},{"file_name":"a.rs","line_start":9,"is_primary":true}]}}
{"reason":"compiler-message","message":{"level":"warning","message":"unused","code":null,"spans":[]}}
{"reason":"compiler-message","message":{"level":"error","message":"aborting","code":null,"spans":[]}}
{"reason":"build-finished","success":false}
"#;
        let Built::Complaints(found) = read(output).unwrap() else {
            panic!("taken as built");
        };
        let expected = Complaint {
            file: "a.rs".into(),
            line: 9,
            what: "E0308".into(),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn programs_are_read_with_their_packages() {
        let output = r#"{"reason":"compiler-artifact","manifest_path":"/c/consensus/Cargo.toml","target":{"kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/c/tests/simulator/Cargo.toml","target":{"kind":["bin"]},"executable":"/t/warifu-sim"}
{"reason":"compiler-artifact","manifest_path":"/c/tests/simulator/Cargo.toml","target":{"kind":["test"]},"executable":"/t/all-1"}
"#;
        let Built::Programs(found) = read(output).unwrap() else {
            panic!("taken as failed");
        };
        let [program] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(program.package, super::SIMULATOR);
        assert!(program.directory.ends_with("tests/simulator"));
    }
}
