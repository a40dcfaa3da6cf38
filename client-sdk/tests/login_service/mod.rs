//! What a login service relies on: verification, pins, and any JOSE library.

mod jose;
mod pins;
mod receipts;
mod tree;
pub(crate) mod trio;
