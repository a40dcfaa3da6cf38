//! What is typed on the terminal, a line at a time.
//!
//! Decides when it is this process's turn to read: in the foreground only, so that a device put in
//! the background is not stopped by its shell, and never what was typed before the question. The
//! terminal stays as it was found: lines, echo and Ctrl-C are the system's.

use std::io::{self, IsTerminal, Stdin};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::getpgrp,
    termios::{QueueSelector, tcflush, tcgetpgrp},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Longest line that a terminal hands over (Linux).
const MAX_LINE: usize = 4096;

/// What came from the terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A line, without its end.
    Line(String),
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// Standard input, where it is a terminal.
pub(super) struct Input {
    stdin: AsyncFd<Stdin>,
}

impl Input {
    /// `None` if standard input is no terminal. Must be called within a tokio runtime.
    pub(super) fn open() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for descriptors that may be closed; standard input is not"
        )]
        let watched = AsyncFd::with_interest(stdin, Interest::READABLE);
        match watched {
            Ok(stdin) => Some(Self { stdin }),
            Err(error) => {
                tracing::warn!(%error, "the terminal can't be read");
                None
            }
        }
    }

    /// The next line. Cancelling the returned future loses nothing.
    pub(super) async fn next(&self) -> io::Result<Typed> {
        loop {
            let mut ready = self.stdin.readable().await?;
            if let Ok(read) = ready.try_io(|stdin| read_now(stdin.get_ref())) {
                return read;
            }
        }
    }

    /// Whether a question can be answered here now: the process may be in its shell's background.
    pub(super) fn is_foreground(&self) -> bool {
        is_foreground(self.stdin.get_ref())
    }

    /// Throws away what was typed and not read: it was no answer to what is asked next.
    pub(super) fn drop_typed(&self) {
        let stdin = self.stdin.get_ref();
        if is_foreground(stdin)
            && let Err(error) = tcflush(stdin, QueueSelector::IFlush)
        {
            tracing::debug!(%error, "typed lines were not dropped");
        }
    }
}

/// A terminal that is not this session's has no foreground: whoever holds it reads.
fn is_foreground(stdin: &Stdin) -> bool {
    tcgetpgrp(stdin).map_or(true, |foreground| foreground == getpgrp())
}

/// Reads one line if that does not wait. The terminal is in no non-blocking mode, which it would
/// share with the shell that started this process.
fn read_now(stdin: &Stdin) -> io::Result<Typed> {
    let mut polled = [PollFd::new(stdin, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if !is_foreground(stdin) || poll(&mut polled, Some(&at_once))? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut bytes = [0; MAX_LINE];
    let read = match rustix::io::read(stdin, &mut bytes) {
        // A terminal whose other end is gone.
        Err(rustix::io::Errno::IO) => 0,
        read => read?,
    };
    let line = bytes.get(..read).unwrap_or_default();
    if line.is_empty() {
        return Ok(Typed::End);
    }
    Ok(Typed::Line(String::from_utf8_lossy(line).trim().to_owned()))
}
