//! Tiles: paths and bytes as the reference's, and its own reader proves leaves from ours.

use std::collections::BTreeSet;

use warifu_consensus::log::{Digest, Node, Tile, TreeError, inclusion, leaf_hash};

use super::{Go, Value, b64, bytes, digests, json, trees::grow};
use crate::logs::{Grown, MOST, entry, grown};

/// The reference names the tiles' height in a path, which C2SP tlog-tiles leaves out, because it is always 8.
const PREFIX: &str = "tile/8/";

/// Every tile of a tree, each as wide as the tree makes it.
fn tiles(size: u64) -> Vec<Tile> {
    let mut all = Vec::new();
    for level in 0..=7 {
        for first in (0..size >> (8 * level)).step_by(256) {
            let node = Node {
                level: 8 * level,
                index: first,
            };
            let (tile, from, to) = Tile::of(node, size).unwrap();
            assert_eq!((from, to), (0, 1));
            all.push(tile);
        }
    }
    all
}

/// A tile's hashes, one after the other.
fn content(grown: &Grown, tile: Tile) -> Vec<u8> {
    let from = tile.index as usize * 256;
    grown.nodes[usize::from(tile.level) * 8][from..from + usize::from(tile.width)].concat()
}

#[test]
#[ignore = "needs Go"]
fn tiles_have_the_paths_and_bytes_of_the_reference() {
    let (grown, mut go) = (grown(), Go::start());
    grow(&mut go);
    let mut published = BTreeSet::new();
    for size in 1..=MOST {
        let theirs = go.ask(json!({"op": "tiles", "old": size - 1, "size": size}));
        let theirs = theirs.unwrap()["paths"].clone();
        let theirs: BTreeSet<Tile> = theirs
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_str().unwrap().strip_prefix(PREFIX).unwrap())
            .map(|path| path.parse().unwrap())
            .collect();
        let ours: BTreeSet<Tile> = tiles(size).into_iter().collect();
        let new: BTreeSet<Tile> = ours.difference(&published).copied().collect();
        assert!(new.is_subset(&theirs), "{size}: {new:?} of {theirs:?}");
        // Older releases of the reference name the partial tiles of the old tree again.
        let known: BTreeSet<Tile> = ours.union(&published).copied().collect();
        assert!(theirs.is_subset(&known), "{size}: {theirs:?} of {known:?}");
        for tile in new {
            let path = format!("{PREFIX}{tile}");
            let theirs = go.ask(json!({"op": "tile", "path": path})).unwrap();
            assert_eq!(bytes(&theirs["bytes"]), content(&grown, tile), "{path}");
            published.insert(tile);
        }
    }
    assert_eq!(published.len() as u64, MOST + MOST / 256);
}

/// The tiles of a tree for the reference's reader, and what it shall find there.
fn read(grown: &Grown, size: u64, index: u64) -> Value {
    let tiles: serde_json::Map<String, Value> = tiles(size)
        .into_iter()
        .map(|tile| (format!("{PREFIX}{tile}"), b64(content(grown, tile)).into()))
        .collect();
    let root = b64(grown.roots[size as usize]);
    json!({"op": "read tiles", "size": size, "root": root, "index": index, "tiles": tiles})
}

#[test]
#[ignore = "needs Go"]
fn the_reference_s_reader_proves_leaves_from_our_tiles() {
    let (grown, mut go) = (grown(), Go::start());
    let leaves: Vec<Digest> = (0..MOST).map(|index| leaf_hash(&entry(index))).collect();
    for size in 1..=MOST {
        let index = size * 5 / 7;
        let found = go.ask(read(&grown, size, index)).unwrap();
        assert_eq!(digests(&found["leaves"]), leaves[..size as usize], "{size}");
        let proof = inclusion::<TreeError>(index, size, grown.read(size)).unwrap();
        assert_eq!(digests(&found["proof"]), proof, "leaf {index} of {size}");
    }
}

#[test]
#[ignore = "needs Go"]
fn a_flipped_bit_in_any_tile_is_seen() {
    let (grown, mut go) = (grown(), Go::start());
    for size in [1, 2, 255, 256, 257, 512, 600] {
        for tile in tiles(size) {
            let (path, content) = (format!("{PREFIX}{tile}"), content(&grown, tile));
            for hash in [0, tile.width / 2, tile.width - 1] {
                // A leaf below the hash that is altered.
                let hash = u64::from(hash);
                let leaf = (tile.index * 256 + hash) << (8 * tile.level);
                let mut asked = read(&grown, size, leaf);
                assert!(go.ask(asked.clone()).is_ok(), "{size}: leaf {leaf}");
                let mut altered = content.clone();
                altered[hash as usize * 32 + 7] ^= 0x10;
                asked["tiles"][&path] = b64(altered).into();
                assert!(go.ask(asked).is_err(), "{size}: {path}, hash {hash}");
            }
        }
    }
}

#[test]
#[ignore = "needs Go"]
fn a_path_names_the_same_tile_to_both() {
    let mut go = Go::start();
    let indexes = [
        0,
        7,
        999,
        1000,
        1_234_067,
        999_999,
        1_000_000,
        1 << 40,
        1 << 55,
    ];
    for level in 0..=7 {
        for index in indexes {
            for width in [1, 17, 255, 256] {
                let tile = Tile {
                    level,
                    index,
                    width,
                };
                let path = format!("{PREFIX}{tile}");
                let theirs = go.ask(json!({"op": "tile path", "path": path})).unwrap();
                let named = json!({"level": level, "index": index, "width": width});
                assert_eq!(theirs, named, "{path}");
            }
        }
    }
}
