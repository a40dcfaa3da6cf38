//! The journal: append-only segments of chained records.
//!
//! `frame` has the bytes, `segment` reads and creates files, `recovery` decides what an opening
//! finds, `torn` what a crash explains, `writer` is the only thread that writes, `reader` walks a journal without touching it.
//!
//! A truncation exactly between two records cannot be seen from the file alone: what protects
//! against a rolled-back disk is the other parties' heads, never this module.

pub(crate) mod frame;
pub(crate) mod gather;
pub(crate) mod reader;
pub(crate) mod recovery;
pub(crate) mod segment;
mod torn;
pub(crate) mod writer;

pub use frame::{FORMAT_VERSION, RECORD_LIMIT_BYTES};
pub use reader::{JournalReader, JournalRecord};
pub use writer::Counters;

/// What a journal's segments begin with.
pub(crate) const JOURNAL_MAGIC: [u8; 14] = *b"warifu-journal";
