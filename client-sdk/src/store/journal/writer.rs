//! The only thread that writes to a journal: takes everything queued, writes it, syncs once, and
//! then answers all of it (group commit).
//!
//! Decides the order of records and when they are durable. A late record waits for no sync of its
//! own: it goes with the next group, at the latest after [`LATEST`]. After the first failed write
//! or sync nothing more is written: what the disk holds then is known only to the next opening.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    frame::{self, frame_bytes, push_frame},
    gather::{AtWork, Gather},
    segment::{Identity, Tail, create_segment},
};
use crate::store::{BeforeSync, Disk, Position, StoreError, measure::Measures};

/// Bytes after which a group is written even if more is queued.
pub(super) const GROUP_BYTES: usize = 4 << 20;

/// How long a late record waits for a group to go with.
const LATEST: Duration = Duration::from_secs(1);

/// What a journal has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records made durable.
    pub records: u64,
    /// Syncs of record data.
    pub syncs: u64,
    /// Bytes of records written, framing included.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counting {
    records: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
}

/// How a writer works.
pub(crate) struct WriterOptions {
    pub(crate) disk: Disk,
    pub(crate) dir: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) segment_bytes: u64,
    pub(crate) queue: usize,
    pub(crate) sync_delay: Duration,
    pub(crate) before_sync: Option<BeforeSync>,
    pub(crate) at_work: AtWork,
}

/// A record that has become durable.
#[derive(Debug)]
pub(crate) struct Written<T> {
    pub(crate) token: T,
    pub(crate) position: Position,
    pub(crate) end: u64,
    pub(crate) chain: [u8; 32],
}

/// Who is told about durable records, on the writer's thread and in journal order.
pub(crate) trait Sink<T>: Send + 'static {
    /// Before the records are acknowledged: must be short. May take them.
    fn durable(&mut self, written: &mut Vec<Written<T>>);

    /// After they were acknowledged.
    fn acknowledged(&mut self, _written: Vec<Written<T>>) {}
}

struct Queued<T> {
    payload: Vec<u8>,
    token: T,
    /// `None` for a late record, which nobody waits for.
    reply: Option<oneshot::Sender<Result<(), StoreError>>>,
}

/// Hands records to the writing thread. Dropping it writes what is queued and ends the thread.
pub(crate) struct Writer<T> {
    sender: Option<mpsc::Sender<Queued<T>>>,
    /// Places in the queue; closed when the thread has ended.
    places: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
    counting: Arc<Counting>,
    stopped: Arc<AtomicBool>,
}

/// A place in the queue: what is sent through it is written after all that was sent before.
pub(crate) struct Place<'a, T> {
    permit: SemaphorePermit<'a>,
    sender: &'a mpsc::Sender<Queued<T>>,
}

/// The answer to one record, once it is durable or has failed.
pub(crate) struct Answer(oneshot::Receiver<Result<(), StoreError>>);

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread. `stopped` is set by whoever finds that nothing more may be acknowledged.
    pub(crate) fn spawn(
        tail: Tail,
        options: WriterOptions,
        stopped: Arc<AtomicBool>,
        sink: impl Sink<T>,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel();
        let places = Arc::new(Semaphore::new(options.queue.max(1)));
        let counting = Arc::new(Counting::default());
        let path = options.dir.clone();
        let gather = Gather::new(Arc::clone(&options.at_work));
        let queue = Queue {
            receiver,
            places: Arc::clone(&places),
        };
        let measures = options.identity.measures();
        let mut run = Run {
            measures,
            tail,
            options,
            sink,
            gather,
            counting: Arc::clone(&counting),
            stopped: Arc::clone(&stopped),
        };
        let thread = thread::Builder::new()
            .name("warifu-journal".to_owned())
            .spawn(move || run.until_closed(&queue))
            .map_err(StoreError::io("start the writer of", path))?;
        Ok(Self {
            sender: Some(sender),
            places,
            thread: Some(thread),
            counting,
            stopped,
        })
    }

    /// Waits for a place in the queue.
    pub(crate) async fn place(&self) -> Result<Place<'_, T>, StoreError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        let sender = self.sender.as_ref().ok_or(StoreError::Stopped)?;
        let permit = self.places.acquire().await;
        let permit = permit.map_err(|_| StoreError::Stopped)?;
        Ok(Place { permit, sender })
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            records: self.counting.records.load(Ordering::Relaxed),
            syncs: self.counting.syncs.load(Ordering::Relaxed),
            bytes: self.counting.bytes.load(Ordering::Relaxed),
        }
    }
}

impl<T> Place<'_, T> {
    /// Queues a record, never waiting.
    pub(crate) fn send(self, payload: Vec<u8>, token: T) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.queue(payload, token, Some(reply));
        Answer(answer)
    }

    /// Queues a record that goes with the next group; nobody hears when.
    pub(crate) fn send_late(self, payload: Vec<u8>, token: T) {
        self.queue(payload, token, None);
    }

    fn queue(
        self,
        payload: Vec<u8>,
        token: T,
        reply: Option<oneshot::Sender<Result<(), StoreError>>>,
    ) {
        let queued = Queued {
            payload,
            token,
            reply,
        };
        // The thread gives the place back. Where it has ended, the answer is dropped with the
        // record, which tells that the store has stopped.
        self.permit.forget();
        let _ = self.sender.send(queued);
    }
}

impl Answer {
    pub(crate) async fn wait(self) -> Result<(), StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Stopped))
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}

/// The thread's end of the queue.
struct Queue<T> {
    receiver: mpsc::Receiver<Queued<T>>,
    places: Arc<Semaphore>,
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        self.places.close();
    }
}

impl<T> Queue<T> {
    /// The next record; waits until `until`, or without end.
    fn next(&self, until: Option<Instant>) -> Result<Queued<T>, RecvTimeoutError> {
        let queued = match until {
            None => self.receiver.recv().map_err(RecvTimeoutError::from)?,
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.receiver.recv_timeout(left)?
            }
        };
        self.places.add_permits(1);
        Ok(queued)
    }
}

struct Run<S> {
    measures: Measures,
    tail: Tail,
    options: WriterOptions,
    sink: S,
    gather: Gather,
    counting: Arc<Counting>,
    stopped: Arc<AtomicBool>,
}

impl<S> Run<S> {
    fn until_closed<T: Send>(&mut self, queue: &Queue<T>)
    where
        S: Sink<T>,
    {
        let mut group = Group::default();
        let mut late_until = None;
        loop {
            match queue.next(late_until) {
                Ok(first) => {
                    let waited_for = first.reply.is_some();
                    self.take(&mut group, first);
                    if !waited_for && !self.is_full(&group) {
                        late_until.get_or_insert_with(|| Instant::now() + LATEST);
                        continue;
                    }
                    if waited_for {
                        self.fill(&mut group, queue);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.commit(group);
                    return;
                }
            }
            self.commit(std::mem::take(&mut group));
            late_until = None;
        }
    }

    /// Takes what is queued, and what comes while it is worth waiting for.
    fn fill<T: Send>(&mut self, group: &mut Group<T>, queue: &Queue<T>)
    where
        S: Sink<T>,
    {
        let begun = Instant::now();
        while !self.is_full(group) {
            let wait = self.gather.wait(group.replies.len());
            match queue.next(Some(begun + wait)) {
                Ok(queued) => self.take(group, queued),
                Err(_) => return,
            }
        }
    }

    fn is_full<T>(&self, group: &Group<T>) -> bool {
        group.bytes.len() >= GROUP_BYTES || self.tail.offset >= self.options.segment_bytes
    }

    fn take<T>(&mut self, group: &mut Group<T>, queued: Queued<T>) {
        if self.stopped.load(Ordering::Acquire) {
            if let Some(reply) = queued.reply {
                let _ = reply.send(Err(StoreError::Stopped));
            }
            return;
        }
        group.push(&mut self.tail, queued);
    }

    fn commit<T: Send>(&mut self, mut group: Group<T>)
    where
        S: Sink<T>,
    {
        if group.written.is_empty() {
            return;
        }
        let written = if self.stopped.load(Ordering::Acquire) {
            Err(StoreError::Stopped)
        } else {
            self.write(&group.bytes)
                .and_then(|synced_in| self.roll_if_full().map(|()| synced_in))
        };
        let synced_in = written.as_ref().map_or(Duration::ZERO, |took| *took);
        if let Err(error) = &written {
            // The records of a group whose roll failed may be durable; their callers learn it at
            // the next opening, like after any failed sync.
            self.stopped.store(true, Ordering::Release);
            tracing::error!(%error, "journal stopped");
            for reply in group.replies {
                let _ = reply.send(Err(error.clone()));
            }
            return;
        }
        self.gather.committed(group.replies.len());
        let counting = &self.counting;
        counting
            .records
            .fetch_add(group.written.len() as u64, Ordering::Relaxed);
        counting
            .bytes
            .fetch_add(group.bytes.len() as u64, Ordering::Relaxed);
        self.measures
            .group(group.written.len(), group.bytes.len(), synced_in);
        self.sink.durable(&mut group.written);
        for reply in group.replies {
            // A caller that no longer waits loses only the answer.
            let _ = reply.send(Ok(()));
        }
        self.sink.acknowledged(group.written);
    }

    /// Writes and syncs; how long the sync took.
    fn write(&mut self, bytes: &[u8]) -> Result<Duration, StoreError> {
        self.tail.file.write_all(bytes)?;
        if !self.options.sync_delay.is_zero() {
            thread::sleep(self.options.sync_delay);
        }
        if let Some(before_sync) = &self.options.before_sync {
            before_sync().map_err(StoreError::io("sync", self.tail.file.path()))?;
        }
        let begun = Instant::now();
        self.tail.file.sync_data()?;
        self.counting.syncs.fetch_add(1, Ordering::Relaxed);
        self.measures.syncs.increment(1);
        Ok(begun.elapsed())
    }

    fn roll_if_full(&mut self) -> Result<(), StoreError> {
        if self.tail.offset < self.options.segment_bytes {
            return Ok(());
        }
        let next = self.tail.segment.saturating_add(1);
        let WriterOptions {
            disk,
            dir,
            identity,
            ..
        } = &self.options;
        self.tail = create_segment(disk, dir, identity, next, self.tail.chain, &[])?;
        Ok(())
    }
}

struct Group<T> {
    bytes: Vec<u8>,
    written: Vec<Written<T>>,
    replies: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            written: Vec::new(),
            replies: Vec::new(),
        }
    }
}

impl<T> Group<T> {
    /// Frames a record at the tail.
    fn push(&mut self, tail: &mut Tail, queued: Queued<T>) {
        let position = Position {
            segment: tail.segment,
            offset: tail.offset,
            previous: tail.chain,
        };
        let place = frame::Place {
            segment: tail.segment,
            offset: tail.offset,
            // The group before, if there is one, was synced before this one is written.
            begins_group: self.written.is_empty(),
        };
        tail.chain = push_frame(&mut self.bytes, &queued.payload, place, &tail.chain);
        tail.offset = tail
            .offset
            .saturating_add(frame_bytes(queued.payload.len()));
        self.written.push(Written {
            token: queued.token,
            position,
            end: tail.offset,
            chain: tail.chain,
        });
        self.replies.extend(queued.reply);
    }
}
