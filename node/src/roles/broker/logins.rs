//! The logins that callers may ask about: open ones, and those that ended a short while ago.
//!
//! RAM, and rebuilt from the journal at start: what was admitted stays admitted (protocol rule 6:
//! only while unexpired), what was locked goes on.

use std::{collections::HashMap, sync::Mutex};

use tokio::sync::{oneshot, watch};
use warifu_consensus::{
    agree::{LoginId, Outcome, Record, Refusal},
    party::Sub,
    time::{GRACE_S, MAX_LIFETIME_S, Time},
    vote::Verb,
};

use crate::{
    api::desk::{Began, DeskError, LoginState},
    observe::counts,
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

impl Entry {
    /// Takes an open one out of the count of those.
    fn count_closed(&self) {
        if self.began.is_none() && matches!(*self.state.borrow(), LoginState::Pending { .. }) {
            counts::open_proposals(-1.0);
        }
    }
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

    /// Every login without an end, with its account.
    pub(super) fn open_ones(&self) -> Vec<(LoginId, Sub)> {
        let entries = lock(&self.entries);
        let open = entries
            .iter()
            .filter(|(_, entry)| matches!(*entry.state.borrow(), LoginState::Pending { .. }));
        open.map(|(id, entry)| (*id, entry.sub)).collect()
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
                counts::open_proposals(1.0);
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
            counts::login_ended(&outcome);
            entry.count_closed();
            entry.state.send_replace(LoginState::Ended {
                outcome,
                account_key,
            });
            entry.until = now.seconds().saturating_add(REMEMBERED_S);
        }
        entries.retain(|_, e| {
            let stays = e.until > now.seconds();
            if !stays {
                e.count_closed();
            }
            stays
        });
    }

    /// Whether nobody can ask any more for a login that ended with, or before, a block that
    /// expired then. A block before it may have expired a lifetime later.
    pub(super) fn is_forgotten(exp: u64, now: Time) -> bool {
        let until = exp
            .saturating_add(MAX_LIFETIME_S)
            .saturating_add(GRACE_S)
            .saturating_add(REMEMBERED_S);
        until <= now.seconds()
    }

    /// Enters what an account's last records still say about recent logins: they are all, or
    /// reach back to a block that [is forgotten](Self::is_forgotten).
    pub(super) fn remember(&self, sub: Sub, account_key: [u8; 32], records: &[Record], now: Time) {
        let mut locked = None;
        let mut superseded = false;
        for record in records {
            match record {
                Record::BrokerLock(lock) => {
                    locked = Some(lock);
                    superseded = false;
                }
                // As the account decided when the block came: nobody hears "admitted" after a
                // restrict signature, a freeze that was asked for, a refusal of this very block, one
                // that was told, or a restore (protocol rules 6, 8, 10). Nothing is locked while one stands, so
                // only what came after the lock counts.
                Record::RestrictLock(_)
                | Record::FreezeWanted { .. }
                | Record::GivenUp { .. }
                | Record::Conflict(_)
                | Record::HeadConflict { .. }
                | Record::BrokerRestored { .. } => superseded = true,
                Record::Word(held) => {
                    superseded |= held.word.verb != Verb::Deny
                        || locked.is_some_and(|l| l.block.hash() == held.word.hash);
                }
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
            self.enter(lock.login, &lock.caller, sub, account_key, state, exp, now);
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
            if matches!(state, LoginState::Pending { .. }) {
                counts::open_proposals(1.0);
            }
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

#[cfg(test)]
mod tests {
    use warifu_consensus::{
        agree::{BrokerLock, HeldWord},
        block::{Block, Claims, Kind, Proof, Sealed, Votes},
        encoding::Hash,
        vote::{Vote, Word},
    };

    use super::*;

    const NOW: Time = Time(1_800_000_010_000);
    const LOGIN: LoginId = LoginId([7; 16]);

    fn block() -> Block {
        let claims = Claims {
            iss: "https://ledger.example".into(),
            sub: Sub([5; 16]),
            aud: "https://shop.example".into(),
            iat: NOW.seconds(),
            exp: NOW.seconds() + 90,
            nonce: "A".repeat(22),
            kind: Kind::Login,
            height: 1,
            prev: Hash([9; 32]),
            epoch: 0,
            body: Some(Hash([10; 32])),
            supersedes: None,
            genesis: None,
        };
        Block::new(claims, &[4; 32]).expect("a block")
    }

    /// What a caller hears after a restart when `between` came between the lock and the block.
    fn told_after(between: Option<Record>) -> LoginState {
        let lock = Record::BrokerLock(Box::new(BrokerLock {
            block: block(),
            body: None,
            login: LOGIN,
            caller: "shop".into(),
        }));
        let vote = Vote::Ed25519([0; 64]);
        let sealed = Record::Sealed(Box::new(Sealed {
            block: block(),
            proof: Proof::Account([0; 64]),
            votes: Votes::Admit {
                assent: vote,
                endorse: vote,
                seal: vote,
            },
        }));
        let mut records = vec![lock];
        records.extend(between);
        records.push(sealed);
        let logins = Logins::default();
        logins.remember(Sub([5; 16]), [1; 32], &records, NOW);
        let login = logins.find("shop", &LOGIN).expect("remembered");
        login.state.borrow().clone()
    }

    fn is_admitted(state: &LoginState) -> bool {
        matches!(
            state,
            LoginState::Ended {
                outcome: Outcome::Admitted(_),
                ..
            }
        )
    }

    #[test]
    fn a_restart_admits_nothing_that_a_freeze_came_before() {
        let word = |verb, hash| {
            Record::Word(Box::new(HeldWord {
                word: Word {
                    verb,
                    hash,
                    vote: Vote::Ed25519([0; 64]),
                },
                proposal: None,
                above: 0,
            }))
        };
        assert!(is_admitted(&told_after(None)));
        let another = word(Verb::Deny, Hash([11; 32]));
        assert!(is_admitted(&told_after(Some(another))));
        for between in [
            Record::FreezeWanted { above: 0 },
            Record::BrokerRestored { until: NOW },
            Record::GivenUp {
                hash: block().hash(),
            },
            Record::HeadConflict {
                head: warifu_consensus::chain::Head {
                    height: 1,
                    hash: Hash([9; 32]),
                },
                vote: Vote::Ed25519([0; 64]),
            },
            word(Verb::Freeze, Hash([9; 32])),
            word(Verb::Disown, Hash([12; 32])),
            word(Verb::Deny, block().hash()),
        ] {
            let state = told_after(Some(between.clone()));
            assert!(!is_admitted(&state), "{between:?}: {state:?}");
        }
    }
}
