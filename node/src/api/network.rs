//! Which network an address belongs to, where requests and connections are counted by network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A network: the first 24 bits of an IPv4 address, or the first 56 of an IPv6 address, which is
/// what one customer's line or one small site has. An IPv4 address inside IPv6 counts as IPv4.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Network {
    V4([u8; 3]),
    V6([u8; 7]),
}

impl Network {
    pub(super) fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Network::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, ..] = address.octets();
                Network::V6([a, b, c, d, e, f, g])
            }
        }
    }
}

/// How many connections each network has; as many networks as there are connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Present(Arc<Mutex<HashMap<Network, usize>>>);

impl Present {
    /// Enters a connection, unless its network has `most` already. Loopback is not counted.
    pub(super) fn enter(&self, address: IpAddr, most: usize) -> Option<Entered> {
        if address.to_canonical().is_loopback() {
            return Some(Entered(None));
        }
        let network = Network::of(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Entered(Some((self.clone(), network))))
    }
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Entered(Option<(Present, Network)>);

impl Drop for Entered {
    fn drop(&mut self) {
        let Some((present, network)) = self.0.take() else {
            return;
        };
        let mut counts = present.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn neighbours_are_one_network_and_strangers_are_not() {
        assert_eq!(of("203.0.113.7"), of("203.0.113.250"));
        assert_ne!(of("203.0.113.7"), of("203.0.112.7"));
        assert_eq!(of("::ffff:203.0.113.7"), of("203.0.113.9"));
        assert_eq!(of("2001:db8:1:2300::1"), of("2001:db8:1:23ff:ffff::2"));
        assert_ne!(of("2001:db8:1:2300::1"), of("2001:db8:1:2400::1"));
    }

    #[test]
    fn connections_are_counted_by_network_until_they_end() {
        let present = Present::default();
        let address: IpAddr = "203.0.113.7".parse().unwrap();
        let other: IpAddr = "198.51.100.1".parse().unwrap();
        let first = present.enter(address, 2).unwrap();
        let _second = present.enter("203.0.113.8".parse().unwrap(), 2).unwrap();
        assert!(present.enter(address, 2).is_none());
        assert!(present.enter(other, 2).is_some());
        drop(first);
        let third = present.enter(address, 2);
        assert!(third.is_some());
        assert_eq!(
            present.0.lock().unwrap().len(),
            1,
            "ended ones are forgotten"
        );
        let loopback: IpAddr = "::1".parse().unwrap();
        let many: Vec<_> = (0..9).map(|_| present.enter(loopback, 1)).collect();
        assert!(many.iter().all(Option::is_some));
    }
}
