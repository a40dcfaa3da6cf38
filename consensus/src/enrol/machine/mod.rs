//! One party's side of an enrolment session.

pub(super) mod keys;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{
    EnrolMessage, EnrolOutput, MAX_DIGIT_TRIES, SessionKey, SixDigits, Ticket, TicketSecret,
    session_key_statement,
};
use crate::{
    agree::Founding,
    body::ContentKey,
    encoding::{Context, Fields, Hash, ROUND2_INFO},
    party::{Ledger, Parties, Role, Sub},
    random::Entropy,
    session::SessionSecret,
    share::{
        KeyShare,
        dkg::{DkgFault, Round1, Round1Package, Round2, Round2Secret},
    },
    signature::IdentityKey,
    time::{GRACE_S, MAX_LIFETIME_S, Time},
    vote::{Statement, Verb, Vote},
    wire::plain,
};

/// The device's first word: its keys, and the proof that it saw the ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The session.
    pub session: [u8; 32],
    /// The device's fresh identity key for this account.
    pub device: [u8; 32],
    /// Its session key.
    pub key: SessionKey,
    /// Keyed BLAKE3 with the ticket's secret, 32 bytes.
    pub mac: [u8; 32],
}

impl Hello {
    /// Whether the sender saw the ticket with this secret, in constant time.
    #[must_use]
    pub fn knows(&self, secret: &TicketSecret) -> bool {
        let expected = secret.mac(&self.session, &self.device, &self.key.public);
        expected.as_bytes().ct_eq(&self.mac).into()
    }
}

enum Stage {
    /// Waiting for the others' session keys.
    Keys,
    /// Sent round 1.
    One(Round1),
    /// Sent round 2.
    Two(Round2),
    /// Voted (or, at the broker, may vote) for this founding.
    Transcript(Box<Founding>, SixDigits),
    Over,
}

/// See the module.
pub struct Enrolment {
    role: Role,
    key: Arc<IdentityKey>,
    ledger: Ledger,
    session: [u8; 32],
    exp: u64,
    device: [u8; 32],
    secret: SessionSecret,
    keys: [Option<[u8; 32]>; 3],
    own_key: SessionKey,
    stage: Stage,
    own_round1: Option<Round1Package>,
    round1: [Option<Round1Package>; 3],
    round2: [Option<Vec<u8>>; 3],
    votes: [Option<Vote>; 3],
    content_key: Option<ContentKey>,
    content_key_hash: Option<Hash>,
    kept: Option<Sub>,
    tries_left: u8,
    ready: bool,
}

/// Found and expected, and who is to blame.
struct Trouble {
    culprit: Option<Role>,
    reason: String,
}

impl Trouble {
    fn by(culprit: Role, reason: impl Into<String>) -> Self {
        Self {
            culprit: Some(culprit),
            reason: reason.into(),
        }
    }
}

impl From<DkgFault> for Trouble {
    fn from(fault: DkgFault) -> Self {
        Self {
            culprit: fault.culprit(),
            reason: fault.to_string(),
        }
    }
}

type Out = Vec<EnrolOutput>;

impl Enrolment {
    /// Device: answers a checked ticket with its fresh identity key.
    pub fn of_device<E: Entropy>(
        ticket: &Ticket,
        key: Arc<IdentityKey>,
        entropy: &mut E,
    ) -> (Self, Vec<EnrolOutput>) {
        let device = key.public();
        let content_key = ContentKey::generate(entropy);
        let mut me = Self::new(
            Role::Device,
            key,
            &ticket.ledger,
            ticket.session,
            ticket.exp,
            device,
            entropy,
        );
        me.content_key_hash = Some(content_key.hash());
        me.content_key = Some(content_key);
        let mac = ticket
            .secret
            .mac(&ticket.session, &device, &me.own_key.public);
        let hello = Hello {
            session: ticket.session,
            device,
            key: me.own_key.clone(),
            mac: *mac.as_bytes(),
        };
        (me, vec![send(Role::Broker, EnrolMessage::Hello(hello))])
    }

    /// Broker: takes the hello of a device whose ticket is open and unused. The caller consumed
    /// the session durably before.
    ///
    /// # Errors
    /// Text with found and expected; the ticket stays consumed.
    pub fn of_broker<E: Entropy>(
        ticket: &Ticket,
        hello: &Hello,
        key: Arc<IdentityKey>,
        entropy: &mut E,
    ) -> Result<(Self, Vec<EnrolOutput>), String> {
        if hello.session != ticket.session || !hello.knows(&ticket.secret) {
            return Err("hello is not by a device that saw this ticket".into());
        }
        let mut me = Self::new(
            Role::Broker,
            key,
            &ticket.ledger,
            ticket.session,
            ticket.exp,
            hello.device,
            entropy,
        );
        me.take_key(Role::Device, &hello.key)
            .map_err(|t| t.reason)?;
        let announce = EnrolMessage::Announce {
            session: ticket.session,
            exp: ticket.exp,
            device: hello.device,
            device_key: hello.key.clone(),
            broker_key: me.own_key.clone(),
        };
        Ok((me, vec![send(Role::TrustOperator, announce)]))
    }

    /// Trust operator: takes the broker's announcement. The caller consumed the session durably
    /// before.
    ///
    /// # Errors
    /// Text with found and expected.
    pub fn of_trust_operator<E: Entropy>(
        ledger: &Ledger,
        announce: &EnrolMessage,
        key: Arc<IdentityKey>,
        now: Time,
        entropy: &mut E,
    ) -> Result<(Self, Vec<EnrolOutput>), String> {
        let EnrolMessage::Announce {
            session,
            exp,
            device,
            device_key,
            broker_key,
        } = announce
        else {
            return Err(format!(
                "message is `{}`, expected `announce`",
                announce.name()
            ));
        };
        let longest = now
            .seconds()
            .saturating_add(super::MAX_TICKET_S)
            .saturating_add(GRACE_S);
        if now.seconds() >= *exp || *exp > longest {
            return Err(format!(
                "session ends at {exp}, expected after now and by {longest}"
            ));
        }
        let mut me = Self::new(
            Role::TrustOperator,
            key,
            ledger,
            *session,
            *exp,
            *device,
            entropy,
        );
        me.take_key(Role::Device, device_key)
            .map_err(|t| t.reason)?;
        me.take_key(Role::Broker, broker_key)
            .map_err(|t| t.reason)?;
        let accept = EnrolMessage::Accept {
            session: *session,
            key: me.own_key.clone(),
        };
        let mut out = vec![send(Role::Broker, accept)];
        me.start_round1(entropy);
        me.send_round1(Role::Broker, &mut out);
        Ok((me, out))
    }

    fn new<E: Entropy>(
        role: Role,
        key: Arc<IdentityKey>,
        ledger: &Ledger,
        session: [u8; 32],
        exp: u64,
        device: [u8; 32],
        entropy: &mut E,
    ) -> Self {
        let secret = SessionSecret::generate(entropy);
        let public = secret.public();
        let vote = Vote::sign(&key, &session_key_statement(&session, role, &public));
        let mut me = Self {
            role,
            key,
            ledger: ledger.clone(),
            session,
            exp,
            device,
            secret,
            keys: [None; 3],
            own_key: SessionKey { public, vote },
            stage: Stage::Keys,
            own_round1: None,
            round1: [None, None, None],
            round2: [None, None, None],
            votes: [None, None, None],
            content_key: None,
            content_key_hash: None,
            kept: None,
            tries_left: MAX_DIGIT_TRIES,
            ready: false,
        };
        put(&mut me.keys, role, public);
        me
    }

    /// The session, 32 bytes.
    #[must_use]
    pub fn session(&self) -> &[u8; 32] {
        &self.session
    }

    /// The device's identity key.
    #[must_use]
    pub fn device(&self) -> &[u8; 32] {
        &self.device
    }

    /// When the session ends, unless it founded an account before.
    #[must_use]
    pub fn deadline(&self) -> Time {
        Time::from_seconds(self.exp)
    }

    /// The account that is being founded, once the transcript is known.
    #[must_use]
    pub fn sub(&self) -> Option<Sub> {
        self.kept
    }

    /// Nothing follows any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    fn parties(&self) -> Parties {
        Parties {
            device: self.device,
            broker: self.ledger.broker,
            trust_operator: self.ledger.trust_operator,
        }
    }

    /// Takes a message from the party whose line it came on.
    pub fn handle<E: Entropy>(
        &mut self,
        now: Time,
        from: Role,
        message: EnrolMessage,
        entropy: &mut E,
    ) -> Vec<EnrolOutput> {
        let mut out = Vec::new();
        if self.is_over() {
            return out;
        }
        if now >= self.deadline() {
            self.fail(
                Trouble {
                    culprit: None,
                    reason: "the ticket expired".into(),
                },
                &mut out,
            );
            return out;
        }
        // Nobody has a line to itself.
        if from == self.role || message.session() != &self.session {
            return out;
        }
        if let Err(trouble) = self.message(from, message, entropy, &mut out) {
            self.fail(trouble, &mut out);
        }
        out
    }

    /// Ends a session whose time is over.
    pub fn tick(&mut self, now: Time) -> Vec<EnrolOutput> {
        let mut out = Vec::new();
        if !self.is_over() && now >= self.deadline() {
            self.fail(
                Trouble {
                    culprit: None,
                    reason: "the ticket expired".into(),
                },
                &mut out,
            );
        }
        out
    }

    /// Broker: the customer typed these digits into the page.
    pub fn confirm(&mut self, now: Time, digits: SixDigits) -> Vec<EnrolOutput> {
        let mut out = self.tick(now);
        let Stage::Transcript(founding, expected) = &self.stage else {
            return out;
        };
        // Only a broker ever is.
        if !self.ready {
            return out;
        }
        if !expected.is(digits) {
            self.tries_left = self.tries_left.saturating_sub(1);
            out.push(EnrolOutput::WrongDigits {
                left: self.tries_left,
            });
            if self.tries_left == 0 {
                let reason = "wrong digits, the session is over".into();
                self.fail(
                    Trouble {
                        culprit: None,
                        reason,
                    },
                    &mut out,
                );
            }
            return out;
        }
        let mut founding = founding.clone();
        let own = self.vote_for(&founding);
        put(&mut self.votes, Role::Broker, own);
        let [Some(device), Some(broker), Some(trust_operator)] = self.votes else {
            return out;
        };
        let votes = [device, broker, trust_operator];
        founding.votes = votes;
        self.stage = Stage::Over;
        // Durable before visible: founded first, then the vote that lets the others found it.
        out.push(EnrolOutput::Founded(founding));
        for to in [Role::TrustOperator, Role::Device] {
            out.push(send(
                to,
                EnrolMessage::Votes {
                    session: self.session,
                    votes,
                },
            ));
        }
        out
    }

    fn fail(&mut self, trouble: Trouble, out: &mut Out) {
        self.stage = Stage::Over;
        for to in Role::ALL.into_iter().filter(|r| *r != self.role) {
            let reason = trouble.reason.clone();
            out.push(send(
                to,
                EnrolMessage::Ended {
                    session: self.session,
                    reason,
                },
            ));
        }
        out.push(EnrolOutput::Failed {
            culprit: trouble.culprit,
            reason: trouble.reason,
            kept: self.kept.take(),
        });
    }

    fn message<E: Entropy>(
        &mut self,
        from: Role,
        message: EnrolMessage,
        entropy: &mut E,
        out: &mut Out,
    ) -> Result<(), Trouble> {
        match (self.role, from, message) {
            (Role::Broker, Role::TrustOperator, EnrolMessage::Accept { key, .. }) => {
                if matches!(self.stage, Stage::Keys) {
                    self.take_key(Role::TrustOperator, &key)?;
                    out.push(send(
                        Role::Device,
                        EnrolMessage::Welcome {
                            session: self.session,
                            broker_key: self.own_key.clone(),
                            trust_operator_key: key,
                        },
                    ));
                    self.start_round1(entropy);
                    self.send_round1(Role::Device, out);
                    self.send_round1(Role::TrustOperator, out);
                }
                self.advance(entropy, out)
            }
            (
                Role::Device,
                Role::Broker,
                EnrolMessage::Welcome {
                    broker_key,
                    trust_operator_key,
                    ..
                },
            ) => {
                if matches!(self.stage, Stage::Keys) {
                    self.take_key(Role::Broker, &broker_key)?;
                    // What the broker passes on without its owner's vote is the broker's fault (rule 9).
                    self.take_key(Role::TrustOperator, &trust_operator_key)
                        .map_err(|trouble| Trouble::by(Role::Broker, trouble.reason))?;
                    self.start_round1(entropy);
                    self.send_round1(Role::Broker, out);
                    self.send_round1(Role::TrustOperator, out);
                }
                self.advance(entropy, out)
            }
            (
                _,
                _,
                EnrolMessage::Round1 {
                    package,
                    content_key,
                    ..
                },
            ) => {
                self.take_round1(from, &package, content_key, out)?;
                self.advance(entropy, out)
            }
            (_, _, EnrolMessage::Round2 { sealed, .. }) => {
                if slot(&self.round2, from).is_none() {
                    put(&mut self.round2, from, sealed);
                }
                self.advance(entropy, out)
            }
            (Role::Broker, _, EnrolMessage::Voted { vote, .. }) => {
                if slot(&self.votes, from).is_none() {
                    put(&mut self.votes, from, vote);
                }
                self.advance(entropy, out)
            }
            (
                Role::Device | Role::TrustOperator,
                Role::Broker,
                EnrolMessage::Votes { votes, .. },
            ) => self.found(votes, out),
            (_, _, EnrolMessage::Ended { reason, .. }) => Err(Trouble {
                culprit: None,
                reason: format!("the {from} ended the session: {}", plain(&reason)),
            }),
            // A repeat, or a message that this party never takes: it changes nothing.
            (_, _, _) => Ok(()),
        }
    }

    /// Goes as far as what arrived allows.
    fn advance<E: Entropy>(&mut self, entropy: &mut E, out: &mut Out) -> Result<(), Trouble> {
        if matches!(self.stage, Stage::One(_)) && self.round1.iter().all(Option::is_some) {
            self.finish_round1(entropy, out)?;
        }
        if matches!(self.stage, Stage::Two(_))
            && self
                .others()
                .iter()
                .all(|r| slot(&self.round2, *r).is_some())
        {
            self.finish_round2(out)?;
        }
        if self.role == Role::Broker && !self.ready {
            self.check_votes(out)?;
        }
        Ok(())
    }

    fn others(&self) -> [Role; 2] {
        match self.role {
            Role::Device => [Role::Broker, Role::TrustOperator],
            Role::Broker => [Role::Device, Role::TrustOperator],
            Role::TrustOperator => [Role::Device, Role::Broker],
        }
    }
}

fn send(to: Role, message: EnrolMessage) -> EnrolOutput {
    EnrolOutput::Send { to, message }
}

fn slot<T>(slots: &[Option<T>; 3], role: Role) -> Option<&T> {
    let [device, broker, trust_operator] = slots;
    match role {
        Role::Device => device.as_ref(),
        Role::Broker => broker.as_ref(),
        Role::TrustOperator => trust_operator.as_ref(),
    }
}

fn put<T>(slots: &mut [Option<T>; 3], role: Role, value: T) {
    let [device, broker, trust_operator] = slots;
    *match role {
        Role::Device => device,
        Role::Broker => broker,
        Role::TrustOperator => trust_operator,
    } = Some(value);
}
