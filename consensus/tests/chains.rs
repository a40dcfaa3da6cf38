//! Which block may follow which, and whose agreement it must carry.

use warifu_consensus::block::{Class, Kind, Proof, Sealed, Votes};
use warifu_consensus::chain::{
    Account, ChainFault, ProofError, Status, verify_chain, verify_proof,
};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Role, Sub};
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::time::{Time, TimeError, check_times};
use warifu_consensus::vote::{BadVote, Verb, Vote, Word};

use crate::support::{House, IAT, TRANSCRIPT, house};

fn account_in(house: &House, status: Status) -> Account {
    let mut account = house.account();
    match status {
        Status::Active => {}
        Status::Frozen => account.next(&house.next(&account, Kind::Freeze)).unwrap(),
        Status::Revoked => account.next(&house.next(&account, Kind::Revoke)).unwrap(),
    }
    assert_eq!(account.status(), status);
    account
}

#[test]
fn every_kind_in_every_status() {
    use Status::{Active, Frozen, Revoked};
    let table = [
        (Kind::Genesis, [None, None, None]),
        (Kind::Login, [Some(Active), None, None]),
        (Kind::Approve, [Some(Active), None, None]),
        (Kind::Change, [Some(Active), None, None]),
        (Kind::Unfreeze, [None, Some(Active), None]),
        (Kind::Deny, [Some(Active), Some(Frozen), Some(Revoked)]),
        (Kind::Refuse, [Some(Active), Some(Frozen), Some(Revoked)]),
        (Kind::Expire, [Some(Active), Some(Frozen), Some(Revoked)]),
        (Kind::Restored, [Some(Active), Some(Frozen), Some(Revoked)]),
        (Kind::Freeze, [Some(Frozen), Some(Frozen), None]),
        (Kind::Revoke, [Some(Revoked), Some(Revoked), None]),
    ];
    let house = house();
    assert_eq!(table.map(|(kind, _)| kind), Kind::ALL);
    for (kind, outcomes) in table {
        for (status, expected) in [Active, Frozen, Revoked].into_iter().zip(outcomes) {
            assert_eq!(status.after(kind), expected, "{kind} in {status}");
            if kind == Kind::Genesis {
                continue;
            }
            let mut account = account_in(&house, status);
            let before = account.clone();
            let sealed = house.next(&account, kind);
            match (account.next(&sealed), expected) {
                (Ok(()), Some(after)) => {
                    assert_eq!(account.status(), after, "{kind} in {status}");
                    assert_eq!(account.head().hash, sealed.block.hash());
                    assert_eq!(account.head().height, before.head().height + 1);
                }
                (Err(error), None) => {
                    assert_eq!(error.fault, ChainFault::Kind { kind, status });
                    assert_eq!(account, before, "an error must change nothing");
                }
                (outcome, expected) => panic!("{kind} in {status}: {outcome:?}, {expected:?}"),
            }
        }
    }
}

#[test]
fn a_freeze_holds_until_unfreeze() {
    let house = house();
    let mut account = account_in(&house, Status::Frozen);
    for kind in [
        Kind::Deny,
        Kind::Refuse,
        Kind::Expire,
        Kind::Restored,
        Kind::Freeze,
    ] {
        account.next(&house.next(&account, kind)).unwrap();
        assert_eq!(account.status(), Status::Frozen);
        account
            .next(&house.next(&account, Kind::Login))
            .unwrap_err();
    }
    account.next(&house.next(&account, Kind::Unfreeze)).unwrap();
    account.next(&house.next(&account, Kind::Login)).unwrap();
}

#[test]
fn a_word_counts_from_the_last_unfreeze() {
    let house = house();
    let mut account = house.account();
    let genesis = account.head().hash;
    assert!(account.height_since_unfreeze(&genesis).is_some());
    account.next(&house.next(&account, Kind::Freeze)).unwrap();
    let freeze = account.head().hash;
    assert!(
        account.height_since_unfreeze(&genesis).is_some()
            && account.height_since_unfreeze(&freeze).is_some()
    );
    account.next(&house.next(&account, Kind::Unfreeze)).unwrap();
    let unfreeze = account.head().hash;
    account.next(&house.next(&account, Kind::Login)).unwrap();
    assert!(account.height_since_unfreeze(&unfreeze).is_some());
    assert!(
        account
            .height_since_unfreeze(&account.head().hash)
            .is_some()
    );
    for old in [genesis, freeze, Hash::ZERO] {
        assert!(account.height_since_unfreeze(&old).is_none());
    }
}

#[test]
fn a_block_of_another_place_is_refused() {
    let house = house();
    let mut account = house.account();
    account.next(&house.next(&account, Kind::Login)).unwrap();
    let good = house.next_claims(&account, Kind::Login);
    let fault = |change: &dyn Fn(&mut warifu_consensus::block::Claims)| {
        let mut claims = good.clone();
        change(&mut claims);
        let error = account.verify(&house.seal(claims)).unwrap_err();
        assert_eq!(error.sub, account.sub());
        error.fault
    };
    account.verify(&house.seal(good.clone())).unwrap();
    assert!(matches!(
        fault(&|c| c.iss = "https://other".to_owned()),
        ChainFault::Iss { .. }
    ));
    assert!(matches!(
        fault(&|c| c.sub = Sub([1; 16])),
        ChainFault::Sub { .. }
    ));
    assert_eq!(
        fault(&|c| c.height = 1),
        ChainFault::Height {
            found: 1,
            expected: 2
        }
    );
    assert_eq!(
        fault(&|c| c.height = 3),
        ChainFault::Height {
            found: 3,
            expected: 2
        }
    );
    assert!(matches!(
        fault(&|c| c.prev = Hash([1; 32])),
        ChainFault::Prev { .. }
    ));
    assert_eq!(
        fault(&|c| c.epoch = 1),
        ChainFault::Epoch {
            found: 1,
            expected: 0
        }
    );
    let long = TimeError::TooLong { found_s: 181 };
    assert_eq!(fault(&|c| c.exp = c.iat + 181), ChainFault::Lifetime(long));
    let other_key = IdentityKey::from_seed([77; 32]).public();
    let block = warifu_consensus::block::Block::new(good.clone(), &other_key).unwrap();
    assert!(matches!(
        account.check(&block).unwrap_err().fault,
        ChainFault::Kid { .. }
    ));
    let repeated = house.next(&house.account(), Kind::Login);
    let error = account.verify(&repeated).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "account {}, block at height 1: block has height 1, expected 2",
            account.sub()
        )
    );
}

#[test]
fn every_signature_and_vote_of_an_admit_is_needed() {
    let house = house();
    let account = house.account();
    let good = house.next(&account, Kind::Login);
    let hash = good.block.hash();
    let Votes::Admit {
        assent,
        endorse,
        seal,
    } = good.votes
    else {
        panic!("{good:?}")
    };
    let fault = |proof, votes| {
        let sealed = Sealed {
            proof,
            votes,
            ..good.clone()
        };
        account.verify(&sealed).unwrap_err().fault
    };
    let bad = |role, verb| ChainFault::Vote(BadVote { role, verb });
    let device_key = Proof::Account(house.device.sign(good.block.input().as_bytes()));
    assert_eq!(
        fault(device_key, good.votes),
        ChainFault::Proof(ProofError::Account)
    );
    let broker_key = Proof::Account(house.broker.sign(good.block.input().as_bytes()));
    assert_eq!(
        fault(broker_key, good.votes),
        ChainFault::Proof(ProofError::Account)
    );
    let by_another = house.vote(Verb::Assent, Role::Broker, hash);
    let votes = Votes::Admit {
        assent: by_another,
        endorse,
        seal,
    };
    assert_eq!(fault(good.proof, votes), bad(Role::Device, Verb::Assent));
    let other_verb = house.vote(Verb::Seal, Role::Broker, hash);
    let votes = Votes::Admit {
        assent,
        endorse: other_verb,
        seal,
    };
    assert_eq!(fault(good.proof, votes), bad(Role::Broker, Verb::Endorse));
    let other_hash = house.vote(Verb::Seal, Role::TrustOperator, account.head().hash);
    let votes = Votes::Admit {
        assent,
        endorse,
        seal: other_hash,
    };
    assert_eq!(
        fault(good.proof, votes),
        bad(Role::TrustOperator, Verb::Seal)
    );
    let votes = Votes::Admit {
        assent: endorse,
        endorse: assent,
        seal,
    };
    assert_eq!(fault(good.proof, votes), bad(Role::Device, Verb::Assent));
    let votes = Votes::Restrict { word: None };
    assert!(matches!(
        fault(good.proof, votes),
        ChainFault::VotesForm { .. }
    ));
}

#[test]
fn proofs_of_the_other_class_prove_nothing() {
    let house = house();
    let account = house.account();
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| account.status().after(*kind).is_some())
    {
        let good = house.next(&account, kind);
        let message = good.block.input().as_bytes();
        let account_proof = Proof::Account(house.account.sign(message));
        let operators = Proof::Operators {
            broker: house.broker.sign(message),
            trust_operator: house.trust_operator.sign(message),
        };
        let (right, wrong) = match kind.class() {
            Class::Admit => (account_proof, operators),
            Class::Restrict => (operators, account_proof),
        };
        let verify = |proof| {
            verify_proof(
                &good.block,
                &proof,
                account.account_key(),
                account.parties(),
            )
        };
        verify(right).unwrap();
        assert!(
            matches!(verify(wrong), Err(ProofError::Form { .. })),
            "{kind}"
        );
        let sealed = Sealed {
            proof: wrong,
            ..good.clone()
        };
        assert!(matches!(
            account.verify(&sealed).unwrap_err().fault,
            ChainFault::Proof(_)
        ));
        assert_eq!((sealed.compact(), sealed.general()), (None, None));
    }
}

#[test]
fn a_restrict_needs_both_operators_in_order() {
    let house = house();
    let account = house.account();
    let good = house.next(&account, Kind::Freeze);
    let Proof::Operators {
        broker,
        trust_operator,
    } = good.proof
    else {
        panic!("{good:?}")
    };
    let device = house.device.sign(good.block.input().as_bytes());
    for (broker, trust_operator, role) in [
        (trust_operator, broker, Role::Broker),
        (broker, broker, Role::TrustOperator),
        (device, trust_operator, Role::Broker),
        (broker, device, Role::TrustOperator),
    ] {
        let proof = Proof::Operators {
            broker,
            trust_operator,
        };
        let error = account
            .verify(&Sealed {
                proof,
                ..good.clone()
            })
            .unwrap_err();
        assert_eq!(
            error.fault,
            ChainFault::Proof(ProofError::Operator { role })
        );
    }
}

#[test]
fn a_deny_needs_the_devices_word_on_what_it_displaces() {
    let house = house();
    let account = house.account();
    let taken = Hash([5; 32]);
    let mut claims = house.next_claims(&account, Kind::Deny);
    claims.supersedes = Some(taken);
    let good = house.seal(claims);
    let verify = |word: Option<Word>| {
        let sealed = Sealed {
            votes: Votes::Restrict { word },
            ..good.clone()
        };
        account.verify(&sealed).map_err(|error| error.fault)
    };
    verify(Some(house.word(Verb::Deny, taken))).unwrap();
    verify(Some(house.word(Verb::Disown, taken))).unwrap();
    assert_eq!(verify(None), Err(ChainFault::NoWord));
    let freeze = house.word(Verb::Freeze, taken);
    assert_eq!(
        verify(Some(freeze)),
        Err(ChainFault::WordVerb {
            found: Verb::Freeze
        })
    );
    let other = Hash([6; 32]);
    let expected = ChainFault::WordHash {
        found: other,
        expected: taken,
    };
    assert_eq!(verify(Some(house.word(Verb::Deny, other))), Err(expected));
    let relabelled = Word {
        verb: Verb::Disown,
        ..house.word(Verb::Deny, taken)
    };
    assert!(matches!(verify(Some(relabelled)), Err(ChainFault::Vote(_))));
    let assent = house.word(Verb::Assent, taken);
    assert!(matches!(verify(Some(assent)), Err(ChainFault::Vote(_))));
    let forged = Word::sign(&house.broker, Verb::Deny, account.sub(), taken);
    assert!(matches!(verify(Some(forged)), Err(ChainFault::Vote(_))));
    let elsewhere = Word::sign(&house.device, Verb::Deny, Sub([1; 16]), taken);
    assert!(matches!(verify(Some(elsewhere)), Err(ChainFault::Vote(_))));
    let mut freeze = house.next(&account, Kind::Freeze);
    account.verify(&freeze).unwrap();
    freeze.votes = Votes::Restrict {
        word: Some(elsewhere),
    };
    account.verify(&freeze).unwrap_err();
}

#[test]
fn genesis_needs_pinned_operators_and_the_transcript() {
    let house = house();
    let good = house.genesis();
    let open = |sealed: &Sealed| Account::open(&house.ledger(), sealed).map_err(|e| e.fault);
    let account = open(&good).unwrap();
    assert_eq!(account.head().hash, good.block.hash());
    assert_eq!(account.parties(), &house.parties());

    for role in [Role::Broker, Role::TrustOperator] {
        let mut ledger = house.ledger();
        let other = IdentityKey::from_seed([66; 32]).public();
        match role {
            Role::Broker => ledger.broker = other,
            _ => ledger.trust_operator = other,
        }
        let error = Account::open(&ledger, &good).unwrap_err();
        assert_eq!(error.fault, ChainFault::Operator { role });
    }
    let mut ledger = house.ledger();
    ledger.iss.push('x');
    assert!(matches!(
        Account::open(&ledger, &good).unwrap_err().fault,
        ChainFault::Iss { .. }
    ));

    let mut claims = good.block.claims().clone();
    claims.sub = Sub([1; 16]);
    assert!(matches!(
        open(&house.seal(claims)),
        Err(ChainFault::Sub { .. })
    ));
    let mut claims = good.block.claims().clone();
    claims.exp = claims.iat + 181;
    assert!(matches!(
        open(&house.seal(claims)),
        Err(ChainFault::Lifetime(_))
    ));

    let login = house.next(&account, Kind::Login);
    assert_eq!(
        open(&login),
        Err(ChainFault::NotGenesis { found: Kind::Login })
    );
    let votes = login.votes;
    assert!(matches!(
        open(&Sealed {
            votes,
            ..good.clone()
        }),
        Err(ChainFault::VotesForm { .. })
    ));

    let Votes::Genesis {
        assent,
        endorse,
        seal,
        transcript,
    } = good.votes
    else {
        panic!()
    };
    for (at, role) in Role::ALL.into_iter().enumerate() {
        let mut transcript = transcript;
        transcript[at] = house.vote(Verb::Transcript, role, Hash([1; 32]));
        let votes = Votes::Genesis {
            assent,
            endorse,
            seal,
            transcript,
        };
        let expected = ChainFault::Vote(BadVote {
            role,
            verb: Verb::Transcript,
        });
        assert_eq!(
            open(&Sealed {
                votes,
                ..good.clone()
            }),
            Err(expected)
        );
    }
    let stranger = IdentityKey::from_seed([55; 32]).sign(good.block.input().as_bytes());
    let sealed = Sealed {
        proof: Proof::Account(stranger),
        ..good.clone()
    };
    assert_eq!(open(&sealed), Err(ChainFault::Proof(ProofError::Account)));
    assert_eq!(Sub::of_transcript(&TRANSCRIPT), account.sub());
}

#[test]
fn a_chain_verifies_only_whole_and_in_order() {
    let house = house();
    let mut account = house.account();
    let mut chain = vec![house.genesis()];
    for kind in [Kind::Login, Kind::Freeze, Kind::Unfreeze, Kind::Login] {
        let sealed = house.next(&account, kind);
        account.advance(&sealed);
        chain.push(sealed);
    }
    let ledger = house.ledger();
    assert_eq!(verify_chain(&ledger, chain.iter()).unwrap(), account);
    let empty = verify_chain(&ledger, [].iter()).unwrap_err();
    assert_eq!(empty.fault, ChainFault::Empty);
    for without in 0..chain.len() - 1 {
        let mut gap = chain.clone();
        gap.remove(without);
        verify_chain(&ledger, gap.iter()).unwrap_err();
    }
    for first in 0..chain.len() - 1 {
        let mut swapped = chain.clone();
        swapped.swap(first, first + 1);
        verify_chain(&ledger, swapped.iter()).unwrap_err();
    }
}

#[test]
fn clocks_decide_only_when_an_admit_may_be_signed() {
    let at = |seconds: u64| Time::from_seconds(seconds);
    let check = |now| check_times(now, IAT, IAT + 90);
    check(at(IAT)).unwrap();
    check(at(IAT - 30)).unwrap();
    assert_eq!(
        check(Time(at(IAT - 30).0 - 1)),
        Err(TimeError::Ahead { ahead_s: 31 })
    );
    check(Time(at(IAT + 90).0 - 1)).unwrap();
    assert_eq!(check(at(IAT + 90)), Err(TimeError::Expired { late_s: 0 }));
    assert_eq!(check(at(IAT + 100)), Err(TimeError::Expired { late_s: 10 }));
    assert_eq!(
        check(at(IAT - 42)).unwrap_err().to_string(),
        "proposal's iat is 42 s ahead of this clock, at most 30 s allowed"
    );
    check_times(at(IAT), IAT, IAT + 180).unwrap();
    let long = TimeError::TooLong { found_s: 181 };
    assert_eq!(check_times(at(IAT), IAT, IAT + 181), Err(long));
    let backwards = TimeError::Backwards { iat: IAT, exp: IAT };
    assert_eq!(check_times(at(IAT), IAT, IAT), Err(backwards));
    check_times(at(IAT), u64::MAX - 1, u64::MAX).unwrap_err();
    assert!(!at(IAT + 30).is_past_grace(IAT));
    assert!(Time(at(IAT + 30).0 + 1).is_past_grace(IAT));
    assert_eq!(Time(1_500).to_string(), "1.500");
    assert_eq!(Time(5).checked_add_seconds(2), Some(Time(2005)));
    assert_eq!(Time(u64::MAX).checked_add_seconds(1), None);
    assert_eq!(Time(0).checked_add_seconds(u64::MAX), None);
}

#[test]
fn a_votes_text_has_one_form() {
    let vote = house().vote(Verb::Assent, Role::Device, Hash::ZERO);
    let text = vote.to_string();
    assert_eq!(text.parse::<Vote>().unwrap(), vote);
    for other in [
        &text[8..],
        &text.replace("ed", "ED"),
        &format!("{text}="),
        &text[..93],
        "",
    ] {
        other.parse::<Vote>().unwrap_err();
    }
    assert_eq!(text.len(), 94);
}

#[test]
fn a_signature_has_one_form_and_a_weak_key_none() {
    // The group order L, little-endian (RFC 8032 §5.1).
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let house = house();
    let account = house.account();
    let mut sealed = house.next(&account, Kind::Login);
    account.verify(&sealed).unwrap();
    let Proof::Account(signature) = &mut sealed.proof else {
        panic!("{sealed:?}")
    };
    let mut carry = 0_u16;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = (carry & 0xff) as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    let error = account.verify(&sealed).unwrap_err();
    assert_eq!(error.fault, ChainFault::Proof(ProofError::Account));

    // With the neutral element as key, R = the neutral element and S = 0 would sign everything.
    let mut neutral = [0_u8; 32];
    neutral[0] = 1;
    let mut claims = house.claims(Kind::Genesis, 0, Hash::ZERO);
    claims.genesis.as_mut().unwrap().account_key = neutral;
    let block = warifu_consensus::block::Block::new(claims, &neutral).unwrap();
    let mut signature = [0_u8; 64];
    signature[0] = 1;
    let sealed = Sealed {
        block,
        proof: Proof::Account(signature),
        ..house.genesis()
    };
    let error = Account::open(&house.ledger(), &sealed).unwrap_err();
    assert_eq!(error.fault, ChainFault::Proof(ProofError::Account));
}
