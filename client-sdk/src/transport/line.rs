//! One line: the persistent stream of one connection, read and written inside the connection's own
//! task.
//!
//! Decides when a line is dead: an oversize or unfinished frame, a peer that takes none of our
//! bytes, silence. Everything queued is written in as few writes as the stream allows, then flushed
//! once. Reading stops while the reader has too much unread, and while a paced peer has sent more than its
//! pace; the clocks that judge the peer stop with it. Idle, a line holds no buffer. It never decides whether it is the peer's session.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::swarm::Stream;
use tokio::time::{Instant, Sleep};

use super::event::{DownReason, Misbehaviour, SessionId};
use super::frame::{self, Decoder};
use super::inbox::{Inbox, Room};
use super::limits::Limits;
use super::outbox::Outbox;
use super::pace::{Bucket, Pace};

/// Bytes of one read; on the stack, so that idle lines hold none.
const READ_BYTES: usize = 8 * 1024;

/// Bytes that count as one frame more, for a paced peer.
const COUNTED_BYTES: usize = 1024;

/// Reads, and batches written, before other connections get their turn.
const ROUNDS: usize = 8;

/// Bytes gathered before a write: as many as one Noise message carries.
const WRITE_BATCH: usize = 64 * 1024;

/// Capacity that the write buffer may keep between writes.
const KEPT_BYTES: usize = 1024;

/// Where a session's frames go to and come from.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) peer: [u8; 32],
    pub(super) session: SessionId,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outbox: Arc<Outbox>,
}

/// A timer that is moved rarely: it fires early rather than being reset at every frame.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Whether `deadline` has passed; if not, the task is woken then or earlier.
    fn is_past(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            self.sleep.as_mut().reset(deadline);
        }
        false
    }
}

/// The stream and where it stands.
pub(super) struct Line {
    stream: Stream,
    alarm: Alarm,
    decoder: Decoder,
    /// Frames that one read completed, on their way to the inbox.
    completed: Vec<Vec<u8>>,
    /// Encoded frames, of which `written` bytes are on the stream.
    write: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// The inbox is full; nothing is read.
    stalled: bool,
    /// A paced peer's pace, and what it has left.
    pace: Option<(Pace, Bucket)>,
    /// Until when a paced peer is not read.
    paused_until: Option<Instant>,
    heard: Instant,
    spoke: Instant,
    /// Since when the unfinished frame has been coming in.
    frame_since: Option<Instant>,
    /// Since when the peer has taken no byte though there are some.
    write_since: Option<Instant>,
}

impl Line {
    /// A line whose peer is read at `pace`, if one is given.
    pub(super) fn new(stream: Stream, now: Instant, limits: &Limits, pace: Option<Pace>) -> Self {
        let first_ping = now + limits.ping_every;
        Self {
            stream,
            alarm: Alarm {
                sleep: Box::pin(tokio::time::sleep_until(first_ping)),
            },
            decoder: Decoder::default(),
            completed: Vec::new(),
            write: Vec::new(),
            written: 0,
            unflushed: false,
            stalled: false,
            pace: pace.map(|pace| (pace, Bucket::new(now))),
            paused_until: None,
            heard: now,
            spoke: now,
            frame_since: None,
            write_since: None,
        }
    }

    /// Puts a frame before everything that is queued.
    pub(super) fn write_first(&mut self, frame: &[u8]) {
        frame::encode(frame, &mut self.write);
    }

    /// Waits for the first frame, which must arrive alone: the peer speaks next only when it hears
    /// of the session.
    pub(super) fn poll_first_frame(
        &mut self,
        cx: &mut Context<'_>,
        longest: usize,
    ) -> Poll<Result<Vec<u8>, DownReason>> {
        let mut byte = [0u8; 1];
        for _ in 0..frame::HEADER_BYTES + longest {
            match Pin::new(&mut self.stream).poll_read(cx, &mut byte) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(1)) => {}
                Poll::Ready(_) => return Poll::Ready(Err(DownReason::Closed)),
            }
            let completed = &mut self.completed;
            if let Err(reason) = self.decoder.feed(&byte, |frame| completed.push(frame)) {
                return Poll::Ready(Err(reason.into()));
            }
            if let Some(first) = self.completed.pop() {
                return Poll::Ready(Ok(first));
            }
        }
        let bad = Misbehaviour::BadHello {
            found: longest + 1,
            expected: longest,
        };
        Poll::Ready(Err(bad.into()))
    }

    /// Reads, writes and judges the peer until nothing more can be done now. Ready means that the
    /// line is over.
    pub(super) fn poll(
        &mut self,
        ends: &Ends,
        limits: &Limits,
        cx: &mut Context<'_>,
    ) -> Poll<DownReason> {
        let now = Instant::now();
        match self.read(ends, now, cx) {
            Ok(Read::More) => cx.waker().wake_by_ref(),
            Ok(Read::All) => {}
            Err(reason) => return Poll::Ready(reason),
        }
        if let Err(reason) = self.write(ends, now, cx) {
            return Poll::Ready(reason);
        }
        loop {
            let Some((deadline, due)) = self.next_due(limits) else {
                return Poll::Pending;
            };
            if !self.alarm.is_past(deadline, cx) {
                return Poll::Pending;
            }
            match due {
                Due::End(reason) => return Poll::Ready(reason),
                Due::Ping => frame::encode(&[], &mut self.write),
                Due::Read => {
                    // From the beginning: what has arrived meanwhile is read first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            if let Err(reason) = self.write(ends, Instant::now(), cx) {
                return Poll::Ready(reason);
            }
        }
    }

    /// What happens next by itself, and when. A peer is judged for silence and for its unfinished
    /// frame only while it is read.
    fn next_due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let write = match self.write_since {
            None => (self.spoke + limits.ping_every, Due::Ping),
            Some(since) => (
                since + limits.write_patience,
                Due::End(Misbehaviour::SlowReader.into()),
            ),
        };
        let is_read = !self.stalled && self.paused_until.is_none();
        let silence = is_read.then(|| (self.heard + limits.silence, Due::End(DownReason::Silent)));
        let read = self.paused_until.map(|at| (at, Due::Read));
        let frame = self.frame_since.map(|since| {
            let reason = Misbehaviour::SlowFrame.into();
            (since + limits.frame_patience, Due::End(reason))
        });
        [Some(write), silence, frame, read]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn read(
        &mut self,
        ends: &Ends,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<Read, DownReason> {
        if let Some(until) = self.paused_until {
            if now < until {
                return Ok(Read::All);
            }
            self.paused_until = None;
            self.heard = now;
            self.frame_since = self.decoder.is_mid_frame().then_some(now);
        }
        if self.stalled {
            match ends.inbox.room(ends.peer, ends.session, cx) {
                Room::Full => return Ok(Read::All),
                Room::Gone => return Err(DownReason::Replaced),
                Room::Free => {
                    self.stalled = false;
                    self.heard = now;
                    self.frame_since = self.decoder.is_mid_frame().then_some(now);
                }
            }
        }
        let mut bytes = [0u8; READ_BYTES];
        for _ in 0..ROUNDS {
            let read = match Pin::new(&mut self.stream).poll_read(cx, &mut bytes) {
                Poll::Pending => return Ok(Read::All),
                Poll::Ready(Ok(0) | Err(_)) => return Err(DownReason::Closed),
                Poll::Ready(Ok(read)) => bytes.get(..read).unwrap_or_default(),
            };
            self.heard = now;
            let completed = &mut self.completed;
            let fed = self.decoder.feed(read, |frame| completed.push(frame));
            let paused_until = match (&mut self.pace, &fed) {
                (Some((pace, bucket)), Ok(frames)) => {
                    let cost = frames.saturating_add(read.len() / COUNTED_BYTES);
                    bucket.spend(u32::try_from(cost).unwrap_or(u32::MAX), *pace, now)
                }
                _ => None,
            };
            if matches!(fed, Ok(1..)) || self.frame_since.is_none() {
                self.frame_since = self.decoder.is_mid_frame().then_some(now);
            }
            let room = if self.completed.is_empty() {
                Room::Free
            } else {
                ends.inbox
                    .deliver(ends.peer, ends.session, &mut self.completed)
            };
            fed?;
            if paused_until.is_some() {
                self.paused_until = paused_until;
                self.frame_since = None;
            }
            match room {
                Room::Free if paused_until.is_some() => return Ok(Read::All),
                Room::Free => {}
                Room::Gone => return Err(DownReason::Replaced),
                Room::Full => {
                    self.stalled = true;
                    self.frame_since = None;
                    self.completed = Vec::new();
                    // Once more, to ask for being woken when there is room.
                    return Ok(Read::More);
                }
            }
        }
        Ok(Read::More)
    }

    fn write(&mut self, ends: &Ends, now: Instant, cx: &mut Context<'_>) -> Result<(), DownReason> {
        ends.outbox.register(cx.waker());
        let mut budget = ROUNDS;
        loop {
            if self.written == self.write.len() {
                self.written = 0;
                self.write.clear();
                if budget == 0 {
                    cx.waker().wake_by_ref();
                    break;
                }
                budget -= 1;
                ends.outbox.drain(&mut self.write, WRITE_BATCH);
            }
            let rest = self.write.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(taken @ 1..)) => {
                    self.written += taken;
                    self.unflushed = true;
                    self.write_since = None;
                }
                Poll::Ready(_) => return Err(DownReason::Closed),
                Poll::Pending => break,
            }
        }
        self.flush(now, cx)
    }

    /// Reads what has arrived and writes what is queued as far as the stream goes at once: a
    /// connection's end overtakes the last frames. The line is not used again.
    pub(super) fn finish(&mut self, ends: &Ends, cx: &mut Context<'_>) {
        let now = Instant::now();
        let written = self.write(ends, now, cx).is_ok();
        let mut read = self.read(ends, now, cx);
        while let Ok(Read::More) = read {
            read = self.read(ends, now, cx);
        }
        tracing::trace!(written, left = self.write.len(), "line finished");
    }

    fn flush(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(), DownReason> {
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    self.spoke = now;
                }
                Poll::Ready(Err(_)) => return Err(DownReason::Closed),
                Poll::Pending => {}
            }
        }
        if self.unflushed || self.written < self.write.len() {
            self.write_since.get_or_insert(now);
        } else {
            self.write_since = None;
            if self.write.capacity() > KEPT_BYTES {
                self.write = Vec::new();
            }
        }
        Ok(())
    }
}

/// Whether a read stopped because nothing more was there, or to let others have their turn.
enum Read {
    All,
    More,
}

/// What a line does when nobody makes it.
enum Due {
    Ping,
    /// A paced peer may be read again.
    Read,
    End(DownReason),
}
