//! Blocks that can't stand in one chain, and how far back an account knows its own
//! (protocol rules 9 and 10).

use warifu_consensus::block::{Block, Claims, Kind};
use warifu_consensus::chain::{Account, Head};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::Sub;
use warifu_consensus::wire::{decode, encode};

use crate::machines::{Chain, chain, rival};

/// How many blocks an account has at hand (docs/protocol.md, rule 9).
const AT_HAND: u64 = 128;

fn at(chain: &Chain, height: u64, prev: Hash) -> Block {
    let claims = chain.house.claims(Kind::Expire, height, prev);
    chain.house.block(claims)
}

#[test]
fn a_rival_is_another_block_of_a_known_height_or_builds_on_another_head() {
    let chain = chain(&[Kind::Login, Kind::Expire, Kind::Login]);
    let account = &chain.account;
    for (height, own) in chain.blocks.iter().enumerate().skip(1) {
        let height = height as u64;
        assert_eq!(account.hash_at(height), Some(own.block.hash()));
        assert_eq!(account.rival_of(&own.block), None, "its own block");
        let other = rival(&chain.house, &own.block, Kind::Refuse, |_| ());
        assert_eq!(account.rival_of(&other.block), Some(own.block.hash()));
    }
    assert_eq!(account.hash_at(0), Some(chain.blocks[0].block.hash()));
    let head = chain.head();
    assert_eq!(account.hash_at(head.height + 1), None);
    let next = at(&chain, head.height + 1, head.hash);
    assert_eq!(account.rival_of(&next), None, "the next block");
    let elsewhere = at(&chain, head.height + 1, Hash([1; 32]));
    assert_eq!(account.rival_of(&elsewhere), Some(head.hash));
    // Of what lies further ahead nothing is known.
    let ahead = at(&chain, head.height + 2, Hash([1; 32]));
    assert_eq!(account.rival_of(&ahead), None);
}

#[test]
fn an_unfreeze_settles_what_was_before_it() {
    let chain = chain(&[Kind::Freeze, Kind::Unfreeze, Kind::Login]);
    for (height, own) in chain.blocks.iter().enumerate() {
        let known = (height >= 2).then(|| own.block.hash());
        assert_eq!(chain.account.hash_at(height as u64), known);
        assert_eq!(
            chain.account.height_since_unfreeze(&own.block.hash()),
            known.map(|_| height as u64)
        );
    }
    let old = rival(&chain.house, &chain.blocks[1].block, Kind::Refuse, |_| ());
    assert_eq!(chain.account.rival_of(&old.block), None);
    let settling = rival(&chain.house, &chain.blocks[2].block, Kind::Freeze, |_| ());
    assert!(chain.account.rival_of(&settling.block).is_some());
}

#[test]
fn an_account_has_its_last_blocks_at_hand_and_is_told_of_one_older() {
    let mut chain = chain(&[]);
    let told = |account: &mut Account, head: Head| {
        account.locate(head);
        account.height_since_unfreeze(&head.hash)
    };
    while chain.head().height < AT_HAND - 1 {
        chain.grow(Kind::Expire);
    }
    let genesis = chain.head_at(0);
    assert_eq!(chain.account.hash_at(0), Some(genesis.hash));
    assert_eq!(chain.account.height_since_unfreeze(&genesis.hash), Some(0));
    chain.grow(Kind::Expire);
    assert_eq!(chain.account.hash_at(0), None);
    assert_eq!(chain.account.hash_at(1), Some(chain.head_at(1).hash));
    assert_eq!(chain.account.height_since_unfreeze(&genesis.hash), None);
    assert_eq!(told(&mut chain.account, genesis), Some(0));
    // One block that was told is known; a later one takes its place, and none lies ahead.
    chain.grow(Kind::Expire);
    let second = chain.head_at(1);
    assert_eq!(told(&mut chain.account, second), Some(1));
    assert_eq!(chain.account.height_since_unfreeze(&genesis.hash), None);
    let ahead = Head {
        height: chain.head().height + 1,
        hash: Hash([3; 32]),
    };
    assert_eq!(told(&mut chain.account, ahead), None);
    let head = chain.head();
    assert_eq!(told(&mut chain.account, head), Some(head.height));
    // After an unfreeze an older block counts for nothing, told or not.
    chain.grow(Kind::Freeze);
    let frozen = chain.head();
    chain.grow(Kind::Unfreeze);
    let lifted = chain.head();
    assert_eq!(told(&mut chain.account, frozen), None);
    assert_eq!(told(&mut chain.account, lifted), Some(lifted.height));
}

#[test]
fn a_checkpoint_of_an_account_knows_its_head_and_is_told_the_rest() {
    let chain = chain(&[Kind::Login, Kind::Freeze]);
    let bytes = encode::<Account, 4096>(&chain.account).unwrap();
    let mut again: Account = decode::<Account, 4096>(&bytes).unwrap();
    assert_eq!(again.head(), chain.head());
    assert_ne!(
        again, chain.account,
        "a checkpoint keeps what is at hand beside it"
    );
    assert_eq!(again.hash_at(2), Some(chain.head().hash));
    assert_eq!(again.height_since_unfreeze(&chain.head().hash), Some(2));
    let below = chain.head_at(1);
    assert_eq!(
        (again.hash_at(1), again.height_since_unfreeze(&below.hash)),
        (None, None)
    );
    again.locate(below);
    assert_eq!(again.height_since_unfreeze(&below.hash), Some(1));
    // A height that the place of another block has is not this block's.
    assert_eq!(again.height_since_unfreeze(&Hash([4; 32])), None);
}

#[test]
fn accounts_that_differ_in_anything_are_not_the_same() {
    let one = chain(&[Kind::Freeze]);
    assert_eq!(one.account, chain(&[Kind::Freeze]).account);
    assert_ne!(one.account, chain(&[]).account);
    assert_ne!(one.account, chain(&[Kind::Expire]).account);
    let mut ledger = one.house.ledger();
    ledger.iss = "https://other.example".into();
    let claims = Claims {
        iss: ledger.iss.clone(),
        aud: ledger.iss.clone(),
        ..crate::machines::genesis_claims(&one.house)
    };
    let elsewhere = Account::open(&ledger, &one.house.seal(claims)).unwrap();
    assert_ne!(elsewhere, chain(&[]).account);
}

#[test]
fn evidence_is_of_this_ledger_and_account_with_its_proof_and_votes() {
    let chain = chain(&[Kind::Login, Kind::Expire]);
    let like = &chain.blocks[1].block;
    let good = rival(&chain.house, like, Kind::Refuse, |_| ());
    assert_eq!(chain.account.verify_evidence(&good), Ok(()));
    assert_eq!(chain.account.verify_evidence(&chain.blocks[0]), Ok(()));
    assert_eq!(chain.account.verify_evidence(&chain.blocks[1]), Ok(()));
    type Alter = fn(&mut Claims);
    let alter: [(Alter, &str); 2] = [
        (|c| c.sub = Sub([1; 16]), "has sub"),
        (|c| c.iss = "https://other.example".into(), "has iss"),
    ];
    for (alter, what) in alter {
        let foreign = rival(&chain.house, like, Kind::Refuse, alter);
        let error = chain.account.verify_evidence(&foreign).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    let mut unproven = good.clone();
    unproven.proof = chain.house.proof(&chain.blocks[2].block);
    assert!(chain.account.verify_evidence(&unproven).is_err());
    // A genesis of another account key is another account's, whatever it is named.
    let mut other = crate::support::house();
    other.account = warifu_consensus::signature::IdentityKey::from_seed([44; 32]);
    let foreign = other.seal(crate::machines::genesis_claims(&other));
    let error = chain.account.verify_evidence(&foreign).unwrap_err();
    assert!(error.to_string().contains("has kid"), "{error}");
    let mut rival = chain.blocks[0].clone();
    let votes = other.genesis().votes;
    rival.votes = votes;
    assert!(chain.account.verify_evidence(&rival).is_err());
}
