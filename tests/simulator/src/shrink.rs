//! A failing seed's shortest story: decisions are taken back, many at once, then fewer, as long as
//! the run still fails in the same way (delta debugging, Zeller 1999).

use std::collections::BTreeSet;

use super::{
    decisions::Decision,
    run::{Failure, run_muted},
};

/// A failure that needs every decision left in it, or the best that the given tries found.
#[derive(Debug)]
pub struct Shrunk {
    /// What was taken back.
    pub muted: BTreeSet<Decision>,
    /// The run without it.
    pub failure: Box<Failure>,
    /// Runs that it took.
    pub tries: usize,
}

/// A violation without its numbers and names: what makes two failures the same.
fn shape(failure: &Failure) -> String {
    let first = failure.violations.first().map_or("", String::as_str);
    let words = first.split_whitespace().filter(|word| {
        let plain = |c: char| c.is_ascii_lowercase() || "`',:".contains(c);
        word.chars().all(plain)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Shrinks a failing seed with at most so many runs; `None` if it does not fail.
#[must_use]
pub fn shrink(seed: u64, most_tries: usize) -> Option<Shrunk> {
    let mut failure = run_muted(seed, &BTreeSet::new(), false).err()?;
    let wanted = shape(&failure);
    let mut muted = BTreeSet::new();
    let (mut tries, mut parts) = (1, 2);
    while tries < most_tries {
        let left = failure.fired.clone();
        if left.is_empty() {
            break;
        }
        let size = left.len().div_ceil(parts).max(1);
        let mut shorter = None;
        for chunk in left.chunks(size) {
            if tries >= most_tries {
                break;
            }
            let mut more = muted.clone();
            more.extend(chunk.iter().copied());
            tries += 1;
            if let Err(found) = run_muted(seed, &more, false)
                && shape(&found) == wanted
            {
                shorter = Some((more, found));
                break;
            }
        }
        match shorter {
            Some((more, found)) => {
                (muted, failure) = (more, found);
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(left.len()),
        }
    }
    Some(Shrunk {
        muted,
        failure,
        tries,
    })
}
