//! How the log grew, as a small drawing: sizes over time, of at most sixty batches.

use std::{sync::Arc, time::Duration};

use maud::{Markup, html};
use tokio::{sync::Mutex, time::Instant};

use super::Language;
use crate::{clock, log_http::Served, words::Both};

/// Batches that are looked at: a drawing of a few hundred pixels shows no more.
const POINTS: u64 = 60;

/// How long a drawing is shown before the journal is read again: a page that is asked for often costs no more.
const KEPT: Duration = Duration::from_secs(10);

const WIDTH: u64 = 600;
const HEIGHT: u64 = 120;

const GROWN: Both = ("ログの増加", "How the log grew");
const LEAVES: Both = ("件", "entries");

/// Time (seconds since the Unix epoch, whole minutes) and size, oldest first.
type Points = Arc<Vec<(u64, u64)>>;

/// The last points that were read, and when.
#[derive(Default)]
pub(crate) struct Growth(Mutex<Option<(Instant, Points)>>);

impl Growth {
    /// The points, read by one request for all that wait for it.
    pub(super) async fn points(&self, served: &Served) -> Points {
        let mut kept = self.0.lock().await;
        if let Some((read, points)) = &*kept
            && read.elapsed() < KEPT
        {
            return Arc::clone(points);
        }
        let points = served.ask(|side| side.book.growth(POINTS)).await;
        // What can't be read is written down, and drawn as nothing.
        let points = Arc::new(points.unwrap_or_default());
        *kept = Some((Instant::now(), Arc::clone(&points)));
        points
    }
}

/// The points as steps above a base line. `None` where there is nothing between two of them.
fn steps(points: &[(u64, u64)]) -> Option<String> {
    let (first, last) = (points.first()?, points.last()?);
    let span = last.0.checked_sub(first.0).filter(|span| *span > 0)?;
    let x = |time: u64| time.saturating_sub(first.0).saturating_mul(WIDTH) / span;
    let y = |size: u64| HEIGHT.saturating_sub(size.saturating_mul(HEIGHT) / last.1.max(1));
    let mut path = format!("M0 {}", y(first.1));
    for (time, size) in points {
        path.push_str(&format!("H{}V{}", x(*time), y(*size)));
    }
    Some(path)
}

pub(super) fn draw(language: Language, points: &[(u64, u64)]) -> Option<Markup> {
    let edge = steps(points)?;
    let (first, last) = (points.first()?, points.last()?);
    let area = format!("{edge}V{HEIGHT}H0Z");
    let name = language.say(GROWN);
    Some(html! {
        h2 { (name) }
        svg.chart viewBox={ "0 -4 " (WIDTH) " " (HEIGHT + 4) } preserveAspectRatio="none" role="img" aria-label=(name) {
            path.area d=(area) {}
            path.edge d=(edge) {}
        }
        div.ends.dim {
            @for (time, size) in [first, last] {
                span { (clock::local(*time)) br; (size) " " (language.say(LEAVES)) }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_drawn_as_steps_within_the_frame() {
        assert_eq!(steps(&[]), None);
        assert_eq!(steps(&[(60, 1)]), None);
        assert_eq!(steps(&[(60, 1), (60, 9)]), None);
        let path = steps(&[(60, 1), (120, 2), (180, 4)]).unwrap();
        assert_eq!(path, "M0 90H0V90H300V60H600V0");
        // Numbers at their ends draw something, and nothing overflows.
        assert!(steps(&[(0, 0), (u64::MAX, u64::MAX)]).is_some());
    }
}
