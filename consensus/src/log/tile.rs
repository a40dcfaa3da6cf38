//! Tiles: 256 hashes each, in which a log is stored and served (C2SP tlog-tiles).
//!
//! Decides a tile's path and nothing of its content. Level L of tiles holds the hashes of subtrees of 256^L leaves.

use core::{fmt, str::FromStr};

use super::tree::Node;

/// Hashes of a full tile.
pub const TILE_WIDTH: u16 = 256;
/// Tree levels between one level of tiles and the next.
const HEIGHT: u8 = 8;
/// The highest level of tiles: 256^7 leaves below each hash of level 7.
const TOP: u8 = 7;

/// A path that names no tile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} names no tile, expected LEVEL/INDEX or LEVEL/INDEX.p/WIDTH")]
pub struct TileError {
    /// The text found, at most 64 characters of it.
    pub found: String,
}

/// A tile's place, and how many of its hashes are meant. Its bytes are those hashes, 32 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// 0 for leaves' hashes, up to 7.
    pub level: u8,
    /// From 0, from the left.
    pub index: u64,
    /// 1 to 256; below 256 for the tile at the right edge of a tree.
    pub width: u16,
}

impl Tile {
    /// The tile that holds a node of a tree of `size` leaves, as wide as that tree makes it, and the node's
    /// range of hashes within it, from (included) and to (not).
    ///
    /// `None` if the tree has no such complete subtree.
    #[must_use]
    pub fn of(node: Node, size: u64) -> Option<(Self, u16, u16)> {
        let level = node.level / HEIGHT;
        let within = node.level % HEIGHT;
        let first = node.index.checked_shl(within.into())?;
        if first >> within != node.index {
            return None;
        }
        let end = first.checked_add(1 << within)?;
        let have = size.checked_shr(u32::from(level * HEIGHT)).unwrap_or(0);
        if end > have {
            return None;
        }
        let index = first >> HEIGHT;
        let begin = index << HEIGHT;
        let width = u16::try_from((have - begin).min(TILE_WIDTH.into())).ok()?;
        let from = u16::try_from(first - begin).ok()?;
        let tile = Self {
            level,
            index,
            width,
        };
        Some((tile, from, u16::try_from(end - begin).ok()?))
    }

    /// Whether it will never change.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }
}

/// The index in groups of three digits, all but the last with an `x` before them.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.0 / 1000;
        if rest > 0 {
            Above(rest).fmt(f)?;
        }
        write!(f, "{:03}", self.0 % 1000)
    }
}

struct Above(u64);

impl fmt::Display for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.0 / 1000;
        if rest > 0 {
            Above(rest).fmt(f)?;
        }
        write!(f, "x{:03}/", self.0 % 1000)
    }
}

/// As in a path after `tile/`: `0/x001/x234/067` or `0/000.p/17`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.level, Grouped(self.index))?;
        if self.is_full() {
            Ok(())
        } else {
            write!(f, ".p/{}", self.width)
        }
    }
}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(text: &str) -> Result<Self, TileError> {
        let wrong = || TileError {
            found: text.chars().take(64).collect(),
        };
        let tile = parse(text).ok_or_else(wrong)?;
        // One path for each tile.
        if tile.to_string() == text {
            Ok(tile)
        } else {
            Err(wrong())
        }
    }
}

fn parse(text: &str) -> Option<Tile> {
    let (place, width) = match text.split_once(".p/") {
        Some((place, width)) => (place, width.parse().ok()?),
        None => (text, TILE_WIDTH),
    };
    let (level, index) = place.split_once('/')?;
    let index = index.split('/').try_fold(0_u64, |index, group| {
        let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index.checked_mul(1000)?.checked_add(digits)
    })?;
    let level = level.parse().ok().filter(|level| *level <= TOP)?;
    let tile = Tile {
        level,
        index,
        width,
    };
    (1..=TILE_WIDTH).contains(&width).then_some(tile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_path() {
        for (path, level, index, width) in [
            ("0/000", 0, 0, 256),
            ("0/x001/x234/067", 0, 1_234_067, 256),
            ("3/x001/000.p/1", 3, 1000, 1),
            ("7/999.p/255", 7, 999, 255),
        ] {
            let tile = Tile {
                level,
                index,
                width,
            };
            assert_eq!(tile.to_string(), path);
            assert_eq!(path.parse(), Ok(tile));
        }
        let wrong = [
            "",
            "0",
            "0/0",
            "0/00",
            "0/0000",
            "8/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/257",
            "0/001/000",
            "0/x000/000",
            "00/000",
            "0/000.p/01",
            "0/000/",
            "0/+01",
            "0/x018/x446/x744/x073/x709/x551/616",
        ];
        for path in wrong {
            assert!(path.parse::<Tile>().is_err(), "{path}");
        }
    }

    #[test]
    fn a_node_lies_in_one_tile() {
        let node = |level, index| Node { level, index };
        let tile = |level, index, width| Tile {
            level,
            index,
            width,
        };
        assert_eq!(Tile::of(node(0, 300), 400), Some((tile(0, 1, 144), 44, 45)));
        assert_eq!(Tile::of(node(3, 2), 400), Some((tile(0, 0, 256), 16, 24)));
        assert_eq!(Tile::of(node(8, 1), 600), Some((tile(1, 0, 2), 1, 2)));
        assert_eq!(Tile::of(node(0, 400), 400), None);
        assert_eq!(Tile::of(node(8, 1), 511), None);
        assert_eq!(Tile::of(node(63, u64::MAX), u64::MAX), None);
    }
}
