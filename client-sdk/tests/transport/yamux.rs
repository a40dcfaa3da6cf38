//! A peer whose handshake is honest and whose multiplexer is not: frames that break Yamux
//! (<https://github.com/hashicorp/yamux/blob/master/spec.md>) must end its own connection only.

use std::io;
use std::pin::Pin;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::Ready, future::ready};
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use libp2p::core::upgrade::InboundConnectionUpgrade;
use libp2p::core::upgrade::{OutboundConnectionUpgrade, UpgradeInfo, Version};
use libp2p::{Multiaddr, identity::Keypair, noise, tcp};
use warifu_client_sdk::transport::{Admit, Limits};

use super::{List, Node, PATIENCE, any_port, quick};

/// Says that it is Yamux, and hands out the bare connection.
struct Bare;

impl UpgradeInfo for Bare {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl Clone for Bare {
    fn clone(&self) -> Self {
        Bare
    }
}

impl<C> OutboundConnectionUpgrade<C> for Bare {
    type Output = BareMuxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<BareMuxer<C>, io::Error>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(BareMuxer(Some(io))))
    }
}

impl<C> InboundConnectionUpgrade<C> for Bare {
    type Output = BareMuxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<BareMuxer<C>, io::Error>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(BareMuxer(Some(io))))
    }
}

/// Its one "stream" is the connection itself.
struct BareMuxer<C>(Option<C>);

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for BareMuxer<C> {
    type Substream = C;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<C>> {
        Poll::Pending
    }

    fn poll_outbound(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<C>> {
        match self.0.take() {
            Some(io) => Poll::Ready(Ok(io)),
            None => Poll::Pending,
        }
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Poll::Pending
    }
}

async fn dial(seed: u8, address: Multiaddr) -> SubstreamBox {
    let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    let mut transport = tcp::tokio::Transport::new(tcp::Config::new())
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(Bare)
        .boxed();
    let options = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let (_, mut muxer) = transport.dial(address, options).unwrap().await.unwrap();
    std::future::poll_fn(|cx| muxer.poll_outbound_unpin(cx))
        .await
        .unwrap()
}

const DATA: u8 = 0;
const WINDOW: u8 = 1;
const GO_AWAY: u8 = 3;
const SYN: u16 = 1;
const FIN: u16 = 4;
const RST: u16 = 8;

/// A header: version, type, flags, stream, length.
fn frame(version: u8, kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![version, kind];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

/// Each a way to break the specification, and the bytes that do it.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let mut full = frame(0, DATA, SYN, 1, 1 << 20);
    full.resize(12 + (1 << 20), 7);
    let mut noise = vec![0u8; 64 * 1024];
    getrandom::fill(&mut noise).unwrap();
    let mut many = Vec::new();
    for stream in 0..5_000u32 {
        many.extend(frame(0, WINDOW, SYN, 2 * stream + 1, 0));
    }
    let mut reset = Vec::new();
    for stream in 0..5_000u32 {
        many_reset(&mut reset, 2 * stream + 1);
    }
    vec![
        ("another version", frame(7, DATA, SYN, 1, 0)),
        ("an unknown type", frame(0, 9, SYN, 1, 0)),
        ("a body of 4 GiB", frame(0, DATA, SYN, 1, u32::MAX)),
        ("a body beyond the window", full),
        (
            "a stream of the other side's numbers",
            frame(0, DATA, SYN, 2, 0),
        ),
        ("data on stream 0", frame(0, DATA, SYN, 0, 0)),
        (
            "data on a stream that nobody opened",
            frame(0, DATA, 0, 41, 0),
        ),
        (
            "credit that overflows",
            [
                frame(0, WINDOW, SYN, 1, u32::MAX),
                frame(0, WINDOW, 0, 1, u32::MAX),
                frame(0, WINDOW, 0, 1, u32::MAX),
            ]
            .concat(),
        ),
        (
            "one stream opened twice",
            [frame(0, WINDOW, SYN, 1, 0), frame(0, WINDOW, SYN, 1, 0)].concat(),
        ),
        ("all flags at once", frame(0, DATA, 0xffff, 1, 0)),
        (
            "data after its end",
            [
                frame(0, WINDOW, SYN, 1, 0),
                frame(0, DATA, FIN, 1, 0),
                [frame(0, DATA, 0, 1, 4), vec![1, 2, 3, 4]].concat(),
            ]
            .concat(),
        ),
        ("a farewell of an unknown kind", frame(0, GO_AWAY, 0, 0, 77)),
        ("half a header", frame(0, DATA, SYN, 1, 0)[..5].to_vec()),
        ("thousands of streams", many),
        ("streams opened and reset", reset),
        ("no frames at all", noise),
    ]
}

fn many_reset(bytes: &mut Vec<u8>, stream: u32) {
    bytes.extend(frame(0, WINDOW, SYN, stream, 0));
    bytes.extend(frame(0, DATA, RST, stream, 0));
}

/// Panics of any task since the first call: a runtime swallows them.
fn panics() -> usize {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            SEEN.fetch_add(1, Ordering::SeqCst);
            others(info);
        }));
    });
    SEEN.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_yamux_frames_end_their_own_connection_only() {
    let before = panics();
    let limits = Limits {
        handshake: Duration::from_secs(1),
        // The honest line and one more: a connection that stayed would keep the next one out.
        established: 2,
        ..quick()
    };
    let mut node = Node::with(1, any_port(), List::new(Admit::Known), limits).await;
    let mut honest = Node::start(2).await;
    honest.dial(&node);
    honest.up(node.key).await;
    node.up(honest.key).await;
    for (number, (what, bytes)) in (0u8..).zip(broken()) {
        let mut connection = dial(50 + number, node.address()).await;
        let cut = async {
            // Whether the last bytes still find somebody is the cutter's business.
            let _ = connection.write_all(&bytes).await;
            let _ = connection.flush().await;
            let mut rest = Vec::new();
            let _ = connection.read_to_end(&mut rest).await;
        };
        tokio::time::timeout(PATIENCE, cut)
            .await
            .unwrap_or_else(|_| panic!("{what}: the connection stays"));
        honest.send(node.key, vec![number]).await;
        assert_eq!(node.frame(honest.key).await, [number], "after {what}");
    }
    assert_eq!(panics(), before);
}
