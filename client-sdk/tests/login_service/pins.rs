//! Pins are written once, by whatever store.

use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use warifu_client_sdk::login_service::{
    FilePins, MemoryPins, Pin, PinError, PinStore, Token, TokenError,
};
use warifu_consensus::party::Sub;

fn pin(n: u8) -> Pin {
    Pin {
        account: Sub([n; 16]),
        account_key: [n; 32],
    }
}

fn keeps_the_rules(pins: &impl PinStore) {
    assert_eq!(pins.pinned("1001").unwrap(), None);
    pins.pin("1001", pin(1)).unwrap();
    pins.pin("1001", pin(1)).unwrap();
    assert_eq!(pins.pinned("1001").unwrap(), Some(pin(1)));
    assert_eq!(pins.of_account(pin(1).account).unwrap(), Some(pin(1)));
    assert_eq!(pins.of_account(pin(2).account).unwrap(), None);
    assert!(matches!(
        pins.pin("1001", pin(2)),
        Err(PinError::Pinned { .. })
    ));
    let same_account_other_key = Pin {
        account_key: [9; 32],
        ..pin(1)
    };
    assert!(matches!(
        pins.pin("1001", same_account_other_key),
        Err(PinError::Pinned { .. })
    ));
    for taken in [
        pin(1),
        same_account_other_key,
        Pin {
            account: Sub([7; 16]),
            ..pin(1)
        },
    ] {
        assert!(matches!(
            pins.pin("1002", taken),
            Err(PinError::Taken { .. })
        ));
    }
    assert!(matches!(
        pins.pin("", pin(3)),
        Err(PinError::Customer { found: 0 })
    ));
    assert!(pins.pin(&"x".repeat(257), pin(3)).is_err());
    assert_eq!(pins.pinned("1001").unwrap(), Some(pin(1)));
    assert_eq!(pins.pinned("1002").unwrap(), None);
}

#[test]
fn in_memory() {
    keeps_the_rules(&MemoryPins::default());
}

#[test]
fn in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.json");
    keeps_the_rules(&FilePins::new(&path));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = FilePins::new(&path);
    assert_eq!(again.pinned("1001").unwrap(), Some(pin(1)));
    // A leftover of a crash, open to others, is not what the next pin is written into.
    let leftover = dir.path().join("pins.json.new");
    std::fs::write(&leftover, "half").unwrap();
    std::fs::set_permissions(&leftover, std::fs::Permissions::from_mode(0o666)).unwrap();
    again.pin("1002", pin(2)).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_damaged_file_is_an_error_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.json");
    let pins = FilePins::new(&path);
    pins.pin("1001", pin(1)).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    for damaged in [
        String::new(),
        good[..good.len() / 2].to_owned(),
        good.replace("pins/1", "pins/2"),
        good.replace("\"crv\"", "\"crw\""),
        good.replace("\"kty\": \"OKP\"", "\"kty\": \"EC\""),
        good.replace("\"x\": \"A", "\"x\": \"=A"),
    ] {
        assert_ne!(damaged, good);
        std::fs::write(&path, &damaged).unwrap();
        assert!(pins.pinned("1001").is_err(), "{damaged}");
        if !damaged.contains("EC") && !damaged.contains("=A") {
            assert!(pins.pin("1002", pin(2)).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
        }
    }
}

#[test]
fn of_many_writers_at_once_none_is_lost_and_one_wins_a_customer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins.json");
    let barrier = Barrier::new(8);
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u8)
            .map(|n| {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    let pins = FilePins::new(path);
                    barrier.wait();
                    pins.pin(&format!("own-{n}"), pin(n + 1)).unwrap();
                    usize::from(pins.pin("shared", pin(n + 101)).is_ok())
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
    let pins = FilePins::new(&path);
    for n in 0..8 {
        let own = pins.pinned(&format!("own-{n}")).unwrap();
        assert_eq!(own, Some(pin(n + 1)));
    }
}

#[test]
fn tokens_come_from_private_files_and_are_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "warifu-token-0123456789abcdef\n").unwrap();
    let set = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(0o640);
    assert!(matches!(
        Token::from_file(&path),
        Err(TokenError::Mode { found: 0o640, .. })
    ));
    set(0o600);
    let token = Token::from_file(&path).unwrap();
    assert_eq!(format!("{token:?}"), "Token(<redacted>)");
    for bad in [
        "short",
        "white space inside the token",
        "line\nbreak-in-the-token",
        "",
    ] {
        assert!(matches!(Token::new(bad), Err(TokenError::Form { .. })));
    }
}
