//! A login that is open: the number is shown, the end is awaited.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use super::{command::Failed, testnet::send_signal};

/// `warifu login --json` while it waits.
pub struct OpenLogin {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    /// The first line: number, id, nonce, expires_in.
    pub opened: Value,
}

/// How a login ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The last line that it printed; null if none.
    pub line: Value,
    /// Its exit code.
    pub code: i32,
    /// What it complained.
    pub stderr: String,
}

impl OpenLogin {
    pub(super) fn spawn(command: &mut Command) -> Result<Self, Failed> {
        let failed = |code: i32, stderr: String| Failed {
            arguments: "login".to_owned(),
            code,
            stdout: String::new(),
            stderr,
        };
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed(-1, e.to_string()))?;
        let Some(stdout) = child.stdout.take() else {
            return Err(failed(-1, "no standard output".to_owned()));
        };
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let opened: Value = serde_json::from_str(&first).unwrap_or_default();
        if opened["number"].is_string() {
            return Ok(Self {
                child,
                lines,
                opened,
            });
        }
        let mut stderr = first;
        if let Some(mut pipe) = child.stderr.take() {
            drop(pipe.read_to_string(&mut stderr));
        }
        let code = child.wait().ok().and_then(|s| s.code()).unwrap_or(-1);
        Err(failed(code, stderr))
    }

    /// The number on the page: two digits.
    #[must_use]
    pub fn number(&self) -> String {
        self.opened["number"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Another number than the page's.
    #[must_use]
    pub fn wrong_number(&self) -> String {
        let number: u8 = self.number().parse().unwrap_or(0);
        format!("{:02}", (number + 1) % 100)
    }

    /// Sends a signal (`TERM`, `INT`, `HUP`) to the waiting command.
    pub fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Waits for the end.
    #[must_use]
    pub fn end(mut self) -> Ended {
        let mut line = Value::Null;
        for text in self.lines.by_ref().map_while(Result::ok) {
            if let Ok(value) = serde_json::from_str(&text) {
                line = value;
            }
        }
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            drop(pipe.read_to_string(&mut stderr));
        }
        let code = self.child.wait().ok().and_then(|s| s.code()).unwrap_or(-1);
        Ended { line, code, stderr }
    }
}
