//! A device on a terminal of its own: a pseudo-terminal whose other end is typed on here.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use warifu_tests::processes::{Node, Testnet};

use super::warifu;

/// Longest wait for something on the screen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a terminal shows, and a keyboard.
struct Screen {
    keyboard: File,
    shown: Arc<(Mutex<String>, Condvar)>,
    /// Bytes of `shown` that were looked at.
    seen: usize,
    /// The end that programs have; held, so that it stays when a program ends.
    program_end: File,
}

impl Screen {
    fn open() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let program_end = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let keyboard = File::from(ours);
        let mut shown_bytes = keyboard.try_clone().unwrap();
        let shown = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let written = Arc::clone(&shown);
        thread::spawn(move || {
            let (mut bytes, mut rest) = ([0; 4096], Vec::new());
            while let Ok(read @ 1..) = shown_bytes.read(&mut bytes) {
                rest.extend_from_slice(&bytes[..read]);
                // A character may be cut by the end of a read.
                let whole = match std::str::from_utf8(&rest) {
                    Ok(text) => text.len(),
                    Err(error) => error.valid_up_to(),
                };
                let text = String::from_utf8(rest.drain(..whole).collect()).unwrap();
                written.0.lock().unwrap().push_str(&text);
                written.1.notify_all();
            }
        });
        Self {
            keyboard,
            shown,
            seen: 0,
            program_end,
        }
    }

    fn run(&self, net: &Testnet, log: &Path) -> Child {
        let end = || Stdio::from(self.program_end.try_clone().unwrap());
        let dir = net.node(Node::Device).display().to_string();
        net.warifu
            .command(["run", "--dir", &dir])
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env_remove("LC_ALL")
            .env("LANG", "C.UTF-8")
            .stdin(end())
            .stdout(end())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap()
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` appears after what was looked at last; what came before and with it.
    fn shows(&mut self, text: &str) -> String {
        let (shown, changed) = &*self.shown;
        let start = self.seen;
        let (shown, timeout) = changed
            .wait_timeout_while(shown.lock().unwrap(), PATIENCE, |shown| {
                !shown[start..].contains(text)
            })
            .unwrap();
        let new = &shown[start..];
        assert!(!timeout.timed_out(), "no {text:?} on the screen, but {new}");
        let end = new.find(text).unwrap() + text.len();
        self.seen = start + end;
        new[..end].to_owned()
    }

    fn is_as_found(&self) -> bool {
        let modes = tcgetattr(&self.program_end).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

/// The question with the time that is left, as it is first shown.
const QUESTION: &str = " s] 番号 / number > ";

fn enrol(net: &Testnet, screen: &mut Screen) {
    let ticket = ["enrol", "ticket", "--customer", "alice", "--no-wait"];
    let ticket = net.service(&ticket, &[]).unwrap();
    screen.types(&format!("{}\n", ticket.text("ticket_uri")));
    screen.shows("登録を始めました");
    let shown = screen.shows("Tell them to nobody");
    let digits = shown
        .lines()
        .map(str::trim)
        .find(|line| line.len() == 6 && line.bytes().all(|b| b.is_ascii_digit()))
        .expect("six digits on a line of their own");
    net.confirm("alice", &ticket.text("session"), digits)
        .unwrap();
    screen.shows("登録が完了しました");
}

#[test]
fn a_customer_enrols_approves_and_refuses_at_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = Testnet::init(warifu(), dir.path(), 60).unwrap();
    let configuration = net.node(Node::Device).join("warifu.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    let text = text.replace("language = \"locale\"", "language = \"ja\"");
    std::fs::write(&configuration, text).unwrap();
    net.start(Node::TrustOperator).unwrap();
    net.start(Node::Broker).unwrap();
    net.wait_ready().unwrap();
    let mut screen = Screen::open();
    let mut device = screen.run(&net, &dir.path().join("device.log"));
    screen.shows("ready role=device");
    screen.shows("貼り付けてください");
    enrol(&net, &mut screen);

    // What was typed before the question is no part of the answer.
    screen.types("99");
    let login = net.begin("alice").unwrap();
    let shown = screen.shows(QUESTION);
    let at = |text: &str| {
        shown
            .find(text)
            .unwrap_or_else(|| panic!("{text} is missing: {shown}"))
    };
    let own_words = at("https://bank.example へのログイン");
    assert!(own_words < at("ブローカー（仲介者）の申告"));
    assert!(own_words < at("経路 / channel"));
    // Japanese first, as configured, whatever the locale says.
    assert!(own_words < at("Log in to https://bank.example"));
    // The time that is left is shown anew, behind a saved cursor.
    screen.shows("\x1b7\r[");
    screen.types("7\n");
    screen.shows("何も送信していません");
    screen.shows(QUESTION);
    screen.types(&format!("{}\n", login.number()));
    screen.shows("三者の署名がそろい");
    assert_eq!(login.end().line["status"], "admitted");

    let login = net.begin("alice").unwrap();
    screen.shows(QUESTION);
    screen.types(&format!("{}\n", login.wrong_number()));
    screen.shows("承認されませんでした");
    screen.shows("the number was wrong");
    assert_eq!(login.end().line["status"], "refused");

    let login = net.begin("alice").unwrap();
    screen.shows(QUESTION);
    screen.types("ｄ\n");
    screen.shows("拒否しました");
    assert_eq!(login.end().line["status"], "refused");

    // A command answers first: the question is withdrawn.
    let login = net.begin("alice").unwrap();
    screen.shows(QUESTION);
    net.device(&["approve", "--number", &login.number()], &[])
        .unwrap();
    screen.shows("別の操作で回答済み");
    assert_eq!(login.end().line["status"], "admitted");

    // The customer leaves it here, a command answers, and the next one is asked again.
    let login = net.begin("alice").unwrap();
    screen.shows(QUESTION);
    screen.types("\x04");
    screen.shows("can still answer");
    let proposal = net.asked().unwrap();
    net.device(&["deny"], &[&proposal]).unwrap();
    assert_eq!(login.end().line["status"], "refused");
    let login = net.begin("alice").unwrap();
    screen.shows(QUESTION);
    assert!(screen.is_as_found());

    // The login service takes it back; then a stop in the middle of a question.
    drop(login);
    let stopped = Command::new("kill")
        .args(["-TERM", &device.id().to_string()])
        .status();
    assert!(stopped.unwrap().success());
    assert_eq!(device.wait().unwrap().code(), Some(0));
    assert!(screen.is_as_found());
    let log = std::fs::read_to_string(dir.path().join("device.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
