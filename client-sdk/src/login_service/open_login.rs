//! A login's handle: what a login service holds between `begin` and the end, in memory or in its
//! own session store.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use warifu_consensus::block::Kind;
use warifu_consensus::encoding;
use warifu_consensus::party::Sub;
use warifu_consensus::time::Time;

use crate::receipt::Expected;

/// A login that was begun and has not ended. It moves into every call that may end it.
///
/// Serialisable, so that another process, or the same one after a restart, can wait for the end:
/// a map that begins with `"warifu":"open-login/1"`, in which a reader of another version finds an
/// error.
///
/// **It needs secrecy and integrity**: keep it as you keep a session's secret, on the server, never
/// in a page or a cookie of the browser, not even a signed one that can be replayed. Who reads it
/// learns the nonce; who can write it chooses which login lets a session in. What it says of
/// account, key and device is compared with the pins before anybody is admitted
/// ([`super::LoginServiceError::Altered`]), and [`super::Admission::customer`] is the customer of
/// that pin: let in this customer, not the one that a session beside the handle names.
///
/// **Delete the stored handle before acting on the [`super::Admission`]** (`DELETE … RETURNING`, and
/// nobody comes in unless a row was deleted). A pin store that keeps nonces
/// ([`super::PinStore::spend`], as `SqlitePins` does) makes a nonce let in once for all processes
/// that share it; with another one each [`super::LoginService`] remembers by itself, and a restart
/// forgets what was used.
///
/// Dropping it takes nothing back: see [`super::LoginService::cancel`].
pub struct OpenLogin {
    pub(super) id: String,
    pub(super) number: String,
    pub(super) expires_in: Duration,
    /// By this login service's clock: when nothing can be admitted any more.
    pub(super) ends: Time,
    pub(super) expected: Expected,
    /// The device's identity key, from the pin; the operators' are this login service's own.
    pub(super) device: [u8; 32],
}

impl OpenLogin {
    /// The broker's name for it: 22 characters of base64url.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Two digits to show on the page.
    #[must_use]
    pub fn number(&self) -> &str {
        &self.number
    }

    /// How long the customer has, from the begin.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// What the block will have to be.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }
}

impl fmt::Debug for OpenLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenLogin")
            .field("id", &self.id)
            .field("account", &self.expected.account)
            .field("kind", &self.expected.kind)
            .field("number", &"<redacted>")
            .field("nonce", &"<redacted>")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

const VERSION: &str = "open-login/1";

/// The stored form, borrowed or owned.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "T: Deserialize<'de> + AsRef<str>"))]
struct Stored<T> {
    #[serde(deserialize_with = "this_version")]
    warifu: T,
    id: T,
    number: T,
    /// Seconds.
    expires_in: u64,
    /// Milliseconds since the Unix epoch.
    ends: Time,
    iss: T,
    aud: T,
    account: Sub,
    #[serde(with = "encoding::bytes")]
    account_key: [u8; 32],
    nonce: T,
    kind: T,
    #[serde(with = "encoding::bytes")]
    device: [u8; 32],
}

fn this_version<'de, D: Deserializer<'de>, T: Deserialize<'de> + AsRef<str>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let found = T::deserialize(deserializer)?;
    if found.as_ref() == VERSION {
        return Ok(found);
    }
    let found = found.as_ref();
    let text = format!("login's handle has version {found}, expected {VERSION}");
    Err(serde::de::Error::custom(text))
}

impl Serialize for OpenLogin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let expected = &self.expected;
        Stored {
            warifu: VERSION,
            id: &self.id,
            number: &self.number,
            expires_in: self.expires_in.as_secs(),
            ends: self.ends,
            iss: &expected.iss,
            aud: &expected.aud,
            account: expected.account,
            account_key: expected.account_key,
            nonce: &expected.nonce,
            kind: expected.kind.name(),
            device: self.device,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OpenLogin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OpenLogin, D::Error> {
        let stored = Stored::<String>::deserialize(deserializer)?;
        let kind: Kind = stored.kind.parse().map_err(serde::de::Error::custom)?;
        Ok(OpenLogin {
            id: stored.id,
            number: stored.number,
            expires_in: Duration::from_secs(stored.expires_in),
            ends: stored.ends,
            expected: Expected {
                iss: stored.iss,
                aud: stored.aud,
                account: stored.account,
                account_key: stored.account_key,
                nonce: stored.nonce,
                kind,
            },
            device: stored.device,
        })
    }
}
