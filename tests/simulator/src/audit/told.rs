//! What callers were told: an admitted login most of all.

use super::{Auditor, Hash, Party, text};

/// What a party told whoever watches it.
#[derive(Debug, Clone)]
pub enum Told {
    /// A login's page has its number.
    Began([u8; 16], u8),
    /// A login was not begun.
    NotBegun([u8; 16]),
    /// A login ended, admitted by this sealed block in its JSON form or not.
    Ended([u8; 16], Option<String>),
    /// A sealed block was stored.
    Sealed(Hash),
    /// The genesis is dead.
    Dead,
    /// A party is at fault, because of this.
    Fault(Party, String),
    /// Something else.
    Other,
}

impl Auditor {
    /// A party told something, at this time of its own clock in milliseconds.
    pub fn told(&mut self, account: usize, party: Party, told: &Told, now: u64) {
        match told {
            Told::Fault(culprit, what) if self.honest(party) => {
                self.count("fault");
                if self.honest(*culprit) {
                    self.failed(
                        account,
                        format!("the {party} blames the honest {culprit}: {what}"),
                    );
                }
            }
            Told::Sealed(hash) if self.honest(party) => {
                let last = self.accounts[account].chains[party.at()].last();
                if last.is_none_or(|b| b.hash != *hash) {
                    self.failed(
                        account,
                        format!("the {party} told a block before it was durable"),
                    );
                }
            }
            Told::Began(login, number) => {
                if let Some(asked) = self.accounts[account].asked.get_mut(login) {
                    asked.number = Some(*number);
                }
            }
            Told::NotBegun(login) => {
                self.accounts[account].asked.remove(login);
            }
            Told::Dead => self.accounts[account].dead[party.at()] = true,
            Told::Ended(login, by) if self.honest(party) => {
                self.ended(account, *login, by.as_deref(), now);
            }
            _ => {}
        }
    }

    fn ended(&mut self, account: usize, login: [u8; 16], by: Option<&str>, now: u64) {
        let admitted = by.is_some();
        let mut before = None;
        if let Some(asked) = self.accounts[account].asked.get_mut(&login) {
            before = asked.ended;
            asked.ended.get_or_insert(admitted);
        }
        // What was told lives in the broker's RAM: one that crashed may end a login a second time, and
        // finish one that it called refused while it held a lock. One that was set back may have
        // forgotten that it admitted somebody. Nobody else takes a word back.
        let excused = match before {
            None => true,
            Some(true) => {
                !admitted && !self.sound(Party::Broker) || admitted && self.broker_crashed
            }
            Some(false) => self.broker_crashed,
        };
        if !excused {
            let text = |is: bool| if is { "admitted" } else { "not admitted" };
            let (first, then) = (text(before == Some(true)), text(admitted));
            self.failed(
                account,
                format!("a login ended twice: {first}, then {then}"),
            );
        }
        if let Some(json) = by {
            self.told_admitted(account, login, json, now);
        }
    }

    fn told_admitted(&mut self, account: usize, login: [u8; 16], json: &str, now: u64) {
        self.count("admitted");
        let sealed = match self.sealed(json) {
            Ok(sealed) => sealed,
            Err(why) => return self.failed(account, format!("admitted without a block: {why}")),
        };
        self.check_signed(account, &sealed, "admitted block");
        let (block, hash) = (&sealed.block, sealed.block.hash);
        let seen = &self.accounts[account];
        let durable = |party| seen.holds(party, block.height, &hash);
        let restricted = seen.restricts.get(&block.height);
        let mut wrong = vec![
            (!block.is_admit(), "is of a kind that admits nobody"),
            (!durable(Party::Broker), "is not durable at the broker"),
            (
                self.honest(Party::TrustOperator) && !durable(Party::TrustOperator),
                "is not durable at the trust operator",
            ),
            (now >= block.exp * 1000, "was told after its exp"),
            (
                restricted.is_some_and(|r| r.supersedes == Some(hash)),
                "was told after the broker signed a superseding restrict block",
            ),
            (
                seen.freeze[1].is_some(),
                "was told while the broker holds a wish to freeze",
            ),
            // A copy set back to between lock and seal cannot know that it told this already.
            (
                seen.admitted.contains(&hash) && self.sound(Party::Broker),
                "was told twice",
            ),
        ];
        match seen.asked.get(&login) {
            // A genesis has no login service.
            None => wrong.push((
                block.kind != "genesis",
                "belongs to no login that was begun",
            )),
            Some(asked) => {
                let same = (&asked.aud, &asked.nonce, &asked.kind)
                    == (&block.aud, &block.nonce, &block.kind);
                wrong.push((!same, "is not the act that was begun"));
                let typed = seen.approved.get(&hash).zip(asked.number);
                let typed = typed.is_some_and(|(typed, number)| typed.contains(&number));
                wrong.push((
                    self.honest(Party::Device) && !typed,
                    "lacks the page's number",
                ));
            }
        }
        for (_, what) in wrong.into_iter().filter(|(is, _)| *is) {
            self.failed(
                account,
                format!("admitted block {} {what}", text::short(&hash)),
            );
        }
        if !self.accounts[account].admitted.contains(&hash) {
            self.accounts[account].admitted.push(hash);
        }
    }
}
