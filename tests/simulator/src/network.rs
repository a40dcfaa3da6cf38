//! Lines between nodes: ordered within a session but for what is overtaken, nothing survives a session,
//! delay and repeat by chance. A line is one end's belief at a time: ends learn of a drop at different moments, or only
//! by the next session.

/// A machine of the simulated world: 0 the broker's, 1 the trust operator's, 2 + n the device of
/// account n.
pub type NodeId = usize;

/// A line between two nodes.
#[derive(Debug)]
pub struct Line {
    /// Both ends.
    pub ends: [NodeId; 2],
    /// The current session.
    pub session: u64,
    /// Whether the session carries anything.
    pub up: bool,
    /// The session that each end believes in.
    pub seen: [Option<u64>; 2],
    /// When the last item for each end arrives: what follows arrives later.
    pub last: [u64; 2],
    /// Until then no session can be made.
    pub apart_until: u64,
}

/// What travels on a line.
#[derive(Debug, Clone)]
pub enum Item {
    /// The session begins.
    Up,
    /// The session ended.
    Down,
    /// A frame of the real codec.
    Frame(Vec<u8>),
}

/// How bad the network is.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Longest usual delay in milliseconds.
    pub delay_ms: u64,
    /// One message in so many takes up to 8 s; 0 = never.
    pub slow_one_in: u64,
    /// One message in so many is delivered twice; 0 = never.
    pub twice_one_in: u64,
    /// One message in so many is overtaken by those behind it; 0 = never.
    pub overtaken_one_in: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const FAIR: Self = Self {
        delay_ms: 40,
        slow_one_in: 0,
        twice_one_in: 0,
        overtaken_one_in: 0,
    };
}

impl Line {
    /// A line that is down.
    #[must_use]
    pub fn new(ends: [NodeId; 2]) -> Self {
        Self {
            ends,
            session: 0,
            up: false,
            seen: [None, None],
            last: [0, 0],
            apart_until: 0,
        }
    }

    /// Which end a node is.
    #[must_use]
    pub fn end_of(&self, node: NodeId) -> Option<usize> {
        self.ends.iter().position(|n| *n == node)
    }

    /// A new session; the old one and its unread input are gone.
    pub fn connect(&mut self, now: u64) {
        self.session += 1;
        self.up = true;
        self.last = [now, now];
    }

    /// Whether this end may send in the current session.
    #[must_use]
    pub fn carries_from(&self, end: usize) -> bool {
        self.up && self.seen[end] == Some(self.session)
    }
}
