//! The desk: what the HTTP side asks of this broker.

use std::time::Duration;

use warifu_client_sdk::runtime::KeeperError;
use warifu_consensus::{
    agree::{Base, Begin, Input, LoginId, Outcome, Record, Refusal},
    block::{Kind, Sealed},
    body,
    chain::Status,
    enrol::{SixDigits, Ticket, TicketSecret},
    log::LogProof,
    party::{Role, Sub},
    time::Time,
    vote::{Statement, Verb, Vote},
    wire::Reason,
};

use super::{Broker, FREEZE_WAIT, Happened};
use crate::api::desk::{
    AccountState, Began, BeginRequest, Desk, DeskError, EnrolmentState, Entry, Frozen, LoginState,
};
use crate::roles::erasing::EraseError;

/// How long `begin` waits for the account's turn.
const BEGIN_WAIT: Duration = Duration::from_secs(5);
/// How long a confirmation waits for the genesis.
const GENESIS_WAIT: Duration = Duration::from_secs(10);
/// Tickets that one caller may have out at once.
const TICKETS_PER_CALLER: usize = 1_000;

fn stopping(error: &KeeperError) -> DeskError {
    tracing::error!(%error, "the desk can't read");
    DeskError::Stopping
}

/// What a cancel is answered once the login ended: a repeat is well, a login that ended otherwise
/// is not taken back (rule 6).
fn cancelled(state: &LoginState) -> Option<Result<(), DeskError>> {
    match state {
        LoginState::Pending { .. } => None,
        LoginState::Ended {
            outcome:
                Outcome::Refused {
                    reason: Reason::Cancelled,
                    ..
                },
            ..
        } => Some(Ok(())),
        LoginState::Ended { .. } => Some(Err(DeskError::Ended)),
    }
}

fn random<const N: usize>() -> Result<[u8; N], DeskError> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|_| DeskError::Stopping)?;
    Ok(bytes)
}

impl Broker {
    fn known(&self, account: Sub) -> Result<(), DeskError> {
        if self.inner.operator.directory.has(&account) {
            Ok(())
        } else {
            Err(DeskError::UnknownAccount { account })
        }
    }

    async fn base(&self, account: Sub) -> Result<Base, DeskError> {
        self.known(account)?;
        if self.inner.operator.erasing.is_erased(&account) {
            return Err(DeskError::Erased { account });
        }
        self.inner
            .operator
            .accounts
            .with(account, |machine, _| (machine.base().clone(), Vec::new()))
            .await
            .ok_or(DeskError::Stopping)
    }
}

/// How long a freeze of an account that seems frozen waits until heads are compared.
const COMPARED_WAIT: Duration = Duration::from_secs(2);
/// Between two looks whether they are.
const COMPARED_LOOK: Duration = Duration::from_millis(50);
/// Blocks that one look at a history takes, on the way to the freeze of a frozen account.
const FREEZE_PAGE: u64 = 100;

impl Broker {
    /// Whether an account is frozen, nothing is under way that could end that, and the trust
    /// operator knows of no later block: a broker that was restored may have forgotten an unfreeze.
    async fn stands_frozen(&self, account: Sub) -> Result<bool, DeskError> {
        let until = tokio::time::Instant::now() + COMPARED_WAIT;
        loop {
            let accounts = &self.inner.operator.accounts;
            let (is_frozen, has_compared) = accounts
                .with(account, |machine, _| {
                    let is_frozen = machine.base().status() == Some(Status::Frozen);
                    let stands = is_frozen && machine.is_settled();
                    ((stands, machine.has_compared()), Vec::new())
                })
                .await
                .ok_or(DeskError::Stopping)?;
            if !is_frozen || has_compared {
                return Ok(is_frozen);
            }
            if tokio::time::Instant::now() >= until {
                return Ok(false);
            }
            // An account that was loaded for this, or a line that just came up, needs a moment.
            tokio::time::sleep(COMPARED_LOOK).await;
        }
    }

    /// Erases an account at this operator.
    async fn erase_here(&self, account: Sub) -> Result<(), DeskError> {
        let erasing = &self.inner.operator.erasing;
        if !erasing.is_erased(&account) {
            // Waits until heads are compared; what is found then is for the erasure to say.
            drop(self.stands_frozen(account).await);
        }
        let rests = |machine: &warifu_consensus::agree::Broker| {
            machine.is_settled() && machine.has_compared()
        };
        let erased = erasing.erase(account, rests).await;
        erased.map_err(|error| match error {
            EraseError::NotFrozen { .. } => DeskError::NotFrozen(error.to_string()),
            EraseError::Unlogged { .. } => DeskError::Unlogged(error.to_string()),
            EraseError::NoGenesis => DeskError::Refused(Refusal::NoGenesis),
            error => {
                tracing::error!(%account, %error, "not erased, or not all forgotten");
                DeskError::Stopping
            }
        })
    }

    /// Whether no freeze is wanted any more: a `freeze` that this copy only catches up with may be
    /// older than what was asked, and lifted since.
    async fn is_frozen_as_asked(&self, account: Sub) -> bool {
        let accounts = &self.inner.operator.accounts;
        let pending = accounts.with(account, |machine, _| {
            (machine.is_freeze_pending(), Vec::new())
        });
        pending.await == Some(false)
    }

    /// What is told of a login that ended before it was asked for: nobody hears "admitted" once the block
    /// expired, or the account is frozen or is to be, whatever was true when it ended (rule 6).
    async fn as_it_stands(&self, sub: Sub, state: LoginState) -> Result<LoginState, DeskError> {
        let LoginState::Ended {
            outcome: Outcome::Admitted(sealed),
            account_key,
        } = state
        else {
            return Ok(state);
        };
        let accounts = &self.inner.operator.accounts;
        let stands = accounts.with(sub, |machine, now| {
            let is_active = machine.base().status() == Some(Status::Active);
            ((is_active && !machine.is_freeze_pending(), now), Vec::new())
        });
        let (stands, now) = stands.await.ok_or(DeskError::Stopping)?;
        let outcome = if now >= Time::from_seconds(sealed.block.claims().exp) {
            Outcome::Expired
        } else if stands {
            Outcome::Admitted(sealed)
        } else {
            Outcome::Refused {
                by: Role::Broker,
                reason: Reason::FreezeWanted,
            }
        };
        Ok(LoginState::Ended {
            outcome,
            account_key,
        })
    }

    /// The freeze that an account stands under, if nothing is under way that could end it: an
    /// unfreeze that is open is no reason to believe that a freeze is not needed.
    async fn frozen_already(&self, account: Sub) -> Result<Option<Box<Sealed>>, DeskError> {
        if !self.stands_frozen(account).await? {
            return Ok(None);
        }
        let mut before = None;
        loop {
            let page = self.history(account, before, FREEZE_PAGE).await?;
            before = page
                .last()
                .map(|entry| entry.sealed.block.claims().height)
                .filter(|height| *height > 0);
            let is_freeze = |entry: &Entry| entry.sealed.block.claims().kind == Kind::Freeze;
            match page.into_iter().find(is_freeze) {
                Some(found) => return Ok(Some(Box::new(found.sealed))),
                None if before.is_none() => return Ok(None),
                None => {}
            }
        }
    }
}

impl Desk for Broker {
    fn now(&self) -> Time {
        (self.inner.operator.clock)()
    }

    async fn begin(
        &self,
        caller: &str,
        aud: &str,
        account: Sub,
        request: BeginRequest,
    ) -> Result<Began, DeskError> {
        let account_key = *self.base(account).await?.account_key();
        if self.is_closing() {
            return Err(DeskError::Stopping);
        }
        if self.trust_operator_session().is_none() {
            return Err(DeskError::TrustOperatorUnreachable);
        }
        let login = LoginId(random()?);
        let lifetime_s = self.inner.settings.proposal_lifetime_s;
        let until = self.now().seconds().saturating_add(lifetime_s);
        let began = self
            .inner
            .logins
            .open(login, caller, account, account_key, until);
        let begin = Begin {
            login,
            caller: caller.to_owned(),
            aud: aud.to_owned(),
            nonce: request.nonce,
            kind: request.kind,
            body: request.body,
            lifetime_s,
        };
        self.inner
            .operator
            .accounts
            .ask(account, Input::Begin(Box::new(begin)))
            .map_err(|_| DeskError::Stopping)?;
        let began = tokio::select! {
            began = tokio::time::timeout(BEGIN_WAIT, began) => began,
            () = self.closed() => return Err(DeskError::Stopping),
        };
        match began {
            Ok(Ok(Ok(began))) => Ok(began),
            Ok(Ok(Err(refusal))) => Err(match refusal {
                warifu_consensus::agree::Refusal::TrustOperatorDown => {
                    DeskError::TrustOperatorUnreachable
                }
                refusal => DeskError::Refused(refusal),
            }),
            Ok(Err(_)) | Err(_) => Err(DeskError::Stopping),
        }
    }

    async fn login(
        &self,
        caller: &str,
        id: LoginId,
        wait: Duration,
    ) -> Result<LoginState, DeskError> {
        let mut login = self.inner.logins.find(caller, &id)?;
        let had_ended = matches!(*login.state.borrow(), LoginState::Ended { .. });
        let ended = login
            .state
            .wait_for(|s| matches!(s, LoginState::Ended { .. }));
        tokio::select! {
            biased;
            // A timeout is no error: the state as it stands is the answer.
            _ = tokio::time::timeout(wait, ended) => {}
            () = self.closed() => {}
        }
        let state = login.state.borrow().clone();
        match state {
            LoginState::Pending { .. } if self.is_closed() => Err(DeskError::Stopping),
            state if had_ended => self.as_it_stands(login.sub, state).await,
            state => Ok(state),
        }
    }

    async fn proof(&self, sealed: &Sealed, wait: Duration) -> Result<Option<LogProof>, DeskError> {
        let log = &self.inner.operator.log;
        let mut grown = log.watch();
        let found = async {
            loop {
                grown.mark_unchanged();
                match log.prove(sealed) {
                    Ok(None) if grown.changed().await.is_ok() => {}
                    Ok(found) => return Ok(found),
                    Err(error) => {
                        // The login was admitted: the log proves, it does not admit.
                        tracing::error!(%error, "no proof for a receipt");
                        return Ok(None);
                    }
                }
            }
        };
        tokio::select! {
            found = tokio::time::timeout(wait, found) => found.unwrap_or(Ok(None)),
            () = self.closed() => Err(DeskError::Stopping),
        }
    }

    async fn cancel(&self, caller: &str, id: LoginId) -> Result<(), DeskError> {
        let mut login = self.inner.logins.find(caller, &id)?;
        if let Some(end) = cancelled(&login.state.borrow()) {
            return end;
        }
        let refused = self.inner.logins.cancelling(&id);
        self.inner
            .operator
            .accounts
            .ask(login.sub, Input::Cancel { login: id })
            .map_err(|_| DeskError::Stopping)?;
        tokio::select! {
            Ok(refusal) = refused => Err(DeskError::Refused(refusal)),
            ended = login.state.wait_for(|s| matches!(s, LoginState::Ended { .. })) => {
                let ended = ended.map_err(|_| DeskError::Stopping)?;
                cancelled(&ended).unwrap_or(Err(DeskError::Stopping))
            }
            () = tokio::time::sleep(BEGIN_WAIT) => Err(DeskError::Stopping),
            () = self.closed() => Err(DeskError::Stopping),
        }
    }

    async fn open_ticket(&self, caller: &str) -> Result<Ticket, DeskError> {
        if self.is_closing() {
            return Err(DeskError::Stopping);
        }
        if self.trust_operator_session().is_none() {
            return Err(DeskError::TrustOperatorUnreachable);
        }
        let found = self.inner.enrolments.open_of(caller);
        if found >= TICKETS_PER_CALLER {
            return Err(DeskError::Limit {
                what: format!("{found} tickets are out, at most {TICKETS_PER_CALLER} allowed"),
                retry_after_s: self.inner.settings.ticket_lifetime_s,
            });
        }
        let operator = &self.inner.operator;
        let settings = &self.inner.settings;
        let texts = |addresses: &[warifu_client_sdk::transport::Multiaddr]| {
            addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let unsigned = Statement {
            verb: Verb::Ticket,
            role: Role::Broker,
            sub: Sub::ZERO,
            hash: warifu_consensus::encoding::Hash::ZERO,
        };
        let ticket = Ticket {
            ledger: operator.ledger.clone(),
            session: random()?,
            broker_addresses: texts(&settings.announce),
            trust_operator_addresses: texts(&settings.trust_operator_announce),
            secret: TicketSecret::from_bytes(random()?),
            exp: self
                .now()
                .seconds()
                .saturating_add(settings.ticket_lifetime_s),
            vote: Vote::sign(&operator.key, &unsigned),
        }
        .sign(&operator.key);
        self.inner.enrolments.open(caller, ticket.clone());
        Ok(ticket)
    }

    async fn enrolment(
        &self,
        caller: &str,
        session: [u8; 32],
        wait: Duration,
    ) -> Result<EnrolmentState, DeskError> {
        let (mut state, _) = self
            .inner
            .enrolments
            .watch(caller, &session)
            .ok_or(DeskError::UnknownTicket)?;
        let before = state.borrow_and_update().clone();
        if before == EnrolmentState::Waiting {
            tokio::select! {
                biased;
                _ = tokio::time::timeout(wait, state.changed()) => {}
                () = self.closed() => {}
            }
        }
        let state = state.borrow().clone();
        match state {
            // A session lives no longer than this process: it will not go on.
            EnrolmentState::Waiting if self.is_closed() => Err(DeskError::Stopping),
            state => Ok(state),
        }
    }

    async fn confirm(
        &self,
        caller: &str,
        session: [u8; 32],
        digits: SixDigits,
    ) -> Result<EnrolmentState, DeskError> {
        let (mut state, mut wrong) = self
            .inner
            .enrolments
            .watch(caller, &session)
            .ok_or(DeskError::UnknownTicket)?;
        if !matches!(*state.borrow_and_update(), EnrolmentState::Digits) {
            return Err(DeskError::NoDigits);
        }
        wrong.mark_unchanged();
        if !self.inner.enrolments.confirm(session, digits) {
            return Err(DeskError::Stopping);
        }
        tokio::select! {
            biased;
            changed = wrong.changed() => {
                changed.map_err(|_| DeskError::Stopping)?;
                let left = wrong.borrow().unwrap_or_default();
                return Err(DeskError::WrongDigits { left });
            }
            ended = state.wait_for(|s| {
                !matches!(s, EnrolmentState::Digits | EnrolmentState::Waiting)
            }) => {
                ended.map(drop).map_err(|_| DeskError::Stopping)?;
            }
            () = tokio::time::sleep(GENESIS_WAIT) => {}
            () = self.closed() => return Err(DeskError::Stopping),
        }
        let state = state.borrow().clone();
        Ok(state)
    }

    async fn account(&self, account: Sub) -> Result<AccountState, DeskError> {
        let base = self.base(account).await?;
        match (base.status(), base.head()) {
            (Some(status), Some(head)) => Ok(AccountState {
                status,
                head,
                account_key: *base.account_key(),
            }),
            _ => Err(DeskError::Refused(
                warifu_consensus::agree::Refusal::NoGenesis,
            )),
        }
    }

    async fn history(
        &self,
        account: Sub,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Entry>, DeskError> {
        self.known(account)?;
        let keeper = self.inner.operator.keeper.clone();
        let read = tokio::task::spawn_blocking(move || {
            let newest = match before {
                Some(before) => before.checked_sub(1),
                None => Some(u64::MAX),
            };
            let Some(until) = keeper.height(&account)?.min(newest) else {
                return Ok(Vec::new());
            };
            let Some(back) = limit.checked_sub(1) else {
                return Ok(Vec::new());
            };
            let from = until.saturating_sub(back);
            let mut bodies = std::collections::HashMap::new();
            let mut blocks = Vec::new();
            for record in keeper.between(&account, from, until)? {
                match record {
                    Record::BrokerLock(lock) => {
                        if let Some(body) = lock.body {
                            bodies.insert(lock.block.hash(), body);
                        }
                    }
                    Record::Sealed(sealed) => blocks.push(*sealed),
                    _ => {}
                }
            }
            let content_key = keeper.secrets(&account)?.content_key;
            let mut entries = Vec::new();
            for sealed in blocks.into_iter().rev() {
                let hash = sealed.block.hash();
                let salt = keeper.salt(&account, &hash)?;
                let body = match (&content_key, salt, bodies.get(&hash)) {
                    (Some(key), Some(salt), Some(sealed_body)) => {
                        body::open_body(key, &salt, &sealed.block, sealed_body).ok()
                    }
                    _ => None,
                };
                entries.push(Entry { sealed, body });
            }
            Ok::<_, KeeperError>(entries)
        });
        read.await
            .map_err(|_| DeskError::Stopping)?
            .map_err(|e| stopping(&e))
    }

    async fn freeze(&self, account: Sub) -> Result<Frozen, DeskError> {
        let base = self.base(account).await?;
        if base.head().is_none() {
            return Err(DeskError::Refused(
                warifu_consensus::agree::Refusal::NoGenesis,
            ));
        }
        if base.status() == Some(Status::Revoked) {
            // Nothing is left to freeze: no block would ever answer.
            let (found, kind) = (Status::Revoked, Kind::Freeze.name().to_owned());
            let refusal = warifu_consensus::agree::Refusal::StatusForbids { found, kind };
            return Err(DeskError::Refused(refusal));
        }
        if let Some(earlier) = self.frozen_already(account).await? {
            return Ok(Frozen::Sealed(earlier));
        }
        let mut happened = self.inner.happened.subscribe();
        let above = base.next_height();
        let accounts = &self.inner.operator.accounts;
        accounts
            .ask(account, Input::Freeze)
            .map_err(|_| DeskError::Stopping)?;
        // The wish is durable once the account takes the next question.
        self.base(account).await?;
        let sealed = async {
            loop {
                match happened.recv().await {
                    Ok(Happened::Sealed(sub, sealed))
                        if sub == account
                            && sealed.block.claims().height >= above
                            && sealed.block.claims().kind == Kind::Freeze
                            && self.is_frozen_as_asked(account).await =>
                    {
                        return Frozen::Sealed(sealed);
                    }
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => {
                        return Frozen::Wanted;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            ended = tokio::time::timeout(FREEZE_WAIT, sealed) => Ok(ended.unwrap_or(Frozen::Wanted)),
            // The wish is durable: it is sealed after the next start.
            () = self.closed() => Ok(Frozen::Wanted),
        }
    }

    async fn erase(&self, account: Sub) -> Result<bool, DeskError> {
        self.known(account)?;
        // In a task of its own: a caller that is gone leaves nothing half done.
        let broker = self.clone();
        let erased = async move { broker.erase_here(account).await };
        let erased = self.inner.operator.signing().spawn(erased).await;
        erased.map_err(|_| DeskError::Stopping)??;
        let erasing = &self.inner.operator.erasing;
        Ok(erasing.both(&account, FREEZE_WAIT).await)
    }

    async fn ready(&self) -> Result<(), DeskError> {
        if self.is_closing() || !self.inner.operator.keeper.store().is_running() {
            return Err(DeskError::Stopping);
        }
        if self.trust_operator_session().is_none() {
            return Err(DeskError::TrustOperatorUnreachable);
        }
        Ok(())
    }
}
