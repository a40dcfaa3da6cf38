//! An operator's enrolment sessions: machines in RAM, one task that performs them in order.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use tokio::sync::{mpsc, watch};
use warifu_client_sdk::runtime::{Keeper, KeeperError, Machine, NodeRecord, Secrets, os_entropy};
use warifu_consensus::{
    agree::{Founding, Record},
    enrol::{EnrolMessage, EnrolOutput, Enrolment, Hello, SixDigits, Ticket},
    party::{Role, Sub},
    wire::{Agree, Message},
};

use super::{lock, operator::Operator};
use crate::{
    api::desk::EnrolmentState,
    observe::counts::{self, Enrolled},
    store::NodeStore,
};

/// Messages that may wait for the enrolment task; further ones are dropped.
const INBOX: usize = 256;

/// How long a session's end can be asked for, in seconds.
const REMEMBERED_S: u64 = 900;

/// A ticket that is out, or in use.
pub struct Session {
    /// Who opened it; only at the broker.
    pub caller: String,
    /// How it stands.
    pub state: watch::Sender<EnrolmentState>,
    ticket: Option<Ticket>,
    device: Option<[u8; 32]>,
    wrong_digits: watch::Sender<Option<u8>>,
    exp: u64,
}

enum Work {
    Message {
        peer: [u8; 32],
        message: EnrolMessage,
    },
    /// About an account that a message before it in this queue may found.
    Deferred {
        sub: Sub,
        from: Role,
        session: u64,
        agree: Box<Agree>,
    },
    Confirm {
        session: [u8; 32],
        digits: SixDigits,
    },
    Tick,
}

/// What happens when an account was founded here.
pub type OnFounded = Box<dyn Fn(Sub, &Founding) + Send + Sync>;

/// See the module.
pub struct Enrolments<M: Machine> {
    inbox: mpsc::Sender<Work>,
    shared: Arc<Shared<M>>,
}

struct Shared<M: Machine> {
    operator: Arc<Operator<M>>,
    sessions: Mutex<HashMap<[u8; 32], Session>>,
    founding: Mutex<HashMap<[u8; 32], Sub>>,
    on_founded: OnFounded,
}

impl<M: Machine> Enrolments<M> {
    /// Starts the task on the signing threads.
    #[must_use]
    pub fn start(operator: Arc<Operator<M>>, on_founded: OnFounded) -> Self {
        let (inbox, work) = mpsc::channel(INBOX);
        let shared = Arc::new(Shared {
            operator: Arc::clone(&operator),
            sessions: Mutex::default(),
            founding: Mutex::default(),
            on_founded,
        });
        let task = Task {
            shared: Arc::clone(&shared),
            machines: HashMap::new(),
            used: None,
        };
        operator.signing().spawn(task.run(work));
        let ticker = inbox.clone();
        operator.signing().spawn(async move {
            loop {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                if ticker.send(Work::Tick).await.is_err() {
                    return;
                }
            }
        });
        Self { inbox, shared }
    }

    /// Broker: a ticket is out.
    pub fn open(&self, caller: &str, ticket: Ticket) {
        let (session, exp) = (ticket.session, ticket.exp);
        let entry = Session {
            caller: caller.to_owned(),
            state: watch::channel(EnrolmentState::Waiting).0,
            ticket: Some(ticket),
            device: None,
            wrong_digits: watch::channel(None).0,
            exp,
        };
        lock(&self.shared.sessions).insert(session, entry);
        counts::enrolment(Enrolled::Opened);
    }

    /// How many tickets of a caller are out.
    #[must_use]
    pub fn open_of(&self, caller: &str) -> usize {
        lock(&self.shared.sessions)
            .values()
            .filter(|s| s.caller == caller && s.ticket.is_some())
            .count()
    }

    /// How a caller's session stands, to be watched.
    #[must_use]
    pub fn watch(
        &self,
        caller: &str,
        session: &[u8; 32],
    ) -> Option<(watch::Receiver<EnrolmentState>, watch::Receiver<Option<u8>>)> {
        let sessions = lock(&self.shared.sessions);
        let entry = sessions.get(session).filter(|s| s.caller == caller)?;
        Some((entry.state.subscribe(), entry.wrong_digits.subscribe()))
    }

    /// Broker: the customer typed these digits.
    pub fn confirm(&self, session: [u8; 32], digits: SixDigits) -> bool {
        self.inbox
            .try_send(Work::Confirm { session, digits })
            .is_ok()
    }

    /// A message about an enrolment; dropped when too many wait.
    pub fn message(&self, peer: [u8; 32], message: EnrolMessage) {
        if self
            .inbox
            .try_send(Work::Message { peer, message })
            .is_err()
        {
            tracing::warn!("enrolment message dropped, too many wait");
        }
    }

    /// A message about an account that a running session is about to found: it takes its turn
    /// behind that session's messages, which came on the same line before it.
    pub fn defer(&self, sub: Sub, from: Role, session: u64, agree: Agree) {
        let agree = Box::new(agree);
        if self
            .inbox
            .try_send(Work::Deferred {
                sub,
                from,
                session,
                agree,
            })
            .is_err()
        {
            tracing::warn!("message dropped, too many wait");
        }
    }

    /// A peer without an account has a line: it says hello itself.
    pub fn up(&self, peer: [u8; 32]) {
        let peer = warifu_consensus::encoding::text_b64(&peer);
        tracing::debug!(%peer, "a device without an account connected");
    }

    /// Whether a running session may still found this account.
    #[must_use]
    pub fn may_found(&self, sub: &Sub) -> bool {
        lock(&self.shared.founding).values().any(|s| s == sub)
    }

    /// Broker: the genesis is sealed, or dead.
    pub fn settle(&self, session: &[u8; 32], state: EnrolmentState) {
        if let Some(entry) = lock(&self.shared.sessions).get(session) {
            entry.state.send_replace(state);
        }
    }
}

struct Task<M: Machine> {
    shared: Arc<Shared<M>>,
    machines: HashMap<[u8; 32], Enrolment>,
    /// Sessions that this operator ever consumed; read from the journal once.
    used: Option<HashSet<[u8; 32]>>,
}

impl<M: Machine> Task<M> {
    async fn run(mut self, mut work: mpsc::Receiver<Work>) {
        while let Some(work) = work.recv().await {
            let done = match work {
                Work::Message { peer, message } => self.message(peer, message).await,
                Work::Deferred {
                    sub,
                    from,
                    session,
                    agree,
                } => {
                    let operator = &self.shared.operator;
                    if operator.directory.has(&sub) {
                        operator.accounts.deliver(sub, from, session, *agree);
                    }
                    Ok(())
                }
                Work::Confirm { session, digits } => self.confirm(session, digits).await,
                Work::Tick => self.tick().await,
            };
            if let Err(error) = done {
                tracing::error!(%error, "enrolment: the node can't keep what it must");
            }
        }
    }

    fn keeper(&self) -> &Keeper<NodeStore> {
        &self.shared.operator.keeper
    }

    fn used(&mut self) -> Result<&mut HashSet<[u8; 32]>, KeeperError> {
        if self.used.is_none() {
            let sessions = self.keeper().own()?.into_iter().filter_map(|r| match r {
                NodeRecord::SessionUsed { session, .. } => Some(session),
                _ => None,
            });
            self.used = Some(sessions.collect());
        }
        Ok(self.used.get_or_insert_default())
    }

    async fn message(&mut self, peer: [u8; 32], message: EnrolMessage) -> Result<(), KeeperError> {
        let operator = Arc::clone(&self.shared.operator);
        let from_other = operator.directory.is_other(&peer);
        match (&message, operator.role, from_other) {
            (EnrolMessage::Hello(hello), Role::Broker, false) => {
                return self.hello(peer, hello).await;
            }
            (EnrolMessage::Announce { .. }, Role::TrustOperator, true) => {
                return self.announce(&message).await;
            }
            _ => {}
        }
        let Some(machine) = self.machines.get_mut(message.session()) else {
            tracing::debug!(message = message.name(), "no such session here");
            return Ok(());
        };
        let from = if from_other {
            operator.directory.other()
        } else if *machine.device() == peer {
            Role::Device
        } else {
            let peer = warifu_consensus::encoding::text_b64(&peer);
            tracing::warn!(%peer, message = message.name(), "refused: not this session's device");
            return Ok(());
        };
        let session = *message.session();
        let now = (operator.clock)();
        let outputs = machine.handle(now, from, message, &mut os_entropy()?);
        self.perform(session, outputs).await
    }

    /// Broker: a device shows that it saw the ticket. The session is consumed durably, once.
    async fn hello(&mut self, peer: [u8; 32], hello: &Hello) -> Result<(), KeeperError> {
        let operator = Arc::clone(&self.shared.operator);
        let refused = |reason: &str| {
            let message = EnrolMessage::Ended {
                session: hello.session,
                reason: reason.to_owned(),
            };
            if let Ok(frame) = Message::Enrol(Box::new(message)).to_frame() {
                operator.lines.send_to(peer, frame);
            }
            counts::enrolment(Enrolled::Refused);
            tracing::warn!(reason, "hello refused");
        };
        if hello.device != peer {
            refused("hello names another identity key than the line's");
            return Ok(());
        }
        // A key stands for one account: a second one would take the first one's line away.
        if operator.directory.account_of(&peer).is_some() {
            refused("this identity key has an account, expected a fresh one");
            return Ok(());
        }
        let now_s = (operator.clock)().seconds();
        let ticket = match lock(&self.shared.sessions).get_mut(&hello.session) {
            None => Err("this broker has no such ticket open"),
            Some(s) if s.exp <= now_s => Err("the ticket expired"),
            Some(s) => match s.ticket.take_if(|t| hello.knows(&t.secret)) {
                Some(ticket) => {
                    s.device = Some(peer);
                    Ok(ticket)
                }
                None if s.ticket.is_some() => Err("hello does not prove that it saw the ticket"),
                None if s.device == Some(peer) => return Ok(()),
                None => Err("the ticket is used already"),
            },
        };
        let ticket = match ticket {
            Ok(ticket) => ticket,
            Err(reason) => {
                refused(reason);
                return Ok(());
            }
        };
        self.keeper()
            .append_own(&NodeRecord::SessionUsed {
                session: hello.session,
                device: peer,
            })
            .await?;
        let key = Arc::clone(&operator.key);
        match Enrolment::of_broker(&ticket, hello, key, &mut os_entropy()?) {
            Ok((machine, outputs)) => {
                operator.directory.enrolling(peer);
                if let Some(network) = operator.lines.network() {
                    network.promote(peer);
                }
                self.machines.insert(hello.session, machine);
                self.perform(hello.session, outputs).await
            }
            Err(reason) => {
                refused(&reason);
                Ok(())
            }
        }
    }

    /// Trust operator: the broker announces a session. Consumed durably, once.
    async fn announce(&mut self, message: &EnrolMessage) -> Result<(), KeeperError> {
        let operator = Arc::clone(&self.shared.operator);
        let session = *message.session();
        if self.used()?.contains(&session) {
            counts::enrolment(Enrolled::Refused);
            tracing::warn!("announce refused: the session is used already");
            let reason = "the session is used already".to_owned();
            self.tell_others(&EnrolMessage::Ended { session, reason });
            return Ok(());
        }
        let now = (operator.clock)();
        let key = Arc::clone(&operator.key);
        let begun =
            Enrolment::of_trust_operator(&operator.ledger, message, key, now, &mut os_entropy()?);
        match begun {
            Ok((machine, outputs)) => {
                let device = *machine.device();
                self.keeper()
                    .append_own(&NodeRecord::SessionUsed { session, device })
                    .await?;
                self.used()?.insert(session);
                operator.directory.enrolling(device);
                self.machines.insert(session, machine);
                self.perform(session, outputs).await
            }
            Err(reason) => {
                counts::enrolment(Enrolled::Refused);
                tracing::warn!(reason, "announce refused");
                self.tell_others(&EnrolMessage::Ended { session, reason });
                Ok(())
            }
        }
    }

    fn tell_others(&self, message: &EnrolMessage) {
        let operator = &self.shared.operator;
        if let (Some(peer), Ok(frame)) = (
            operator
                .directory
                .peer(&Sub::ZERO, operator.directory.other()),
            Message::Enrol(Box::new(message.clone())).to_frame(),
        ) {
            operator.lines.send_to(peer, frame);
        }
    }

    async fn confirm(&mut self, session: [u8; 32], digits: SixDigits) -> Result<(), KeeperError> {
        let now = (self.shared.operator.clock)();
        let outputs = match self.machines.get_mut(&session) {
            Some(machine) => machine.confirm(now, digits),
            None => return Ok(()),
        };
        self.perform(session, outputs).await
    }

    async fn tick(&mut self) -> Result<(), KeeperError> {
        let now = (self.shared.operator.clock)();
        let sessions: Vec<[u8; 32]> = self.machines.keys().copied().collect();
        for session in sessions {
            let outputs = match self.machines.get_mut(&session) {
                Some(machine) => machine.tick(now),
                None => continue,
            };
            self.perform(session, outputs).await?;
        }
        let now_s = now.seconds();
        lock(&self.shared.sessions).retain(|_, s| {
            if s.exp <= now_s && s.ticket.take().is_some() {
                counts::enrolment(Enrolled::Unanswered);
                let reason = "no device answered the ticket in time".to_owned();
                s.state.send_replace(EnrolmentState::Failed { reason });
            }
            now_s < s.exp.saturating_add(REMEMBERED_S)
        });
        Ok(())
    }

    async fn perform(
        &mut self,
        session: [u8; 32],
        outputs: Vec<EnrolOutput>,
    ) -> Result<(), KeeperError> {
        let operator = Arc::clone(&self.shared.operator);
        let mut founded = None;
        for output in outputs {
            match output {
                EnrolOutput::Send { to, message } => {
                    let device = self.machines.get(&session).map(|m| *m.device());
                    let peer = match to {
                        Role::Device => device,
                        other => operator.directory.peer(&Sub::ZERO, other),
                    };
                    if let (Some(peer), Ok(frame)) =
                        (peer, Message::Enrol(Box::new(message)).to_frame())
                    {
                        operator.lines.send_to(peer, frame);
                    }
                }
                EnrolOutput::KeepShare {
                    sub,
                    share,
                    content_key,
                } => {
                    lock(&self.shared.founding).insert(session, sub);
                    self.keeper()
                        .append_own(&NodeRecord::SharePending { sub })
                        .await?;
                    let secrets = Secrets {
                        share: Some(*share),
                        content_key,
                        identity: None,
                    };
                    self.keeper().keep_secrets(&sub, &secrets).await?;
                }
                EnrolOutput::Ready => self.state(&session, EnrolmentState::Digits),
                EnrolOutput::WrongDigits { left } => {
                    if let Some(s) = lock(&self.shared.sessions).get(&session) {
                        s.wrong_digits.send_replace(Some(left));
                    }
                }
                EnrolOutput::Founded(f) => {
                    self.found(&f).await?;
                    counts::enrolment(Enrolled::Founded);
                    // The digits are done with; the genesis follows.
                    self.state(&session, EnrolmentState::Waiting);
                    founded = Some(f);
                }
                EnrolOutput::Failed {
                    culprit,
                    reason,
                    kept,
                } => {
                    counts::enrolment(Enrolled::Failed);
                    tracing::warn!(?culprit, %reason, "enrolment failed");
                    if let Some(sub) = kept {
                        self.keeper().forget(&sub).await?;
                    }
                    self.state(&session, EnrolmentState::Failed { reason });
                }
                EnrolOutput::Digits(_) => {}
            }
        }
        if self.machines.get(&session).is_some_and(Enrolment::is_over)
            && let Some(machine) = self.machines.remove(&session)
        {
            operator.directory.not_enrolling(machine.device());
            lock(&self.shared.founding).remove(&session);
        }
        // After the votes are sent: what the account says next finds it founded elsewhere too.
        if let Some(founding) = founded {
            (self.shared.on_founded)(founding.sub, &founding);
        }
        Ok(())
    }

    fn state(&self, session: &[u8; 32], state: EnrolmentState) {
        if let Some(s) = lock(&self.shared.sessions).get(session) {
            s.state.send_replace(state);
        }
    }

    async fn found(&mut self, founding: &Founding) -> Result<(), KeeperError> {
        let sub = founding.sub;
        let record = Record::Founding(Box::new(founding.clone()));
        self.keeper().append(&sub, &[record]).await?;
        self.shared
            .operator
            .directory
            .add(sub, founding.parties.device);
        Ok(())
    }
}
