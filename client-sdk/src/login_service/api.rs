//! The JSON of the broker's HTTP side, for the server and for the client: one place, so that they
//! cannot drift apart.
//!
//! Requests are read strictly (an unknown member is an error, so that nobody believes to have set
//! what is not settable, such as `aud`); answers tolerate unknown members, so that an older client
//! reads a newer broker. Decides form only: whether a block is a login is decided in
//! [`crate::receipt`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use warifu_consensus::agree::LoginId;
use warifu_consensus::block::Kind;
use warifu_consensus::body::{Body, Detail};
use warifu_consensus::chain::Status;
use warifu_consensus::encoding::{self, EncodingError, Hash};
use warifu_consensus::party::{Role, Sub};

/// Largest request body in bytes.
pub const MAX_REQUEST: usize = 16 * 1024;

/// Longest `wait` of a long poll, in seconds.
pub const MAX_WAIT_S: u64 = 30;

/// Blocks of one page of history unless `limit` says otherwise.
pub const DEFAULT_PAGE: u64 = 20;

/// Most blocks of one page of history.
pub const MAX_PAGE: u64 = 100;

/// What a login service may ask the customer for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Asked {
    /// Log in.
    #[default]
    Login,
    /// Approve a named act with details.
    Approve,
    /// Change own settings.
    Change,
    /// Use the account again after re-identification; needs a reference.
    Unfreeze,
}

impl From<Asked> for Kind {
    fn from(asked: Asked) -> Kind {
        match asked {
            Asked::Login => Kind::Login,
            Asked::Approve => Kind::Approve,
            Asked::Change => Kind::Change,
            Asked::Unfreeze => Kind::Unfreeze,
        }
    }
}

/// `POST /v1/logins`. There is no `aud`: the caller's credential fixes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BeginLogin {
    /// The account: 22 characters of base64url.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{22}$", example = "GJbPQI3LVWGKzN9Bl5zv8A"))]
    pub account: Sub,
    /// What is asked; `login` when absent.
    #[serde(default)]
    pub kind: Asked,
    /// The login service's challenge, fresh for each login: 22 to 128 characters of base64url.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 22, max_length = 128, pattern = "^[A-Za-z0-9_-]+$")
    )]
    pub nonce: String,
    /// As in [`Shown`].
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 64, example = "web")
    )]
    pub channel: String,
    /// As in [`Shown`].
    #[serde(default)]
    pub address: String,
    /// As in [`Shown`].
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<LabelledDetail>, max_items = 16))]
    pub details: Vec<Detail>,
    /// As in [`Shown`]; `unfreeze` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The customer's address as the login service sees it, IPv4 or IPv6. Counted by network
    /// (protocol rule 10), never kept, logged or shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "203.0.113.7"))]
    pub client_ip: Option<IpAddr>,
}

impl BeginLogin {
    /// The body that the device will show.
    #[must_use]
    pub fn body(&self) -> Body {
        Body {
            channel: self.channel.clone(),
            address: self.address.clone(),
            details: self.details.clone(),
            reference: self.reference.clone(),
        }
    }
}

/// Schema of [`Detail`], whose crate knows no OpenAPI.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = Detail)]
#[expect(dead_code, reason = "only its schema is used")]
struct LabelledDetail {
    /// What it is: 1 to 96 bytes of UTF-8.
    label: String,
    /// Its value: at most 512 bytes of UTF-8.
    value: String,
}

/// What the device shows beside kind and relying party; asserted by the caller. Limits: see
/// [`Body`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Shown {
    /// How the customer reached the login service, such as `web`: 1 to 64 bytes of UTF-8.
    pub channel: String,
    /// From where: at most 256 bytes of UTF-8.
    #[serde(default)]
    pub address: String,
    /// What is approved, at most 16 labels with values.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<LabelledDetail>, max_items = 16))]
    pub details: Vec<Detail>,
    /// Reference of the re-identification behind an `unfreeze`: 1 to 128 bytes of UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Shown {
    /// A channel and an address, and nothing to approve.
    #[must_use]
    pub fn through(channel: impl Into<String>, address: impl Into<String>) -> Shown {
        Shown {
            channel: channel.into(),
            address: address.into(),
            details: Vec::new(),
            reference: None,
        }
    }
}

impl From<Body> for Shown {
    fn from(body: Body) -> Shown {
        Shown {
            channel: body.channel,
            address: body.address,
            details: body.details,
            reference: body.reference,
        }
    }
}

/// Answer 201 of `POST /v1/logins` and `POST /v1/accounts/{account}/unfreeze`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginBegun {
    /// The login's name: 22 characters of base64url. It belongs to its caller.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9_-]{22}$"))]
    pub id: String,
    /// Two digits to show on the page; the customer types them into the device.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9]{2}$", example = "07"))]
    pub number: String,
    /// Seconds until the proposal dies.
    pub expires_in: u64,
}

/// Answer of `GET /v1/logins/{id}?wait=30`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum LoginAnswer {
    /// Nobody decided yet.
    Pending {
        /// Seconds until the proposal dies.
        expires_in: u64,
    },
    /// The broker says that all three signed. The login service believes it only after its own
    /// verification of `block`.
    Admitted {
        /// The block as JWS compact serialisation (RFC 7515 §3.1), a JWT.
        block: String,
        /// The sealed block's canonical JSON: the block with its proof and votes.
        receipt: String,
        /// The account's public key. For display; verification uses the pinned key only.
        jwk: Jwk,
        /// The proof that the block is in the ledger's log (C2SP tlog-proof, with the block's opening as `extra`):
        /// there if it was asked for, and the log got so far while the answer waited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<String>,
    },
    /// Someone refused.
    Refused {
        /// Who.
        by: Party,
        /// Why, for people.
        reason: String,
    },
    /// Nobody refused, time ran out.
    Expired,
}

/// A party's name in JSON.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// The customer's device.
    Device,
    /// The broker.
    Broker,
    /// The trust operator.
    TrustOperator,
}

impl From<Role> for Party {
    fn from(role: Role) -> Party {
        match role {
            Role::Device => Party::Device,
            Role::Broker => Party::Broker,
            Role::TrustOperator => Party::TrustOperator,
        }
    }
}

impl From<Party> for Role {
    fn from(party: Party) -> Role {
        match party {
            Party::Device => Role::Device,
            Party::Broker => Role::Broker,
            Party::TrustOperator => Role::TrustOperator,
        }
    }
}

/// An account's Ed25519 public key as JWK (RFC 8037).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Jwk {
    /// `Ed25519`.
    pub crv: String,
    /// `OKP`.
    pub kty: String,
    /// The 32 bytes: 43 characters of base64url.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9_-]{43}$"))]
    pub x: String,
}

/// One line of JSON, as every output shows an account's key and any JOSE library takes it:
/// `{"crv":"Ed25519","kty":"OKP","x":"…"}`.
impl core::fmt::Display for Jwk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| core::fmt::Error)?;
        f.write_str(&text)
    }
}

/// A JWK is no Ed25519 public key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwkError {
    /// Another kind of key.
    #[error("key has kty {kty} and crv {crv}, expected OKP and Ed25519")]
    Kind {
        /// `kty` found.
        kty: String,
        /// `crv` found.
        crv: String,
    },
    /// `x` is not 32 bytes of canonical base64url.
    #[error("key's x: {0}")]
    X(EncodingError),
}

impl Jwk {
    /// The JWK of an account key (32 bytes).
    #[must_use]
    pub fn of(account_key: &[u8; 32]) -> Jwk {
        Jwk {
            crv: "Ed25519".to_owned(),
            kty: "OKP".to_owned(),
            x: encoding::text_b64(account_key),
        }
    }

    /// The 32 bytes of the key.
    ///
    /// # Errors
    /// [`JwkError`] with found and expected.
    pub fn key(&self) -> Result<[u8; 32], JwkError> {
        if self.kty != "OKP" || self.crv != "Ed25519" {
            return Err(JwkError::Kind {
                kty: self.kty.clone(),
                crv: self.crv.clone(),
            });
        }
        encoding::parse_b64(&self.x).map_err(JwkError::X)
    }
}

/// A login's name as text: 22 characters of base64url.
#[must_use]
pub fn login_id_text(id: LoginId) -> String {
    encoding::text_b64(&id.0)
}

/// Reads a login's name.
///
/// # Errors
/// [`EncodingError`] when it is not the 22 characters of 16 bytes.
pub fn parse_login_id(text: &str) -> Result<LoginId, EncodingError> {
    encoding::parse_b64(text).map(LoginId)
}

/// `POST /v1/enrolments`: an empty object.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenEnrolment {}

/// Answer 201 of `POST /v1/enrolments`. `ticket_uri` is secret until used: whoever reads it may
/// offer a device, so it goes onto the customer's page and nowhere else.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentOpened {
    /// The session: 43 characters of base64url.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9_-]{43}$"))]
    pub session: String,
    /// What the device scans.
    #[cfg_attr(feature = "openapi", schema(pattern = "^warifu:enrol"))]
    pub ticket_uri: String,
    /// Seconds until the ticket dies.
    pub expires_in: u64,
}

impl core::fmt::Debug for EnrolmentOpened {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EnrolmentOpened")
            .field("session", &self.session)
            .field("ticket_uri", &"<redacted>")
            .field("expires_in", &self.expires_in)
            .finish()
    }
}

/// Answer of `GET /v1/enrolments/{session}?wait=30` and of its `confirm`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum EnrolmentAnswer {
    /// No device yet, or the three are making the key.
    Waiting,
    /// The device shows six digits: ask the customer for them.
    Digits,
    /// The genesis is sealed.
    Done {
        /// The account.
        #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{22}$", example = "GJbPQI3LVWGKzN9Bl5zv8A"))]
        account: Sub,
        /// Its public key. Pin it only after verifying `genesis`.
        jwk: Jwk,
        /// The sealed genesis's canonical JSON.
        genesis: String,
    },
    /// The session ended without an account.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// `POST /v1/enrolments/{session}/confirm`.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The six digits that the customer typed.
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = "^[0-9]{6}$", example = "581801")
    )]
    pub digits: String,
}

impl core::fmt::Debug for Confirm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Confirm { digits: <redacted> }")
    }
}

/// An account's status in JSON.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StatusName {
    /// Logins are possible.
    Active,
    /// Nothing but `unfreeze`.
    Frozen,
    /// The device is gone.
    Revoked,
}

impl From<Status> for StatusName {
    fn from(status: Status) -> StatusName {
        match status {
            Status::Active => StatusName::Active,
            Status::Frozen => StatusName::Frozen,
            Status::Revoked => StatusName::Revoked,
        }
    }
}

impl core::fmt::Display for StatusName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            StatusName::Active => "active",
            StatusName::Frozen => "frozen",
            StatusName::Revoked => "revoked",
        })
    }
}

/// Answer of `GET /v1/accounts/{account}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccountAnswer {
    /// The account.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{22}$", example = "GJbPQI3LVWGKzN9Bl5zv8A"))]
    pub account: Sub,
    /// What it may do.
    pub status: StatusName,
    /// Height of the last block.
    pub height: u64,
    /// Hash of the last block: 43 characters of base64url.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{43}$"))]
    pub head: Hash,
    /// The account's public key.
    pub jwk: Jwk,
}

/// Answer of `GET /v1/accounts/{account}/history?before=H&limit=N`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryAnswer {
    /// Newest first.
    pub blocks: Vec<HistoryEntry>,
    /// `before` of the next page; absent when this page reaches genesis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One block of a history.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryEntry {
    /// Distance from genesis.
    pub height: u64,
    /// The kind's name, as in the block's claims.
    pub kind: String,
    /// The relying party.
    pub aud: String,
    /// `iat`, seconds since the Unix epoch.
    pub time: u64,
    /// The block's hash: 43 characters of base64url.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{43}$"))]
    pub hash: Hash,
    /// The body, where the block has one and this broker can still open it.
    #[serde(default)]
    pub body: Option<Shown>,
    /// The sealed block's canonical JSON, to verify.
    pub receipt: String,
}

/// Answer of `GET /v1/accounts/{account}/last-login`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastLoginAnswer {
    /// The newest `login` block; null when there is none down to `searched_to`.
    pub login: Option<HistoryEntry>,
    /// Lowest height looked at; 0 when the whole chain was.
    pub searched_to: u64,
}

/// Answer of `POST /v1/accounts/{account}/freeze`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum FreezeAnswer {
    /// 200: the `freeze` block is sealed.
    Frozen {
        /// Its height.
        height: u64,
        /// Its hash.
        #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{43}$"))]
        hash: Hash,
        /// The sealed block's canonical JSON.
        receipt: String,
    },
    /// 202: the broker holds the wish durably and signs nothing else until it is sealed; the trust
    /// operator has not answered yet.
    Pending,
}

/// Answer to `POST /v1/accounts/{account}/erase`, which takes no members.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum EraseAnswer {
    /// 200: both operators have forgotten the account's secrets.
    Erased,
    /// 202: the broker has, and tells the trust operator until it has too.
    Pending,
}

/// `POST /v1/accounts/{account}/unfreeze`; answers as `POST /v1/logins`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BeginUnfreeze {
    /// The login service's challenge, as in [`BeginLogin`].
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 22, max_length = 128, pattern = "^[A-Za-z0-9_-]+$")
    )]
    pub nonce: String,
    /// Reference of the re-identification: 1 to 128 bytes of UTF-8.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 128, example = "case-12")
    )]
    pub reference: String,
    /// As in [`Shown`].
    pub channel: String,
    /// As in [`Shown`].
    #[serde(default)]
    pub address: String,
}

/// Answer of `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthAnswer {
    /// `ok` or `not-ready`.
    pub status: String,
    /// What is missing, when not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
