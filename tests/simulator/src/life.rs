//! What people do: customers, login services, desks.

use warifu_consensus::{
    agree::{Begin, Event, Input, LoginId, Outcome},
    block::Kind,
    body::{Body, Detail},
    encoding::{Hash, text_b64},
    party::Role,
};

use super::{
    audit::{Asked, text::Party},
    decisions::What,
    party::at,
    world::{Answer, Deed, Login, Mood, Trouble, World},
};

impl World {
    /// A login service asks for something of this kind; the login's name.
    pub fn begin(&mut self, account: usize, kind: Kind, lifetime_s: u64) -> LoginId {
        let mut chance = self.decisions.neutral(What::Content, account);
        let login = LoginId(chance.bytes());
        let nonce: [u8; 16] = chance.bytes();
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
        self.places[account].logins.insert(login, asked);
        let asked = Asked {
            aud: begin.aud.clone(),
            nonce: begin.nonce.clone(),
            kind: kind.name().into(),
            number: None,
            ended: None,
        };
        self.audit.asked(account, login.0, asked);
        self.tell_story(&format!("a{account} page begins {kind}"));
        self.feed(account, Role::Broker, Input::Begin(Box::new(begin)));
        login
    }

    pub(super) fn begin_something(&mut self, account: usize) {
        let (frozen, _) = self.audit.accounts[account].status(Party::Broker);
        let mut chance = self.decisions.neutral(What::Content, account);
        let kind = match chance.below(10) {
            0..=6 if frozen => Kind::Unfreeze,
            0..=6 => Kind::Login,
            7 => Kind::Approve,
            8 => Kind::Change,
            _ => Kind::Unfreeze,
        };
        let lifetime = if chance.one_in(8) { 15 } else { 90 };
        let login = self.begin(account, kind, lifetime);
        if let Some(mut chance) = self.decisions.fault(What::Customer, account, 10) {
            let delay = chance.between(100, 20_000);
            self.after(delay, Deed::Cancel(account, login));
        }
    }

    /// The number that the page shows for a challenge.
    #[must_use]
    pub fn page_number(&self, account: usize, nonce: &str) -> Option<u8> {
        let logins = self.places[account].logins.values();
        logins
            .filter(|l| l.begin.nonce == nonce)
            .find_map(|l| l.number)
    }

    pub(super) fn react(&mut self, account: usize, role: Role, event: &Event) {
        match event {
            Event::Began { login, number, .. } => {
                if let Some(login) = self.places[account].logins.get_mut(login) {
                    login.number = Some(*number);
                }
            }
            Event::NotBegun { login, .. } => {
                self.places[account].logins.remove(login);
            }
            Event::Ended { login, outcome } => {
                if let Some(login) = self.places[account].logins.get_mut(login) {
                    login.ended.get_or_insert_with(|| outcome.clone());
                }
            }
            Event::Prompt(prompt) if role == Role::Device => {
                let (hash, nonce) = (prompt.hash, prompt.claims.nonce.clone());
                self.places[account].prompts.push((hash, nonce.clone()));
                self.customer_reacts(account, hash, &nonce);
            }
            _ => {}
        }
    }

    fn customer_reacts(&mut self, account: usize, hash: Hash, nonce: &str) {
        if self.mood == Mood::ByHand {
            return;
        }
        let shown = self.page_number(account, nonce);
        let odd_one_in = if self.mood == Mood::Human { 4 } else { 0 };
        let mut again = None;
        let answer = match self.decisions.fault(What::Customer, account, odd_one_in) {
            None => Answer::Number(shown.unwrap_or(42)),
            Some(mut chance) => match chance.below(28) {
                0..=5 => Answer::Number(shown.unwrap_or(7).wrapping_add(1) % 100),
                6..=11 => Answer::Deny(false),
                12..=15 => Answer::Deny(true),
                16..=17 => Answer::Freeze,
                18..=20 => {
                    // Second thoughts, while the assent is on its way.
                    again = Some(chance.between(5, 1_500));
                    Answer::Number(shown.unwrap_or(42))
                }
                _ => return,
            },
        };
        let mut pause = self.decisions.neutral(What::Pause, account);
        let delay = pause.between(800, 15_000);
        self.after(delay, Deed::Answer(account, hash, answer));
        if let Some(later) = again {
            self.after(delay + later, Deed::Answer(account, hash, Answer::Freeze));
        }
    }

    /// The customer answers a prompt.
    pub fn answer(&mut self, account: usize, hash: Hash, answer: Answer) {
        let device = Self::node_of(account, Role::Device);
        if !self.nodes[device].up {
            return;
        }
        self.tell_story(&format!("a{account} customer answers {answer:?}"));
        let input = match answer {
            Answer::Number(number) => {
                self.audit.approved(account, hash.0, number);
                Input::Approve { hash, number }
            }
            Answer::Deny(not_me) => Input::Deny { hash, not_me },
            Answer::Freeze => Input::FreezeByCustomer,
        };
        self.feed(account, Role::Device, input);
    }

    /// Everything works from here on: no loss, right clocks, willing customers.
    pub fn make_fair(&mut self) {
        self.weather = super::network::Weather::FAIR;
        self.trouble = Trouble::default();
        self.mood = Mood::Willing;
        // A cheating device goes on: the operators must be able to live with it.
        self.hostile.retain(|cheat| cheat.role == Role::Device);
        for line in &mut self.lines {
            line.apart_until = 0;
        }
        for node in 0..self.nodes.len() {
            self.set_clock(node, 0);
            self.nodes[node].disk.room = super::disk::Room::Plenty;
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
        self.tell_story("fair weather begins");
    }

    /// Whether something of this kind is admitted within a few tries in fair weather.
    pub fn is_admitted(&mut self, account: usize, kind: Kind) -> bool {
        for _ in 0..4 {
            let login = self.begin(account, kind, 90);
            let end = self.now + 200_000;
            while self.now < end && self.audit.violations.is_empty() {
                let next = self.now + 5_000;
                self.run_until(next);
                let logins = &self.places[account].logins;
                match logins.get(&login).map(|l| &l.ended) {
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
        if self.audit.accounts[account].chains[at(Role::Broker)].is_empty() {
            return self.must_agree_on_death(account);
        }
        let (frozen, revoked) = self.audit.accounts[account].status(Party::Broker);
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
            self.audit.failed(
                account,
                "frozen account cannot be unfrozen in fair weather".into(),
            );
            return;
        }
        if !self.is_admitted(account, Kind::Login) {
            self.audit
                .failed(account, "no login is admitted in fair weather".into());
        }
    }

    fn must_freeze(&mut self, account: usize) {
        let height = self.audit.accounts[account].chains[at(Role::TrustOperator)].len();
        self.feed(account, Role::Broker, Input::Freeze);
        self.run_for(400);
        let chain = &self.audit.accounts[account].chains[at(Role::Broker)];
        let sealed = chain.iter().skip(height).any(|s| s.kind == "freeze");
        if !sealed {
            self.audit
                .failed(account, "no freeze is sealed in fair weather".into());
        }
    }

    /// A founding that came to nothing: whoever was founded hears that its genesis is dead.
    fn must_agree_on_death(&mut self, account: usize) {
        for role in Role::ALL {
            let founded = !self.seat(account, role).records.is_empty();
            let dead = self.audit.accounts[account].dead[at(role)];
            let standing = !self.audit.accounts[account].chains[at(role)].is_empty();
            if standing {
                let what = format!("the {role} has a genesis that the broker never got");
                self.audit.failed(account, what);
            } else if founded && !dead {
                let what = format!("the {role} waits for a genesis that never comes");
                self.audit.failed(account, what);
            }
            if self.seat(account, role).share.is_some() && (dead || !founded) {
                let what = format!("the {role} keeps the share of an account that was never born");
                self.audit.failed(account, what);
            }
        }
    }
}
