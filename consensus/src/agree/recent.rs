//! The hashes of an account's last blocks as a checkpoint keeps them: one run of bytes, 32 for each, the
//! head's last.
//!
//! Read in one step: element by element they would cost a start more than all else in a checkpoint. It
//! never says whose blocks they are; the account looks at that when it takes them.

use core::fmt;
use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::encoding::Hash;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recent(Vec<u8>);

impl Recent {
    pub(super) fn new(hashes: &VecDeque<Hash>) -> Self {
        Self(hashes.iter().flat_map(|hash| hash.0).collect())
    }

    /// The hashes; none where the bytes don't divide into hashes.
    pub(super) fn hashes(&self) -> VecDeque<Hash> {
        match self.0.as_chunks() {
            (hashes, []) => hashes.iter().copied().map(Hash).collect(),
            _ => VecDeque::new(),
        }
    }
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Recent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the hashes of the last blocks, 32 bytes each")
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes).map(Self)
    }
}
