//! What a party's program, or a login service, needs to take part in a Warifu ledger.
//!
//! Feature `device`: the libp2p wire ([`transport`]), the durable store ([`store`]), the runtime
//! that performs what the machines of `warifu-consensus` decide ([`runtime`]), and the device
//! itself ([`device`]). Feature `login-service`: HTTP only, no libp2p ([`login_service`]). Always:
//! what a receipt proves ([`receipt`]).

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
