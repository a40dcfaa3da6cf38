//! One operator of the bench of the log, a process of its own: journal, vault, line and the log's own task as a
//! node has them, and nothing else. It seals what it is told to, and says when proofs could be made.

use std::{
    collections::HashMap,
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use warifu_client_sdk::{
    runtime::{Keeper, Secrets},
    store::{JournalOptions, MasterKey, Place, Store, StreamId, Vault},
    transport::{
        Admission, Admit, IdentitySecret, Limits, Multiaddr, NetEvent, NetEvents, Network,
        NetworkOptions,
    },
};
use warifu_consensus::{
    log::LogMessage,
    party::{Role, Sub},
    wire::Message,
};
use zeroize::Zeroizing;

use super::blocks::{self, Blocks};
use crate::{
    cli::bench::{
        devices, marker,
        measured::percentile,
        pipe::{LogBytes, LogTimes, Said, Told},
    },
    log::{LogBook, LogEvent, LogLink, LogParts, Sequencer, Unlogged, Witness},
    output::{Exit, Failure, role_name},
    run::node_clock,
    store::{self, NodeStore},
};

/// Of the journal's batches, so many are read at once.
const FOLLOWED: usize = 4096;
/// How long the log may still have to do once nothing is fed any more.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Bytes of one entry of the index: key and value, as its module says.
const INDEX_ENTRY: u64 = 25 + 56;

/// Arguments of `warifu bench log-side`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The bench's directory.
    #[arg(long)]
    dir: PathBuf,
    /// Listens, and is the trust operator; else the broker, which dials this address.
    #[arg(long)]
    dial: Option<Multiaddr>,
    /// Both sides make their blocks from it.
    #[arg(long)]
    seed: u64,
    /// Accounts.
    #[arg(long)]
    accounts: u64,
}

fn io(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(Exit::Io, error)
}

pub(in crate::cli::bench) fn run(args: &Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
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
    let mut side = Side::open(args).await?;
    say(&Said::Listening {
        address: side.listening()?,
    });
    while let Some(line) = told.recv().await {
        match line {
            Told::Feed { until } => {
                side.feed(until).await?;
                say(&Said::Fed {
                    until,
                    cosigned: *side.book.watch().borrow(),
                });
            }
            Told::CatchUp => {
                side.catch_up().await?;
                say(&Said::Times(side.times()));
            }
            Told::Times => say(&Said::Times(side.times())),
            Told::Bytes => say(&Said::Bytes(side.bytes()?)),
            _ => {}
        }
    }
    side.network.clone().shutdown().await;
    Ok(())
}

fn say(said: &Said) {
    if let Ok(line) = serde_json::to_string(said) {
        let mut stdout = std::io::stdout().lock();
        // A bench that is gone needs no answer.
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}

/// The other operator, and nobody else.
struct Only([u8; 32]);

impl Admission for Only {
    fn admit(&self, peer: &[u8; 32]) -> Admit {
        if *peer == self.0 {
            Admit::Known
        } else {
            Admit::No
        }
    }

    fn is_paced(&self, _: &[u8; 32]) -> bool {
        false
    }
}

/// When blocks became durable here, and how long it took until a proof of each could be made.
#[derive(Default)]
struct Watched {
    waiting: HashMap<(Sub, u64), Instant>,
    took_ms: Vec<f64>,
    prove_us: Vec<f64>,
    since: Option<Instant>,
}

/// See the module.
struct Side {
    dir: PathBuf,
    book: Arc<LogBook<NodeStore>>,
    blocks: Blocks,
    network: Network,
    watched: Arc<Mutex<Watched>>,
}

impl Side {
    async fn open(args: &Args) -> Result<Self, Failure> {
        let role = match args.dial {
            Some(_) => Role::Broker,
            None => Role::TrustOperator,
        };
        let dir = args.dir.join(role_name(role));
        let journal = JournalOptions {
            reserve_bytes: 0,
            ..JournalOptions::new(blocks::ISS, role.number())
        };
        let store = store::open(&dir, journal, &mut |_, _| {}).map_err(|e| io(&e))?;
        let master = MasterKey::from_bytes(Zeroizing::new(blocks::line_seed(args.seed, role)));
        let vault = Vault::open(&dir.join("vault"), &master, blocks::ISS).map_err(|e| io(&e))?;
        let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
        let blocks = Blocks::new(args.seed, args.accounts);
        if role == Role::Broker {
            keep_content_keys(&keeper, &blocks).await?;
        }
        let keys = blocks::log_keys(args.seed).map_err(|e| io(&e))?;
        let book = LogBook::open(keeper, &dir.join("log"), keys, &mut |_, _| {});
        let book = Arc::new(book.map_err(|error| io(&error))?);
        let network = connect(args, role, &book).await?;
        let watched = Arc::new(Mutex::new(Watched::default()));
        tokio::spawn(watch(Arc::clone(&book), Arc::clone(&watched)));
        Ok(Self {
            dir,
            book,
            blocks,
            network,
            watched,
        })
    }

    fn listening(&self) -> Result<String, Failure> {
        let listeners = self.network.listeners();
        // The broker only dials.
        Ok(listeners
            .first()
            .map_or_else(String::new, |a| a.to_string()))
    }

    /// Seals until so many blocks are sealed: durable when it returns.
    async fn feed(&mut self, until: u64) -> Result<(), Failure> {
        let mut batches = Vec::new();
        let mut names = Vec::new();
        while self.blocks.made() < until {
            let (made, sub, height) = self.blocks.next().map_err(|error| io(&error))?;
            batches.extend(made);
            names.push((sub, height));
        }
        if names.is_empty() {
            return Ok(());
        }
        // The log may be faster than the journal's answer here: until that, the question counts.
        self.mark(&names, true);
        let store = self.book.keeper().store();
        store.append_all(batches).await.map_err(|e| io(&e))?;
        self.mark(&names, false);
        Ok(())
    }

    fn mark(&self, names: &[(Sub, u64)], begins: bool) {
        let now = Instant::now();
        let mut watched = lock(&self.watched);
        for name in names {
            if begins {
                watched.waiting.insert(*name, now);
            } else if let Some(at) = watched.waiting.get_mut(name) {
                *at = now;
            }
        }
    }

    async fn catch_up(&self) -> Result<(), Failure> {
        let (fed, mut size) = (self.blocks.made(), self.book.watch());
        let done = tokio::time::timeout(CATCH_UP, size.wait_for(|size| *size >= fed)).await;
        if matches!(done, Ok(Ok(_))) {
            return Ok(());
        }
        let text = format!(
            "{} of {fed} blocks are logged after {} s",
            self.book.state().size,
            CATCH_UP.as_secs()
        );
        Err(Failure::new(Exit::Unreachable, text))
    }

    /// What happened since the last time that this was asked.
    fn times(&self) -> LogTimes {
        let mut watched = lock(&self.watched);
        let now = Instant::now();
        let began = watched.since.replace(now).unwrap_or(now);
        let mut took = std::mem::take(&mut watched.took_ms);
        let mut proved = std::mem::take(&mut watched.prove_us);
        drop(watched);
        took.sort_by(f64::total_cmp);
        proved.sort_by(f64::total_cmp);
        LogTimes {
            seconds: now.duration_since(began).as_secs_f64(),
            blocks: took.len(),
            p50_ms: percentile(&took, 50),
            p99_ms: percentile(&took, 99),
            max_ms: took.last().copied().unwrap_or_default(),
            proofs: proved.len(),
            prove_p50_us: percentile(&proved, 50),
            prove_p99_us: percentile(&proved, 99),
        }
    }

    /// What the log holds on this disk, beside the blocks themselves.
    fn bytes(&self) -> Result<LogBytes, Failure> {
        let keeper = self.book.keeper();
        let (mut stream, mut sealed) = (0, 0);
        let mut count = |of: StreamId, bytes: u64| {
            if of == StreamId::LOG {
                stream += bytes;
            } else {
                sealed += bytes;
            }
        };
        let mut last: Option<(Place, StreamId, u64)> = None;
        let mut after = Place::START;
        loop {
            let some = keeper.store().follow(after, FOLLOWED).map_err(|e| io(&e))?;
            let Some(end) = some.last() else { break };
            after = end.place;
            for batch in some {
                // A record reaches to the next one; the last of a segment is taken for its entries.
                if let Some((place, of, entries)) = last {
                    let same = place.0 >> 40 == batch.place.0 >> 40;
                    count(
                        of,
                        if same {
                            batch.place.0 - place.0
                        } else {
                            entries
                        },
                    );
                }
                let entries = batch.entries.iter().map(|entry| entry.len() as u64).sum();
                last = Some((batch.place, batch.stream, entries));
            }
        }
        if let Some((_, of, entries)) = last {
            count(of, entries);
        }
        let mut openers = 0;
        let files = |name: &str| file_bytes(&self.dir.join(name));
        let witness = keeper.derived_opener(&self.first()).map_err(|e| io(&e))?;
        if witness.is_none() {
            // All that its vault holds here are openers.
            openers = files("vault");
        }
        let batches = keeper.log_records().map_err(|e| io(&e))?;
        Ok(LogBytes {
            blocks: self.book.state().size,
            batches,
            sealed,
            stream,
            files: files("log"),
            openers,
            index: batches * INDEX_ENTRY,
        })
    }

    fn first(&self) -> Sub {
        self.blocks
            .accounts()
            .next()
            .map_or(Sub::ZERO, |(sub, _)| sub)
    }
}

fn lock(watched: &Mutex<Watched>) -> std::sync::MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of the files in a directory, as long as they are.
fn file_bytes(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let length = |entry: std::fs::DirEntry| entry.metadata().ok().filter(|m| m.is_file());
    entries.filter_map(length).map(|m| m.len()).sum()
}

async fn keep_content_keys(keeper: &Keeper<NodeStore>, blocks: &Blocks) -> Result<(), Failure> {
    let all: Vec<_> = blocks.accounts().collect();
    for some in all.chunks(256) {
        let kept = some.iter().map(|(sub, key)| async move {
            let secrets = Secrets {
                share: None,
                content_key: Some(key.clone()),
                identity: None,
            };
            keeper.keep_secrets(sub, &secrets).await
        });
        let kept = futures::future::try_join_all(kept).await;
        kept.map_err(|error| io(&error))?;
    }
    Ok(())
}

/// Opens the line to the other side, and begins to work at the log.
async fn connect(
    args: &Args,
    role: Role,
    book: &Arc<LogBook<NodeStore>>,
) -> Result<Network, Failure> {
    let public = |role| {
        let secret = IdentitySecret::new(blocks::line_seed(args.seed, role));
        secret.public_key().map_err(|error| io(&error))
    };
    let other = match role {
        Role::Broker => public(Role::TrustOperator)?,
        _ => public(Role::Broker)?,
    };
    let listen = match &args.dial {
        Some(_) => Vec::new(),
        None => vec!["/ip4/127.0.0.1/tcp/0".parse::<Multiaddr>()]
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| io(&error))?,
    };
    let (network, events) = Network::start(NetworkOptions {
        identity: IdentitySecret::new(blocks::line_seed(args.seed, role)),
        listen,
        admission: Arc::new(Only(other)),
        limits: Limits::of_operator(),
    })
    .await
    .map_err(|error| io(&error))?;
    let line = network.clone();
    let say = move |said: LogMessage| {
        if let Ok(frame) = Message::Log(Box::new(said)).to_frame()
            && let Err(error) = line.send(other, None, frame)
        {
            tracing::warn!(%error, "not sent");
        }
    };
    let parts = LogParts {
        unlogged: Unlogged::open(book).map_err(|error| io(&error))?,
        book: Arc::clone(book),
        key: blocks::log_key(args.seed, role).map_err(|error| io(&error))?,
        say: Arc::new(say),
        clock: node_clock(),
    };
    let link = LogLink::default();
    let heard = link.open();
    tokio::spawn(async move {
        let ended = match role {
            Role::TrustOperator => Witness::new(parts).run(heard).await,
            _ => Sequencer::new(parts).run(heard).await,
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the log has stopped");
        }
    });
    tokio::spawn(carry(events, link));
    if let Some(address) = &args.dial {
        let address = vec![address.clone()];
        network
            .connect(other, address)
            .map_err(|error| io(&error))?;
    }
    Ok(network)
}

async fn carry(mut events: NetEvents, link: LogLink) {
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Up { .. } => link.tell(LogEvent::Up),
            NetEvent::Down { .. } => link.tell(LogEvent::Down),
            NetEvent::Frame { frame, .. } => match Message::from_frame(&frame) {
                Ok(Message::Log(said)) => link.tell(LogEvent::Said(said)),
                _ => tracing::warn!("a frame that is not about the log"),
            },
            _ => {}
        }
    }
}

/// Takes the time whenever both have signed, and makes the proof of one of the blocks.
async fn watch(book: Arc<LogBook<NodeStore>>, watched: Arc<Mutex<Watched>>) {
    let mut size = book.watch();
    let mut seen = 0;
    while size.changed().await.is_ok() {
        let (from, until) = (seen, *size.borrow_and_update());
        seen = until;
        let now = Instant::now();
        let count = usize::try_from(until - from).unwrap_or(0);
        let named = match book.named(from, count) {
            Ok(named) => named,
            Err(error) => {
                tracing::error!(%error, "leaves can't be named");
                return;
            }
        };
        {
            let mut watched = lock(&watched);
            for (_, sub, height) in &named {
                if let Some(since) = watched.waiting.remove(&(*sub, *height)) {
                    let took = now.saturating_duration_since(since);
                    watched.took_ms.push(took.as_secs_f64() * 1e3);
                }
            }
        }
        if let Some((_, sub, height)) = named.last() {
            match prove(&book, sub, *height) {
                Ok(took) => lock(&watched).prove_us.push(took.as_secs_f64() * 1e6),
                Err(error) => {
                    tracing::error!(%error, "a proof can't be made");
                    return;
                }
            }
        }
    }
}

/// Makes the proof of a block, which verifies it.
fn prove(book: &LogBook<NodeStore>, sub: &Sub, height: u64) -> Result<Duration, Failure> {
    let blocks = book.keeper().blocks(sub, height, height, usize::MAX);
    let blocks = blocks.map_err(|error| io(&error))?;
    let missing = || Failure::new(Exit::Io, format!("block {height} of {sub} has no proof"));
    let sealed = blocks.first().ok_or_else(missing)?;
    let began = Instant::now();
    let proof = book.prove(sealed).map_err(|error| io(&error))?;
    proof.ok_or_else(missing)?;
    Ok(began.elapsed())
}
