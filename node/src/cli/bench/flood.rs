//! The process of hostile peers: 500 connections, more or less, that send as fast as they can.
//!
//! What each kind does is what costs an operator most for what it costs the sender. Only the last has a
//! key that the operators know:
//!
//! - *silent*: connects, says nothing, and comes again when it is cut.
//! - *first message*: opens a Noise handshake as a real peer would, with a point of random bytes, so that the
//!   operator makes a key and two Diffie-Hellmans for 32 bytes that cost nothing; comes again at once.
//! - *noise*: writes random bytes as fast as they are taken, and comes again at once.
//! - *stranger*: finishes the handshake with a fresh key, as somebody about to enrol may, and sends frames as
//!   fast as its line carries.
//! - *pinned*: an enrolled device's own key; sends frames that are well formed, about its own account, as fast
//!   as its line carries: a broken one would only get it cut.
//!
//! The process runs at the lowest priority: on a machine of its own it would take no processor time from
//! the operators either. Everything is over loopback, whose addresses count as one for the limits.

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::setpriority_process;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};
use warifu_client_sdk::{
    runtime::Keeper,
    store::{JournalOptions, JournalStore, MemoryIndex, Vault},
    transport::{
        Admission, Admit, IdentitySecret, Limits, Multiaddr, NetEvent, NetEvents, Network,
        NetworkOptions, SendError,
    },
};
use warifu_consensus::{
    encoding::Hash,
    party::{Ledger, Role, Sub},
    wire::{Agree, Message},
};

use super::{
    devices, marker,
    pipe::{Said, Told},
};
use crate::{
    config::Config,
    output::{Exit, Failure},
    secrets,
};

/// The lowest priority there is.
const NICE: i32 = 19;
/// What a peer that is refused at once waits before it comes again: without it the flood would mostly be
/// the kernel's work, at both ends.
const AGAIN: Duration = Duration::from_millis(1);
/// A line that takes no more now is tried again after this.
const FULL: Duration = Duration::from_millis(1);
/// Longest wait of a peer that says nothing.
const SILENT: Duration = Duration::from_secs(30);

/// Arguments of `warifu bench flood`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Where the devices' directories lie, named by number.
    #[arg(long)]
    dir: PathBuf,
    /// The first device that is hostile.
    #[arg(long)]
    from: usize,
    /// How many devices are hostile.
    #[arg(long)]
    pinned: usize,
    /// Connections of peers whose keys nobody knows.
    #[arg(long)]
    connections: usize,
    /// Where the broker and the trust operator listen.
    #[arg(long, num_args = 2, value_names = ["BROKER", "TRUST_OPERATOR"])]
    operators: Vec<SocketAddr>,
}

/// What the flood did so far.
#[derive(Debug, Default)]
struct Done {
    connections: AtomicU64,
    handshakes: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Done {
    fn add(counter: &AtomicU64, more: usize) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        counter.fetch_add(more, Ordering::Relaxed);
    }

    fn said(&self) -> Said {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Said::Flooded {
            connections: read(&self.connections),
            handshakes: read(&self.handshakes),
            frames: read(&self.frames),
            bytes: read(&self.bytes),
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let io = |error: &dyn std::error::Error| Failure::from_error(Exit::Io, error);
    setpriority_process(None, NICE).map_err(|error| io(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| io(&error))?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<(), Failure> {
    let mut told = devices::read();
    let Some(Told::Marker { marker }) = told.recv().await else {
        let text = "expected the marker of a bench on the standard input: only a bench starts this";
        return Err(Failure::new(Exit::Refused, text));
    };
    marker::check(&args.dir, &marker)?;
    let &[broker, trust_operator] = args.operators.as_slice() else {
        return Err(Failure::new(Exit::Usage, "expected two operators"));
    };
    let done = Arc::new(Done::default());
    let (on, is_on) = watch::channel(false);
    let mut peers = Peers {
        operators: [broker, trust_operator],
        done: Arc::clone(&done),
        is_on,
        tasks: JoinSet::new(),
    };
    let mut ledger = None;
    for number in args.from..args.from.saturating_add(args.pinned) {
        let device = Pinned::open(args, number)?;
        ledger = Some(device.ledger.clone());
        peers.pinned(device);
    }
    let Some(ledger) = ledger else {
        return Err(Failure::new(Exit::Usage, "expected a hostile device"));
    };
    for number in 0..args.connections {
        peers.unknown(number, &ledger);
    }
    say(&Said::Ready {
        devices: args.pinned,
    });
    while let Some(line) = told.recv().await {
        if let Told::Flood { on: wanted } = line {
            on.send_replace(wanted);
            say(&done.said());
        }
    }
    peers.tasks.shutdown().await;
    Ok(())
}

fn say(said: &Said) {
    if let Ok(line) = serde_json::to_string(said) {
        let mut stdout = std::io::stdout().lock();
        // A bench that is gone needs no answer.
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}

/// An enrolled device whose owner is hostile.
struct Pinned {
    ledger: Ledger,
    sub: Sub,
    seed: zeroize::Zeroizing<[u8; 32]>,
}

impl Pinned {
    /// Reads what the enrolment left in a device's directory.
    fn open(args: &Args, number: usize) -> Result<Self, Failure> {
        let io = |error: &dyn std::error::Error| Failure::from_error(Exit::Io, error);
        let dir = devices::directory(&args.dir, number);
        marker::check_no_link(&dir)?;
        let config = Config::load(&dir).map_err(|error| io(&error))?;
        marker::check_inside(&args.dir, &config.node)?;
        let key = secrets::read_master_key(&config.node.master_key).map_err(|e| io(&e))?;
        let iss = config.ledger.iss.clone();
        let options = JournalOptions::new(iss.clone(), Role::Device.number());
        let index = || Ok(MemoryIndex::default());
        let store = JournalStore::open(&config.node.data, options, index, &mut |_, _| {});
        let store = Arc::new(store.map_err(|error| io(&error))?);
        let vault = Vault::open(&config.node.data.join("vault"), &key, &iss);
        let keeper = Keeper::new(store, Arc::new(vault.map_err(|error| io(&error))?));
        let subs = keeper.accounts().map_err(|error| io(&error))?;
        let missing = || Failure::new(Exit::Io, format!("device {number} has no account"));
        let sub = subs.first().copied().ok_or_else(missing)?;
        let found = keeper.secrets(&sub).map_err(|error| io(&error))?;
        Ok(Self {
            ledger: config.ledger,
            sub,
            seed: found.identity.ok_or_else(missing)?,
        })
    }
}

struct Nobody;

impl Admission for Nobody {
    fn admit(&self, _: &[u8; 32]) -> Admit {
        Admit::No
    }
}

/// All hostile peers; each works while the flood is on.
struct Peers {
    operators: [SocketAddr; 2],
    done: Arc<Done>,
    is_on: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Peers {
    fn at(&self, number: usize) -> SocketAddr {
        let [broker, trust_operator] = self.operators;
        if number.is_multiple_of(2) {
            broker
        } else {
            trust_operator
        }
    }

    /// One of the peers whose keys nobody knows: four kinds in turn, at both operators.
    fn unknown(&mut self, number: usize, ledger: &Ledger) {
        let (at, done) = (self.at(number), Arc::clone(&self.done));
        match (number / 2) % 4 {
            0 => self.repeat(move || silent(at, Arc::clone(&done))),
            1 => self.repeat(move || first_message(at, Arc::clone(&done))),
            2 => self.repeat(move || noise(at, Arc::clone(&done))),
            _ => {
                let peer = if number.is_multiple_of(2) {
                    ledger.broker
                } else {
                    ledger.trust_operator
                };
                self.repeat(move || {
                    let done = Arc::clone(&done);
                    async move { line(random(), &[(peer, at)], hello_frames(), done).await }
                });
            }
        }
    }

    /// A peer with a device's key, at both operators.
    fn pinned(&mut self, device: Pinned) {
        let [broker, trust_operator] = self.operators;
        let peers = [
            (device.ledger.broker, broker),
            (device.ledger.trust_operator, trust_operator),
        ];
        let (done, frames) = (Arc::clone(&self.done), own_frames(device.sub));
        self.repeat(move || {
            let (done, frames, seed) = (Arc::clone(&done), frames.clone(), *device.seed);
            async move { line(seed, &peers, frames, done).await }
        });
    }

    /// Does it again and again while the flood is on, and drops it when it is off.
    fn repeat<F, W>(&mut self, mut work: W)
    where
        F: Future<Output = ()> + Send,
        W: FnMut() -> F + Send + 'static,
    {
        let mut is_on = self.is_on.clone();
        self.tasks.spawn(async move {
            while is_on.wait_for(|on| *on).await.is_ok() {
                let mut watched = is_on.clone();
                let off = async { watched.wait_for(|on| !*on).await.map(drop) };
                let working = async {
                    work().await;
                    tokio::time::sleep(AGAIN).await;
                };
                tokio::select! {
                    () = working => {}
                    _ = off => {}
                }
            }
        });
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Whatever the bytes are, they are hostile.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

async fn connect(at: SocketAddr, done: &Done) -> Option<TcpStream> {
    let stream = TcpStream::connect(at).await.ok()?;
    Done::add(&done.connections, 1);
    Some(stream)
}

/// Says nothing until it is cut.
async fn silent(at: SocketAddr, done: Arc<Done>) {
    if let Some(mut stream) = connect(at, &done).await {
        let _ = tokio::time::timeout(SILENT, stream.read_u8()).await;
    }
}

/// Offers Noise as libp2p does (multistream-select 1.0, then XX's first message: a length of two bytes and 32
/// bytes for the ephemeral key), and takes the answer, which is made for nobody.
async fn first_message(at: SocketAddr, done: Arc<Done>) {
    let Some(mut stream) = connect(at, &done).await else {
        return;
    };
    let mut bytes = b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x20".to_vec();
    bytes.extend(random::<32>());
    if stream.write_all(&bytes).await.is_err() {
        return;
    }
    let mut answer = [0; 256];
    // The protocols are repeated first, then comes what cost the operator most.
    let mut read = 0;
    while read < 64 {
        match stream.read(&mut answer).await {
            Ok(more @ 1..) => read += more,
            _ => return,
        }
    }
    Done::add(&done.handshakes, 1);
}

/// Random bytes as fast as they are taken.
async fn noise(at: SocketAddr, done: Arc<Done>) {
    let Some(mut stream) = connect(at, &done).await else {
        return;
    };
    let bytes = random::<4096>();
    while stream.write_all(&bytes).await.is_ok() {
        Done::add(&done.bytes, bytes.len());
    }
}

/// Finishes the handshake with each peer, and sends frames as fast as its line carries, until all lines are
/// down.
async fn line(
    seed: [u8; 32],
    peers: &[([u8; 32], SocketAddr)],
    frames: Vec<Vec<u8>>,
    done: Arc<Done>,
) {
    let started = Network::start(NetworkOptions {
        identity: IdentitySecret::new(seed),
        listen: Vec::new(),
        admission: Arc::new(Nobody),
        limits: Limits {
            // As soon as it can be.
            redial_first: AGAIN,
            redial_longest: Duration::from_millis(50),
            redial_spread: Duration::ZERO,
            ..Limits::default()
        },
    });
    let Ok((network, mut events)) = started.await else {
        return;
    };
    for (peer, at) in peers {
        let address = format!("/ip4/{}/tcp/{}", at.ip(), at.port());
        if let Ok(address) = address.parse::<Multiaddr>() {
            // A key that is none has no line.
            let _ = network.connect(*peer, vec![address]);
        }
    }
    let sending = async {
        let mut sending = JoinSet::new();
        for (peer, _) in peers {
            let (network, peer, frames) = (network.clone(), *peer, frames.clone());
            let done = Arc::clone(&done);
            sending.spawn(async move { send(&network, peer, &frames, &done).await });
        }
        sending.join_all().await;
    };
    tokio::select! {
        () = sending => {}
        () = hear(&mut events, &done) => {}
    }
}

/// Reads what comes, so that no line is held up by its own inbox.
async fn hear(events: &mut NetEvents, done: &Done) {
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Up { .. } => Done::add(&done.handshakes, 1),
            NetEvent::DialFailed { .. } => Done::add(&done.connections, 1),
            _ => {}
        }
    }
}

async fn send(network: &Network, peer: [u8; 32], frames: &[Vec<u8>], done: &Done) {
    for frame in frames.iter().cycle() {
        loop {
            match network.send(peer, None, frame.clone()) {
                Ok(()) => break,
                Err(SendError::Full | SendError::NotConnected) => tokio::time::sleep(FULL).await,
                Err(_) => return,
            }
        }
        Done::add(&done.frames, 1);
        Done::add(&done.bytes, frame.len());
    }
}

/// A stranger's first word is read; these are none that anybody takes.
fn hello_frames() -> Vec<Vec<u8>> {
    let mut large = random::<4096>().to_vec();
    large.resize(64 * 1024, 0x5a);
    vec![random::<200>().to_vec(), large]
}

/// What an enrolled device may say about its own account, with nothing behind it: each is well formed.
fn own_frames(sub: Sub) -> Vec<Vec<u8>> {
    let hash = Hash(random());
    let head = |ask| Agree::HeadIs {
        head: None,
        vote: None,
        ask,
        notice: false,
    };
    let said = [
        Agree::BlocksFrom { height: 0 },
        Agree::Number { hash, number: 7 },
        head(true),
        Agree::BlocksFrom { height: 0 },
        Agree::BlocksFrom { height: 1 },
        head(true),
    ];
    let frame = |agree| {
        let agree = Box::new(agree);
        Message::Agree { sub, agree }.to_frame().ok()
    };
    said.into_iter().filter_map(frame).collect()
}
