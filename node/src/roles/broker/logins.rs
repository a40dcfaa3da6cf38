//! The logins that callers may ask about: open ones, and those that ended a short while ago.
//!
//! RAM, and rebuilt from the journal at start: what was admitted stays admitted (protocol rule 6:
//! only while unexpired), what was locked goes on.

use std::{collections::HashMap, sync::Mutex};

use tokio::sync::{oneshot, watch};
use warifu_consensus::{
    agree::{LoginId, Outcome, Record, Refusal},
    party::Sub,
    time::{GRACE_S, Time},
};

use crate::{
    api::desk::{Began, DeskError, LoginState},
    roles::lock,
};

/// How long the end of a login can be asked for, in seconds.
const REMEMBERED_S: u64 = 600;

struct Entry {
    caller: String,
    sub: Sub,
    account_key: [u8; 32],
    state: watch::Sender<LoginState>,
    began: Option<oneshot::Sender<Result<Began, Refusal>>>,
    not_cancelled: Option<oneshot::Sender<Refusal>>,
    /// Forgotten after this, in seconds since the Unix epoch.
    until: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Logins {
    entries: Mutex<HashMap<LoginId, Entry>>,
}

/// A login of a caller.
pub(super) struct Login {
    pub(super) sub: Sub,
    pub(super) state: watch::Receiver<LoginState>,
}

impl Logins {
    /// Enters a login before it is asked for; the receiver hears how `begin` went.
    pub(super) fn open(
        &self,
        id: LoginId,
        caller: &str,
        sub: Sub,
        account_key: [u8; 32],
        until: u64,
    ) -> oneshot::Receiver<Result<Began, Refusal>> {
        let (began, receiver) = oneshot::channel();
        let entry = Entry {
            caller: caller.to_owned(),
            sub,
            account_key,
            state: watch::channel(LoginState::Pending { exp: until }).0,
            began: Some(began),
            not_cancelled: None,
            until: until.saturating_add(GRACE_S).saturating_add(REMEMBERED_S),
        };
        lock(&self.entries).insert(id, entry);
        receiver
    }

    /// A caller's login; unknown to everybody else.
    pub(super) fn find(&self, caller: &str, id: &LoginId) -> Result<Login, DeskError> {
        let entries = lock(&self.entries);
        let entry = entries.get(id).filter(|e| e.caller == caller);
        let entry = entry.ok_or(DeskError::UnknownLogin)?;
        Ok(Login {
            sub: entry.sub,
            state: entry.state.subscribe(),
        })
    }

    /// Waits for the answer to a cancel, should it be a refusal.
    pub(super) fn cancelling(&self, id: &LoginId) -> oneshot::Receiver<Refusal> {
        let (sender, receiver) = oneshot::channel();
        if let Some(entry) = lock(&self.entries).get_mut(id) {
            entry.not_cancelled = Some(sender);
        }
        receiver
    }

    pub(super) fn began(&self, id: LoginId, number: u8, exp: u64) {
        if let Some(entry) = lock(&self.entries).get_mut(&id) {
            entry.state.send_replace(LoginState::Pending { exp });
            if let Some(began) = entry.began.take() {
                // Nobody waits any more: the login can still be asked for.
                drop(began.send(Ok(Began { id, number, exp })));
            }
        }
    }

    pub(super) fn not_begun(&self, id: LoginId, refusal: Refusal) {
        if let Some(mut entry) = lock(&self.entries).remove(&id)
            && let Some(began) = entry.began.take()
        {
            drop(began.send(Err(refusal)));
        }
    }

    pub(super) fn not_cancelled(&self, id: LoginId, refusal: Refusal) {
        if let Some(entry) = lock(&self.entries).get_mut(&id)
            && let Some(sender) = entry.not_cancelled.take()
        {
            drop(sender.send(refusal));
        }
    }

    pub(super) fn ended(&self, id: LoginId, outcome: Outcome, now: Time) {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get_mut(&id) {
            let account_key = entry.account_key;
            entry.state.send_replace(LoginState::Ended {
                outcome,
                account_key,
            });
            entry.until = now.seconds().saturating_add(REMEMBERED_S);
        }
        entries.retain(|_, e| e.until > now.seconds());
    }

    /// Enters what an account's records still say about recent logins.
    pub(super) fn remember(&self, sub: Sub, records: &[Record], now: Time) {
        let Some(Record::Founding(founding)) = records.first() else {
            return;
        };
        let mut locked = None;
        let mut superseded = false;
        for record in records {
            match record {
                Record::BrokerLock(lock) => {
                    locked = Some(lock);
                    superseded = false;
                }
                Record::RestrictLock(_) => superseded = true,
                Record::Sealed(sealed) => {
                    if let Some(lock) = locked.take()
                        && !lock.caller.is_empty()
                    {
                        let exp = lock.block.claims().exp;
                        let admitted = sealed.block.hash() == lock.block.hash()
                            && !superseded
                            && now < Time::from_seconds(exp);
                        let outcome = if admitted {
                            Outcome::Admitted(sealed.clone())
                        } else {
                            Outcome::Expired
                        };
                        let account_key = founding.account_key;
                        let state = LoginState::Ended {
                            outcome,
                            account_key,
                        };
                        self.enter(lock.login, &lock.caller, sub, account_key, state, exp, now);
                    }
                }
                _ => {}
            }
        }
        if let Some(lock) = locked
            && !lock.caller.is_empty()
        {
            let exp = lock.block.claims().exp;
            let state = LoginState::Pending { exp };
            self.enter(
                lock.login,
                &lock.caller,
                sub,
                founding.account_key,
                state,
                exp,
                now,
            );
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one entry, said once")]
    fn enter(
        &self,
        id: LoginId,
        caller: &str,
        sub: Sub,
        account_key: [u8; 32],
        state: LoginState,
        exp: u64,
        now: Time,
    ) {
        let until = exp.saturating_add(GRACE_S).saturating_add(REMEMBERED_S);
        if until > now.seconds() {
            let entry = Entry {
                caller: caller.to_owned(),
                sub,
                account_key,
                state: watch::channel(state).0,
                began: None,
                not_cancelled: None,
                until,
            };
            lock(&self.entries).insert(id, entry);
        }
    }
}
