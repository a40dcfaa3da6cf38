//! What an append and a proof cost when the log is small and when it is large, in turns in one process: the files
//! that a node keeps, with leaves that are random numbers as real ones are to whoever lacks an opening.

use std::path::Path;

use tokio::time::Instant;

use serde::Serialize;
use warifu_consensus::log::{
    Checkpoint, Frontier, Leaf, LogProof, Opening, TreeError, inclusion, verify_inclusion,
};

use super::blocks;
use warifu_consensus::party::Role;

use crate::{
    cli::bench::{measured::percentile, progress},
    log::{Growth, LogFiles},
    output::{Exit, Failure},
};
/// Leaves of one append while the logs are made.
const FILLED: u64 = 1 << 16;
/// Leaves of one append that is measured: what a busy second gives.
const BATCH: u64 = 256;
/// Appends that are measured at each size.
const APPENDS: u64 = 200;
/// Proofs that are measured at each size, in this many turns.
const PROOFS: u64 = 4000;
const TURNS: u64 = 40;
/// The tree that a proof's length is told for.
const TOLD: u64 = 1_000_000;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sizes {
    small: At,
    large: At,
    /// Append at the large size to that at the small one, by processor time and by the clock.
    pub(super) append_ratio: f64,
    pub(super) append_wall_ratio: f64,
    /// The same of proofs.
    pub(super) proof_ratio: f64,
    /// The longest of proofs from a tree of this many leaves, as text with opening and both signatures.
    pub(super) proof_leaves: u64,
    pub(super) proof_bytes: usize,
}

/// At one size.
#[derive(Clone, Debug, Serialize)]
struct At {
    leaves: u64,
    /// Median of an append of 256 leaves: hashed, written, synced, read again.
    append_us: f64,
    /// The same, processor time only.
    append_cpu_us: f64,
    /// Mean of a proof of a leaf anywhere.
    proof_us: f64,
}

fn io(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(Exit::Io, error)
}

/// A failure of proofs here: the tree's or the disk's.
#[derive(Debug, thiserror::Error)]
enum ProofFailed {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Disk(#[from] std::io::Error),
}

fn leaf(number: u64) -> Leaf {
    Leaf(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// One log's files.
struct Log {
    files: LogFiles,
    frontier: Frontier,
    wall_us: Vec<f64>,
    cpu_us: Vec<f64>,
    proof_us: f64,
}

impl Log {
    fn make(dir: &Path, leaves: u64) -> Result<Self, Failure> {
        let mut log = Self {
            files: LogFiles::open(dir).map_err(|error| io(&error))?,
            frontier: Frontier::new(),
            wall_us: Vec::new(),
            cpu_us: Vec::new(),
            proof_us: 0.0,
        };
        let bar = progress("leaves", usize::try_from(leaves).unwrap_or(usize::MAX));
        while log.frontier.size() < leaves {
            let from = log.frontier.size();
            let all: Vec<Leaf> = (from..leaves.min(from + FILLED)).map(leaf).collect();
            let growth = Growth::of(&log.frontier, &all);
            log.files.write(&growth).map_err(|error| io(&error))?;
            log.frontier = growth.frontier;
            bar.set_position(log.frontier.size());
        }
        bar.finish_and_clear();
        Ok(log)
    }

    /// As `LogBook::grow` does, without the journal, whose record costs the same at every size.
    fn append(&mut self) -> Result<(), Failure> {
        let from = self.frontier.size();
        let all: Vec<Leaf> = (from..from + BATCH).map(leaf).collect();
        let (began, cpu) = (Instant::now(), thread_cpu_us());
        let growth = Growth::of(&self.frontier, &all);
        self.files.write(&growth).map_err(|error| io(&error))?;
        let read = self.files.read_again(&growth).map_err(|e| io(&e))?;
        self.cpu_us.push(thread_cpu_us() - cpu);
        self.wall_us.push(began.elapsed().as_secs_f64() * 1e6);
        if read.iter().any(|read| *read != growth.frontier) {
            let text = "what was written is not what is read";
            return Err(Failure::new(Exit::Io, text));
        }
        self.frontier = growth.frontier;
        Ok(())
    }

    /// Proofs of leaves anywhere in a tree of `size` leaves, each with a place of its own.
    fn prove(&mut self, size: u64, turn: u64) -> Result<(), Failure> {
        let each = PROOFS / TURNS;
        let began = Instant::now();
        let mut hashes = 0;
        for number in 0..each {
            let index = anywhere(turn * each + number, size);
            hashes += path(&self.files, index, size)?.len();
        }
        self.proof_us += began.elapsed().as_secs_f64() * 1e6;
        if hashes == 0 && size > 1 {
            return Err(Failure::new(Exit::Io, "proofs have no hashes"));
        }
        Ok(())
    }

    fn at(mut self, leaves: u64) -> At {
        self.wall_us.sort_by(f64::total_cmp);
        self.cpu_us.sort_by(f64::total_cmp);
        At {
            leaves,
            append_us: percentile(&self.wall_us, 50),
            append_cpu_us: percentile(&self.cpu_us, 50),
            proof_us: self.proof_us / (PROOFS as f64),
        }
    }
}

fn path(files: &LogFiles, index: u64, size: u64) -> Result<Vec<[u8; 32]>, Failure> {
    let mut reader = files.reader();
    let path = inclusion(index, size, |node| {
        reader.node(node).map_err(ProofFailed::from)
    });
    path.map_err(|error| io(&error))
}

fn anywhere(number: u64, size: u64) -> u64 {
    let hash = blake3::hash(&number.to_be_bytes());
    let first = hash.as_bytes().first_chunk::<8>();
    first.map_or(0, |first| u64::from_le_bytes(*first) % size.max(1))
}

/// Processor time of this thread, in microseconds.
fn thread_cpu_us() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Measures at both sizes, under `dir`.
pub(super) fn measure(dir: &Path, small: u64, large: u64, seed: u64) -> Result<Sizes, Failure> {
    let mut logs = [
        Log::make(&dir.join("small"), small)?,
        Log::make(&dir.join("large"), large)?,
    ];
    for _ in 0..APPENDS {
        for log in &mut logs {
            log.append()?;
        }
    }
    // One turn that doesn't count: what is read for the first time comes from the disk.
    for turn in 0..=TURNS {
        for (log, size) in logs.iter_mut().zip([small, large]) {
            log.prove(size, turn)?;
            if turn == 0 {
                log.proof_us = 0.0;
            }
        }
    }
    let [small_log, large_log] = logs;
    let proof_leaves = TOLD.min(large);
    let proof_bytes = proof_bytes(&large_log.files, proof_leaves, seed)?;
    let (small, large) = (small_log.at(small), large_log.at(large));
    Ok(Sizes {
        append_ratio: large.append_cpu_us / small.append_cpu_us,
        append_wall_ratio: large.append_us / small.append_us,
        proof_ratio: large.proof_us / small.proof_us,
        proof_leaves,
        proof_bytes,
        small,
        large,
    })
}

/// The longest proof of a hundred leaves and the last one, as it is handed out.
fn proof_bytes(files: &LogFiles, size: u64, seed: u64) -> Result<usize, Failure> {
    let frontier = Frontier::restore(size, |node| files.node(node)).map_err(|e| io(&e))?;
    let key = |role| blocks::log_key(seed, role).map_err(|error| io(&error));
    let log = key(Role::Broker)?;
    let checkpoint = Checkpoint {
        origin: log.public().name().to_owned(),
        size,
        root: frontier.root(),
    };
    let mut note = checkpoint.signed(&log);
    note.sign(&key(Role::TrustOperator)?, blocks::FROM_S);
    let mut longest = 0;
    for index in (0..100)
        .map(|number| anywhere(number, size))
        .chain([size - 1])
    {
        let path = path(files, index, size)?;
        let hash = warifu_consensus::log::leaf_hash(&leaf(index).0);
        verify_inclusion(&hash, index, size, &path, &checkpoint.root).map_err(|e| io(&e))?;
        let proof = LogProof {
            opening: Opening::from_bytes(leaf(index).0),
            index,
            path,
            checkpoint: note.clone(),
        };
        longest = longest.max(proof.to_string().len());
    }
    Ok(longest)
}
