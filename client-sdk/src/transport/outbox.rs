//! Frames waiting to be written to one peer.
//!
//! Decides when a peer's queue is full: callers get an error at once and are never made to wait.
//! Empty queues hold next to no memory. It never looks into a frame.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::task::AtomicWaker;

use super::frame;
use super::limits::{FRAME_OVERHEAD, Limits};

/// Places that an empty queue may keep: a burst's memory is given back, a steady trickle is not
/// made to allocate each time.
const KEPT_PLACES: usize = 8;

#[derive(Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    /// Sum of lengths plus overhead of `frames`.
    charged: usize,
}

/// The bounded queue between `Network::send` and one session's line.
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    writer: AtomicWaker,
    max_frames: usize,
    max_bytes: usize,
}

impl Outbox {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            queue: Mutex::default(),
            writer: AtomicWaker::new(),
            max_frames: limits.outbox_frames,
            max_bytes: limits.outbox_bytes,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `frame`, or returns false if there is no room.
    #[must_use]
    pub(super) fn push(&self, frame: Vec<u8>) -> bool {
        let cost = frame.len() + FRAME_OVERHEAD;
        let mut queue = self.queue();
        if queue.frames.len() >= self.max_frames || queue.charged + cost > self.max_bytes {
            return false;
        }
        queue.charged += cost;
        queue.frames.push_back(frame);
        drop(queue);
        self.writer.wake();
        true
    }

    /// Wakes this task when a frame is queued. To be called before [`Outbox::drain`].
    pub(super) fn register(&self, waker: &std::task::Waker) {
        self.writer.register(waker);
    }

    /// Moves queued frames, encoded, into `out` until it holds at least `batch` bytes.
    pub(super) fn drain(&self, out: &mut Vec<u8>, batch: usize) {
        let mut queue = self.queue();
        while out.len() < batch {
            let Some(next) = queue.frames.pop_front() else {
                if queue.frames.capacity() > KEPT_PLACES {
                    queue.frames = VecDeque::new();
                }
                break;
            };
            queue.charged -= next.len() + FRAME_OVERHEAD;
            frame::encode(&next, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_takes_again_once_drained() {
        let limits = Limits {
            outbox_frames: 3,
            ..Limits::default()
        };
        let outbox = Outbox::new(&limits);
        for byte in 0..3 {
            assert!(outbox.push(vec![byte]));
        }
        assert!(!outbox.push(vec![3]));
        let mut out = Vec::new();
        outbox.drain(&mut out, 6);
        assert_eq!(out, [0, 0, 0, 1, 0, 0, 0, 0, 1, 1]);
        assert!(outbox.push(vec![3]));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let limits = Limits {
            outbox_bytes: 2 * (100 + FRAME_OVERHEAD),
            ..Limits::default()
        };
        let outbox = Outbox::new(&limits);
        assert!(outbox.push(vec![0; 100]));
        assert!(outbox.push(vec![0; 100]));
        assert!(!outbox.push(vec![0]));
    }
}
