//! When and where to dial a wanted peer again.
//!
//! Decides the pause before each try: it doubles from `redial_first` to `redial_longest`, with
//! jitter so that nodes that lost each other do not meet again and again. A session's end adds up
//! to `redial_spread`, so that a restarted operator is not met by all its devices at once. Addresses take turns, one per try, so that a
//! wrong one delays the right one but never hides it. It never dials.

use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

use super::limits::Limits;

/// A peer that `connect` asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    addresses: Vec<Multiaddr>,
    /// Tries since the pause was last reset.
    tries: u32,
    /// Index of the next address, modulo their number.
    next: usize,
    /// When to dial; `None` while there is a session or a dial under way.
    pub(super) due: Option<Instant>,
    /// The dial or the young connection under way, and where it goes.
    pub(super) dialling: Option<(ConnectionId, Multiaddr)>,
}

impl Wanted {
    pub(super) fn new(addresses: Vec<Multiaddr>, now: Instant) -> Self {
        Self {
            addresses,
            tries: 0,
            next: 0,
            due: Some(now),
            dialling: None,
        }
    }

    /// Takes other addresses; a dial under way goes on.
    pub(super) fn replace_addresses(&mut self, addresses: Vec<Multiaddr>) {
        self.addresses = addresses;
    }

    /// The address whose turn it is.
    pub(super) fn next_address(&mut self) -> Option<Multiaddr> {
        let turn = self.next.checked_rem(self.addresses.len())?;
        self.next = turn + 1;
        self.addresses.get(turn).cloned()
    }

    /// Schedules the next try. `jitter` is uniform in 0..=255.
    pub(super) fn schedule(&mut self, now: Instant, jitter: u8, limits: &Limits) {
        self.dialling = None;
        self.due = Some(now + pause(self.tries, jitter, limits));
        self.tries = self.tries.saturating_add(1);
    }

    /// Schedules the next try after a session that lived for `lived`.
    pub(super) fn session_ended(
        &mut self,
        lived: Duration,
        now: Instant,
        jitter: u8,
        limits: &Limits,
    ) {
        if lived >= limits.redial_longest {
            self.tries = 0;
        }
        self.schedule(now, jitter, limits);
        let spread = limits.redial_spread / 255 * u32::from(jitter);
        self.due = self.due.map(|due| due + spread);
    }

    /// Nothing to do while there is a session.
    pub(super) fn session_began(&mut self) {
        self.dialling = None;
        self.due = None;
    }
}

/// Half of the doubled pause is certain, the other half is jitter.
fn pause(tries: u32, jitter: u8, limits: &Limits) -> Duration {
    let doubled = limits
        .redial_first
        .saturating_mul(1u32.checked_shl(tries).unwrap_or(u32::MAX))
        .min(limits.redial_longest);
    doubled / 2 + (doubled / 2 / 255) * u32::from(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_its_limit_and_jitter_stays_inside() {
        let limits = Limits {
            redial_longest: Duration::from_secs(10),
            ..Limits::default()
        };
        let longest: Vec<_> = (0..9).map(|n| pause(n, 255, &limits).as_millis()).collect();
        let shortest: Vec<_> = (0..9).map(|n| pause(n, 0, &limits).as_millis()).collect();
        assert_eq!(shortest, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        for (most, least) in longest.iter().zip(&shortest) {
            assert!(*most <= least * 2 && *most >= least * 2 - 1);
        }
        assert_eq!(pause(u32::MAX, 0, &limits), limits.redial_longest / 2);
    }

    #[test]
    fn addresses_take_turns() {
        let addresses: Vec<Multiaddr> = ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/2"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let mut wanted = Wanted::new(addresses.clone(), Instant::now());
        for turn in 0..4 {
            assert_eq!(wanted.next_address().as_ref(), addresses.get(turn % 2));
        }
        assert_eq!(Wanted::new(vec![], Instant::now()).next_address(), None);
    }

    #[test]
    fn only_a_session_that_lived_resets_the_pause() {
        let limits = Limits::default();
        let now = Instant::now();
        let mut wanted = Wanted::new(vec![], now);
        for _ in 0..5 {
            wanted.session_ended(Duration::from_millis(1), now, 0, &limits);
        }
        assert_eq!(wanted.due, Some(now + Duration::from_millis(1600)));
        wanted.session_ended(limits.redial_longest, now, 0, &limits);
        assert_eq!(wanted.due, Some(now + Duration::from_millis(100)));
    }

    #[test]
    fn a_sessions_end_is_spread_and_a_failed_dial_is_not() {
        let limits = Limits::default();
        let now = Instant::now();
        let due = |jitter, limits: &Limits| {
            let mut wanted = Wanted::new(vec![], now);
            wanted.session_ended(limits.redial_longest, now, jitter, limits);
            wanted.due.unwrap() - now
        };
        assert_eq!(due(0, &limits), limits.redial_first / 2);
        let last = due(255, &limits);
        assert!(last > limits.redial_spread, "{last:?}");
        assert!(last <= limits.redial_spread + limits.redial_first);
        assert!(due(255, &Limits::of_operator()) <= limits.redial_first);
        let mut wanted = Wanted::new(vec![], now);
        wanted.schedule(now, 255, &limits);
        assert!(wanted.due.unwrap() <= now + limits.redial_first);
    }
}
