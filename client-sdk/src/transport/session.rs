//! Which of a peer's connections is its session.
//!
//! A new connection of the same peer takes over from the old one, but two peers that dial each
//! other at once must end with exactly one. Had each side to judge for itself, both could close the
//! connection that the other kept. So one side decides: the one with the smaller identity key. It
//! says so in the *hello*, the first frame of each line that it takes, and the other side follows.
//! Hellos carry a number because two of them travel on two connections and may overtake each other.
//! This module is pure: it never closes anything.

use std::time::Duration;

use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

use super::event::{Misbehaviour, SessionId};

/// Bytes of an encoded [`Hello`].
pub(super) const HELLO_BYTES: usize = 16;

/// The deciding side's word that this line is the session. On the wire: instance (8 bytes), number
/// (u64 big-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Random per start of the deciding node, so that its restart resets `number`.
    pub(super) instance: [u8; 8],
    /// The deciding node's session number.
    pub(super) number: u64,
}

impl Hello {
    pub(super) fn encode(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let (instance, number) = bytes.split_at_mut(8);
        instance.copy_from_slice(&self.instance);
        number.copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    pub(super) fn decode(frame: &[u8]) -> Result<Self, Misbehaviour> {
        let bad = Misbehaviour::BadHello {
            found: frame.len(),
            expected: HELLO_BYTES,
        };
        let (instance, number) = frame.split_at_checked(8).ok_or(bad)?;
        Ok(Self {
            instance: instance.try_into().map_err(|_| bad)?,
            number: u64::from_be_bytes(number.try_into().map_err(|_| bad)?),
        })
    }
}

/// Whether this side decides. A node never has a line to itself, so the keys differ.
pub(super) fn decides(own: &[u8; 32], peer: &[u8; 32]) -> bool {
    own < peer
}

/// A peer's session, as its node sees it.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) session: SessionId,
    pub(super) connection: ConnectionId,
    pub(super) opened: Instant,
    /// Whether this node dialled.
    pub(super) outbound: bool,
    /// The hello that began it: sent if this node decides, else received.
    pub(super) hello: Hello,
}

/// Whether the deciding side takes a line that has just opened.
///
/// It does, unless the present session is younger than `window` and was dialled from the other
/// end: then both dialled at once, and the line that was first stays. A peer that lost its young
/// session for real is refused until the window is over or the loss is noticed here, and dials
/// again meanwhile.
pub(super) fn decider_takes(
    current: Option<&Current>,
    outbound: bool,
    now: Instant,
    window: Duration,
) -> bool {
    current.is_none_or(|current| {
        current.outbound == outbound || now.saturating_duration_since(current.opened) >= window
    })
}

/// Whether the following side takes a line whose hello has just come: unless it has a later word of
/// the same instance.
pub(super) fn follower_takes(current: Option<&Current>, hello: &Hello) -> bool {
    current.is_none_or(|current| {
        current.hello.instance != hello.instance || current.hello.number < hello.number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(5);

    fn current(outbound: bool, instance: u8, number: u64) -> Current {
        Current {
            session: SessionId(1),
            connection: ConnectionId::new_unchecked(1),
            opened: Instant::now(),
            outbound,
            hello: Hello {
                instance: [instance; 8],
                number,
            },
        }
    }

    #[test]
    fn hello_bytes_are_frozen() {
        let hello = Hello {
            instance: [1, 2, 3, 4, 5, 6, 7, 8],
            number: 0x0a0b,
        };
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b];
        assert_eq!(hello.encode(), bytes);
        assert_eq!(Hello::decode(&bytes), Ok(hello));
        for wrong in [&bytes[..15], &[0; 17], &[]] {
            assert!(matches!(
                Hello::decode(wrong),
                Err(Misbehaviour::BadHello { expected: 16, .. })
            ));
        }
    }

    #[test]
    fn the_decider_keeps_the_first_of_two_simultaneous_dials_only() {
        let young = current(true, 0, 1);
        let (now, later) = (young.opened, young.opened + WINDOW);
        assert!(decider_takes(None, false, now, WINDOW));
        assert!(!decider_takes(Some(&young), false, now, WINDOW));
        assert!(decider_takes(Some(&young), true, now, WINDOW));
        assert!(decider_takes(Some(&young), false, later, WINDOW));
    }

    #[test]
    fn the_follower_takes_the_later_word_or_another_instance() {
        let held = current(true, 1, 5);
        let hello = |instance: u8, number| Hello {
            instance: [instance; 8],
            number,
        };
        assert!(follower_takes(None, &hello(1, 1)));
        assert!(follower_takes(Some(&held), &hello(1, 6)));
        assert!(!follower_takes(Some(&held), &hello(1, 5)));
        assert!(!follower_takes(Some(&held), &hello(1, 4)));
        assert!(follower_takes(Some(&held), &hello(2, 1)));
    }
}
