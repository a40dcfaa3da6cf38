//! The running process: who it is, what it may open, and whether the ports and the socket are its own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    time::Duration,
};

use warifu_client_sdk::{
    store::Occupant,
    transport::{Limits, Multiaddr},
};
use warifu_consensus::party::Role;

use super::{
    Patient,
    finding::Report,
    peers::{self, Dialled},
};
use crate::{
    config::RoleConfig,
    control::{Answer, ControlClient, Request},
    output::Exit,
};

/// Files besides one for each line: journal, index, log, HTTP.
const OTHER_FILES: u64 = 512;

/// How long a local answer may take.
const LOCAL: Duration = Duration::from_secs(2);

pub(super) fn check(patient: &Patient<'_>, report: &mut Report) {
    match patient.running {
        None => report.note("process", "no node runs in this directory", "", ""),
        Some(Occupant { pid: None }) => report.ok("process", "the node runs"),
        Some(Occupant { pid: Some(pid) }) => {
            report.ok("process", format!("the node runs, process {pid}"));
        }
    }
    open_files(patient, report);
    core_files(patient, report);
}

/// The limits of the running node as the system tells them, else of this process.
fn limits(patient: &Patient<'_>) -> Option<String> {
    let pid = patient.running.and_then(|occupant| occupant.pid);
    let path = match pid {
        Some(pid) => PathBuf::from(format!("/proc/{pid}/limits")),
        None => PathBuf::from("/proc/self/limits"),
    };
    fs::read_to_string(path).ok()
}

/// A core file would hold shares and keys as they are in memory.
fn core_files(patient: &Patient<'_>, report: &mut Report) {
    if patient.running.and_then(|occupant| occupant.pid).is_none() {
        return;
    }
    let Some(found) = limits(patient).and_then(|text| soft_limit(&text, "Max core file size"))
    else {
        report.note(
            "core dumps",
            "the limit of core files can't be read here",
            "",
            "",
        );
        return;
    };
    if found == 0 {
        report.ok("core dumps", "the node may write none");
    } else {
        let told = format!("the node may write a core file of {found} bytes");
        let advice = "restart the node: this release lowers the limit by itself";
        report.warning(
            "core dumps",
            told,
            "0 bytes: it would hold shares and keys",
            advice,
        );
    }
}

/// The soft limit of open files of the running node, else of this process, which a node started
/// from here would get.
fn open_files(patient: &Patient<'_>, report: &mut Report) {
    let pid = patient.running.and_then(|occupant| occupant.pid);
    let whose = match pid {
        Some(_) => "the node",
        None => "a node started from here",
    };
    let Some(found) = limits(patient).and_then(|text| soft_limit(&text, "Max open files")) else {
        report.note(
            "limits",
            "the limit of open files can't be read here",
            "",
            "",
        );
        return;
    };
    let lines = match &patient.config.role {
        RoleConfig::Device(_) => 16,
        RoleConfig::TrustOperator(_) => Limits::default().established,
        RoleConfig::Broker(own) => Limits::default()
            .established
            .saturating_add(own.limits.connections),
    };
    let expected = u64::try_from(lines)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_FILES);
    let told = format!("{whose} may open {found} files");
    if found >= expected {
        report.ok("limits", told);
    } else {
        let expected =
            format!("{expected}: {lines} lines and connections, and what is open besides");
        let advice = "LimitNOFILE= in the systemd unit, or ulimit -n; below it lines are refused";
        report.warning("limits", told, &expected, advice);
    }
}

/// A soft limit in the text of /proc/PID/limits; `u64::MAX` for unlimited.
fn soft_limit(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().find_map(|line| line.strip_prefix(name))?;
    match values.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

/// Whether this node's ports are free, or its own.
pub(super) async fn ports(patient: &Patient<'_>, is_offline: bool, report: &mut Report) {
    let config = patient.config;
    if let RoleConfig::Broker(broker) = &config.role {
        port(patient, broker.http, "http", report);
    }
    if let Some(metrics) = config.node.metrics {
        port(patient, metrics, "metrics", report);
    }
    if let Some(log_http) = config.node.log_http {
        port(patient, log_http, "log_http", report);
    }
    let own = match config.role() {
        Role::TrustOperator => config.ledger.trust_operator,
        Role::Broker | Role::Device => config.ledger.broker,
    };
    for address in &config.node.listen {
        let Some(socket) = socket(address) else {
            report.note("ports", format!("{address} was not looked at"), "", "");
            continue;
        };
        if !patient.is_running() || is_offline || socket.port() == 0 {
            port(patient, socket, "listen", report);
            continue;
        }
        let Some(local) = multiaddr(reached_at(socket)) else {
            continue;
        };
        match peers::dial(own, local).await {
            Dialled::Proven => {
                report.ok(
                    "ports",
                    format!("listen {socket} is this node's, by its key"),
                );
            }
            Dialled::Wrong { found, .. } => {
                let found = format!("listen {socket} is answered by {found}");
                let advice = "stop the other node, or choose another port";
                report.error("ports", Exit::Configuration, found, "this node", advice);
            }
            Dialled::Unreachable { reason } => {
                let found = format!("listen {socket}: {reason}");
                let advice = "read the node's log: it should have stopped";
                report.error(
                    "ports",
                    Exit::Unreachable,
                    found,
                    "this node's answer",
                    advice,
                );
            }
        }
    }
}

fn port(patient: &Patient<'_>, address: SocketAddr, what: &str, report: &mut Report) {
    if address.port() == 0 {
        let found = format!("{what} {address}: the system chooses the port");
        report.note(
            "ports",
            found,
            "",
            "choose one, so that others find this node",
        );
        return;
    }
    if patient.is_running() {
        match TcpStream::connect_timeout(&reached_at(address), LOCAL) {
            Ok(_) => report.ok("ports", format!("{what} {address} answers")),
            Err(error) => {
                let found = format!("{what} {address}: {error}");
                let advice = "read the node's log; was the configuration changed since its start?";
                report.error(
                    "ports",
                    Exit::Unreachable,
                    found,
                    "the running node",
                    advice,
                );
            }
        }
        return;
    }
    match TcpListener::bind(address) {
        Ok(_) => report.ok("ports", format!("{what} {address} is free")),
        Err(error) => {
            let found = format!("{what} {address}: {error}");
            let advice = "stop whoever listens there (ss -ltnp names it), or choose another port";
            report.error(
                "ports",
                Exit::Configuration,
                found,
                "a free port of this machine",
                advice,
            );
        }
    }
}

/// Where this machine reaches what it listens on.
fn reached_at(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let text = address.to_string();
    let mut parts = text.split('/').skip(1);
    let family = parts.next()?;
    let ip: IpAddr = match family {
        "ip4" | "ip6" => parts.next()?.parse().ok()?,
        _ => return None,
    };
    let port = parts
        .next()
        .filter(|name| *name == "tcp")
        .and(parts.next())?;
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

fn multiaddr(address: SocketAddr) -> Option<Multiaddr> {
    let family = if address.is_ipv4() { "ip4" } else { "ip6" };
    let text = format!("/{family}/{}/tcp/{}", address.ip(), address.port());
    text.parse().ok()
}

/// The control socket of a device.
pub(super) async fn control(patient: &Patient<'_>, report: &mut Report) {
    let RoleConfig::Device(device) = &patient.config.role else {
        return;
    };
    let path = device.control.display();
    if !patient.is_running() {
        if device.control.symlink_metadata().is_ok() {
            let found = format!("{path} is a leftover");
            report.note("control", found, "", "nothing: the next start replaces it");
        }
        return;
    }
    let client = ControlClient::new(&device.control);
    match tokio::time::timeout(LOCAL, client.ask(&Request::Pending)).await {
        Ok(Ok(Answer::Pending(pending))) => {
            let found = format!("{path} answers, {} proposals are pending", pending.len());
            report.ok("control", found);
        }
        Ok(Ok(_)) => {
            let found = format!("{path} answers with something else");
            report.error(
                "control",
                Exit::Unreachable,
                found,
                "this release's device",
                "restart the device",
            );
        }
        Ok(Err(error)) => {
            let advice = "restart the device; warifu device can't reach it";
            report.error(
                "control",
                Exit::Unreachable,
                error.to_string(),
                "the running device",
                advice,
            );
        }
        Err(_) => {
            let found = format!("{path} does not answer in {} s", LOCAL.as_secs());
            report.error(
                "control",
                Exit::Unreachable,
                found,
                "an answer",
                "restart the device",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max processes             95990                95990                processes\n\
                    Max open files            1024                 1048576              files\n";
        assert_eq!(soft_limit(text, "Max open files"), Some(1024));
        assert_eq!(
            soft_limit(
                "Max core file size   unlimited unlimited bytes",
                "Max core file size"
            ),
            Some(u64::MAX)
        );
        assert_eq!(soft_limit("", "Max open files"), None);
    }

    #[test]
    fn addresses_are_reached_on_this_machine() {
        let of = |text: &str| socket(&text.parse().unwrap()).map(reached_at);
        assert_eq!(
            of("/ip4/0.0.0.0/tcp/7"),
            Some("127.0.0.1:7".parse().unwrap())
        );
        assert_eq!(of("/ip6/::/tcp/7"), Some("[::1]:7".parse().unwrap()));
        assert_eq!(of("/dns/host/tcp/7"), None);
    }
}
