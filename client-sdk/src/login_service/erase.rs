//! Erasing an account for good.

use reqwest::StatusCode;
use serde_json::Value;

use super::api::{EraseAnswer, OpenEnrolment};
use super::client::{ACT_LIMIT, LoginService};
use super::error::LoginServiceError;
use super::newer;
use super::pins::{Pin, PinStore};

const STATUSES: [&str; 2] = ["erased", "pending"];

impl<P: PinStore> LoginService<P> {
    /// Erases a frozen account: content key, salts, shares and openers are forgotten at both operators, and its
    /// chain has ended. Nothing undoes it. May be repeated until the answer is [`EraseAnswer::Erased`]. The pin stays:
    /// with the account's receipts it is this login service's own to delete.
    ///
    /// # Errors
    /// [`LoginServiceError`]; a problem of kind `not-frozen` or `pending` while it may not be erased.
    pub async fn erase(&self, pin: Pin) -> Result<EraseAnswer, LoginServiceError> {
        let account = pin.account.to_string();
        let path = ["accounts", account.as_str(), "erase"];
        let (_, answer): (StatusCode, Value) = self
            .http
            .post_again(&path, &OpenEnrolment {}, ACT_LIMIT)
            .await?;
        let answer: Option<EraseAnswer> = newer::read(answer, &STATUSES)?;
        answer.ok_or_else(|| LoginServiceError::Newer {
            what: "an erasure with another status".to_owned(),
        })
    }
}
