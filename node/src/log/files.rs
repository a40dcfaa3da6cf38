//! The log's leaves and inner hashes as flat files, from which tiles and proofs are read.
//!
//! Derived from the journal, which holds every leaf: deletable, made anew with a progress bar. Written at fixed
//! places and synced before a checkpoint over them is signed; what stands beyond the log's size means nothing.
//! `leaves` holds 32 bytes a leaf; `hashes.L`, for L = 4, 8, 12 and so on, the roots of complete subtrees of 2^L leaves, 32
//! bytes each. A hash between two kept levels is made from at most eight below it, which one read gives; those from 2^12
//! leaves up stay in memory for proofs, 16 bytes for each thousand leaves. So a proof costs about the same at any size.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use warifu_consensus::log::{Digest, Frontier, Leaf, Node, leaf_hash, node_hash};

/// Every so many levels of the tree are kept.
const STEP: u8 = 4;
const HASH: u64 = 32;
/// Hashes of a kept level below one of the next.
const GROUP: u64 = 1 << STEP;
/// The lowest level that is held in memory; a kept one.
const TOP: u8 = 12;

/// See the module.
#[derive(Debug)]
pub struct LogFiles {
    dir: PathBuf,
    leaves: File,
    /// Of level `STEP`, twice that, and so on; opened when first needed.
    levels: Mutex<Vec<Arc<File>>>,
    /// Of level `TOP`, the next, and so on: as many hashes as a proof needed so far.
    tops: Mutex<Vec<Vec<Digest>>>,
}

/// Reads for one proof: of each kept level the sixteen hashes that were read last, below which its next ones mostly are.
#[derive(Debug)]
pub struct Reader<'a> {
    files: &'a LogFiles,
    /// By kept level, leaves first: the number of the sixteen, and as many of them as there are.
    held: Vec<(u64, Vec<Digest>)>,
}

impl Reader<'_> {
    /// As [`LogFiles::node`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn node(&mut self, node: Node) -> io::Result<Digest> {
        if node.level >= TOP {
            return self.files.top(node);
        }
        let (nth, within) = (usize::from(node.level / STEP), node.level % STEP);
        let first = node.index << within;
        let (group, from) = (first >> STEP, (first % GROUP) as usize);
        while self.held.len() <= nth {
            self.held.push((u64::MAX, Vec::new()));
        }
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (of, row) = self.held.get_mut(nth).ok_or_else(missing)?;
        if *of != group {
            *row = self.files.group(nth, group)?;
            *of = group;
        }
        let below = row.get(from..from.saturating_add(1 << within));
        let mut row = below.ok_or_else(missing)?.to_vec();
        join(&mut row, within);
        row.first().copied().ok_or_else(missing)
    }
}

/// Makes a row of hashes into that of so many levels above.
fn join(row: &mut Vec<Digest>, levels: u8) {
    for _ in 0..levels {
        let pairs = row.as_chunks::<2>().0;
        *row = pairs
            .iter()
            .map(|[left, right]| node_hash(left, right))
            .collect();
    }
}

/// Puts the next hash into the lowest row, and into those above what it completes.
fn complete(rows: &mut Vec<Vec<Digest>>, hash: Digest) {
    let mut next = Some(hash);
    let mut row = 0;
    while let Some(hash) = next.take() {
        if rows.len() <= row {
            rows.push(Vec::new());
        }
        if let Some(hashes) = rows.get_mut(row) {
            hashes.push(hash);
            next = match hashes.as_rchunks::<2>() {
                ([], [.., [left, right]]) => Some(node_hash(left, right)),
                _ => None,
            };
        }
        row = row.saturating_add(1);
    }
}

/// New leaves, and what they complete, not written yet.
#[derive(Debug)]
pub struct Growth {
    /// The tree with them.
    pub frontier: Frontier,
    first: u64,
    leaves: Vec<u8>,
    /// Level, index, hash; only kept levels, in the order of their completion.
    complete: Vec<(Node, Digest)>,
}

impl Growth {
    /// What a tree is with these leaves behind its own.
    #[must_use]
    pub fn of(frontier: &Frontier, leaves: &[Leaf]) -> Self {
        let mut growth = Self {
            frontier: frontier.clone(),
            first: frontier.size(),
            leaves: Vec::with_capacity(leaves.len().saturating_mul(32)),
            complete: Vec::new(),
        };
        for leaf in leaves {
            growth.leaves.extend_from_slice(&leaf.0);
            growth.frontier.push(leaf_hash(&leaf.0), |node, hash| {
                if node.level > 0 && node.level % STEP == 0 {
                    growth.complete.push((node, *hash));
                }
            });
        }
        growth
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

impl LogFiles {
    /// Opens the files in a directory, or makes them.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let leaves = open(&dir.join("leaves"))?;
        let files = Self {
            dir: dir.to_path_buf(),
            leaves,
            levels: Mutex::default(),
            tops: Mutex::default(),
        };
        File::open(dir)?.sync_all()?;
        Ok(files)
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of the `nth` kept level, from 0.
    fn level(&self, nth: usize) -> io::Result<Arc<File>> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        while levels.len() <= nth {
            let level = levels.len().saturating_add(1).saturating_mul(STEP.into());
            levels.push(Arc::new(open(&self.dir.join(format!("hashes.{level}")))?));
        }
        let found = levels.get(nth).map(Arc::clone);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Writes what grew; durable when it returns.
    ///
    /// # Errors
    /// The operating system's; what stood there before is still read.
    pub fn write(&self, growth: &Growth) -> io::Result<()> {
        self.leaves
            .write_all_at(&growth.leaves, growth.first.saturating_mul(HASH))?;
        self.leaves.sync_data()?;
        let mut touched = 0;
        for (node, hash) in &growth.complete {
            let nth = usize::from(node.level / STEP).saturating_sub(1);
            touched = touched.max(nth.saturating_add(1));
            let place = node.index.saturating_mul(HASH);
            self.level(nth)?.write_all_at(hash, place)?;
        }
        (0..touched).try_for_each(|nth| self.level(nth)?.sync_data())
    }

    /// What was written is read and hashed again, twice: the new leaves behind the tree before, and the whole tree
    /// from what the files hold. Both are the tree that was meant, or the files are not to be trusted.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read_again(&self, growth: &Growth) -> io::Result<[Frontier; 2]> {
        let again = |size| Frontier::restore(size, |node| self.node(node));
        let leaves = self.leaves(growth.first, growth.leaves.len() / 32)?;
        let grown = Growth::of(&again(growth.first)?, &leaves).frontier;
        Ok([grown, again(growth.frontier.size())?])
    }

    /// Leaves, one after the other; an error of kind `UnexpectedEof` where one is missing.
    ///
    /// # Errors
    /// The operating system's.
    pub fn leaves(&self, from: u64, count: usize) -> io::Result<Vec<Leaf>> {
        let mut bytes = vec![0; count.saturating_mul(32)];
        self.leaves
            .read_exact_at(&mut bytes, from.saturating_mul(HASH))?;
        Ok(bytes
            .as_chunks::<32>()
            .0
            .iter()
            .map(|leaf| Leaf(*leaf))
            .collect())
    }

    /// The hash of a complete subtree, from what the files hold.
    ///
    /// # Errors
    /// The operating system's.
    pub fn node(&self, node: Node) -> io::Result<Digest> {
        self.nodes(node, 1)?
            .first()
            .copied()
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// `count` hashes of complete subtrees of one level, side by side.
    ///
    /// # Errors
    /// The operating system's.
    pub fn nodes(&self, first: Node, count: usize) -> io::Result<Vec<Digest>> {
        let within = first.level % STEP;
        let below = first.index << within;
        let wanted = count << within;
        let mut row: Vec<Digest> = if first.level < STEP {
            let leaves = self.leaves(below, wanted)?;
            leaves.iter().map(|leaf| leaf_hash(&leaf.0)).collect()
        } else {
            let nth = usize::from(first.level / STEP).saturating_sub(1);
            let mut bytes = vec![0; wanted.saturating_mul(32)];
            let place = below.saturating_mul(HASH);
            self.level(nth)?.read_exact_at(&mut bytes, place)?;
            bytes.as_chunks::<32>().0.to_vec()
        };
        join(&mut row, within);
        Ok(row)
    }

    /// Reads for one proof.
    #[must_use]
    pub const fn reader(&self) -> Reader<'_> {
        Reader {
            files: self,
            held: Vec::new(),
        }
    }

    /// A hash of level `TOP` or above, from memory; what memory lacks is read first. Only for proofs, which are verified:
    /// what is signed is read from the files.
    fn top(&self, node: Node) -> io::Result<Digest> {
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let index = usize::try_from(node.index).map_err(|_| missing())?;
        let above = node.level.saturating_sub(TOP);
        let mut tops = self.tops.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |tops: &[Vec<Digest>]| tops.get(usize::from(above))?.get(index).copied();
        if let Some(hash) = held(&tops) {
            return Ok(hash);
        }
        let have = tops.first().map_or(0, Vec::len);
        let needed = index.saturating_add(1).checked_shl(above.into());
        let needed = needed.ok_or_else(missing)?;
        let file = self.level(usize::from(TOP / STEP).saturating_sub(1))?;
        if file.metadata()?.len() / HASH < needed as u64 {
            return Err(missing());
        }
        let first = Node {
            level: TOP,
            index: have as u64,
        };
        for hash in self.nodes(first, needed.saturating_sub(have))? {
            complete(&mut tops, hash);
        }
        held(&tops).ok_or_else(missing)
    }

    /// The `group`th sixteen hashes of the `nth` kept level, leaves being the 0th; fewer at the file's end.
    fn group(&self, nth: usize, group: u64) -> io::Result<Vec<Digest>> {
        let mut bytes = [0; (GROUP * HASH) as usize];
        let place = group.saturating_mul(GROUP * HASH);
        let level = nth.checked_sub(1).map(|nth| self.level(nth)).transpose()?;
        let file = level.as_deref().unwrap_or(&self.leaves);
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, place.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let row = bytes.get(..filled).unwrap_or_default().as_chunks::<32>().0;
        Ok(match nth {
            0 => row.iter().map(|leaf| leaf_hash(leaf)).collect(),
            _ => row.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_complete_subtree_is_read_as_it_was_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles::open(dir.path()).unwrap();
        let mut frontier = Frontier::new();
        let mut all = Vec::new();
        for batch in [1_u64, 0, 14, 1, 100, 400, 84] {
            let from = frontier.size();
            let leaves: Vec<Leaf> = (from..from + batch)
                .map(|n| Leaf(*blake3::hash(&n.to_le_bytes()).as_bytes()))
                .collect();
            for leaf in &leaves {
                frontier
                    .clone()
                    .push(leaf_hash(&leaf.0), |node, hash| all.push((node, *hash)));
                frontier.push(leaf_hash(&leaf.0), |_, _| {});
            }
            let growth = Growth::of(
                &Frontier::restore(from, |node| files.node(node)).unwrap(),
                &leaves,
            );
            files.write(&growth).unwrap();
            assert_eq!(growth.frontier, frontier);
        }
        assert_eq!(frontier.size(), 600);
        for (node, hash) in &all {
            assert_eq!(files.node(*node).unwrap(), *hash, "{node:?}");
            assert_eq!(files.reader().node(*node).unwrap(), *hash, "{node:?}");
        }
        // One reader for all, whatever it read before.
        let mut reader = files.reader();
        for (node, hash) in all.iter().rev().chain(&all) {
            assert_eq!(reader.node(*node).unwrap(), *hash, "{node:?}");
        }
        for level in 0..10 {
            let past = Node {
                level,
                index: 600 >> level,
            };
            let error = reader.node(past).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{past:?}");
        }
        let row = files.nodes(Node { level: 8, index: 0 }, 2).unwrap();
        assert_eq!(
            row,
            [
                files.node(Node { level: 8, index: 0 }).unwrap(),
                files.node(Node { level: 8, index: 1 }).unwrap()
            ]
        );
        let past = files.leaves(599, 2).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
        // Made anew, they are the same.
        drop(files);
        let again = LogFiles::open(dir.path()).unwrap();
        let restored = Frontier::restore(600, |node| again.node(node)).unwrap();
        assert_eq!(restored, frontier);
    }

    #[test]
    fn upper_hashes_are_read_once_for_all_proofs() {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles::open(dir.path()).unwrap();
        let leaves: Vec<Leaf> = (0..(5_u64 << TOP) + 7)
            .map(|n| Leaf(*blake3::hash(&n.to_le_bytes()).as_bytes()))
            .collect();
        let mut all = Vec::new();
        let mut frontier = Frontier::new();
        for leaf in &leaves {
            frontier.push(leaf_hash(&leaf.0), |node, hash| {
                if node.level >= TOP {
                    all.push((node, *hash));
                }
            });
        }
        assert_eq!(all.len(), 8, "five, two above, one above those");
        files.write(&Growth::of(&Frontier::new(), &leaves)).unwrap();
        let mut reader = files.reader();
        // However they are asked for.
        for (node, hash) in all.iter().rev().chain(&all) {
            assert_eq!(reader.node(*node).unwrap(), *hash, "{node:?}");
        }
        for (level, index) in [(TOP, 5), (TOP + 1, 2), (TOP + 2, 1), (63, 1)] {
            let error = reader.node(Node { level, index }).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{level} {index}"
            );
        }
        std::fs::write(dir.path().join("hashes.12"), [0; 5 * 32]).unwrap();
        for (node, hash) in &all {
            assert_eq!(files.reader().node(*node).unwrap(), *hash, "{node:?}");
            assert_ne!(files.node(*node).unwrap(), *hash, "read from the file");
        }
    }
}
