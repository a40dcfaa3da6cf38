//! Where an audit of a served log stands: what a later run goes on from, and never falls behind.
//!
//! Keeps the hashes at the tree's right edge by level of tiles, from which its frontier follows, and the checkpoint that
//! they were shown to be the beginning of. A sum over all of it finds a changed file.

use std::{fs, io, path::Path};

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use warifu_consensus::log::{
    Checkpoint, Digest, Frontier, LogKeys, Node, SignedNote, TILE_WIDTH, Tile, leaf_hash,
};

use super::fetch::subtree;
use crate::secrets;

const FORMAT: &str = "warifu-log-audit/1";

/// Why a file is not gone on from.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// It can't be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// The operating system's reason.
        reason: String,
    },
    /// Not what was written.
    #[error("{path} is not what an audit left: {reason}; delete it to begin anew")]
    Form {
        /// The file.
        path: String,
        /// Found and expected.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: String,
    log: String,
    witness: String,
    rows: Vec<Vec<String>>,
    size: u64,
    checkpoint: Option<String>,
    blake3: String,
}

/// A growing tree with its incomplete tiles: memory for at most 256 hashes a level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) frontier: Frontier,
    /// By level of tiles: the hashes of the tile that is not full yet.
    rows: Vec<Vec<Digest>>,
}

impl Edge {
    /// Appends a leaf; `full` is told each tile that it completes.
    pub(super) fn push(&mut self, entry: &[u8], mut full: impl FnMut(Tile, Vec<Digest>)) {
        let rows = &mut self.rows;
        self.frontier.push(leaf_hash(entry), |node, hash| {
            if !node.level.is_multiple_of(8) {
                return;
            }
            let level = usize::from(node.level / 8);
            if rows.len() <= level {
                rows.resize(level.saturating_add(1), Vec::new());
            }
            let Some(row) = rows.get_mut(level) else {
                return;
            };
            row.push(*hash);
            if row.len() >= usize::from(TILE_WIDTH) {
                let tile = Tile {
                    level: node.level / 8,
                    index: node.index / u64::from(TILE_WIDTH),
                    width: TILE_WIDTH,
                };
                full(tile, std::mem::take(row));
            }
        });
    }

    /// The incomplete tiles at the right edge.
    pub(super) fn partial(&self) -> impl Iterator<Item = (Tile, &Vec<Digest>)> {
        let size = self.frontier.size();
        (0_u8..).zip(&self.rows).filter_map(move |(level, row)| {
            let have = size.checked_shr(u32::from(level) * 8).unwrap_or(0);
            let tile = Tile {
                level,
                index: have / u64::from(TILE_WIDTH),
                width: u16::try_from(row.len()).ok()?,
            };
            (tile.width > 0).then_some((tile, row))
        })
    }

    /// From the hashes of the incomplete tiles; `None` if they are not as many as the size gives.
    fn of(size: u64, rows: Vec<Vec<Digest>>) -> Option<Self> {
        for level in 0..8_usize {
            let have = size.checked_shr(u32::try_from(level).ok()? * 8)? % 256;
            let found = rows.get(level).map_or(0, Vec::len);
            if u64::try_from(found).ok()? != have {
                return None;
            }
        }
        let read = |node: Node| {
            let row = rows.get(usize::from(node.level / 8)).ok_or(())?;
            let within = node.level % 8;
            let from = usize::try_from((node.index << within) % 256).map_err(|_| ())?;
            let to = from.saturating_add(1 << within);
            row.get(from..to).map(subtree).ok_or(())
        };
        let frontier = Frontier::restore(size, read).ok()?;
        Some(Self { frontier, rows })
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Stand {
    pub(super) edge: Edge,
    /// What the edge is the beginning of, which was shown before it was written: the last checkpoint that was aimed at.
    pub(super) checkpoint: Option<(Checkpoint, SignedNote)>,
}

fn sum(text: &Text) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &str| {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    };
    add(&text.format);
    add(&text.log);
    add(&text.witness);
    add(&text.size.to_string());
    for row in &text.rows {
        add(&row.concat());
    }
    add(text.checkpoint.as_deref().unwrap_or_default());
    hasher.finalize().to_hex().to_string()
}

impl Stand {
    /// Reads a file; an audit that has not begun, if there is none.
    pub(super) fn read(path: &Path, keys: &LogKeys) -> Result<Self, ResumeError> {
        let form = |reason: String| ResumeError::Form {
            path: path.display().to_string(),
            reason,
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(ResumeError::Io {
                    path: path.display().to_string(),
                    reason: error.to_string(),
                });
            }
        };
        let text: Text = serde_json::from_str(&text).map_err(|error| form(error.to_string()))?;
        if text.format != FORMAT || text.blake3 != sum(&text) {
            return Err(form(format!("format or sum is another than {FORMAT}'s")));
        }
        if (&text.log, &text.witness) != (&keys.log.to_string(), &keys.witness.to_string()) {
            return Err(form("it is of a log with other keys".to_owned()));
        }
        let hash = |text: &String| {
            let mut bytes = [0; 32];
            let found = Base64::decode(text, &mut bytes).map_or(0, <[u8]>::len);
            (found == 32).then_some(bytes)
        };
        let rows: Option<Vec<Vec<Digest>>> = text
            .rows
            .iter()
            .map(|row| row.iter().map(hash).collect())
            .collect();
        let edge = rows.and_then(|rows| Edge::of(text.size, rows));
        let edge = edge.ok_or_else(|| form("its hashes don't fit its size".to_owned()))?;
        let checkpoint = match &text.checkpoint {
            None => None,
            Some(note) => {
                let note =
                    SignedNote::parse(note.as_bytes()).map_err(|error| form(error.to_string()))?;
                let opened =
                    Checkpoint::open(&note, &keys.log).map_err(|error| form(error.to_string()))?;
                Some((opened, note))
            }
        };
        Ok(Self { edge, checkpoint })
    }

    /// Writes it in one step.
    pub(super) fn write(&self, path: &Path, keys: &LogKeys) -> Result<(), ResumeError> {
        let row = |row: &Vec<Digest>| row.iter().map(|h| Base64::encode_string(h)).collect();
        let mut text = Text {
            format: FORMAT.to_owned(),
            log: keys.log.to_string(),
            witness: keys.witness.to_string(),
            rows: self.edge.rows.iter().map(row).collect(),
            size: self.edge.frontier.size(),
            checkpoint: self.checkpoint.as_ref().map(|(_, note)| note.to_string()),
            blake3: String::new(),
        };
        text.blake3 = sum(&text);
        let failed = |reason: String| ResumeError::Io {
            path: path.display().to_string(),
            reason,
        };
        let bytes = serde_json::to_vec(&text).map_err(|error| failed(error.to_string()))?;
        secrets::replace(path, &bytes, 0o644).map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_follows_from_its_rows_at_every_size() {
        let mut edge = Edge::default();
        let mut tiles = 0;
        for size in 0..1400_u64 {
            let again = Edge::of(size, edge.rows.clone()).unwrap();
            assert_eq!(again.frontier, edge.frontier, "{size}");
            let mut missing = edge.rows.clone();
            if let Some(row) = missing.iter_mut().find(|row| !row.is_empty()) {
                row.pop();
                assert_eq!(Edge::of(size, missing), None, "{size}");
            }
            edge.push(&size.to_be_bytes(), |tile, hashes| {
                assert_eq!((hashes.len(), tile.is_full()), (256, true));
                tiles += 1;
            });
        }
        assert_eq!(tiles, 5);
        let partial: Vec<_> = edge.partial().map(|(tile, _)| tile.to_string()).collect();
        assert_eq!(partial, ["0/005.p/120", "1/000.p/5"]);
    }
}
