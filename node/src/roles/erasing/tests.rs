use std::{path::Path, sync::atomic::AtomicUsize};

use warifu_client_sdk::{
    runtime::{About, AccountsOptions, Recover, Secrets, Watch},
    store::{
        Disk, DiskChange, DiskFault, DiskWatch, JournalOptions, MasterKey, Vault, VaultOptions,
    },
};
use warifu_consensus::{
    agree::{Base, Event, Founding, Input},
    block::Sealed,
    body::ContentKey,
    chain::Account,
    log::{Algorithm, LogKey, LogKeys},
    party::Ledger,
    random::SeededEntropy,
    time::Time,
};
use zeroize::Zeroizing;

use super::*;

/// A revoked account: the end of the chain that all implementations read.
struct Revoked(Base);

impl Machine for Revoked {
    fn handle(&mut self, _: Time, _: Input, _: &mut SeededEntropy) -> Vec<Output> {
        Vec::new()
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
    fn is_idle(&self, _: Time) -> bool {
        true
    }
    fn base(&self) -> &Base {
        &self.0
    }
    fn locate(&mut self, _: Head) {}
    fn wants_trust_operator(&self, _: Time) -> bool {
        false
    }
    fn when_nearly_full(&self, _: &Input) -> Option<Vec<Output>> {
        None
    }
}

struct Chain {
    ledger: Ledger,
    sealed: Vec<Sealed>,
}

impl Chain {
    fn new() -> Self {
        let text = include_str!("../../../../consensus/tests/vectors/chain.json");
        let chain: serde_json::Value = serde_json::from_str(text).unwrap();
        let key = |name: &str| {
            let text = chain[name].as_str().unwrap();
            warifu_consensus::encoding::parse_b64::<32>(text).unwrap()
        };
        let sealed = chain["sealed"].as_array().unwrap().iter();
        Self {
            ledger: Ledger {
                iss: chain["iss"].as_str().unwrap().to_owned(),
                broker: key("broker"),
                trust_operator: key("trust_operator"),
            },
            sealed: sealed
                .map(|sealed| Sealed::from_json(sealed.as_str().unwrap()).unwrap())
                .collect(),
        }
    }

    /// As an operator keeps it, under any name.
    fn records(&self, sub: Sub) -> Vec<Record> {
        let claims = self.sealed[0].block.claims();
        let genesis = claims.genesis.clone().unwrap();
        let vote = Vote::sign(
            &IdentityKey::from_seed([1; 32]),
            &Erasure::statement(sub, Hash::ZERO),
        );
        let founding = Founding {
            ledger: self.ledger.clone(),
            sub,
            account_key: genesis.account_key,
            parties: genesis.parties,
            transcript: genesis.transcript,
            votes: [vote; 3],
            session: [0; 32],
            deadline: Time(0),
        };
        let founding = std::iter::once(Record::Founding(Box::new(founding)));
        let sealed = self.sealed.iter().cloned();
        founding
            .chain(sealed.map(|sealed| Record::Sealed(Box::new(sealed))))
            .collect()
    }
}

impl Recover<Revoked> for Chain {
    fn recover(&self, records: Vec<Record>, _: Secrets) -> Result<Option<Revoked>, String> {
        if matches!(records.last(), Some(Record::Erased { .. })) {
            return Ok(None);
        }
        let (genesis, later) = self.sealed.split_first().unwrap();
        let mut account = Account::open(&self.ledger, genesis).map_err(|e| e.to_string())?;
        for sealed in later {
            account.advance(sealed);
        }
        Ok(Some(Revoked(Base::Standing(Box::new(account)))))
    }
}

struct Quiet;

impl Watch for Quiet {
    fn event(&self, _: &About, _: Event) {}
    fn failed(&self, _: &Sub, error: &KeeperError) {
        panic!("{error}");
    }
}

/// A disk that counts how often the vault is rewritten, and fails to as long as it is told.
#[derive(Default)]
struct Rewrites {
    count: AtomicUsize,
    fails: AtomicBool,
}

impl DiskWatch for Rewrites {
    fn before(&self, change: &DiskChange<'_>) -> Option<DiskFault> {
        if !matches!(change, DiskChange::Rename { .. }) {
            return None;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let error = std::io::Error::other("input/output error");
        let fault = DiskFault { done: 0, error };
        self.fails.load(Ordering::Relaxed).then_some(fault)
    }
}

/// An operator of these accounts, each with a content key, and without a line.
async fn operator(
    dir: &Path,
    role: Role,
    subs: &[Sub],
    disk: &Arc<Rewrites>,
) -> Arc<Erasing<Revoked>> {
    let chain = Arc::new(Chain::new());
    let iss = &chain.ledger.iss;
    let journal = JournalOptions {
        reserve_bytes: 0,
        // Long enough that whoever gives up does so before the tombstone is durable.
        sync_delay: Duration::from_millis(20),
        ..JournalOptions::new(iss.clone(), role.number())
    };
    let store = crate::store::open(dir, journal, &mut |_, _| {}).unwrap();
    let master = MasterKey::from_bytes(Zeroizing::new([1; 32]));
    let options = VaultOptions {
        disk: Disk::watched(Arc::clone(disk) as _),
        ..VaultOptions::default()
    };
    let vault = Vault::open_with(&dir.join("vault"), &master, iss, options).unwrap();
    let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
    for sub in subs {
        keeper.append(sub, &chain.records(*sub)).await.unwrap();
        let secrets = Secrets {
            share: None,
            content_key: Some(ContentKey::from_bytes([3; 32])),
            identity: None,
        };
        keeper.keep_secrets(sub, &secrets).await.unwrap();
    }
    let key = |seed, name, algorithm| {
        let key = LogKey::from_seed([seed; 32], name, algorithm).unwrap();
        key.public().clone()
    };
    let keys = LogKeys {
        log: key(1, "log.example", Algorithm::Ed25519),
        witness: key(2, "witness.example", Algorithm::Cosignature),
    };
    let log = LogBook::open(keeper.clone(), &dir.join("log"), keys, &mut |_, _| {}).unwrap();
    let other = match role {
        Role::Broker => Role::TrustOperator,
        _ => Role::Broker,
    };
    let directory = Arc::new(Directory::new(other, [9; 32]));
    let lines = Arc::new(OperatorLines::new(Arc::clone(&directory)));
    let accounts = Accounts::new(AccountsOptions {
        keeper: keeper.clone(),
        clock: Arc::new(|| Time(0)),
        lines: Arc::clone(&lines) as _,
        watch: Arc::new(Quiet),
        recover: Arc::clone(&chain) as _,
        runtime: tokio::runtime::Handle::current(),
    });
    let key = Arc::new(IdentityKey::from_seed([5; 32]));
    Arc::new(Erasing {
        role,
        broker: key.public(),
        key,
        keeper,
        accounts,
        directory,
        lines,
        log: Arc::new(log),
        state: State::default(),
    })
}

impl Erasing<Revoked> {
    fn word(&self, sub: Sub) -> Erasure {
        let head = self.keeper.head(&sub).unwrap().unwrap();
        let vote = Vote::sign(&self.key, &Erasure::statement(sub, head));
        Erasure { head, vote }
    }

    fn has_secrets(&self, sub: &Sub) -> bool {
        self.keeper.secrets(sub).unwrap().content_key.is_some()
    }

    /// What it would say now on a new line.
    fn says(&self) -> usize {
        let mut saying = lock(&self.state.saying);
        saying.new_line();
        saying.next().accounts.len()
    }
}

fn subs(count: u8) -> Vec<Sub> {
    (1..=count).map(|number| Sub([number; 16])).collect()
}

#[tokio::test]
async fn many_that_are_closed_together_are_forgotten_in_one_rewriting_of_the_vault() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let all = subs(40);
    let operator = operator(dir.path(), Role::TrustOperator, &all, &disk).await;
    let before = disk.count.load(Ordering::Relaxed);
    let closed = all
        .iter()
        .map(|sub| operator.close(*sub, operator.word(*sub), |_| true));
    assert!(join_all(closed).await.into_iter().all(Result::unwrap));
    assert_eq!(operator.says(), 0, "nothing is said before it is forgotten");
    operator.forget_owed().await.unwrap();
    assert_eq!(disk.count.load(Ordering::Relaxed) - before, 1);
    assert!(!all.iter().any(|sub| operator.has_secrets(sub)));
    assert_eq!(operator.says(), all.len());
}

#[tokio::test]
async fn an_erasure_that_its_caller_gave_up_is_taken_up_without_a_restart() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let all = subs(12);
    let operator = operator(dir.path(), Role::Broker, &all, &disk).await;
    let mut given_up = 0;
    for (number, sub) in (0..).zip(&all) {
        let closing = operator.close(*sub, operator.word(*sub), |_| true);
        // The actor has it, and the tombstone takes 20 ms.
        let closed = tokio::time::timeout(Duration::from_millis(number), closing).await;
        given_up += u8::from(closed.is_err());
    }
    assert!(given_up > 0);
    let repeating = tokio::spawn(Arc::clone(&operator).repeat());
    let forgotten = async {
        while all
            .iter()
            .any(|sub| operator.has_secrets(sub) || !operator.is_erased(sub))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(REPEAT * 3, forgotten)
        .await
        .expect("it is finished by itself");
    for sub in &all {
        // As the first one would have.
        operator.erase(*sub, |_| true).await.unwrap();
    }
    assert_eq!(operator.says(), all.len());
    repeating.abort();
}

#[tokio::test]
async fn a_vault_that_fails_to_forget_leaves_the_secrets_owed_and_nothing_acknowledged() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::<Rewrites>::default());
    let all = subs(3);
    let operator = operator(dir.path(), Role::TrustOperator, &all, &disk).await;
    for sub in &all {
        assert!(
            operator
                .close(*sub, operator.word(*sub), |_| true)
                .await
                .unwrap()
        );
    }
    disk.fails.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        operator.forget_owed().await.unwrap_err();
        assert!(all.iter().all(|sub| operator.is_erased(sub)));
        assert_eq!(operator.says(), 0);
    }
    // The vault keeps what is new all the same.
    let hash = Hash([8; 32]);
    let salt = warifu_consensus::wire::SaltBytes([4; 32]);
    operator
        .keeper
        .keep_salt(&Sub([99; 16]), &hash, &salt)
        .await
        .unwrap();
    disk.fails.store(false, Ordering::Relaxed);
    operator.forget_owed().await.unwrap();
    assert!(!all.iter().any(|sub| operator.has_secrets(sub)));
    assert_eq!(operator.says(), all.len());
}
