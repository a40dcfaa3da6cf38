//! Enrolment: from the ticket to the pin.
//!
//! Decides when a customer is pinned: only to an account whose genesis verified under this login
//! service's own copy of the ledger, and is of the session that the ticket was for.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use warifu_consensus::block::Sealed;

use super::api::{Confirm, EnrolmentAnswer, EnrolmentOpened, MAX_WAIT_S, OpenEnrolment};
use super::client::{ACT_LIMIT, LoginService, NO_WAIT, PAUSE};
use super::error::LoginServiceError;
use super::newer;
use super::pins::{Pin, PinStore};
use super::state::{EnrolmentEnd, OpenEnrolmentSession};

const STATUSES: [&str; 4] = ["waiting", "digits", "done", "failed"];

impl<P: PinStore> LoginService<P> {
    /// Opens an enrolment: a ticket for a customer whom the caller identified. Given the customer's
    /// id, one with a pin is refused at once rather than at the end. Keep the session beside the
    /// customer's: another process can go on with it.
    ///
    /// # Errors
    /// [`LoginServiceError::AlreadyPinned`] before anything is asked, among others.
    pub async fn enrol(
        &self,
        customer: Option<&str>,
    ) -> Result<OpenEnrolmentSession, LoginServiceError> {
        if let Some(customer) = customer
            && let Some(pin) = self.pins.pinned(customer).await?
        {
            return Err(LoginServiceError::AlreadyPinned {
                customer: customer.to_owned(),
                account: pin.account,
            });
        }
        let request = OpenEnrolment {};
        let (_, opened): (_, EnrolmentOpened) =
            self.http.post(&["enrolments"], &request, NO_WAIT).await?;
        Ok(OpenEnrolmentSession {
            session: opened.session,
            ticket_uri: opened.ticket_uri.into(),
            expires_in: Duration::from_secs(opened.expires_in),
        })
    }

    /// How an enrolment stands, waiting at most `wait` (30 s and less) while there is nothing to do.
    /// A finished one is verified and pinned to `customer`; asking again is harmless.
    ///
    /// # Errors
    /// [`LoginServiceError`]; [`LoginServiceError::Pin`] when the customer has another account.
    pub async fn enrolment(
        &self,
        customer: &str,
        session: &str,
        wait: Duration,
    ) -> Result<EnrolmentEnd, LoginServiceError> {
        let asked = Instant::now();
        let query = [("wait", wait.as_secs().min(MAX_WAIT_S).to_string())];
        let path = ["enrolments", session];
        let answer = self.http.get(&path, &query, wait).await?;
        let end = self.enrolled(customer, session, answer).await?;
        // A broker that answers at once must not make its callers' loops busy.
        let rest = PAUSE.min(wait).saturating_sub(asked.elapsed());
        if end == EnrolmentEnd::Waiting && !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        Ok(end)
    }

    /// Passes the six digits on that the customer typed into the page where the ticket was shown.
    /// Never sent twice, for each is a try; an answer that was lost is made up for by a look.
    ///
    /// # Errors
    /// [`LoginServiceError::Problem`] of kind `wrong-digits`, with the tries left, among others.
    pub async fn confirm(
        &self,
        customer: &str,
        session: &str,
        digits: &str,
    ) -> Result<EnrolmentEnd, LoginServiceError> {
        let request = Confirm {
            digits: digits.to_owned(),
        };
        let path = ["enrolments", session, "confirm"];
        match self.http.post(&path, &request, ACT_LIMIT).await {
            Ok((_, answer)) => self.enrolled(customer, session, answer).await,
            Err(lost @ LoginServiceError::Unreachable { is_sent: true, .. }) => {
                match self.enrolment(customer, session, NO_WAIT).await {
                    // The digits never arrived, or were wrong: only the customer can say.
                    Ok(EnrolmentEnd::Digits) | Err(LoginServiceError::Unreachable { .. }) => {
                        Err(lost)
                    }
                    looked => looked,
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn enrolled(
        &self,
        customer: &str,
        session: &str,
        answer: Value,
    ) -> Result<EnrolmentEnd, LoginServiceError> {
        let genesis = match newer::read(answer, &STATUSES)? {
            // A later broker's step between two that are known: nothing to do here yet.
            Some(EnrolmentAnswer::Waiting) | None => return Ok(EnrolmentEnd::Waiting),
            Some(EnrolmentAnswer::Digits) => return Ok(EnrolmentEnd::Digits),
            Some(EnrolmentAnswer::Failed { reason }) => {
                return Ok(EnrolmentEnd::Failed { reason });
            }
            Some(EnrolmentAnswer::Done { genesis, .. }) => genesis,
        };
        let genesis = Box::new(Sealed::from_json(&genesis)?);
        let pin = Pin::of_genesis(&self.ledger, &genesis)?;
        let nonce = &genesis.block.claims().nonce;
        if nonce != session {
            return Err(LoginServiceError::Answer {
                what: format!("genesis is of session {nonce}, expected {session}"),
            });
        }
        self.pins.pin(customer, &pin).await?;
        Ok(EnrolmentEnd::Pinned { pin, genesis })
    }
}
