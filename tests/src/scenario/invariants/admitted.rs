//! What must be so when a broker tells the end of a login (protocol rule 6).

use super::*;

impl Invariants {
    pub(super) fn ended(&mut self, account: usize, id: LoginId, outcome: &Outcome, now: Time) {
        let before = match self.views[account].logins.get_mut(&id) {
            Some(login) => {
                let before = login.ended.clone();
                login.ended.get_or_insert_with(|| outcome.clone());
                before
            }
            None => None,
        };
        if before.is_some() && !self.broker_crashed {
            self.violated(
                account,
                format!("login {id:?} ended twice: {before:?}, then {outcome:?}"),
            );
        }
        if let Outcome::Admitted(sealed) = outcome {
            self.told_admitted(account, id, sealed, now);
        }
    }

    fn told_admitted(&mut self, account: usize, id: LoginId, sealed: &Sealed, now: Time) {
        self.count("admitted");
        let claims = sealed.block.claims().clone();
        let hash = sealed.block.hash();
        self.check_signed_by_all(account, sealed, "admitted block");
        let view = &self.views[account];
        let mut wrong = vec![];
        let stored = |role: Role| {
            let place = view.chains[at(role)].get(claims.height as usize);
            place.is_some_and(|s| s.block.hash() == hash)
        };
        if !stored(Role::Broker) {
            wrong.push("is not durable at the broker");
        }
        if self.honest(Role::TrustOperator) && !stored(Role::TrustOperator) {
            wrong.push("is not durable at the trust operator");
        }
        if now >= Time::from_seconds(claims.exp) {
            wrong.push("was told after its exp");
        }
        if view
            .restricts
            .get(&claims.height)
            .is_some_and(|r| r.claims().supersedes == Some(hash))
        {
            wrong.push("was told after the broker signed a superseding restrict block");
        }
        if view.freeze_above[1].is_some() {
            wrong.push("was told while the broker holds a wish to freeze");
        }
        // A copy set back to between lock and seal cannot know that it told this already.
        if view.admitted.contains(&hash) && self.sound(Role::Broker) {
            wrong.push("was told twice");
        }
        match view.logins.get(&id) {
            // A genesis has no login service.
            None if claims.kind == Kind::Genesis => {}
            None => wrong.push("belongs to no login that was begun"),
            Some(login) => {
                let b = &login.begin;
                if (&b.aud, &b.nonce, b.kind) != (&claims.aud, &claims.nonce, claims.kind) {
                    wrong.push("is not the act that was begun");
                }
                let typed = view.approved.get(&hash);
                if self.honest(Role::Device) && typed.is_none_or(|n| Some(*n) != login.number) {
                    wrong.push("was admitted without the page's number");
                }
            }
        }
        for what in wrong {
            self.violated(account, format!("admitted block {hash} {what}"));
        }
        if !self.views[account].admitted.contains(&hash) {
            self.views[account].admitted.push(hash);
        }
    }
}
