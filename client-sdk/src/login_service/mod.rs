//! The login service's side: HTTPS + JSON to one's own broker, and one's own verification of what
//! the broker says.
//!
//! Protocol rule 6: someone is let in only if the broker says "admitted" **and** the login service
//! verified the block by itself: pinned account key, `iss`, `aud`, this session's single-use
//! `nonce`, `kind`, unexpired. [`LoginService`] gives an [`Admission`] in no other case. It never
//! takes a key from an answer, and never repeats a request that may have had an effect.
//!
//! [`api`] and [`problem`] are the JSON of both ends; [`MemoryPins`] and [`FilePins`] are two
//! places for pins.

pub mod api;
pub mod problem;

mod client;
mod clock;
mod error;
mod file_pins;
mod history;
mod http;
mod pins;
mod state;
mod tls;
mod token;

pub use client::LoginService;
pub use clock::{Clock, system_clock};
pub use error::LoginServiceError;
pub use file_pins::FilePins;
pub use history::{HistoryError, HistoryPage, VerifiedEntry};
pub use pins::{MAX_CUSTOMER, MemoryPins, Pin, PinError, PinStore};
pub use state::{
    Admission, EnrolmentEnd, FreezeEnd, LoginEnd, OpenEnrolmentSession, OpenLogin, Polled,
};
pub use tls::{Authorities, BrokerAddress};
pub use token::{MAX_TOKEN, Token, TokenError};
