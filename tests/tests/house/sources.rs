//! The workspace's sources as text: code lines, without comments.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Directories of sources that the house's rules are about.
pub(crate) const CRATES: [&str; 7] = [
    "consensus",
    "client-sdk",
    "node",
    "examples",
    "tests",
    "tests/model",
    "tests/simulator",
];

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("a member has a workspace").to_owned()
}

/// One Rust file.
pub(crate) struct Source {
    /// Path from the root, `/` between names.
    pub(crate) path: String,
    /// The file's lines as they stand.
    pub(crate) lines: Vec<String>,
}

impl Source {
    /// Lines by number from 1, what `//` begins cut off. `//` inside a string counts as a comment
    /// only after a space, as house strings never have it.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().enumerate();
        lines.map(|(at, line)| (at + 1, without_comment(line)))
    }

    /// `path:line: text` of each code line that `wanted` picks.
    pub(crate) fn pick(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.code().filter(|(_, code)| wanted(code));
        lines
            .map(|(number, code)| format!("{}:{number}: {}", self.path, code.trim()))
            .collect()
    }
}

/// Every Rust file below `directory`, in order; fails if there is none.
pub(crate) fn sources(directory: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(directory), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no sources in {directory}");
    files.iter().map(|file| read(file)).collect()
}

/// The `src` directories of every crate.
pub(crate) fn all_sources() -> Vec<Source> {
    let directories = CRATES.iter().map(|name| format!("{name}/src"));
    directories.flat_map(|src| sources(&src)).collect()
}

/// Whether `code` holds `word` with no letter, digit or underscore on either side.
pub(crate) fn names(code: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("a directory's entry is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

fn read(file: &Path) -> Source {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let path = file.strip_prefix(root()).expect("below the root");
    Source {
        path: path.to_string_lossy().replace('\\', "/"),
        lines: text.lines().map(str::to_owned).collect(),
    }
}

/// A line up to its comment, if it has one.
pub(crate) fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.split_once(" //").map_or(line, |(code, _)| code)
}
