//! Who answers where a peer should: each configured address is dialled through TCP and Noise, and
//! whoever answers must prove the pinned key.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use warifu_client_sdk::transport::{
    Admission, Admit, DialFailure, IdentitySecret, Limits, Multiaddr, NetEvent, Network,
    NetworkOptions,
};
use warifu_consensus::party::Role;

use super::{Patient, finding::Report, journal::Journal};
use crate::{
    config::RoleConfig,
    output::{Exit, role_name},
};

/// How long one address may take: a handshake, and a slow line.
const PATIENCE: Duration = Duration::from_secs(8);

/// Who answered.
#[derive(Debug)]
pub(super) enum Dialled {
    /// The pinned key was proven.
    Proven,
    /// Somebody else answers there.
    Wrong { found: String, expected: String },
    /// Nobody, or nobody who speaks so.
    Unreachable { reason: String },
}

/// It dials only; whom it dials is pinned.
struct Dialler;

impl Admission for Dialler {
    fn admit(&self, _: &[u8; 32]) -> Admit {
        Admit::No
    }
}

/// Dials one address with a key made for this: a stranger's, who may be let in or not.
pub(super) async fn dial(peer: [u8; 32], address: Multiaddr) -> Dialled {
    match tokio::time::timeout(PATIENCE, try_dial(peer, address)).await {
        Ok(dialled) => dialled,
        Err(_) => Dialled::Unreachable {
            reason: format!("no answer within {} s", PATIENCE.as_secs()),
        },
    }
}

async fn try_dial(peer: [u8; 32], address: Multiaddr) -> Dialled {
    let unreachable = |reason: String| Dialled::Unreachable { reason };
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        return unreachable("the system gave no randomness".to_owned());
    }
    let options = NetworkOptions {
        identity: IdentitySecret::new(seed),
        listen: Vec::new(),
        admission: Arc::new(Dialler),
        limits: Limits::default(),
    };
    let (network, mut events) = match Network::start(options).await {
        Ok(started) => started,
        Err(error) => return unreachable(error.to_string()),
    };
    if let Err(error) = network.connect(peer, vec![address]) {
        return unreachable(error.to_string());
    }
    let dialled = loop {
        match events.recv().await {
            Some(NetEvent::Up { .. }) => break Dialled::Proven,
            Some(NetEvent::DialFailed { reason, .. }) => {
                break match *reason {
                    // Closed after Noise: the key is proven, a stranger is not let in.
                    DialFailure::Refused => Dialled::Proven,
                    DialFailure::WrongPeer {
                        found, expected, ..
                    } => Dialled::Wrong {
                        found: found.to_string(),
                        expected: expected.to_string(),
                    },
                    DialFailure::Unreachable { detail, .. } => unreachable(detail),
                    other => unreachable(other.to_string()),
                };
            }
            Some(_) => {}
            None => break unreachable("the dial was given up".to_owned()),
        }
    };
    network.shutdown().await;
    dialled
}

pub(super) async fn check(patient: &Patient<'_>, journal: Option<&Journal>, report: &mut Report) {
    let config = patient.config;
    let of = |role: Role| {
        let texts = journal.and_then(|journal| journal.addresses.get(&role));
        let texts = texts.into_iter().flatten();
        texts.filter_map(|text| text.parse().ok()).collect()
    };
    let wanted: Vec<(Role, Vec<Multiaddr>)> = match &config.role {
        RoleConfig::Broker(own) => {
            vec![(Role::TrustOperator, own.trust_operator_addresses.clone())]
        }
        RoleConfig::TrustOperator(own) => vec![(Role::Broker, own.broker_addresses.clone())],
        RoleConfig::Device(_) => vec![
            (Role::Broker, of(Role::Broker)),
            (Role::TrustOperator, of(Role::TrustOperator)),
        ],
    };
    let mut dials = JoinSet::new();
    for (role, addresses) in wanted {
        if addresses.is_empty() {
            no_address(config.role(), role, report);
        }
        let key = match role {
            Role::TrustOperator => config.ledger.trust_operator,
            Role::Broker | Role::Device => config.ledger.broker,
        };
        for address in addresses {
            dials.spawn(async move { (role, address.clone(), dial(key, address).await) });
        }
    }
    let mut dialled: Vec<(Role, Multiaddr, Dialled)> = dials.join_all().await;
    dialled.sort_by_key(|(role, address, _)| (role.number(), address.to_string()));
    for (role, address, dialled) in dialled {
        tell(role, &address, dialled, report);
    }
}

fn no_address(own: Role, role: Role, report: &mut Report) {
    let name = role_name(role);
    match own {
        Role::Broker => {
            let found = format!("no address of the {name} is known");
            let expected = "one or more: tickets tell devices where it is";
            report.warning(
                "peers",
                found,
                expected,
                "fill in broker.trust_operator_addresses",
            );
        }
        Role::TrustOperator => {
            let found = format!("no address of the {name} is configured: it dials this node");
            report.note("peers", found, "", "");
        }
        Role::Device => {
            let found = format!("no address of the {name} is known yet: no account is enrolled");
            report.note("peers", found, "", "");
        }
    }
}

fn tell(role: Role, address: &Multiaddr, dialled: Dialled, report: &mut Report) {
    let name = role_name(role);
    match dialled {
        Dialled::Proven => {
            report.ok(
                "peers",
                format!("{name} at {address} proved the pinned key"),
            );
        }
        Dialled::Wrong { found, expected } => {
            let found = format!("{name} at {address} is {found}");
            let expected = format!("{expected}, which the ledger pins");
            let advice = "mend the address; if the peer says that its key is new, that is another ledger: don't pin it without asking it by another way";
            report.error("peers", Exit::Unreachable, found, &expected, advice);
        }
        Dialled::Unreachable { reason } => {
            let found = format!("{name} at {address}: {reason}");
            let advice = "is it running, is the address right, does a firewall stand between?";
            report.error(
                "peers",
                Exit::Unreachable,
                found,
                "an answer by Noise",
                advice,
            );
        }
    }
}
