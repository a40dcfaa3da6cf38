//! The login service's calls about logins: begin, wait, cancel, verify; and about accounts: history,
//! last login, freeze, unfreeze.

mod admit;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;
use warifu_consensus::block::Kind;
use warifu_consensus::encoding;
use warifu_consensus::log::LogKeys;
use warifu_consensus::party::Ledger;
use warifu_consensus::time::{GRACE_S, MAX_LIFETIME_S, Time};

use super::api::{
    AccountAnswer, Asked, BeginLogin, BeginUnfreeze, DEFAULT_PAGE, FreezeAnswer, HistoryAnswer,
    Jwk, LastLoginAnswer, LoginAnswer, LoginBegun, MAX_WAIT_S, OpenEnrolment, Shown,
};
use super::begun::Unclaimed;
use super::clock::{Clock, system_clock};
use super::error::LoginServiceError;
use super::history::{self, HistoryPage, VerifiedEntry};
use super::http::Http;
use super::newer;
use super::open_login::OpenLogin;
use super::pins::{Pin, PinStore};
use super::problem::ProblemKind;
use super::retry::{Patience, Tries};
use super::spent::Spent;
use super::state::{FreezeEnd, LoginEnd, Polled};
use super::tls::BrokerAddress;
use super::token::Token;
use crate::receipt::{Expected, Moment, VerifiedReceipt, Voters, verify_receipt};

/// How long a broker waits for a login's proof, at most.
const PROOF_WAIT: Duration = Duration::from_secs(5);

/// How long a freeze or a confirmation may take at the broker.
pub(super) const ACT_LIMIT: Duration = Duration::from_secs(30);
pub(super) const NO_WAIT: Duration = Duration::ZERO;
/// Between two looks.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

const LOGIN_STATUSES: [&str; 4] = ["pending", "admitted", "refused", "expired"];
const ACCOUNT_STATUSES: [&str; 3] = ["active", "frozen", "revoked"];
const FREEZE_STATUSES: [&str; 2] = ["frozen", "pending"];

/// One login service's access to its broker. See the module.
pub struct LoginService<P> {
    pub(super) http: Arc<Http>,
    pub(super) ledger: Ledger,
    aud: String,
    pub(super) pins: P,
    clock: Clock,
    spent: Spent,
    /// Whose log each admitted block is looked for in.
    log: Option<LogKeys>,
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
            http: Arc::new(Http::new(&broker.into(), token)?),
            ledger,
            aud: aud.into(),
            pins,
            clock: system_clock,
            spent: Spent::default(),
            log: None,
        })
    }

    /// Takes the time from another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Asks, with each admitted login, for the proof that its block is in the ledger's log, and verifies it under
    /// these keys (`log` and `witness` of `ledger.toml`). The answer then comes up to a second later. A login without
    /// a proof in time is admitted all the same; one with a wrong proof is not.
    #[must_use]
    pub fn with_log(mut self, keys: LogKeys) -> Self {
        self.log = Some(keys);
        self
    }

    /// Whether proofs from the ledger's log are asked for.
    #[must_use]
    pub const fn asks_log(&self) -> bool {
        self.log.is_some()
    }

    /// Takes other limits of time than [`Patience::default`]. To be called before the service is
    /// used: connections that are open are kept, calls under way keep their limits.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        let mut http = Http::clone(&self.http);
        http.patience = patience;
        self.http = Arc::new(http);
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
    pub async fn pin_of(&self, customer: &str) -> Result<Pin, LoginServiceError> {
        let pin = self.pins.pinned(customer).await?;
        pin.ok_or_else(|| LoginServiceError::NotPinned {
            customer: customer.to_owned(),
        })
    }

    /// Begins a login (or another kind) with a fresh nonce. The caller checked a first factor or a
    /// known browser before (protocol rule 10), and shows the number. Repeated only when no
    /// connection was made; dropped after the request left, it takes the login back.
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
        let nonce = request.nonce.clone();
        let begun = self.begun(vec!["logins".to_owned()], request).await?;
        self.opened(pin, kind.into(), nonce, begun)
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
        let nonce = request.nonce.clone();
        let account = pin.account.to_string();
        let path = vec!["accounts".to_owned(), account, "unfreeze".to_owned()];
        let begun = self.begun(path, request).await?;
        self.opened(pin, Kind::Unfreeze, nonce, begun)
    }

    /// Looks once, waiting at most `wait` (30 s and less) for the end. For programs that look from
    /// time to time, each time with a handle restored from their session store.
    ///
    /// # Errors
    /// [`LoginServiceError`]; this handle is spent then, the stored one is not.
    /// [`LoginServiceError::Altered`] when the handle is not of what is pinned now.
    pub async fn poll(
        &self,
        login: OpenLogin,
        wait: Duration,
    ) -> Result<Polled, LoginServiceError> {
        self.check_own(&login)?;
        let query = self.waiting(wait.as_secs().min(MAX_WAIT_S));
        let path = ["logins", login.id.as_str()];
        let limit = wait.saturating_add(self.for_proof());
        let answer = self.http.get(&path, &query, limit).await?;
        self.settle(login, answer).await
    }

    /// Waits for the end. `Admitted` only if the broker says so and the block verified (protocol
    /// rule 6), with its votes. Looks again, with growing pauses, when an answer is lost, until the
    /// login must have ended: its lifetime and a minute.
    ///
    /// # Errors
    /// [`LoginServiceError`]; [`LoginServiceError::Undecided`] when the broker has no end to tell.
    pub async fn wait(&self, login: OpenLogin) -> Result<LoginEnd, LoginServiceError> {
        self.check_own(&login)?;
        let begun = Instant::now();
        let mut tries = Tries::until(self.longest(&login));
        let mut login = login;
        loop {
            let asked = Instant::now();
            let wait = Duration::from_secs(MAX_WAIT_S).min(tries.left());
            let query = self.waiting(wait.as_secs());
            let path = ["logins", login.id.as_str()];
            let limit = self.http.limit(wait.saturating_add(self.for_proof()));
            let answer = match self.http.get_once(&path, &query, limit).await {
                Ok(answer) => answer,
                Err(error) if error.is_passing() && tries.again(&error).await => continue,
                Err(error) => return Err(error),
            };
            tries.answered();
            login = match self.settle(login, answer).await? {
                Polled::Ended(end) => return Ok(end),
                Polled::Pending(login) => login,
            };
            if tries.left().is_zero() {
                let waited_s = begun.elapsed().as_secs();
                return Err(LoginServiceError::Undecided { waited_s });
            }
            // A broker that answers at once must not make this a busy loop.
            tokio::time::sleep(PAUSE.saturating_sub(asked.elapsed())).await;
        }
    }

    /// Takes a login back by its id. A login that is locked, or that ended otherwise, is too late
    /// (409).
    ///
    /// # Errors
    /// [`LoginServiceError::Problem`] of kind `too-late`, among others.
    pub async fn cancel(&self, id: &str) -> Result<(), LoginServiceError> {
        let path = ["logins", id];
        let (ended, may_be_done) = self.http.delete(&path).await;
        let Err(LoginServiceError::Problem(problem)) = &ended else {
            return ended;
        };
        if !may_be_done || problem.kind() != Some(ProblemKind::TooLate) {
            return ended;
        }
        // It may be too late because an earlier try, whose answer was lost, was in time.
        let answer: Value = self.http.get(&path, &[], NO_WAIT).await?;
        match newer::read(answer, &LOGIN_STATUSES)? {
            Some(LoginAnswer::Refused { .. } | LoginAnswer::Expired) => Ok(()),
            _ => ended,
        }
    }

    /// Verifies a receipt that was kept ([`Sealed::to_json`](warifu_consensus::block::Sealed::to_json) of
    /// [`Admission::receipt`](super::Admission::receipt)) again, as
    /// evidence: at the block's own time, with its votes, offline. Lets nobody in.
    ///
    /// # Errors
    /// [`LoginServiceError::Verification`] with found and expected, or the pin store's.
    pub async fn verify(
        &self,
        customer: &str,
        receipt: &str,
        nonce: &str,
        kind: Kind,
    ) -> Result<VerifiedReceipt, LoginServiceError> {
        let pin = self.pin_of(customer).await?;
        let voters = self.voters(pin.parties.device);
        let expected = self.expected(&pin, kind, nonce.to_owned());
        Ok(verify_receipt(
            receipt,
            &expected,
            &voters,
            Moment::Evidence,
        )?)
    }

    /// The account as the broker tells it. Status and head are unproven: for display.
    ///
    /// # Errors
    /// [`LoginServiceError`]; [`LoginServiceError::Answer`] when the account or its key is another
    /// than the pinned one.
    pub async fn account(&self, pin: Pin) -> Result<AccountAnswer, LoginServiceError> {
        let account = pin.account.to_string();
        let path = ["accounts", account.as_str()];
        let answer: Value = self.http.get(&path, &[], NO_WAIT).await?;
        let answer: Option<AccountAnswer> = newer::read(answer, &ACCOUNT_STATUSES)?;
        let answer = answer.ok_or_else(|| LoginServiceError::Newer {
            what: "an account with another status".to_owned(),
        })?;
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
    /// none); every block verified under the pinned keys. `before` is the `next` of a page, or a
    /// height up to the head's plus 1: a page that does not begin right below it, or ends
    /// elsewhere than it says, hides blocks and is an error.
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
        Ok(history::verify_page(&self.ledger, &pin, before, answer)?)
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

    /// Freezes the account. Calling again is harmless. See [`FreezeEnd::Frozen`] for what its block
    /// proves.
    ///
    /// # Errors
    /// [`LoginServiceError`].
    pub async fn freeze(&self, pin: Pin) -> Result<FreezeEnd, LoginServiceError> {
        let account = pin.account.to_string();
        let path = ["accounts", account.as_str(), "freeze"];
        let request = OpenEnrolment {};
        let (_, answer): (StatusCode, Value) =
            self.http.post_again(&path, &request, ACT_LIMIT).await?;
        let answer: Option<FreezeAnswer> = newer::read(answer, &FREEZE_STATUSES)?;
        let answer = answer.ok_or_else(|| LoginServiceError::Newer {
            what: "a freeze with another status".to_owned(),
        })?;
        let sealed = history::verify_freeze(&self.ledger, &pin, &answer)?;
        Ok(sealed.map_or(FreezeEnd::Pending, |sealed| {
            let claims = sealed.block.claims();
            let (height, iat) = (claims.height, claims.iat);
            FreezeEnd::Frozen {
                sealed,
                height,
                iat,
            }
        }))
    }

    /// Sends in a task of its own: the answer is taken, and the login taken back, even when the
    /// caller is gone.
    async fn begun<B: Serialize + Send + Sync + 'static>(
        &self,
        path: Vec<String>,
        request: B,
    ) -> Result<Unclaimed, LoginServiceError> {
        let (give, take) = oneshot::channel();
        let http = Arc::clone(&self.http);
        tokio::spawn(async move {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let sent = http.post::<_, LoginBegun>(&path, &request, NO_WAIT).await;
            let begun = sent.map(|(_, begun)| Unclaimed::new(Arc::clone(&http), begun));
            // What nobody takes any more is dropped here, and takes itself back.
            drop(give.send(begun));
        });
        take.await.unwrap_or_else(|_| {
            Err(LoginServiceError::Unreachable {
                what: "the runtime is stopping".to_owned(),
                is_sent: true,
            })
        })
    }

    fn opened(
        &self,
        pin: Pin,
        kind: Kind,
        nonce: String,
        begun: Unclaimed,
    ) -> Result<OpenLogin, LoginServiceError> {
        let damaged = || LoginServiceError::Answer {
            what: "number is not two digits".to_owned(),
        };
        let is_number =
            |number: &str| number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit());
        if !begun.begun().is_some_and(|begun| is_number(&begun.number)) {
            return Err(damaged());
        }
        let begun = begun.claim().ok_or_else(damaged)?;
        let expires_in = begun.expires_in.min(MAX_LIFETIME_S);
        Ok(OpenLogin {
            id: begun.id,
            number: begun.number,
            expires_in: Duration::from_secs(expires_in),
            ends: later((self.clock)(), expires_in + GRACE_S),
            expected: self.expected(&pin, kind, nonce),
            device: pin.parties.device,
        })
    }

    fn expected(&self, pin: &Pin, kind: Kind, nonce: String) -> Expected {
        Expected {
            iss: self.ledger.iss.clone(),
            aud: self.aud.clone(),
            account: pin.account,
            account_key: pin.account_key,
            nonce,
            kind,
        }
    }

    /// The operators' keys are this login service's own, whatever the pin says.
    fn voters(&self, device: [u8; 32]) -> Voters {
        Voters {
            device: Some(device),
            ..Voters::operators(&self.ledger)
        }
    }

    /// A handle that was stored is used by the login service that it is of.
    fn check_own(&self, login: &OpenLogin) -> Result<(), LoginServiceError> {
        let expected = &login.expected;
        for (what, found, expected) in [
            ("iss", &expected.iss, &self.ledger.iss),
            ("aud", &expected.aud, &self.aud),
        ] {
            if found != expected {
                return Err(LoginServiceError::Foreign {
                    what,
                    found: found.clone(),
                    expected: expected.clone(),
                });
            }
        }
        Ok(())
    }

    /// The query of a look that waits.
    fn waiting(&self, seconds: u64) -> Vec<(&'static str, String)> {
        let mut query = vec![("wait", seconds.to_string())];
        if self.log.is_some() {
            query.push(("proof", "true".to_owned()));
        }
        query
    }

    /// How much longer an answer may take because of the log.
    fn for_proof(&self) -> Duration {
        self.log.as_ref().map_or(Duration::ZERO, |_| PROOF_WAIT)
    }

    /// Until when an end may still be told.
    fn longest(&self, login: &OpenLogin) -> Duration {
        let left_ms = login.ends.0.saturating_sub((self.clock)().0);
        let most = Duration::from_secs(MAX_LIFETIME_S + GRACE_S);
        Duration::from_millis(left_ms)
            .min(most)
            .saturating_add(Duration::from_secs(MAX_WAIT_S))
    }

    async fn settle(&self, login: OpenLogin, answer: Value) -> Result<Polled, LoginServiceError> {
        let Some(answer) = newer::read(answer, &LOGIN_STATUSES)? else {
            // A later broker's: not admitted, and not known to be the end.
            return Ok(Polled::Pending(login));
        };
        Ok(match answer {
            LoginAnswer::Pending { .. } => Polled::Pending(login),
            LoginAnswer::Admitted {
                block,
                receipt,
                proof,
                ..
            } => {
                let admission = self.admit(&login, block, &receipt, proof).await?;
                Polled::Ended(LoginEnd::Admitted(Box::new(admission)))
            }
            LoginAnswer::Refused { by, reason } => Polled::Ended(LoginEnd::Refused {
                by: by.into(),
                reason,
            }),
            LoginAnswer::Expired => Polled::Ended(LoginEnd::Expired),
        })
    }
}

fn later(now: Time, seconds: u64) -> Time {
    now.checked_add_seconds(seconds).unwrap_or(now)
}

fn fresh_nonce() -> Result<String, LoginServiceError> {
    let mut challenge = [0_u8; 32];
    getrandom::fill(&mut challenge).map_err(|error| LoginServiceError::Entropy {
        what: error.to_string(),
    })?;
    Ok(encoding::text_b64(&challenge))
}
