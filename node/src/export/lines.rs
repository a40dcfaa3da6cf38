//! The export file: written line by line, read back strictly. One export has exactly one text.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use warifu_consensus::block::Sealed;

use super::{Found, Place, WalkError};

/// Longest line in bytes: more than the longest sealed block has.
const MAX_LINE: u64 = 16 * 1024;

const HEAD_BEFORE: &str = r#"{"warifu":"ledger-export/1","iss":""#;
const HEAD_AFTER: &str = r#""}"#;
const END_BEFORE: &str = r#"{"blocks":"#;

/// What is wrong with a line of an export.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExportError {
    /// The first line is another.
    #[error("expected {{\"warifu\":\"ledger-export/1\",\"iss\":\"…\"}}")]
    Head,
    /// The file ends before its last line.
    #[error("export is cut off: expected a block or the last line with count and hash")]
    Cut,
    /// Bytes after the last line.
    #[error("expected nothing after the line with count and hash")]
    Trailing,
    /// A line is too long, or is not ended.
    #[error("line has {found} bytes or is not ended, at most {limit} allowed")]
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes allowed, line end included.
        limit: u64,
    },
    /// A line is no UTF-8.
    #[error("line is not utf-8 text")]
    Text,
    /// The last line is not the one that these lines give.
    #[error("last line is {found}, expected {expected}")]
    End {
        /// Found.
        found: String,
        /// Count and hash of what was read.
        expected: String,
    },
}

fn head_line(iss: &str) -> String {
    format!("{HEAD_BEFORE}{iss}{HEAD_AFTER}\n")
}

fn end_line(blocks: u64, hasher: &blake3::Hasher) -> String {
    let hash = hasher.finalize().to_hex();
    format!("{END_BEFORE}{blocks},\"blake3\":\"{hash}\"}}\n")
}

/// Writes an export.
#[derive(Debug)]
pub struct ExportWriter<W: Write> {
    out: W,
    hasher: blake3::Hasher,
    blocks: u64,
}

impl<W: Write> ExportWriter<W> {
    /// Begins an export of the ledger with this origin.
    ///
    /// # Errors
    /// The writer's.
    pub fn begin(out: W, iss: &str) -> io::Result<ExportWriter<W>> {
        let mut writer = ExportWriter {
            out,
            hasher: blake3::Hasher::new(),
            blocks: 0,
        };
        writer.put(&head_line(iss))?;
        Ok(writer)
    }

    /// Adds a block.
    ///
    /// # Errors
    /// The writer's.
    pub fn block(&mut self, sealed: &Sealed) -> io::Result<()> {
        self.put(&sealed.to_json())?;
        self.put("\n")?;
        self.blocks = self.blocks.saturating_add(1);
        Ok(())
    }

    /// Writes the last line and gives the number of blocks.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<u64> {
        let end = end_line(self.blocks, &self.hasher);
        self.out.write_all(end.as_bytes())?;
        self.out.flush()?;
        Ok(self.blocks)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.hasher.update(text.as_bytes());
        self.out.write_all(text.as_bytes())
    }
}

/// Reads an export block by block; the last line is checked before the walk ends.
#[derive(Debug)]
pub struct ExportBlocks {
    path: PathBuf,
    file: BufReader<File>,
    iss: String,
    hasher: blake3::Hasher,
    /// Lines read.
    line: u64,
    blocks: u64,
    done: u64,
    total: u64,
    ended: bool,
}

impl ExportBlocks {
    /// Opens an export and reads its first line.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn open(path: &Path) -> Result<ExportBlocks, WalkError> {
        let failed = |source| WalkError::Io {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let total = file.metadata().map_err(failed)?.len();
        let mut blocks = ExportBlocks {
            path: path.to_path_buf(),
            file: BufReader::new(file),
            iss: String::new(),
            hasher: blake3::Hasher::new(),
            line: 0,
            blocks: 0,
            done: 0,
            total,
            ended: false,
        };
        let first = blocks.read_line()?.unwrap_or_default();
        let iss = first
            .strip_prefix(HEAD_BEFORE)
            .and_then(|rest| rest.strip_suffix('\n')?.strip_suffix(HEAD_AFTER))
            .ok_or_else(|| blocks.fault(ExportError::Head))?;
        blocks.hasher.update(first.as_bytes());
        blocks.iss = iss.to_owned();
        Ok(blocks)
    }

    pub(super) fn iss(&self) -> &str {
        &self.iss
    }

    pub(super) const fn progress(&self) -> (u64, u64) {
        (self.done, self.total)
    }

    fn fault(&self, fault: ExportError) -> WalkError {
        WalkError::Export {
            line: self.line.max(1),
            fault,
        }
    }

    /// The next line with its end; `None` at the end of the file.
    fn read_line(&mut self) -> Result<Option<String>, WalkError> {
        let mut bytes = Vec::new();
        let read = (&mut self.file)
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes);
        let read = read.map_err(|source| WalkError::Io {
            path: self.path.clone(),
            source,
        })?;
        if read == 0 {
            return Ok(None);
        }
        self.line = self.line.saturating_add(1);
        self.done = self
            .done
            .saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if bytes.last() != Some(&b'\n') {
            let (found, limit) = (read, MAX_LINE);
            return Err(self.fault(ExportError::Length { found, limit }));
        }
        match String::from_utf8(bytes) {
            Ok(line) => Ok(Some(line)),
            Err(_) => Err(self.fault(ExportError::Text)),
        }
    }

    fn advance(&mut self) -> Result<Option<Found>, WalkError> {
        let Some(line) = self.read_line()? else {
            self.line = self.line.saturating_add(1);
            return Err(self.fault(ExportError::Cut));
        };
        if line.starts_with(END_BEFORE) {
            let expected = end_line(self.blocks, &self.hasher);
            if line != expected {
                let (found, expected) =
                    (line.trim_end().to_owned(), expected.trim_end().to_owned());
                return Err(self.fault(ExportError::End { found, expected }));
            }
            return match self.read_line()? {
                None => Ok(None),
                Some(_) => Err(self.fault(ExportError::Trailing)),
            };
        }
        self.hasher.update(line.as_bytes());
        self.blocks = self.blocks.saturating_add(1);
        let place = Place::Line(self.line);
        let sealed = Sealed::from_json(line.trim_end_matches('\n'))
            .map_err(|fault| WalkError::Block { place, fault })?;
        Ok(Some(Found {
            place,
            sealed,
            stream: None,
            is_conflict: false,
            is_behind_tombstone: false,
        }))
    }
}

impl Iterator for ExportBlocks {
    type Item = Result<Found, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
