//! A node's disk: one append-only file of checksummed, chained frames, with the faults of real ones.
//!
//! The contract is that of the node's journal (docs/protocol.md, Files): a batch is durable after a
//! sync and never in part, an append that moves a head compares it first, an incomplete last frame
//! is cut when the file is opened, and anything else that does not check is an error with its offset.
//! The format is the simulator's own: the real journal's is tested where it lives.

use std::{collections::BTreeMap, fmt};

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// Enough.
    #[default]
    Plenty,
    /// Admits are refused, restricts taken.
    NearlyFull,
    /// Nothing can be written.
    Full,
}

/// A disk that cannot be used any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskError {
    /// A frame does not check.
    Corrupt {
        /// Where it begins, in bytes.
        offset: usize,
        /// What does not check.
        what: &'static str,
    },
    /// An append moves another head than the account has.
    Head {
        /// The account.
        account: usize,
    },
    /// No room.
    Full,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { offset, what } => write!(f, "journal at byte {offset}: {what}"),
            Self::Head { account } => {
                write!(
                    f,
                    "journal: account {account} has another head than expected"
                )
            }
            Self::Full => f.write_str("journal: no room on the disk"),
        }
    }
}

/// An account's head, moved by an append: from this, if any, to that.
pub type HeadMove = (Option<[u8; 32]>, [u8; 32]);

/// What stands in one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The account.
    pub account: usize,
    /// Its records, encoded.
    pub entries: Vec<Vec<u8>>,
    /// Where the frame ends, in bytes.
    pub end: usize,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    bytes: Vec<u8>,
    synced: usize,
    chain: [u8; 32],
    heads: BTreeMap<usize, [u8; 32]>,
    /// Free space.
    pub room: Room,
}

/// Length u32, its checksum 8, frame hash 32.
const HEADER: usize = 44;

fn checksum(length: [u8; 4]) -> [u8; 8] {
    let hash = blake3::hash(&length);
    let mut short = [0; 8];
    short.copy_from_slice(&hash.as_bytes()[..8]);
    short
}

fn link(chain: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_keyed(chain)
        .update(payload)
        .finalize()
        .as_bytes()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

fn read_payload(mut payload: &[u8]) -> Option<(usize, HeadBytes, Vec<Vec<u8>>)> {
    let account = u32_at(payload, 0)?;
    let head = match payload.get(4)? {
        0 => None,
        _ => Some(payload.get(5..37)?.try_into().ok()?),
    };
    payload = payload.get(if head.is_some() { 37 } else { 5 }..)?;
    let mut entries = vec![];
    while !payload.is_empty() {
        let length = u32_at(payload, 0)?;
        entries.push(payload.get(4..4 + length)?.to_vec());
        payload = payload.get(4 + length..)?;
    }
    Some((account, head, entries))
}

type HeadBytes = Option<[u8; 32]>;

/// Every frame, the chain hash behind the last, and the head of each account.
type Scanned = (Vec<Frame>, [u8; 32], BTreeMap<usize, [u8; 32]>);

impl Disk {
    /// Writes a batch into the operating system's pages: durable with the next sync.
    ///
    /// # Errors
    /// [`DiskError::Head`] and [`DiskError::Full`]; nothing was written.
    pub fn append(
        &mut self,
        account: usize,
        head: Option<HeadMove>,
        entries: &[Vec<u8>],
    ) -> Result<(), DiskError> {
        if self.room == Room::Full {
            return Err(DiskError::Full);
        }
        if let Some((expected, next)) = head {
            if self.heads.get(&account).copied() != expected {
                return Err(DiskError::Head { account });
            }
            self.heads.insert(account, next);
        }
        let mut payload = (account as u32).to_le_bytes().to_vec();
        payload.push(u8::from(head.is_some()));
        payload.extend(head.iter().flat_map(|(_, next)| next));
        for entry in entries {
            payload.extend((entry.len() as u32).to_le_bytes());
            payload.extend(entry);
        }
        let length = (payload.len() as u32).to_le_bytes();
        self.chain = link(&self.chain, &payload);
        self.bytes.extend(length);
        self.bytes.extend(checksum(length));
        self.bytes.extend(self.chain);
        self.bytes.extend(payload);
        Ok(())
    }

    /// Makes everything written durable.
    pub fn sync(&mut self) {
        self.synced = self.bytes.len();
    }

    /// Bytes that no sync made durable yet.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.bytes.len() - self.synced
    }

    /// Power is lost: so many bytes of what was not synced reached the platter.
    pub fn lose_power(&mut self, reached: usize) {
        self.bytes
            .truncate(self.synced + reached.min(self.unsynced()));
    }

    /// Bytes on the disk.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// A bit rots.
    pub fn flip(&mut self, bit: usize) {
        if let Some(byte) = self.bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Reads everything, changing nothing.
    ///
    /// # Errors
    /// [`DiskError::Corrupt`].
    pub fn read(&self) -> Result<Vec<Frame>, DiskError> {
        self.scan().map(|(frames, ..)| frames)
    }

    fn scan(&self) -> Result<Scanned, DiskError> {
        let (mut frames, mut heads) = (vec![], BTreeMap::new());
        let (mut offset, mut chain) = (0, [0; 32]);
        let corrupt = |offset, what| DiskError::Corrupt { offset, what };
        while let Some(header) = self.bytes.get(offset..offset + HEADER) {
            let length = u32_at(header, 0).unwrap_or(0);
            if header[4..12] != checksum((length as u32).to_le_bytes()) {
                return Err(corrupt(offset, "the frame's length does not check"));
            }
            let end = offset + HEADER + length;
            let Some(payload) = self.bytes.get(offset + HEADER..end) else {
                break;
            };
            chain = link(&chain, payload);
            if header[12..] != chain {
                return Err(corrupt(offset, "the frame does not check"));
            }
            let read = read_payload(payload);
            let (account, head, entries) = read.ok_or(corrupt(offset, "the frame is malformed"))?;
            heads.extend(head.map(|head| (account, head)));
            frames.push(Frame {
                account,
                entries,
                end,
            });
            offset = end;
        }
        Ok((frames, chain, heads))
    }

    /// Opens the file after a stop: cuts an incomplete last frame, refuses anything else that does
    /// not check.
    ///
    /// # Errors
    /// [`DiskError::Corrupt`]; nothing was changed.
    pub fn open(&mut self) -> Result<Vec<Frame>, DiskError> {
        let (frames, chain, heads) = self.scan()?;
        let end = frames.last().map_or(0, |frame| frame.end);
        self.bytes.truncate(end);
        (self.synced, self.chain, self.heads) = (end, chain, heads);
        Ok(frames)
    }

    /// Puts a backup in place: the first so many frames.
    pub fn set_back(&mut self, frames: &[Frame], keep: usize) {
        let end = keep.checked_sub(1).and_then(|last| frames.get(last));
        self.bytes.truncate(end.map_or(0, |frame| frame.end));
        self.synced = self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        let mut disk = Disk::default();
        for (number, (expected, next)) in [(None, 1), (Some([1; 32]), 2)].into_iter().enumerate() {
            let entries = [vec![number as u8; 40], vec![]];
            disk.append(3, Some((expected, [next; 32])), &entries)
                .unwrap();
        }
        disk.sync();
        disk
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = disk();
        for bit in 0..whole.length() * 8 {
            let mut rotten = whole.clone();
            rotten.flip(bit);
            let found = rotten.open();
            assert!(
                matches!(found, Err(DiskError::Corrupt { .. })),
                "bit {bit}: {found:?}"
            );
        }
    }

    #[test]
    fn what_a_power_loss_tore_is_cut_and_nothing_else() {
        let mut whole = disk();
        let frames = whole.read().unwrap();
        whole.append(3, None, &[vec![9; 30]]).unwrap();
        for reached in 0..whole.unsynced() {
            let mut torn = whole.clone();
            torn.lose_power(reached);
            assert_eq!(torn.open().unwrap(), frames);
            torn.append(3, Some((Some([2; 32]), [3; 32])), &[]).unwrap();
            assert_eq!(torn.read().unwrap().len(), 3);
        }
        assert_eq!(whole.open().unwrap().len(), 3);
    }

    #[test]
    fn head_is_compared_before_it_moves() {
        let mut disk = disk();
        let length = disk.length();
        for expected in [None, Some([1; 32]), Some([7; 32])] {
            let found = disk.append(3, Some((expected, [3; 32])), &[vec![1]]);
            assert_eq!(found, Err(DiskError::Head { account: 3 }));
        }
        disk.room = Room::Full;
        assert_eq!(disk.append(3, None, &[]), Err(DiskError::Full));
        assert_eq!(disk.length(), length);
    }
}
