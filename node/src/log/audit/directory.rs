//! A node's directory, read in place: every byte that means something, against everything that it should agree with.
//!
//! The vault gives the openers, the journal everything else: its frames and hashes, each account's chain with every
//! signature, each batch of the log with its root and signatures, each leaf against its block. What is derived from the
//! journal is compared with what the journal gives. One thread reads and hashes, the others verify. Memory grows with the
//! number of accounts, never with that of blocks. Of a node that runs, what stood there when the audit began is read.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, ScopedJoinHandle},
};

use serde::Serialize;
use warifu_client_sdk::{
    runtime::{KeptOpeners, NodeRecord, kept_openers},
    store::{JournalReader, JournalRecord, MasterKey, StoreError, StreamId, occupant},
};
use warifu_consensus::{
    log::LogKeys,
    party::{Ledger, Role, Sub},
};

use super::{
    accounts::{Accounts, Counts, Item, Shared},
    batches::Batches,
    derived::Derived,
    fault::{At, Fault},
    files,
    index::IndexCopy,
    signatures::Mode,
};
use crate::export::segment_sizes;

/// Items given to a worker at once, and how many such parcels may wait.
const PARCEL: usize = 256;
const PARCELS: usize = 8;

/// What is audited, and with which keys.
pub struct DirectoryAudit {
    /// The data directory: `journal`, `vault`, `index`, `log`.
    pub data: PathBuf,
    /// The pinned ledger.
    pub ledger: Ledger,
    /// The pinned keys of its log.
    pub keys: LogKeys,
    /// Opens the vault; without it the vault's frames are not looked at, and leaves are only hashed.
    pub master_key: Option<MasterKey>,
    /// How signatures are verified.
    pub mode: Mode,
    /// Threads that verify; at least one.
    pub threads: usize,
}

/// What an audit of a directory looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// Whose directory it is: `broker`, `trust-operator` or `device`.
    pub role: String,
    /// How signatures were verified.
    pub mode: Mode,
    /// The node runs: what it wrote meanwhile was not read.
    pub running: bool,
    /// The vault was opened, and each of its seals looked at.
    pub opened_vault: bool,
    /// Records of the journal.
    pub records: u64,
    /// Bytes of the journal.
    pub bytes: u64,
    /// Accounts with a genesis.
    pub accounts: u64,
    /// Blocks, each the next of its account.
    pub blocks: u64,
    /// Signatures and votes that verified, those of checkpoints among them.
    pub signatures: u64,
    /// Batches of the log.
    pub batches: u64,
    /// Leaves of the log, all hashed into its tree.
    pub size: u64,
    /// Its root, base64.
    pub root: String,
    /// Leaves that are their blocks'.
    pub opened: u64,
    /// Leaves of accounts whose openers were erased: hashed, and no more can be said of them.
    pub erased: u64,
    /// Blocks that are younger than the log's last batch.
    pub unlogged: u64,
    /// Secrets in the vault whose seals hold.
    pub secrets: u64,
    /// What was found wrong.
    pub faults: Vec<Fault>,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
}

/// A journal read by everybody who reads one in place: up to where it stood at the beginning.
pub struct Journal {
    reader: JournalReader,
    sizes: Vec<u64>,
    role: Option<Role>,
    done: u64,
    is_running: bool,
    /// Where its segments lie.
    dir: PathBuf,
}

impl Journal {
    /// Opens the journal of a data directory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let dir = data.join("journal");
        let is_running = occupant(data)?.is_some();
        let sizes = segment_sizes(&dir);
        let reader = JournalReader::open(data)?;
        let number = reader.ledger().role;
        Ok(Self {
            reader,
            sizes,
            role: Role::ALL.into_iter().find(|role| role.number() == number),
            done: 0,
            is_running,
            dir,
        })
    }

    /// Whose it is, as it says.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.reader.ledger().origin
    }

    /// Which party's it is; `None` for a number that is no party's.
    #[must_use]
    pub const fn role(&self) -> Option<Role> {
        self.role
    }

    /// Bytes done, and in all.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.done, self.sizes.iter().sum())
    }

    /// The next record of those that stood there when the journal was opened.
    ///
    /// # Errors
    /// [`Fault`]; bytes of an unfinished write are one, unless the node runs.
    pub fn next_record(&mut self) -> Result<Option<JournalRecord>, Fault> {
        let next = self.reader.next().transpose();
        let next = next.map_err(|error| Fault::store(&error, &self.dir))?;
        let Some(record) = next else {
            let torn = self.reader.torn_bytes();
            if torn == 0 || self.is_running {
                return Ok(None);
            }
            let last = At {
                segment: self.reader.segments(),
                offset: self.sizes.last().copied().unwrap_or(0).saturating_sub(torn),
            };
            let found = format!(
                "{torn} bytes of an unfinished last write: the next start cuts them, if a crash left them"
            );
            return Err(last.fault(&self.dir, found));
        };
        let number = usize::try_from(record.segment).unwrap_or(usize::MAX);
        let before = self
            .sizes
            .iter()
            .take(number.saturating_sub(1))
            .sum::<u64>();
        let last = self.sizes.get(number.saturating_sub(1)).copied();
        if self.is_running && number >= self.sizes.len() && last.is_none_or(|l| record.offset >= l)
        {
            return Ok(None);
        }
        self.done = before.saturating_add(record.offset);
        Ok(Some(record))
    }
}

impl DirectoryAudit {
    /// Reads all of it. `progress` is told what is being read, bytes done and bytes in total. Blocks.
    pub fn run(&self, progress: &mut dyn FnMut(&'static str, u64, u64)) -> Audited {
        let mut audited = Audited {
            mode: self.mode,
            ..Audited::default()
        };
        match Journal::open(&self.data) {
            Err(error) => {
                let dir = self.data.join("journal");
                audited.faults.push(Fault::store(&error, &dir));
            }
            Ok(journal) => self.parts(journal, &mut audited, progress),
        }
        audited
    }

    fn parts(
        &self,
        journal: Journal,
        audited: &mut Audited,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) {
        let Some(role) = journal
            .role()
            .filter(|_| journal.origin() == self.ledger.iss)
        else {
            let found = format!(
                "journal is of ledger {}, expected {}",
                journal.origin(),
                self.ledger.iss
            );
            audited.faults.push(Fault::new(&journal.dir, None, found));
            return;
        };
        crate::output::role_name(role).clone_into(&mut audited.role);
        audited.running = journal.is_running;
        // What the journal held before is in the vault by now: a secret is durable before what needs it.
        let vault = self.vault(audited, progress);
        let index = IndexCopy::open(&self.data, role, audited);
        files::evidence(&self.data.join("log"), &self.keys, audited);
        let walked = self.journal(journal, role, vault.as_ref(), index, audited, progress);
        if let Err(fault) = walked {
            audited.faults.push(fault);
            let note =
                "not compared with the journal, which is damaged: the log's files, the index";
            audited.notes.push(note.to_owned());
        }
        files::others(&self.data, audited);
    }

    fn vault(
        &self,
        audited: &mut Audited,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> Option<KeptOpeners> {
        let dir = self.data.join("vault");
        let Some(master_key) = &self.master_key else {
            let note = "the vault was not opened, for want of its master key: leaves were hashed, not opened";
            audited.notes.push(note.to_owned());
            return None;
        };
        let mut tell = |done, total| progress("vault", done, total);
        match kept_openers(&dir, master_key, &self.ledger.iss, &mut tell) {
            Err(error) => {
                audited.faults.push(Fault::store(&error, &dir));
                None
            }
            Ok(kept) => {
                if kept.torn_bytes > 0 && !audited.running {
                    let path = dir.join("00000001.seg");
                    let length = path.metadata().map_or(0, |found| found.len());
                    let found = format!(
                        "{} bytes of an unfinished last write: the next start cuts them, if a crash left them",
                        kept.torn_bytes
                    );
                    let offset = length.saturating_sub(kept.torn_bytes);
                    audited.faults.push(Fault::new(&path, Some(offset), found));
                }
                audited.secrets = kept.secrets;
                audited.opened_vault = true;
                Some(kept)
            }
        }
    }

    fn journal(
        &self,
        mut journal: Journal,
        role: Role,
        vault: Option<&KeptOpeners>,
        mut index: Option<IndexCopy>,
        audited: &mut Audited,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> Result<(), Fault> {
        let dir = journal.dir.clone();
        let log = self.data.join("log");
        let shared = Shared {
            dir: &dir,
            ledger: &self.ledger,
            vault,
            mode: self.mode,
            is_logged: role != Role::Device,
            is_running: audited.running,
        };
        let wanted = files::checkpoints(&log, &self.keys, audited);
        let mut batches = Batches::new(&dir, &self.keys, role, wanted);
        let mut derived = Derived::new(&log);
        let counts = thread::scope(|scope| {
            let mut workers = Workers::start(scope, &shared, self.threads.max(1));
            let walked = walk(&mut journal, |record, done, total| {
                progress("journal", done, total);
                if let Some(copy) = &mut index {
                    copy.take(record);
                }
                audited.records = audited.records.saturating_add(1);
                dispatch(record, &dir, &mut batches, &mut derived, &mut workers)
            });
            workers.finish(batches.through(), walked)
        });
        audited.bytes = journal.progress().1;
        audited.size = batches.frontier().size();
        audited.root = files::base64(&batches.frontier().root());
        audited.batches = batches.records();
        let counts = counts?;
        audited.accounts = counts.accounts;
        audited.blocks = counts.blocks;
        let found = counts.signatures.saturating_add(batches.signatures());
        audited.signatures = audited.signatures.saturating_add(found);
        audited.opened = counts.leaves;
        audited.erased = counts.erased;
        audited.unlogged = counts.unlogged;
        self.erased(&counts, audited);
        files::end(&batches, derived, audited);
        if let Some(copy) = index {
            copy.finish(audited);
        }
        Ok(())
    }

    /// Erasing is done once the vault has none of an account's secrets; of a node that runs, the vault was read before the
    /// journal, and either may have moved meanwhile.
    fn erased(&self, counts: &Counts, audited: &mut Audited) {
        let remaining = counts.remaining.told("erased");
        match remaining.map(|found| format!("secrets of {found}, are still in the vault")) {
            None => {}
            Some(found) if audited.running => {
                let note = format!("{found}: the node runs, and may just be forgetting them");
                audited.notes.push(note);
            }
            Some(found) => {
                let found = format!(
                    "{found} (put back from a copy, or a crash came between?): the next start forgets them"
                );
                let dir = self.data.join("vault");
                audited.faults.push(Fault::new(&dir, None, found));
            }
        }
        if let Some(found) = counts.closed.told("logged") {
            audited.notes.push(format!(
                "the openers of {found}, are not in the vault though they were not erased: the node runs, and may just be erasing; look again"
            ));
        }
    }
}

fn walk(
    journal: &mut Journal,
    mut take: impl FnMut(&JournalRecord, u64, u64) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    while let Some(record) = journal.next_record()? {
        let (done, total) = journal.progress();
        if !take(&record, done, total)? {
            break;
        }
    }
    Ok(())
}

/// Gives a record to whom it concerns; `false` if a worker has found a fault and takes no more.
fn dispatch(
    record: &JournalRecord,
    dir: &Path,
    batches: &mut Batches<'_>,
    derived: &mut Derived,
    workers: &mut Workers<'_>,
) -> Result<bool, Fault> {
    let at = At {
        segment: record.segment,
        offset: record.offset,
    };
    match record.stream {
        StreamId::NODE => {
            if record.head.is_some() {
                let found = "the node's own record moves a head, of which there is none";
                return Err(at.fault(dir, found.to_owned()));
            }
            for entry in &record.entries {
                NodeRecord::decode(entry)
                    .map_err(|error| at.fault(dir, format!("the node's own record: {error}")))?;
            }
        }
        StreamId::LOG => batches.take(record, derived, |item| workers.give(item))?,
        stream => workers.give(Item::Entries {
            at,
            sub: Sub(stream.0),
            head: record.head,
            entries: record.entries.clone(),
        }),
    }
    Ok(!workers.is_done)
}

type Found = Result<Counts, Fault>;

/// The threads that verify.
struct Workers<'scope> {
    senders: Vec<SyncSender<Vec<Item>>>,
    parcels: Vec<Vec<Item>>,
    /// Told at the end: how far the log's last batch looked.
    ends: Vec<SyncSender<Option<At>>>,
    threads: Vec<ScopedJoinHandle<'scope, Found>>,
    is_done: bool,
}

impl<'scope> Workers<'scope> {
    fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        shared: &'env Shared<'env>,
        count: usize,
    ) -> Self {
        let mut workers = Self {
            senders: Vec::new(),
            parcels: Vec::new(),
            ends: Vec::new(),
            threads: Vec::new(),
            is_done: false,
        };
        for _ in 0..count {
            let (sender, parcels) = sync_channel(PARCELS);
            let (end, ended) = sync_channel(1);
            workers.senders.push(sender);
            workers.ends.push(end);
            workers.parcels.push(Vec::with_capacity(PARCEL));
            workers
                .threads
                .push(scope.spawn(move || work(shared, &parcels, &ended)));
        }
        workers
    }

    /// Gives an item to its account's worker.
    fn give(&mut self, item: Item) {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(item.sub().0);
        let count = self.senders.len().max(1) as u64;
        let worker = usize::try_from(hash % count).unwrap_or(0);
        let Some(parcel) = self.parcels.get_mut(worker) else {
            return;
        };
        parcel.push(item);
        if parcel.len() >= PARCEL {
            self.send(worker);
        }
    }

    fn send(&mut self, worker: usize) {
        if let (Some(parcel), Some(sender)) =
            (self.parcels.get_mut(worker), self.senders.get(worker))
        {
            let full = std::mem::replace(parcel, Vec::with_capacity(PARCEL));
            // A worker that takes no more has found a fault.
            self.is_done |= sender.send(full).is_err();
        }
    }

    /// Hears all of them; the fault that stands first in the journal is told.
    fn finish(mut self, through: Option<At>, walked: Result<(), Fault>) -> Found {
        for worker in 0..self.senders.len() {
            self.send(worker);
        }
        self.senders.clear();
        let is_whole = walked.is_ok() && !self.is_done;
        for end in &self.ends {
            // Nobody ends well on a journal that was not read to its end.
            if is_whole {
                // A worker that does not hear it has found a fault.
                let _ = end.send(through);
            }
        }
        self.ends.clear();
        let mut counts = Counts::default();
        let mut faults: Vec<Fault> = walked.err().into_iter().collect();
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(found)) => counts = counts.and(found),
                Ok(Err(fault)) => faults.push(fault),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let first = faults
            .into_iter()
            .min_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        first.map_or(Ok(counts), Err)
    }
}

fn work(shared: &Shared<'_>, parcels: &Receiver<Vec<Item>>, end: &Receiver<Option<At>>) -> Found {
    let mut accounts = Accounts::new(shared);
    for parcel in parcels {
        for item in parcel {
            accounts.take(item)?;
        }
    }
    match end.recv() {
        Ok(through) => accounts.finish(through),
        // Somebody else found a fault.
        Err(_) => Ok(Counts::default()),
    }
}
