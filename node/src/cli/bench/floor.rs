//! The floor: the CPU time of the least work of one login, by the library alone.
//!
//! Timed with each thread's own CPU clock while nothing else runs here, before the load and after it;
//! the median of all rounds stands against machines whose pace changes. On as many threads at once as
//! the load keeps busy: processors that share a core each get less done in the same CPU time, so a floor
//! of one thread on an idle machine and a load on all of them would be two units.

use rustix::time::{ClockId, clock_gettime};
use warifu_consensus::{random::SeededEntropy, share::floor::Floor};

use crate::output::{Exit, Failure};

/// Rounds of one measurement: about half a second.
const ROUNDS: usize = 300;
/// About as long as the signing input of a login.
const MESSAGE: [u8; 600] = [b'a'; 600];

/// Microseconds of CPU of each round so far.
#[derive(Debug, Default)]
pub(super) struct FloorTimes {
    alone: Vec<f64>,
    crowded: Vec<f64>,
}

impl FloorTimes {
    /// Times [`ROUNDS`] more rounds on one thread, and on `in_flight` at once, at most one for each
    /// processor. Blocks.
    pub(super) fn measure(&mut self, in_flight: usize) -> Result<(), Failure> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.alone.extend(rounds()?);
        self.crowded
            .extend(at_once(in_flight.clamp(1, processors))?);
        Ok(())
    }

    /// The median round in microseconds: on one thread, and on all that the load keeps busy.
    pub(super) fn medians_us(self) -> (f64, f64) {
        (median(self.alone), median(self.crowded))
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn at_once(threads: usize) -> Result<Vec<f64>, Failure> {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(rounds)).collect();
        let mut all = Vec::new();
        for thread in running {
            let panicked = |_| Failure::new(Exit::Io, "the floor could not be measured");
            all.extend(thread.join().map_err(panicked)??);
        }
        Ok(all)
    })
}

fn rounds() -> Result<Vec<f64>, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::from_error(Exit::Io, error);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| failed(&error))?;
    let mut entropy = SeededEntropy::new(seed);
    let floor = Floor::new(&mut entropy).map_err(|error| failed(&error))?;
    let mut took = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let before = thread_cpu_us();
        let signature = floor.login(&MESSAGE, &mut entropy);
        took.push(thread_cpu_us() - before);
        signature.map_err(|error| failed(&error))?;
    }
    Ok(took)
}

fn thread_cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Seconds of CPU in a bench are far below 2^52.
    let (seconds, ns) = (time.tv_sec as f64, time.tv_nsec as f64);
    seconds * 1e6 + ns / 1e3
}
