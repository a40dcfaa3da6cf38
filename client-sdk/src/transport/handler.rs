//! What runs in each connection's own task: opening the stream, the hello, then the line.
//!
//! Decides whether a connection behaves: the dialer opens exactly one stream, in time, and nobody
//! opens another. libp2p's own stream behaviour was not used: it opens a stream on any of a peer's
//! connections, does not say on which one a stream came in, drops streams when busy, accepts any
//! number, and keeps an entry for every connection that ever was. Which connection is the session
//! is decided elsewhere and comes in as [`Begin`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, Stream, SubstreamProtocol};
use tokio::time::Sleep;

use super::event::{DownReason, Misbehaviour};
use super::limits::Limits;
use super::line::{Ends, Line};
use super::session::{HELLO_BYTES, Hello};

/// Name of the stream's protocol; its number changes when frames or hello do.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/warifu/line/1");

/// Tells a connection that it is the peer's session.
#[derive(Clone)]
pub(super) struct Begin {
    pub(super) ends: Ends,
    /// To be sent first, if this side decides.
    pub(super) hello: Option<Hello>,
}

impl std::fmt::Debug for Begin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Begin({})", self.ends.session)
    }
}

/// What a connection tells of itself.
#[derive(Debug)]
pub(super) enum LineEvent {
    /// The stream is open, and this side decides what it is for.
    Opened,
    /// The other side decided: this is the session.
    Hello(Hello),
    /// Nothing more will come; the connection is to be closed.
    Ended(DownReason),
}

/// How far a connection has come.
enum Phase {
    /// No stream yet.
    Opening,
    /// The following side waits for the hello.
    AwaitingHello(Box<Line>),
    /// This node's own decision is awaited.
    AwaitingBegin(Box<Line>),
    /// The line is the session.
    Running(Box<Line>, Ends),
    /// Over; what was said stays said.
    Ended,
}

/// The handler of one connection.
pub(super) struct LineHandler {
    limits: Arc<Limits>,
    dialer: bool,
    decides: bool,
    is_paced: bool,
    requested: bool,
    phase: Phase,
    /// Ends the time to become a session.
    patience: Option<Pin<Box<Sleep>>>,
    events: VecDeque<LineEvent>,
    waker: Option<Waker>,
}

impl LineHandler {
    pub(super) fn new(limits: Arc<Limits>, dialer: bool, decides: bool, is_paced: bool) -> Self {
        let patience = Some(Box::pin(tokio::time::sleep(limits.handshake)));
        Self {
            limits,
            dialer,
            decides,
            is_paced,
            requested: false,
            phase: Phase::Opening,
            patience,
            events: VecDeque::new(),
            waker: None,
        }
    }

    fn stream_opened(&mut self, stream: Stream) {
        if !matches!(self.phase, Phase::Opening) {
            self.end(Misbehaviour::ExtraStream.into());
            return;
        }
        let pace = self.is_paced.then_some(self.limits.frames);
        let line = Line::new(stream, tokio::time::Instant::now(), &self.limits, pace);
        if self.decides {
            self.phase = Phase::AwaitingBegin(Box::new(line));
            self.events.push_back(LineEvent::Opened);
        } else {
            self.phase = Phase::AwaitingHello(Box::new(line));
        }
    }

    fn end(&mut self, reason: DownReason) {
        if !matches!(self.phase, Phase::Ended) {
            self.phase = Phase::Ended;
            self.patience = None;
            self.events.push_back(LineEvent::Ended(reason));
        }
    }

    fn poll_phase(&mut self, cx: &mut Context<'_>) {
        let over = match &mut self.phase {
            Phase::Running(line, ends) => line.poll(ends, &self.limits, cx),
            Phase::AwaitingHello(line) => match line.poll_first_frame(cx, HELLO_BYTES) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(reason)) => Poll::Ready(reason),
                Poll::Ready(Ok(frame)) => match Hello::decode(&frame) {
                    Err(reason) => Poll::Ready(reason.into()),
                    Ok(hello) => {
                        self.events.push_back(LineEvent::Hello(hello));
                        if let Phase::AwaitingHello(line) =
                            std::mem::replace(&mut self.phase, Phase::Ended)
                        {
                            self.phase = Phase::AwaitingBegin(line);
                        }
                        Poll::Pending
                    }
                },
            },
            Phase::Opening | Phase::AwaitingBegin(_) | Phase::Ended => Poll::Pending,
        };
        if let Poll::Ready(reason) = over {
            self.end(reason);
        }
        let out_of_patience = self
            .patience
            .as_mut()
            .is_some_and(|patience| patience.as_mut().poll(cx).is_ready());
        if out_of_patience {
            self.end(Misbehaviour::NoStream.into());
        }
    }
}

impl ConnectionHandler for LineHandler {
    type FromBehaviour = Begin;
    type ToBehaviour = LineEvent;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()).with_timeout(self.limits.handshake)
    }

    fn connection_keep_alive(&self) -> bool {
        // Lines end by their own rules; an idle one lives.
        true
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if self.dialer && !self.requested {
            self.requested = true;
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: self.listen_protocol(),
            });
        }
        self.poll_phase(cx);
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        if let Phase::Running(line, ends) = &mut self.phase {
            line.finish(ends, cx);
        }
        self.phase = Phase::Ended;
        Poll::Ready(None)
    }

    fn on_behaviour_event(&mut self, begin: Begin) {
        if let Phase::AwaitingBegin(mut line) = std::mem::replace(&mut self.phase, Phase::Ended) {
            if let Some(hello) = begin.hello {
                line.write_first(&hello.encode());
            }
            self.phase = Phase::Running(line, begin.ends);
            self.patience = None;
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(_) if self.dialer => {
                self.end(Misbehaviour::ExtraStream.into());
            }
            ConnectionEvent::FullyNegotiatedInbound(opened) => self.stream_opened(opened.protocol),
            ConnectionEvent::FullyNegotiatedOutbound(opened) => self.stream_opened(opened.protocol),
            ConnectionEvent::DialUpgradeError(_) => self.end(DownReason::Closed),
            _ => {}
        }
    }
}
