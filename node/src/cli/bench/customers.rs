//! The bench's end of the pipes to the process of devices: what a customer sees on a page goes in,
//! what a device shows comes out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout},
    sync::{oneshot, watch},
};

use super::{
    pipe::{Said, Told},
    process::Process,
};
use crate::output::{Exit, Failure};

/// How long a device may take to show its six digits.
const DIGITS: Duration = Duration::from_secs(60);
/// How many kinds of what went wrong are kept.
const KINDS: usize = 16;

type Scans = HashMap<usize, oneshot::Sender<Result<String, String>>>;

/// See the module.
pub(super) struct Customers {
    input: tokio::sync::Mutex<ChildStdin>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    scans: Mutex<Scans>,
    failures: Mutex<BTreeMap<String, u64>>,
    lines: watch::Sender<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Customers {
    /// Takes over the pipes of the devices' process.
    pub(super) fn of(process: &mut Process) -> Result<Arc<Customers>, Failure> {
        let (input, lines) = (process.input.take(), process.lines.take());
        let (Some(input), Some(lines)) = (input, lines) else {
            return Err(process.failed("has no pipes left"));
        };
        let heard = Arc::new(Heard::default());
        tokio::spawn(hear(Arc::clone(&heard), lines));
        Ok(Arc::new(Customers {
            input: tokio::sync::Mutex::new(input),
            heard,
        }))
    }

    async fn tell(&self, told: &Told) -> Result<(), String> {
        let mut line = serde_json::to_string(told).map_err(|error| error.to_string())?;
        line.push('\n');
        let mut input = self.input.lock().await;
        let written = input.write_all(line.as_bytes()).await;
        written.map_err(|error| format!("the devices' process is gone: {error}"))
    }

    /// A customer scans a ticket and reads the six digits out.
    pub(super) async fn scan(&self, device: usize, uri: &str) -> Result<String, String> {
        let (sender, digits) = oneshot::channel();
        lock(&self.heard.scans).insert(device, sender);
        let uri = uri.to_owned();
        self.tell(&Told::Ticket { device, uri }).await?;
        match tokio::time::timeout(DIGITS, digits).await {
            Ok(Ok(digits)) => digits,
            Ok(Err(_)) => Err("the devices' process is gone".to_owned()),
            Err(_) => Err(format!("no digits came within {} s", DIGITS.as_secs())),
        }
    }

    /// A customer reads a page's number and types it into the device.
    pub(super) async fn type_number(
        &self,
        device: usize,
        nonce: &str,
        number: &str,
    ) -> Result<(), String> {
        let number = number.parse().map_err(|_| "number is not two digits")?;
        let nonce = nonce.to_owned();
        self.tell(&Told::Number {
            device,
            nonce,
            number,
        })
        .await
    }

    /// How many devices have their line to the broker.
    pub(super) async fn lines_up(&self) -> Result<usize, Failure> {
        let failed = |reason: String| Failure::new(Exit::Unreachable, reason);
        let mut lines = self.heard.lines.subscribe();
        lines.mark_unchanged();
        self.tell(&Told::Lines).await.map_err(failed)?;
        let answered = tokio::time::timeout(DIGITS, lines.changed()).await;
        match answered {
            Ok(Ok(())) => Ok(*lines.borrow()),
            _ => Err(failed("the devices' process does not answer".to_owned())),
        }
    }

    /// What devices could not do, and how often.
    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        lock(&self.heard.failures).clone()
    }
}

/// Reads until the pipe ends; whoever waits then learns it.
async fn hear(heard: Arc<Heard>, mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Said::Digits { device, digits }) => heard.scanned(device, Ok(digits)),
            Ok(Said::Failed { device, reason }) => heard.failed(device, reason),
            Ok(Said::Lines { up }) => {
                heard.lines.send_replace(up);
            }
            // The rest is other processes' to say.
            Ok(_) => {}
            Err(error) => heard.failed(usize::MAX, format!("a line of the devices: {error}")),
        }
    }
    lock(&heard.scans).clear();
}

impl Heard {
    fn scanned(&self, device: usize, digits: Result<String, String>) {
        if let Some(waiting) = lock(&self.scans).remove(&device) {
            // Whoever gave up waiting needs no digits.
            let _ = waiting.send(digits);
        }
    }

    fn failed(&self, device: usize, reason: String) {
        let is_scan = lock(&self.scans).contains_key(&device);
        if is_scan {
            self.scanned(device, Err(reason));
        } else {
            count(&mut lock(&self.failures), reason);
        }
    }
}

/// Counts one more of a kind; beyond [`KINDS`] kinds they are counted together.
pub(super) fn count(kinds: &mut BTreeMap<String, u64>, kind: String) {
    let kind = if kinds.len() < KINDS || kinds.contains_key(&kind) {
        kind
    } else {
        "other".to_owned()
    };
    let counted = kinds.entry(kind).or_default();
    *counted = counted.saturating_add(1);
}
