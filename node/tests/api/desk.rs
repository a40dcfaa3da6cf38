//! A desk in memory over three real machines, steered by the test as the customer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use warifu_consensus::agree::{Begin, LoginId, Outcome, Refusal};
use warifu_consensus::block::{Kind, Sealed};
use warifu_consensus::chain::Status;
use warifu_consensus::enrol::{SixDigits, Ticket};
use warifu_consensus::log::LogProof;
use warifu_consensus::party::{Role, Sub};
use warifu_consensus::time::Time;
use warifu_consensus::wire::Reason;
use warifu_node::api::desk::{
    AccountState, Began, BeginRequest, Desk, DeskError, EnrolmentState, Entry, Frozen, LoginState,
};

use crate::trio::{Operators, Session, Trio};

pub(super) const NOW: Time = Time(1_790_000_000_000);
const LIFETIME_S: u64 = 90;

struct Open {
    caller: String,
    account: Sub,
    exp: u64,
    /// The number on the page, which the customer reads.
    number: u8,
}

struct Enrolling {
    caller: String,
    ticket: Ticket,
    session: Option<Session>,
    state: EnrolmentState,
}

pub(super) struct Room {
    pub(super) operators: Operators,
    pub(super) accounts: HashMap<Sub, Trio>,
    logins: HashMap<LoginId, Open>,
    enrolments: HashMap<[u8; 32], Enrolling>,
    next_login: u8,
    /// What the next call answers instead of asking the machines.
    pub(super) error: Option<DeskError>,
    /// What a broker that lies says about every login.
    pub(super) lie: Option<LoginState>,
    /// The trust operator is silent: freezes stay wishes.
    pub(super) silent: bool,
    /// What `begin` was given last: caller and relying party.
    pub(super) begun_for: Option<(String, String)>,
}

pub(super) struct TestDesk {
    room: Mutex<Room>,
    changes: watch::Sender<u64>,
}

impl TestDesk {
    pub(super) fn new(seed: u8, now: Time) -> TestDesk {
        TestDesk {
            room: Mutex::new(Room {
                operators: Operators::new(seed, now),
                accounts: HashMap::new(),
                logins: HashMap::new(),
                enrolments: HashMap::new(),
                next_login: 0,
                error: None,
                lie: None,
                silent: false,
                begun_for: None,
            }),
            changes: watch::Sender::new(0),
        }
    }

    /// Does something in the room, and wakes those who wait.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Room) -> T) -> T {
        let answer = act(&mut self.room.lock().unwrap());
        self.changes.send_modify(|version| *version += 1);
        answer
    }

    pub(super) fn found(&self) -> Sub {
        self.with(|room| {
            let trio = room.operators.found();
            let sub = trio.sub();
            room.accounts.insert(sub, trio);
            sub
        })
    }

    /// The customer types the number of this login into the device.
    pub(super) fn approve(&self, id: LoginId) {
        self.with(|room| {
            let (account, number) = (room.logins[&id].account, room.logins[&id].number);
            let trio = room.accounts.get_mut(&account).unwrap();
            trio.approve(&mut room.operators, number);
        });
    }

    pub(super) fn deny(&self, account: Sub) {
        self.with(|room| {
            let trio = room.accounts.get_mut(&account).unwrap();
            trio.deny(&mut room.operators);
        });
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.with(|room| {
            room.operators.now = room.operators.now.checked_add_seconds(seconds).unwrap();
            for trio in room.accounts.values_mut() {
                trio.tick(&mut room.operators);
            }
        });
    }

    /// A device scans the ticket of a session; its digits.
    pub(super) fn scan(&self, session: [u8; 32]) -> SixDigits {
        self.with(|room| {
            let enrolling = room.enrolments.get_mut(&session).unwrap();
            let scanned = Session::scan(&mut room.operators, &enrolling.ticket);
            let digits = scanned.digits.unwrap();
            enrolling.session = Some(scanned);
            enrolling.state = EnrolmentState::Digits;
            digits
        })
    }

    fn failing(&self) -> Result<(), DeskError> {
        self.room.lock().unwrap().error.take().map_or(Ok(()), Err)
    }

    /// Looks again at each change until it is worth an answer, at most for `wait`.
    async fn look<T>(
        &self,
        wait: Duration,
        look: impl Fn(&Room) -> Result<T, DeskError>,
        is_worth: impl Fn(&T) -> bool,
    ) -> Result<T, DeskError> {
        let until = tokio::time::Instant::now() + wait;
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let seen = look(&self.room.lock().unwrap())?;
            if is_worth(&seen)
                || tokio::time::timeout_at(until, changes.changed())
                    .await
                    .is_err()
            {
                return Ok(seen);
            }
        }
    }
}

impl Room {
    fn login(&self, caller: &str, id: LoginId) -> Result<LoginState, DeskError> {
        let open = self
            .logins
            .get(&id)
            .filter(|open| open.caller == caller)
            .ok_or(DeskError::UnknownLogin)?;
        if let Some(lie) = &self.lie {
            return Ok(lie.clone());
        }
        let trio = &self.accounts[&open.account];
        Ok(match trio.ended.get(&id) {
            Some(outcome) => LoginState::Ended {
                outcome: outcome.clone(),
                account_key: trio.account_key(),
            },
            None => LoginState::Pending { exp: open.exp },
        })
    }

    fn enrolment(&mut self, caller: &str, session: [u8; 32]) -> Result<&mut Enrolling, DeskError> {
        self.enrolments
            .get_mut(&session)
            .filter(|enrolling| enrolling.caller == caller)
            .ok_or(DeskError::UnknownTicket)
    }

    fn trio(&mut self, account: Sub) -> Result<(&mut Trio, &mut Operators), DeskError> {
        let trio = self.accounts.get_mut(&account);
        trio.map(|trio| (trio, &mut self.operators))
            .ok_or(DeskError::UnknownAccount { account })
    }
}

impl Desk for TestDesk {
    fn now(&self) -> Time {
        self.room.lock().unwrap().operators.now
    }

    async fn begin(
        &self,
        caller: &str,
        aud: &str,
        account: Sub,
        request: BeginRequest,
    ) -> Result<Began, DeskError> {
        self.failing()?;
        self.with(|room| {
            room.begun_for = Some((caller.to_owned(), aud.to_owned()));
            room.next_login += 1;
            let id = LoginId([room.next_login; 16]);
            let begin = Begin {
                login: id,
                caller: caller.to_owned(),
                aud: aud.to_owned(),
                nonce: request.nonce,
                kind: request.kind,
                body: request.body,
                lifetime_s: LIFETIME_S,
            };
            let exp = room.operators.now.seconds() + LIFETIME_S;
            let (trio, operators) = room.trio(account)?;
            let number = trio.begin(operators, begin)?;
            let caller = caller.to_owned();
            room.logins.insert(
                id,
                Open {
                    caller,
                    account,
                    exp,
                    number,
                },
            );
            Ok(Began { id, number, exp })
        })
    }

    async fn login(
        &self,
        caller: &str,
        id: LoginId,
        wait: Duration,
    ) -> Result<LoginState, DeskError> {
        self.failing()?;
        let ended = |state: &LoginState| matches!(state, LoginState::Ended { .. });
        self.look(wait, |room| room.login(caller, id), ended).await
    }

    async fn proof(&self, sealed: &Sealed, _: Duration) -> Result<Option<LogProof>, DeskError> {
        self.failing()?;
        Ok(Some(crate::log::proof_of(&sealed.block.hash())))
    }

    async fn cancel(&self, caller: &str, id: LoginId) -> Result<(), DeskError> {
        self.failing()?;
        self.with(|room| {
            if let LoginState::Ended { .. } = room.login(caller, id)? {
                return Err(DeskError::Refused(Refusal::Locked));
            }
            let account = room.logins[&id].account;
            let (trio, operators) = room.trio(account)?;
            Ok(trio.cancel(operators, id)?)
        })
    }

    async fn open_ticket(&self, caller: &str) -> Result<Ticket, DeskError> {
        self.failing()?;
        self.with(|room| {
            let ticket = room.operators.ticket();
            let enrolling = Enrolling {
                caller: caller.to_owned(),
                ticket: ticket.clone(),
                session: None,
                state: EnrolmentState::Waiting,
            };
            room.enrolments.insert(ticket.session, enrolling);
            Ok(ticket)
        })
    }

    async fn enrolment(
        &self,
        caller: &str,
        session: [u8; 32],
        wait: Duration,
    ) -> Result<EnrolmentState, DeskError> {
        self.failing()?;
        let look = |room: &Room| {
            room.enrolments
                .get(&session)
                .filter(|enrolling| enrolling.caller == caller)
                .map(|enrolling| enrolling.state.clone())
                .ok_or(DeskError::UnknownTicket)
        };
        self.look(wait, look, |state| *state != EnrolmentState::Waiting)
            .await
    }

    async fn confirm(
        &self,
        caller: &str,
        session: [u8; 32],
        digits: SixDigits,
    ) -> Result<EnrolmentState, DeskError> {
        self.failing()?;
        self.with(|room| {
            let enrolling = room.enrolment(caller, session)?;
            if enrolling.state != EnrolmentState::Digits {
                return Err(DeskError::NoDigits);
            }
            let mut scanned = enrolling.session.take().unwrap();
            let confirmed = scanned.confirm(&mut room.operators, digits);
            let enrolling = room.enrolment(caller, session)?;
            let trio = match confirmed {
                Ok(trio) => trio,
                Err(left) => {
                    enrolling.session = Some(scanned);
                    return Err(DeskError::WrongDigits { left });
                }
            };
            enrolling.state = EnrolmentState::Done {
                account: trio.sub(),
                account_key: trio.account_key(),
                genesis: Box::new(trio.chain()[0].clone()),
            };
            let state = enrolling.state.clone();
            room.accounts.insert(trio.sub(), trio);
            Ok(state)
        })
    }

    async fn account(&self, account: Sub) -> Result<AccountState, DeskError> {
        self.failing()?;
        self.with(|room| {
            let base = room.trio(account)?.0.broker().base().clone();
            Ok(AccountState {
                status: base.status().unwrap(),
                head: base.head().unwrap(),
                account_key: *base.account_key(),
            })
        })
    }

    async fn history(
        &self,
        account: Sub,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Entry>, DeskError> {
        self.failing()?;
        self.with(|room| {
            let (trio, _) = room.trio(account)?;
            let blocks = trio.chain().iter().rev();
            let below = blocks
                .filter(|sealed| before.is_none_or(|before| sealed.block.claims().height < before));
            Ok(below
                .take(usize::try_from(limit).unwrap())
                .map(|sealed| Entry {
                    body: trio.body_of(&sealed.block.hash()),
                    sealed: sealed.clone(),
                })
                .collect())
        })
    }

    async fn freeze(&self, account: Sub) -> Result<Frozen, DeskError> {
        self.failing()?;
        self.with(|room| {
            let silent = room.silent;
            let (trio, operators) = room.trio(account)?;
            if silent {
                trio.cut_trust_operator(operators);
            }
            trio.freeze(operators);
            let last = trio.chain().last().unwrap();
            Ok(if last.block.claims().kind == Kind::Freeze {
                assert_eq!(trio.broker().base().status(), Some(Status::Frozen));
                Frozen::Sealed(Box::new(last.clone()))
            } else {
                Frozen::Wanted
            })
        })
    }

    async fn erase(&self, account: Sub) -> Result<bool, DeskError> {
        self.account(account).await?;
        Err(DeskError::NotFrozen("account is active".to_owned()))
    }

    async fn ready(&self) -> Result<(), DeskError> {
        self.failing()
    }
}

/// What a broker that admits on its own would answer.
pub(super) fn admitted(
    sealed: warifu_consensus::block::Sealed,
    account_key: [u8; 32],
) -> LoginState {
    LoginState::Ended {
        outcome: Outcome::Admitted(Box::new(sealed)),
        account_key,
    }
}

pub(super) fn refused(by: Role, reason: Reason) -> LoginState {
    LoginState::Ended {
        outcome: Outcome::Refused { by, reason },
        account_key: [0; 32],
    }
}
