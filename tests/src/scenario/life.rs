//! What people do: customers, login services, desks, and whoever pulls plugs.

use warifu_consensus::{
    agree::{Begin, Event, Input, LoginId, Outcome, Record},
    block::Kind,
    body::{Body, Detail},
    encoding::{Hash, text_b64},
    party::Role,
};

use super::{
    invariants::Login,
    party::at,
    world::{Answer, Deed, Mood, World},
};

impl World {
    /// A login service asks for something of this kind; the login's name.
    pub fn begin(&mut self, account: usize, kind: Kind, lifetime_s: u64) -> LoginId {
        let login = LoginId(self.chance.bytes());
        let nonce: [u8; 16] = self.chance.bytes();
        let begin = Begin {
            login,
            caller: "shop".into(),
            aud: "https://shop.example".into(),
            nonce: text_b64(&nonce),
            kind,
            body: Body {
                channel: "web".into(),
                address: "192.0.2.7".into(),
                details: vec![Detail {
                    label: "amount".into(),
                    value: "12.00 EUR".into(),
                }],
                reference: (kind == Kind::Unfreeze).then(|| "desk 4711".to_owned()),
            },
            lifetime_s,
        };
        let asked = Login {
            begin: begin.clone(),
            number: None,
            ended: None,
        };
        self.invariants.views[account].logins.insert(login, asked);
        self.tell_story(format!("a{account} page begins {kind}"));
        self.feed(account, Role::Broker, Input::Begin(Box::new(begin)));
        login
    }

    pub(super) fn begin_something(&mut self, account: usize) {
        let (frozen, _) = self.invariants.views[account].status(Role::Broker);
        let kind = match self.chance.below(10) {
            0..=6 if frozen => Kind::Unfreeze,
            0..=6 => Kind::Login,
            7 => Kind::Approve,
            8 => Kind::Change,
            _ => Kind::Unfreeze,
        };
        let lifetime = if self.chance.one_in(8) { 15 } else { 90 };
        let login = self.begin(account, kind, lifetime);
        if self.chance.one_in(10) {
            let delay = self.chance.between(100, 20_000);
            self.after(delay, Deed::Cancel(account, login));
        }
    }

    /// The number that the page shows for a challenge.
    #[must_use]
    pub fn page_number(&self, account: usize, nonce: &str) -> Option<u8> {
        let logins = self.invariants.views[account].logins.values();
        logins
            .filter(|l| l.begin.nonce == nonce)
            .find_map(|l| l.number)
    }

    pub(super) fn react(&mut self, account: usize, role: Role, event: &Event) {
        if role != Role::Device {
            return;
        }
        let Event::Prompt(prompt) = event else { return };
        let (hash, nonce) = (prompt.hash, prompt.claims.nonce.clone());
        self.places[account].prompts.push((hash, nonce.clone()));
        let shown = self.page_number(account, &nonce);
        let willing = Answer::Number(shown.unwrap_or(42));
        let answer = match (self.mood, self.chance.below(100)) {
            (Mood::ByHand, _) => return,
            (Mood::Willing, _) | (Mood::Human, 0..=71) => willing,
            (Mood::Human, 72..=77) => Answer::Number(shown.unwrap_or(7).wrapping_add(1) % 100),
            (Mood::Human, 78..=84) => Answer::Deny(false),
            (Mood::Human, 85..=88) => Answer::Deny(true),
            (Mood::Human, 89..=91) => Answer::Freeze,
            (Mood::Human, _) => return,
        };
        let delay = self.chance.between(800, 15_000);
        self.after(delay, Deed::Answer(account, hash, answer));
        if self.mood == Mood::Human && self.chance.one_in(12) {
            // Second thoughts, while the assent is on its way.
            let again = delay + self.chance.between(5, 1_500);
            self.after(again, Deed::Answer(account, hash, Answer::Freeze));
        }
    }

    /// The customer answers a prompt.
    pub fn answer(&mut self, account: usize, hash: Hash, answer: Answer) {
        let device = Self::node_of(account, Role::Device);
        if !self.nodes[device].up {
            return;
        }
        self.tell_story(format!("a{account} customer answers {answer:?}"));
        let input = match answer {
            Answer::Number(number) => {
                self.invariants.approved(account, hash, number);
                Input::Approve { hash, number }
            }
            Answer::Deny(not_me) => Input::Deny { hash, not_me },
            Answer::Freeze => Input::FreezeByCustomer,
        };
        self.feed(account, Role::Device, input);
    }

    /// A party comes back from an older copy of its disk.
    pub(super) fn set_back(&mut self, role: Role) {
        let accounts = self.places.len();
        for account in 0..accounts {
            let node = Self::node_of(account, role);
            if self.nodes[node].up {
                self.stop(node, 1_000);
            }
            let records = &mut self.seat_mut(account, role).records;
            let lost = records.len() as u64;
            if lost < 2 {
                continue;
            }
            // As many founded worlds begin: the genesis stays.
            let genesis = records.iter().position(|r| matches!(r, Record::Sealed(_)));
            let keep = genesis.map_or(1, |g| g + 1);
            let most = (records.len() - keep.min(records.len())) as u64;
            let cut = self.chance.below(most.min(14) + 1) as usize;
            let records = &mut self.seat_mut(account, role).records;
            records.truncate(records.len() - cut);
            let blocks = self.seat(account, role).chain().count();
            self.tell_story(format!(
                "a{account} {role} is set back by {cut} records to {blocks} blocks"
            ));
            self.invariants.set_back(account, role, blocks);
        }
    }

    /// Everything works from here on: no loss, right clocks, willing customers.
    pub fn make_fair(&mut self) {
        self.weather = super::network::Weather::FAIR;
        self.crash_one_in = 0;
        self.mood = Mood::Willing;
        for node in 0..self.nodes.len() {
            self.nodes[node].skew_ms = 0;
            self.start(node);
        }
        for account in 0..self.places.len() {
            for role in Role::ALL {
                self.schedule_tick(account, role);
            }
        }
        for line in 0..self.lines.len() {
            self.after(100, Deed::Connect(line));
        }
        self.tell_story("fair weather begins".into());
    }

    /// Whether something of this kind is admitted within a few tries in fair weather.
    pub fn is_admitted(&mut self, account: usize, kind: Kind) -> bool {
        for _ in 0..4 {
            let login = self.begin(account, kind, 90);
            let end = self.now + 200_000;
            while self.now < end && self.invariants.violations.is_empty() {
                let next = self.now + 5_000;
                self.run_until(next);
                let view = &self.invariants.views[account];
                match view.logins.get(&login).map(|l| &l.ended) {
                    Some(Some(Outcome::Admitted(_))) => return true,
                    Some(None) => {}
                    Some(Some(_)) | None => break,
                }
            }
            self.run_for(30);
        }
        false
    }

    /// Liveness: the next block can be sealed, and an honest device's login is admitted.
    pub fn must_live(&mut self, account: usize, device_is_honest: bool) {
        if self.invariants.views[account].chains[at(Role::Broker)].is_empty() {
            return self.must_agree_on_death(account);
        }
        let (frozen, revoked) = self.invariants.views[account].status(Role::Broker);
        if !device_is_honest {
            if !revoked {
                self.must_freeze(account);
            }
            return;
        }
        if revoked {
            return;
        }
        if frozen && !self.is_admitted(account, Kind::Unfreeze) {
            self.invariants.failed(
                account,
                "frozen account cannot be unfrozen in fair weather".into(),
            );
            return;
        }
        if !self.is_admitted(account, Kind::Login) {
            self.invariants
                .failed(account, "no login is admitted in fair weather".into());
        }
    }

    fn must_freeze(&mut self, account: usize) {
        let height = self.invariants.views[account].chains[at(Role::TrustOperator)].len();
        self.feed(account, Role::Broker, Input::Freeze);
        self.run_for(400);
        let chain = &self.invariants.views[account].chains[at(Role::Broker)];
        let sealed = chain
            .iter()
            .skip(height)
            .any(|s| s.block.claims().kind == Kind::Freeze);
        if !sealed {
            self.invariants
                .failed(account, "no freeze is sealed in fair weather".into());
        }
    }

    /// A founding that came to nothing: whoever was founded hears that its genesis is dead.
    fn must_agree_on_death(&mut self, account: usize) {
        for role in Role::ALL {
            let founded = !self.seat(account, role).records.is_empty();
            let dead = self.invariants.views[account].dead[at(role)];
            let standing = !self.invariants.views[account].chains[at(role)].is_empty();
            if standing {
                let what = format!("the {role} has a genesis that the broker never got");
                self.invariants.failed(account, what);
            } else if founded && !dead {
                let what = format!("the {role} waits for a genesis that never comes");
                self.invariants.failed(account, what);
            }
            if self.seat(account, role).share.is_some() && (dead || !founded) {
                let what = format!("the {role} keeps the share of an account that was never born");
                self.invariants.failed(account, what);
            }
        }
    }
}
