//! The login service's calls: begin, wait, verify; enrol and pin; history, freeze, unfreeze.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::StatusCode;
use warifu_consensus::block::{Kind, Sealed};
use warifu_consensus::chain::Account;
use warifu_consensus::encoding;
use warifu_consensus::party::Ledger;
use warifu_consensus::time::GRACE_S;

use super::api::{
    AccountAnswer, Asked, BeginLogin, BeginUnfreeze, Confirm, DEFAULT_PAGE, EnrolmentAnswer,
    EnrolmentOpened, FreezeAnswer, HistoryAnswer, Jwk, LastLoginAnswer, LoginAnswer, LoginBegun,
    MAX_WAIT_S, OpenEnrolment, Shown,
};
use super::clock::{Clock, system_clock};
use super::error::LoginServiceError;
use super::history::{self, HistoryPage, VerifiedEntry};
use super::http::Http;
use super::pins::{Pin, PinStore};
use super::problem::ProblemKind;
use super::state::{
    Admission, EnrolmentEnd, FreezeEnd, LoginEnd, OpenEnrolmentSession, OpenLogin, Polled,
};
use super::tls::BrokerAddress;
use super::token::Token;
use crate::receipt::{Expected, Moment, VerifiedLogin, verify_login};

/// How long a freeze or a confirmation may take at the broker.
const ACT_LIMIT: Duration = Duration::from_secs(30);
const NO_WAIT: Duration = Duration::ZERO;
/// Between two looks at a login.
const PAUSE: Duration = Duration::from_millis(500);

/// One login service's access to its broker. See the module.
pub struct LoginService<P> {
    http: Http,
    ledger: Ledger,
    aud: String,
    pins: P,
    clock: Clock,
}

impl<P: PinStore> LoginService<P> {
    /// A login service named `aud`, with its token at `broker` (`https://`, or `http://` and a
    /// loopback address; see [`BrokerAddress`] for a private PKI), its own copy of the ledger's
    /// keys, and its pins.
    ///
    /// # Errors
    /// [`LoginServiceError::BaseUrl`], [`LoginServiceError::Setup`].
    pub fn new(
        broker: impl Into<BrokerAddress>,
        token: Token,
        ledger: Ledger,
        aud: impl Into<String>,
        pins: P,
    ) -> Result<Self, LoginServiceError> {
        Ok(LoginService {
            http: Http::new(&broker.into(), token)?,
            ledger,
            aud: aud.into(),
            pins,
            clock: system_clock,
        })
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The pins.
    #[must_use]
    pub fn pins(&self) -> &P {
        &self.pins
    }

    /// The customer's pin.
    ///
    /// # Errors
    /// [`LoginServiceError::NotPinned`] or the store's.
    pub fn pin_of(&self, customer: &str) -> Result<Pin, LoginServiceError> {
        self.pins
            .pinned(customer)?
            .ok_or_else(|| LoginServiceError::NotPinned {
                customer: customer.to_owned(),
            })
    }

    /// Begins a login (or another kind) with a fresh nonce. The caller checked a first factor or a
    /// known browser before (protocol rule 10), and shows the number. Not repeated on failure.
    ///
    /// # Errors
    /// [`LoginServiceError`].
    pub async fn begin(
        &self,
        pin: Pin,
        kind: Asked,
        shown: Shown,
    ) -> Result<OpenLogin, LoginServiceError> {
        self.begin_from(pin, kind, shown, None).await
    }

    /// [`LoginService::begin`] with the customer's address as this login service sees it: the
    /// broker counts begins by network (protocol rule 10), keeps nothing else of it, and shows it
    /// to nobody.
    ///
    /// # Errors
    /// [`LoginServiceError`].
    pub async fn begin_from(
        &self,
        pin: Pin,
        kind: Asked,
        shown: Shown,
        client_ip: Option<IpAddr>,
    ) -> Result<OpenLogin, LoginServiceError> {
        let request = BeginLogin {
            account: pin.account,
            kind,
            nonce: fresh_nonce()?,
            channel: shown.channel,
            address: shown.address,
            details: shown.details,
            reference: shown.reference,
            client_ip,
        };
        let (_, begun) = self.http.post(&["logins"], &request, NO_WAIT).await?;
        self.opened(pin, kind.into(), request.nonce, begun)
    }

    /// Begins an `unfreeze` with the reference of the customer's re-identification.
    ///
    /// # Errors
    /// [`LoginServiceError`].
    pub async fn unfreeze(
        &self,
        pin: Pin,
        reference: &str,
        channel: &str,
        address: &str,
    ) -> Result<OpenLogin, LoginServiceError> {
        let request = BeginUnfreeze {
            nonce: fresh_nonce()?,
            reference: reference.to_owned(),
            channel: channel.to_owned(),
            address: address.to_owned(),
        };
        let account = pin.account.to_string();
        let path = ["accounts", account.as_str(), "unfreeze"];
        let (_, begun) = self.http.post(&path, &request, NO_WAIT).await?;
        self.opened(pin, Kind::Unfreeze, request.nonce, begun)
    }

    /// Looks once, waiting at most `wait` (30 s and less) for the end.
    ///
    /// # Errors
    /// [`LoginServiceError`]; the login is spent, where [`LoginService::wait`] carries on after
    /// failures of the line.
    pub async fn poll(
        &self,
        login: OpenLogin,
        wait: Duration,
    ) -> Result<Polled, LoginServiceError> {
        let answer = self.look(&login, wait).await?;
        self.settle(login, answer)
    }

    /// Waits for the end. `Admitted` only if the broker says so and the block verified (protocol
    /// rule 6).
    ///
    /// # Errors
    /// [`LoginServiceError`]; a broken line is tried again until the login must have ended.
    pub async fn wait(&self, login: OpenLogin) -> Result<LoginEnd, LoginServiceError> {
        let longest = login
            .expires_in
            .saturating_add(Duration::from_secs(GRACE_S + MAX_WAIT_S));
        let begun = tokio::time::Instant::now();
        let mut login = login;
        loop {
            let looked = self.look(&login, Duration::from_secs(MAX_WAIT_S)).await;
            let answer = match looked {
                Ok(answer) => answer,
                Err(error) if begun.elapsed() < longest && is_passing(&error) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            login = match self.settle(login, answer)? {
                Polled::Ended(end) => return Ok(end),
                Polled::Pending(login) => login,
            };
            if begun.elapsed() >= longest {
                let waited_s = begun.elapsed().as_secs();
                return Err(LoginServiceError::Undecided { waited_s });
            }
            // A broker that answers at once must not make this a busy loop.
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes a login back by its id. A login that is locked, or that ended, is too late (409).
    ///
    /// # Errors
    /// [`LoginServiceError::Problem`] of kind `too-late`, among others.
    pub async fn cancel(&self, id: &str) -> Result<(), LoginServiceError> {
        self.http.delete(&["logins", id]).await
    }

    /// Verifies a kept block of a customer again: as evidence, or live.
    ///
    /// # Errors
    /// [`LoginServiceError::Verification`] with found and expected, or the pin store's.
    pub fn verify(
        &self,
        customer: &str,
        compact: &str,
        nonce: &str,
        kind: Kind,
        moment: Moment,
    ) -> Result<VerifiedLogin, LoginServiceError> {
        let expected = self.expected(self.pin_of(customer)?, kind, nonce.to_owned());
        Ok(verify_login(compact, &expected, moment)?)
    }

    /// Opens an enrolment: a ticket for a customer whom the caller identified. Given the customer's
    /// id, one with a pin is refused at once rather than at the end.
    ///
    /// # Errors
    /// [`LoginServiceError::AlreadyPinned`] before anything is asked, among others.
    pub async fn enrol(
        &self,
        customer: Option<&str>,
    ) -> Result<OpenEnrolmentSession, LoginServiceError> {
        if let Some(customer) = customer
            && let Some(pin) = self.pins.pinned(customer)?
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
    /// A finished one is verified and pinned to `customer`.
    ///
    /// # Errors
    /// [`LoginServiceError`]; [`LoginServiceError::Pin`] when the customer has another account.
    pub async fn enrolment(
        &self,
        customer: &str,
        session: &str,
        wait: Duration,
    ) -> Result<EnrolmentEnd, LoginServiceError> {
        let query = [("wait", wait.as_secs().min(MAX_WAIT_S).to_string())];
        let answer = self
            .http
            .get(&["enrolments", session], &query, wait)
            .await?;
        self.enrolled(customer, session, answer)
    }

    /// Passes the six digits on that the customer typed into the page where the ticket was shown.
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
        let (_, answer) = self.http.post(&path, &request, ACT_LIMIT).await?;
        self.enrolled(customer, session, answer)
    }

    /// The account as the broker tells it. Status and head are unproven: for display.
    ///
    /// # Errors
    /// [`LoginServiceError`]; [`LoginServiceError::Answer`] when the account or its key is another
    /// than the pinned one.
    pub async fn account(&self, pin: Pin) -> Result<AccountAnswer, LoginServiceError> {
        let account = pin.account.to_string();
        let path = ["accounts", account.as_str()];
        let answer: AccountAnswer = self.http.get(&path, &[], NO_WAIT).await?;
        let pinned = Jwk::of(&pin.account_key);
        if answer.account != pin.account || answer.jwk != pinned {
            return Err(LoginServiceError::Answer {
                what: format!(
                    "account {} has key {}, expected the pinned account {} and key {}",
                    answer.account, answer.jwk.x, pin.account, pinned.x
                ),
            });
        }
        Ok(answer)
    }

    /// A page of the account's history, newest first, below height `before` (from the head when
    /// none); every block verified under the pinned keys.
    ///
    /// # Errors
    /// [`LoginServiceError`].
    pub async fn history(
        &self,
        pin: Pin,
        before: Option<u64>,
        limit: Option<u64>,
    ) -> Result<HistoryPage, LoginServiceError> {
        let account = pin.account.to_string();
        let path = ["accounts", account.as_str(), "history"];
        let mut query = vec![("limit", limit.unwrap_or(DEFAULT_PAGE).to_string())];
        query.extend(before.map(|before| ("before", before.to_string())));
        let answer: HistoryAnswer = self.http.get(&path, &query, NO_WAIT).await?;
        Ok(history::verify_page(&self.ledger, &pin, answer)?)
    }

    /// The account's newest login, verified; none if the broker finds none.
    ///
    /// # Errors
    /// [`LoginServiceError`].
    pub async fn last_login(&self, pin: Pin) -> Result<Option<VerifiedEntry>, LoginServiceError> {
        let account = pin.account.to_string();
        let path = ["accounts", account.as_str(), "last-login"];
        let answer: LastLoginAnswer = self.http.get(&path, &[], NO_WAIT).await?;
        Ok(history::verify_last_login(&self.ledger, &pin, answer)?)
    }

    /// Freezes the account. Calling again is harmless.
    ///
    /// # Errors
    /// [`LoginServiceError`].
    pub async fn freeze(&self, pin: Pin) -> Result<FreezeEnd, LoginServiceError> {
        let account = pin.account.to_string();
        let path = ["accounts", account.as_str(), "freeze"];
        let request = OpenEnrolment {};
        let (_, answer): (StatusCode, FreezeAnswer) =
            self.http.post(&path, &request, ACT_LIMIT).await?;
        let sealed = history::verify_freeze(&self.ledger, pin.account, &answer)?;
        Ok(sealed.map_or(FreezeEnd::Pending, FreezeEnd::Frozen))
    }

    async fn look(
        &self,
        login: &OpenLogin,
        wait: Duration,
    ) -> Result<LoginAnswer, LoginServiceError> {
        let query = [("wait", wait.as_secs().min(MAX_WAIT_S).to_string())];
        self.http.get(&["logins", &login.id], &query, wait).await
    }

    fn settle(&self, login: OpenLogin, answer: LoginAnswer) -> Result<Polled, LoginServiceError> {
        Ok(match answer {
            LoginAnswer::Pending { .. } => Polled::Pending(login),
            LoginAnswer::Admitted { block, receipt, .. } => {
                let admission = self.admit(&login.expected, block, &receipt)?;
                Polled::Ended(LoginEnd::Admitted(Box::new(admission)))
            }
            LoginAnswer::Refused { by, reason } => Polled::Ended(LoginEnd::Refused {
                by: by.into(),
                reason,
            }),
            LoginAnswer::Expired => Polled::Ended(LoginEnd::Expired),
        })
    }

    fn expected(&self, pin: Pin, kind: Kind, nonce: String) -> Expected {
        Expected {
            iss: self.ledger.iss.clone(),
            aud: self.aud.clone(),
            account: pin.account,
            account_key: pin.account_key,
            nonce,
            kind,
        }
    }

    fn opened(
        &self,
        pin: Pin,
        kind: Kind,
        nonce: String,
        begun: LoginBegun,
    ) -> Result<OpenLogin, LoginServiceError> {
        let is_number = begun.number.len() == 2 && begun.number.bytes().all(|b| b.is_ascii_digit());
        if !is_number {
            return Err(LoginServiceError::Answer {
                what: "number is not two digits".to_owned(),
            });
        }
        Ok(OpenLogin {
            id: begun.id,
            number: begun.number,
            expires_in: Duration::from_secs(begun.expires_in),
            expected: self.expected(pin, kind, nonce),
        })
    }

    fn admit(
        &self,
        expected: &Expected,
        compact: String,
        receipt: &str,
    ) -> Result<Admission, LoginServiceError> {
        let login = verify_login(&compact, expected, Moment::Live((self.clock)()))?;
        let receipt = Box::new(Sealed::from_json(receipt)?);
        if receipt.compact().as_deref() != Some(compact.as_str()) {
            return Err(LoginServiceError::Receipt);
        }
        Ok(Admission {
            compact,
            receipt,
            login,
            account_key: expected.account_key,
        })
    }

    fn enrolled(
        &self,
        customer: &str,
        session: &str,
        answer: EnrolmentAnswer,
    ) -> Result<EnrolmentEnd, LoginServiceError> {
        match answer {
            EnrolmentAnswer::Waiting => Ok(EnrolmentEnd::Waiting),
            EnrolmentAnswer::Digits => Ok(EnrolmentEnd::Digits),
            EnrolmentAnswer::Failed { reason } => Ok(EnrolmentEnd::Failed { reason }),
            EnrolmentAnswer::Done { genesis, .. } => {
                let genesis = Box::new(Sealed::from_json(&genesis)?);
                let account = Account::open(&self.ledger, &genesis)?;
                let nonce = &genesis.block.claims().nonce;
                if nonce != session {
                    return Err(LoginServiceError::Answer {
                        what: format!("genesis is of session {nonce}, expected {session}"),
                    });
                }
                let pin = Pin {
                    account: account.sub(),
                    account_key: *account.account_key(),
                };
                self.pins.pin(customer, pin)?;
                Ok(EnrolmentEnd::Pinned { pin, genesis })
            }
        }
    }
}

/// Whether the same look may succeed later: the line failed, or the broker is stopping or busy.
fn is_passing(error: &LoginServiceError) -> bool {
    match error {
        LoginServiceError::Unreachable { .. } => true,
        LoginServiceError::Problem(problem) => {
            matches!(
                problem.kind(),
                Some(ProblemKind::Stopping | ProblemKind::TooMany)
            )
        }
        _ => false,
    }
}

fn fresh_nonce() -> Result<String, LoginServiceError> {
    let mut challenge = [0_u8; 32];
    getrandom::fill(&mut challenge).map_err(|error| LoginServiceError::Entropy {
        what: error.to_string(),
    })?;
    Ok(encoding::text_b64(&challenge))
}
