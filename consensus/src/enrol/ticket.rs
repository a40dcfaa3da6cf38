//! The ticket: what a login service shows, and a device scans, to begin an enrolment.

use core::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    encoding::{self, Context, Fields, Hash, derive},
    party::{Ledger, Role, Sub},
    signature::IdentityKey,
    time::Time,
    vote::{Statement, Verb, Vote},
    wire,
};

/// The longest life of a ticket in seconds.
pub const MAX_TICKET_S: u64 = 600;

/// The largest ticket in bytes, before base64url.
pub const MAX_TICKET: usize = 2048;

const URI_PREFIX: &str = "warifu:enrol?ticket=";

/// Why a ticket is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The text is no ticket URI.
    #[error("text is no enrolment ticket, expected `{URI_PREFIX}` and base64url")]
    NotATicket,
    /// The bytes are no ticket.
    #[error("ticket is cut off or altered: {0}")]
    Bytes(#[from] wire::WireError),
    /// Another broker than the pinned one.
    #[error(
        "ticket names another {what} than this device's configuration: found {found}, expected {expected}"
    )]
    Pinned {
        /// What differs.
        what: &'static str,
        /// As the ticket says.
        found: String,
        /// As pinned.
        expected: String,
    },
    /// The broker's vote does not verify.
    #[error("ticket is not signed by the broker that it names")]
    Vote,
    /// Its time is over.
    #[error("ticket expired {ago_s} s ago")]
    Expired {
        /// Seconds since.
        ago_s: u64,
    },
    /// It lives longer than a ticket may.
    #[error("ticket lives {found_s} s from now, at most {MAX_TICKET_S} s allowed")]
    TooLong {
        /// Seconds found.
        found_s: u64,
    },
}

/// The ticket's one-time secret, 32 bytes. Whoever holds it may enrol one device in its session. Wiped on drop.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct TicketSecret(pub(super) [u8; 32]);

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(<redacted>)")
    }
}

impl TicketSecret {
    /// Takes 32 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The device's proof that it saw the ticket: BLAKE3 keyed with `derive_key(secret)` over
    /// session (32) ‖ device identity (32) ‖ device session key (32).
    pub(super) fn mac(
        &self,
        session: &[u8; 32],
        device: &[u8; 32],
        key: &[u8; 32],
    ) -> blake3::Hash {
        let mac_key = derive(Context::TicketMac, &[&self.0]);
        let mut hasher = blake3::Hasher::new_keyed(&mac_key.0);
        hasher.update(session).update(device).update(key);
        hasher.finalize()
    }
}

/// See the module. Addresses are multiaddresses in text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The ledger: origin and both operators' identity keys (their PeerIds derive from them).
    pub ledger: Ledger,
    /// The enrolment session, 32 random bytes.
    pub session: [u8; 32],
    /// Where the broker listens for devices.
    pub broker_addresses: Vec<String>,
    /// Where the trust operator listens for devices.
    pub trust_operator_addresses: Vec<String>,
    /// The one-time secret.
    pub secret: TicketSecret,
    /// Seconds since the Unix epoch.
    pub exp: u64,
    /// Vote 11 of the broker over the hash of all fields above.
    pub vote: Vote,
}

impl Ticket {
    pub(super) fn statement(&self) -> Statement {
        let mut fields = Fields::new(Context::Ticket)
            .var(self.ledger.iss.as_bytes())
            .fixed(&self.ledger.broker)
            .fixed(&self.ledger.trust_operator)
            .fixed(&self.session);
        for list in [&self.broker_addresses, &self.trust_operator_addresses] {
            let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
            fields = fields.fixed(&count.to_be_bytes());
            for address in list {
                fields = fields.var(address.as_bytes());
            }
        }
        let hash: Hash = fields
            .fixed(&self.secret.0)
            .fixed(&self.exp.to_be_bytes())
            .finish();
        Statement {
            verb: Verb::Ticket,
            role: Role::Broker,
            sub: Sub::ZERO,
            hash,
        }
    }

    /// Signs a ticket with the broker's identity key; the vote given is replaced.
    #[must_use]
    pub fn sign(mut self, key: &IdentityKey) -> Self {
        self.vote = Vote::sign(key, &self.statement());
        self
    }

    /// Checks a scanned ticket against the device's own pinned ledger.
    ///
    /// # Errors
    /// [`TicketError`] with found and expected.
    pub fn check(&self, pinned: &Ledger, now: Time) -> Result<(), TicketError> {
        let own = &self.ledger;
        if own.iss != pinned.iss {
            return Err(TicketError::Pinned {
                what: "ledger",
                found: own.iss.clone(),
                expected: pinned.iss.clone(),
            });
        }
        for (what, found, expected) in [
            ("broker", &own.broker, &pinned.broker),
            (
                "trust operator",
                &own.trust_operator,
                &pinned.trust_operator,
            ),
        ] {
            if found != expected {
                return Err(TicketError::Pinned {
                    what,
                    found: encoding::text_b64(found),
                    expected: encoding::text_b64(expected),
                });
            }
        }
        self.vote
            .verify(&self.statement(), &self.ledger.broker)
            .map_err(|_| TicketError::Vote)?;
        let now_s = now.seconds();
        if now_s >= self.exp {
            return Err(TicketError::Expired {
                ago_s: now_s.saturating_sub(self.exp),
            });
        }
        let found_s = self.exp.saturating_sub(now_s);
        if found_s > MAX_TICKET_S.saturating_add(crate::time::MAX_AHEAD_S) {
            return Err(TicketError::TooLong { found_s });
        }
        Ok(())
    }

    /// The ticket as a URI, for a QR code: `warifu:enrol?ticket=` and base64url.
    ///
    /// # Errors
    /// [`TicketError::Bytes`] when it is larger than [`MAX_TICKET`].
    pub fn to_uri(&self) -> Result<String, TicketError> {
        let bytes = wire::encode::<Self, MAX_TICKET>(self)?;
        Ok(format!("{URI_PREFIX}{}", encoding::text_b64(&bytes)))
    }

    /// Reads a URI. The ticket is not checked yet: [`Ticket::check`].
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn from_uri(uri: &str) -> Result<Self, TicketError> {
        let text = uri
            .trim()
            .strip_prefix(URI_PREFIX)
            .ok_or(TicketError::NotATicket)?;
        if text.len() > MAX_TICKET.saturating_mul(2) {
            return Err(TicketError::NotATicket);
        }
        let bytes = encoding::parse_b64_vec(text).map_err(|_| TicketError::NotATicket)?;
        Ok(wire::decode::<Self, MAX_TICKET>(&bytes)?)
    }
}
