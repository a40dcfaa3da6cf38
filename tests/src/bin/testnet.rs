//! `scripts/testnet`: three nodes of this machine's `warifu`, to try or to watch.
//!
//! Without `--demo` it keeps the nodes up and prints the commands to try. With `--demo` it plays
//! an enrolment, a login, its place in the log, its offline verification, and four ways of refusing; everything that is
//! shown was done by the processes, through the command line that users have.
#![expect(
    clippy::indexing_slicing,
    reason = "a field that a JSON value lacks reads as null"
)]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::Instant,
};

use clap::Parser;
use serde_json::Value;
use warifu_tests::processes::{Ended, Failed, Node, Testnet, Warifu};

type Trouble = Box<dyn std::error::Error>;

/// Three nodes on loopback.
#[derive(Parser)]
struct Arguments {
    /// Play an enrolment, a login and its refusals, then stop.
    #[arg(long)]
    demo: bool,
    /// Keep the data in this directory, which must be empty or absent.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("testnet: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Trouble> {
    let arguments = Arguments::parse();
    let warifu = Warifu::beside()?;
    let temporary = tempfile::tempdir()?;
    let dir = arguments
        .dir
        .clone()
        .unwrap_or_else(|| temporary.path().to_path_buf());
    std::fs::create_dir_all(&dir)?;
    if std::fs::read_dir(&dir)?.next().is_some() {
        let shown = dir.display();
        return Err(format!("{shown} is not empty, expected an empty or absent directory").into());
    }
    let dir = dir.canonicalize()?;
    if arguments.demo {
        Demo::new(warifu, &dir)?.play(arguments.dir.as_deref())
    } else {
        keep_up(warifu, &dir)
    }
}

fn keep_up(warifu: Warifu, dir: &Path) -> Result<(), Trouble> {
    let mut net = Testnet::init(warifu, dir, 90)?;
    net.start_all()?;
    let binary = net.warifu.path().display().to_string();
    let device = net.node(Node::Device).display().to_string();
    let service = net.login_service().join(" ");
    println!("Three nodes run. Data and logs: {}", dir.display());
    println!("\nPaste these three into every other terminal:\n");
    println!("  alias warifu={binary}");
    println!("  SERVICE='{service}'");
    println!("  DEVICE={device}");
    println!("\nThen try:\n");
    println!("  # enrol: the page shows a ticket; the device answers with six digits for the page");
    println!("  warifu enrol ticket $SERVICE --customer alice");
    println!("  warifu device enrol - --dir $DEVICE      # in a third terminal; paste the URI");
    println!("  # log in: the page shows a number; the customer types it into the device");
    println!("  warifu login $SERVICE --customer alice --proof");
    println!("  warifu device pending --dir $DEVICE");
    println!("  warifu device approve --number NN --dir $DEVICE");
    println!("  # or refuse");
    println!("  warifu device deny --not-me --dir $DEVICE");
    println!("  # not-me froze the account; the device is asked to undo it");
    println!("  warifu account unfreeze $SERVICE --customer alice --reference case-1");
    println!("  # look");
    println!("  warifu account history $SERVICE --customer alice");
    println!(
        "  warifu ledger show {}",
        net.node(Node::TrustOperator).display()
    );
    println!(
        "  warifu ledger verify {} --ledger {}",
        net.node(Node::TrustOperator).display(),
        net.ledger()
    );
    let logs = [Node::Broker, Node::TrustOperator].map(|node| net.said(node, "log"));
    if let [Some(broker), Some(trust_operator)] = logs {
        println!("  # the log: computed again by anybody, and both operators' followed");
        println!("  warifu ledger audit {broker} --ledger {}", net.ledger());
        println!(
            "  warifu ledger watch {broker} {trust_operator} --ledger {}",
            net.ledger()
        );
    }
    for node in [Node::Broker, Node::TrustOperator] {
        if let Some(url) = net.said(node, "log") {
            println!(
                "  # the log in a browser, as the {} keeps it: {url}/",
                node.name()
            );
        }
    }
    println!("\nCtrl-C stops all three and deletes the data; --dir DIR keeps it.");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    })?;
    net.stop_all();
    Ok(())
}

struct Demo {
    net: Testnet,
    began: Instant,
}

const CUSTOMER: &str = "alice";

/// `Instant::now` is the demo's own stopwatch; no protocol reads it.
#[expect(clippy::disallowed_methods, reason = "a stopwatch for the reader")]
fn stopwatch() -> Instant {
    Instant::now()
}

impl Demo {
    fn new(warifu: Warifu, dir: &Path) -> Result<Self, Trouble> {
        Ok(Self {
            net: Testnet::init(warifu, dir, 90)?,
            began: stopwatch(),
        })
    }

    fn step(&self, title: &str) {
        println!(
            "\n━━ {title}  ({:.1} s)",
            self.began.elapsed().as_secs_f32()
        );
    }

    fn play(mut self, kept: Option<&Path>) -> Result<(), Trouble> {
        self.step("Three nodes start, each a process with its own directory and keys");
        self.net.start_all()?;
        for node in Node::ALL {
            println!("   {:<15} {}", node.name(), self.net.node(node).display());
        }
        let account = self.enrol()?;
        let (block, proof) = self.login(&account)?;
        self.logged(&proof)?;
        self.offline(&block)?;
        self.heads(&account)?;
        self.denied()?;
        self.wrong_number()?;
        self.stopped_trust_operator()?;
        self.forged_share()?;
        self.history()?;
        self.step("All three stop");
        if !self.net.stop_all() {
            return Err("a node did not stop by itself".into());
        }
        println!("   nothing is left running");
        match kept {
            Some(dir) => println!("   the data stays in {}", dir.display()),
            None => println!("   the data is deleted; --dir DIR keeps it"),
        }
        Ok(())
    }

    fn enrol(&self) -> Result<String, Trouble> {
        self.step("Enrolment: one key that exists only as three shares");
        let ticket = self.net.service(
            &["enrol", "ticket", "--customer", CUSTOMER, "--no-wait"],
            &[],
        )?;
        let uri = ticket.text("ticket_uri");
        // As a QR code it fills more lines than most terminals have; `warifu enrol ticket` draws it.
        println!("   the login service's page shows a ticket, as a QR code of this URI:\n");
        println!("   {uri}\n");
        let file = self.net.dir.join("alice.ticket");
        std::fs::write(&file, &uri)?;
        let file = file.display().to_string();
        let device = self.net.device(&["enrol"], &[&file])?;
        let digits = device.text("digits");
        println!("   the device scans it and shows six digits: {digits}");
        let account = self
            .net
            .confirm(CUSTOMER, &ticket.text("session"), &digits)?;
        println!("   the customer types them into the page; all three sign the genesis");
        println!("   account {account}, pinned by the login service to customer `{CUSTOMER}`");
        let again = self.net.device(&["enrol"], &[&file]);
        println!(
            "   the same ticket, photographed and used again: {}",
            reason(&again)
        );
        if again.is_ok_and(|a| a.text("state") != "failed") {
            return Err("a used ticket was taken".into());
        }
        Ok(account)
    }

    fn login(&self, account: &str) -> Result<(String, Value), Trouble> {
        self.step("A login: the broker proposes, the device assents, the trust operator seals");
        let login = self.net.begin_with(CUSTOMER, &["--proof"])?;
        println!("   the page shows the number {}", login.number());
        let proposal = self.net.asked()?;
        println!("   the device is asked about block {proposal}");
        self.net
            .device(&["approve", "--number", &login.number()], &[&proposal])?;
        let ended = login.end();
        if ended.line["status"] != "admitted" {
            return Err(format!("login ended with {ended:?}").into());
        }
        let block = ended.line["block"].as_str().unwrap_or_default().to_owned();
        println!("   admitted; the block, its header and its claims:\n");
        for part in block.split('.').take(2) {
            println!("{}", indented(&decoded(part)?));
        }
        println!("\n   the block is a JWT; paste it and the key into any JOSE tool:\n");
        println!("   {block}\n");
        println!("   {}\n", ended.line["jwk"]);
        println!("   its account: {account}");
        Ok((block, ended.line))
    }

    fn logged(&self, login: &Value) -> Result<(), Trouble> {
        self.step("In the log: an inclusion proof, and a checkpoint that both operators signed");
        let proof = login["proof"].as_str().ok_or("the login has no proof")?;
        println!(
            "   leaf {} of {}: the proof came with the login and was verified with pinned keys\n",
            login["index"], login["size"]
        );
        println!("{}", indented(proof));
        for node in [Node::Broker, Node::TrustOperator] {
            let checkpoint = self.net.checkpoint(node)?;
            println!("\n   what the {} serves to everybody:\n", node.name());
            println!("{}", indented(&checkpoint));
        }
        let url = self
            .net
            .said(Node::TrustOperator, "log")
            .unwrap_or_default();
        let ledger = self.net.ledger();
        let audited = self
            .net
            .warifu
            .text(["ledger", "audit", url, "--ledger", &ledger])?;
        println!("\n   anyone can compute it again:\n");
        println!("{}", indented(&audited));
        Ok(())
    }

    fn offline(&self, block: &str) -> Result<(), Trouble> {
        self.step("Verified offline: pinned keys, no node, no network");
        let broker = self.net.node(Node::Broker).display().to_string();
        let export = self.net.dir.join("export.jsonl");
        std::fs::write(
            &export,
            self.net.warifu.text(["ledger", "export", &broker])?,
        )?;
        let file = export.display().to_string();
        let ledger = self.net.ledger();
        let shown = self
            .net
            .warifu
            .text(["ledger", "verify", &file, "--ledger", &ledger])?;
        println!("{}", indented(&shown));
        let changed = self.net.dir.join("changed.jsonl");
        let text = std::fs::read_to_string(&export)?;
        let signature = block.rsplit('.').next().unwrap_or_default();
        let mut forged: Vec<char> = signature.chars().collect();
        if let Some(first) = forged.first_mut() {
            *first = if *first == 'A' { 'B' } else { 'A' };
        }
        let forged: String = forged.into_iter().collect();
        std::fs::write(&changed, text.replace(signature, &forged))?;
        let file = changed.display().to_string();
        let refused = self
            .net
            .warifu
            .text(["ledger", "verify", &file, "--ledger", &ledger]);
        println!("   with one character of its signature changed:");
        match refused {
            Err(failed) => println!("{}", indented(failed.stderr.trim())),
            Ok(_) => return Err("a changed block verified".into()),
        }
        Ok(())
    }

    fn heads(&self, account: &str) -> Result<(), Trouble> {
        self.step("The three parties' heads agree");
        let mut heads = Vec::new();
        for node in Node::ALL {
            let verified = self.net.verify(node)?.last();
            let head = find_head(&verified, account).unwrap_or_default();
            println!("   {:<15} {head}", node.name());
            heads.push(head);
        }
        heads.dedup();
        match heads.as_slice() {
            [one] if !one.is_empty() => Ok(()),
            other => Err(format!("heads differ: {other:?}").into()),
        }
    }

    fn denied(&self) -> Result<(), Trouble> {
        self.step("Refused: the customer denies");
        let login = self.net.begin(CUSTOMER)?;
        let proposal = self.net.asked()?;
        self.net.device(&["deny"], &[&proposal])?;
        refused(&login.end())
    }

    fn wrong_number(&self) -> Result<(), Trouble> {
        self.step("Refused: a wrong number");
        let login = self.net.begin(CUSTOMER)?;
        let (number, wrong) = (login.number(), login.wrong_number());
        println!("   the page shows {number}, the customer types {wrong}");
        let proposal = self.net.asked()?;
        // The command's own exit code says that it was refused.
        let answer = self
            .net
            .device(&["approve", "--number", &wrong], &[&proposal]);
        println!("   the device: {}", reason(&answer));
        refused(&login.end())
    }

    fn stopped_trust_operator(&mut self) -> Result<(), Trouble> {
        self.step("Refused: the trust operator is stopped");
        self.net.stop(Node::TrustOperator);
        // The broker notices at once, or within its patience for silence.
        let mut begun = self.net.begin(CUSTOMER);
        if let Ok(login) = begun {
            refused(&login.end())?;
            begun = self.net.begin(CUSTOMER);
        }
        match begun {
            Err(failed) => println!("   the broker: {}", reason(&Err(failed))),
            Ok(_) => return Err("a login began without the trust operator".into()),
        }
        self.net.start(Node::TrustOperator)?;
        println!("   started again; the operators compare heads, and logins go on:");
        let login = self.wait_begin()?;
        let proposal = self.net.asked()?;
        self.net
            .device(&["approve", "--number", &login.number()], &[&proposal])?;
        let ended = login.end();
        println!("   {}", ended.line["status"].as_str().unwrap_or("?"));
        if ended.line["status"] == "admitted" {
            Ok(())
        } else {
            Err("not admitted".into())
        }
    }

    /// The lines come back by themselves, with pauses of up to ten seconds.
    fn wait_begin(&self) -> Result<warifu_tests::processes::OpenLogin, Failed> {
        for _ in 0..60 {
            match self.net.begin(CUSTOMER) {
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(250)),
                begun => return begun,
            }
        }
        self.net.begin(CUSTOMER)
    }

    fn forged_share(&self) -> Result<(), Trouble> {
        self.step("Refused: a hostile device sends a forged share");
        let mut hostile = Hostile::start(self)?;
        let login = self.net.begin(Hostile::CUSTOMER)?;
        let asked = hostile.line()?;
        println!(
            "   the device is asked about block {}",
            asked["asked"].as_str().unwrap_or("?")
        );
        hostile.say(&login.number())?;
        refused(&login.end())?;
        println!("   no block was sealed, and the blame names the one who forged");
        Ok(())
    }

    fn history(&self) -> Result<(), Trouble> {
        self.step("What stays: the customer's own history");
        let dir = self.net.node(Node::Device).display().to_string();
        let shown = self.net.warifu.text(["device", "history", "--dir", &dir])?;
        println!("{}", indented(&shown));
        Ok(())
    }
}

/// The test program that forges, as a process of its own.
struct Hostile {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    stdin: ChildStdin,
}

impl Hostile {
    const CUSTOMER: &str = "mallory";

    fn start(demo: &Demo) -> Result<Self, Trouble> {
        let program = demo.net.warifu.path().with_file_name("hostile-device");
        let ticket = demo.net.service(
            &["enrol", "ticket", "--customer", Self::CUSTOMER, "--no-wait"],
            &[],
        )?;
        let file = demo.net.dir.join("mallory.ticket");
        std::fs::write(&file, ticket.text("ticket_uri"))?;
        let mut child = Command::new(program)
            .arg("--ticket")
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the hostile device has no pipes".into());
        };
        let mut hostile = Self {
            child,
            lines: BufReader::new(stdout).lines(),
            stdin,
        };
        let digits = hostile.line()?["digits"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        demo.net
            .confirm(Self::CUSTOMER, &ticket.text("session"), &digits)?;
        println!(
            "   enrolled as customer `{}`, with a real share",
            Self::CUSTOMER
        );
        Ok(hostile)
    }

    fn line(&mut self) -> Result<Value, Trouble> {
        let line = self.lines.next().ok_or("the hostile device ended")??;
        Ok(serde_json::from_str(&line)?)
    }

    fn say(&mut self, text: &str) -> Result<(), Trouble> {
        writeln!(self.stdin, "{text}")?;
        Ok(())
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        // It never ends by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(ended: &Ended) -> Result<(), Trouble> {
    if ended.line["status"] == "admitted" || ended.code == 0 {
        return Err(format!("expected a refusal, found {ended:?}").into());
    }
    let by = ended.line["by"].as_str().unwrap_or("nobody");
    let reason = ended.line["reason"].as_str().unwrap_or("time ran out");
    let status = ended.line["status"].as_str().unwrap_or("?");
    println!(
        "   {status}, by the {by}: {reason} (exit code {})",
        ended.code
    );
    Ok(())
}

fn reason(answer: &Result<warifu_tests::processes::Answer, Failed>) -> String {
    let text = |value: &Value| {
        let reason = value["reason"]
            .as_str()
            .or_else(|| value["error"]["message"].as_str());
        reason.map(ToOwned::to_owned)
    };
    match answer {
        Ok(answer) => text(&answer.last()).unwrap_or_else(|| answer.last().to_string()),
        Err(failed) => [&failed.stdout, &failed.stderr]
            .into_iter()
            .find_map(|out| text(&serde_json::from_str(out.trim()).ok()?))
            .unwrap_or_else(|| failed.stderr.trim().to_owned()),
    }
}

fn decoded(part: &str) -> Result<String, Trouble> {
    let bytes = warifu_consensus::encoding::parse_b64_vec(part)?;
    Ok(serde_json::to_string_pretty(&serde_json::from_slice::<
        Value,
    >(&bytes)?)?)
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("   {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The head's hash of an account anywhere in what `ledger verify --json` printed.
fn find_head(value: &Value, account: &str) -> Option<String> {
    match value {
        Value::Object(map) if map.get("account").and_then(Value::as_str) == Some(account) => {
            let head = map.get("head")?;
            Some(
                head.as_str()
                    .map_or_else(|| head.to_string(), ToOwned::to_owned),
            )
        }
        Value::Object(map) => map.values().find_map(|v| find_head(v, account)),
        Value::Array(list) => list.iter().find_map(|v| find_head(v, account)),
        _ => None,
    }
}
