//! Reads what an operator counts at its own `/metrics`: the number of syncs is the one that its
//! journal and vault made, not an estimate.

use std::time::Duration;

use crate::{
    outgoing,
    output::{Exit, Failure},
};

const PATIENCE: Duration = Duration::from_secs(5);

/// The syncs of an operator's journal and vault so far.
pub(super) async fn syncs(metrics: &str) -> Result<u64, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(
            Exit::Unreachable,
            format!("could not read {metrics}: {error}"),
        )
    };
    let client = outgoing::plain().map_err(|error| failed(&error))?;
    let answer = client.get(metrics).timeout(PATIENCE).send();
    let answer = answer.await.and_then(reqwest::Response::error_for_status);
    let text = answer.map_err(|error| failed(&error))?.text().await;
    let text = text.map_err(|error| failed(&error))?;
    // A counter that was never raised may be absent, both at once mean another exporter.
    let found =
        ["warifu_journal_syncs_total", "warifu_vault_syncs_total"].map(|name| counter(&text, name));
    if found == [None, None] {
        let what = format!("{metrics} names neither journal nor vault syncs");
        return Err(Failure::new(Exit::Unreachable, what));
    }
    Ok(found.into_iter().flatten().sum())
}

/// Whether a `GET` of `url` is answered with 200.
pub(super) async fn is_ok(url: &str) -> bool {
    let Ok(client) = outgoing::plain() else {
        return false;
    };
    let answer = client.get(url).timeout(PATIENCE).send();
    answer
        .await
        .is_ok_and(|answer| answer.status().is_success())
}

/// The sum of a counter over its labels, in Prometheus's text format.
fn counter(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| -> Option<u64> {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse().ok()
    };
    let values: Vec<u64> = text.lines().filter_map(value).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::counter;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total 5\na_total_more 9\n\
                    b_total{x=\"1\"} 2\nb_total{x=\"}\"} 3 1700000000\n";
        assert_eq!(counter(text, "a_total"), Some(5));
        assert_eq!(counter(text, "b_total"), Some(5));
        assert_eq!(counter(text, "a"), None);
        assert_eq!(counter(text, "c_total"), None);
    }
}
