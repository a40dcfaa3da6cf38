//! What came of a measurement, from its slices, as figures.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    customers::count,
    floor::median,
    load::Ends,
    logins::{Args, NodeUse, Run, Slice},
};
use crate::output::{Exit, Failure};

/// Kinds of errors that are named.
const NAMED: usize = 5;

/// What was measured. docs/operating.md says what each field means.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) accounts: usize,
    pub(super) in_flight: usize,
    pub(super) seconds: f64,
    pub(super) slices: usize,
    pub(super) sync_delay_ms: u64,
    pub(super) logins: usize,
    pub(super) logins_per_s: f64,
    pub(super) logins_per_s_lowest: f64,
    pub(super) logins_per_s_highest: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) cpu_us_per_login: f64,
    pub(super) cpu_us_per_login_by_role: BTreeMap<&'static str, f64>,
    pub(super) floor_cpu_us_per_login: f64,
    pub(super) floor_alone_cpu_us_per_login: f64,
    pub(super) cpu_ratio: f64,
    pub(super) cpu_ratio_lowest: f64,
    pub(super) cpu_ratio_highest: f64,
    pub(super) fsyncs_per_login: f64,
    pub(super) disk_bytes_per_login: f64,
    pub(super) disk_growth_bytes_per_login: f64,
    pub(super) rss_mib: f64,
    pub(super) errors: u64,
    pub(super) error_kinds: BTreeMap<String, u64>,
}

/// For ratios and means: counts here stay far below 2^52.
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

fn counted(count: usize) -> f64 {
    real(u64::try_from(count).unwrap_or(u64::MAX))
}

/// `count` for each of `logins`; zero if there were none.
fn each(count: f64, logins: usize) -> f64 {
    if logins == 0 {
        0.0
    } else {
        count / counted(logins)
    }
}

/// What one slice says of itself.
struct Figures {
    took_ms: Vec<f64>,
    seconds: f64,
    logins_per_s: f64,
    cpu_us: f64,
    by_role: BTreeMap<&'static str, f64>,
    floor_us: f64,
    floor_alone_us: f64,
}

impl Figures {
    fn of(slice: Slice, ends: &Ends) -> Figures {
        let (from, to) = (slice.before.at, slice.after.at);
        let within = ends
            .admitted
            .iter()
            .filter(|s| s.ended > from && s.ended <= to);
        let took_ms: Vec<f64> = within.map(|s| s.took.as_secs_f64() * 1e3).collect();
        let logins = took_ms.len();
        let seconds = to.duration_since(from).as_secs_f64();
        let mut by_role = BTreeMap::new();
        for ((role, before), (_, after)) in slice.before.cpu.iter().zip(&slice.after.cpu) {
            by_role.insert(*role, each(real(after.since_ns(before)) / 1e3, logins));
        }
        let (floor_alone_us, floor_us) = slice.floor.medians_us();
        Figures {
            logins_per_s: counted(logins) / seconds,
            took_ms,
            seconds,
            cpu_us: by_role.values().sum(),
            by_role,
            floor_us,
            floor_alone_us,
        }
    }

    fn ratio(&self) -> f64 {
        self.cpu_us / self.floor_us
    }
}

/// The most that either operator used per login, over all slices.
fn larger(slices: &[Slice], logins: usize, read: fn(&NodeUse) -> u64) -> f64 {
    let of = |node: usize| -> u64 {
        let used = slices.iter().map(|slice| {
            let at = |nodes: &[NodeUse]| nodes.get(node).map_or(0, read);
            at(&slice.after.nodes).saturating_sub(at(&slice.before.nodes))
        });
        used.sum()
    };
    each(real(of(0).max(of(1))), logins)
}

impl Measured {
    /// The figures of a run. CPU time and floor are those of the slice whose ratio is the median;
    /// logins per second the median of the slices; everything else is over all of them.
    pub(super) fn of(args: &Args, run: Run) -> Measured {
        let slices = &run.slices;
        let ended = |slice: &Slice| {
            let (from, to) = (slice.before.at, slice.after.at);
            let ends = run.ends.admitted.iter();
            ends.filter(|s| s.ended > from && s.ended <= to).count()
        };
        let logins = slices.iter().map(ended).sum();
        let syncs = larger(slices, logins, |node| node.syncs);
        let written = larger(slices, logins, |node| node.written);
        let occupied = larger(slices, logins, |node| node.occupied);
        let figures = run.slices.into_iter();
        let mut figures: Vec<Figures> = figures.map(|s| Figures::of(s, &run.ends)).collect();
        let mut took: Vec<f64> = figures.iter().flat_map(|f| f.took_ms.clone()).collect();
        took.sort_by(f64::total_cmp);
        let rates: Vec<f64> = figures.iter().map(|f| f.logins_per_s).collect();
        let seconds = figures.iter().map(|f| f.seconds).sum();
        figures.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        let ratio_at = |at: Option<&Figures>| at.map_or(0.0, Figures::ratio);
        let (lowest, highest) = (ratio_at(figures.first()), ratio_at(figures.last()));
        let slices = figures.len();
        let middle = figures.into_iter().nth(slices / 2);
        let (cpu_us, by_role, floor_us, floor_alone_us) = middle.map_or_else(
            || (0.0, BTreeMap::new(), 0.0, 0.0),
            |f| (f.cpu_us, f.by_role, f.floor_us, f.floor_alone_us),
        );
        let mut kinds = run.ends.errors;
        let errors = kinds.values().sum();
        // A login that a device could not approve is among the errors already: this only says why.
        for (reason, times) in run.failures {
            for _ in 0..times {
                count(&mut kinds, format!("device: {reason}"));
            }
        }
        Measured {
            accounts: args.accounts,
            in_flight: args.in_flight,
            seconds,
            slices,
            sync_delay_ms: args.sync_delay_ms,
            logins,
            logins_per_s_lowest: rates.iter().copied().fold(f64::INFINITY, f64::min),
            logins_per_s_highest: rates.iter().copied().fold(0.0, f64::max),
            logins_per_s: median(rates),
            p50_ms: percentile(&took, 50),
            p99_ms: percentile(&took, 99),
            cpu_us_per_login: cpu_us,
            cpu_us_per_login_by_role: by_role,
            floor_cpu_us_per_login: floor_us,
            floor_alone_cpu_us_per_login: floor_alone_us,
            cpu_ratio: cpu_us / floor_us,
            cpu_ratio_lowest: lowest,
            cpu_ratio_highest: highest,
            fsyncs_per_login: syncs,
            disk_bytes_per_login: written,
            disk_growth_bytes_per_login: occupied,
            rss_mib: real(run.peak_kib) / 1024.0,
            errors,
            error_kinds: kinds,
        }
    }
}

/// The smallest value that is not exceeded by `percent` of the sorted values (nearest rank).
pub(super) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

impl Measured {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![
            (
                "accounts, in flight",
                format!("{}, {}", self.accounts, self.in_flight),
            ),
            (
                "measured",
                format!(
                    "{:.1} s in {} slices, {} logins",
                    self.seconds, self.slices, self.logins
                ),
            ),
            ("sync delay", format!("{} ms", self.sync_delay_ms)),
            (
                "logins",
                format!(
                    "{:.1} /s ({:.1} to {:.1})",
                    self.logins_per_s, self.logins_per_s_lowest, self.logins_per_s_highest
                ),
            ),
            (
                "latency p50, p99",
                format!("{:.1} ms, {:.1} ms", self.p50_ms, self.p99_ms),
            ),
            ("cpu of a login", format!("{:.0} µs", self.cpu_us_per_login)),
        ];
        for (role, us) in &self.cpu_us_per_login_by_role {
            rows.push(("", format!("{us:.0} µs {}", role.replace('_', " "))));
        }
        rows.extend([
            (
                "floor of a login",
                format!("{:.0} µs", self.floor_cpu_us_per_login),
            ),
            (
                "cpu to floor",
                format!(
                    "{:.2} ({:.2} to {:.2})",
                    self.cpu_ratio, self.cpu_ratio_lowest, self.cpu_ratio_highest
                ),
            ),
            ("syncs of a login", format!("{:.2}", self.fsyncs_per_login)),
            (
                "written to disk",
                format!("{:.0} bytes a login", self.disk_bytes_per_login),
            ),
            (
                "left on disk",
                format!("{:.0} bytes a login", self.disk_growth_bytes_per_login),
            ),
            ("memory, peak", format!("{:.1} MiB", self.rss_mib)),
            ("errors", self.errors.to_string()),
        ]);
        let rows: Vec<String> = rows
            .iter()
            .map(|(name, value)| format!("{name:20} {value}"))
            .collect();
        rows.join("\n")
    }

    /// A failure that names what went wrong, if anything did.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.errors == 0 && self.logins > 0 {
            return Ok(());
        }
        let mut kinds: Vec<_> = self.error_kinds.iter().collect();
        kinds.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let named = kinds
            .iter()
            .take(NAMED)
            .map(|(kind, times)| format!("\n  {times} × {kind}"));
        let text = format!(
            "{} logins were not admitted, {} were{}",
            self.errors,
            self.logins,
            named.collect::<String>()
        );
        Err(Failure::new(Exit::Refused, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            [50, 99, 100].map(|p| percentile(&values, p)),
            [100.0, 198.0, 200.0]
        );
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
