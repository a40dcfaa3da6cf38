//! The login service's side: HTTPS + JSON to one's own broker, and one's own verification of what
//! the broker says.
//!
//! Protocol rule 6: someone is let in only if the broker says "admitted" **and** the login service
//! verified the block by itself: pinned account key, `iss`, `aud`, this session's single-use
//! `nonce`, `kind`, unexpired. [`LoginService`] gives an [`Admission`] in no other case. It never
//! takes a key from an answer, and never repeats a request that may have begun something.
//!
//! ```no_run
//! use warifu_client_sdk::login_service::api::{Asked, Shown};
//! use warifu_client_sdk::login_service::{LoginEnd, LoginService, PinStore};
//!
//! /// `customer` gave a first factor, or comes with a browser that is known.
//! async fn log_in<P: PinStore>(service: &LoginService<P>, customer: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let pin = service.pin_of(customer).await?;
//!     let login = service.begin(pin, Asked::Login, Shown::through("web", "203.0.113.7")).await?;
//!     println!("type {} into your device", login.number());
//!     match service.wait(login).await? {
//!         LoginEnd::Admitted(admission) => println!("keep {}", admission.receipt.to_json()),
//!         LoginEnd::Refused { by, reason } => println!("refused by the {by}: {reason}"),
//!         LoginEnd::Expired => println!("expired: nobody approved in time"),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Which call is repeated, and what dropping its future means
//!
//! Every future may be dropped at any time, as by a web server whose browser went away.
//!
//! | call | repeated by the SDK | dropped |
//! |---|---|---|
//! | [`LoginService::begin`], [`LoginService::unfreeze`] | only when no connection was made | takes itself back at the broker as soon as it is answered; if that fails too, the proposal expires, and until then another `begin` is answered `busy` |
//! | [`LoginService::wait`], [`LoginService::poll`] | yes | the login stays open: store the handle before if another process should wait on, or `cancel` it; dropped while it admits, its nonce may be used up: begin again |
//! | [`LoginService::cancel`] | yes | cancelled or not; calling again is harmless |
//! | [`LoginService::enrol`] | only when no connection was made | a ticket that nobody has, and that expires |
//! | [`LoginService::enrolment`] | yes | nothing; a pin is made or not, and the next call makes it |
//! | [`LoginService::confirm`] | never; an answer that was lost is asked for with a look | the digits may have counted as a try: look with `enrolment` |
//! | [`LoginService::freeze`] | yes: it only takes away, and a second one finds the first | frozen or not; calling again is harmless |
//! | `account`, `history`, `last_login` | yes | nothing |
//! | [`LoginService::pin_of`], [`LoginService::verify`] | no: the pin store's own | nothing |
//!
//! Repeats wait longer each time, with a random part, and at least as long as `Retry-After` says,
//! within [`Patience`]. One [`LoginService`] keeps its connections open: make one for each broker
//! and share it (`Arc`).
//!
//! [`api`] and [`problem`] are the JSON of both ends; [`pins`] is where customers' accounts are
//! kept.

pub mod api;
pub mod pins;
pub mod problem;

mod advice;
mod begun;
mod client;
mod clock;
mod date;
mod enrolment;
mod erase;
mod error;
mod history;
mod http;
mod newer;
mod open_login;
mod retry;
mod spent;
mod state;
mod tls;
mod token;

pub use advice::Advice;
pub use client::LoginService;
pub use clock::{Clock, system_clock};
pub use date::broker_date;
pub use error::LoginServiceError;
pub use history::{HistoryError, HistoryPage, NewerEntry, VerifiedEntry};
pub use open_login::OpenLogin;
#[cfg(feature = "sqlite")]
pub use pins::SqlitePins;
pub use pins::{MAX_CUSTOMER, MemoryPins, Pin, PinError, PinStore, Spending};
pub use retry::Patience;
pub use state::{Admission, EnrolmentEnd, FreezeEnd, LoginEnd, OpenEnrolmentSession, Polled};
pub use tls::{Authorities, BrokerAddress};
pub use token::{MAX_TOKEN, Token, TokenError};
