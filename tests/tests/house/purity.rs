//! Who may name what: the core has no world around it, and each risky crate has one home.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{Source, all_sources, names, sources, without_comment};

/// Longest file of `src`, in lines, tests inside it included.
const MAX_LINES: usize = 600;

/// What reads or changes anything outside a function's arguments, or waits for it. Sets and maps
/// with random order are among it: their order would leak into outputs.
const WORLDLY: [&str; 23] = [
    "fs",
    "net",
    "env",
    "process",
    "thread",
    "File",
    "TcpStream",
    "SystemTime",
    "Instant",
    "OsRng",
    "thread_rng",
    "getrandom",
    "rand",
    "HashMap",
    "HashSet",
    "tokio",
    "futures",
    "async",
    "await",
    "println",
    "eprintln",
    "static",
    "thread_local",
];

/// Code lines of `sources` with one of `words`.
fn naming(sources: &[Source], words: &[&str]) -> Vec<String> {
    let named = |code: &str| words.iter().any(|word| names(code, word));
    sources
        .iter()
        .flat_map(|source| source.pick(named))
        .collect()
}

/// Files of every crate's `src` with a code line that `wanted` picks.
fn homes(wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let all = all_sources();
    let homes = all.iter().filter(|source| !source.pick(&wanted).is_empty());
    homes.map(|source| source.path.clone()).collect()
}

fn set<const N: usize>(paths: [&str; N]) -> BTreeSet<String> {
    paths.map(str::to_owned).into()
}

const NONE: [String; 0] = [];

#[test]
fn consensus_is_pure() {
    // `'static` is a lifetime, not a variable.
    let found = naming(&sources("consensus/src"), &WORLDLY);
    let found: Vec<String> = found
        .into_iter()
        .filter(|line| !line.contains("'static"))
        .collect();
    assert_eq!(found, NONE);

    let worldly = naming(
        &sources("client-sdk/src"),
        &["tokio", "async", "fs", "Instant"],
    );
    assert!(
        worldly.len() > 50,
        "the same reading must find them where they belong"
    );
}

#[test]
fn one_file_of_a_crate_names_bincode() {
    let expected = ["client-sdk/src/store/encoding.rs", "consensus/src/wire.rs"];
    assert_eq!(homes(|code| names(code, "bincode")), set(expected));
}

#[test]
fn one_file_names_sled() {
    assert_eq!(
        homes(|code| names(code, "sled")),
        set(["node/src/store/index.rs"])
    );
}

#[test]
fn only_the_share_module_names_frost() {
    let homes = homes(|code| code.contains("frost_core") || code.contains("frost_ed25519"));
    let elsewhere: Vec<_> = homes
        .iter()
        .filter(|path| !path.starts_with("consensus/src/share/"))
        .collect();
    assert_eq!(elsewhere, Vec::<&String>::new());
    assert!(
        homes.contains("consensus/src/share/library.rs"),
        "found {homes:?}"
    );
}

/// Where the simulator's auditor lives.
const AUDITOR: &str = "tests/simulator/src/audit";

/// An auditor that borrowed the parties' own rules would share their mistakes.
#[test]
fn the_auditor_shares_no_code_with_the_parties() {
    let auditor = sources(AUDITOR);
    let theirs = ["warifu_consensus", "warifu_client_sdk", "crate"];
    assert_eq!(naming(&auditor, &theirs), NONE);
    // Upwards, past its own directory, there is the rest of the simulator.
    let reaches_out = |source: &&Source| {
        let upwards = if source.path.ends_with("/mod.rs") {
            "super::"
        } else {
            "super::super"
        };
        !source.pick(|code| code.contains(upwards)).is_empty()
    };
    assert!(!auditor.iter().any(|source| reaches_out(&source)));
    let own = auditor
        .iter()
        .flat_map(|source| source.pick(|code| names(code, "verify_strict")));
    assert_eq!(
        own.count(),
        1,
        "the auditor verifies by itself, in one place"
    );
    let elsewhere = naming(&sources("tests/simulator/src"), &["warifu_consensus"]);
    assert!(
        elsewhere.len() > 10,
        "the same reading must find it elsewhere"
    );
}

/// A node's clock, and that of a login service, which has no node.
#[test]
fn two_files_read_the_system_clock() {
    let clocks = ["client-sdk/src/login_service/clock.rs", "node/src/clock.rs"];
    assert_eq!(homes(|code| names(code, "SystemTime")), set(clocks));
}

#[test]
fn unsafe_is_nowhere() {
    let mut all = all_sources();
    let tests = [
        "client-sdk/tests",
        "consensus/tests",
        "examples/tests",
        "node/tests",
        "tests/model/tests",
        "tests/simulator/tests",
        "tests/tests",
    ];
    all.extend(tests.iter().flat_map(|directory| sources(directory)));
    // This file is the one that must spell the word.
    all.retain(|source| source.path != "tests/tests/house/purity.rs");
    let is_unsafe = |code: &str| {
        [
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "unsafe trait",
            "unsafe extern",
            "unsafe(",
        ]
        .iter()
        .any(|form| code.contains(form))
    };
    let found: Vec<String> = all
        .iter()
        .flat_map(|source| source.pick(is_unsafe))
        .collect();
    assert_eq!(found, NONE);
}

/// A signed or hashed thing's context: a string that begins with `warifu` and holds a version.
fn context(code: &str) -> Option<&str> {
    let (_, rest) = code.split_once("\"warifu")?;
    let (text, _) = rest.split_once('"')?;
    (text.contains("/1") || text.ends_with(" v1")).then_some(text)
}

#[test]
fn consensus_has_one_file_of_contexts() {
    let consensus = sources("consensus/src");
    let named = consensus
        .iter()
        .flat_map(|source| source.pick(|code| context(code).is_some()));
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        named.partition(|line| line.starts_with("consensus/src/encoding.rs:"));
    assert_eq!(elsewhere, NONE);
    assert!(here.len() > 10, "found {here:?}");
}

#[test]
fn no_context_stands_for_two_things() {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // An auditor spells them by itself, from docs/protocol.md: it shares no code with what it audits.
    let is_auditor = |path: &str| path.ends_with("/audit.rs") || path.contains("/audit/");
    for source in all_sources() {
        if is_auditor(&source.path) {
            continue;
        }
        for (number, code) in source.code() {
            if let Some(text) = context(code) {
                let places = seen.entry(text.to_owned()).or_default();
                places.push(format!("{}:{number}", source.path));
            }
        }
    }
    let twice: Vec<_> = seen.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(seen.len() > 15, "found {seen:?}");
}

#[test]
fn no_file_has_outgrown_its_idea() {
    let all = all_sources();
    let long = all.iter().filter(|source| source.lines.len() > MAX_LINES);
    let long: Vec<String> = long
        .map(|source| format!("{} has {} lines", source.path, source.lines.len()))
        .collect();
    assert_eq!(
        long, NONE,
        "at most {MAX_LINES} lines: look for the second idea"
    );
}

#[test]
fn words_are_found_whole_and_outside_comments() {
    assert!(names("use std::{fs, io};", "fs"));
    assert!(names("tokio::spawn(work)", "tokio"));
    assert!(!names("let offset = offs;", "fs"));
    assert!(!names("getrandom_like()", "getrandom"));
    assert_eq!(without_comment("    /// reads with std::fs"), "");
    assert_eq!(without_comment("let a = 1; // not Instant"), "let a = 1;");
    assert_eq!(without_comment("\"https://a\""), "\"https://a\"");
}
