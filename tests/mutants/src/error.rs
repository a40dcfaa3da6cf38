//! What can go wrong.

use std::{io, path::PathBuf};

/// Why no verdict could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("{program}: {source}; cargo-mutants is had by `cargo install --locked cargo-mutants`")]
    Program {
        /// Which.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program ended without doing its work.
    #[error("{program} ended with {status}")]
    Ended {
        /// Which, with what it was to do.
        program: &'static str,
        /// How.
        status: String,
    },
    /// What cargo-mutants printed is not what this was written against.
    #[error("cargo-mutants printed something else than expected: {0}")]
    Json(#[from] serde_json::Error),
    /// A mutant that does not fit its file.
    #[error("cargo-mutants listed {name:?}, which does not fit the file")]
    Listed {
        /// The mutant's name.
        name: String,
    },
    /// A line of the results is none.
    #[error("{}:{line}: found {found:?}, expected function, text, place, change, verdict and note with tabs between", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// The tests fail without any mutation.
    #[error("the tests of {packages} fail without a mutation; see {}", log.display())]
    Baseline {
        /// Whose tests.
        packages: String,
        /// Where their output is.
        log: PathBuf,
    },
    /// A shard that is none.
    #[error("a shard is K/N with K below N, found {0:?}")]
    Shard(String),
}
