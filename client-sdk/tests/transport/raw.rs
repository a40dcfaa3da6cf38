//! A peer that speaks libp2p by hand, so that it can break every rule above it.

use std::task::Poll;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use libp2p::core::{Endpoint, upgrade::Version};
use libp2p::{Multiaddr, identity::Keypair, noise, tcp, yamux};
use tokio::sync::{mpsc, oneshot};

/// A connection whose multiplexer runs in its own task.
pub(super) struct RawPeer {
    pub(super) key: [u8; 32],
    open: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
}

impl RawPeer {
    /// Dials and finishes the handshake, then does nothing.
    pub(super) async fn dial(seed: u8, address: Multiaddr) -> Self {
        let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let key = keypair.public().try_into_ed25519().unwrap().to_bytes();
        let mut transport = tcp::tokio::Transport::new(tcp::Config::new())
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&keypair).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let (_, muxer) = transport.dial(address, options).unwrap().await.unwrap();
        let (open, requests) = mpsc::channel(4);
        tokio::spawn(drive(muxer, requests));
        Self { key, open }
    }

    /// Opens a stream and negotiates the line's protocol by hand (multistream-select 1.0).
    pub(super) async fn stream(&self) -> SubstreamBox {
        let mut stream = self.bare_stream().await;
        let offer = b"\x13/multistream/1.0.0\n\x0f/warifu/line/1\n";
        stream.write_all(offer).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = vec![0; offer.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, offer);
        stream
    }

    /// Opens a stream and says nothing on it.
    pub(super) async fn bare_stream(&self) -> SubstreamBox {
        let (reply, stream) = oneshot::channel();
        self.open.send(reply).await.unwrap();
        stream.await.unwrap()
    }

    /// A stream whose hello from the node has been read: the node decides.
    pub(super) async fn line(&self) -> SubstreamBox {
        let mut stream = self.stream().await;
        let mut hello = [0; 20];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello[..4], [0, 0, 0, 16]);
        stream
    }
}

/// Polls the multiplexer until it ends, opening streams as asked.
async fn drive(
    mut muxer: StreamMuxerBox,
    mut requests: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
) {
    let mut asked: Option<oneshot::Sender<SubstreamBox>> = None;
    std::future::poll_fn(|cx| {
        loop {
            if asked.is_none() {
                match requests.poll_recv(cx) {
                    Poll::Ready(Some(request)) => asked = Some(request),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if asked.is_some() {
                match muxer.poll_outbound_unpin(cx) {
                    Poll::Ready(Ok(stream)) => {
                        let _ = asked.take().unwrap().send(stream);
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            return match muxer.poll_unpin(cx) {
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            };
        }
    })
    .await;
}
