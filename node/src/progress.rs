//! Progress of what may take over a second: on stderr, and only where somebody looks.
//!
//! Decides nothing. A bar is cleared when it is done: what stays on the screen is the answer.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// A bar that counts bytes; hidden when stderr is no terminal, or when `is_quiet`.
#[must_use]
pub fn bytes(label: &'static str, is_quiet: bool) -> ProgressBar {
    styled(
        label,
        is_quiet,
        "{msg} {bar:30} {bytes}/{total_bytes} {eta}",
    )
}

/// A bar that counts leaves of a log; hidden as [`bytes`] is.
#[must_use]
pub fn leaves(label: &'static str, is_quiet: bool) -> ProgressBar {
    styled(label, is_quiet, "{msg} {bar:30} {pos}/{len} {eta}")
}

/// A bar that counts seconds down; hidden as [`bytes`] is.
#[must_use]
pub fn seconds(label: &'static str, left: Duration, is_quiet: bool) -> ProgressBar {
    let bar = styled(label, is_quiet, "{msg} {wide_bar} {pos} s left");
    bar.set_length(left.as_secs());
    bar.set_position(left.as_secs());
    bar
}

/// A spinner that turns by itself until it is cleared; hidden as [`bytes`] is.
#[must_use]
pub fn spinner(label: &'static str, is_quiet: bool) -> ProgressBar {
    let spinner = styled(label, is_quiet, "{spinner} {msg} {elapsed}");
    if !spinner.is_hidden() {
        spinner.enable_steady_tick(TURN);
    }
    spinner
}

fn styled(label: &'static str, is_quiet: bool, template: &str) -> ProgressBar {
    if is_quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(label)
}

/// Shows bytes done of bytes in total, and clears the bar at the end.
pub fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
    if done >= total {
        bar.finish_and_clear();
    }
}
