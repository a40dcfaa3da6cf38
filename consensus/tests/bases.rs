//! What an account stands on before and after its genesis (protocol rules 2 and 9).

use warifu_consensus::{
    agree::{Base, Founding},
    block::{Claims, Kind, Votes, thumbprint},
    chain::{Head, Seen, Status},
    encoding::{Hash, text_b64},
    party::{Role, Sub},
    signature::IdentityKey,
    time::Time,
    vote::Verb,
};

use crate::support::{House, IAT, TRANSCRIPT, house};

const SESSION: [u8; 32] = [5; 32];

fn founding(house: &House) -> Founding {
    Founding {
        ledger: house.ledger(),
        sub: house.sub(),
        account_key: house.account.public(),
        parties: house.parties(),
        transcript: TRANSCRIPT,
        votes: Role::ALL.map(|role| house.vote(Verb::Transcript, role, TRANSCRIPT)),
        session: SESSION,
        deadline: Time::from_seconds(IAT + 600),
    }
}

fn claims(house: &House) -> Claims {
    Claims {
        nonce: text_b64(&SESSION),
        ..house.claims(Kind::Genesis, 0, Hash::ZERO)
    }
}

#[test]
fn a_founding_needs_its_name_and_each_of_three_votes() {
    let house = house();
    let good = founding(&house);
    assert_eq!(good.check(), Ok(()));
    let mut named = good.clone();
    named.sub = Sub::of_transcript(&Hash([1; 32]));
    assert!(named.check().unwrap_err().contains("expected"));
    for at in 0..3 {
        let mut forged = good.clone();
        forged.votes[at] = forged.votes[(at + 1) % 3];
        assert!(forged.check().is_err(), "vote {at} was another's");
    }
}

#[test]
fn a_genesis_is_checked_field_by_field() {
    let house = house();
    let base = Base::Founding(Box::new(founding(&house)));
    let good = house.block(claims(&house));
    assert_eq!(base.check(&good), Ok(()));
    let stranger = IdentityKey::from_seed([77; 32]);
    let alter: [fn(&mut Claims, &IdentityKey); 6] = [
        |c, _| c.iss = "https://other.example".into(),
        |c, _| c.nonce = text_b64(&[6; 32]),
        |c, s| c.genesis.as_mut().unwrap().account_key = s.public(),
        |c, s| c.genesis.as_mut().unwrap().parties.device = s.public(),
        |c, s| c.genesis.as_mut().unwrap().parties.broker = s.public(),
        |c, _| {
            let transcript = Hash([8; 32]);
            c.genesis.as_mut().unwrap().transcript = transcript;
            c.sub = Sub::of_transcript(&transcript);
        },
    ];
    for (at, alter) in alter.iter().enumerate() {
        let mut claims = claims(&house);
        alter(&mut claims, &stranger);
        if claims.iss != house.ledger().iss {
            claims.aud = claims.iss.clone();
        }
        let key = claims.genesis.as_ref().unwrap().account_key;
        let block = warifu_consensus::block::Block::new(claims, &key).unwrap();
        let error = base.check(&block).unwrap_err();
        assert!(error.contains("another enrolment"), "{at}: {error}");
    }
    // The header names the key that signs: another's is another genesis.
    if let Ok(foreign) = warifu_consensus::block::Block::new(claims(&house), &stranger.public()) {
        assert!(base.check(&foreign).is_err());
    }
    let login = house.block(house.claims(Kind::Login, 1, good.hash()));
    assert!(
        base.check(&login)
            .unwrap_err()
            .contains("expected `genesis`")
    );
}

#[test]
fn a_dead_genesis_takes_nothing() {
    let house = house();
    let sealed = house.seal(claims(&house));
    let mut dead = Base::Dead(Box::new(founding(&house)));
    assert!(dead.check(&sealed.block).unwrap_err().contains("dead"));
    assert!(dead.verify(&sealed).unwrap_err().contains("dead"));
    assert!(dead.adopt(&sealed).unwrap_err().contains("dead"));
    assert_eq!(
        (dead.head(), dead.status(), dead.next_height()),
        (None, None, 0)
    );
}

#[test]
fn a_base_says_what_its_chain_says() {
    let house = house();
    let mut base = Base::Founding(Box::new(founding(&house)));
    assert_eq!(
        (base.sub(), base.iss()),
        (house.sub(), "https://ledger.example")
    );
    assert_eq!(base.account_key(), &house.account.public());
    assert_eq!(base.parties(), &house.parties());
    assert_eq!((base.prev(), base.next_height()), (Hash::ZERO, 0));
    assert!(base.founding().is_some() && base.account().is_none());
    let genesis = house.seal(claims(&house));
    assert_eq!(base.verify(&genesis), Ok(()));
    base.adopt(&genesis).unwrap();
    let head = Head {
        height: 0,
        hash: genesis.block.hash(),
    };
    assert_eq!(
        (base.head(), base.prev(), base.next_height()),
        (Some(head), head.hash, 1)
    );
    assert_eq!(base.status(), Some(Status::Active));
    assert_eq!(
        (base.sub(), base.iss()),
        (house.sub(), "https://ledger.example")
    );
    assert_eq!(base.account_key(), &house.account.public());
    assert_eq!(base.parties(), &house.parties());
    assert!(base.founding().is_none());
    let freeze = house.next(base.account().unwrap(), Kind::Freeze);
    base.adopt(&freeze).unwrap();
    assert_eq!(base.status(), Some(Status::Frozen));
    assert_eq!(base.next_height(), 2);
}

#[test]
fn a_head_is_believed_with_its_owner_s_vote_only() {
    let house = house();
    let base = Base::Standing(Box::new(house.account()));
    let hash = Hash([3; 32]);
    let head = Some(Head { height: 4, hash });
    let of = Role::TrustOperator;
    let good = house.vote(Verb::Head, of, hash);
    assert_eq!(base.verify_head(of, head, Some(&good)), Ok(()));
    assert_eq!(base.verify_head(of, None, None), Ok(()));
    let wrong = [
        None,
        Some(house.vote(Verb::Head, Role::Broker, hash)),
        Some(house.vote(Verb::Seal, of, hash)),
        Some(house.vote(Verb::Head, of, Hash([4; 32]))),
    ];
    for vote in wrong {
        assert!(base.verify_head(of, head, vote.as_ref()).is_err());
    }
    assert!(base.verify_head(Role::Broker, head, Some(&good)).is_err());
}

#[test]
fn a_genesis_of_another_enrolment_is_not_adopted_by_its_form_alone() {
    let house = house();
    let base = Base::Founding(Box::new(founding(&house)));
    let mut other = claims(&house);
    other.nonce = text_b64(&[6; 32]);
    let error = base.verify(&house.seal(other)).unwrap_err();
    assert!(error.contains("another enrolment"), "{error}");
}

#[test]
fn an_account_says_whose_it_is() {
    let account = house().account();
    assert_eq!(account.kid(), thumbprint(account.account_key()));
    assert_eq!((account.epoch(), account.sub()), (0, house().sub()));
    let names = [Status::Active, Status::Frozen, Status::Revoked].map(|s| s.to_string());
    assert_eq!(names, ["active", "frozen", "revoked"]);
}

#[test]
fn only_the_very_votes_on_the_very_block_that_were_seen_are_not_checked_again() {
    let house = house();
    let account = house.account();
    let good = house.next(&account, Kind::Login);
    let Votes::Admit {
        assent,
        endorse,
        seal,
    } = good.votes
    else {
        panic!("an admit's votes");
    };
    // A vote that verifies nowhere, in place of each of the three.
    let bad = house.vote(Verb::Head, Role::Broker, Hash([4; 32]));
    let carrying = |assent, endorse, seal| {
        let mut sealed = good.clone();
        sealed.votes = Votes::Admit {
            assent,
            endorse,
            seal,
        };
        sealed
    };
    let hash = good.block.hash();
    let seen = |block, assent, endorse| Seen {
        block,
        assent: Some(assent),
        endorse: Some(endorse),
    };
    let spoiled = [
        carrying(bad, endorse, seal),
        carrying(assent, bad, seal),
        carrying(assent, endorse, bad),
    ];
    for sealed in &spoiled {
        assert!(account.verify_but(sealed, &Seen::NONE).is_err());
        let others = seen(hash, assent, endorse);
        assert!(account.verify_but(sealed, &others).is_err());
        let elsewhere = seen(Hash([1; 32]), bad, bad);
        assert!(account.verify_but(sealed, &elsewhere).is_err());
    }
    // What the caller checked is taken at its word; the seal is checked by everybody.
    let [first, second, third] = &spoiled;
    assert_eq!(account.verify_but(first, &seen(hash, bad, endorse)), Ok(()));
    assert_eq!(account.verify_but(second, &seen(hash, assent, bad)), Ok(()));
    assert!(
        account
            .verify_but(first, &seen(hash, endorse, bad))
            .is_err()
    );
    assert!(account.verify_but(third, &seen(hash, bad, bad)).is_err());
}
