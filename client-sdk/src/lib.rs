//! What a party's program, or a login service, needs to take part in a Warifu ledger.
//!
//! # A login service
//!
//! With `default-features = false, features = ["login-service", "sqlite"]`: HTTPS to one's own
//! broker, one's own verification, and pins in SQLite. Start with `login_service`; this is a
//! whole login:
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn run(ledger: warifu_consensus::party::Ledger) -> Result<(), Box<dyn std::error::Error>> {
//! use warifu_client_sdk::login_service::api::{Asked, Shown};
//! use warifu_client_sdk::login_service::{LoginEnd, LoginService, SqlitePins, Token};
//!
//! // Once: what this service knows by itself. `ledger` holds the operators' keys (ledger.toml).
//! let token = Token::from_file("login-service.token".as_ref())?;
//! let pins = SqlitePins::open("pins.db").await?;
//! let service =
//!     LoginService::new("http://127.0.0.1:7201", token, ledger, "https://bank.example", pins)?;
//!
//! // Each time, after a first factor.
//! let pin = service.pin_of("alice").await?; // NotPinned: enrol first
//! let login = service.begin(pin, Asked::Login, Shown::through("web", "203.0.113.7")).await?;
//! println!("type {} into your device", login.number());
//! if let LoginEnd::Admitted(admission) = service.wait(login).await? {
//!     println!("welcome; to keep as evidence: {}", admission.receipt.to_json());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Enrolment is in `examples/src/bin/login_service.rs`; years later a kept receipt is verified
//! with [`receipt::verify_receipt`], which asks nobody.
//!
//! # Features, and what they pull in
//!
//! | feature | what | beyond `warifu-consensus` |
//! |---|---|---|
//! | `login-service` | `login_service` | tokio, reqwest (HTTP/1.1), rustls with ring, the system's roots |
//! | `sqlite` | pins in one SQLite file | rusqlite, SQLite's C source compiled in |
//! | `device` | `transport`, `store`, `runtime`, `device` | libp2p, tokio, blake3, chacha20poly1305, bincode |
//!
//! `login-service` links no libp2p, no yamux, no sled and no HTTP server, and without `sqlite` no
//! C code of SQLite's: a test keeps it so. `warifu-consensus`, which decides what a block is, links
//! its threshold signing (`frost-ed25519`) for all; a login service never calls it. Always there:
//! [`receipt`], what a block proves.

#[cfg(feature = "device")]
pub mod device;
#[cfg(feature = "login-service")]
pub mod login_service;
pub mod receipt;
#[cfg(feature = "device")]
pub mod runtime;
#[cfg(feature = "device")]
pub mod store;
#[cfg(feature = "device")]
pub mod transport;
