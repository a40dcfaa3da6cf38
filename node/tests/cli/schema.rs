//! Every field of `warifu.toml`: `init` writes it, and the operating guide explains it. The fields are
//! asked of the parser itself, which names them when it meets one that it doesn't know.

use std::{collections::BTreeSet, fs, path::Path};

use warifu_node::config::{ConfigError, File};

use super::init_all;

const UNKNOWN: &str = "no_such_field_anywhere";

/// The fields that the parser expects in a table, or in each of several; none if that is no table.
fn fields(table: &str) -> Vec<String> {
    let one = fields_below(table, &format!("[{table}]"));
    if one.is_empty() {
        return fields_below(table, &format!("[[{table}]]"));
    }
    one
}

fn fields_below(table: &str, header: &str) -> Vec<String> {
    // What is before the table must stand, for the parser to come to it.
    let ledger = "[ledger]\niss = \"a\"\nbroker = \"b\"\nlog = \"c\"\n";
    let text = match table {
        "" => format!("{UNKNOWN} = 1\n"),
        "ledger" => format!("[ledger]\n{UNKNOWN} = 1\n"),
        "node" => format!("{ledger}[node]\n{UNKNOWN} = 1\n"),
        _ => format!("{ledger}[node]\n{header}\n{UNKNOWN} = 1\n"),
    };
    let Err(ConfigError::Syntax { reason, .. }) = File::parse(Path::new("x"), &text) else {
        panic!("{text} was taken");
    };
    let Some((_, expected)) = reason.split_once("expected") else {
        return Vec::new();
    };
    if !reason.contains(UNKNOWN) || reason.contains("invalid type") {
        return Vec::new();
    }
    let mut names: Vec<String> = expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// Every table with its fields, nested tables included.
fn schema() -> Vec<(String, Vec<String>)> {
    let mut open = fields("");
    assert!(open.len() >= 5, "{open:?}");
    let mut found = Vec::new();
    while let Some(table) = open.pop() {
        let names = fields(&table);
        let nested: Vec<String> = names
            .iter()
            .map(|name| format!("{table}.{name}"))
            .filter(|name| !fields(name).is_empty())
            .collect();
        let plain = names.into_iter().filter(|name| {
            let whole = format!("{table}.{name}");
            !nested.contains(&whole)
        });
        found.push((table.clone(), plain.collect()));
        open.extend(nested);
    }
    found
}

#[test]
fn the_parser_names_its_fields() {
    let found = schema();
    let of = |table: &str| {
        let fields = found.iter().find(|(name, _)| name == table);
        &fields
            .unwrap_or_else(|| panic!("no [{table}] in {found:?}"))
            .1
    };
    for (table, field) in [
        ("ledger", "iss"),
        ("node", "disk_reserve_mib"),
        ("node", "master_key"),
        ("broker", "proposal_lifetime_s"),
        ("trust_operator", "unfreeze_delay_s"),
        ("device", "control"),
    ] {
        assert!(
            of(table).iter().any(|name| name == field),
            "{table}.{field} in {found:?}"
        );
    }
}

#[test]
fn init_writes_every_field_and_the_guide_explains_it() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let mut written = BTreeSet::new();
    for name in ["b", "t", "d"] {
        let text = fs::read_to_string(dir.path().join(name).join("warifu.toml")).unwrap();
        let mut table = String::new();
        for line in text.lines() {
            // An optional field without a value stands there as a comment.
            let line = line.strip_prefix("# ").unwrap_or(line);
            if let Some(header) = line.strip_prefix('[') {
                let name = header.trim_start_matches('[');
                table = name.split(']').next().unwrap().to_owned();
            } else if let Some((field, _)) = line.split_once(" =") {
                written.insert(format!("{table}.{field}"));
            }
        }
    }
    let guide =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md")).unwrap();
    let mut missing = Vec::new();
    for (table, fields) in schema() {
        for field in fields {
            let whole = format!("{table}.{field}");
            if !written.contains(&whole) {
                missing.push(format!("{whole} is not written by init"));
            }
            if ![&whole, &field]
                .iter()
                .any(|name| guide.contains(&format!("`{name}`")))
            {
                missing.push(format!("{whole} is not explained in docs/operating.md"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
