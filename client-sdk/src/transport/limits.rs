//! Every bound of the transport in one place: sizes, counts and times.
//!
//! Decides how much memory, how many connections and how much patience a peer gets before and
//! after it is known. The defaults are the constants below; a test or a small machine may pass
//! other [`Limits`], except for the frame size, which both ends of a line must agree on. This file
//! never enforces anything: each user of a limit names it.

use std::time::Duration;

use super::pace::Pace;

/// Longest frame in bytes, without its 4-byte length. Checked before anything is allocated: the
/// largest wire message (an `Endorse` with two full bodies) stays well below.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// Connections whose Noise handshake is not finished, all addresses together. Each costs a socket
/// and a Diffie-Hellman before the allow-list can be asked.
pub const MAX_PENDING: usize = 64;

/// Unfinished handshakes from one address (one IPv4 address, one IPv6 /64): the allow-list acts
/// only after the handshake, so this is all that stands against a flood from one machine.
pub const MAX_PENDING_PER_ADDRESS: usize = 16;

/// Unfinished handshakes from loopback: proxies and local processes share that one address.
pub const MAX_PENDING_LOOPBACK: usize = 48;

/// Inbound connections whose handshake is begun in a second, for long, all addresses together. A handshake
/// costs up to a millisecond of a processor before anybody is known: this bounds what strangers can make a
/// node spend, and lets all its devices come back within seconds of a restart.
pub const ACCEPTS_PER_S: u32 = 1_000;

/// The same at once, after a rest: the devices of a restarted operator.
pub const ACCEPT_BURST: u32 = 4_096;

/// The same from one address (one IPv4 address, one IPv6 /64), for long: the devices of one network behind one
/// address come back by and by, and one machine can't take all of [`ACCEPTS_PER_S`].
pub const ACCEPTS_PER_S_PER_ADDRESS: u32 = 20;

/// The same from one address at once.
pub const ACCEPT_BURST_PER_ADDRESS: u32 = 128;

/// The same from loopback: proxies and local processes share that one address.
pub const ACCEPTS_PER_S_LOOPBACK: u32 = 200;

/// The same from loopback at once.
pub const ACCEPT_BURST_LOOPBACK: u32 = 512;

/// Addresses whose accepts are counted at once; those that rest are forgotten. Further ones are counted
/// together.
pub const MAX_COUNTED_ADDRESSES: usize = 4_096;

/// Frames of a paced peer (a device, at its operators) that are read in a second, for long; every 1,024 bytes count
/// as one more. A login is three frames: a device that sends more waits, and nobody else does.
pub const FRAMES_PER_S: u32 = 50;

/// The same at once, after a rest: an enrolment, or catching up.
pub const FRAME_BURST: u32 = 400;

/// Established connections, all peers together: about 31 KiB of memory each when idle.
pub const MAX_ESTABLISHED: usize = 4096;

/// Connections of one peer: the one in use and the one that is about to replace it.
pub const MAX_PER_PEER: usize = 2;

/// Yamux streams of one connection. One is used; a second one in the same direction is already
/// misbehaviour, and this bounds what a peer can make the multiplexer hold before that is noticed.
pub const MAX_STREAMS: usize = 4;

/// Inbound streams that may negotiate their protocol at once on one connection.
pub const MAX_NEGOTIATING: usize = 2;

/// Peers of unknown identity at once: devices that are about to enrol.
pub const MAX_STRANGERS: usize = 64;

/// Strangers from one address (one IPv4 address, one IPv6 /64; loopback exempt), so that one
/// machine with many keys cannot take every enrolment slot.
pub const MAX_STRANGERS_PER_ADDRESS: usize = 16;

/// How long a stranger stays without being promoted.
pub const STRANGER_LIFETIME: Duration = Duration::from_secs(15);

/// How long a promoted stranger stays before admission is asked again: a ticket's longest life.
pub const ENROLMENT_LIFETIME: Duration = Duration::from_secs(600);

/// TCP connect, Noise and Yamux together; then again for the stream and its hello.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// A frame begun and not finished in this time cuts the line.
pub const FRAME_PATIENCE: Duration = Duration::from_secs(5);

/// A peer that takes none of our bytes for this time is cut.
pub const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// Each side sends an empty frame when it has sent nothing for this time. Home routers and mobile
/// networks forget an idle connection after half a minute at the worst; more often would cost a
/// phone's battery and tell nobody anything.
pub const PING_EVERY: Duration = Duration::from_secs(25);

/// A line on which nothing arrived for this time is dead, also where no packet says so (a NAT table
/// that was lost, a machine without power): two pings did not come.
pub const SILENCE: Duration = Duration::from_secs(60);

/// First pause before dialling again.
pub const REDIAL_FIRST: Duration = Duration::from_millis(200);

/// Longest pause before dialling again; a session that lived as long resets the pause.
pub const REDIAL_LONGEST: Duration = Duration::from_secs(30);

/// The same for the line between the operators: it is one, and while it is down nobody logs in.
pub const REDIAL_LONGEST_OF_OPERATOR: Duration = Duration::from_secs(2);

/// A session's end adds a pause of up to this, uniform: devices whose operator restarts all lose
/// their lines in one moment, and each handshake costs it a millisecond.
pub const REDIAL_SPREAD: Duration = Duration::from_secs(2);

/// Received and unread bytes of one peer (each frame counts [`FRAME_OVERHEAD`] more) at which
/// reading from that peer stops. Overshoot is at most one read and one frame.
pub const INBOX_BYTES: usize = 256 * 1024;

/// Frames queued for one peer and not yet written.
pub const OUTBOX_FRAMES: usize = 1024;

/// Bytes queued for one peer and not yet written, [`FRAME_OVERHEAD`] per frame included.
pub const OUTBOX_BYTES: usize = 1024 * 1024;

/// What a queued frame costs beyond its bytes: its place in the queue and the allocator's header.
pub const FRAME_OVERHEAD: usize = 48;

/// Unread notices (failed dials, misbehaviour); the oldest is dropped first, they are advice.
pub const MAX_NOTICES: usize = 256;

/// The bounds a node may choose. [`Default`] gives the constants of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`MAX_PENDING`].
    pub pending: usize,
    /// See [`MAX_PENDING_PER_ADDRESS`].
    pub pending_per_address: usize,
    /// See [`MAX_PENDING_LOOPBACK`].
    pub pending_loopback: usize,
    /// See [`ACCEPTS_PER_S`] and [`ACCEPT_BURST`].
    pub accepts: Pace,
    /// See [`ACCEPTS_PER_S_PER_ADDRESS`] and [`ACCEPT_BURST_PER_ADDRESS`].
    pub accepts_per_address: Pace,
    /// See [`ACCEPTS_PER_S_LOOPBACK`] and [`ACCEPT_BURST_LOOPBACK`].
    pub accepts_loopback: Pace,
    /// See [`FRAMES_PER_S`] and [`FRAME_BURST`].
    pub frames: Pace,
    /// See [`MAX_ESTABLISHED`]; strangers are counted in it.
    pub established: usize,
    /// See [`MAX_STRANGERS`].
    pub strangers: usize,
    /// See [`MAX_STRANGERS_PER_ADDRESS`].
    pub strangers_per_address: usize,
    /// See [`STRANGER_LIFETIME`].
    pub stranger_lifetime: Duration,
    /// See [`ENROLMENT_LIFETIME`].
    pub enrolment_lifetime: Duration,
    /// See [`HANDSHAKE`].
    pub handshake: Duration,
    /// See [`FRAME_PATIENCE`].
    pub frame_patience: Duration,
    /// See [`WRITE_PATIENCE`].
    pub write_patience: Duration,
    /// See [`PING_EVERY`].
    pub ping_every: Duration,
    /// See [`SILENCE`].
    pub silence: Duration,
    /// See [`REDIAL_FIRST`].
    pub redial_first: Duration,
    /// See [`REDIAL_LONGEST`].
    pub redial_longest: Duration,
    /// See [`REDIAL_SPREAD`].
    pub redial_spread: Duration,
    /// See [`INBOX_BYTES`].
    pub inbox_bytes: usize,
    /// See [`OUTBOX_FRAMES`].
    pub outbox_frames: usize,
    /// See [`OUTBOX_BYTES`].
    pub outbox_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending: MAX_PENDING,
            pending_per_address: MAX_PENDING_PER_ADDRESS,
            pending_loopback: MAX_PENDING_LOOPBACK,
            accepts: Pace {
                per_s: ACCEPTS_PER_S,
                burst: ACCEPT_BURST,
            },
            accepts_per_address: Pace {
                per_s: ACCEPTS_PER_S_PER_ADDRESS,
                burst: ACCEPT_BURST_PER_ADDRESS,
            },
            accepts_loopback: Pace {
                per_s: ACCEPTS_PER_S_LOOPBACK,
                burst: ACCEPT_BURST_LOOPBACK,
            },
            frames: Pace {
                per_s: FRAMES_PER_S,
                burst: FRAME_BURST,
            },
            established: MAX_ESTABLISHED,
            strangers: MAX_STRANGERS,
            strangers_per_address: MAX_STRANGERS_PER_ADDRESS,
            stranger_lifetime: STRANGER_LIFETIME,
            enrolment_lifetime: ENROLMENT_LIFETIME,
            handshake: HANDSHAKE,
            frame_patience: FRAME_PATIENCE,
            write_patience: WRITE_PATIENCE,
            ping_every: PING_EVERY,
            silence: SILENCE,
            redial_first: REDIAL_FIRST,
            redial_longest: REDIAL_LONGEST,
            redial_spread: REDIAL_SPREAD,
            inbox_bytes: INBOX_BYTES,
            outbox_frames: OUTBOX_FRAMES,
            outbox_bytes: OUTBOX_BYTES,
        }
    }
}

impl Limits {
    /// The bounds of an operator's node: it dials the other operator only, and at once.
    #[must_use]
    pub fn of_operator() -> Self {
        Self {
            redial_longest: REDIAL_LONGEST_OF_OPERATOR,
            redial_spread: Duration::ZERO,
            ..Self::default()
        }
    }
}
