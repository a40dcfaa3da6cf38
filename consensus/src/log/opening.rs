//! What binds a leaf of the log to a block, for whoever holds the opening, and to nothing for all others.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    body::ContentKey,
    encoding::{self, Context, Hash},
    party::Sub,
};

/// A leaf of the log, 32 bytes: HMAC-SHA256 (RFC 2104) of the block's hash under the opening. Public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leaf(#[serde(with = "encoding::bytes")] pub [u8; 32]);

/// An account's opener, 32 bytes: the openings of all of its blocks follow from it. It follows from the content key,
/// so that whoever forgets that forgets every opening, and nobody can make one anew. Device and broker derive it;
/// the trust operator, which never has the content key, keeps the one that it was given. Wiped on drop, never
/// printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct Opener(#[serde(with = "encoding::bytes")] [u8; 32]);

impl Opener {
    /// The opener of an account: derived from content key 32 ‖ `sub` 16.
    #[must_use]
    pub fn of(content_key: &ContentKey, sub: &Sub) -> Self {
        Self(derive_secret(
            Context::LogOpener,
            content_key.expose(),
            &sub.0,
        ))
    }

    /// The opener with these bytes, as a vault keeps it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for a vault or a pinned line.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The opening of a block: derived from opener 32 ‖ block hash 32.
    #[must_use]
    pub fn opening(&self, block: &Hash) -> Opening {
        Opening(derive_secret(Context::LogOpening, &self.0, &block.0))
    }

    /// The leaf of a block.
    #[must_use]
    pub fn leaf(&self, block: &Hash) -> Leaf {
        self.opening(block).leaf(block)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(<redacted>)")
    }
}

/// As [`encoding::derive`], with nothing of it left in memory.
fn derive_secret(context: Context, key: &[u8; 32], of: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context.as_str());
    hasher.update(key);
    hasher.update(of);
    let mut output = hasher.finalize_xof();
    let mut derived = [0; 32];
    output.fill(&mut derived);
    output.zeroize();
    hasher.zeroize();
    derived
}

/// The key of one leaf, 32 bytes, as good as random to whoever lacks the account's [`Opener`]. Whoever holds it
/// and the block can show that the leaf is the block's; without it the leaf is no more than a random number.
/// Secret towards the log's readers: wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct Opening(#[serde(with = "encoding::bytes")] [u8; 32]);

impl Opening {
    /// The opening with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for a vault or a proof's holder.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The leaf of a block.
    #[must_use]
    pub fn leaf(&self, block: &Hash) -> Leaf {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(&block.0);
        Leaf(mac.finalize().into_bytes().into())
    }

    /// Whether a leaf is that of a block, in constant time.
    #[must_use]
    pub fn opens(&self, leaf: &Leaf, block: &Hash) -> bool {
        self.leaf(block).0.ct_eq(&leaf.0).into()
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_follows_from_content_key_account_and_block_only() {
        let opener = |key, sub| Opener::of(&ContentKey::from_bytes([key; 32]), &Sub([sub; 16]));
        let block = Hash([3; 32]);
        assert_eq!(opener(1, 2), opener(1, 2));
        assert_ne!(opener(1, 2), opener(9, 2));
        assert_ne!(opener(1, 2), opener(1, 9));
        assert_ne!(
            opener(1, 2).opening(&block),
            opener(1, 2).opening(&Hash([4; 32]))
        );
        let by_hand = encoding::derive(Context::LogOpener, &[&[1; 32], &[2; 16]]);
        assert_eq!(opener(1, 2).expose(), &by_hand.0);
        let opening = encoding::derive(Context::LogOpening, &[&by_hand.0, &block.0]);
        assert_eq!(opener(1, 2).opening(&block).as_bytes(), &opening.0);
        assert_eq!(opener(1, 2).leaf(&block), Opening(opening.0).leaf(&block));
        assert_eq!(format!("{:?}", opener(1, 2)), "Opener(<redacted>)");
    }

    #[test]
    fn a_leaf_is_rfc_4231_s_mac() {
        // RFC 4231, test case 1 has another length of key; the construction is checked on one of 32 bytes
        // that was computed by another implementation (Python's hmac).
        let opening = Opening::from_bytes([0x0b; 32]);
        let leaf = opening.leaf(&Hash([0x42; 32]));
        assert!(opening.opens(&leaf, &Hash([0x42; 32])));
        assert!(!opening.opens(&leaf, &Hash([0x43; 32])));
        assert!(!Opening::from_bytes([0x0c; 32]).opens(&leaf, &Hash([0x42; 32])));
        let mut hex = String::new();
        for byte in leaf.0 {
            use core::fmt::Write as _;
            write!(hex, "{byte:02x}").unwrap();
        }
        assert_eq!(
            hex,
            "735dc46db4f823580d6d9e2c375842e6a6fe54512f6f051b0abae294fc3ab8ef"
        );
    }

    #[test]
    fn neither_is_shown() {
        let opener = Opener::from_bytes([1; 32]);
        let opening = opener.opening(&Hash([2; 32]));
        assert_eq!(format!("{opener:?}"), "Opener(<redacted>)");
        assert_eq!(format!("{opening:?}"), "Opening(<redacted>)");
    }
}
