//! Two operators and their devices on loopback, in this process, and how they are stopped and started again.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;
use warifu_client_sdk::{
    device::{Device, DeviceError, DeviceOptions, EnrolStage},
    runtime::Clock,
    store::{MasterKey, occupant},
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
};
use warifu_node::{
    api::desk::{BeginRequest, Desk, DeskError, EnrolmentState, LoginState},
    clock,
    roles::{
        broker::{Broker, BrokerSettings},
        operator::OperatorOptions,
        trust_operator::TrustOperator,
    },
};
use zeroize::Zeroizing;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const CALLER: &str = "web";
pub(super) const AUD: &str = "https://trade.example.jp";

pub(super) fn master(n: u8) -> MasterKey {
    MasterKey::from_bytes(Zeroizing::new([n; 32]))
}

pub(super) fn node_clock() -> Clock {
    Arc::new(clock::now)
}

pub(super) fn loopback() -> Vec<Multiaddr> {
    vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]
}

/// What an operator signs the log's checkpoints with.
pub(super) fn log_key(seed: u8) -> LogKey {
    let (name, algorithm) = match seed {
        2 => ("log.example", Algorithm::Ed25519),
        _ => ("witness.example", Algorithm::Cosignature),
    };
    LogKey::from_seed([seed + 20; 32], name, algorithm).unwrap()
}

pub(super) fn log_keys() -> LogKeys {
    LogKeys {
        log: log_key(2).public().clone(),
        witness: log_key(3).public().clone(),
    }
}

/// A challenge is good for one block.
pub(super) fn fresh_nonce() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    text_b64(&bytes)
}

pub(super) struct Net {
    pub(super) dir: TempDir,
    pub(super) ledger: Ledger,
    pub(super) broker: Broker,
    pub(super) trust_operator: TrustOperator,
    pub(super) trust_operator_addresses: Vec<Multiaddr>,
}

pub(super) fn options<'a>(
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

pub(super) fn parsed(listeners: Vec<String>) -> Vec<Multiaddr> {
    listeners.iter().map(|a| a.parse().unwrap()).collect()
}

pub(super) async fn net() -> Net {
    let ledger = Ledger {
        iss: "warifu.example.jp".into(),
        broker: IdentityKey::from_seed([2; 32]).public(),
        trust_operator: IdentityKey::from_seed([3; 32]).public(),
    };
    started(TempDir::new().unwrap(), ledger).await
}

/// Both operators, over what their directories hold.
pub(super) async fn started(dir: TempDir, ledger: Ledger) -> Net {
    let trust_operator = start_trust_operator(&dir, &ledger).await;
    let trust_operator_addresses = parsed(trust_operator.listeners());
    let broker = start_broker(&dir, &ledger, &trust_operator_addresses, loopback()).await;
    until("the operators find each other", async || {
        broker.ready().await.is_ok()
    })
    .await;
    Net {
        dir,
        ledger,
        broker,
        trust_operator,
        trust_operator_addresses,
    }
}

pub(super) async fn start_trust_operator(dir: &TempDir, ledger: &Ledger) -> TrustOperator {
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

pub(super) async fn start_broker(
    dir: &TempDir,
    ledger: &Ledger,
    other: &[Multiaddr],
    listen: Vec<Multiaddr>,
) -> Broker {
    start_slowed_broker(dir, ledger, other, listen, Duration::ZERO).await
}

/// Each of its syncs takes longer by this.
async fn start_slowed_broker(
    dir: &TempDir,
    ledger: &Ledger,
    other: &[Multiaddr],
    listen: Vec<Multiaddr>,
    sync_delay: Duration,
) -> Broker {
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
    options.listen = listen;
    options.sync_delay = sync_delay;
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
    pub(super) async fn device(&self, name: &str) -> Device {
        self.start_device(name).await.unwrap()
    }

    pub(super) async fn start_device(&self, name: &str) -> Result<Device, DeviceError> {
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

    pub(super) async fn enrol(&self, device: &Device) -> (Sub, [u8; 32]) {
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

    pub(super) async fn begin(
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

    pub(super) async fn outcome(&self, began: &warifu_node::api::desk::Began) -> Outcome {
        match self.broker.login(CALLER, began.id, PATIENCE).await.unwrap() {
            LoginState::Ended { outcome, .. } => outcome,
            pending @ LoginState::Pending { .. } => panic!("{pending:?}"),
        }
    }
}

/// Waits until it is so.
pub(super) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("not in {PATIENCE:?}: {what}"));
}

pub(super) async fn asked(device: &Device) -> warifu_consensus::encoding::Hash {
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

/// Waits until the last task of a stopped node is gone: until then it holds its directory.
pub(super) async fn is_free(data: &Path) {
    until("its directory is free", async || {
        occupant(data).unwrap().is_none()
    })
    .await;
}

/// Stops the broker, changes its directory, and starts it again.
pub(super) async fn restart(net: Net, change: impl FnOnce(&Path)) -> Net {
    restart_slowed(net, Duration::ZERO, change).await
}

/// Like [`restart`], with a disk whose syncs take longer by this.
pub(super) async fn restart_slowed(
    net: Net,
    sync_delay: Duration,
    change: impl FnOnce(&Path),
) -> Net {
    let Net {
        dir,
        ledger,
        broker,
        trust_operator,
        trust_operator_addresses,
    } = net;
    // Devices come back to the address that their tickets named.
    let listen = parsed(broker.listeners());
    broker.stop().await;
    drop(broker);
    let data = dir.path().join("broker");
    is_free(&data).await;
    change(&data);
    let other = &trust_operator_addresses;
    let broker = start_slowed_broker(&dir, &ledger, other, listen, sync_delay).await;
    until("the operators find each other", async || {
        broker.ready().await.is_ok()
    })
    .await;
    Net {
        dir,
        ledger,
        broker,
        trust_operator,
        trust_operator_addresses,
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
