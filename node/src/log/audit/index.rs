//! The index, against the journal: its bytes where it was closed in order, and in any case every entry.

use std::{collections::BTreeMap, fs, io, path::Path};

use tempfile::TempDir;
use warifu_client_sdk::store::{Coverage, Extent, Index, JournalOptions, JournalRecord, StreamId};
use warifu_consensus::party::{Role, Sub};

use super::{directory::Audited, fault::Fault, files::listed, range::Range};
use crate::store::{SledIndex, compare_sums};

#[derive(Clone, Copy, Default)]
struct Stream {
    extent: Extent,
    head: Option<[u8; 32]>,
}

/// A copy of an index (sled writes to what it opens), and what the journal gave so far.
pub(super) struct IndexCopy {
    path: std::path::PathBuf,
    index: SledIndex,
    _dir: TempDir,
    /// Up to where; nothing in one that a crash met while it was made anew, and before the first record.
    covered: Option<Coverage>,
    /// It was closed in order: what it lacks was never there.
    is_closed: bool,
    /// Of the accounts that are looked at now.
    streams: BTreeMap<StreamId, Stream>,
    /// The journal was read up to where the index covers it.
    is_past: bool,
    /// The first entry that is not what the journal gives.
    wrong: Option<String>,
    /// Records behind what it covers.
    behind: u64,
}

impl IndexCopy {
    /// Copies and opens the index of an operator's stopped node; what is wrong with it is told to `audited`.
    pub(super) fn open(data: &Path, role: Role, audited: &mut Audited) -> Option<Self> {
        let path = data.join("index");
        if role == Role::Device || !path.is_dir() {
            return None;
        }
        if audited.running {
            let note = "the index was not looked at: it changes while the node runs";
            audited.notes.push(note.to_owned());
            return None;
        }
        let fault = |found: String| Fault::new(&path, None, found).derived();
        let is_closed = match compare_sums(&path) {
            Ok(Some(Ok(()))) => true,
            Ok(Some(Err(changed))) => {
                let found = Fault::new(&changed.file, Some(changed.offset), changed.found);
                audited.faults.push(found.derived());
                return None;
            }
            Ok(None) => {
                audited.notes.push(
                    "the index was not closed in order: its entries were compared, its unused bytes were not"
                        .to_owned(),
                );
                false
            }
            Err(error) => {
                audited.faults.push(fault(error.to_string()));
                return None;
            }
        };
        match copy_and_open(&path, role) {
            Ok((index, dir)) => match index.covered() {
                Ok(covered) => Some(Self {
                    path,
                    index,
                    _dir: dir,
                    covered,
                    is_closed,
                    streams: BTreeMap::new(),
                    is_past: covered.is_none(),
                    wrong: None,
                    behind: 0,
                }),
                Err(error) => {
                    audited.faults.push(fault(error.to_string()));
                    None
                }
            },
            Err(error) => {
                audited
                    .notes
                    .push(format!("the index was not looked at: {error}"));
                None
            }
        }
    }

    /// The journal is read once more, for other accounts.
    pub(super) fn begin(&mut self) {
        self.streams.clear();
        self.is_past = self.covered.is_none();
        self.behind = 0;
    }

    /// The next record of the journal.
    pub(super) fn take(&mut self, record: &JournalRecord, range: &Range) {
        if self.is_past {
            self.behind = self.behind.saturating_add(1);
            return;
        }
        self.is_past = self.covered.is_some_and(|to| record.chain == to.chain);
        if range.holds(&Sub(record.stream.0)) {
            self.compare(record);
        }
    }

    fn compare(&mut self, record: &JournalRecord) {
        let stream = self.streams.entry(record.stream).or_default();
        let number = stream.extent.batches;
        stream.extent.batches = number.saturating_add(1);
        if let Some(step) = record.head {
            stream.extent.moves = stream.extent.moves.saturating_add(1);
            stream.head = Some(step.next);
        }
        if self.wrong.is_none() {
            let found = self
                .index
                .positions(record.stream, number..number.saturating_add(1));
            let is_right = found.is_ok_and(|found| {
                let place = found.first().map(|found| (found.segment, found.offset));
                place == Some((record.segment, record.offset))
            });
            if !is_right {
                self.wrong = Some(format!(
                    "does not place the record at segment {}, byte {}",
                    record.segment, record.offset
                ));
            }
        }
    }

    /// The end of the journal, for these accounts.
    pub(super) fn end(&mut self, range: &Range) {
        if self.wrong.is_none() {
            self.streams.retain(|stream, _| range.holds(&Sub(stream.0)));
            self.wrong = self.differs(range);
        }
    }

    /// What was found of all of them.
    pub(super) fn finish(mut self, audited: &mut Audited) {
        if !self.is_past {
            self.wrong = Some("covers something else than this journal".to_owned());
        }
        if self.covered.is_none() && self.is_closed && self.behind > 0 {
            self.wrong = Some("is empty, or not what was written last".to_owned());
        }
        if let Some(found) = self.wrong {
            let fault = Fault::new(&self.path, None, found);
            audited.faults.push(fault.derived());
        } else if self.behind > 0 {
            audited.notes.push(format!(
                "the index does not cover the last {} records yet: the next start reads them",
                self.behind
            ));
        }
    }

    fn differs(&self, range: &Range) -> Option<String> {
        let (from, end) = (StreamId(range.from().0), range.end());
        let streams = self
            .index
            .streams_between(from, end.map(|end| StreamId(end.0)));
        let streams = match streams {
            Ok(streams) => streams,
            Err(error) => return Some(error.to_string()),
        };
        if !streams.iter().eq(self.streams.keys()) {
            let (found, expected) = (streams.len(), self.streams.len());
            return Some(format!(
                "names {found} streams, of which not all are the journal's {expected}"
            ));
        }
        self.streams.iter().find_map(|(stream, expected)| {
            let is_right = self
                .index
                .extent(*stream)
                .is_ok_and(|e| e == expected.extent)
                && self.index.head(*stream).is_ok_and(|h| h == expected.head);
            (!is_right).then(|| format!("has another head or length of stream {stream}"))
        })
    }
}

fn copy_and_open(path: &Path, role: Role) -> io::Result<(SledIndex, TempDir)> {
    let place = tempfile::Builder::new().prefix("warifu-audit-").tempdir()?;
    let files = listed(path);
    let sizes = files.iter().filter_map(|file| file.metadata().ok());
    let total: u64 = sizes.map(|found| found.len()).sum();
    let free = (JournalOptions::new(String::new(), role.number()).free_space)(place.path())?;
    if free < total {
        let text = format!(
            "{total} bytes of index, {free} free in {}: name a directory with room by TMPDIR",
            place.path().display()
        );
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    for file in files {
        let target = place.path().join(file.strip_prefix(path).unwrap_or(&file));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&file, target)?;
    }
    let index = SledIndex::open(place.path()).map_err(|e| io::Error::other(e.to_string()))?;
    Ok((index, place))
}
