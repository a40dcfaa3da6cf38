//! One call of the `warifu` command.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// A command that ended with another exit code than 0, or printed no JSON.
#[derive(Debug, thiserror::Error)]
#[error("`warifu {arguments}` ended with {code}: {stdout}{stderr}")]
pub struct Failed {
    /// What was called.
    pub arguments: String,
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

/// The lines of JSON that a command printed.
#[derive(Debug, Clone, Default)]
pub struct Answer(pub Vec<Value>);

impl Answer {
    /// A text field of the last line, empty if absent.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        let last = self.0.last().cloned().unwrap_or_default();
        last[field].as_str().unwrap_or_default().to_owned()
    }

    /// The last line.
    #[must_use]
    pub fn last(&self) -> Value {
        self.0.last().cloned().unwrap_or_default()
    }
}

/// The binary under test.
#[derive(Debug, Clone)]
pub struct Warifu {
    binary: PathBuf,
}

impl Warifu {
    /// The binary at this path.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
        }
    }

    /// The binary that was built beside the running program (`target/<profile>/warifu`).
    ///
    /// # Errors
    /// When it isn't there: build `warifu-node` first.
    pub fn beside() -> Result<Self, std::io::Error> {
        let own = std::env::current_exe()?;
        let found = own
            .ancestors()
            .skip(1)
            .take(2)
            .map(|dir| dir.join("warifu"))
            .find(|path| path.is_file());
        found.map(Self::new).ok_or_else(|| {
            std::io::Error::other(format!(
                "no `warifu` beside {}, build it with `cargo build -p warifu-node`",
                own.display()
            ))
        })
    }

    /// A command to be spawned.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, with `--json`.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn json<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Answer, Failed> {
        let mut all: Vec<std::ffi::OsString> = arguments
            .into_iter()
            .map(|a| a.as_ref().to_owned())
            .collect();
        all.push("--json".into());
        let text = self.text(&all)?;
        Ok(Answer(
            text.lines()
                .filter_map(|l| serde_json::from_str(l).ok())
                .collect(),
        ))
    }

    /// Runs a command to its end, for people.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn text(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<String, Failed> {
        let mut command = self.command(arguments);
        let shown = command
            .get_args()
            .map(|a| a.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        let failed = |code: i32, stdout: String, stderr: String| Failed {
            arguments: shown.clone(),
            code,
            stdout,
            stderr,
        };
        let output = command
            .output()
            .map_err(|e| failed(-1, String::new(), e.to_string()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(failed(output.status.code().unwrap_or(-1), stdout, stderr))
    }

    /// Where the binary lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.binary
    }
}
