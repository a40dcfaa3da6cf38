//! `warifu bench devices`, which only the bench calls: many devices in one process, each the SDK's
//! own [`Device`] with its own identity, its own directory and a line of its own to the broker.
//!
//! Their customers approve by themselves once they were told a page's number. That exists here and
//! nowhere else: the command opens only directories with the marker that the bench tells on its
//! pipe first (`marker`), and without that pipe no device is ever told a number.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc, oneshot,
};
use warifu_client_sdk::{
    device::{Decision, Device, DeviceEvent, DeviceOptions, EnrolStage},
    transport::Limits,
};
use warifu_consensus::{encoding::Hash, enrol::Ticket};

use super::{
    marker,
    pipe::{Said, Told},
};
use crate::{
    config::Config,
    output::{Exit, Failure},
    run::node_clock,
    secrets,
};

/// How long a customer waits for the question that belongs to a number.
const QUESTION: Duration = Duration::from_secs(30);

/// How long the last lines to the bench may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How many devices start at a time: each is a handshake at the broker.
const STARTING: usize = 16;

/// Arguments of `warifu bench devices`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Where the devices' directories lie, named by number.
    #[arg(long)]
    dir: PathBuf,
    /// How many.
    #[arg(long)]
    devices: usize,
}

/// A device's directory.
pub(super) fn directory(dir: &Path, device: usize) -> PathBuf {
    dir.join(format!("{device:05}"))
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN);
    let started = log.with_writer(std::io::stderr).with_ansi(false).try_init();
    started.map_err(|error| Failure::from_error(Exit::Io, error.as_ref()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(crate::roles::line_threads())
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::Io, &error))?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<(), Failure> {
    let (said, answers) = mpsc::channel::<Said>(1024);
    let mut told = read();
    let Some(Told::Marker { marker }) = told.recv().await else {
        let text = "expected the marker of a bench on the standard input: only a bench starts this";
        return Err(Failure::new(Exit::Refused, text));
    };
    marker::check(&args.dir, &marker)?;
    let (all_written, written) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        write(answers);
        drop(all_written);
    });
    let devices = start_all(args, &said).await?;
    drop(
        said.send(Said::Ready {
            devices: devices.len(),
        })
        .await,
    );
    // The pipe's end is the bench's end, however it came.
    while let Some(line) = told.recv().await {
        match line {
            // Every directory is open already.
            Told::Marker { .. } => {}
            Told::Ticket { device, uri } => {
                if let Some(customer) = devices.get(device) {
                    customer.clone().enrol(uri);
                }
            }
            Told::Number {
                device,
                nonce,
                number,
            } => {
                if let Some(customer) = devices.get(device) {
                    drop(customer.numbers.send((nonce, number)).await);
                }
            }
            Told::Lines => {
                let up = lines_up(&devices).await?;
                drop(said.send(Said::Lines { up }).await);
            }
            // What others are told: nobody here is hostile, or an operator.
            _ => {}
        }
    }
    for customer in &devices {
        customer.device.clone().stop().await;
    }
    drop((devices, said));
    // What was said last is read too, unless nobody reads any more.
    drop(tokio::time::timeout(LAST_WORDS, written).await);
    Ok(())
}

/// Lines from the bench, read on a thread of their own until the pipe ends.
pub(super) fn read() -> mpsc::Receiver<Told> {
    let (sender, told) = mpsc::channel(1024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(line) => {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
                // Never the line itself: a ticket is a secret.
                Err(error) => tracing::error!(%error, "a line of the bench is not understood"),
            }
        }
    });
    told
}

/// Lines to the bench.
fn write(mut answers: mpsc::Receiver<Said>) {
    while let Some(said) = answers.blocking_recv() {
        let Ok(line) = serde_json::to_string(&said) else {
            continue;
        };
        let mut stdout = std::io::stdout().lock();
        if writeln!(stdout, "{line}")
            .and_then(|()| stdout.flush())
            .is_err()
        {
            return;
        }
    }
}

/// One device and its customer.
#[derive(Clone)]
struct Customer {
    number: usize,
    device: Device,
    numbers: mpsc::Sender<(String, u8)>,
    /// Held by the command alone, which ends once everything said is written.
    said: mpsc::WeakSender<Said>,
}

async fn start_all(args: &Args, said: &mpsc::Sender<Said>) -> Result<Vec<Customer>, Failure> {
    let mut customers = Vec::with_capacity(args.devices);
    for first in (0..args.devices).step_by(STARTING) {
        let last = first.saturating_add(STARTING).min(args.devices);
        let starting: Vec<_> = (first..last)
            .map(|number| tokio::spawn(start(args.dir.clone(), number)))
            .collect();
        for (number, started) in (first..).zip(starting) {
            let device = started
                .await
                .map_err(|error| Failure::from_error(Exit::Io, &error))??;
            let (numbers, wanted) = mpsc::channel(16);
            let customer = Customer {
                number,
                device,
                numbers,
                said: said.downgrade(),
            };
            tokio::spawn(approve_all(customer.clone(), wanted));
            customers.push(customer);
        }
    }
    Ok(customers)
}

async fn start(bench: PathBuf, number: usize) -> Result<Device, Failure> {
    let dir = directory(&bench, number);
    marker::check_no_link(&dir)?;
    let config =
        Config::load(&dir).map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    marker::check_inside(&bench, &config.node)?;
    let master_key = secrets::read_master_key(&config.node.master_key)
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    Device::start(DeviceOptions {
        dir: config.node.data,
        master_key,
        ledger: config.ledger,
        log_keys: config.log_keys,
        clock: node_clock(),
        signing: tokio::runtime::Handle::current(),
        limits: Limits::default(),
    })
    .await
    .map_err(|error| Failure::from_error(Exit::Io, &error))
}

async fn lines_up(devices: &[Customer]) -> Result<usize, Failure> {
    let mut up = 0;
    for customer in devices {
        let accounts = customer.device.accounts().await;
        let accounts = accounts.map_err(|error| Failure::from_error(Exit::Io, &error))?;
        up += usize::from(accounts.iter().any(|account| account.broker_line));
    }
    Ok(up)
}

/// Approves, one after the other, what the customer was told a number for.
async fn approve_all(customer: Customer, mut wanted: mpsc::Receiver<(String, u8)>) {
    while let Some((nonce, number)) = wanted.recv().await {
        let reason = match customer.question(&nonce).await {
            None => format!("no question came within {} s", QUESTION.as_secs()),
            Some(proposal) => match customer.device.approve(proposal, number).await {
                Ok(Decision::Sealed(_)) => continue,
                Ok(Decision::Refused(reason)) => {
                    let reason = reason.map(|reason| reason.to_string());
                    format!(
                        "refused: {}",
                        reason.as_deref().unwrap_or("no reason given")
                    )
                }
                Ok(Decision::Open) => "no block came after the approval".to_owned(),
                Err(error) => error.to_string(),
            },
        };
        customer.fail(reason).await;
    }
}

impl Customer {
    async fn fail(&self, reason: String) {
        let device = self.number;
        self.say(Said::Failed { device, reason }).await;
    }

    async fn say(&self, said: Said) {
        if let Some(line) = self.said.upgrade() {
            drop(line.send(said).await);
        }
    }

    /// Waits for the question with this challenge.
    async fn question(&self, nonce: &str) -> Option<Hash> {
        let mut events = self.device.events();
        let found = || {
            let pending = self.device.pending();
            let asked = pending.iter().find(|p| p.prompt.claims.nonce == nonce);
            asked.map(|p| p.prompt.hash)
        };
        let asked = async {
            loop {
                if let Some(hash) = found() {
                    return Some(hash);
                }
                changed(&mut events).await?;
            }
        };
        tokio::time::timeout(QUESTION, asked).await.ok().flatten()
    }

    /// Answers a ticket, and reads the six digits out.
    fn enrol(self, uri: String) {
        tokio::spawn(async move {
            if let Err(reason) = self.try_enrol(&uri).await {
                self.fail(reason).await;
            }
        });
    }

    async fn try_enrol(&self, uri: &str) -> Result<(), String> {
        let ticket = Ticket::from_uri(uri).map_err(|error| error.to_string())?;
        let enrolling = self.device.enrol(&ticket).await;
        let mut stage = enrolling.map_err(|error| error.to_string())?.stage;
        loop {
            let now = stage.borrow_and_update().clone();
            match now {
                EnrolStage::Digits(digits) => {
                    let device = self.number;
                    let digits = digits.to_string();
                    self.say(Said::Digits { device, digits }).await;
                    return Ok(());
                }
                EnrolStage::Failed(reason) => return Err(reason),
                EnrolStage::Running | EnrolStage::Founded(_) => {}
            }
            let gone = |_| "the enrolment ended without digits".to_owned();
            stage.changed().await.map_err(gone)?;
        }
    }
}

/// Waits until something is asked; `None` when the device has stopped.
async fn changed(events: &mut Receiver<DeviceEvent>) -> Option<()> {
    loop {
        match events.recv().await {
            Ok(DeviceEvent::Asked { .. }) | Err(RecvError::Lagged(_)) => return Some(()),
            Ok(_) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
