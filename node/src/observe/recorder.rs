//! The process's one recorder of measures: buckets and help texts are fixed here.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds in seconds of every histogram: from a sync on a good disk to a customer who hesitates.
const BUCKETS_S: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 15.0, 45.0, 180.0,
];

/// Why nothing is counted.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The facade takes one recorder a process, and this one is another's.
    #[error("measures can't be counted: {0}")]
    Build(#[from] BuildError),
}

/// The recorder of this process. Clones are the same recorder.
#[derive(Clone)]
pub struct Recorder {
    handle: PrometheusHandle,
}

impl Recorder {
    /// The process's recorder, installed by the first call: before any store is opened, since handles
    /// made earlier count nothing. Nodes that share a process share their counts.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub fn install() -> Result<Self, RecorderError> {
        static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
        // A poisoned slot is empty or filled, never half.
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*installed {
            return Ok(Self {
                handle: handle.clone(),
            });
        }
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS_S)?;
        let handle = builder.install_recorder()?;
        *installed = Some(handle.clone());
        Ok(Self { handle })
    }

    /// All measures in Prometheus' text format (version 0.0.4, UTF-8).
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds what was recorded since the last time: without it, memory grows while nobody asks.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}
