//! Three nodes on loopback, in one process: real stores, real lines, real keys.

mod browser;
mod cut;
mod erasing;
mod freezes;
mod http;

use std::{path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;
use warifu_client_sdk::{
    device::{Decision, Device, DeviceError, DeviceOptions, EnrolStage},
    receipt::verify_logged,
    runtime::Clock,
    store::MasterKey,
    transport::{IdentitySecret, Limits, Multiaddr},
};
use warifu_consensus::{
    agree::{Outcome, TrustOperatorOptions},
    block::Kind,
    body::Body,
    encoding::text_b64,
    enrol::SixDigits,
    log::{Algorithm, LogKey, LogKeys},
    party::{Ledger, Role, Sub},
    signature::IdentityKey,
    wire::Reason,
};
use warifu_node::{
    api::desk::{BeginRequest, Desk, DeskError, EnrolmentState, Frozen, LoginState},
    clock,
    roles::{
        broker::{Broker, BrokerSettings},
        operator::OperatorOptions,
        trust_operator::TrustOperator,
    },
};
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(20);
const CALLER: &str = "web";
const AUD: &str = "https://trade.example.jp";

fn master(n: u8) -> MasterKey {
    MasterKey::from_bytes(Zeroizing::new([n; 32]))
}

fn node_clock() -> Clock {
    Arc::new(clock::now)
}

fn loopback() -> Vec<Multiaddr> {
    vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]
}

/// What an operator signs the log's checkpoints with.
fn log_key(seed: u8) -> LogKey {
    let (name, algorithm) = match seed {
        2 => ("log.example", Algorithm::Ed25519),
        _ => ("witness.example", Algorithm::Cosignature),
    };
    LogKey::from_seed([seed + 20; 32], name, algorithm).unwrap()
}

fn log_keys() -> LogKeys {
    LogKeys {
        log: log_key(2).public().clone(),
        witness: log_key(3).public().clone(),
    }
}

/// A challenge is good for one block.
fn fresh_nonce() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    text_b64(&bytes)
}

struct Net {
    dir: TempDir,
    ledger: Ledger,
    broker: Broker,
    trust_operator: TrustOperator,
    trust_operator_addresses: Vec<Multiaddr>,
}

fn options<'a>(
    role: Role,
    ledger: &Ledger,
    data: &'a Path,
    seed: u8,
    other: Vec<Multiaddr>,
    progress: &'a mut dyn FnMut(u64, u64),
) -> OperatorOptions<'a> {
    OperatorOptions {
        role,
        ledger: ledger.clone(),
        identity: Arc::new(IdentityKey::from_seed([seed; 32])),
        wire_identity: IdentitySecret::new([seed; 32]),
        data,
        log_keys: log_keys(),
        log_key: log_key(seed),
        master_key: master(seed),
        sync_delay: std::time::Duration::ZERO,
        listen: loopback(),
        other_addresses: other,
        clock: node_clock(),
        reserve_bytes: 256 << 20,
        progress,
    }
}

fn parsed(listeners: Vec<String>) -> Vec<Multiaddr> {
    listeners.iter().map(|a| a.parse().unwrap()).collect()
}

async fn net() -> Net {
    let dir = TempDir::new().unwrap();
    let ledger = Ledger {
        iss: "warifu.example.jp".into(),
        broker: IdentityKey::from_seed([2; 32]).public(),
        trust_operator: IdentityKey::from_seed([3; 32]).public(),
    };
    let trust_operator = start_trust_operator(&dir, &ledger).await;
    let trust_operator_addresses = parsed(trust_operator.listeners());
    let broker = start_broker(&dir, &ledger, &trust_operator_addresses).await;
    timeout(PATIENCE, async {
        while broker.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the operators find each other");
    Net {
        dir,
        ledger,
        broker,
        trust_operator,
        trust_operator_addresses,
    }
}

async fn start_trust_operator(dir: &TempDir, ledger: &Ledger) -> TrustOperator {
    let data = dir.path().join("trust-operator");
    let mut progress = |_, _| {};
    let options = options(
        Role::TrustOperator,
        ledger,
        &data,
        3,
        Vec::new(),
        &mut progress,
    );
    TrustOperator::start(
        options,
        TrustOperatorOptions {
            unfreeze_delay_s: 0,
        },
    )
    .await
    .unwrap()
}

async fn start_broker(dir: &TempDir, ledger: &Ledger, other: &[Multiaddr]) -> Broker {
    let data = dir.path().join("broker");
    let mut progress = |_, _| {};
    let mut options = options(
        Role::Broker,
        ledger,
        &data,
        2,
        other.to_vec(),
        &mut progress,
    );
    options.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let settings = BrokerSettings {
        announce: Vec::new(),
        trust_operator_announce: other.to_vec(),
        proposal_lifetime_s: 30,
        ticket_lifetime_s: 600,
        push: None,
    };
    Broker::start(options, settings).await.unwrap()
}

impl Net {
    async fn device(&self, name: &str) -> Device {
        self.start_device(name).await.unwrap()
    }

    async fn start_device(&self, name: &str) -> Result<Device, DeviceError> {
        Device::start(DeviceOptions {
            dir: self.dir.path().join(name),
            master_key: master(9),
            ledger: self.ledger.clone(),
            log_keys: log_keys(),
            clock: node_clock(),
            signing: tokio::runtime::Handle::current(),
            limits: Limits::default(),
        })
        .await
    }

    async fn enrol(&self, device: &Device) -> (Sub, [u8; 32]) {
        let mut ticket = self.broker.open_ticket(CALLER).await.unwrap();
        ticket.broker_addresses = self.broker.listeners();
        let ticket = ticket.sign(&IdentityKey::from_seed([2; 32]));
        let mut enrolling = device.enrol(&ticket).await.unwrap();
        let stage = timeout(
            PATIENCE,
            enrolling
                .stage
                .wait_for(|s| !matches!(s, EnrolStage::Running)),
        )
        .await
        .expect("key generation ends")
        .unwrap()
        .clone();
        let EnrolStage::Digits(digits) = stage else {
            panic!("{stage:?}")
        };
        timeout(PATIENCE, async {
            let wait = Duration::from_secs(5);
            while self
                .broker
                .enrolment(CALLER, ticket.session, wait)
                .await
                .unwrap()
                != EnrolmentState::Digits
            {}
        })
        .await
        .expect("the broker asks for the digits");
        let wrong = SixDigits::parse(if digits.to_string() == "000000" {
            "111111"
        } else {
            "000000"
        });
        let refused = self
            .broker
            .confirm(CALLER, ticket.session, wrong.unwrap())
            .await;
        assert_eq!(refused, Err(DeskError::WrongDigits { left: 2 }));
        let state = self
            .broker
            .confirm(CALLER, ticket.session, digits)
            .await
            .unwrap();
        let EnrolmentState::Done {
            account,
            account_key,
            ..
        } = state
        else {
            panic!("{state:?}")
        };
        (account, account_key)
    }

    async fn begin(
        &self,
        account: Sub,
        kind: Kind,
    ) -> Result<warifu_node::api::desk::Began, DeskError> {
        let request = BeginRequest {
            kind,
            nonce: fresh_nonce(),
            body: Body {
                channel: "web".into(),
                address: "東京都千代田区".into(),
                details: Vec::new(),
                reference: None,
            },
        };
        self.broker.begin(CALLER, AUD, account, request).await
    }

    async fn outcome(&self, began: &warifu_node::api::desk::Began) -> Outcome {
        match self.broker.login(CALLER, began.id, PATIENCE).await.unwrap() {
            LoginState::Ended { outcome, .. } => outcome,
            pending @ LoginState::Pending { .. } => panic!("{pending:?}"),
        }
    }
}

async fn asked(device: &Device) -> warifu_consensus::encoding::Hash {
    timeout(PATIENCE, async {
        loop {
            if let Some(pending) = device.pending().first() {
                return pending.prompt.hash;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the device is asked")
}

/// Waits until the device's last prompt is gone: it is told after the login service is.
async fn asked_nothing(device: &Device) {
    timeout(PATIENCE, async {
        while !device.pending().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the prompt goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_enrols_logs_in_refuses_and_freezes() {
    let net = net().await;
    let device = net.device("device").await;
    let (account, account_key) = net.enrol(&device).await;

    // Three logins, all admitted.
    for height in 1..=3 {
        let began = net.begin(account, Kind::Login).await.unwrap();
        let busy = net.begin(account, Kind::Login).await;
        assert!(matches!(busy, Err(DeskError::Refused(_))), "{busy:?}");
        let proposal = asked(&device).await;
        let decision = device.approve(proposal, began.number).await.unwrap();
        assert!(matches!(decision, Decision::Sealed(_)), "{decision:?}");
        let outcome = net.outcome(&began).await;
        let Outcome::Admitted(sealed) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(sealed.block.claims().height, height);
        assert_eq!(sealed.block.claims().aud, AUD);
        let late = net.broker.cancel(CALLER, began.id).await;
        assert_eq!(late, Err(DeskError::Ended));
        // Its proof comes soon, and a stranger can check it.
        let proof = net.broker.proof(&sealed, PATIENCE).await.unwrap();
        let proof = proof.expect("the block is in the log").to_string();
        let logged = verify_logged(&sealed.block, &proof, &log_keys()).unwrap();
        assert!(logged.checkpoint.size > height, "{logged:?}");
        assert!(proof.len() <= 1400, "{} bytes", proof.len());
    }

    // A cancel is taken before the lock, and its repeat too.
    let began = net.begin(account, Kind::Login).await.unwrap();
    asked(&device).await;
    for _ in 0..2 {
        assert_eq!(net.broker.cancel(CALLER, began.id).await, Ok(()));
    }
    asked_nothing(&device).await;

    // A wrong number.
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(&device).await;
    let wrong = (began.number + 1) % 100;
    let decision = device.approve(proposal, wrong).await.unwrap();
    assert_eq!(decision, Decision::Refused(Some(Reason::WrongNumber)));
    let refused = Outcome::Refused {
        by: Role::Device,
        reason: Reason::WrongNumber,
    };
    assert_eq!(net.outcome(&began).await, refused);

    // A deny.
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(&device).await;
    device.deny(proposal, false).await.unwrap();
    let denied = Outcome::Refused {
        by: Role::Device,
        reason: Reason::Denied,
    };
    assert_eq!(net.outcome(&began).await, denied);

    // "It wasn't me" freezes.
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(&device).await;
    device.deny(proposal, true).await.unwrap();
    assert!(matches!(
        net.outcome(&began).await,
        Outcome::Refused {
            by: Role::Device,
            ..
        }
    ));
    timeout(PATIENCE, async {
        while net.broker.account(account).await.unwrap().status
            != warifu_consensus::chain::Status::Frozen
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("frozen");
    let refused = net.begin(account, Kind::Login).await;
    assert!(matches!(refused, Err(DeskError::Refused(_))), "{refused:?}");

    // Unfreeze, then the desk freezes.
    let began = net.begin(account, Kind::Unfreeze).await.unwrap();
    let proposal = asked(&device).await;
    let decision = device.approve(proposal, began.number).await.unwrap();
    assert!(matches!(decision, Decision::Sealed(_)), "{decision:?}");
    let frozen = net.broker.freeze(account).await.unwrap();
    let Frozen::Sealed(frozen) = frozen else {
        panic!("{frozen:?}");
    };

    let history = net.broker.history(account, None, 100).await.unwrap();
    let kinds: Vec<&str> = history
        .iter()
        .rev()
        .map(|e| e.sealed.block.claims().kind.name())
        .collect();
    assert_eq!(
        kinds,
        [
            "genesis", "login", "login", "login", "refuse", "deny", "freeze", "unfreeze", "freeze"
        ]
    );
    let own = device.history(account).unwrap();
    let blocks: Vec<_> = own.iter().map(|e| e.sealed.clone()).collect();
    let folded = warifu_consensus::chain::verify_chain(&net.ledger, blocks.iter()).unwrap();
    assert_eq!(*folded.account_key(), account_key);
    assert_eq!(
        own.get(1)
            .and_then(|e| e.body.as_ref())
            .map(|b| b.channel.as_str()),
        Some("web")
    );
    assert_eq!(
        device.checkpoint().await,
        None,
        "at its first line the log was empty"
    );
    device.stop().await;
    // A device that comes back sees how the log has grown.
    let proof = net.broker.proof(&frozen, PATIENCE).await.unwrap();
    proof.expect("the log has the last block");
    let device = timeout(PATIENCE, async {
        loop {
            if let Ok(device) = net.start_device("device").await {
                return device;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("its directory is free again");
    timeout(PATIENCE, async {
        while device.checkpoint().await.is_none_or(|seen| seen.size < 9) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the device sees the log");
    device.stop().await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_a_restart_of_all_three() {
    let net = net().await;
    let device = net.device("device").await;
    let (account, _) = net.enrol(&device).await;
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(&device).await;
    device.approve(proposal, began.number).await.unwrap();
    assert!(matches!(net.outcome(&began).await, Outcome::Admitted(_)));

    let Net {
        dir,
        ledger,
        broker,
        trust_operator,
        trust_operator_addresses,
    } = net;
    broker.stop().await;
    drop(broker);
    let broker = timeout(PATIENCE, async {
        loop {
            // The directory is locked until the last task of the old broker is gone.
            let data = dir.path().join("broker");
            let mut progress = |_, _| {};
            let mut options = options(
                Role::Broker,
                &ledger,
                &data,
                2,
                trust_operator_addresses.clone(),
                &mut progress,
            );
            options.listen = loopback();
            let settings = BrokerSettings {
                announce: Vec::new(),
                trust_operator_announce: trust_operator_addresses.clone(),
                proposal_lifetime_s: 30,
                ticket_lifetime_s: 600,
                push: None,
            };
            if let Ok(broker) = Broker::start(options, settings).await {
                return broker;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the directory is free again");
    let state = broker.account(account).await.unwrap();
    assert_eq!(state.head.height, 1);
    // The login that ended a moment ago can still be asked for.
    let again = broker
        .login(CALLER, began.id, Duration::ZERO)
        .await
        .unwrap();
    assert!(
        matches!(
            again,
            LoginState::Ended {
                outcome: Outcome::Admitted(_),
                ..
            }
        ),
        "{again:?}"
    );
    assert_eq!(
        broker.login("another", began.id, Duration::ZERO).await,
        Err(DeskError::UnknownLogin)
    );
    device.stop().await;
    broker.stop().await;
    trust_operator.stop().await;
    drop(broker);

    // A journal that is gone is no fresh start: the vault beside it says that there was one.
    let data = dir.path().join("trust-operator");
    let refused = timeout(PATIENCE, async {
        loop {
            let removed = std::fs::remove_dir_all(data.join("journal"));
            assert!(removed.is_ok() || !data.join("journal").exists());
            let mut progress = |_, _| {};
            let options = options(
                Role::TrustOperator,
                &ledger,
                &data,
                3,
                Vec::new(),
                &mut progress,
            );
            let policy = TrustOperatorOptions {
                unfreeze_delay_s: 0,
            };
            match TrustOperator::start(options, policy).await {
                Err(error) if error.to_string().starts_with("the journal is empty") => {
                    return error;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(_) => panic!("an empty journal beside a full vault was taken"),
            }
        }
    })
    .await
    .expect("the journal's loss is noticed");
    assert!(refused.to_string().contains("put the journal back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_enrols_one_device_once_and_only_at_its_own_ledger() {
    let net = net().await;
    let (first, second) = (net.device("first").await, net.device("second").await);
    let mut ticket = net.broker.open_ticket(CALLER).await.unwrap();
    ticket.broker_addresses = net.broker.listeners();
    let ticket = ticket.sign(&IdentityKey::from_seed([2; 32]));
    let mut enrolling = first.enrol(&ticket).await.unwrap();
    let digits = |s: &EnrolStage| matches!(s, EnrolStage::Digits(_));
    timeout(PATIENCE, enrolling.stage.wait_for(digits))
        .await
        .unwrap()
        .unwrap();

    // Photographed, and used by another device.
    let mut photographed = second.enrol(&ticket).await.unwrap();
    let failed = |s: &EnrolStage| matches!(s, EnrolStage::Failed(_));
    let stage = timeout(PATIENCE, photographed.stage.wait_for(failed))
        .await
        .unwrap()
        .unwrap()
        .clone();
    let EnrolStage::Failed(reason) = stage else {
        panic!("{stage:?}")
    };
    assert!(reason.contains("the ticket is used already"), "{reason}");

    // Changed, expired, or of another trust operator: refused before anything is sent.
    let mut changed = ticket.clone();
    changed.exp += 1;
    let refused = second.enrol(&changed).await.unwrap_err().to_string();
    assert_eq!(refused, "ticket is not signed by the broker that it names");
    let mut expired = ticket.clone();
    expired.exp = clock::now().seconds() - 5;
    let expired = expired.sign(&IdentityKey::from_seed([2; 32]));
    let refused = second.enrol(&expired).await.unwrap_err().to_string();
    assert!(refused.starts_with("ticket expired "), "{refused}");
    let mut other = ticket;
    other.ledger.trust_operator = IdentityKey::from_seed([4; 32]).public();
    let other = other.sign(&IdentityKey::from_seed([2; 32]));
    let refused = second.enrol(&other).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("ticket names another trust operator"),
        "{refused}"
    );

    let cancelled = net
        .broker
        .cancel("another", warifu_consensus::agree::LoginId([0; 16]))
        .await;
    assert_eq!(cancelled, Err(DeskError::UnknownLogin));
    let account = Sub([9; 16]);
    let unknown = net.begin(account, Kind::Login).await;
    assert_eq!(
        unknown.map(drop),
        Err(DeskError::UnknownAccount { account })
    );
    first.stop().await;
    second.stop().await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}
