//! The store over a journal and an index.
//!
//! Decides a batch's place: the head is compared against everything already queued, so two
//! appends can't both follow one head, and `Ok` is said only when the record is durable. The index
//! is written behind the answer; what it has not yet taken is kept in `Recent`, so that a read sees
//! every acknowledged batch. Nothing the index says is believed without the journal's hashes.

mod following;
mod reading;

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use self::following::DurableEnd;
use super::{
    Batch, Counters, Coverage, Disk, Extent, Followed, Index, IndexedRecord, JournalOptions,
    MemoryIndex, Place, Space, Store, StoreError, StreamId,
    directory::DirectoryLock,
    encoding::{self, Bytes, EncodingError},
    journal::{
        JOURNAL_MAGIC, RECORD_LIMIT_BYTES,
        frame::RecordBody,
        gather::AtWork,
        reader::decode_body,
        recovery::{Recovery, recover},
        segment::{Identity, Scanned, SegmentScanner, Tail},
        writer::{Answer, Sink, Writer, WriterOptions, Written},
    },
    recent::Recent,
};

/// Groups that may wait for the index before the journal's writer waits too.
const COMMITTER_QUEUE_GROUPS: usize = 64;

/// How long groups gather before the index takes them together: nothing waits for the index, and one
/// update of it wakes threads of its own.
const INDEX_PAUSE: Duration = Duration::from_millis(20);

/// Records given to the index at once while it is rebuilt.
const REBUILD_RECORDS: usize = 1024;

/// What the journal's writer carries along with a record.
#[derive(Debug)]
struct Token {
    stream: StreamId,
    next: Option<[u8; 32]>,
}

type CommitGroup = (Vec<IndexedRecord>, Coverage);

/// Gives a group to the index, on the writer's thread; it may wait while the index is behind.
type Commit = Box<dyn FnMut(CommitGroup) + Send>;

/// A [`Store`] kept in `DIR/journal/NNNNNNNN.seg`.
///
/// Dropping it writes what is queued, waits for it and for the index, and releases the directory.
pub struct JournalStore<I: Index> {
    // Declared in the order in which they must end: the writer feeds the committer, and both work
    // under the lock.
    writer: Writer<Token>,
    _committer: Committer,
    recent: Arc<Recent>,
    durable: Arc<DurableEnd>,
    index: Arc<I>,
    dir: PathBuf,
    options: JournalOptions,
    stopped: Arc<AtomicBool>,
    at_work: AtWork,
    _lock: DirectoryLock,
}

impl<I: Index> JournalStore<I> {
    /// Opens or creates the store in `dir`, whose journal lies in `dir/journal`.
    ///
    /// `open_index` runs once the directory is locked. What the index does not cover is read from
    /// the journal; if it covers something else than the journal, it is rebuilt from the start.
    /// `observer` is told bytes done and bytes in total, of what has to be read. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::OtherLedger`], [`StoreError::FutureVersion`],
    /// [`StoreError::Corrupt`] (nothing was changed), [`StoreError::Index`], [`StoreError::Io`].
    pub fn open(
        dir: &Path,
        options: JournalOptions,
        open_index: impl FnOnce() -> Result<I, StoreError>,
        observer: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, StoreError> {
        let journal = dir.join("journal");
        let lock = DirectoryLock::take(&options.disk, &journal)?;
        let index = Arc::new(open_index()?);
        let identity = Identity {
            magic: JOURNAL_MAGIC,
            ledger: options.ledger.clone(),
        };
        let disk = &options.disk;
        let tail = catch_up(disk, &journal, &identity, index.as_ref(), observer)?;
        let recent = Arc::new(Recent::default());
        let durable = Arc::new(DurableEnd::at(tail.segment, tail.offset));
        let at_work = AtWork::default();
        let stopped = Arc::new(AtomicBool::new(false));
        let (committer, commit) = Committer::start(
            Arc::clone(&index),
            Arc::clone(&recent),
            Arc::clone(&stopped),
        )?;
        let sink = StoreSink {
            recent: Arc::clone(&recent),
            durable: Arc::clone(&durable),
            commit,
        };
        let writer = Writer::spawn(
            tail,
            WriterOptions {
                disk: options.disk.clone(),
                dir: journal.clone(),
                identity,
                segment_bytes: options.segment_bytes,
                queue: options.queue_batches,
                sync_delay: options.sync_delay,
                before_sync: options.before_sync.clone(),
                at_work: Arc::clone(&at_work),
            },
            Arc::clone(&stopped),
            sink,
        )?;
        Ok(Self {
            writer,
            _committer: committer,
            recent,
            durable,
            index,
            dir: journal,
            options,
            stopped,
            at_work,
            _lock: lock,
        })
    }

    /// What the journal has done since it was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.writer.counters()
    }

    /// False once a write, a sync or an index update has failed: the node must restart.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.stopped.load(Ordering::Acquire)
    }

    /// Bytes that may still be used on the journal's file system; 0 if that can't be read.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        // What can't be read counts as full: admits wait, restricts are still taken.
        (self.options.free_space)(&self.dir).unwrap_or(0)
    }

    /// Queues a batch; `None` for a late one, which nobody waits for.
    async fn queue(&self, batch: Batch, late: bool) -> Result<Option<Answer>, StoreError> {
        if batch.may_wait {
            let (free, reserve) = (self.free_bytes(), self.options.reserve_bytes);
            if free < reserve {
                return Err(StoreError::NearlyFull { free, reserve });
            }
        }
        let Batch {
            stream,
            head,
            entries,
            ..
        } = batch;
        let body = RecordBody {
            stream,
            head,
            entries: entries.into_iter().map(Bytes).collect(),
        };
        let payload = encoding::encode::<RECORD_LIMIT_BYTES, _>(&body).map_err(too_large)?;
        let token = Token {
            stream,
            next: head.map(|head| head.next),
        };
        let place = self.writer.place().await?;
        self.recent.queue(
            stream,
            head,
            || self.index.head(stream),
            || {
                if late {
                    place.send_late(payload, token);
                    None
                } else {
                    Some(place.send(payload, token))
                }
            },
        )
    }
}

impl<I: Index> Store for JournalStore<I> {
    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        match self.queue(batch, false).await? {
            Some(answer) => answer.wait().await,
            None => Ok(()),
        }
    }

    async fn append_all(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let mut answers = Vec::new();
        let mut outcome = Ok(());
        for batch in batches {
            match self.queue(batch, false).await {
                Ok(answer) => answers.extend(answer),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        for answer in answers {
            // What was written first decides: a failed write fails all that follow it.
            answer.wait().await?;
        }
        outcome
    }

    async fn append_late(&self, stream: StreamId, entries: Vec<Vec<u8>>) -> Result<(), StoreError> {
        let batch = Batch {
            stream,
            head: None,
            entries,
            may_wait: false,
        };
        self.queue(batch, true).await.map(drop)
    }

    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError> {
        Ok(self.layout(stream)?.extent())
    }

    fn read_batches(
        &self,
        stream: StreamId,
        batches: Range<u64>,
    ) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        let bodies = self.read_range(stream, &batches)?;
        let entries = |body: RecordBody| body.entries.into_iter().map(|entry| entry.0).collect();
        Ok(bodies.into_iter().map(entries).collect())
    }

    fn batch_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError> {
        self.record_of_move(stream, nth)
    }

    fn move_to(
        &self,
        stream: StreamId,
        head: [u8; 32],
        first: u64,
    ) -> Result<Option<u64>, StoreError> {
        self.find_move(stream, head, first)
    }

    fn place_of(&self, stream: StreamId, batch: u64) -> Result<Option<Place>, StoreError> {
        self.find_place(stream, batch)
    }

    fn follow(&self, after: Place, most: usize) -> Result<Vec<Followed>, StoreError> {
        self.read_after(after, most)
    }

    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError> {
        match self.recent.durable_head(stream) {
            Some(head) => Ok(head),
            None => self.index.head(stream),
        }
    }

    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        let mut streams = self.recent.streams();
        streams.extend(self.index.streams()?);
        streams.sort_unstable();
        streams.dedup();
        Ok(streams)
    }

    fn expect(&self, streams: usize) {
        self.at_work.store(streams, Ordering::Relaxed);
    }

    fn space(&self) -> Space {
        if self.free_bytes() < self.options.reserve_bytes {
            Space::NearlyFull
        } else {
            Space::Plenty
        }
    }
}

/// Names the limit that a caller's own data exceeded.
pub(crate) fn too_large(error: EncodingError) -> StoreError {
    match error {
        EncodingError::TooLarge { found, limit } => StoreError::BatchTooLarge { found, limit },
        other => StoreError::Encoding(other),
    }
}

/// Brings the index to the journal's end.
fn catch_up<I: Index>(
    disk: &Disk,
    dir: &Path,
    identity: &Identity,
    index: &I,
    observer: &mut dyn FnMut(u64, u64),
) -> Result<Tail, StoreError> {
    let covered = match index.covered() {
        Ok(covered) => covered,
        Err(error) => {
            tracing::warn!(%error, "index is unusable and will be rebuilt");
            index.reset()?;
            None
        }
    };
    if let Recovery::Ready(tail) = replay(disk, dir, identity, index, covered, observer)? {
        return Ok(tail);
    }
    tracing::warn!("index does not belong to the journal and will be rebuilt");
    index.reset()?;
    match replay(disk, dir, identity, index, None, observer)? {
        Recovery::Ready(tail) => Ok(tail),
        Recovery::UnknownCoverage => Err(StoreError::Index {
            reason: "journal could not be replayed from its start".to_owned(),
        }),
    }
}

fn replay<I: Index>(
    disk: &Disk,
    dir: &Path,
    identity: &Identity,
    index: &I,
    covered: Option<Coverage>,
    observer: &mut dyn FnMut(u64, u64),
) -> Result<Recovery, StoreError> {
    let mut records = Vec::new();
    let mut reached = None;
    let mut heads = Heads::new(index);
    let recovered = recover(
        disk,
        dir,
        identity,
        covered,
        &[],
        &mut |scanner, scanned| {
            let body = decode_body(scanner, &scanned)?;
            heads.step(scanner, &scanned, &body)?;
            records.push(IndexedRecord {
                stream: body.stream,
                head: body.head.map(|head| head.next),
                position: scanned.position,
            });
            let covered = Coverage {
                segment: scanned.position.segment,
                offset: scanned.end,
                chain: scanned.chain,
            };
            reached = Some(covered);
            if records.len() >= REBUILD_RECORDS {
                index.apply(&records, covered)?;
                records.clear();
                heads.moved.clear();
            }
            Ok(())
        },
        observer,
    );
    let recovery = match recovered {
        // Some heads are the index's word: the journal alone says which of the two is wrong.
        Err(_) if heads.broken && covered.is_some() => {
            heads_hold(disk, dir, identity, observer)?;
            return Ok(Recovery::UnknownCoverage);
        }
        recovered => recovered?,
    };
    if let (Some(covered), false) = (reached, records.is_empty()) {
        index.apply(&records, covered)?;
    }
    Ok(recovery)
}

/// Reads the whole journal for nothing but its heads.
fn heads_hold(
    disk: &Disk,
    dir: &Path,
    identity: &Identity,
    observer: &mut dyn FnMut(u64, u64),
) -> Result<(), StoreError> {
    let none = MemoryIndex::default();
    let mut heads = Heads::new(&none);
    let visit = &mut |scanner: &SegmentScanner, scanned: Scanned| {
        let body = decode_body(scanner, &scanned)?;
        heads.step(scanner, &scanned, &body)
    };
    recover(disk, dir, identity, None, &[], visit, observer).map(drop)
}

/// Whether each head moves from where it stood: nothing that a store wrote does otherwise.
struct Heads<'a, I> {
    index: &'a I,
    /// Heads that the index does not know yet.
    moved: HashMap<StreamId, [u8; 32]>,
    broken: bool,
}

impl<'a, I: Index> Heads<'a, I> {
    fn new(index: &'a I) -> Self {
        Self {
            index,
            moved: HashMap::new(),
            broken: false,
        }
    }

    fn step(
        &mut self,
        scanner: &SegmentScanner,
        scanned: &Scanned,
        body: &RecordBody,
    ) -> Result<(), StoreError> {
        let Some(step) = body.head else { return Ok(()) };
        let before = match self.moved.get(&body.stream) {
            Some(head) => Some(*head),
            None => self.index.head(body.stream)?,
        };
        if step.expected != before {
            self.broken = true;
            let reason = "record moves its stream's head from another than it has";
            return Err(scanner.corrupt_at(scanned.position.offset, reason, Some(body.stream)));
        }
        self.moved.insert(body.stream, step.next);
        Ok(())
    }
}

struct StoreSink {
    recent: Arc<Recent>,
    durable: Arc<DurableEnd>,
    commit: Commit,
}

impl Sink<Token> for StoreSink {
    fn durable(&mut self, written: &mut Vec<Written<Token>>) {
        self.recent.durable(
            written
                .iter()
                .map(|record| (record.token.stream, record.token.next, record.position)),
        );
        if let Some(last) = written.last() {
            self.durable.reach(last.position.segment, last.end);
        }
    }

    fn acknowledged(&mut self, written: Vec<Written<Token>>) {
        let Some(last) = written.last() else {
            return;
        };
        let covered = Coverage {
            segment: last.position.segment,
            offset: last.end,
            chain: last.chain,
        };
        let records = written
            .iter()
            .map(|record| IndexedRecord {
                stream: record.token.stream,
                head: record.token.next,
                position: record.position,
            })
            .collect();
        (self.commit)((records, covered));
    }
}

/// Who writes to the index: a thread of its own, or for an index in memory the writer itself, so
/// that a process may hold many devices' stores.
struct Committer {
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    fn start<I: Index>(
        index: Arc<I>,
        recent: Arc<Recent>,
        stopped: Arc<AtomicBool>,
    ) -> Result<(Self, Commit), StoreError> {
        let is_in_memory = index.is_in_memory();
        let apply = move |(records, covered): CommitGroup| {
            let applied = index.apply(&records, covered);
            if let Err(error) = &applied {
                stopped.store(true, Ordering::Release);
                index.distrust();
                tracing::error!(%error, "index stopped");
            } else {
                recent.indexed(&records);
            }
            applied.is_ok()
        };
        if is_in_memory {
            let commit = Box::new(move |group| {
                // What failed has stopped the store.
                apply(group);
            });
            return Ok((Self { thread: None }, commit));
        }
        let (sender, receiver) = mpsc::sync_channel::<CommitGroup>(COMMITTER_QUEUE_GROUPS);
        let thread = thread::Builder::new()
            .name("warifu-index".to_owned())
            .spawn(move || {
                // Ends at the first failure: what comes after would leave a gap.
                while let Ok(first) = receiver.recv() {
                    thread::sleep(INDEX_PAUSE);
                    if !apply(join(first, receiver.try_iter())) {
                        return;
                    }
                }
            })
            .map_err(StoreError::io("start the committer of", "index"))?;
        let committer = Self {
            thread: Some(thread),
        };
        let commit = Box::new(move |group| {
            // Fails only when the committer has ended, and then the store has stopped.
            let _ = sender.send(group);
        });
        Ok((committer, commit))
    }
}

/// One group of several that follow each other.
fn join(first: CommitGroup, later: impl Iterator<Item = CommitGroup>) -> CommitGroup {
    later.fold(first, |(mut records, _), (more, covered)| {
        records.extend(more);
        (records, covered)
    })
}

impl Drop for Committer {
    fn drop(&mut self) {
        // The writer has ended before, and with it the sender: the loop ends when it is empty.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the index's committer panicked");
        }
    }
}
