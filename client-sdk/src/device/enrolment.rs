//! The device's side of an enrolment, from ticket to founding.

use std::sync::Arc;

use tokio::sync::watch;
use warifu_consensus::{
    agree::Record,
    body::ContentKey,
    enrol::{EnrolMessage, EnrolOutput, Enrolment, SixDigits, Ticket},
    party::{Parties, Role, Sub},
    share::KeyShare,
    signature::IdentityKey,
    wire::Message,
};
use zeroize::Zeroizing;

use super::{
    DeviceError, DeviceEvent, Inner,
    line::{self, Line, role_of},
    parse,
    watch::lock,
};
use crate::{
    runtime::{KeeperError, NodeRecord, Secrets, os_entropy},
    transport::{NetEvent, NetEvents},
};

/// How far an enrolment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrolStage {
    /// The three parties make the key.
    Running,
    /// Show these digits; the customer types them into the page.
    Digits(SixDigits),
    /// All three voted; the account is founded, its genesis follows.
    Founded(Sub),
    /// It is over; nothing stays.
    Failed(String),
}

/// An enrolment that can be watched.
#[derive(Debug, Clone)]
pub struct Enrolling {
    /// The session, 32 bytes.
    pub session: [u8; 32],
    /// How far it is.
    pub stage: watch::Receiver<EnrolStage>,
}

struct Run {
    inner: Arc<Inner>,
    enrolment: Enrolment,
    line: Line,
    seed: Zeroizing<[u8; 32]>,
    ticket: Ticket,
    parties: Parties,
    stage: watch::Sender<EnrolStage>,
    /// Waits for the trust operator's line.
    unsent: Vec<EnrolMessage>,
    hello: Vec<EnrolOutput>,
    founded: Option<Sub>,
}

pub(super) async fn begin(inner: &Arc<Inner>, ticket: &Ticket) -> Result<Enrolling, DeviceError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| KeeperError::Entropy)?;
    let key = Arc::new(IdentityKey::from_seed(*seed));
    let parties = Parties {
        device: key.public(),
        broker: ticket.ledger.broker,
        trust_operator: ticket.ledger.trust_operator,
    };
    let addresses = (
        parse(&ticket.broker_addresses)?,
        parse(&ticket.trust_operator_addresses)?,
    );
    let mut line = Line::start(*seed, inner.limits.clone(), &parties, addresses).await?;
    let (enrolment, hello) = Enrolment::of_device(ticket, key, &mut os_entropy()?);
    line.connect_broker()?;
    let (stage, watched) = watch::channel(EnrolStage::Running);
    let enrolling = Enrolling {
        session: ticket.session,
        stage: watched,
    };
    lock(&inner.enrolments).push(enrolling.clone());
    inner.watch.tell(DeviceEvent::Enrolling(enrolling.clone()));
    let Some(events) = line.take_events() else {
        return Err(DeviceError::Busy);
    };
    let run = Run {
        inner: Arc::clone(inner),
        enrolment,
        line,
        seed,
        ticket: ticket.clone(),
        parties,
        stage,
        unsent: Vec::new(),
        hello,
        founded: None,
    };
    tokio::spawn(run.run(events));
    Ok(enrolling)
}

impl Run {
    async fn run(mut self, mut events: NetEvents) {
        let outcome = self.until_founded(&mut events).await;
        if let Err(error) = outcome {
            tracing::error!(%error, "enrolment failed");
            self.stage
                .send_replace(EnrolStage::Failed(error.to_string()));
        }
        let Some(sub) = self.founded else { return };
        let Self {
            inner,
            mut line,
            parties,
            stage,
            ..
        } = self;
        // The line lives on as the account's; the trust operator's is dialled again when needed.
        line.want_trust_operator(false);
        let broker = line.session(Role::Broker);
        inner.lines.add(sub, line);
        match broker {
            Some(session) => inner.accounts.line_up(sub, Role::Broker, session.0),
            None => inner.accounts.wake(sub),
        }
        stage.send_replace(EnrolStage::Founded(sub));
        line::run(inner, sub, parties, events).await;
    }

    /// Runs the session. An account to follow up on is in `founded`.
    async fn until_founded(&mut self, events: &mut NetEvents) -> Result<(), DeviceError> {
        loop {
            let now = (self.inner.clock)();
            let left = self.enrolment.deadline().0.saturating_sub(now.0);
            let wait = std::time::Duration::from_millis(left.saturating_add(1));
            let outputs = match tokio::time::timeout(wait, events.recv()).await {
                Err(_) => self.enrolment.tick((self.inner.clock)()),
                Ok(None) => return Ok(()),
                Ok(Some(event)) => self.event(event)?,
            };
            self.perform(outputs).await?;
            if self.founded.is_some() || self.enrolment.is_over() {
                return Ok(());
            }
        }
    }

    fn event(&mut self, event: NetEvent) -> Result<Vec<EnrolOutput>, DeviceError> {
        match event {
            NetEvent::Up { peer, session } => {
                let role = role_of(&self.parties, &peer);
                if let Some(role) = role {
                    self.line.set_session(role, Some(session));
                }
                match role {
                    Some(Role::Broker) => return Ok(std::mem::take(&mut self.hello)),
                    Some(Role::TrustOperator) => {
                        for message in std::mem::take(&mut self.unsent) {
                            self.send(Role::TrustOperator, message);
                        }
                    }
                    _ => {}
                }
            }
            NetEvent::Down { peer, .. } => {
                if let Some(role) = role_of(&self.parties, &peer) {
                    self.line.set_session(role, None);
                }
            }
            NetEvent::Frame { peer, frame, .. } => {
                let role = role_of(&self.parties, &peer);
                if let (Some(role), Ok(Message::Enrol(message))) =
                    (role, Message::from_frame(&frame))
                {
                    let now = (self.inner.clock)();
                    return Ok(self
                        .enrolment
                        .handle(now, role, *message, &mut os_entropy()?));
                }
            }
            NetEvent::Misbehaved { reason, .. } => tracing::warn!(%reason, "peer misbehaved"),
            NetEvent::DialFailed { reason, .. } => {
                tracing::warn!(%reason, "enrolment: dial failed, it is repeated");
            }
        }
        Ok(Vec::new())
    }

    fn send(&mut self, to: Role, message: EnrolMessage) {
        if to == Role::TrustOperator && self.line.session(to).is_none() {
            self.line.want_trust_operator(true);
            self.unsent.push(message);
            return;
        }
        match Message::Enrol(Box::new(message)).to_frame() {
            Ok(frame) => self.line.send(to, frame),
            Err(error) => tracing::error!(%error, "not sent"),
        }
    }

    async fn perform(&mut self, outputs: Vec<EnrolOutput>) -> Result<(), DeviceError> {
        for output in outputs {
            match output {
                EnrolOutput::Send { to, message } => self.send(to, message),
                EnrolOutput::KeepShare {
                    sub,
                    share,
                    content_key,
                } => {
                    self.keep(sub, *share, content_key).await?;
                }
                EnrolOutput::Digits(digits) => {
                    self.stage.send_replace(EnrolStage::Digits(digits));
                }
                EnrolOutput::Founded(founding) => {
                    let sub = founding.sub;
                    let keeper = &self.inner.keeper;
                    keeper.append(&sub, &[Record::Founding(founding)]).await?;
                    self.founded = Some(sub);
                }
                EnrolOutput::Failed {
                    culprit,
                    reason,
                    kept,
                } => {
                    if let Some(sub) = kept {
                        self.inner.keeper.forget(&sub).await?;
                    }
                    tracing::warn!(?culprit, %reason, "enrolment failed");
                    self.stage.send_replace(EnrolStage::Failed(reason));
                }
                EnrolOutput::Ready | EnrolOutput::WrongDigits { .. } => {}
            }
        }
        Ok(())
    }

    async fn keep(
        &mut self,
        sub: Sub,
        share: KeyShare,
        content_key: Option<ContentKey>,
    ) -> Result<(), KeeperError> {
        let keeper = &self.inner.keeper;
        keeper.append_own(&NodeRecord::SharePending { sub }).await?;
        keeper
            .append_own(&NodeRecord::Addresses {
                sub,
                broker: self.ticket.broker_addresses.clone(),
                trust_operator: self.ticket.trust_operator_addresses.clone(),
            })
            .await?;
        let secrets = Secrets {
            share: Some(share),
            content_key,
            identity: Some(self.seed.clone()),
        };
        keeper.keep_secrets(&sub, &secrets).await
    }
}
