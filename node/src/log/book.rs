//! One operator's copy of the log: the truth in the journal, files beside it, the last checkpoints in memory.
//!
//! Decides the order of things: files written, synced and read again, then the signature, then the record in the journal,
//! which compares and moves the root in one step; only then does anybody see the checkpoint. Never decides what is logged.

mod evidence;
mod kept;
mod lookup;

pub(crate) use self::{evidence::kept_evidence, kept::AHEAD_FILE};

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64ct::{Base64, Encoding};
use tokio::sync::watch;
use warifu_client_sdk::{
    runtime::Keeper,
    store::{Place, Store},
};
use warifu_consensus::{
    log::{
        Checkpoint, Digest, EMPTY_ROOT, Frontier, Leaf, LogKeys, Node, NoteError, SignedNote, Tile,
        TreeError, consistency, inclusion,
    },
    party::Sub,
};

use super::{Growth, LogError, LogFiles, LogRecord};
use crate::secrets;

/// Leaves given to the files at once while they are made anew.
const REBUILT_AT_ONCE: usize = 64 * 1024;

/// The last checkpoint with both signatures, for whoever looks into the directory, and for the broker's next start.
const CHECKPOINT_FILE: &str = "checkpoint";

/// How far the log is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// The checkpoint over them as it was signed; `None` while the log is empty, or is being taken over.
    pub note: Option<SignedNote>,
    /// Where following the journal goes on.
    pub through: Place,
    /// See [`LogRecord::since`].
    pub since: u64,
}

#[derive(Debug)]
struct Inner {
    frontier: Frontier,
    state: LogState,
    /// The last checkpoint that the witness signed too.
    cosigned: Option<(Checkpoint, SignedNote)>,
    /// Records of the log's stream.
    records: u64,
}

/// See the module.
pub struct LogBook<S: Store> {
    keeper: Keeper<S>,
    files: LogFiles,
    keys: LogKeys,
    inner: Mutex<Inner>,
    /// Who publishes: the log's own task, and the one that asks public witnesses. Taken before `inner`.
    publishing: Mutex<()>,
    /// The size of the last cosigned checkpoint.
    cosigned: watch::Sender<u64>,
}

impl<S: Store> LogBook<S> {
    /// Opens the log whose files are in `dir`; makes them anew if they are not what the journal says. `progress` is
    /// told leaves done and in all. Blocks on the disk.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(
        keeper: Keeper<S>,
        dir: &Path,
        keys: LogKeys,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, LogError> {
        let files = LogFiles::open(dir).map_err(failed(dir, "open"))?;
        let records = keeper.log_records()?;
        let last = match records.checked_sub(1) {
            Some(number) => Some(read_record(&keeper, number)?),
            None => None,
        };
        let state = match &last {
            None => LogState {
                size: 0,
                root: EMPTY_ROOT,
                note: None,
                through: Place::START,
                since: 0,
            },
            Some(record) => state_of(records.saturating_sub(1), record, &keys)?,
        };
        let frontier = match last {
            None => Frontier::new(),
            Some(last) => match resume(&files, &last) {
                Some(frontier) => frontier,
                None => rebuild(&keeper, &files, records, last.size, progress)?,
            },
        };
        check_root(&state, &frontier)?;
        let book = Self {
            keeper,
            files,
            keys,
            inner: Mutex::new(Inner {
                frontier,
                state,
                cosigned: None,
                records,
            }),
            publishing: Mutex::new(()),
            cosigned: watch::Sender::new(0),
        };
        book.find_cosigned()?;
        Ok(book)
    }

    /// The last checkpoint with both signatures: the file beside the leaves has it, and at the witness the last
    /// record too. Whatever the file holds, the witness has the last one: it comes with the line.
    fn find_cosigned(&self) -> Result<(), LogError> {
        let kept = self.kept_checkpoint()?;
        let last = self.inner().state.note.clone();
        if let Some(note) = last
            && self.publish(&note)?
        {
            return Ok(());
        }
        kept.map_or(Ok(()), |note| self.publish(&note).map(drop))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that checkpoints are signed with.
    #[must_use]
    pub const fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// Journal and vault.
    #[must_use]
    pub const fn keeper(&self) -> &Keeper<S> {
        &self.keeper
    }

    /// How far the log is here.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.inner().state.clone()
    }

    /// The last checkpoint that both signed.
    #[must_use]
    pub fn cosigned(&self) -> Option<(Checkpoint, SignedNote)> {
        self.inner().cosigned.clone()
    }

    /// Follows the size of the last checkpoint that both signed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.cosigned.subscribe()
    }

    /// The last batch.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn last_record(&self) -> Result<Option<LogRecord>, LogError> {
        let last = self.inner().records.checked_sub(1);
        last.map(|number| read_record(&self.keeper, number))
            .transpose()
    }

    /// The batches from the last one back.
    pub fn records_back(&self) -> impl Iterator<Item = Result<LogRecord, LogError>> {
        let records = self.inner().records;
        (0..records)
            .rev()
            .map(|number| read_record(&self.keeper, number))
    }

    /// Makes leaves the log's next ones. `sign` gets the checkpoint over them once the files hold them, and gives the
    /// note that is kept, if there is one; nothing of it is visible before it is durable. One at a time.
    ///
    /// # Errors
    /// [`LogError`], [`LogError::Note`] for a note that is too long to be read again; the log is then as it was, but
    /// after [`LogError::Keeper`] only a restart tells.
    pub async fn grow(
        &self,
        leaves: Vec<Leaf>,
        blocks: Vec<(Sub, u64)>,
        (through, since): (Place, u64),
        sign: impl FnOnce(&Checkpoint) -> Result<Option<SignedNote>, LogError>,
    ) -> Result<(), LogError> {
        let (before, growth) = {
            let inner = self.inner();
            (inner.state.clone(), Growth::of(&inner.frontier, &leaves))
        };
        let checkpoint = Checkpoint {
            origin: self.keys.log.name().to_owned(),
            size: growth.frontier.size(),
            root: growth.frontier.root(),
        };
        self.files
            .write(&growth)
            .map_err(failed(self.files.dir(), "write"))?;
        let read = self.files.read_again(&growth);
        for read in read.map_err(failed(self.files.dir(), "read"))? {
            if read != growth.frontier {
                return Err(root_error(
                    read.size(),
                    &read.root(),
                    &growth.frontier.root(),
                ));
            }
        }
        let note = sign(&checkpoint)?;
        let text = note.as_ref().map_or_else(String::new, ToString::to_string);
        if note.is_some() {
            // What no start could read is not written.
            SignedNote::parse(text.as_bytes())?;
        }
        let record = LogRecord {
            size: checkpoint.size,
            root: checkpoint.root,
            note: text,
            through,
            since,
            leaves,
            blocks,
        };
        let expected = (before.size > 0).then_some(before.root);
        self.keeper
            .append_log(expected, checkpoint.root, record.encode()?)
            .await?;
        {
            let mut inner = self.inner();
            inner.frontier = growth.frontier;
            inner.state = LogState {
                size: checkpoint.size,
                root: checkpoint.root,
                note: note.clone(),
                through,
                since,
            };
            inner.records = inner.records.saturating_add(1);
        }
        note.map_or(Ok(()), |note| self.publish(&note).map(drop))
    }

    /// Takes a note that may bear both signatures; whether it does, and is not smaller than what was known. Lines
    /// are joined with those of the last checkpoint.
    ///
    /// # Errors
    /// [`LogError`] where a signature fails, or the note is of another tree of the last checkpoint's size.
    pub fn publish(&self, note: &SignedNote) -> Result<bool, LogError> {
        let checkpoint = Checkpoint::open(note, &self.keys.log)?;
        match Checkpoint::cosigned(note, &self.keys.witness) {
            Ok(_) => {}
            Err(NoteError::Missing { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        // One file, and one name beside it while it is written.
        let publishing = self.publishing.lock();
        let _publishing = publishing.unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.inner();
        if checkpoint.size > inner.state.size {
            return Ok(false);
        }
        if checkpoint.size == inner.state.size {
            if checkpoint.root != inner.state.root {
                return Err(root_error(
                    checkpoint.size,
                    &checkpoint.root,
                    &inner.state.root,
                ));
            }
            inner.state.note = Some(note.clone());
        }
        if inner
            .cosigned
            .as_ref()
            .is_some_and(|(known, _)| known.size > checkpoint.size)
        {
            return Ok(true);
        }
        let size = checkpoint.size;
        let mut joined = note.clone();
        if let Some((_, known)) = &inner.cosigned {
            // Of the same text only: lines of others who signed it stay.
            joined.join(known);
        }
        let text = joined.to_string();
        inner.cosigned = Some((checkpoint, joined));
        drop(inner);
        let path = self.files.dir().join(CHECKPOINT_FILE);
        // A broker has the cosignature nowhere else, and a witness restored from before it is shown by it what it signed.
        secrets::replace(&path, text.as_bytes(), 0o644)
            .map_err(|error| failed(&path, "write")(io::Error::other(error)))?;
        self.cosigned.send_replace(size);
        Ok(true)
    }

    fn reader(&self) -> impl FnMut(Node) -> Result<Digest, LogError> {
        let mut reader = self.files.reader();
        move |node| reader.node(node).map_err(failed(self.files.dir(), "read"))
    }

    /// The path from a leaf to the root of the tree of `size` leaves.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, LogError> {
        self.within(size)?;
        inclusion(index, size, self.reader())
    }

    /// The proof that the tree of `old` leaves is the beginning of the one of `new`.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, LogError> {
        self.within(new)?;
        consistency(old, new, self.reader())
    }

    /// The root of the first `size` leaves.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn root_of(&self, size: u64) -> Result<Digest, LogError> {
        self.within(size)?;
        let frontier = Frontier::restore(size, self.reader())?;
        Ok(frontier.root())
    }

    /// The root of the log with leaves behind it.
    #[must_use]
    pub fn root_with(&self, leaves: &[Leaf]) -> Digest {
        let inner = self.inner();
        Growth::of(&inner.frontier, leaves).frontier.root()
    }

    fn within(&self, size: u64) -> Result<(), LogError> {
        let found = self.state().size;
        if size <= found {
            return Ok(());
        }
        Err(TreeError::Sizes {
            old: size,
            new: found,
        }
        .into())
    }

    /// Leaves that the log has, one after the other.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn leaves(&self, from: u64, count: usize) -> Result<Vec<Leaf>, LogError> {
        self.within(from.saturating_add(count as u64))?;
        self.files
            .leaves(from, count)
            .map_err(failed(self.files.dir(), "read"))
    }

    /// A tile's bytes, hashes of 32 bytes each; `None` if the cosigned log has no such tile.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, LogError> {
        let Some(first) = self.in_published(tile) else {
            return Ok(None);
        };
        let level = tile.level.saturating_mul(8);
        let nodes = self.files.nodes(
            Node {
                level,
                index: first,
            },
            tile.width.into(),
        );
        let nodes = nodes.map_err(failed(self.files.dir(), "read"))?;
        Ok(Some(nodes.concat()))
    }

    /// The leaves below a tile of level 0, as the entries of a bundle: each with its length, 2 bytes big endian,
    /// before it; `None` as in [`LogBook::tile`].
    ///
    /// # Errors
    /// [`LogError`].
    pub fn entries(&self, bundle: Tile) -> Result<Option<Vec<u8>>, LogError> {
        let Some(first) = self.in_published(bundle).filter(|_| bundle.level == 0) else {
            return Ok(None);
        };
        let leaves = self.leaves(first, bundle.width.into())?;
        let entry = |leaf: &Leaf| [&32_u16.to_be_bytes()[..], &leaf.0].concat();
        Ok(Some(leaves.iter().flat_map(entry).collect()))
    }

    /// The index of a tile's first hash, if all of its hashes are in the last checkpoint that both signed.
    fn in_published(&self, tile: Tile) -> Option<u64> {
        let size = *self.cosigned.borrow();
        let have = size
            .checked_shr(u32::from(tile.level).saturating_mul(8))
            .unwrap_or(0);
        let first = tile.index.checked_mul(256)?;
        (first.checked_add(tile.width.into())? <= have).then_some(first)
    }
}

fn failed(dir: &Path, action: &'static str) -> impl FnOnce(io::Error) -> LogError {
    let dir = dir.to_path_buf();
    move |source| LogError::Files {
        action,
        dir,
        source,
    }
}

fn root_error(size: u64, found: &Digest, expected: &Digest) -> LogError {
    LogError::Root {
        size,
        found: Base64::encode_string(found),
        expected: Base64::encode_string(expected),
    }
}

fn read_record<S: Store>(keeper: &Keeper<S>, number: u64) -> Result<LogRecord, LogError> {
    let bytes = keeper.log_record(number)?;
    let unfit = |reason| LogError::Record { number, reason };
    let bytes = bytes.ok_or_else(|| unfit("is missing".to_owned()))?;
    LogRecord::decode(&bytes).map_err(|error| unfit(error.to_string()))
}

/// A record's note, with both operators' lines alone. One that is too long for a note is read line by line: so much did
/// a broker once get the trust operator to write down.
fn recorded(text: &str, keys: &LogKeys) -> Result<SignedNote, NoteError> {
    let whole = match SignedNote::parse(text.as_bytes()) {
        Ok(whole) => whole,
        Err(error) => {
            let (signed, lines) = text.split_once("\n\n").ok_or(error)?;
            let mut whole = SignedNote::new(format!("{signed}\n"));
            for line in lines.split_inclusive('\n') {
                let one = SignedNote::parse(format!("{signed}\n\n{line}").as_bytes());
                if let Ok(one) = one {
                    whole.join(&one.reduced(keys));
                }
            }
            whole
        }
    };
    whole.verify(&keys.log)?;
    Ok(whole.reduced(keys))
}

fn state_of(number: u64, record: &LogRecord, keys: &LogKeys) -> Result<LogState, LogError> {
    let mut note = None;
    if !record.note.is_empty() {
        let read = recorded(&record.note, keys)?;
        let checkpoint: Checkpoint = read.text().parse()?;
        if (checkpoint.size, checkpoint.root) != (record.size, record.root) {
            let (found, of) = (record.size, checkpoint.size);
            let reason = format!("is of {found} leaves, its checkpoint of {of}");
            return Err(LogError::Record { number, reason });
        }
        note = Some(read);
    }
    Ok(LogState {
        size: record.size,
        root: record.root,
        note,
        through: record.through,
        since: record.since,
    })
}

/// The tree, if the files hold it up to the last batch: that one may have been cut off, and is written again.
fn resume(files: &LogFiles, last: &LogRecord) -> Option<Frontier> {
    let before = Frontier::restore(last.first(), |node| files.node(node)).ok()?;
    let growth = Growth::of(&before, &last.leaves);
    if growth.frontier.root() != last.root {
        return None;
    }
    files.write(&growth).ok()?;
    Some(growth.frontier)
}

/// Makes the files anew from the journal.
fn rebuild<S: Store>(
    keeper: &Keeper<S>,
    files: &LogFiles,
    records: u64,
    size: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Frontier, LogError> {
    tracing::warn!(
        size,
        "the log's files are not what the journal says, they are made anew"
    );
    let mut frontier = Frontier::new();
    let mut leaves = Vec::new();
    for number in 0..records {
        let record = read_record(keeper, number)?;
        let expected = frontier.size().saturating_add(leaves.len() as u64);
        if record.first() != expected {
            let reason = format!("begins at leaf {}, expected {expected}", record.first());
            return Err(LogError::Record { number, reason });
        }
        leaves.extend(record.leaves);
        if leaves.len() >= REBUILT_AT_ONCE || number.saturating_add(1) == records {
            let growth = Growth::of(&frontier, &leaves);
            files.write(&growth).map_err(failed(files.dir(), "write"))?;
            frontier = growth.frontier;
            leaves.clear();
            progress(frontier.size(), size);
        }
    }
    Ok(frontier)
}

fn check_root(state: &LogState, frontier: &Frontier) -> Result<(), LogError> {
    if (state.size, state.root) == (frontier.size(), frontier.root()) {
        return Ok(());
    }
    Err(root_error(state.size, &frontier.root(), &state.root))
}
