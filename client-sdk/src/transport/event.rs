//! What the transport tells its user, and why.
//!
//! Decides nothing: these are the words for what happened to a peer's line. A reason never holds
//! a frame's contents.

use libp2p::{Multiaddr, PeerId};

use super::limits::MAX_FRAME_BYTES;

/// One connection's life with a peer, numbered by this node since its start. A later session of
/// any peer has a greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What happened. `peer` is always the 32-byte Ed25519 identity key at the other end.
///
/// Per peer the order is `Up`, its `Frame`s as they were sent, `Down`; after `Up` of a session no
/// frame of an earlier one follows, and each delivered `Up` has exactly one `Down`. A session that
/// ended before its `Up` was read is not told at all when a newer one took its place.
/// `Misbehaved` and `DialFailed` are advice: they may overtake frames, and the oldest unread are
/// dropped when more than 256 wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// The line to `peer` is usable; `session` is the only one from now on.
    Up {
        /// Identity key of the peer.
        peer: [u8; 32],
        /// The session that began.
        session: SessionId,
    },
    /// The session ended.
    Down {
        /// Identity key of the peer.
        peer: [u8; 32],
        /// The session that ended.
        session: SessionId,
        /// Why.
        reason: DownReason,
    },
    /// A frame arrived.
    Frame {
        /// Identity key of the peer.
        peer: [u8; 32],
        /// The session that it arrived in, the peer's current one.
        session: SessionId,
        /// 1..=65,536 bytes, unchecked.
        frame: Vec<u8>,
    },
    /// The peer broke a rule of the line and was cut.
    Misbehaved {
        /// Identity key of the peer.
        peer: [u8; 32],
        /// The rule.
        reason: Misbehaviour,
    },
    /// A dial that `connect` asked for failed; it is repeated until `forget`.
    DialFailed {
        /// Identity key of the peer that was wanted.
        peer: [u8; 32],
        /// Why; boxed because frames, which are many, would otherwise carry its size.
        reason: Box<DialFailure>,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The peer closed the line, or the connection under it broke.
    #[error("the line was closed or broke")]
    Closed,
    /// A newer session of the same peer took its place.
    #[error("a newer session of the same peer took over")]
    Replaced,
    /// `forget` was called.
    #[error("this node forgot the peer")]
    Forgotten,
    /// `shutdown` was called.
    #[error("this node shuts down")]
    Shutdown,
    /// Nothing arrived, not even a ping, for the time that the limits give.
    #[error("nothing was heard for too long")]
    Silent,
    /// A stranger was not promoted in time, or a promoted one is still not known.
    #[error("a stranger's time ran out")]
    Expired,
    /// The peer broke a rule.
    #[error("the peer misbehaved: {0}")]
    Misbehaved(#[from] Misbehaviour),
}

/// A rule of the line that a peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// A frame's announced length is above the limit.
    #[error("frame has {length} bytes, expected at most {MAX_FRAME_BYTES}")]
    OversizeFrame {
        /// The announced length in bytes.
        length: u32,
    },
    /// A frame was begun and not finished in time.
    #[error("a frame was begun and not finished in time")]
    SlowFrame,
    /// None of our bytes were taken for too long.
    #[error("our bytes were not taken in time")]
    SlowReader,
    /// No stream, or no hello on it, in time.
    #[error("no stream was opened in time")]
    NoStream,
    /// A stream beyond the one that a line has, or one opened by the wrong side.
    #[error("a second stream was opened")]
    ExtraStream,
    /// The first frame is not a hello.
    #[error("hello has {found} bytes, expected {expected}")]
    BadHello {
        /// Bytes that came.
        found: usize,
        /// Bytes of a hello.
        expected: usize,
    },
}

/// Why a dial failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialFailure {
    /// Somebody else answers at the address.
    #[error("peer at {address} is {found}, expected {expected}")]
    WrongPeer {
        /// Who answered.
        found: PeerId,
        /// Who was pinned.
        expected: PeerId,
        /// Where.
        address: Multiaddr,
    },
    /// No connection, or no handshake, within the time that the limits give.
    #[error("no connection to {address}: {detail}")]
    Unreachable {
        /// Where.
        address: Multiaddr,
        /// The operating system's or the handshake's words.
        detail: String,
    },
    /// The peer was reached and closed the line before it became a session: it does not admit us.
    #[error("the peer closed the line before it could be used")]
    Refused,
    /// `connect` was given no address.
    #[error("no address to dial")]
    NoAddress,
    /// The dial was given up on this side.
    #[error("dial was given up: {detail}")]
    Aborted {
        /// Which rule of this node.
        detail: String,
    },
}
