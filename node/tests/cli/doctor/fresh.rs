//! Directories as `warifu init` leaves them, and as they should not be.

use super::*;

#[test]
fn a_directory_that_is_none_is_pointed_to_init() {
    let dir = tempfile::tempdir().unwrap();
    let findings = doctor(dir.path(), &[]);
    findings.fails("config", "warifu init broker", 3);
    let findings = doctor(&dir.path().join("nothing"), &[]);
    findings.fails("config", "is no node's directory", 3);
    let told = warifu(&["run", "--dir", dir.path().to_str().unwrap()]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(
        told.contains("make one with `warifu init broker`"),
        "{told}"
    );
}

#[test]
fn fresh_directories_of_every_role_are_well() {
    let house = House::new();
    for name in ["b", "t", "d"] {
        let findings = house.offline(name);
        for check in ["config", "directory", "identity", "master key"] {
            findings.is_well(check);
        }
        findings.has("journal", "note", "there is none yet");
        findings.has("process", "note", "no node runs");
        assert!(
            findings.list.iter().all(|f| f["level"] != "error"),
            "{:#?}",
            findings.list
        );
    }
    let text = warifu(&["doctor", house.path("b").to_str().unwrap(), "--offline"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("ok       directory    "), "{text}");
    assert!(
        !text.contains('\x1b'),
        "colours although stdout is no terminal"
    );
}

#[test]
fn files_that_others_read_and_keys_of_others_are_named() {
    let house = House::new();
    chmod(&house.path("b"), 0o755);
    let key = house.path("b.master-key");
    chmod(&key, 0o644);
    let findings = house.offline("b");
    findings.has("directory", "warning", "mode 0755");
    findings.fails("master key", "mode 0644", 3);
    chmod(&key, 0o600);
    chmod(&house.path("b"), 0o700);
    chmod(&house.path("b/tokens.toml"), 0o640);
    house.offline("b").fails("tokens", "mode 0640", 3);
    chmod(&house.path("b/tokens.toml"), 0o600);
    fs::write(house.path("b/tokens.toml"), "").unwrap();
    house
        .offline("b")
        .has("tokens", "warning", "names no caller");
    fs::copy(house.path("t/identity.key"), house.path("b/identity.key")).unwrap();
    house.offline("b").fails("identity", "holds the key", 3);
    fs::remove_file(key).unwrap();
    house
        .offline("b")
        .has("master key", "error", "b.master-key");
}

#[test]
fn data_is_private_and_what_an_older_release_left_open_is_named() {
    let house = House::new();
    house.found("b", 1, true);
    let data = house.path("b/data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for part in ["journal", "vault", "index"] {
        let part = data.join(part);
        assert_eq!(mode(&part), 0o700, "{}", part.display());
        if part.ends_with("index") {
            continue;
        }
        for file in fs::read_dir(&part).unwrap() {
            let file = file.unwrap().path();
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
    assert_eq!(mode(&data), 0o700);
    house.offline("b").is_well("data");
    let file = data.join("vault/00000001.seg");
    for (path, as_made, open) in [
        (&data, 0o700, 0o755),
        (&data.join("journal"), 0o700, 0o711),
        (&data.join("index"), 0o700, 0o750),
        (&file, 0o600, 0o644),
    ] {
        chmod(path, open);
        let expected = format!("{} has mode {open:04o}", path.display());
        house.offline("b").has("data", "warning", &expected);
        chmod(path, as_made);
    }
    house.offline("b").is_well("data");
}

#[test]
fn a_configuration_of_a_later_release_is_told_as_such() {
    let house = House::new();
    house.edit("t", "[node]\n", "[node]\ncolour = 1\n");
    let findings = house.offline("t");
    findings.fails("config", "unknown field `colour`", 3);
    let advice = findings.has("config", "error", "colour")["do"]
        .as_str()
        .unwrap();
    assert!(advice.contains("later release"), "{advice}");
}
