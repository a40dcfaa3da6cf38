//! The table of limits in docs/protocol.md says what the code says, in both directions.

use std::{collections::BTreeMap, fs};

use super::sources::root;

/// One place of limits per crate, and the heading under which the table tells them.
const PLACES: [&str; 4] = [
    "consensus/src/time.rs",
    "consensus/src/agree/limits.rs",
    "client-sdk/src/transport/limits.rs",
    "node/src/api/limits.rs",
];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A value as the table writes it: a number with commas, `KiB` and `MiB`, `s` and `ms`.
fn value(expression: &str) -> Option<String> {
    for (call, unit) in [("from_secs(", "s"), ("from_millis(", "ms")] {
        if let Some(rest) = expression
            .strip_prefix("Duration::")
            .and_then(|e| e.strip_prefix(call))
        {
            return Some(format!(
                "{} {unit}",
                grouped(number(rest.strip_suffix(')')?)?)
            ));
        }
    }
    let number = number(expression)?;
    Some(match expression.contains("* 1024") {
        true if number.is_multiple_of(1 << 20) => format!("{} MiB", number >> 20),
        true => format!("{} KiB", number >> 10),
        false => grouped(number),
    })
}

fn number(expression: &str) -> Option<u64> {
    let factors = expression.split('*');
    let factor = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    factors.map(factor).product()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The constants of a file, by name; private ones of functions and tests stand deeper and are left out.
fn in_code(path: &str) -> BTreeMap<String, String> {
    let text = read(path);
    let declared = text.lines().filter_map(|line| {
        let rest = ["pub const ", "pub(super) const "]
            .iter()
            .find_map(|begin| line.strip_prefix(begin))?;
        let (name, rest) = rest.split_once(": ")?;
        let (_, expression) = rest.split_once(" = ")?;
        let is_bound = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let found = value(expression.strip_suffix(';')?);
        is_bound.then(|| {
            let found = found.unwrap_or_else(|| panic!("{path}: {name} = {expression}"));
            (name.to_owned(), found)
        })
    });
    declared.collect()
}

/// The rows under a file's heading: name and value.
fn in_table(path: &str) -> BTreeMap<String, String> {
    let text = read("docs/protocol.md");
    let heading = format!("\n`{path}`:\n");
    let rest = text.split(&heading).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("docs/protocol.md has no table of {path}"));
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert!(cells[3].len() > 8, "no reason: {row}");
        (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())
    })
    .collect()
}

#[test]
fn every_limit_stands_in_the_table_with_its_value() {
    for path in PLACES {
        let (code, table) = (in_code(path), in_table(path));
        assert!(code.len() > 2, "{path} has hardly a limit");
        assert_eq!(code, table, "{path} and docs/protocol.md");
    }
}

#[test]
fn a_value_has_one_spelling() {
    for (expression, expected) in [
        ("64 * 1024", "64 KiB"),
        ("1024 * 1024", "1 MiB"),
        ("65_536", "65,536"),
        ("48", "48"),
        ("Duration::from_secs(600)", "600 s"),
        ("Duration::from_millis(1_500)", "1,500 ms"),
    ] {
        assert_eq!(value(expression).as_deref(), Some(expected));
    }
    assert_eq!(value("OTHER"), None);
}
