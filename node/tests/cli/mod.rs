//! The commands, as an operator and a customer run them.

mod bench;
mod configuration;
mod control;
mod doctor;
mod edges;
pub(crate) mod house;
mod https;
mod init;
mod ledger;
mod schema;

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs the binary; times and languages don't depend on the machine.
fn warifu<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warifu"))
        .args(args)
        .env("TZ", "Asia/Tokyo")
        .env("LANG", "en_GB.UTF-8")
        .env_remove("LC_ALL")
        .env_remove("LC_MESSAGES")
        .output()
        .unwrap()
}

pub(crate) fn run(args: &[&str], dir: &Path) -> Output {
    let args: Vec<String> = args
        .iter()
        .map(|arg| arg.replace("DIR", dir.to_str().unwrap()))
        .collect();
    warifu(&args)
}

#[track_caller]
pub(crate) fn succeeds(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "failed: {stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The exit code and what stderr says.
#[track_caller]
pub(crate) fn fails(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

/// Both operators' directories `b` and `t`, a device's `d`, all in `dir`.
fn init_all(dir: &Path) {
    for args in [
        "init broker --dir DIR/b --iss https://ledger.example --listen /ip4/127.0.0.1/tcp/7101",
        "init trust-operator --dir DIR/t --broker DIR/b/card.toml --listen /ip4/127.0.0.1/tcp/7102",
        "init broker --dir DIR/b --trust-operator DIR/t/card.toml",
        "init device --dir DIR/d --ledger DIR/t/ledger.toml",
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        succeeds(&run(&args, dir));
    }
}

#[test]
fn exit_codes_stand_in_help_and_wrong_arguments_exit_with_2() {
    let help = succeeds(&warifu(&["--help"]));
    assert!(help.contains("1  refused by a party, or a verification failed"));
    fails(&warifu(&["ledger", "verify"]), 2);
    fails(&warifu(&["no-such-command"]), 2);
}
