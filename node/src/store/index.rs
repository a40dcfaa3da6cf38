//! The index in sled. The one file that names sled.
//!
//! sled loses, on a crash or a flipped bit, the tail or single pages without saying so, and panics
//! on others. So nothing rests on it: how far the index covers the journal, and a sum over every
//! entry, are written with the entries; an opening that finds another sum, an error or a panic
//! begins an empty index, which the store then fills from the journal.
//!
//! Each beginning is a new generation (a directory of its own), since threads of a broken sled may
//! still write to the old one. Only the store's committer thread writes and flushes: sled deadlocks
//! when several callers flush at once.
//!
//! Entries, integers big endian:
//! `s` stream 16 → records u64, head moves u64, then nothing or head 32 ·
//! `p` stream 16, ordinal u64 → segment u64, offset u64, previous chain hash 32, head moves up to
//! and with this record u64 (a search by halves finds the record of a move) ·
//! `c` → format u8, segment u64, offset u64, chain hash 32, sum u128.
//!
//! An index of another format is begun anew, like a broken one.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    os::unix::fs::DirBuilderExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
    time::Duration,
};

use warifu_client_sdk::store::{
    Coverage, Extent, Index, IndexedRecord, Position, StoreError, StreamId,
};

use super::sums;

const COVERAGE_KEY: &[u8] = b"c";
/// What the entries look like; 1 counted no head moves, and did not say so.
const FORMAT: u8 = 2;

const CACHE_BYTES: u64 = 64 << 20;

/// How often, and how long, an opening waits for sled's lock: threads of its own keep it for a moment
/// after the last handle is gone. Nobody else can have it, since the store's lock is taken first.
const LOCK_WAITS: u32 = 200;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Records after which the committer flushes: what a crash makes the next opening read again.
const FLUSH_RECORDS: u64 = 4096;

/// An [`Index`] kept by sled in a directory of its own.
pub struct SledIndex {
    dir: PathBuf,
    current: RwLock<Generation>,
    /// Touched by the committer only; never held by a reader.
    written: Mutex<WrittenState>,
}

struct Generation {
    number: u64,
    /// `None` while it could not be opened.
    tree: Option<sled::Db>,
}

#[derive(Default)]
struct WrittenState {
    sum: u128,
    unflushed: u64,
}

#[derive(Clone, Copy, Default)]
struct StreamEntry {
    records: u64,
    moves: u64,
    head: Option<[u8; 32]>,
}

impl SledIndex {
    /// Opens the index in `dir`, or an empty one in its place if it is not exactly what was
    /// written last. Reads the whole index once.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Index`] if not even an empty one can be made.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| failed("create", dir, error))?;
        let generations = generations(dir)?;
        let index = Self {
            dir: dir.to_path_buf(),
            current: RwLock::new(Generation {
                number: generations.last().copied().unwrap_or(0),
                tree: None,
            }),
            written: Mutex::default(),
        };
        let reason = match generations.as_slice() {
            [only] if !index.distrust_marker().exists() => {
                match guarded(|| open_checked(&generation_path(dir, *only))) {
                    Ok((tree, sum)) => {
                        index.change(|current| current.tree = Some(tree));
                        index.written_state().sum = sum;
                        return Ok(index);
                    }
                    Err(error) => error.to_string(),
                }
            }
            [] => "there is none".to_owned(),
            _ => "it was given up".to_owned(),
        };
        tracing::info!(reason, "beginning an empty index");
        index.reset()?;
        Ok(index)
    }

    fn distrust_marker(&self) -> PathBuf {
        self.dir.join("distrusted")
    }

    fn change<R>(&self, change: impl FnOnce(&mut Generation) -> R) -> R {
        change(&mut self.current.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn written_state(&self) -> MutexGuard<'_, WrittenState> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The streams from one on, up to another that is left out, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn streams_between(
        &self,
        from: StreamId,
        end: Option<StreamId>,
    ) -> Result<Vec<StreamId>, StoreError> {
        let end = end.map_or_else(|| b"t".to_vec(), stream_key);
        self.with_tree(|tree| {
            tree.range(stream_key(from)..end)
                .keys()
                .map(|key| {
                    let key = key.map_err(broken)?;
                    let stream = key.get(1..).and_then(|stream| stream.try_into().ok());
                    stream
                        .map(StreamId)
                        .ok_or_else(|| broken("a stream's key is malformed"))
                })
                .collect()
        })
    }

    fn with_tree<R>(
        &self,
        read: impl FnOnce(&sled::Db) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let tree = current
            .tree
            .as_ref()
            .ok_or_else(|| broken("index is not open"))?;
        guarded(|| read(tree))
    }
}

impl Index for SledIndex {
    fn covered(&self) -> Result<Option<Coverage>, StoreError> {
        self.with_tree(|tree| {
            let found = tree.get(COVERAGE_KEY).map_err(broken)?;
            found.map_or(Ok(None), |value| {
                decode_coverage(&value).map(|(covered, _)| Some(covered))
            })
        })
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.change(|current| {
            current.tree = None;
            current.number = current.number.saturating_add(1);
            let path = generation_path(&self.dir, current.number);
            current.tree = Some(guarded(|| open_tree(&path))?);
            *self.written_state() = WrittenState::default();
            for older in generations(&self.dir)? {
                if older < current.number {
                    let path = generation_path(&self.dir, older);
                    fs::remove_dir_all(&path).map_err(|error| failed("remove", &path, error))?;
                    remove_if_there(&sums::path_of(&path))?;
                }
            }
            remove_if_there(&self.distrust_marker())
        })
    }

    fn apply(&self, records: &[IndexedRecord], covered: Coverage) -> Result<(), StoreError> {
        let mut written = self.written_state();
        self.with_tree(|tree| {
            let (batch, sum) = changes(tree, written.sum, records, covered)?;
            tree.apply_batch(batch).map_err(broken)?;
            written.sum = sum;
            written.unflushed = written.unflushed.saturating_add(records.len() as u64);
            if written.unflushed >= FLUSH_RECORDS {
                tree.flush().map_err(broken)?;
                written.unflushed = 0;
            }
            Ok(())
        })
    }

    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError> {
        self.with_tree(|tree| Ok(stream_entry(tree, stream)?.head))
    }

    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError> {
        self.with_tree(|tree| {
            let StreamEntry { records, moves, .. } = stream_entry(tree, stream)?;
            Ok(Extent {
                batches: records,
                moves,
            })
        })
    }

    fn positions(
        &self,
        stream: StreamId,
        records: Range<u64>,
    ) -> Result<Vec<Position>, StoreError> {
        self.with_tree(|tree| {
            let mut positions = Vec::new();
            if records.is_empty() {
                return Ok(positions);
            }
            // Not further: the committer may be adding to the same stream.
            let keys = position_key(stream, records.start)..position_key(stream, records.end);
            let mut entries = tree.range(keys);
            for ordinal in records {
                let (key, value) = entries
                    .next()
                    .ok_or_else(|| broken("positions are missing"))?
                    .map_err(broken)?;
                if *key != position_key(stream, ordinal) {
                    return Err(broken("a position is missing"));
                }
                positions.push(decode_position(&value)?.0);
            }
            Ok(positions)
        })
    }

    fn record_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError> {
        self.with_tree(|tree| {
            let StreamEntry { records, moves, .. } = stream_entry(tree, stream)?;
            if nth >= moves {
                return Ok(None);
            }
            // The first record with more than `nth` moves up to it is the one that moved.
            let (mut low, mut high) = (0, records);
            while low < high {
                let middle = low.midpoint(high);
                let value = tree.get(position_key(stream, middle)).map_err(broken)?;
                let value = value.ok_or_else(|| broken("a position is missing"))?;
                if decode_position(&value)?.1 > nth {
                    high = middle;
                } else {
                    low = middle.saturating_add(1);
                }
            }
            Ok(Some(low))
        })
    }

    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        self.streams_between(StreamId([0; 16]), None)
    }

    fn distrust(&self) {
        if let Err(error) = fs::write(self.distrust_marker(), b"") {
            tracing::error!(%error, "could not mark the index; delete its directory by hand");
        }
    }
}

impl Drop for SledIndex {
    fn drop(&mut self) {
        let closed: Result<(), StoreError> = self.change(|current| {
            let Some(tree) = current.tree.take() else {
                return Ok(());
            };
            guarded(|| tree.flush().map(|_| ()).map_err(broken))?;
            drop(tree);
            let path = generation_path(&self.dir, current.number);
            if is_released(&path) {
                sums::write(&path).map_err(|error| failed("sum up", &path, error))?;
            }
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "index was not closed in order and may have to catch up");
        }
    }
}

/// The changes that add `records`, and the sum over all entries after them.
fn changes(
    tree: &sled::Db,
    mut sum: u128,
    records: &[IndexedRecord],
    covered: Coverage,
) -> Result<(sled::Batch, u128), StoreError> {
    let mut batch = sled::Batch::default();
    let mut streams: BTreeMap<StreamId, StreamEntry> = BTreeMap::new();
    for record in records {
        let mut entry = match streams.get(&record.stream) {
            Some(entry) => *entry,
            None => {
                let entry = stream_entry(tree, record.stream)?;
                if entry.records > 0 {
                    let weight = weight(&stream_key(record.stream), &encode_stream(entry));
                    sum = sum.wrapping_sub(weight);
                }
                entry
            }
        };
        let key = position_key(record.stream, entry.records);
        let moved = u64::from(record.head.is_some());
        entry.moves = entry.moves.saturating_add(moved);
        let value = encode_position(&record.position, entry.moves);
        sum = sum.wrapping_add(weight(&key, &value));
        batch.insert(key, value);
        entry.records = entry.records.saturating_add(1);
        entry.head = record.head.or(entry.head);
        streams.insert(record.stream, entry);
    }
    for (stream, entry) in streams {
        let (key, value) = (stream_key(stream), encode_stream(entry));
        sum = sum.wrapping_add(weight(&key, &value));
        batch.insert(key, value);
    }
    batch.insert(COVERAGE_KEY, encode_coverage(&covered, sum));
    Ok((batch, sum))
}

fn open_tree(path: &Path) -> Result<sled::Db, StoreError> {
    // What is opened is no longer what was closed.
    remove_if_there(&sums::path_of(path))?;
    let mut waits = LOCK_WAITS;
    loop {
        let opened = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open();
        match opened {
            Err(sled::Error::Io(error)) if waits > 0 && is_lock(&error) => {
                waits -= 1;
                thread::sleep(LOCK_WAIT);
            }
            opened => return opened.map_err(broken),
        }
    }
}

/// Whether sled has let go of a tree, so that nobody writes to its files any more; waits for its threads as
/// [`open_tree`] does.
fn is_released(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path.join("db")) else {
        return false;
    };
    for _ in 0..LOCK_WAITS {
        if file.try_lock_shared().is_ok() {
            return true;
        }
        thread::sleep(LOCK_WAIT);
    }
    false
}

/// sled gives no kind of its own to a file that is locked.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Opens a tree whose entries are exactly those that its sum was written for.
fn open_checked(path: &Path) -> Result<(sled::Db, u128), StoreError> {
    let tree = open_tree(path)?;
    let mut found = 0u128;
    let mut expected = 0u128;
    for entry in tree.iter() {
        let (key, value) = entry.map_err(broken)?;
        if *key == *COVERAGE_KEY {
            (_, expected) = decode_coverage(&value)?;
        } else {
            found = found.wrapping_add(weight(&key, &value));
        }
    }
    if found != expected {
        return Err(broken("entries do not add up to what was written"));
    }
    Ok((tree, found))
}

/// Runs a call into sled, which panics on some damaged files.
fn guarded<R>(call: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(broken("sled panicked")))
}

fn broken(reason: impl ToString) -> StoreError {
    StoreError::Index {
        reason: reason.to_string(),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        action,
        path: path.to_path_buf(),
        source: Arc::new(source),
    }
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

fn generation_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation:08}.sled"))
}

/// The generation that a file of sums is of.
pub(super) fn generation_of(sums: &Path) -> PathBuf {
    sums.with_extension("sled")
}

fn generations(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed("list", dir, error))? {
        let name = entry
            .map_err(|error| failed("list", dir, error))?
            .file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".sled"))
            .and_then(|digits| digits.parse::<u64>().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

/// One entry's part of the sum: first 16 bytes of its BLAKE3 hash. Finds loss, not malice.
fn weight(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut part = [0; 16];
    hasher.finalize_xof().fill(&mut part);
    u128::from_be_bytes(part)
}

fn stream_entry(tree: &sled::Db, stream: StreamId) -> Result<StreamEntry, StoreError> {
    match tree.get(stream_key(stream)).map_err(broken)? {
        None => Ok(StreamEntry::default()),
        Some(value) => decode_stream(&value).ok_or_else(|| broken("a stream's entry is malformed")),
    }
}

fn stream_key(stream: StreamId) -> Vec<u8> {
    [b"s", stream.0.as_slice()].concat()
}

fn position_key(stream: StreamId, ordinal: u64) -> Vec<u8> {
    [b"p", stream.0.as_slice(), &ordinal.to_be_bytes()].concat()
}

fn encode_stream(entry: StreamEntry) -> Vec<u8> {
    let StreamEntry {
        records,
        moves,
        head,
    } = entry;
    let head = head.as_ref().map_or(&[][..], <[u8; 32]>::as_slice);
    [&records.to_be_bytes()[..], &moves.to_be_bytes(), head].concat()
}

fn decode_stream(bytes: &[u8]) -> Option<StreamEntry> {
    let (records, rest) = bytes.split_first_chunk()?;
    let (moves, head) = rest.split_first_chunk()?;
    let head = if head.is_empty() {
        None
    } else {
        Some(head.try_into().ok()?)
    };
    Some(StreamEntry {
        records: u64::from_be_bytes(*records),
        moves: u64::from_be_bytes(*moves),
        head,
    })
}

fn encode_position(position: &Position, moves: u64) -> Vec<u8> {
    let Position {
        segment,
        offset,
        previous,
    } = position;
    [
        &segment.to_be_bytes()[..],
        &offset.to_be_bytes(),
        previous,
        &moves.to_be_bytes(),
    ]
    .concat()
}

fn decode_position(bytes: &[u8]) -> Result<(Position, u64), StoreError> {
    let decode = || {
        let (segment, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (previous, moves) = rest.split_first_chunk()?;
        let position = Position {
            segment: u64::from_be_bytes(*segment),
            offset: u64::from_be_bytes(*offset),
            previous: *previous,
        };
        Some((position, u64::from_be_bytes(moves.try_into().ok()?)))
    };
    decode().ok_or_else(|| broken("a position is malformed"))
}

fn encode_coverage(covered: &Coverage, sum: u128) -> Vec<u8> {
    let Coverage {
        segment,
        offset,
        chain,
    } = covered;
    [
        &[FORMAT][..],
        &segment.to_be_bytes(),
        &offset.to_be_bytes(),
        chain,
        &sum.to_be_bytes(),
    ]
    .concat()
}

fn decode_coverage(bytes: &[u8]) -> Result<(Coverage, u128), StoreError> {
    let decode = || {
        // Format 1 has no format byte, and is one byte shorter.
        let (format, rest) = bytes.split_first()?;
        let (segment, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (chain, sum) = rest.split_first_chunk()?;
        let covered = Coverage {
            segment: u64::from_be_bytes(*segment),
            offset: u64::from_be_bytes(*offset),
            chain: *chain,
        };
        let sum = u128::from_be_bytes(sum.try_into().ok()?);
        (*format == FORMAT).then_some((covered, sum))
    };
    decode().ok_or_else(|| broken("coverage is malformed or of another format"))
}
