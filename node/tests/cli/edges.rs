//! Edges of the command line: values that look like options, texts that go into pipes, files that are
//! not there.

use std::fs;

use super::{fails, init_all, run, succeeds, warifu};

/// Base64url of 43 characters that look like options.
const LIKE_OPTIONS: [&str; 5] = [
    "-hAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "-VAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "--AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "-_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "-hVhVhVhVhVhVhVhVhVhVhVhVhVhVhVhVhVhVhVhVhA",
];

#[test]
fn names_that_look_like_options_are_taken_where_names_belong() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    for name in LIKE_OPTIONS {
        for command in ["approve --number 07", "deny", "freeze", "history"] {
            let mut words: Vec<&str> = command.split(' ').collect();
            words.insert(1, name);
            let mut args = vec!["device", "--dir", "DIR/d"];
            args.extend(words);
            let told = fails(&run(&args, dir.path()), 4);
            assert!(told.contains("no running device answers"), "{name}: {told}");
        }
        let confirm = [
            "enrol",
            "confirm",
            "--customer",
            "alice",
            "--token-file",
            "DIR/none",
            "--ledger",
            "DIR/t/ledger.toml",
            "--pins",
            "DIR/pins",
            name,
            "123456",
        ];
        let told = fails(&run(&confirm, dir.path()), 3);
        assert!(told.contains("token file"), "{name}: {told}");
        // 16 bytes leave four bits of the last character zero.
        let account = format!("{}A", &name[..21]);
        let show = ["ledger", "show", "DIR/none", "--account", &account];
        let told = fails(&run(&show, dir.path()), 5);
        assert!(told.contains("none"), "{account}: {told}");
    }
}

#[test]
fn a_ticket_comes_from_a_file_and_one_in_the_arguments_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let enrol = |ticket: &str| run(&["device", "--dir", "DIR/d", "enrol", ticket], dir.path());
    let told = fails(&enrol("DIR/ticket"), 5);
    assert!(told.contains("could not open"), "{told}");
    fs::write(dir.path().join("ticket"), "warifu:enrol?ticket=AAAA\n").unwrap();
    let told = fails(&enrol("DIR/ticket"), 4);
    assert!(!told.contains("list of processes"), "{told}");
    let told = fails(&enrol("warifu:enrol?ticket=AAAA"), 4);
    assert!(told.contains("list of processes"), "{told}");
    let help = succeeds(&warifu(&["device", "enrol", "--help"]));
    assert!(help.contains("FILE|-"), "{help}");
}

#[test]
fn completions_and_the_manual_page_know_every_command() {
    let commands = [
        "init", "run", "device", "ledger", "login", "enrol", "account", "doctor",
    ];
    for form in ["bash", "elvish", "fish", "powershell", "zsh", "man"] {
        let text = succeeds(&warifu(&["completions", form]));
        for command in commands {
            assert!(text.contains(command), "{command} is missing for {form}");
        }
    }
    assert!(succeeds(&warifu(&["completions", "man"])).contains(".TH"));
    fails(&warifu(&["completions", "cmd"]), 2);
}

#[test]
fn the_version_says_how_it_was_built() {
    let text = succeeds(&warifu(&["--version"]));
    let expected = format!("warifu {} (", env!("CARGO_PKG_VERSION"));
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("journal format 2)"), "{text}");
}

#[test]
fn every_table_of_a_configuration_is_judged_at_once_with_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let path = dir.path().join("b/warifu.toml");
    let text = fs::read_to_string(&path).unwrap();
    let wrong = text
        .replace("log = \"info\"", "log = \"a=b=c\"")
        .replace("= 600", "= 601")
        .replace("https://ledger.example", "ledger\u{e9}");
    fs::write(&path, &wrong).unwrap();
    let told = fails(
        &warifu(&["run", "--dir", dir.path().join("b").to_str().unwrap()]),
        3,
    );
    let line = |part: &str| {
        let at = wrong.lines().position(|line| line.starts_with(part));
        at.unwrap() + 1
    };
    for (part, field) in [
        ("log = \"a=b=c\"", "node.log is"),
        ("ticket_lifetime_s =", "broker.ticket_lifetime_s is 601"),
        ("iss =", "ledger.iss is"),
    ] {
        let expected = format!("warifu.toml, line {}: {field}", line(part));
        assert!(told.contains(&expected), "{expected} is missing in\n{told}");
    }
}
