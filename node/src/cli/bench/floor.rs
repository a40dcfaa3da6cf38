//! The floor: the CPU time of the least work of one login, by the library alone.
//!
//! Timed with each thread's own CPU clock while nothing else runs here, before and after each slice of
//! the load, because a machine's pace changes within seconds. On as many threads at once as
//! the load keeps busy: processors that share a core each get less done in the same CPU time, so a floor
//! of one thread on an idle machine and a load on all of them would be two units.

use rustix::time::{ClockId, clock_gettime};
use warifu_consensus::{random::SeededEntropy, share::floor::Floor};

use crate::output::{Exit, Failure};

/// Rounds of one measurement on each thread: about a fifth of a second.
const ROUNDS: usize = 120;
/// About as long as the signing input of a login.
const MESSAGE: [u8; 600] = [b'a'; 600];

/// Microseconds of CPU of each round of one measurement, or of several.
#[derive(Clone, Debug, Default)]
pub(super) struct FloorTimes {
    alone: Vec<f64>,
    crowded: Vec<f64>,
}

impl FloorTimes {
    /// Times [`ROUNDS`] rounds on one thread, and on `in_flight` at once, at most one for each
    /// processor. Blocks.
    pub(super) fn measure(in_flight: usize) -> Result<FloorTimes, Failure> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(FloorTimes {
            alone: rounds()?,
            crowded: at_once(in_flight.clamp(1, processors))?,
        })
    }

    /// Both measurements as one.
    pub(super) fn and(&self, other: &FloorTimes) -> FloorTimes {
        FloorTimes {
            alone: [self.alone.as_slice(), &other.alone].concat(),
            crowded: [self.crowded.as_slice(), &other.crowded].concat(),
        }
    }

    /// The median round in microseconds: on one thread, and on all that the load keeps busy.
    pub(super) fn medians_us(self) -> (f64, f64) {
        (median(self.alone), median(self.crowded))
    }
}

/// The median, of an even number of values the upper one; zero of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
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
