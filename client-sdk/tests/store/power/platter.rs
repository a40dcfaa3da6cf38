//! What a disk is bound to have, and what it may have: the durable content of each file, what was
//! written since its last sync, and the names that no sync of their directory has made durable.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::recorder::{Event, Kept};

/// A file's content, apart from its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What survives anything.
    pub(super) durable: Vec<u8>,
    /// What is shown while the machine runs.
    pub(super) shown: Vec<u8>,
    /// Bytes of `shown` that the system still means to write.
    dirty: Vec<bool>,
}

impl Content {
    /// What the disk has if everything not yet synced is written too.
    pub(super) fn written(&self) -> Vec<u8> {
        let byte = |(at, byte): (usize, &u8)| {
            if self.dirty[at] {
                *byte
            } else {
                self.durable.get(at).copied().unwrap_or(0)
            }
        };
        let mut written: Vec<u8> = self.shown.iter().enumerate().map(byte).collect();
        // What a failed sync has dropped is not there, however long the file is shown to be.
        let end = self
            .dirty
            .iter()
            .rposition(|dirty| *dirty)
            .map_or(0, |last| last + 1);
        written.truncate(end.max(self.durable.len().min(self.shown.len())));
        written
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.shown.len() < end {
            self.set_length(end);
        }
        self.shown[offset..end].copy_from_slice(bytes);
        self.dirty[offset..end].fill(true);
    }

    fn set_length(&mut self, length: usize) {
        self.shown.resize(length, 0);
        self.dirty.resize(length, true);
    }

    fn sync(&mut self) {
        self.durable = self.written();
        self.dirty.fill(false);
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    /// The number of a [`Content`].
    File(usize),
}

/// A change to the names of one directory.
#[derive(Clone, Debug)]
enum NameChange {
    Set(PathBuf, Entry),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl NameChange {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Set(path, _) | Self::Rename(_, path) | Self::Remove(path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Set(path, entry) => drop(names.insert(path.clone(), *entry)),
            Self::Rename(from, to) => {
                if let Some(entry) = names.remove(from) {
                    names.insert(to.clone(), entry);
                }
            }
            Self::Remove(path) => drop(names.remove(path)),
        }
    }
}

/// One disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter {
    contents: Vec<Content>,
    shown: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    /// Since the last sync of their directories, in order.
    pending: Vec<NameChange>,
}

impl Platter {
    /// What is under `root`, all of it durable. The root itself is always there.
    pub(super) fn of(root: &Path) -> Self {
        let mut platter = Self::default();
        platter.take(root);
        platter.durable = platter.shown.clone();
        platter
    }

    fn take(&mut self, path: &Path) {
        if path.is_dir() {
            self.shown.insert(path.to_path_buf(), Entry::Directory);
            for entry in fs::read_dir(path).unwrap() {
                self.take(&entry.unwrap().path());
            }
            return;
        }
        let bytes = fs::read(path).unwrap();
        let dirty = vec![false; bytes.len()];
        self.contents.push(Content {
            durable: bytes.clone(),
            shown: bytes,
            dirty,
        });
        let entry = Entry::File(self.contents.len() - 1);
        self.shown.insert(path.to_path_buf(), entry);
    }

    fn content(&mut self, path: &Path) -> &mut Content {
        let Some(Entry::File(number)) = self.shown.get(path) else {
            panic!("{} is not there", path.display());
        };
        &mut self.contents[*number]
    }

    fn rename_entry(&mut self, change: NameChange) {
        change.apply(&mut self.shown);
        self.pending.push(change);
    }

    pub(super) fn apply(&mut self, event: &Event) {
        let Event::Changed(kept) = event else { return };
        match kept {
            Kept::CreateDirectory(path) => {
                self.rename_entry(NameChange::Set(path.clone(), Entry::Directory));
            }
            Kept::Create(path) => {
                if self.shown.contains_key(path) {
                    self.content(path).set_length(0);
                    return;
                }
                self.contents.push(Content::default());
                let entry = Entry::File(self.contents.len() - 1);
                self.rename_entry(NameChange::Set(path.clone(), entry));
            }
            Kept::Write(path, offset, bytes) => {
                let offset = usize::try_from(*offset).unwrap();
                self.content(path).write(offset, bytes);
            }
            Kept::SetLength(path, length) => {
                let length = usize::try_from(*length).unwrap();
                self.content(path).set_length(length);
            }
            Kept::Sync(path) => self.content(path).sync(),
            Kept::SyncLost(path) => self.content(path).dirty.fill(false),
            Kept::SyncDirectory(path) => {
                let (done, pending) = std::mem::take(&mut self.pending)
                    .into_iter()
                    .partition(|change| change.directory() == Some(path.as_path()));
                self.pending = pending;
                let done: Vec<NameChange> = done;
                for change in done {
                    change.apply(&mut self.durable);
                }
            }
            Kept::Rename(from, to) => {
                self.rename_entry(NameChange::Rename(from.clone(), to.clone()));
            }
            Kept::Remove(path) => self.rename_entry(NameChange::Remove(path.clone())),
        }
    }

    /// The directory that it began with.
    pub(super) fn root(&self) -> &Path {
        self.durable.keys().next().unwrap()
    }

    /// How many changes of names no sync has made durable.
    pub(super) fn pending_names(&self) -> usize {
        self.pending.len()
    }

    /// The names with the first `kept` of those changes, and without what lies in a directory that
    /// has no name.
    pub(super) fn names(&self, kept: usize) -> BTreeMap<PathBuf, Entry> {
        let mut names = self.durable.clone();
        for change in self.pending.iter().take(kept) {
            change.apply(&mut names);
        }
        let is_there = |path: &Path| {
            let parent = path
                .parent()
                .and_then(|parent| self.shown.get(parent).map(|_| parent));
            parent.is_none_or(|parent| names.contains_key(parent))
        };
        let found = names.iter().filter(|(path, _)| is_there(path));
        found.map(|(path, entry)| (path.clone(), *entry)).collect()
    }

    pub(super) fn contents(&self) -> &[Content] {
        &self.contents
    }
}
