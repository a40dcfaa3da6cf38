//! Enrolment: three parties make one account key that none of them ever holds.
//!
//! A login service shows a broker-signed [`Ticket`]; the device answers with a fresh identity key
//! and a MAC that only the ticket's holder can make. Each party makes a session key, signed by its
//! identity key; the key generation's secrets are sealed to these, whoever carries them. All sign
//! one transcript; the broker signs last, and only when the customer typed the six digits that the
//! device showed into the page where the ticket was shown: a photographed ticket enrols nobody
//! else's device.
//!
//! [`Enrolment`] decides this for each party, without IO. It never writes: the caller makes a share
//! durable when told to ([`EnrolOutput::KeepShare`]) before it sends what follows. A session lives
//! in RAM and ends with its ticket; one party finishing alone leaves nothing behind.

mod machine;
mod ticket;

#[cfg(test)]
mod vectors;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    agree::Founding,
    body::ContentKey,
    encoding::{Context, Fields, Hash, derive},
    party::{Role, Sub},
    share::KeyShare,
    vote::{Statement, Verb, Vote},
};

pub use machine::{Enrolment, Hello};
pub use ticket::{MAX_TICKET, MAX_TICKET_S, Ticket, TicketError, TicketSecret};

/// Wrong six-digit answers before a session ends.
pub const MAX_DIGIT_TRIES: u8 = 3;

/// A party's X25519 key for one session, signed by its identity key (vote 12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionKey {
    /// X25519 u coordinate, 32 bytes (RFC 7748).
    pub public: [u8; 32],
    /// Vote 12 over `derive_key(session ‖ role ‖ public)`, `sub` zeros.
    pub vote: Vote,
}

pub(crate) fn session_key_statement(
    session: &[u8; 32],
    role: Role,
    public: &[u8; 32],
) -> Statement {
    let hash = Fields::new(Context::SessionKey)
        .fixed(session)
        .fixed(&[role.number()])
        .fixed(public)
        .finish();
    Statement {
        verb: Verb::SessionKey,
        role,
        sub: Sub::ZERO,
        hash,
    }
}

/// What is said in an enrolment session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolMessage {
    /// Device → broker: I saw the ticket, this is my key.
    Hello(Hello),
    /// Broker → trust operator: serve this device in this session.
    Announce {
        /// The session.
        session: [u8; 32],
        /// The ticket's end, seconds since the Unix epoch.
        exp: u64,
        /// The device's identity key.
        device: [u8; 32],
        /// The device's session key.
        device_key: SessionKey,
        /// The broker's session key.
        broker_key: SessionKey,
    },
    /// Trust operator → broker: I will.
    Accept {
        /// The session.
        session: [u8; 32],
        /// The trust operator's session key.
        key: SessionKey,
    },
    /// Broker → device: both operators are ready.
    Welcome {
        /// The session.
        session: [u8; 32],
        /// The broker's session key.
        broker_key: SessionKey,
        /// The trust operator's session key.
        trust_operator_key: SessionKey,
    },
    /// Anyone → anyone: the first package of the key generation.
    Round1 {
        /// The session.
        session: [u8; 32],
        /// 160 bytes, see `share::dkg`.
        package: Vec<u8>,
        /// From the device: the hash of the account's content key.
        content_key: Option<Hash>,
    },
    /// Anyone → anyone: the second package, sealed to the receiver's session key.
    Round2 {
        /// The session.
        session: [u8; 32],
        /// HPKE: encapsulated key ‖ ciphertext.
        sealed: Vec<u8>,
    },
    /// Device, trust operator → broker: my transcript vote.
    Voted {
        /// The session.
        session: [u8; 32],
        /// Vote 9.
        vote: Vote,
    },
    /// Broker → device, trust operator: all three transcript votes; the digits matched.
    Votes {
        /// The session.
        session: [u8; 32],
        /// In role order.
        votes: [Vote; 3],
    },
    /// Anyone → anyone: this session ends here.
    Ended {
        /// The session.
        session: [u8; 32],
        /// Why.
        reason: String,
    },
}

impl EnrolMessage {
    /// The session that this is about.
    #[must_use]
    pub fn session(&self) -> &[u8; 32] {
        match self {
            Self::Hello(hello) => &hello.session,
            Self::Announce { session, .. }
            | Self::Accept { session, .. }
            | Self::Welcome { session, .. }
            | Self::Round1 { session, .. }
            | Self::Round2 { session, .. }
            | Self::Voted { session, .. }
            | Self::Votes { session, .. }
            | Self::Ended { session, .. } => session,
        }
    }

    /// The message's name, for logs and errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Announce { .. } => "announce",
            Self::Accept { .. } => "accept",
            Self::Welcome { .. } => "welcome",
            Self::Round1 { .. } => "round-1",
            Self::Round2 { .. } => "round-2",
            Self::Voted { .. } => "voted",
            Self::Votes { .. } => "votes",
            Self::Ended { .. } => "ended",
        }
    }
}

/// What an enrolment asks its caller to do, in order.
#[derive(Debug)]
#[must_use]
pub enum EnrolOutput {
    /// Send this.
    Send {
        /// To whom.
        to: Role,
        /// What.
        message: EnrolMessage,
    },
    /// Make the share (and the content key, where the party holds one) durable in the vault before
    /// the next output.
    KeepShare {
        /// The account.
        sub: Sub,
        /// The share.
        share: Box<KeyShare>,
        /// Device and broker only.
        content_key: Option<ContentKey>,
    },
    /// Device: show these six digits; the customer types them into the page.
    Digits(SixDigits),
    /// Broker: device and trust operator voted; the page may ask for the digits.
    Ready,
    /// Broker: wrong digits; tries left.
    WrongDigits {
        /// Tries left before the session ends.
        left: u8,
    },
    /// All three voted: the account is founded. Make this record durable, then start its machine.
    Founded(Box<Founding>),
    /// The session is over, nothing stays: delete a kept share.
    Failed {
        /// Who is at fault, if someone is.
        culprit: Option<Role>,
        /// Found and expected.
        reason: String,
        /// The account whose share was kept, to be deleted.
        kept: Option<Sub>,
    },
}

/// Six decimal digits derived from the transcript. Whoever reads them before the customer types them could
/// confirm another device: never printed by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SixDigits(u32);

impl std::fmt::Debug for SixDigits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SixDigits(<redacted>)")
    }
}

impl SixDigits {
    /// `derive_key(transcript hash)`, first 8 bytes big endian, modulo 10^6.
    #[must_use]
    pub fn of_transcript(transcript: &Hash) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = derive(Context::Digits, &[&transcript.0]).0;
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self(u32::try_from(number % 1_000_000).unwrap_or(0))
    }

    /// Whether these are the same digits, in constant time.
    #[must_use]
    pub fn is(self, typed: Self) -> bool {
        self.0.ct_eq(&typed.0).into()
    }

    /// Reads exactly six digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let six = text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit());
        if six {
            text.parse().ok().map(Self)
        } else {
            None
        }
    }
}

impl std::fmt::Display for SixDigits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:06}", self.0)
    }
}
