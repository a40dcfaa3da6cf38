//! The threads that verify: one reads, these look at what it gives them, each account always at the same one.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, ScopedJoinHandle},
};

use super::{
    accounts::{Accounts, Counts, Item, Shared},
    fault::{At, Fault},
};

/// Items given to a worker at once, and how many such parcels may wait.
const PARCEL: usize = 256;
const PARCELS: usize = 8;

/// See the module.
pub(super) struct Workers<'scope, 'env> {
    senders: Vec<SyncSender<Vec<Item>>>,
    parcels: Vec<Vec<Item>>,
    threads: Vec<ScopedJoinHandle<'scope, Result<Accounts<'env>, Fault>>>,
    is_done: bool,
}

impl<'scope, 'env> Workers<'scope, 'env> {
    pub(super) fn start(
        scope: &'scope thread::Scope<'scope, 'env>,
        shared: &'env Shared<'env>,
        count: usize,
    ) -> Self {
        let mut workers = Self {
            senders: Vec::new(),
            parcels: Vec::new(),
            threads: Vec::new(),
            is_done: false,
        };
        for _ in 0..count {
            let (sender, parcels) = sync_channel(PARCELS);
            workers.senders.push(sender);
            workers.parcels.push(Vec::with_capacity(PARCEL));
            workers
                .threads
                .push(scope.spawn(move || work(shared, &parcels)));
        }
        workers
    }

    /// A worker has found a fault: no more need be read.
    pub(super) const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Gives an item to its account's worker.
    pub(super) fn give(&mut self, item: Item) {
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

    /// Hears all of them, with how far the log's last batch looked; the fault that stands first in the journal is told.
    pub(super) fn finish(
        mut self,
        through: Option<At>,
        walked: Result<(), Fault>,
    ) -> Result<Counts, Fault> {
        for worker in 0..self.senders.len() {
            self.send(worker);
        }
        self.senders.clear();
        let mut faults: Vec<Fault> = walked.err().into_iter().collect();
        let mut all = Vec::new();
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(accounts)) => all.push(accounts),
                Ok(Err(fault)) => faults.push(fault),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let mut counts = Counts::default();
        // Nobody ends well on a journal that was not read to its end; which accounts were looked at is known only now.
        if faults.is_empty() {
            for accounts in all {
                match accounts.finish(through) {
                    Ok(found) => counts = counts.and(found),
                    Err(fault) => faults.push(fault),
                }
            }
        }
        let first = faults
            .into_iter()
            .min_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        first.map_or(Ok(counts), Err)
    }
}

fn work<'env>(
    shared: &'env Shared<'env>,
    parcels: &Receiver<Vec<Item>>,
) -> Result<Accounts<'env>, Fault> {
    let mut accounts = Accounts::new(shared);
    for parcel in parcels {
        for item in parcel {
            accounts.take(item)?;
        }
    }
    Ok(accounts)
}
