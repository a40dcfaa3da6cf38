//! `warifu bench`, small: that it measures, and that nothing of it stays. Never how fast.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{fails, init_all, succeeds, warifu};

/// How long anything here may take.
const LONGEST: Duration = Duration::from_secs(120);

/// Command lines of processes that name `dir`; this test's own names it nowhere.
fn processes(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    let line = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(dir).then_some(line)
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(line)
        .collect()
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a test waits for other processes"
)]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONGEST, "not within {LONGEST:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn measured(output: &Output) -> Value {
    serde_json::from_str(succeeds(output).trim()).unwrap()
}

/// A bench that would measure for minutes, once its three processes run; and its directory.
fn long_bench() -> (Child, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let bench = Command::new(env!("CARGO_BIN_EXE_warifu"))
        .args(["bench", "logins", "--accounts", "4", "--in-flight", "1"])
        .args(["--seconds", "600", "--dir", dir.path().to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Itself, both operators and the devices.
    wait_until("four processes", || processes(dir.path()).len() == 4);
    (bench, dir)
}

#[test]
fn logins_are_measured_and_nothing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let args = [
        "--json",
        "bench",
        "logins",
        "--accounts",
        "4",
        "--in-flight",
        "2",
        "--seconds",
        "3",
        "--sync-delay-ms",
        "1",
        "--dir",
        place,
    ];
    let found = measured(&warifu(&args));
    assert!(is_empty(dir.path()));
    assert_eq!(processes(dir.path()), Vec::<String>::new());

    let figure = |name: &str| {
        let value = found[name].as_f64();
        value.unwrap_or_else(|| panic!("no figure {name} in {found}"))
    };
    for positive in [
        "logins",
        "logins_per_s",
        "logins_per_s_lowest",
        "cpu_ratio_lowest",
        "p50_ms",
        "p99_ms",
        "cpu_us_per_login",
        "floor_cpu_us_per_login",
        "floor_alone_cpu_us_per_login",
        "fsyncs_per_login",
        "rss_mib",
        "seconds",
    ] {
        assert!(figure(positive) > 0.0, "{positive} in {found}");
    }
    // A file system in memory writes nothing to a disk.
    assert!(figure("disk_bytes_per_login") >= 0.0 && figure("disk_growth_bytes_per_login") >= 0.0);
    assert_eq!(figure("errors"), 0.0, "{found}");
    assert_eq!(
        ["accounts", "in_flight", "sync_delay_ms"].map(figure),
        [4.0, 2.0, 1.0]
    );
    assert!(figure("p50_ms") <= figure("p99_ms"));
    // Each login syncs twice at the broker, and each sync takes a millisecond more.
    assert!(figure("p50_ms") > 2.0, "{found}");

    let roles = found["cpu_us_per_login_by_role"].as_object().unwrap();
    let names: Vec<&str> = roles.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["broker", "devices", "login_service", "trust_operator"]
    );
    let sum: f64 = roles.values().map(|us| us.as_f64().unwrap()).sum();
    assert!((sum - figure("cpu_us_per_login")).abs() < 1.0);
    let ratio = figure("cpu_us_per_login") / figure("floor_cpu_us_per_login");
    assert!((ratio - figure("cpu_ratio")).abs() < 0.01);
    // Three seconds are measured in a slice of two and one of one.
    assert_eq!(figure("slices"), 2.0);
    for (name, lowest, highest) in [
        ("cpu_ratio", "cpu_ratio_lowest", "cpu_ratio_highest"),
        (
            "logins_per_s",
            "logins_per_s_lowest",
            "logins_per_s_highest",
        ),
    ] {
        let (lowest, highest) = (figure(lowest), figure(highest));
        assert!((lowest..=highest).contains(&figure(name)), "{found}");
    }
}

#[test]
fn idle_devices_are_measured_and_nothing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let args = [
        "--json",
        "bench",
        "idle",
        "--devices",
        "3",
        "--settle",
        "1",
        "--dir",
        place,
    ];
    let found = measured(&warifu(&args));
    assert!(is_empty(dir.path()));
    assert_eq!(processes(dir.path()), Vec::<String>::new());
    assert_eq!(found["devices"], 3);
    assert!(found["kib_per_idle_device"].as_f64().unwrap() >= 0.0);
    for name in ["rss_mib", "rss_mib_without_devices"] {
        assert!(found[name].as_f64().unwrap() > 1.0, "{name} in {found}");
    }
}

#[test]
fn the_log_is_measured_and_nothing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let args = [
        "--json",
        "bench",
        "log",
        "--rate",
        "50",
        "--seconds",
        "1",
        "--accounts",
        "7",
        "--small",
        "300",
        "--large",
        "3000",
        "--dir",
        place,
    ];
    let found = measured(&warifu(&args));
    assert!(is_empty(dir.path()));
    assert_eq!(processes(dir.path()), Vec::<String>::new());
    let positive = |pointer: &str| {
        let figure = found.pointer(pointer).and_then(serde_json::Value::as_f64);
        assert!(
            figure.is_some_and(|figure| figure > 0.0),
            "{pointer} in {found}"
        );
        figure.unwrap()
    };
    for half in ["/paced", "/full"] {
        for name in [
            "blocks",
            "proofs",
            "appends_per_s",
            "p50_ms",
            "prove_p50_us",
        ] {
            positive(&format!("{half}/{name}"));
        }
        let [p50, p99, max] =
            ["p50_ms", "p99_ms", "max_ms"].map(|n| positive(&format!("{half}/{n}")));
        assert!(p50 <= p99 && p99 <= max, "{found}");
    }
    // Half a second of the pace, at least, and nothing is lost on the way.
    assert!(positive("/paced/blocks") >= 25.0, "{found}");
    assert_eq!(
        positive("/broker/blocks"),
        positive("/trust_operator/blocks")
    );
    for operator in ["broker", "trust_operator"] {
        // 32 bytes of leaf in the journal and in a file, 16 of account.
        assert!(positive(&format!("/{operator}/stream")) > 48.0, "{found}");
        assert!(positive(&format!("/{operator}/files")) >= 32.0, "{found}");
    }
    assert_eq!(found["broker"]["openers"], 0.0, "it derives them");
    positive("/trust_operator/openers");
    for name in ["append_ratio", "append_wall_ratio", "proof_ratio"] {
        positive(&format!("/sizes/{name}"));
    }
    assert_eq!(found["sizes"]["proof_leaves"], 3000);
    let bytes = positive("/sizes/proof_bytes");
    assert!((800.0..1400.0).contains(&bytes), "{found}");
}

#[test]
fn too_few_accounts_are_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let args = [
        "bench",
        "logins",
        "--accounts",
        "3",
        "--in-flight",
        "4",
        "--dir",
        place,
    ];
    let said = fails(&warifu(&args), 2);
    assert!(said.contains("--accounts 3 --in-flight 4"), "{said}");
    assert!(is_empty(dir.path()));
}

#[test]
fn a_bench_that_is_told_to_stop_takes_everything_with_it() {
    let (mut bench, dir) = long_bench();
    let pid = Pid::from_raw(i32::try_from(bench.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(6));
    assert_eq!(processes(dir.path()), Vec::<String>::new());
    assert!(is_empty(dir.path()));
}

#[test]
fn processes_do_not_outlive_a_bench_that_is_killed() {
    let (mut bench, dir) = long_bench();
    bench.kill().unwrap();
    bench.wait().unwrap();
    wait_until("no process", || processes(dir.path()).is_empty());
}

/// `bench devices` for one device in `dir`, told `line` and nothing more.
fn devices(dir: &Path, line: &str) -> Output {
    let mut devices = Command::new(env!("CARGO_BIN_EXE_warifu"))
        .args(["bench", "devices", "--devices", "1", "--dir"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = devices.stdin.take().unwrap();
    // A process that has refused already reads nothing.
    let _ = writeln!(input, "{line}");
    drop(input);
    devices.wait_with_output().unwrap()
}

#[test]
fn devices_that_are_not_a_benchs_own_are_not_opened() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    init_all(&place);
    let bench = place.join("bench");
    let device = bench.join("00000");
    fs::create_dir(&bench).unwrap();
    let ledger = place.join("t").join("ledger.toml");
    let args = ["init", "device", "--dir", device.to_str().unwrap()];
    let args = [&args[..], &["--ledger", ledger.to_str().unwrap()]].concat();
    succeeds(&warifu(&args));
    let is_unopened = || !device.join("data").exists();

    let right = r#"{"marker":{"marker":"of-this-bench"}}"#;
    let number = r#"{"number":{"device":0,"nonce":"x","number":7}}"#;
    let said = fails(&devices(&bench, right), 1);
    assert!(said.contains("bench.marker"), "{said}");
    let marker = bench.join("bench.marker");
    fs::write(&marker, "of-this-bench").unwrap();
    fs::set_permissions(&marker, fs::Permissions::from_mode(0o600)).unwrap();
    for line in [
        "",
        number,
        r#"{"marker":{"marker":""}}"#,
        r#"{"marker":{"marker":"of-another-bench"}}"#,
    ] {
        fails(&devices(&bench, line), 1);
    }
    let link = place.join("link");
    symlink(&bench, &link).unwrap();
    fails(&devices(&link, right), 1);
    assert!(is_unopened());

    // Another's device, by a link of its directory, or of its data.
    let aside = place.join("aside");
    fs::rename(&device, &aside).unwrap();
    symlink(place.join("d"), &device).unwrap();
    let said = fails(&devices(&bench, right), 1);
    assert!(said.contains("symbolic link"), "{said}");
    fs::remove_file(&device).unwrap();
    fs::rename(&aside, &device).unwrap();
    fs::create_dir(place.join("elsewhere")).unwrap();
    symlink(place.join("elsewhere"), device.join("data")).unwrap();
    let said = fails(&devices(&bench, right), 1);
    assert!(
        said.contains("elsewhere") || said.contains("data"),
        "{said}"
    );
    fs::remove_file(device.join("data")).unwrap();
    assert!(is_unopened());

    let said = succeeds(&devices(&bench, right));
    assert!(said.contains("ready"), "{said}");
    assert!(!is_unopened());
}
