//! A node's directory, read in place: every byte that means something, against everything that it should agree with.
//!
//! The vault gives the openers, the journal everything else: its frames and hashes, each account's chain with every
//! signature, each batch of the log with its root and signatures, each leaf against its block. What is derived from the
//! journal is compared with what the journal gives. One thread reads and hashes, the others verify. Memory is bounded: it does
//! not grow with blocks, and where there are more accounts than are looked at at once, the journal is read again for the next
//! ones. Of a node that runs, what stood there when the audit began is read.

use std::{
    path::{Path, PathBuf},
    thread,
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
    accounts::{Counts, Item, Shared},
    batches::Batches,
    derived::Derived,
    fault::{At, Fault},
    files,
    index::IndexCopy,
    range::Range,
    signatures::Mode,
    workers::Workers,
};
use crate::export::segment_sizes;

/// Accounts that are looked at in one pass, if no other number is asked for: some 3.5 KiB each.
pub const ACCOUNTS_AT_ONCE: usize = 100_000;

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
    /// Accounts that are looked at in one pass; at least one.
    pub accounts_at_once: usize,
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
    /// How often the journal was read: once for so many accounts.
    pub passes: u64,
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

impl Audited {
    fn log(&mut self, batches: &Batches<'_>) {
        self.size = batches.frontier().size();
        self.root = files::base64(&batches.frontier().root());
        self.batches = batches.records();
    }
}

/// A journal read by everybody who reads one in place: up to where it stood at the beginning.
pub struct Journal {
    reader: JournalReader,
    sizes: Vec<u64>,
    role: Option<Role>,
    done: u64,
    is_running: bool,
    data: PathBuf,
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
            data: data.to_path_buf(),
            dir,
        })
    }

    /// The same once more, to the same end.
    fn again(&self) -> Result<Self, Fault> {
        let reader = JournalReader::open(&self.data);
        Ok(Self {
            reader: reader.map_err(|error| Fault::store(&error, &self.dir))?,
            sizes: self.sizes.clone(),
            data: self.data.clone(),
            dir: self.dir.clone(),
            done: 0,
            ..*self
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
        let mut index = IndexCopy::open(&self.data, role, audited);
        files::evidence(&self.data.join("log"), &self.keys, audited);
        let walked = self.passes(journal, role, index.as_mut(), audited, progress);
        if let Err(fault) = walked {
            audited.faults.push(fault);
            let note =
                "not compared with the journal, which is damaged: the log's files, the index";
            audited.notes.push(note.to_owned());
        } else if let Some(copy) = index {
            copy.finish(audited);
        }
        files::others(&self.data, audited);
    }

    /// What the vault has of the accounts from one on; the last of them may be left out.
    fn vault(
        &self,
        from: Sub,
        audited: &mut Audited,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> Option<KeptOpeners> {
        let dir = self.data.join("vault");
        let is_first = audited.passes == 0;
        let Some(master_key) = &self.master_key else {
            if is_first {
                let note = "the vault was not opened, for want of its master key: leaves were hashed, not opened";
                audited.notes.push(note.to_owned());
            }
            return None;
        };
        let mut tell = |done, total| progress("vault", done, total);
        let some = (from, self.accounts_at_once.max(1));
        match kept_openers(&dir, master_key, &self.ledger.iss, some, &mut tell) {
            Err(error) => {
                // Told once, unless it changed meanwhile.
                if is_first || audited.opened_vault {
                    audited.faults.push(Fault::store(&error, &dir));
                }
                None
            }
            Ok(kept) => {
                if is_first && kept.torn_bytes > 0 && !audited.running {
                    let path = dir.join("00000001.seg");
                    let length = path.metadata().map_or(0, |found| found.len());
                    let found = format!(
                        "{} bytes of an unfinished last write: the next start cuts them, if a crash left them",
                        kept.torn_bytes
                    );
                    let offset = length.saturating_sub(kept.torn_bytes);
                    audited.faults.push(Fault::new(&path, Some(offset), found));
                }
                audited.opened_vault = true;
                Some(kept)
            }
        }
    }

    /// Reads the journal, for as many accounts as fit, until all were looked at.
    fn passes(
        &self,
        first: Journal,
        role: Role,
        mut index: Option<&mut IndexCopy>,
        audited: &mut Audited,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> Result<(), Fault> {
        let mut counts = Counts::default();
        let mut next = Some((Sub::ZERO, first));
        while let Some((from, journal)) = next.take() {
            let again = journal.again()?;
            // What the journal held before is in the vault by now: a secret is durable before what needs it.
            let vault = self.vault(from, audited, progress);
            let range = Range::new(from, vault.as_ref().and_then(|vault| vault.next));
            let (vault, index) = (vault.as_ref(), index.as_deref_mut());
            let found = self.pass(journal, role, (vault, index, &range), audited, progress)?;
            counts = counts.and(found);
            audited.passes = audited.passes.saturating_add(1);
            next = range.end().map(|end| (end, again));
        }
        audited.accounts = counts.accounts;
        audited.blocks = counts.blocks;
        audited.signatures = audited.signatures.saturating_add(counts.signatures);
        audited.opened = counts.leaves;
        audited.erased = counts.erased;
        audited.unlogged = counts.unlogged;
        self.erased(&counts, audited);
        Ok(())
    }

    /// One pass over the journal; the log's own part counts in the first.
    fn pass(
        &self,
        mut journal: Journal,
        role: Role,
        (vault, mut index, range): (Option<&KeptOpeners>, Option<&mut IndexCopy>, &Range),
        audited: &mut Audited,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> Result<Counts, Fault> {
        let dir = journal.dir.clone();
        let log = self.data.join("log");
        let is_first = audited.passes == 0;
        let what = if is_first {
            "journal"
        } else {
            "further accounts"
        };
        let threads = self.threads.max(1);
        // They are not dealt out evenly.
        let most = self.accounts_at_once.div_ceil(threads).saturating_mul(5) / 4;
        let shared = Shared {
            dir: &dir,
            ledger: &self.ledger,
            vault,
            mode: self.mode,
            range,
            most: most.max(1),
            is_logged: role != Role::Device,
            is_running: audited.running,
        };
        let wanted = is_first.then(|| files::checkpoints(&log, &self.keys, audited));
        let wanted = wanted.unwrap_or_default();
        let mut batches = Batches::new(&dir, &self.keys, role, wanted);
        let mut derived = is_first.then(|| Derived::new(&log));
        if let Some(copy) = &mut index {
            copy.begin();
        }
        let mut records = 0_u64;
        let counts = thread::scope(|scope| {
            let mut workers = Workers::start(scope, &shared, threads);
            let walked = walk(&mut journal, |record, done, total| {
                progress(what, done, total);
                if let Some(copy) = &mut index {
                    copy.take(record, range);
                }
                records = records.saturating_add(1);
                dispatch(
                    record,
                    &dir,
                    &mut batches,
                    derived.as_mut(),
                    range,
                    &mut workers,
                )
            });
            workers.finish(batches.through(), walked)
        });
        if is_first {
            audited.records = records;
            audited.bytes = journal.progress().1;
            audited.log(&batches);
        }
        audited.secrets = audited.secrets.saturating_add(secrets(vault, range));
        let counts = counts?;
        if let Some(derived) = derived {
            audited.signatures = audited.signatures.saturating_add(batches.signatures());
            files::end(&batches, derived, audited);
        }
        if let Some(copy) = index {
            copy.end(range);
        }
        Ok(counts)
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

/// How many secrets the vault holds of these accounts.
fn secrets(vault: Option<&KeptOpeners>, range: &Range) -> u64 {
    let holders = vault.into_iter().flat_map(|vault| &vault.holders);
    let of_these = holders.filter(|(sub, _)| range.holds(sub));
    of_these.map(|(_, secrets)| *secrets).sum()
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
    derived: Option<&mut Derived>,
    range: &Range,
    workers: &mut Workers<'_, '_>,
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
        stream if range.holds(&Sub(stream.0)) => workers.give(Item::Entries {
            at,
            sub: Sub(stream.0),
            head: record.head,
            entries: record.entries.clone(),
        }),
        _ => {}
    }
    Ok(!workers.is_done())
}
