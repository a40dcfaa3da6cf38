//! What sealed blocks must be: signed by all, alone at their height, allowed by what came before.

use super::*;

impl Invariants {
    pub(super) fn stored_sealed(&mut self, account: usize, role: Role, sealed: &Sealed) {
        self.count("sealed block");
        let claims = sealed.block.claims();
        let (height, kind, hash) = (claims.height, claims.kind, sealed.block.hash());
        let (frozen, revoked) = self.views[account].status(role);
        self.views[account].chains[at(role)].push(sealed.clone());
        if !self.honest(role) {
            return;
        }
        let length = self.views[account].chains[at(role)].len() as u64;
        if height + 1 != length {
            let what = format!("the {role} stored height {height} as block number {length}");
            self.violated(account, what);
        }
        self.witness(account, &sealed.block);
        let admit = kind.class() == Class::Admit && kind != Kind::Genesis;
        if admit && (revoked || frozen != (kind == Kind::Unfreeze)) {
            let what = format!(
                "the {role} took `{kind}` into an account frozen={frozen} revoked={revoked}"
            );
            self.violated(account, what);
        }
        if kind.class() == Class::Admit {
            self.check_signed_by_all(account, sealed, "stored block");
        }
        let slot = at(role);
        let pending = self.views[account].freeze_above[slot];
        if role == Role::TrustOperator && self.sound(role) {
            if admit && let Some(above) = pending {
                let what = format!(
                    "`{kind}` {hash} was sealed at {height} after a freeze above {above} was received"
                );
                self.violated(account, what);
            }
            if admit && self.views[account].denied[slot].contains(&hash) {
                self.violated(account, format!("denied block {hash} was sealed"));
            }
        }
        if (kind == Kind::Freeze && pending.is_some_and(|above| height > above))
            || kind == Kind::Revoke
        {
            self.views[account].freeze_above[slot] = None;
        }
        // Rule 3: the trust operator's chain is never behind the broker's.
        if role == Role::Broker && self.sound(Role::TrustOperator) {
            let theirs = self.views[account].chains[2].get(height as usize);
            if theirs.is_none_or(|s| s.block.hash() != hash) {
                let what = format!("broker holds block {height}, the trust operator does not");
                self.violated(account, what);
            }
        }
    }

    /// Rule 4: a lock is superseded by the device's own refusal, a freeze, or after exp + 30 s.
    pub(super) fn supersedes_in_time(&mut self, account: usize, sealed: &Sealed, now: Time) {
        let claims = sealed.block.claims();
        let Some(named) = claims.supersedes else {
            return;
        };
        self.count("superseding");
        let refused = match &sealed.votes {
            Votes::Restrict { word } => {
                word.is_some_and(|w| w.verb != Verb::Freeze && w.hash == named)
            }
            _ => false,
        };
        let exp = self.views[account].exps.get(&named);
        let over = exp.is_some_and(|exp| now.is_past_grace(*exp));
        if !refused && claims.kind != Kind::Freeze && !over {
            let what = format!("`{}` superseded {named} before its time", claims.kind);
            self.violated(account, what);
        }
    }

    /// A sealed block reached an honest party.
    fn witness(&mut self, account: usize, block: &Block) {
        let height = block.claims().height;
        let rivals = self.views[account].sealed.entry(height).or_default();
        if rivals.iter().all(|b| b.hash() != block.hash()) {
            rivals.push(block.clone());
        }
        if rivals.len() < 2 {
            return;
        }
        let rivals = rivals.clone();
        if self.sound(Role::TrustOperator) {
            self.violated(account, format!("two sealed blocks at height {height}"));
            return;
        }
        // Without an honest trust operator: at most an admit and the restrict that supersedes it.
        let pair = rivals.len() == 2
            && rivals.iter().any(|r| {
                r.claims().supersedes.is_some_and(|named| {
                    rivals
                        .iter()
                        .any(|a| a.hash() == named && a.claims().kind.class() == Class::Admit)
                })
            });
        if !pair {
            let what = format!("rival sealed blocks at height {height} that one cheat cannot make");
            self.violated(account, what);
        }
    }

    /// The group signature and the three votes, checked here against the founding's keys, and the
    /// durable traces of each honest party.
    pub(super) fn check_signed_by_all(&mut self, account: usize, sealed: &Sealed, what: &str) {
        let Some((parties, account_key)) = self.views[account].parties else {
            self.violated(account, format!("{what} of an account that nobody founded"));
            return;
        };
        let hash = sealed.block.hash();
        let message = sealed.block.input().as_bytes();
        let proven = matches!(&sealed.proof, Proof::Account(s) if verify_strict(&account_key, message, s).is_ok());
        if !proven {
            self.violated(
                account,
                format!("{what} {hash} is not signed by the account key"),
            );
        }
        let (Votes::Admit {
            assent,
            endorse,
            seal,
        }
        | Votes::Genesis {
            assent,
            endorse,
            seal,
            ..
        }) = &sealed.votes
        else {
            self.violated(account, format!("{what} {hash} lacks the three votes"));
            return;
        };
        let votes: [(&Vote, Verb, Role); 3] = [
            (assent, Verb::Assent, Role::Device),
            (endorse, Verb::Endorse, Role::Broker),
            (seal, Verb::Seal, Role::TrustOperator),
        ];
        for (vote, verb, role) in votes {
            let statement = Statement {
                verb,
                role,
                sub: sealed.block.claims().sub,
                hash,
            };
            if vote.verify(&statement, parties.key(role)).is_err() {
                self.violated(account, format!("{what} {hash} lacks the {role}'s vote"));
            }
        }
        for role in [Role::Device, Role::Broker] {
            if self.honest(role) && !self.views[account].ever_locked[at(role)].contains(&hash) {
                self.violated(
                    account,
                    format!("{what} {hash} was never locked by the {role}"),
                );
            }
        }
        let view = &self.views[account];
        let kind = sealed.block.claims().kind;
        if self.honest(Role::Device) && kind != Kind::Genesis && !view.approved.contains_key(&hash)
        {
            self.violated(
                account,
                format!("{what} {hash} was never approved by the customer"),
            );
        }
    }

    /// At rest: chains verify, are prefixes of one another, and hold all that was told.
    pub fn at_rest(&mut self) {
        for account in 0..self.views.len() {
            let honest: Vec<Role> = Role::ALL.into_iter().filter(|r| self.honest(*r)).collect();
            for role in &honest {
                let chain = self.views[account].chains[at(*role)].clone();
                if chain.is_empty() {
                    continue;
                }
                let verified =
                    warifu_consensus::chain::verify_chain(&operators().ledger, chain.iter());
                if let Err(error) = verified {
                    self.violated(
                        account,
                        format!("the {role}'s chain does not verify: {error}"),
                    );
                }
            }
            self.prefixes(account, &honest);
            for hash in self.views[account].admitted.clone() {
                for role in [Role::Broker, Role::TrustOperator] {
                    if !self.honest(role) {
                        continue;
                    }
                    let chain = &self.views[account].chains[at(role)];
                    let times = chain.iter().filter(|s| s.block.hash() == hash).count();
                    if times != 1 {
                        let what =
                            format!("admitted block {hash} is {times} times in the {role}'s chain");
                        self.violated(account, what);
                    }
                }
            }
        }
    }

    fn prefixes(&mut self, account: usize, honest: &[Role]) {
        let forgiven = self.hostile == Some(Role::TrustOperator);
        for pair in honest.windows(2) {
            let (one, two) = (at(pair[0]), at(pair[1]));
            let view = &self.views[account];
            let apart = view.chains[one]
                .iter()
                .zip(&view.chains[two])
                .position(|(a, b)| a.block.hash() != b.block.hash());
            // A cheating trust operator may show the two halves of a superseded pair, see `witness`.
            if let Some(height) = apart.filter(|_| !forgiven) {
                let what = format!(
                    "chains of the {} and the {} part at {height}",
                    pair[0], pair[1]
                );
                self.violated(account, what);
            }
        }
    }
}
