//! Answers of a later broker: what this version can't read is told apart from what is damaged.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::LoginServiceError;

/// Reads an answer that says in `status` which of `known` it is; `None` where it is another.
///
/// # Errors
/// [`LoginServiceError::Answer`] when there is no status, or not the members of a known one.
pub(super) fn read<T: DeserializeOwned>(
    answer: Value,
    known: &[&str],
) -> Result<Option<T>, LoginServiceError> {
    let damaged = |what: String| LoginServiceError::Answer { what };
    let Some(status) = answer.get("status").and_then(Value::as_str) else {
        return Err(damaged("answer has no status".to_owned()));
    };
    if !known.contains(&status) {
        tracing::warn!(
            status,
            "the broker answers with a status of a later version"
        );
        return Ok(None);
    }
    serde_json::from_value(answer)
        .map(Some)
        .map_err(|error| damaged(error.to_string()))
}
