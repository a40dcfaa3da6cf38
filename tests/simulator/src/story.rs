//! What happened, line by line, and a hash of all of it.

use std::collections::VecDeque;

/// Lines that a story keeps unless it is told to keep all.
const LINES: usize = 90;

/// See the module.
#[derive(Debug)]
pub struct Story {
    lines: VecDeque<String>,
    hasher: blake3::Hasher,
    keeps_all: bool,
}

impl Story {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(keeps_all: bool) -> Self {
        Self {
            lines: VecDeque::new(),
            hasher: blake3::Hasher::new(),
            keeps_all,
        }
    }

    /// Something happened, so many milliseconds after the beginning.
    pub fn tell(&mut self, ms: u64, line: &str) {
        let line = format!("{:>10}.{:03} {line}", ms / 1000, ms % 1000);
        self.hasher.update(line.as_bytes()).update(b"\n");
        if !self.keeps_all && self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Bytes that travelled, or were written: in the hash only.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The lines kept, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &String> {
        self.lines.iter()
    }

    /// The hash of everything so far: every line, every byte sent and stored.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}
