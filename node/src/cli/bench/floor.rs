//! The floor: the CPU time of the least work of one login, by the library alone and in one thread.
//!
//! Timed with the thread's own CPU clock while nothing else runs here, before the load and after it;
//! the median of all rounds stands against machines whose pace changes.

use rustix::time::{ClockId, clock_gettime};
use warifu_consensus::{random::SeededEntropy, share::floor::Floor};

use crate::output::{Exit, Failure};

/// Rounds of one measurement: about half a second.
const ROUNDS: usize = 300;
/// About as long as the signing input of a login.
const MESSAGE: [u8; 600] = [b'a'; 600];

/// Microseconds of CPU of each round so far.
#[derive(Debug, Default)]
pub(super) struct FloorTimes(Vec<f64>);

impl FloorTimes {
    /// Times [`ROUNDS`] more rounds. Blocks.
    pub(super) fn measure(&mut self) -> Result<(), Failure> {
        let failed = |error: &dyn std::error::Error| Failure::from_error(Exit::Io, error);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| failed(&error))?;
        let mut entropy = SeededEntropy::new(seed);
        let floor = Floor::new(&mut entropy).map_err(|error| failed(&error))?;
        for _ in 0..ROUNDS {
            let before = thread_cpu_us();
            let signature = floor.login(&MESSAGE, &mut entropy);
            let took = thread_cpu_us() - before;
            signature.map_err(|error| failed(&error))?;
            self.0.push(took);
        }
        Ok(())
    }

    /// The median round in microseconds.
    pub(super) fn median_us(mut self) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }
}

fn thread_cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Seconds of CPU in a bench are far below 2^52.
    let (seconds, ns) = (time.tv_sec as f64, time.tv_nsec as f64);
    seconds * 1e6 + ns / 1e3
}
