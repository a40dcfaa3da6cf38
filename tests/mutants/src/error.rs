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
    #[error("{program}: {source}")]
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
    #[error("{test} fails without a mutation")]
    Baseline {
        /// The first that did.
        test: String,
    },
    /// A source file is no Rust.
    #[error("a source file can't be read: {0}")]
    Source(#[from] syn::Error),
    /// The compiler objects to something else than a mutant.
    #[error("{file}:{line}: {what}, in none of the mutants")]
    Build {
        /// The file, as the compiler names it.
        file: String,
        /// Counted from 1, in the file with its mutants.
        line: usize,
        /// The compiler's code or message.
        what: String,
    },
    /// A shard that is none.
    #[error("a shard is K/N with K below N, found {0:?}")]
    Shard(String),
}
