//! One segment's file: its name, its creation, and the walk over its records.
//!
//! A file appears under its name only when its header is durable (written aside, synced, renamed,
//! directory synced), so an incomplete header is damage, never a crash. The walk decides what is a
//! record, what is a torn tail and what is corrupt; it never changes the file.

use std::{
    fs::{self, File},
    io::{BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    frame::{
        FORMAT_VERSION, FRAME_HEADER_BYTES, LENGTH_BYTES, Length, Place, RECORD_LIMIT_BYTES,
        SegmentHeader, chain_hash, frame_bytes, parse_length, push_frame,
    },
    torn::{GROUP_LIMIT_BYTES, lost_sector, synced_later},
};
use crate::store::{Disk, LedgerId, Position, StoreError, StreamId, disk::DiskFile, encoding};

/// Whose segments are expected in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) magic: [u8; 14],
    pub(crate) ledger: LedgerId,
}

/// Where the next record goes. The file's cursor stands at `offset`.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) file: DiskFile,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) chain: [u8; 32],
}

/// The file of a segment: its number in eight digits.
pub(crate) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:08}.seg"))
}

/// The segments of a directory: always 1, 2, … n. A gap is damage.
pub(crate) fn list_segments(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let name = entry.map_err(StoreError::io("list", dir))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".seg"))
            .and_then(|digits| digits.parse::<u64>().ok());
        found.extend(number);
    }
    found.sort_unstable();
    let missing = (1u64..)
        .zip(&found)
        .find(|(expected, found)| expected != *found);
    if let Some((missing, _)) = missing {
        return Err(StoreError::Corrupt {
            file: segment_path(dir, missing),
            offset: 0,
            stream: None,
            after: None,
            reason: "segment is missing",
        });
    }
    Ok(found)
}

/// Creates a segment with its header and `payloads`, durable under its name when it returns. A
/// segment already there under that name is replaced, in one step.
pub(crate) fn create_segment(
    disk: &Disk,
    dir: &Path,
    identity: &Identity,
    segment: u64,
    previous: [u8; 32],
    payloads: &[Vec<u8>],
) -> Result<Tail, StoreError> {
    let header = header(identity, segment, previous, payloads)?;
    let path = segment_path(dir, segment);
    let mut file = disk.create(&path.with_extension("tmp"))?;
    let mut offset = 0u64;
    let mut chain = previous;
    let mut buffer = Vec::new();
    for payload in std::iter::once(&header).chain(payloads) {
        let place = Place {
            segment,
            offset,
            begins_group: true,
        };
        chain = push_frame(&mut buffer, payload, place, &chain);
        offset = offset.saturating_add(frame_bytes(payload.len()));
        if buffer.len() >= 1 << 20 {
            file.write_all(&buffer)?;
            buffer.clear();
        }
    }
    file.write_all(&buffer)?;
    file.sync_all()?;
    file.rename(&path)?;
    disk.sync_directory(dir)?;
    identity.measures().syncs.increment(2);
    Ok(Tail {
        file,
        segment,
        offset,
        chain,
    })
}

/// The header's payload, which tells the length of the file that begins with it.
fn header(
    identity: &Identity,
    segment: u64,
    previous: [u8; 32],
    payloads: &[Vec<u8>],
) -> Result<Vec<u8>, StoreError> {
    let mut header = SegmentHeader {
        magic: identity.magic,
        version: FORMAT_VERSION,
        segment,
        previous,
        ledger: identity.ledger.clone(),
        created: 0,
    };
    let encoded = encoding::encode::<RECORD_LIMIT_BYTES, _>(&header)?;
    // Integers have a fixed width: the header's own length does not depend on the sum.
    let lengths = std::iter::once(&encoded).chain(payloads);
    header.created = lengths.fold(0, |sum, payload| {
        frame_bytes(payload.len()).saturating_add(sum)
    });
    Ok(encoding::encode::<RECORD_LIMIT_BYTES, _>(&header)?)
}

/// One complete record, checked against the chain.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) position: Position,
    /// Where the record ends.
    pub(crate) end: u64,
    pub(crate) chain: [u8; 32],
    pub(crate) payload: Vec<u8>,
}

enum Frame {
    End,
    Torn,
    Complete {
        length: Length,
        chain: [u8; 32],
        payload: Vec<u8>,
    },
}

/// Walks the records of one segment.
#[derive(Debug)]
pub(crate) struct SegmentScanner {
    path: PathBuf,
    segment: u64,
    reader: BufReader<File>,
    /// The file's length when the walk began.
    length: u64,
    offset: u64,
    chain: [u8; 32],
    header: SegmentHeader,
    last_stream: Option<StreamId>,
    /// Where the last group begins that was seen.
    group: u64,
    torn: bool,
}

impl SegmentScanner {
    /// Opens a segment and checks its header, whoever it belongs to.
    pub(crate) fn open(dir: &Path, segment: u64) -> Result<Self, StoreError> {
        let path = segment_path(dir, segment);
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        let length = file
            .metadata()
            .map_err(StoreError::io("examine", &path))?
            .len();
        let mut scanner = Self {
            header: SegmentHeader {
                magic: [0; 14],
                version: 0,
                segment,
                previous: [0; 32],
                ledger: LedgerId {
                    role: 0,
                    origin: String::new(),
                },
                created: 0,
            },
            path,
            segment,
            reader: BufReader::with_capacity(256 << 10, file),
            length,
            offset: 0,
            chain: [0; 32],
            last_stream: None,
            group: 0,
            torn: false,
        };
        scanner.read_header()?;
        Ok(scanner)
    }

    fn read_header(&mut self) -> Result<(), StoreError> {
        let Frame::Complete { chain, payload, .. } = self.read_frame()? else {
            return Err(self.corrupt("segment header is incomplete", None));
        };
        let previous = SegmentHeader::previous_of(&payload)
            .filter(|previous| chain_hash(previous, &payload) == chain)
            .ok_or_else(|| self.corrupt("segment header does not match its hash", None))?;
        let found = SegmentHeader::version_of(&payload).unwrap_or(0);
        if found > FORMAT_VERSION {
            return Err(StoreError::FutureVersion {
                file: self.path.clone(),
                found,
                supported: FORMAT_VERSION,
            });
        }
        if found < FORMAT_VERSION {
            return Err(StoreError::PastVersion {
                file: self.path.clone(),
                found,
                supported: FORMAT_VERSION,
            });
        }
        let header: SegmentHeader = encoding::decode::<RECORD_LIMIT_BYTES, _>(&payload)
            .map_err(|_| self.corrupt("segment header is not in canonical form", None))?;
        if header.segment != self.segment {
            return Err(self.corrupt("segment header names another segment", None));
        }
        debug_assert_eq!(previous, header.previous);
        self.header = header;
        self.chain = chain;
        self.offset = frame_bytes(payload.len());
        self.group = self.offset;
        Ok(())
    }

    /// Refuses a segment of another ledger, role or kind of file.
    pub(crate) fn require(&self, identity: &Identity) -> Result<(), StoreError> {
        if self.header.magic != identity.magic {
            return Err(self.corrupt_at(0, "file is of another kind", None));
        }
        if self.header.ledger != identity.ledger {
            return Err(StoreError::OtherLedger {
                found: self.header.ledger.clone(),
                expected: identity.ledger.clone(),
            });
        }
        Ok(())
    }

    /// Refuses a segment that does not follow the record with this chain hash.
    pub(crate) fn require_previous(&self, previous: &[u8; 32]) -> Result<(), StoreError> {
        if self.header.previous == *previous {
            return Ok(());
        }
        Err(self.corrupt_at(0, "segment does not follow the one before it", None))
    }

    /// The next record; `None` at the end or at a torn tail.
    pub(crate) fn next_record(&mut self) -> Result<Option<Scanned>, StoreError> {
        let frame = match self.read_frame()? {
            Frame::Torn if self.offset < self.header.created => {
                return Err(self.corrupt("segment is shorter than when it was made", None));
            }
            frame => frame,
        };
        let (length, chain, payload) = match frame {
            Frame::End => return Ok(None),
            Frame::Torn => {
                self.torn = true;
                return Ok(None);
            }
            Frame::Complete {
                length,
                chain,
                payload,
            } => (length, chain, payload),
        };
        let stream = payload.first_chunk::<16>().map(|stream| StreamId(*stream));
        if chain_hash(&self.chain, &payload) != chain {
            if self.is_left_by_a_crash(frame_bytes(length.payload))? {
                self.torn = true;
                return Ok(None);
            }
            return Err(self.corrupt("record does not match its hash", stream));
        }
        let position = Position {
            segment: self.segment,
            offset: self.offset,
            previous: self.chain,
        };
        if length.begins_group {
            self.group = self.offset;
        }
        self.offset = self.offset.saturating_add(frame_bytes(payload.len()));
        self.chain = chain;
        self.last_stream = stream;
        Ok(Some(Scanned {
            position,
            end: self.offset,
            chain,
            payload,
        }))
    }

    fn read_frame(&mut self) -> Result<Frame, StoreError> {
        let remaining = self.length.saturating_sub(self.offset);
        if remaining == 0 && self.offset >= self.header.created {
            return Ok(Frame::End);
        }
        if remaining < LENGTH_BYTES as u64 {
            return Ok(Frame::Torn);
        }
        let start: [u8; LENGTH_BYTES] = self.read_array()?;
        let Some(length) = parse_length(&start, self.segment, self.offset) else {
            let zeros = start == [0; LENGTH_BYTES] && self.rest_is_zero()?;
            return if zeros || self.is_left_by_a_crash(LENGTH_BYTES as u64)? {
                Ok(Frame::Torn)
            } else {
                Err(self.corrupt("record length does not match its check", None))
            };
        };
        if length.payload > RECORD_LIMIT_BYTES {
            return Err(self.corrupt("record is longer than the limit", None));
        }
        if remaining < frame_bytes(length.payload) {
            return Ok(Frame::Torn);
        }
        let chain: [u8; FRAME_HEADER_BYTES - LENGTH_BYTES] = self.read_array()?;
        let mut payload = vec![0; length.payload];
        self.reader
            .read_exact(&mut payload)
            .map_err(StoreError::io("read", &self.path))?;
        Ok(Frame::Complete {
            length,
            chain,
            payload,
        })
    }

    /// Whether a power loss before the last group's sync explains that the frame here, or the `bytes`
    /// of it that were looked at, are not what was written: a sector of it was never written, and
    /// nothing after it was written after a sync. The cursor stands anywhere afterwards.
    fn is_left_by_a_crash(&mut self, bytes: u64) -> Result<bool, StoreError> {
        let remaining = self.length.saturating_sub(self.offset);
        if self.offset < self.header.created || remaining > GROUP_LIMIT_BYTES {
            return Ok(false);
        }
        let mut rest = Vec::new();
        self.reader
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| (&mut self.reader).take(remaining).read_to_end(&mut rest))
            .map_err(StoreError::io("read", &self.path))?;
        Ok(lost_sector(&rest, self.offset, bytes)
            && !synced_later(&rest, self.segment, self.offset))
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        self.reader
            .read_exact(&mut bytes)
            .map_err(StoreError::io("read", &self.path))?;
        Ok(bytes)
    }

    fn rest_is_zero(&mut self) -> Result<bool, StoreError> {
        let mut chunk = [0; 4096];
        loop {
            let read = self
                .reader
                .read(&mut chunk)
                .map_err(StoreError::io("read", &self.path))?;
            if read == 0 {
                return Ok(true);
            }
            if chunk.iter().take(read).any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
    }

    fn corrupt(&self, reason: &'static str, stream: Option<StreamId>) -> StoreError {
        self.corrupt_at(self.offset, reason, stream)
    }

    /// The error for damage found at `offset` of this segment.
    pub(crate) fn corrupt_at(
        &self,
        offset: u64,
        reason: &'static str,
        stream: Option<StreamId>,
    ) -> StoreError {
        StoreError::Corrupt {
            file: self.path.clone(),
            offset,
            stream,
            after: self.last_stream,
            reason,
        }
    }

    /// Bytes after the last complete record that begin an incomplete one; 0 if there are none.
    pub(crate) fn torn_bytes(&self) -> u64 {
        if self.torn {
            self.length.saturating_sub(self.offset)
        } else {
            0
        }
    }

    /// Where the last record read ends, and its chain hash.
    pub(crate) fn reached(&self) -> (u64, [u8; 32]) {
        (self.offset, self.chain)
    }

    /// From where to where the last group read stands, as far as it was not there when the file was
    /// made.
    pub(crate) fn last_group(&self) -> Range<u64> {
        self.group.max(self.header.created).min(self.offset)..self.offset
    }

    /// Whose segment this is.
    pub(crate) fn ledger(&self) -> &LedgerId {
        &self.header.ledger
    }

    /// The file's length when the walk began.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

/// Reads one record through its position and checks it against its own and the previous hash;
/// `None` if no such record stands there.
pub(crate) fn read_record(
    file: &mut File,
    position: &Position,
) -> std::io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(position.offset))?;
    let start = read_frame_start(file, position.segment, position.offset)?;
    let Some((length, chain)) = start else {
        return Ok(None);
    };
    let mut payload = vec![0; length];
    file.read_exact(&mut payload)?;
    Ok((chain_hash(&position.previous, &payload) == chain).then_some(payload))
}

/// What a frame begins with, read where it should stand: its payload's length and its chain hash; `None` if no
/// frame stands there. The payload is not looked at.
pub(crate) fn read_frame_start(
    reader: &mut impl Read,
    segment: u64,
    offset: u64,
) -> std::io::Result<Option<(usize, [u8; 32])>> {
    let mut start = [0; LENGTH_BYTES];
    let mut chain = [0; FRAME_HEADER_BYTES - LENGTH_BYTES];
    reader.read_exact(&mut start)?;
    reader.read_exact(&mut chain)?;
    let length = parse_length(&start, segment, offset)
        .map(|length| length.payload)
        .filter(|length| *length <= RECORD_LIMIT_BYTES);
    Ok(length.map(|length| (length, chain)))
}
