//! One process of the bench's own: started from this very executable, heard until it is ready,
//! stopped gracefully, and killed with the bench whatever ends that.

use std::{ffi::OsString, fs::File, path::PathBuf, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::pipe::Told;
use crate::output::{Exit, Failure};

/// How long a process may take to say its first line.
const START: Duration = Duration::from_secs(120);
/// How long a graceful stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(10);
/// Lines of a log that a failure shows.
const TAIL: usize = 8;

/// A running process.
pub(super) struct Process {
    name: &'static str,
    log: PathBuf,
    child: Child,
    /// Its standard input: when this is dropped, the process stops.
    pub(super) input: Option<ChildStdin>,
    /// What it prints.
    pub(super) lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Process {
    /// Starts `warifu` with these arguments; its errors go to the file `log`.
    pub(super) fn spawn(
        name: &'static str,
        arguments: impl IntoIterator<Item = OsString>,
        log: PathBuf,
    ) -> Result<Process, Failure> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |error| Failure::new(Exit::Io, format!("could not {what}: {error}"))
        };
        let own = std::env::current_exe().map_err(io("find this executable"))?;
        let errors = File::options().create(true).append(true).open(&log);
        let mut child = Command::new(own)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.map_err(io("open a log"))?)
            .kill_on_drop(true)
            .spawn()
            .map_err(io("start a process"))?;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        Ok(Process {
            name,
            log,
            input: child.stdin.take(),
            lines,
            child,
        })
    }

    /// Tells it something on its standard input.
    pub(super) async fn tell(&mut self, told: &Told) -> Result<(), Failure> {
        let line = serde_json::to_string(told);
        let line = line.map_err(|error| Failure::from_error(Exit::Io, &error))? + "\n";
        let written = match &mut self.input {
            Some(input) => input.write_all(line.as_bytes()).await.is_ok(),
            None => false,
        };
        if written {
            return Ok(());
        }
        Err(self.failed("does not read"))
    }

    /// The first line that it prints.
    pub(super) async fn first_line(&mut self) -> Result<String, Failure> {
        let Some(lines) = &mut self.lines else {
            return Err(self.failed("said nothing"));
        };
        match tokio::time::timeout(START, lines.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(_) => Err(self.failed("ended before it was ready")),
            Err(_) => Err(self.failed("was not ready in time")),
        }
    }

    /// Its process id, while it runs.
    pub(super) fn id(&self) -> Result<u32, Failure> {
        self.child.id().ok_or_else(|| self.failed("has ended"))
    }

    /// A failure of this process with the end of its log.
    pub(super) fn failed(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..);
        let tail = tail.unwrap_or_default().join("\n");
        Failure::new(
            Exit::Unreachable,
            format!("the {} {what}\n{tail}", self.name),
        )
    }

    /// Stops it: gracefully if it does so in time, else by force.
    pub(super) async fn stop(mut self) {
        drop((self.input.take(), self.lines.take()));
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
        {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Ok(Ok(_)) = tokio::time::timeout(STOP, self.child.wait()).await {
            return;
        }
        // A process that is gone meanwhile needs no killing.
        drop(self.child.kill().await);
    }
}
