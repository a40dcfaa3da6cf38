//! The lines of a device: one network of its own for each account, dialling out only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use warifu_consensus::{
    log::LogMessage,
    party::{Parties, Role, Sub},
    wire::Message,
};

use super::{DeviceError, DeviceEvent, Inner, seen::Heard, watch::lock};
use crate::{
    runtime::Lines,
    transport::{
        Admission, Admit, IdentitySecret, Limits, Multiaddr, NetEvent, NetEvents, Network,
        NetworkOptions, SessionId,
    },
};

/// A device listens nowhere; should someone reach it all the same, it admits nobody.
struct Nobody;

impl Admission for Nobody {
    fn admit(&self, _: &[u8; 32]) -> Admit {
        Admit::No
    }
}

/// One account's network.
pub(super) struct Line {
    network: Network,
    events: Option<NetEvents>,
    broker: [u8; 32],
    trust_operator: [u8; 32],
    broker_addresses: Vec<Multiaddr>,
    trust_operator_addresses: Vec<Multiaddr>,
    sessions: [Option<SessionId>; 2],
    dialling_trust_operator: bool,
}

impl Line {
    pub(super) async fn start(
        seed: [u8; 32],
        limits: Limits,
        parties: &Parties,
        (broker_addresses, trust_operator_addresses): (Vec<Multiaddr>, Vec<Multiaddr>),
    ) -> Result<Self, DeviceError> {
        let (network, events) = Network::start(NetworkOptions {
            identity: IdentitySecret::new(seed),
            listen: Vec::new(),
            admission: Arc::new(Nobody),
            limits,
        })
        .await?;
        Ok(Self {
            network,
            events: Some(events),
            broker: parties.broker,
            trust_operator: parties.trust_operator,
            broker_addresses,
            trust_operator_addresses,
            sessions: [None; 2],
            dialling_trust_operator: false,
        })
    }

    pub(super) fn connect_broker(&self) -> Result<(), DeviceError> {
        Ok(self
            .network
            .connect(self.broker, self.broker_addresses.clone())?)
    }

    pub(super) fn want_trust_operator(&mut self, wanted: bool) {
        if wanted == self.dialling_trust_operator {
            return;
        }
        self.dialling_trust_operator = wanted;
        if !wanted {
            self.network.forget(self.trust_operator);
        } else if let Err(error) = self
            .network
            .connect(self.trust_operator, self.trust_operator_addresses.clone())
        {
            tracing::error!(%error, "the trust operator can't be dialled");
        }
    }

    pub(super) fn take_events(&mut self) -> Option<NetEvents> {
        self.events.take()
    }

    fn key(&self, role: Role) -> [u8; 32] {
        if role == Role::TrustOperator {
            self.trust_operator
        } else {
            self.broker
        }
    }

    pub(super) fn send(&self, to: Role, frame: Vec<u8>) {
        if let Err(error) = self.network.send(self.key(to), None, frame) {
            tracing::debug!(%to, %error, "not sent");
        }
    }

    pub(super) fn set_session(&mut self, role: Role, session: Option<SessionId>) {
        let [broker, trust_operator] = &mut self.sessions;
        match role {
            Role::Broker => *broker = session,
            Role::TrustOperator => *trust_operator = session,
            Role::Device => {}
        }
    }

    pub(super) fn session(&self, role: Role) -> Option<SessionId> {
        let [broker, trust_operator] = self.sessions;
        match role {
            Role::Broker => broker,
            Role::TrustOperator => trust_operator,
            Role::Device => None,
        }
    }
}

/// The lines of all accounts.
#[derive(Default)]
pub(super) struct DeviceLines {
    lines: Mutex<HashMap<Sub, Line>>,
}

impl DeviceLines {
    pub(super) fn add(&self, sub: Sub, line: Line) {
        lock(&self.lines).insert(sub, line);
    }

    fn set_session(&self, sub: &Sub, role: Role, session: Option<SessionId>) {
        if let Some(line) = lock(&self.lines).get_mut(sub) {
            line.set_session(role, session);
        }
    }

    /// Ends the line of one account.
    pub(super) async fn end(&self, sub: &Sub) {
        let line = lock(&self.lines).remove(sub);
        if let Some(line) = line {
            line.network.shutdown().await;
        }
    }

    pub(super) async fn stop(&self) {
        let lines: Vec<Line> = lock(&self.lines).drain().map(|(_, line)| line).collect();
        // Each may wait for a peer that doesn't take its farewell; together they wait no longer.
        futures::future::join_all(lines.into_iter().map(|line| line.network.shutdown())).await;
    }
}

impl Lines for DeviceLines {
    fn session(&self, sub: &Sub, role: Role) -> Option<u64> {
        lock(&self.lines).get(sub)?.session(role).map(|s| s.0)
    }

    fn send(&self, sub: &Sub, to: Role, frame: Vec<u8>) {
        if let Some(line) = lock(&self.lines).get(sub) {
            line.send(to, frame);
        }
    }

    fn want(&self, sub: &Sub, role: Role, wanted: bool) {
        if role == Role::TrustOperator
            && let Some(line) = lock(&self.lines).get_mut(sub)
        {
            line.want_trust_operator(wanted);
        }
    }
}

/// Which operator a peer is.
pub(super) fn role_of(parties: &Parties, peer: &[u8; 32]) -> Option<Role> {
    [Role::Broker, Role::TrustOperator]
        .into_iter()
        .find(|r| parties.key(*r) == peer)
}

/// Carries one account's events to its actor, until the network ends.
pub(super) async fn run(inner: Arc<Inner>, sub: Sub, parties: Parties, mut events: NetEvents) {
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Up { peer, session } => {
                if let Some(role) = role_of(&parties, &peer) {
                    inner.lines.set_session(&sub, role, Some(session));
                    inner.accounts.line_up(sub, role, session.0);
                    if role == Role::Broker {
                        ask_log(&inner, &sub).await;
                    }
                }
            }
            NetEvent::Down { peer, reason, .. } => {
                if let Some(role) = role_of(&parties, &peer) {
                    tracing::info!(account = %sub, %role, %reason, "line down");
                    inner.lines.set_session(&sub, role, None);
                    inner.accounts.line_down(sub, role);
                }
            }
            NetEvent::Frame {
                peer,
                session,
                frame,
            } => {
                let Some(role) = role_of(&parties, &peer) else {
                    continue;
                };
                match Message::from_frame(&frame) {
                    Ok(Message::Agree { sub: about, agree }) if about == sub => {
                        inner.accounts.deliver(sub, role, session.0, *agree);
                    }
                    Ok(Message::Agree { sub: about, .. }) => {
                        tracing::warn!(%role, found = %about, expected = %sub, "other account");
                    }
                    Ok(Message::Enrol(message)) => {
                        tracing::debug!(%role, message = message.name(), "enrolment is over");
                    }
                    Ok(Message::Clock(_)) => {
                        tracing::debug!(%role, "operators' talk about clocks, not a device's");
                    }
                    Ok(Message::Log(said)) if role == Role::Broker => {
                        hear_log(&inner, &sub, *said).await;
                    }
                    Ok(Message::Log(_)) => {
                        tracing::debug!(%role, "only the broker is asked for the log");
                    }
                    Err(error) => tracing::warn!(%role, %error, "frame refused"),
                }
            }
            NetEvent::Misbehaved { reason, .. } => tracing::warn!(account = %sub, %reason, "peer"),
            NetEvent::DialFailed { reason, .. } => {
                tracing::info!(account = %sub, %reason, "dial failed, it is repeated");
            }
        }
    }
}

/// Asks the broker how the log has grown.
async fn ask_log(inner: &Inner, sub: &Sub) {
    let size = inner.seen.ask(sub).await;
    let said = Message::Log(Box::new(LogMessage::Seen { size }));
    match said.to_frame() {
        Ok(frame) => inner.lines.send(sub, Role::Broker, frame),
        Err(error) => tracing::error!(%error, "the log is not asked for"),
    }
}

async fn hear_log(inner: &Inner, sub: &Sub, said: LogMessage) {
    let LogMessage::Grown { proof, note } = said else {
        tracing::debug!("operators' talk about the log, not a device's");
        return;
    };
    match inner.seen.hear(&inner.keeper, sub, &proof, &note).await {
        Ok(Ok(Heard::Done)) => {}
        Ok(Ok(Heard::AskAgain)) => ask_log(inner, sub).await,
        Ok(Err(trouble)) => {
            tracing::warn!(%trouble, "the ledger's log");
            inner.watch.tell(DeviceEvent::Log(trouble));
        }
        Err(error) => inner.watch.tell(DeviceEvent::Failed {
            reason: error.to_string(),
        }),
    }
}
