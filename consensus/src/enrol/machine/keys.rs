//! The key generation inside a session: session keys, two rounds, the transcript and its votes.

use super::*;

/// What all three vote for (vote 9).
pub(in crate::enrol) struct Transcript<'a> {
    pub(in crate::enrol) session: &'a [u8; 32],
    pub(in crate::enrol) iss: &'a str,
    pub(in crate::enrol) parties: &'a Parties,
    /// In role order.
    pub(in crate::enrol) round1: [&'a [u8; Round1Package::LENGTH]; 3],
    pub(in crate::enrol) group: &'a [u8; 32],
    pub(in crate::enrol) verifying_shares: &'a [[u8; 32]; 3],
    pub(in crate::enrol) content_key: &'a Hash,
}

impl Transcript<'_> {
    pub(in crate::enrol) fn hash(&self) -> Hash {
        let mut fields = Fields::new(Context::Transcript)
            .fixed(self.session)
            .var(self.iss.as_bytes())
            .fixed(&self.parties.device)
            .fixed(&self.parties.broker)
            .fixed(&self.parties.trust_operator);
        for package in self.round1 {
            fields = fields.fixed(package);
        }
        fields = fields.fixed(self.group);
        for verifying_share in self.verifying_shares {
            fields = fields.fixed(verifying_share);
        }
        fields.fixed(&self.content_key.0).finish()
    }
}

impl Enrolment {
    pub(super) fn take_key(&mut self, role: Role, key: &SessionKey) -> Result<(), Trouble> {
        let parties = self.parties();
        key.vote
            .verify(
                &session_key_statement(&self.session, role, &key.public),
                parties.key(role),
            )
            .map_err(|e| Trouble::by(role, e.to_string()))?;
        put(&mut self.keys, role, key.public);
        Ok(())
    }

    pub(super) fn start_round1<E: Entropy>(&mut self, entropy: &mut E) {
        let (state, package) = Round1::start(self.role, entropy);
        self.stage = Stage::One(state);
        put(&mut self.round1, self.role, package.clone());
        self.own_round1 = Some(package);
    }

    pub(super) fn send_round1(&self, to: Role, out: &mut Out) {
        if let Some(package) = &self.own_round1 {
            let content_key = if self.role == Role::Device {
                self.content_key_hash
            } else {
                None
            };
            out.push(send(
                to,
                EnrolMessage::Round1 {
                    session: self.session,
                    package: package.as_bytes().to_vec(),
                    content_key,
                },
            ));
        }
    }

    pub(super) fn take_round1(
        &mut self,
        from: Role,
        package: &[u8],
        content_key: Option<Hash>,
        out: &mut Out,
    ) -> Result<(), Trouble> {
        let decoded = Round1Package::decode(package).map_err(|e| DkgFault::encoding(from, e))?;
        if let Some(known) = slot(&self.round1, from) {
            return if *known == decoded {
                Ok(())
            } else {
                Err(Trouble::by(
                    from,
                    "two different round 1 packages in one session",
                ))
            };
        }
        match (from, content_key) {
            (Role::Device, Some(hash)) => self.content_key_hash = Some(hash),
            (Role::Device, None) => {
                return Err(Trouble::by(from, "round 1 without the content key's hash"));
            }
            (_, None) => {}
            (_, Some(_)) => {
                return Err(Trouble::by(
                    from,
                    "content key hash from a party that makes none",
                ));
            }
        }
        put(&mut self.round1, from, decoded);
        // The trust operator can't dial a device: it answers on the device's line.
        if self.role == Role::TrustOperator && from == Role::Device {
            self.send_round1(Role::Device, out);
        }
        Ok(())
    }

    pub(super) fn finish_round1<E: Entropy>(
        &mut self,
        entropy: &mut E,
        out: &mut Out,
    ) -> Result<(), Trouble> {
        let [one, two] = self.others();
        let packages = (
            slot(&self.round1, one).cloned(),
            slot(&self.round1, two).cloned(),
        );
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let (Stage::One(state), (Some(first), Some(second))) = (stage, packages) else {
            return Ok(());
        };
        let (state, secrets) = state.receive([(one, first), (two, second)])?;
        self.stage = Stage::Two(state);
        for (to, secret) in secrets {
            // As long as it may become: growing would leave the secret behind in what is given back.
            let mut plaintext = zeroize::Zeroizing::new(Vec::with_capacity(64));
            plaintext.extend_from_slice(secret.as_bytes());
            if self.role == Role::Device
                && to == Role::Broker
                && let Some(content_key) = &self.content_key
            {
                plaintext.extend_from_slice(content_key.expose());
            }
            let Some(key) = slot(&self.keys, to) else {
                return Err(Trouble::by(to, "no session key"));
            };
            let sealed = self
                .secret
                .seal(
                    key,
                    ROUND2_INFO,
                    &self.round2_aad(self.role, to),
                    &plaintext,
                    entropy,
                )
                .map_err(|e| Trouble::by(to, e.to_string()))?;
            out.push(send(
                to,
                EnrolMessage::Round2 {
                    session: self.session,
                    sealed,
                },
            ));
        }
        Ok(())
    }

    pub(super) fn round2_aad(&self, from: Role, to: Role) -> Vec<u8> {
        let mut aad = self.session.to_vec();
        aad.extend([from.number(), to.number()]);
        aad
    }

    pub(super) fn open_round2(&mut self, from: Role) -> Result<Round2Secret, Trouble> {
        let (Some(sealed), Some(key)) = (slot(&self.round2, from), slot(&self.keys, from)) else {
            return Err(Trouble::by(from, "no round 2 package"));
        };
        let opened = self
            .secret
            .open(key, ROUND2_INFO, &self.round2_aad(from, self.role), sealed)
            .map_err(|e| Trouble::by(from, e.to_string()))?;
        let with_key = self.role == Role::Broker && from == Role::Device;
        let expected = if with_key { 64 } else { 32 };
        if opened.len() != expected {
            let found = opened.len();
            return Err(Trouble::by(
                from,
                format!("round 2 has {found} bytes, expected {expected}"),
            ));
        }
        let (secret, rest) = opened.split_at(32);
        if let Ok(bytes) = <[u8; 32]>::try_from(rest) {
            let content_key = ContentKey::from_bytes(bytes);
            if Some(content_key.hash()) != self.content_key_hash {
                return Err(Trouble::by(from, "content key does not fit its hash"));
            }
            self.content_key = Some(content_key);
        }
        Round2Secret::decode(secret).map_err(|e| DkgFault::encoding(from, e).into())
    }

    pub(super) fn finish_round2(&mut self, out: &mut Out) -> Result<(), Trouble> {
        let [one, two] = self.others();
        let first = self.open_round2(one)?;
        let second = self.open_round2(two)?;
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Two(state) = stage else {
            return Ok(());
        };
        let share = state.receive([(one, first), (two, second)])?;
        let founding = self.founding(&share)?;
        let digits = SixDigits::of_transcript(&founding.transcript);
        self.kept = Some(founding.sub);
        out.push(EnrolOutput::KeepShare {
            sub: founding.sub,
            share: Box::new(share),
            content_key: self.content_key.clone(),
        });
        if self.role != Role::Broker {
            let vote = self.vote_for(&founding);
            put(&mut self.votes, self.role, vote);
            out.push(send(
                Role::Broker,
                EnrolMessage::Voted {
                    session: self.session,
                    vote,
                },
            ));
        }
        if self.role == Role::Device {
            out.push(EnrolOutput::Digits(digits));
        }
        self.stage = Stage::Transcript(Box::new(founding), digits);
        Ok(())
    }

    pub(super) fn founding(&self, share: &KeyShare) -> Result<Founding, Trouble> {
        let (Some(content_key), [Some(device), Some(broker), Some(trust_operator)]) =
            (self.content_key_hash, &self.round1)
        else {
            return Err(Trouble {
                culprit: None,
                reason: "transcript is incomplete".into(),
            });
        };
        let (parties, keys) = (self.parties(), share.public_keys());
        let transcript = Transcript {
            session: &self.session,
            iss: &self.ledger.iss,
            parties: &parties,
            round1: [device, broker, trust_operator].map(Round1Package::as_bytes),
            group: keys.group(),
            verifying_shares: keys.verifying_shares(),
            content_key: &content_key,
        }
        .hash();
        let last_genesis = self
            .exp
            .saturating_add(MAX_LIFETIME_S)
            .saturating_add(GRACE_S);
        // Replaced by all three before the founding leaves this machine.
        let own = self.vote_of(Sub::of_transcript(&transcript), transcript);
        Ok(Founding {
            ledger: self.ledger.clone(),
            sub: Sub::of_transcript(&transcript),
            account_key: *keys.group(),
            parties,
            transcript,
            votes: [own; 3],
            session: self.session,
            deadline: Time::from_seconds(last_genesis),
        })
    }

    pub(super) fn vote_of(&self, sub: Sub, transcript: Hash) -> Vote {
        let statement = Statement {
            verb: Verb::Transcript,
            role: self.role,
            sub,
            hash: transcript,
        };
        Vote::sign(&self.key, &statement)
    }

    pub(super) fn vote_for(&self, founding: &Founding) -> Vote {
        self.vote_of(founding.sub, founding.transcript)
    }

    pub(super) fn check_votes(&mut self, out: &mut Out) -> Result<(), Trouble> {
        let Stage::Transcript(founding, _) = &self.stage else {
            return Ok(());
        };
        let others = [Role::Device, Role::TrustOperator];
        for role in others {
            let Some(vote) = slot(&self.votes, role) else {
                return Ok(());
            };
            let statement = Statement {
                verb: Verb::Transcript,
                role,
                sub: founding.sub,
                hash: founding.transcript,
            };
            // Nobody is named: whoever told the two others different things made this, and a vote for
            // another transcript looks like one that is none.
            vote.verify(&statement, self.parties().key(role))
                .map_err(|e| Trouble {
                    culprit: None,
                    reason: format!("the {role} did not vote for this transcript: {e}"),
                })?;
        }
        self.ready = true;
        out.push(EnrolOutput::Ready);
        Ok(())
    }

    pub(super) fn found(&mut self, votes: [Vote; 3], out: &mut Out) -> Result<(), Trouble> {
        let Stage::Transcript(founding, _) = &self.stage else {
            return Err(Trouble::by(Role::Broker, "votes before the transcript"));
        };
        let mut founding = founding.clone();
        founding.votes = votes;
        founding
            .check()
            .map_err(|reason| Trouble::by(Role::Broker, reason))?;
        self.stage = Stage::Over;
        self.kept = None;
        out.push(EnrolOutput::Founded(founding));
        Ok(())
    }
}
