//! Three nodes as processes, with fresh directories.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{
    command::{Answer, Failed, Warifu},
    login::OpenLogin,
};

/// How long a node may take to say that it is ready.
const START: Duration = Duration::from_secs(20);
/// How long a graceful stop may take.
const STOP: Duration = Duration::from_secs(5);

/// The three processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The customer's device.
    Device,
    /// The broker.
    Broker,
    /// The trust operator.
    TrustOperator,
}

impl Node {
    /// In the order of starting.
    pub const ALL: [Self; 3] = [Self::TrustOperator, Self::Broker, Self::Device];

    /// Its directory's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Broker => "broker",
            Self::TrustOperator => "trust-operator",
        }
    }
}

/// See the module.
pub struct Testnet {
    /// The command.
    pub warifu: Warifu,
    /// Holds one directory a node.
    pub dir: PathBuf,
    /// Where login services reach the broker.
    pub http: String,
    children: BTreeMap<Node, Child>,
    ready: BTreeMap<Node, String>,
}

/// Where both operators serve the log: each names the port that it got when it is ready.
const LOG_HTTP: &str = "127.0.0.1:0";

/// A port of loopback that is free now.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn io(what: &str) -> impl Fn(std::io::Error) -> Failed + '_ {
    move |e| Failed {
        arguments: what.to_owned(),
        code: -1,
        stdout: String::new(),
        stderr: e.to_string(),
    }
}

impl Testnet {
    /// The relying party of the testnet's login service.
    pub const AUD: &'static str = "https://bank.example";
    /// The ledger's origin.
    pub const ISS: &'static str = "https://ledger.example";

    /// Prepares directories in `dir` that hold nothing of a testnet yet. Proposals live
    /// `lifetime_s` seconds.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn init(warifu: Warifu, dir: &Path, lifetime_s: u64) -> Result<Self, Failed> {
        let ports = [free_port(), free_port(), free_port()];
        let [Ok(broker), Ok(trust_operator), Ok(http)] = ports else {
            return Err(io("find three free ports")(std::io::Error::other(
                "none free",
            )));
        };
        let net = Self {
            warifu,
            dir: dir.to_path_buf(),
            http: format!("http://127.0.0.1:{http}"),
            children: BTreeMap::new(),
            ready: BTreeMap::new(),
        };
        let listen = |port: u16| format!("/ip4/127.0.0.1/tcp/{port}");
        let http = format!("127.0.0.1:{http}");
        let path = |node: Node| net.node(node).display().to_string();
        let (b, t, d) = (
            path(Node::Broker),
            path(Node::TrustOperator),
            path(Node::Device),
        );
        let card = |dir: &str| format!("{dir}/card.toml");
        net.warifu.json([
            "init",
            "broker",
            "--dir",
            &b,
            "--iss",
            Self::ISS,
            "--aud",
            Self::AUD,
            "--listen",
            &listen(broker),
            "--http",
            &http,
            "--log-http",
            LOG_HTTP,
        ])?;
        net.warifu.json([
            "init",
            "trust-operator",
            "--dir",
            &t,
            "--broker",
            &card(&b),
            "--listen",
            &listen(trust_operator),
            "--unfreeze-delay",
            "0",
            "--log-http",
            LOG_HTTP,
        ])?;
        net.warifu
            .json(["init", "broker", "--dir", &b, "--trust-operator", &card(&t)])?;
        net.warifu
            .json(["init", "device", "--dir", &d, "--ledger", &net.ledger()])?;
        net.set_lifetime(lifetime_s)?;
        Ok(net)
    }

    /// Proposals of a testnet may be shorter than a broker's, as its operator would write it.
    fn set_lifetime(&self, lifetime_s: u64) -> Result<(), Failed> {
        self.set(Node::Broker, "proposal_lifetime_s", &lifetime_s.to_string())
    }

    /// Sets a field of a node's configuration, which `init` wrote, to a TOML value; before it starts. Where several
    /// tables have it, `field` is `table.field`.
    ///
    /// # Errors
    /// [`Failed`] when the file can't be changed, or has not one such field.
    pub fn set(&self, node: Node, field: &str, value: &str) -> Result<(), Failed> {
        let path = self.node(node).join("warifu.toml");
        let text = std::fs::read_to_string(&path).map_err(io("read the configuration"))?;
        let (table, name) = match field.split_once('.') {
            Some((table, name)) => (Some(format!("[{table}]")), name),
            None => (None, field),
        };
        let begins = format!("{name} = ");
        let (mut within, mut found) = (String::new(), 0);
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                if line.starts_with('[') {
                    line.clone_into(&mut within);
                }
                let is_meant = table.as_ref().is_none_or(|table| *table == within);
                if !is_meant || !line.starts_with(&begins) {
                    return line.to_owned();
                }
                found += 1;
                format!("{begins}{value}")
            })
            .collect();
        if found != 1 {
            let error = format!("{found} lines begin with `{begins}`, expected one");
            return Err(io("change the configuration")(std::io::Error::other(error)));
        }
        std::fs::write(&path, lines.join("\n")).map_err(io("write the configuration"))
    }

    /// A field of a node's configuration as it stands in the file: a TOML value.
    ///
    /// # Errors
    /// [`Failed`] when the file can't be read or has no such field.
    pub fn get(&self, node: Node, field: &str) -> Result<String, Failed> {
        let path = self.node(node).join("warifu.toml");
        let text = std::fs::read_to_string(&path).map_err(io("read the configuration"))?;
        let begins = format!("{field} = ");
        let value = text.lines().find_map(|line| line.strip_prefix(&begins));
        value.map(ToOwned::to_owned).ok_or_else(|| {
            let error = std::io::Error::other(format!("no line begins with `{begins}`"));
            io("look into the configuration")(error)
        })
    }

    /// What a running node said about itself when it was ready, such as its `metrics` address.
    #[must_use]
    pub fn said(&self, node: Node, field: &str) -> Option<&str> {
        let ready = self.ready.get(&node)?;
        let mut fields = ready.split(' ').filter_map(|part| part.split_once('='));
        fields.find_map(|(name, value)| (name == field).then_some(value))
    }

    /// What a node has logged so far.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn log(&self, node: Node) -> Result<String, Failed> {
        let path = self.dir.join(format!("{}.log", node.name()));
        std::fs::read_to_string(path).map_err(io("read the log"))
    }

    /// A node's directory.
    #[must_use]
    pub fn node(&self, node: Node) -> PathBuf {
        self.dir.join(node.name())
    }

    /// The file with the pinned keys.
    #[must_use]
    pub fn ledger(&self) -> String {
        self.node(Node::Broker)
            .join("ledger.toml")
            .display()
            .to_string()
    }

    /// The file with the login service's token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.node(Node::Broker).join("login-service.token")
    }

    /// The options by which a login service speaks to the broker.
    #[must_use]
    pub fn login_service(&self) -> Vec<String> {
        let token = self.token_file().display().to_string();
        let pins = self.dir.join("pins.db").display().to_string();
        [
            "--broker",
            &self.http,
            "--token-file",
            &token,
            "--ledger",
            &self.ledger(),
            "--pins",
            &pins,
            "--aud",
            Self::AUD,
        ]
        .map(ToOwned::to_owned)
        .to_vec()
    }

    /// Starts a node and waits until it says that it is ready.
    ///
    /// # Errors
    /// [`Failed`] with the end of its log.
    pub fn start(&mut self, node: Node) -> Result<(), Failed> {
        let dir = self.node(node).display().to_string();
        let log = self.dir.join(format!("{}.log", node.name()));
        let open = File::options().create(true).append(true).open(&log);
        let errors = open.map_err(io("open the log"))?;
        let mut child = self
            .warifu
            .command(["run", "--dir", &dir])
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(io("spawn a node"))?;
        if let Some(ready) = child.stdout.take().and_then(wait_ready) {
            self.children.insert(node, child);
            self.ready.insert(node, ready);
            return Ok(());
        }
        // It ended or hangs: either way it is no node.
        drop(child.kill());
        let code = child.wait().ok().and_then(|s| s.code()).unwrap_or(-1);
        Err(Failed {
            arguments: format!("run --dir {dir}"),
            code,
            stdout: String::new(),
            stderr: tail(&log),
        })
    }

    /// Starts all three, and waits until the operators' line is up: a ticket or a login that is
    /// asked for earlier is refused.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn start_all(&mut self) -> Result<(), Failed> {
        Node::ALL
            .into_iter()
            .try_for_each(|node| self.start(node))?;
        self.wait_ready()
    }

    /// Waits until the broker says that logins are possible.
    ///
    /// # Errors
    /// [`Failed`] with the end of its log.
    pub fn wait_ready(&self) -> Result<(), Failed> {
        let step = Duration::from_millis(50);
        for _ in 0..START.as_millis() / step.as_millis() {
            if self.is_ready() {
                return Ok(());
            }
            std::thread::sleep(step);
        }
        let log = self.dir.join(format!("{}.log", Node::Broker.name()));
        Err(Failed {
            arguments: "run: wait until the broker says at /readyz that logins are possible".into(),
            code: -1,
            stdout: String::new(),
            stderr: tail(&log),
        })
    }

    /// Whether the broker says that logins are possible.
    fn is_ready(&self) -> bool {
        get(&self.http, "/readyz").is_ok_and(|answer| answer.is_some())
    }

    /// The newest checkpoint that an operator's log listener serves, as text.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn checkpoint(&self, node: Node) -> Result<String, Failed> {
        let doing = "fetch the checkpoint";
        let none = |what| io(doing)(std::io::Error::other(what));
        let url = self
            .said(node, "log")
            .ok_or_else(|| none("no log is served"))?;
        let served = get(url, "/checkpoint").map_err(io(doing))?;
        served.ok_or_else(|| none("not answered with 200"))
    }

    /// SIGKILL, as a power loss would end it.
    pub fn kill(&mut self, node: Node) {
        if let Some(mut child) = self.children.remove(&node) {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// The process of a running node.
    #[must_use]
    pub fn pid(&self, node: Node) -> Option<u32> {
        self.children.get(&node).map(Child::id)
    }

    /// Sends a signal (`TERM`, `STOP`, `CONT`) to a running node, and waits for nothing.
    pub fn signal(&self, node: Node, name: &str) {
        if let Some(pid) = self.pid(node) {
            send_signal(pid, name);
        }
    }

    /// The exit code of a node that was told to stop, waiting 5 s at most; `None` if it had to be
    /// killed.
    pub fn ended(&mut self, node: Node) -> Option<i32> {
        self.children.remove(&node).and_then(wait_ended)
    }

    /// SIGTERM, and the exit code; `None` if it had to be killed.
    pub fn stop(&mut self, node: Node) -> Option<i32> {
        self.signal(node, "TERM");
        self.ended(node)
    }

    /// Stops all three; whether each ended by itself with exit code 0.
    pub fn stop_all(&mut self) -> bool {
        let running: Vec<Node> = self.children.keys().copied().collect();
        running
            .into_iter()
            .map(|node| self.stop(node))
            .all(|code| code == Some(0))
    }

    /// A command of the device's customer. `named` are its positional arguments, which may begin
    /// with a hyphen: base64url does.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn device(&self, arguments: &[&str], named: &[&str]) -> Result<Answer, Failed> {
        let dir = self.node(Node::Device).display().to_string();
        self.warifu
            .json([&["device"], arguments, &["--dir", &dir, "--"], named].concat())
    }

    /// A command of a login service, with its positional arguments.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn service(&self, arguments: &[&str], named: &[&str]) -> Result<Answer, Failed> {
        let options = self.login_service();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.warifu
            .json([arguments, &options, &["--"], named].concat())
    }

    /// Enrols the device for a customer; the account's name.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn enrol(&self, customer: &str) -> Result<String, Failed> {
        let ticket = self.service(
            &["enrol", "ticket", "--customer", customer, "--no-wait"],
            &[],
        )?;
        // A file, since a ticket in the list of processes is everybody's.
        let file = self.dir.join(format!("{customer}.ticket"));
        std::fs::write(&file, ticket.text("ticket_uri")).map_err(io("write the ticket"))?;
        let device = self.device(&["enrol"], &[&file.display().to_string()])?;
        self.confirm(customer, &ticket.text("session"), &device.text("digits"))
    }

    /// The customer types the device's digits into the page; the account's name.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn confirm(&self, customer: &str, session: &str, digits: &str) -> Result<String, Failed> {
        let account = self.service(
            &["enrol", "confirm", "--customer", customer],
            &[session, digits],
        )?;
        Ok(account.text("account"))
    }

    /// Begins a login; its number is known when this returns.
    ///
    /// # Errors
    /// [`Failed`] when the broker refuses to begin.
    pub fn begin(&self, customer: &str) -> Result<OpenLogin, Failed> {
        self.begin_with(customer, &[])
    }

    /// Begins a login with more options of the command.
    ///
    /// # Errors
    /// [`Failed`] when the broker refuses to begin.
    pub fn begin_with(&self, customer: &str, options: &[&str]) -> Result<OpenLogin, Failed> {
        let mut command = self
            .warifu
            .command(["login", "--customer", customer, "--json"]);
        OpenLogin::spawn(command.args(self.login_service()).args(options))
    }

    /// What the device asks its customer, waiting a while; the proposal's hash.
    ///
    /// # Errors
    /// [`Failed`] when nothing comes.
    pub fn asked(&self) -> Result<String, Failed> {
        let step = Duration::from_millis(50);
        for _ in 0..200 {
            if let Some((_, proposal)) = self.pending()?.into_iter().next() {
                return Ok(proposal);
            }
            std::thread::sleep(step);
        }
        Err(io("wait for the device's prompt")(std::io::Error::other(
            "nothing was asked in 10 s",
        )))
    }

    /// The proposals in front of the device's customer: account and hash.
    ///
    /// # Errors
    /// [`Failed`] while the device does not run.
    pub fn pending(&self) -> Result<Vec<(String, String)>, Failed> {
        let pending = self.device(&["pending"], &[])?;
        let lines = pending.0.into_iter().flat_map(|line| match line {
            Value::Array(list) => list,
            other => vec![other],
        });
        Ok(lines
            .filter_map(|p| {
                let text = |field: &str| p[field].as_str().map(ToOwned::to_owned);
                Some((text("account")?, text("proposal")?))
            })
            .collect())
    }

    /// The height and hash of every account's head in a node's directory, read offline.
    ///
    /// # Errors
    /// [`Failed`] when the directory does not verify.
    pub fn verify(&self, node: Node) -> Result<Answer, Failed> {
        let dir = self.node(node).display().to_string();
        self.warifu
            .json(["ledger", "verify", &dir, "--ledger", &self.ledger()])
    }
}

/// The body of what a listener on loopback answers with 200.
fn get(url: &str, path: &str) -> std::io::Result<Option<String>> {
    let host = url.trim_start_matches("http://");
    let mut line = TcpStream::connect(host)?;
    line.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(
        line,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    line.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok(head.starts_with("HTTP/1.1 200").then(|| body.to_owned()))
}

/// Sends a signal to a process.
pub(super) fn send_signal(pid: u32, name: &str) {
    let arguments = [format!("-{name}"), pid.to_string()];
    drop(Command::new("kill").args(arguments).status());
}

fn wait_ended(mut child: Child) -> Option<i32> {
    let step = Duration::from_millis(20);
    for _ in 0..STOP.as_millis() / step.as_millis() {
        if let Ok(Some(status)) = child.try_wait() {
            return status.code();
        }
        std::thread::sleep(step);
    }
    drop(child.kill());
    drop(child.wait());
    None
}

impl Drop for Testnet {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Reads a node's output on a thread of its own, so that waiting has an end; its `ready` line.
fn wait_ready(stdout: impl Read + Send + 'static) -> Option<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|l| l.starts_with("ready "));
        // Nobody waits any more after START.
        let _ = sender.send(ready);
        // Keeps the pipe open: a node that can't print is a node that fails.
        lines.map_while(Result::ok).for_each(drop);
    });
    receiver.recv_timeout(START).ok().flatten()
}

fn tail(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |m| m.len());
        drop(file.seek(std::io::SeekFrom::Start(length.saturating_sub(2_000))));
        drop(file.read_to_string(&mut text));
    }
    text
}
