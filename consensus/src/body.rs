//! The encrypted part of a block: channel, address and what was approved.
//!
//! Only the device and the broker can read it; the chain verifies without it. The key is made from
//! the account's content key, a fresh salt and the block's place in the chain, so deleting a salt
//! shreds one body and deleting the content key all of them. The AEAD does not commit to its key,
//! so a second half of the derivation does (docs/protocol.md, bodies). What a body says is the
//! broker's assertion; this module makes sure only that a screen shows it as written.

mod seal;
mod text;

pub use seal::{ContentKey, Salt, SealedBody, open_body, seal_body};
pub(crate) use text::is_hidden;
pub use text::{
    Body, BodyError, Detail, MAX_ADDRESS, MAX_CHANNEL, MAX_DETAILS, MAX_LABEL, MAX_PADDED,
    MAX_REFERENCE, MAX_VALUE, PADDING_BLOCK,
};
