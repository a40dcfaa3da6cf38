//! Events waiting to be read by the node, a lane per peer.
//!
//! Decides what a reader still gets when sessions change (a new session kills the old one's unread
//! frames), in which turn peers are served (one event each, round robin), and when a peer has sent
//! enough for now: its line then stops reading until the reader has caught up, and no other line
//! notices. Memory is bounded per peer by `Limits::inbox_bytes` and in all by the number of
//! connections. It never drops a frame of the current session.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::Notify;

use super::event::{DownReason, NetEvent, SessionId};
use super::limits::{FRAME_OVERHEAD, MAX_NOTICES};

/// Places that an empty lane may keep: a burst's memory is given back.
const KEPT_PLACES: usize = 8;

/// A peer's unread events. Read in this order: `before`, up, `frames`, `end`.
struct Lane {
    session: SessionId,
    /// Whether the reader has been told of `session`.
    told_up: bool,
    /// The end of the session before, if the reader knew that one.
    before: Option<(SessionId, DownReason)>,
    frames: VecDeque<Vec<u8>>,
    /// Sum of lengths plus overhead of `frames`.
    charged: usize,
    end: Option<DownReason>,
    /// The line that stopped reading because `charged` reached the limit.
    stalled: Option<Waker>,
    /// Whether the peer stands in `State::ready`.
    queued: bool,
}

#[derive(Default)]
struct State {
    notices: VecDeque<NetEvent>,
    lanes: HashMap<[u8; 32], Lane>,
    ready: VecDeque<[u8; 32]>,
    closed: bool,
}

/// Shared by the lines, which deliver, and the one [`NetEvents`], which reads.
pub(super) struct Inbox {
    state: Mutex<State>,
    reader: Notify,
    max_bytes: usize,
    max_lanes: usize,
}

/// What a line may do after it delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Read on.
    Free,
    /// Stop reading; the line is woken when there is room.
    Full,
    /// The session is over.
    Gone,
}

impl Inbox {
    /// `max_bytes` per peer; `max_lanes` peers, ended ones with unread events included.
    pub(super) fn new(max_bytes: usize, max_lanes: usize) -> Self {
        Self {
            state: Mutex::default(),
            reader: Notify::new(),
            max_bytes,
            max_lanes,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins `session`, ends the peer's earlier one and drops that one's unread frames. False if
    /// too many peers have unread events: the session must not begin.
    #[must_use]
    pub(super) fn open(&self, peer: [u8; 32], session: SessionId) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let full = state.lanes.len() >= self.max_lanes;
        match state.lanes.entry(peer) {
            Entry::Vacant(_) if full => return false,
            Entry::Vacant(place) => {
                place.insert(Lane::new(session, None, false));
            }
            Entry::Occupied(mut place) => {
                let old = place.get_mut();
                let before = if old.told_up {
                    let reason = old.end.take().unwrap_or(DownReason::Replaced);
                    Some((old.session, reason))
                } else {
                    old.before.take()
                };
                let queued = old.queued;
                if let Some(line) = old.stalled.take() {
                    line.wake();
                }
                *old = Lane::new(session, before, queued);
            }
        }
        state.queue(peer);
        drop(guard);
        self.reader.notify_one();
        true
    }

    /// Ends `session` if it is the peer's current one and has not ended. Its unread frames stay
    /// readable unless `drop_unread`.
    pub(super) fn end(
        &self,
        peer: [u8; 32],
        session: SessionId,
        reason: DownReason,
        drop_unread: bool,
    ) {
        let mut state = self.state();
        let Some(lane) = state.lanes.get_mut(&peer) else {
            return;
        };
        if lane.session != session || lane.end.is_some() {
            return;
        }
        lane.end = Some(reason);
        if drop_unread {
            lane.frames = VecDeque::new();
            lane.charged = 0;
        }
        if let Some(line) = lane.stalled.take() {
            line.wake();
        }
        state.queue(peer);
        drop(state);
        self.reader.notify_one();
    }

    /// Hands over the frames that one read completed, and says whether to read on.
    pub(super) fn deliver(
        &self,
        peer: [u8; 32],
        session: SessionId,
        frames: &mut Vec<Vec<u8>>,
    ) -> Room {
        let mut state = self.state();
        let Some(lane) = state.lanes.get_mut(&peer) else {
            return Room::Gone;
        };
        if lane.session != session || lane.end.is_some() {
            frames.clear();
            return Room::Gone;
        }
        for frame in frames.drain(..) {
            lane.charged += frame.len() + FRAME_OVERHEAD;
            lane.frames.push_back(frame);
        }
        let full = lane.charged >= self.max_bytes;
        state.queue(peer);
        drop(state);
        self.reader.notify_one();
        if full { Room::Full } else { Room::Free }
    }

    /// Whether a line that was told [`Room::Full`] may read on; if not, it is woken when it may.
    pub(super) fn room(&self, peer: [u8; 32], session: SessionId, cx: &Context<'_>) -> Room {
        let mut state = self.state();
        match state.lanes.get_mut(&peer) {
            Some(lane) if lane.session == session && lane.end.is_none() => {
                if lane.charged < self.max_bytes {
                    return Room::Free;
                }
                lane.stalled = Some(cx.waker().clone());
                Room::Full
            }
            _ => Room::Gone,
        }
    }

    /// Adds advice, dropping the oldest if too much is unread.
    pub(super) fn notice(&self, event: NetEvent) {
        let mut state = self.state();
        if state.notices.len() >= MAX_NOTICES {
            state.notices.pop_front();
        }
        state.notices.push_back(event);
        drop(state);
        self.reader.notify_one();
    }

    /// Lets the reader come to an end once it has read what is there.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.reader.notify_one();
    }

    fn pop(&self) -> Popped {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(notice) = state.notices.pop_front() {
            return Popped::Event(notice);
        }
        while let Some(peer) = state.ready.pop_front() {
            let Some(lane) = state.lanes.get_mut(&peer) else {
                continue;
            };
            lane.queued = false;
            let event = lane.pop(peer, self.max_bytes / 2);
            let over =
                matches!(&event, Some(NetEvent::Down { session, .. }) if *session == lane.session);
            if over {
                state.lanes.remove(&peer);
            } else {
                state.queue(peer);
            }
            if let Some(event) = event {
                return Popped::Event(event);
            }
        }
        if state.closed {
            Popped::Closed
        } else {
            Popped::Nothing
        }
    }
}

enum Popped {
    Event(NetEvent),
    Nothing,
    Closed,
}

impl State {
    fn queue(&mut self, peer: [u8; 32]) {
        if let Some(lane) = self.lanes.get_mut(&peer)
            && !lane.queued
            && lane.has_event()
        {
            lane.queued = true;
            self.ready.push_back(peer);
        }
    }
}

impl Lane {
    fn new(session: SessionId, before: Option<(SessionId, DownReason)>, queued: bool) -> Self {
        Self {
            session,
            told_up: false,
            before,
            frames: VecDeque::new(),
            charged: 0,
            end: None,
            stalled: None,
            queued,
        }
    }

    fn has_event(&self) -> bool {
        self.before.is_some() || !self.told_up || !self.frames.is_empty() || self.end.is_some()
    }

    fn pop(&mut self, peer: [u8; 32], low_water: usize) -> Option<NetEvent> {
        if let Some((session, reason)) = self.before.take() {
            return Some(NetEvent::Down {
                peer,
                session,
                reason,
            });
        }
        let session = self.session;
        if !self.told_up {
            self.told_up = true;
            return Some(NetEvent::Up { peer, session });
        }
        if let Some(frame) = self.frames.pop_front() {
            self.charged -= frame.len() + FRAME_OVERHEAD;
            if self.charged < low_water
                && let Some(line) = self.stalled.take()
            {
                line.wake();
            }
            if self.frames.is_empty() && self.frames.capacity() > KEPT_PLACES {
                self.frames = VecDeque::new();
            }
            return Some(NetEvent::Frame {
                peer,
                session,
                frame,
            });
        }
        let reason = self.end.take()?;
        Some(NetEvent::Down {
            peer,
            session,
            reason,
        })
    }
}

/// The one reader of what happens on the network. Dropping it shuts the network down.
pub struct NetEvents {
    pub(super) inbox: Arc<Inbox>,
    pub(super) _stop: super::Stop,
}

impl std::fmt::Debug for NetEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NetEvents")
    }
}

impl NetEvents {
    /// The next event; `None` once the network has shut down and everything was read. Cancelling
    /// the returned future loses nothing.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        loop {
            match self.inbox.pop() {
                Popped::Event(event) => return Some(event),
                Popped::Closed => return None,
                Popped::Nothing => self.inbox.reader.notified().await,
            }
        }
    }

    /// An event that is already there, or `None` without waiting.
    pub fn try_recv(&mut self) -> Option<NetEvent> {
        match self.inbox.pop() {
            Popped::Event(event) => Some(event),
            Popped::Closed | Popped::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 32] = [1; 32];
    const B: [u8; 32] = [2; 32];

    fn next(inbox: &Inbox) -> Option<NetEvent> {
        match inbox.pop() {
            Popped::Event(event) => Some(event),
            _ => None,
        }
    }

    fn deliver(inbox: &Inbox, peer: [u8; 32], session: u64, byte: u8) -> Room {
        inbox.deliver(peer, SessionId(session), &mut vec![vec![byte]])
    }

    fn up(peer: [u8; 32], session: u64) -> Option<NetEvent> {
        let session = SessionId(session);
        Some(NetEvent::Up { peer, session })
    }

    fn down(peer: [u8; 32], session: u64, reason: DownReason) -> Option<NetEvent> {
        let session = SessionId(session);
        Some(NetEvent::Down {
            peer,
            session,
            reason,
        })
    }

    fn frame(peer: [u8; 32], session: u64, byte: u8) -> Option<NetEvent> {
        Some(NetEvent::Frame {
            peer,
            session: SessionId(session),
            frame: vec![byte],
        })
    }

    #[test]
    fn a_new_session_kills_the_old_ones_unread_frames() {
        let inbox = Inbox::new(1 << 20, 8);
        assert!(inbox.open(A, SessionId(1)));
        deliver(&inbox, A, 1, 10);
        deliver(&inbox, A, 1, 11);
        assert_eq!(next(&inbox), up(A, 1));
        assert_eq!(next(&inbox), frame(A, 1, 10));
        assert!(inbox.open(A, SessionId(2)));
        assert_eq!(deliver(&inbox, A, 1, 12), Room::Gone);
        deliver(&inbox, A, 2, 20);
        inbox.end(A, SessionId(1), DownReason::Closed, false);
        inbox.end(A, SessionId(2), DownReason::Closed, false);
        inbox.end(A, SessionId(2), DownReason::Silent, false);
        assert_eq!(next(&inbox), down(A, 1, DownReason::Replaced));
        assert_eq!(next(&inbox), up(A, 2));
        assert_eq!(next(&inbox), frame(A, 2, 20));
        assert_eq!(next(&inbox), down(A, 2, DownReason::Closed));
        assert_eq!(next(&inbox), None);
        assert!(inbox.state().lanes.is_empty());
    }

    #[test]
    fn a_session_nobody_was_told_of_vanishes_when_replaced() {
        let inbox = Inbox::new(1 << 20, 8);
        for session in 1..100 {
            assert!(inbox.open(A, SessionId(session)));
            deliver(&inbox, A, session, 0);
            inbox.end(A, SessionId(session), DownReason::Closed, false);
        }
        assert_eq!(next(&inbox), up(A, 99));
        assert_eq!(next(&inbox), frame(A, 99, 0));
        assert_eq!(next(&inbox), down(A, 99, DownReason::Closed));
        assert_eq!(next(&inbox), None);
    }

    #[test]
    fn peers_take_turns_and_one_peers_fill_is_its_own() {
        let inbox = Inbox::new(3 * (1 + FRAME_OVERHEAD), 8);
        assert!(inbox.open(A, SessionId(1)));
        assert!(inbox.open(B, SessionId(2)));
        assert_eq!(deliver(&inbox, A, 1, 0), Room::Free);
        assert_eq!(deliver(&inbox, A, 1, 1), Room::Free);
        assert_eq!(deliver(&inbox, A, 1, 2), Room::Full);
        assert_eq!(deliver(&inbox, B, 2, 9), Room::Free);
        let read: Vec<_> = std::iter::from_fn(|| next(&inbox)).collect();
        let expected = [
            up(A, 1),
            up(B, 2),
            frame(A, 1, 0),
            frame(B, 2, 9),
            frame(A, 1, 1),
            frame(A, 1, 2),
        ];
        assert_eq!(read, expected.into_iter().flatten().collect::<Vec<_>>());
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(inbox.room(A, SessionId(1), &cx), Room::Free);
    }

    #[test]
    fn unread_peers_are_bounded() {
        let inbox = Inbox::new(1 << 20, 1);
        assert!(inbox.open(A, SessionId(1)));
        inbox.end(A, SessionId(1), DownReason::Closed, false);
        assert!(!inbox.open(B, SessionId(2)));
        while next(&inbox).is_some() {}
        assert!(inbox.open(B, SessionId(3)));
    }
}
