//! Sees every change to the file system, and lets the planned one fail.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use warifu_client_sdk::store::{Disk, DiskChange, DiskFault, DiskWatch};

use super::platter::Platter;

/// One change, kept.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    CreateDirectory(PathBuf),
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SetLength(PathBuf, u64),
    Sync(PathBuf),
    /// The sync failed, and the system forgot that there was something to sync.
    SyncLost(PathBuf),
    SyncDirectory(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// What happened, in order.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Changed(Kept),
    /// So many acts of the test are acknowledged, all from the first one on.
    Acknowledged(usize),
}

/// How one change, or all from one on, go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing,
    /// The process is killed before the change with this number.
    KilledBefore(usize),
    /// From this change on there is no room: files don't get longer, and new ones are not made.
    FullFrom(usize),
    /// The sync with this number fails; what it was for is not on the disk, although it is shown
    /// until the next start of the machine.
    SyncLostAt(usize),
    /// It fails, but what it was for is on the disk.
    SyncKeptAt(usize),
    /// Nothing can be changed.
    ReadOnly,
}

struct State {
    plan: Plan,
    changes: usize,
    syncs: usize,
    log: Vec<Event>,
    failed: usize,
}

/// A [`DiskWatch`] over one directory.
pub(super) struct Recorder {
    begun_with: Platter,
    state: Mutex<State>,
}

impl Recorder {
    /// Over what `root` holds now, all of it durable.
    pub(super) fn over(root: &Path, plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            begun_with: Platter::of(root),
            state: Mutex::new(State {
                plan,
                changes: 0,
                syncs: 0,
                log: Vec::new(),
                failed: 0,
            }),
        })
    }

    pub(super) fn disk(self: &Arc<Self>) -> Disk {
        Disk::watched(Arc::clone(self) as Arc<dyn DiskWatch>)
    }

    pub(super) fn plan(&self, plan: Plan) {
        self.state.lock().unwrap().plan = plan;
    }

    pub(super) fn acknowledged(&self, acts: usize) {
        let mut state = self.state.lock().unwrap();
        state.log.push(Event::Acknowledged(acts));
    }

    /// How many changes there were, and how many of them synced a file.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.changes, state.syncs)
    }

    /// Changes that failed as planned.
    pub(super) fn failed(&self) -> usize {
        self.state.lock().unwrap().failed
    }

    /// The disk before anything was recorded, and what followed.
    pub(super) fn story(&self) -> (Platter, Vec<Event>) {
        (
            self.begun_with.clone(),
            self.state.lock().unwrap().log.clone(),
        )
    }

    /// The disk after everything recorded.
    pub(super) fn platter(&self) -> Platter {
        let (mut platter, log) = self.story();
        for event in &log {
            platter.apply(event);
        }
        platter
    }
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

fn read_only() -> io::Error {
    io::Error::from(io::ErrorKind::ReadOnlyFilesystem)
}

fn eio() -> io::Error {
    io::Error::other("input/output error")
}

impl State {
    /// What the plan does to the change with this number.
    fn fault(&mut self, number: usize, change: &DiskChange<'_>) -> Option<DiskFault> {
        let sync = matches!(change, DiskChange::Sync { .. }).then_some(self.syncs);
        self.syncs += usize::from(sync.is_some());
        let fault = |done, error| Some(DiskFault { done, error });
        match self.plan {
            Plan::KilledBefore(at) if number >= at => fault(0, io::Error::other("killed")),
            Plan::FullFrom(at) if number >= at => match change {
                // A full disk takes what fits: here half of the first write that does not.
                DiskChange::Write { bytes, .. } if number == at => fault(bytes.len() / 2, full()),
                DiskChange::Write { .. }
                | DiskChange::Create { .. }
                | DiskChange::CreateDirectory { .. } => fault(0, full()),
                _ => None,
            },
            Plan::SyncLostAt(at) if sync == Some(at) => fault(0, eio()),
            Plan::SyncKeptAt(at) if sync == Some(at) => fault(1, eio()),
            Plan::ReadOnly => match change {
                DiskChange::Sync { .. } | DiskChange::SyncDirectory { .. } => None,
                _ => fault(0, read_only()),
            },
            _ => None,
        }
    }
}

impl DiskWatch for Recorder {
    fn before(&self, change: &DiskChange<'_>) -> Option<DiskFault> {
        let mut state = self.state.lock().unwrap();
        let number = state.changes;
        state.changes += 1;
        let fault = state.fault(number, change);
        let done = fault.as_ref().map_or(usize::MAX, |fault| fault.done);
        state.failed += usize::from(fault.is_some());
        let lost = matches!(change, DiskChange::Sync { .. })
            && fault
                .as_ref()
                .is_some_and(|fault| fault.error.to_string() == eio().to_string());
        if let Some(kept) = keep(change, done, lost) {
            state.log.push(Event::Changed(kept));
        }
        fault
    }
}

/// What of a change is made.
fn keep(change: &DiskChange<'_>, done: usize, lost: bool) -> Option<Kept> {
    let owned = Path::to_path_buf;
    if done == 0 && !lost {
        return None;
    }
    Some(match *change {
        DiskChange::CreateDirectory { path } => Kept::CreateDirectory(owned(path)),
        DiskChange::Create { path } => Kept::Create(owned(path)),
        DiskChange::Write {
            path,
            offset,
            bytes,
        } => Kept::Write(owned(path), offset, bytes[..done.min(bytes.len())].to_vec()),
        DiskChange::SetLength { path, length } => Kept::SetLength(owned(path), length),
        DiskChange::Sync { path } if done == 0 => Kept::SyncLost(owned(path)),
        DiskChange::Sync { path } => Kept::Sync(owned(path)),
        DiskChange::SyncDirectory { path } => Kept::SyncDirectory(owned(path)),
        DiskChange::Rename { from, to } => Kept::Rename(owned(from), owned(to)),
        DiskChange::Remove { path } => Kept::Remove(owned(path)),
        ref other => panic!("a change that the recorder does not know: {other:?}"),
    })
}
