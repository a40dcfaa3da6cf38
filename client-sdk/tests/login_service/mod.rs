//! What a login service relies on: verification, pins, a broker that fails or lies, and any JOSE
//! library.

mod calls;
mod fake;
mod jose;
mod lies;
#[cfg(feature = "sqlite")]
mod pins;
mod receipts;
mod tree;
pub(crate) mod trio;
