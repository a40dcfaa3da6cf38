//! The control channel between `warifu device` and a running device.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use warifu_consensus::body::Detail;
use warifu_node::control::{
    self, AccountView, Answer, ControlClient, ControlError, ControlHandler, DecisionState,
    DecisionView, EnrolState, EnrolView, HistoryView, MAX_REQUEST, PendingView, RefusalKind,
    RefusalView, Request,
};

use super::{fails, init_all, run, succeeds};

/// A device that has seen it all: answers from a script, and remembers what it was asked.
#[derive(Default)]
struct Script {
    asked: Mutex<Vec<Request>>,
    pending: usize,
    polls: Mutex<u32>,
}

const SUB: &str = "AAAAAAAAAAAAAAAAAAAAAA";

fn proposal(number: usize) -> PendingView {
    PendingView {
        proposal: format!("{number}{}", "A".repeat(42)),
        account: SUB.to_owned(),
        kind: "login".to_owned(),
        aud: "https://bank.example".to_owned(),
        channel: "web".to_owned(),
        address: "192.0.2.7".to_owned(),
        details: vec![Detail {
            label: "Branch".to_owned(),
            value: "Kyoto".to_owned(),
        }],
        reference: None,
        exp: 1_790_000_090,
        height: 4,
    }
}

impl ControlHandler for Script {
    async fn answer(&self, request: Request) -> Answer {
        self.asked.lock().unwrap().push(request.clone());
        let enrolment = |state, digits: Option<&str>, account: Option<&str>| {
            Answer::Enrolment(EnrolView {
                session: "S".repeat(43),
                state,
                digits: digits.map(str::to_owned),
                account: account.map(str::to_owned),
                reason: None,
            })
        };
        let decided = |state, proposal| {
            Answer::Decided(DecisionView {
                account: SUB.to_owned(),
                proposal,
                state,
                height: Some(4),
                reason: Some("the number was wrong".to_owned()),
                reason_ja: Some("番号が違います".to_owned()),
            })
        };
        match request {
            Request::Enrol { .. } => enrolment(EnrolState::Running, None, None),
            Request::Enrolment { .. } => {
                let mut polls = self.polls.lock().unwrap();
                *polls += 1;
                match *polls {
                    1 => enrolment(EnrolState::Digits, Some("042137"), None),
                    _ => enrolment(EnrolState::Done, Some("042137"), Some(SUB)),
                }
            }
            Request::Accounts => Answer::Accounts(vec![AccountView {
                account: SUB.to_owned(),
                status: "active".to_owned(),
                height: Some(3),
                head: None,
                broker_line: true,
            }]),
            Request::Pending => Answer::Pending((0..self.pending).map(proposal).collect()),
            Request::Approve {
                proposal,
                number: 7,
            } => decided(DecisionState::Sealed, Some(proposal)),
            Request::Approve { proposal, .. } => decided(DecisionState::Refused, Some(proposal)),
            Request::Deny { proposal, .. } => decided(DecisionState::Sent, Some(proposal)),
            Request::Freeze { .. } => decided(DecisionState::Sealed, None),
            Request::Erase { account } => Answer::Erased(account),
            Request::History { account } if account == SUB => Answer::History(vec![HistoryView {
                height: 0,
                kind: "genesis".to_owned(),
                aud: "https://ledger.example".to_owned(),
                iat: 0,
                hash: "H".repeat(43),
                supersedes: None,
                channel: None,
                address: None,
                details: Vec::new(),
            }]),
            Request::History { .. } => Answer::Refused(RefusalView {
                kind: RefusalKind::Unknown,
                reason: "no such account".to_owned(),
                reason_ja: None,
            }),
        }
    }
}

/// A running scripted device in a directory made by `init`.
struct Running {
    dir: TempDir,
    script: Arc<Script>,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    fn new(pending: usize) -> Running {
        let dir = tempfile::tempdir().unwrap();
        init_all(dir.path());
        let script = Arc::new(Script {
            pending,
            ..Script::default()
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let path = dir.path().join("d/control.sock");
        let listener = runtime.block_on(control::listen(&path)).unwrap();
        runtime.spawn(control::serve(listener, Arc::clone(&script)));
        Running {
            dir,
            script,
            runtime,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("d/control.sock")
    }

    fn device(&self, args: &str) -> std::process::Output {
        let args = format!("device --dir DIR/d {args}");
        let args: Vec<&str> = args.split(' ').collect();
        run(&args, self.dir.path())
    }

    fn last(&self) -> Request {
        self.script.asked.lock().unwrap().last().unwrap().clone()
    }
}

fn exchange(path: &Path, line: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(line).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

#[test]
fn the_socket_is_private_and_has_one_owner() {
    let running = Running::new(0);
    let path = running.socket();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    let second = running.runtime.block_on(control::listen(&path));
    assert!(matches!(second, Err(ControlError::InUse { .. })));
    // A socket that a killed device left is taken over.
    drop(running.runtime);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert!(path.exists());
    runtime.block_on(control::listen(&path)).unwrap();
}

#[test]
fn oversize_and_malformed_lines_are_refused_and_the_device_goes_on() {
    let running = Running::new(1);
    let path = running.socket();
    let mut long = vec![b' '; MAX_REQUEST];
    for line in [
        &long[..],
        b"{\"approve\":{}}\n",
        b"\xff\n",
        b"\"pending\" \"pending\"\n",
    ] {
        let answer: Answer = serde_json::from_str(&exchange(&path, line)).unwrap();
        let Answer::Refused(RefusalView { kind, .. }) = answer else {
            panic!("answered {answer:?}");
        };
        assert_eq!(kind, RefusalKind::Malformed);
    }
    assert!(running.script.asked.lock().unwrap().is_empty());
    // The longest line that is allowed.
    long.truncate(MAX_REQUEST - b"\"pending\"\n".len());
    long.extend_from_slice(b"\"pending\"\n");
    assert!(exchange(&path, &long).starts_with("{\"pending\":["));
    // Cut off before its end, a line is no request.
    let mut cut = UnixStream::connect(&path).unwrap();
    cut.write_all(b"{\"freeze\":{\"account\":\"A\"}}").unwrap();
    cut.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    BufReader::new(cut).read_line(&mut answer).unwrap();
    assert_eq!((answer.as_str(), running.last()), ("", Request::Pending));
    let request = Request::Enrol {
        uri: "x".repeat(MAX_REQUEST),
    };
    let sent = running
        .runtime
        .block_on(ControlClient::new(&path).ask(&request));
    assert!(matches!(sent, Err(ControlError::Line { .. })));
}

#[test]
fn many_clients_that_say_nothing_keep_nobody_out_for_long() {
    let running = Running::new(0);
    let path = running.socket();
    let idle: Vec<UnixStream> = (0..15)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    assert_eq!(exchange(&path, b"\"pending\"\n"), "{\"pending\":[]}\n");
    drop(idle);
}

#[test]
fn approving_shows_the_proposal_and_sends_the_number() {
    let running = Running::new(1);
    let told = succeeds(&running.device("approve --number 07"));
    let order = [
        "Log in to https://bank.example",
        "what the broker states",
        "192.0.2.7",
        "Branch: Kyoto",
        "Approved.",
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|part| {
            told.find(part)
                .unwrap_or_else(|| panic!("{part} is missing in {told}"))
        })
        .collect();
    assert!(places.is_sorted(), "{told}");
    assert!(told.contains("へのログイン"), "{told}");
    let proposal = proposal(0).proposal;
    assert_eq!(
        running.last(),
        Request::Approve {
            proposal,
            number: 7
        }
    );
    let told = fails(&running.device("approve --number 08"), 1);
    assert!(told.contains("refused: the number was wrong\n"), "{told}");
    assert!(
        told.contains("承認されませんでした: 番号が違います"),
        "{told}"
    );
    let told = fails(&running.device("--json approve --number 08"), 1);
    assert!(told.is_ascii(), "for programs in one language: {told}");
    // No number, and no terminal to ask on.
    fails(&running.device("approve"), 2);
    assert!(matches!(running.last(), Request::Pending));
}

#[test]
fn one_of_several_must_be_named() {
    let running = Running::new(2);
    let told = fails(&running.device("deny"), 2);
    assert!(
        told.contains("2 proposals are pending, expected one"),
        "{told}"
    );
    succeeds(&running.device("deny 1 --not-me"));
    let proposal = proposal(1).proposal;
    assert_eq!(
        running.last(),
        Request::Deny {
            proposal,
            not_me: true
        }
    );
    let told = fails(&running.device("deny 9"), 1);
    assert!(told.contains("no proposal 9 is pending"), "{told}");
    assert!(told.contains("確認待ちの中に確認 9 はありません"), "{told}");
}

/// There is one try: 7 may be the half of 7x, or what a slip left of 07.
#[test]
fn a_number_that_is_not_two_digits_sends_nothing() {
    let running = Running::new(1);
    for number in ["7", "007", "100", "x7", "-7", "+7", "7.", "", "７"] {
        let args = ["device", "--dir", "DIR/d", "approve", "--number", number];
        let told = fails(&run(&args, running.dir.path()), 2);
        assert!(told.contains("exactly two digits"), "{number}: {told}");
        assert!(told.contains("2桁で入力してください"), "{number}: {told}");
    }
    assert!(running.script.asked.lock().unwrap().is_empty());
    // Full-width digits, as a Japanese keyboard gives them.
    succeeds(&running.device("approve --number ０７"));
}

#[test]
fn what_is_not_there_is_said_in_both_languages() {
    let running = Running::new(0);
    for command in ["approve --number 07", "deny"] {
        let told = fails(&running.device(command), 1);
        assert!(told.contains("Nothing waits for your decision"), "{told}");
        assert!(told.contains("確認待ちの操作はありません"), "{told}");
    }
    let told = fails(&running.device("--lang ja deny"), 1);
    assert!(told.starts_with("warifu: 確認待ち"), "{told}");
    let told = succeeds(&running.device("accounts"));
    assert!(told.contains("active / 有効"), "{told}");
    let told = succeeds(&running.device("--lang ja accounts"));
    assert!(told.contains("有効 / active"), "{told}");
}

/// One of 64 names begins with a hyphen.
#[test]
fn names_that_begin_with_a_hyphen_are_no_options() {
    let running = Running::new(1);
    for args in [
        "deny -A --not-me",
        "deny --not-me -A",
        "approve -A --number 07",
    ] {
        let told = fails(&running.device(args), 1);
        assert!(told.contains("no proposal -A is pending"), "{args}: {told}");
    }
    for args in ["history -AAA", "freeze -AAA"] {
        let told = fails(&running.device(args), 1);
        assert!(told.contains("no account -AAA is on this device"), "{told}");
    }
    succeeds(&running.device("deny --not-me"));
}

#[test]
fn enrolling_prints_the_digits_and_then_the_account() {
    let running = Running::new(0);
    let told = succeeds(&running.device("enrol warifu:enrol?ticket=x --wait"));
    assert!(told.contains("  042137"), "{told}");
    assert!(told.contains("Type these six digits"), "{told}");
    assert!(told.ends_with(&format!("{SUB}\n")), "{told}");
    let running = Running::new(0);
    let told = succeeds(&running.device("--json enrol warifu:enrol?ticket=x"));
    let view: EnrolView = serde_json::from_str(&told).unwrap();
    assert_eq!(view.digits.as_deref(), Some("042137"));
}

#[test]
fn the_other_commands_speak_for_people_and_for_programs() {
    let running = Running::new(0);
    assert!(succeeds(&running.device("accounts")).contains("active"));
    assert!(succeeds(&running.device("history")).contains("1970-01-01 09:00:00 +09:00"));
    assert!(succeeds(&running.device("freeze")).contains("Your account is frozen"));
    assert_eq!(
        running.last(),
        Request::Freeze {
            account: SUB.to_owned()
        }
    );
    let told = succeeds(&running.device("--lang ja pending"));
    assert!(
        told.starts_with("確認待ち") && told.contains("Nothing waits"),
        "{told}"
    );
    let blocks: Vec<HistoryView> =
        serde_json::from_str(&succeeds(&running.device("--json history"))).unwrap();
    assert_eq!(blocks.len(), 1);
}

#[test]
fn a_device_that_does_not_run_exits_with_4() {
    let dir = tempfile::tempdir().unwrap();
    init_all(dir.path());
    let told = fails(
        &run(&["device", "--dir", "DIR/d", "pending"], dir.path()),
        4,
    );
    assert!(told.contains("no running device answers"), "{told}");
    fails(
        &run(&["device", "--dir", "DIR/b", "pending"], dir.path()),
        3,
    );
}
