//! Yamux with a receive window that does not grow.
//!
//! Decides how many bytes a peer may have sent that nobody has read yet. libp2p's own wrapper lets
//! the window grow to 1 GiB with the round-trip time, which the peer measures out by delaying its
//! pongs, and offers no setting; here a connection gets 256 KiB per stream, for good. Line rates
//! above 256 KiB per round trip are given up for it: frames are small. Nothing else differs from
//! libp2p's wrapper, and the bytes on the wire are the same.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::StreamMuxer;
use libp2p::core::muxing::StreamMuxerEvent;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};

use super::limits::MAX_STREAMS;

/// What a stream may receive unread; Yamux's own constant, fixed by its specification.
const STREAM_WINDOW_BYTES: usize = 256 * 1024;

/// The upgrade of a secured connection to a multiplexed one.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoundedYamux;

impl BoundedYamux {
    fn over<C: AsyncRead + AsyncWrite + Unpin>(io: C, mode: yamux::Mode) -> Muxer<C> {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(MAX_STREAMS)
            .set_max_connection_receive_window(Some(MAX_STREAMS * STREAM_WINDOW_BYTES));
        Muxer {
            connection: yamux::Connection::new(io, config, mode),
            arrived: VecDeque::new(),
        }
    }
}

impl UpgradeInfo for BoundedYamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for BoundedYamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Self::over(io, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for BoundedYamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Self::over(io, yamux::Mode::Client)))
    }
}

/// A multiplexed connection.
pub(super) struct Muxer<C> {
    connection: yamux::Connection<C>,
    /// Streams that came in while only progress was asked for; at most [`MAX_STREAMS`].
    arrived: VecDeque<yamux::Stream>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection
            .poll_next_inbound(cx)
            .map(|arrival| match arrival {
                Some(Ok(stream)) => Ok(stream),
                Some(Err(error)) => Err(io_error(error)),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<yamux::Stream>> {
        match self.arrived.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => self.poll_arrival(cx),
        }
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(cx).map_err(io_error)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_close(cx).map_err(io_error)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        if let Poll::Ready(arrival) = self.poll_arrival(cx) {
            let stream = arrival?;
            if self.arrived.len() < MAX_STREAMS {
                self.arrived.push_back(stream);
            }
            // The swarm asks for arrivals in the same task, so that waking it once serves both.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

fn io_error(error: yamux::ConnectionError) -> io::Error {
    match error {
        yamux::ConnectionError::Io(error) => error,
        other => io::Error::other(other),
    }
}
