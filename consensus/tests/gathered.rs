//! Chains whose signatures an auditor looks at by its own means: the same verdicts as those of a party.

use warifu_consensus::block::{Kind, Sealed, Votes};
use warifu_consensus::chain::{Account, ChainFault, verify_chain};
use warifu_consensus::encoding::Hash;
use warifu_consensus::signature::{BadSignature, verify_strict};

use crate::support::{House, house};

/// One chain with every kind.
fn chain(house: &House) -> Vec<Sealed> {
    let mut blocks = vec![house.genesis()];
    let mut account = house.account();
    for kind in [
        Kind::Login,
        Kind::Approve,
        Kind::Change,
        Kind::Deny,
        Kind::Refuse,
        Kind::Expire,
        Kind::Restored,
        Kind::Freeze,
        Kind::Unfreeze,
        Kind::Revoke,
    ] {
        let sealed = house.next(&account, kind);
        account.next(&sealed).unwrap();
        blocks.push(sealed);
    }
    blocks
}

#[test]
fn gathered_signatures_are_all_that_a_party_verifies() {
    let house = house();
    let blocks = chain(&house);
    let expected = verify_chain(&house.ledger(), blocks.iter()).unwrap();
    let total: usize = {
        let mut total = 0;
        fold(&house, &blocks, &mut |public, message, signature| {
            total += 1;
            verify_strict(public, message, signature)
        })
        .map(|account| {
            assert_eq!(account.head(), expected.head());
            assert_eq!(account.status(), expected.status());
            assert_eq!(account.parties(), expected.parties());
        })
        .unwrap();
        total
    };
    // Genesis 7; three admits and unfreeze 4 each; six restricts 2 each, one of them with a word.
    assert_eq!(total, 7 + 4 * 4 + 6 * 2 + 1);
    // Each of them counts: whichever is refused, the block is.
    for bad in 0..total {
        let mut met = 0;
        let refused = fold(&house, &blocks, &mut |_, _, _| {
            met += 1;
            if met == bad + 1 {
                Err(BadSignature)
            } else {
                Ok(())
            }
        });
        assert!(refused.is_err(), "signature {bad}");
    }
}

fn fold(
    house: &House,
    blocks: &[Sealed],
    verify: &mut warifu_consensus::signature::Verify<'_>,
) -> Result<Account, ChainFault> {
    let (genesis, rest) = blocks.split_first().unwrap();
    let mut account =
        Account::open_by(&house.ledger(), genesis, verify).map_err(|error| error.fault)?;
    for sealed in rest {
        account
            .next_by(sealed, verify)
            .map_err(|error| error.fault)?;
    }
    Ok(account)
}

#[test]
fn a_block_alone_is_of_its_account_and_agreed_wherever_it_stands() {
    let house = house();
    let blocks = chain(&house);
    let account = house.account();
    for sealed in &blocks[1..] {
        account.verify_alone(sealed).unwrap();
    }
    let mut elsewhere = house.claims(Kind::Login, 77, Hash([3; 32]));
    account
        .verify_alone(&house.seal(elsewhere.clone()))
        .unwrap();
    elsewhere.iss = "https://other.example".to_owned();
    let fault = account
        .verify_alone(&house.seal(elsewhere))
        .unwrap_err()
        .fault;
    assert!(matches!(fault, ChainFault::Iss { .. }), "{fault}");
    let mut swapped = blocks[1].clone();
    swapped.proof = blocks[2].proof;
    assert!(account.verify_alone(&swapped).is_err());
    let mut votes = blocks[1].clone();
    votes.votes = match (&blocks[1].votes, &blocks[2].votes) {
        (
            Votes::Admit {
                assent, endorse, ..
            },
            Votes::Admit { seal, .. },
        ) => Votes::Admit {
            assent: *assent,
            endorse: *endorse,
            seal: *seal,
        },
        _ => unreachable!("both are admits"),
    };
    assert!(account.verify_alone(&votes).is_err());
}
