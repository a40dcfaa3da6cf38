//! Completing restrict blocks: what may supersede a lock, and when (rule 4).

use super::*;
use crate::chain::Status;

impl TrustOperator {
    pub(super) fn restrict<E: Entropy>(
        &mut self,
        r: &Restriction<'_>,
        turn: &mut Turn<'_, E>,
    ) -> Result<(), String> {
        if self.answered(r.block, turn) {
            return Ok(());
        }
        let (hash, c) = (r.block.hash(), r.block.claims());
        if c.kind.class() != Class::Restrict {
            return Err(format!("kind `{}` is no restrict", c.kind.name()));
        }
        self.state.base.check(r.block)?;
        verify_strict(
            &self.state.base.parties().broker,
            r.block.input().as_bytes(),
            &r.signature.0,
        )
        .map_err(|e| format!("the broker's restrict proof: {e}"))?;
        let word = match r.word {
            None => None,
            Some(word) => {
                word.verify(self.state.base.sub(), &self.state.base.parties().device)
                    .map_err(|e| e.to_string())?;
                Some(*word)
            }
        };
        if let Some(wait_s) = self.too_early(r, turn.now)? {
            turn.send(Role::Broker, Agree::NotYet { hash, wait_s });
            return Ok(());
        }
        self.restrict_word_fits(r)?;
        if let Some(wait_s) = self.too_many(c.kind, turn.now) {
            turn.send(Role::Broker, Agree::NotYet { hash, wait_s });
            return Ok(());
        }
        let signature = self.key.sign(r.block.input().as_bytes());
        let proof = Proof::Operators {
            broker: r.signature.0,
            trust_operator: signature,
        };
        let sealed = Sealed {
            block: r.block.clone(),
            proof,
            votes: Votes::Restrict { word },
        };
        self.state.base.verify(&sealed)?;
        self.restricts.mark(turn.now);
        self.commit_sealed(sealed, turn);
        Ok(())
    }

    /// What one account's restrict blocks may fill of this party's disk. `Some` = seconds to wait. A
    /// freeze that takes something away never waits.
    fn too_many(&mut self, kind: Kind, now: Time) -> Option<u64> {
        let takes_away = kind == Kind::Freeze && self.state.base.status() == Some(Status::Active);
        if takes_away || !self.restricts.is_full(now) {
            return None;
        }
        let free = self.restricts.free_at()?;
        Some(free.0.saturating_sub(now.0).div_ceil(1000))
    }

    /// Rule 4: what lets a restrict block supersede the broker's lock, and rule 2's clock where it
    /// matters. `Some` = seconds to wait.
    pub(super) fn too_early(&self, r: &Restriction<'_>, now: Time) -> Result<Option<u64>, String> {
        let c = r.block.claims();
        // Rule 8: what stands behind a `restored` block rests on its time, so it is none to come.
        let ahead = Time::from_seconds(c.iat.saturating_sub(MAX_AHEAD_S)).0;
        if c.kind == Kind::Restored && now.0 < ahead {
            return Ok(Some(ahead.saturating_sub(now.0).div_ceil(1000)));
        }
        let Some(named) = c.supersedes else {
            return match r.superseded {
                None => Ok(None),
                Some(_) => Err("a superseded block is sent, the claim `supersedes` is null".into()),
            };
        };
        let Some(superseded) = r.superseded else {
            return Err(format!("superseded block {named} is missing"));
        };
        if superseded.hash() != named {
            return Err(format!(
                "superseded block is {}, expected {named}",
                superseded.hash()
            ));
        }
        let s = superseded.claims();
        if s.height != c.height || s.prev != c.prev || s.sub != c.sub {
            return Err("superseded block is no rival at this height".into());
        }
        let denied = r
            .word
            .is_some_and(|w| w.verb != Verb::Freeze && w.hash == named);
        if denied || c.kind == Kind::Freeze || now.is_past_grace(s.exp) {
            return Ok(None);
        }
        let free = Time::from_seconds(s.exp.saturating_add(crate::time::GRACE_S)).0;
        Ok(Some(free.saturating_sub(now.0).div_ceil(1000).max(1)))
    }

    /// A `deny` needs the device's word about that very proposal; a word that comes along must
    /// fit the kind.
    pub(super) fn restrict_word_fits(&self, r: &Restriction<'_>) -> Result<(), String> {
        let c = r.block.claims();
        match (c.kind, r.word, r.proposal) {
            (Kind::Deny, Some(word), Some(proposal)) => {
                let p = proposal.claims();
                let fits = word.verb != Verb::Freeze
                    && proposal.hash() == word.hash
                    && p.sub == c.sub
                    && p.height == c.height
                    && p.prev == c.prev
                    && p.aud == c.aud
                    && p.nonce == c.nonce;
                if fits {
                    Ok(())
                } else {
                    Err("deny names another proposal than its word".into())
                }
            }
            (Kind::Deny, _, _) => Err("deny without the device's word and its proposal".into()),
            (Kind::Freeze, Some(word), _) if word.verb == Verb::Deny => {
                Err("a deny does not ask for a freeze".into())
            }
            // Rule 10: an old word is not said again by the broker.
            (Kind::Freeze, Some(word), proposal) => {
                let standing = self.state.words.judge(&self.state.base, word, proposal)?;
                match standing {
                    Some(_) => Ok(()),
                    None => Err("the word was answered by an earlier freeze".into()),
                }
            }
            (_, None, _) => Ok(()),
            (kind, Some(_), _) => Err(format!("kind `{}` carries a word", kind.name())),
        }
    }
}
