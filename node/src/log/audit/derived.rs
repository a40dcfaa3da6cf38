//! The log's flat files, compared byte for byte with what the journal gives, while it is being read.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use warifu_consensus::log::{Digest, Leaf, Node};

use super::fault::Fault;

/// Bytes read of a file at once.
const BUFFER: usize = 256 << 10;

/// A file that is as it should be so far.
struct Compared {
    path: PathBuf,
    reader: BufReader<File>,
    at: u64,
}

/// See the module.
pub(super) struct Derived {
    dir: PathBuf,
    /// By level, 0 for the leaves themselves; `None` once a fault was found in it.
    files: BTreeMap<u8, Option<Compared>>,
    faults: Vec<Fault>,
}

impl Derived {
    /// The files in `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            files: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    pub(super) fn leaf(&mut self, leaf: &Leaf) {
        self.expect(0, &leaf.0);
    }

    /// A complete subtree, of the levels that are kept.
    pub(super) fn node(&mut self, node: Node, hash: &Digest) {
        if node.level > 0 && node.level.is_multiple_of(4) {
            self.expect(node.level, hash);
        }
    }

    fn expect(&mut self, level: u8, bytes: &[u8; 32]) {
        let file = self
            .files
            .entry(level)
            .or_insert_with(|| open(&self.dir, level, &mut self.faults));
        let Some(compared) = file else {
            return;
        };
        match compared.next(bytes) {
            Ok(()) => {}
            Err(fault) => {
                self.faults.push(fault.derived());
                *file = None;
            }
        }
    }

    /// What was found; and, for each file that is good so far, the bytes beyond what the journal gives.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<(PathBuf, u64)>) {
        let mut beyond = Vec::new();
        for compared in self.files.into_values().flatten() {
            let length = compared.path.metadata().map_or(0, |found| found.len());
            if length > compared.at {
                beyond.push((compared.path, length.saturating_sub(compared.at)));
            }
        }
        (self.faults, beyond)
    }
}

fn open(dir: &Path, level: u8, faults: &mut Vec<Fault>) -> Option<Compared> {
    let name = match level {
        0 => "leaves".to_owned(),
        level => format!("hashes.{level}"),
    };
    let path = dir.join(name);
    match File::open(&path) {
        Ok(file) => Some(Compared {
            path,
            reader: BufReader::with_capacity(BUFFER, file),
            at: 0,
        }),
        Err(error) => {
            faults.push(Fault::new(&path, None, error.to_string()).derived());
            None
        }
    }
}

impl Compared {
    fn next(&mut self, expected: &[u8; 32]) -> Result<(), Fault> {
        let mut found = [0; 32];
        let read = self.reader.read_exact(&mut found);
        if let Err(error) = read {
            let found = match error.kind() {
                io::ErrorKind::UnexpectedEof => "ends before the log does".to_owned(),
                _ => error.to_string(),
            };
            return Err(Fault::new(&self.path, Some(self.at), found));
        }
        let other = found.iter().zip(expected).position(|(a, b)| a != b);
        if let Some(other) = other {
            let offset = self.at.saturating_add(other as u64);
            let found = "is not what the journal's leaves give";
            return Err(Fault::new(&self.path, Some(offset), found));
        }
        self.at = self.at.saturating_add(32);
        Ok(())
    }
}
