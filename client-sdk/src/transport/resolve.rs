//! Host names in addresses: `/dns/HOST/tcp/PORT`, `/dns4`, `/dns6`, looked up by the system's resolver
//! each time that they are dialled.
//!
//! Decides which addresses a name stands for and in which order they are tried. Trusts no answer: a
//! wrong one leads to a peer with another key, which Noise refuses. Never listens on a name, never
//! follows `/dnsaddr`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Transport};

/// Most addresses of one name that are tried in one dial.
const MOST_TRIED: usize = 8;

/// A transport over IP that also dials names.
pub(super) struct Resolving<T> {
    inner: Arc<Mutex<T>>,
}

impl<T> Resolving<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }
}

/// A name at the front of an address.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    host: String,
    port: u16,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    const fn takes(self, ip: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        }
    }
}

fn named(address: &Multiaddr) -> Option<Named> {
    let mut parts = address.iter();
    let (host, family) = match parts.next()? {
        Protocol::Dns(host) => (host, Family::Any),
        Protocol::Dns4(host) => (host, Family::V4),
        Protocol::Dns6(host) => (host, Family::V6),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else {
        return None;
    };
    Some(Named {
        host: host.into_owned(),
        port,
        family,
    })
}

/// The address with its name replaced.
fn at(address: &Multiaddr, ip: IpAddr) -> Multiaddr {
    std::iter::once(Protocol::from(ip))
        .chain(address.iter().skip(1))
        .collect()
}

async fn look_up(named: &Named) -> io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((named.host.as_str(), named.port)).await?;
    let ips: Vec<IpAddr> = found
        .map(|address: SocketAddr| address.ip())
        .filter(|ip| named.family.takes(*ip))
        .take(MOST_TRIED)
        .collect();
    if ips.is_empty() {
        let text = format!("host name {} has no address of this family", named.host);
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(ips)
}

impl<T> Transport for Resolving<T>
where
    T: Transport<Error = io::Error> + Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::Output: Send + 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, io::Error>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        lock(&self.inner).listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        lock(&self.inner).remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(named) = named(&address) else {
            return Ok(lock(&self.inner).dial(address, options)?.boxed());
        };
        let inner = Arc::clone(&self.inner);
        Ok(async move {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for ip in look_up(&named).await? {
                let dialled = lock(&inner).dial(at(&address, ip), options);
                last = match dialled {
                    Ok(dial) => match dial.await {
                        Ok(connection) => return Ok(connection),
                        Err(error) => error,
                    },
                    Err(TransportError::Other(error)) => error,
                    Err(TransportError::MultiaddrNotSupported(_)) => {
                        io::Error::from(io::ErrorKind::Unsupported)
                    }
                };
            }
            Err(last)
        }
        .boxed())
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let mut inner = lock(&self.inner);
        Pin::new(&mut *inner).poll(cx)
    }
}

fn lock<T>(inner: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_an_ip_address_and_replaced() {
        let key = "12D3KooWSahP5pFRCEfaziPEba7urXGeif6T1y8jmodzdFUvzBHj";
        let address: Multiaddr = format!("/dns4/localhost/tcp/7101/p2p/{key}")
            .parse()
            .unwrap();
        let found = named(&address).unwrap();
        assert_eq!((found.host.as_str(), found.port), ("localhost", 7101));
        assert_eq!(
            at(&address, [127, 0, 0, 1].into()).to_string(),
            format!("/ip4/127.0.0.1/tcp/7101/p2p/{key}")
        );
        for other in [
            "/ip4/127.0.0.1/tcp/1",
            "/dns/x/udp/1",
            "/dnsaddr/x/tcp/1",
            "/dns/x",
        ] {
            assert_eq!(named(&other.parse().unwrap()), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_name_gives_addresses_of_its_family_only() {
        let of = |family| Named {
            host: "127.0.0.1".into(),
            port: 1,
            family,
        };
        let v4: IpAddr = [127, 0, 0, 1].into();
        assert_eq!(look_up(&of(Family::Any)).await.unwrap(), [v4]);
        assert_eq!(look_up(&of(Family::V4)).await.unwrap(), [v4]);
        let error = look_up(&of(Family::V6)).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}
