//! The HTTP side's certificate: its dates, its names, and whether the key is its own.

use rustls::pki_types::CertificateDer;
use warifu_consensus::time::Time;
use x509_parser::{extensions::GeneralName, prelude::FromDer, prelude::X509Certificate};

use super::finding::Report;
use crate::{
    api, clock,
    config::{BrokerConfig, TlsFiles},
    output::Exit,
};

const DAY_S: u64 = 86_400;

/// Days before the end at which it is time for the next one.
const SOON_DAYS: u64 = 30;

pub(super) fn check(broker: &BrokerConfig, report: &mut Report) {
    let Some(TlsFiles {
        certificate,
        private_key,
    }) = &broker.tls
    else {
        report.ok("certificate", "none: plain HTTP on loopback");
        return;
    };
    let pair = match api::read_pair(certificate, private_key) {
        Ok(pair) => pair,
        Err(error) => {
            let expected = "a chain in PEM with its own key, mode 0600";
            let advice =
                "put the pair there that belongs together; a running node keeps the old one";
            report.error(
                "certificate",
                Exit::Configuration,
                error.to_string(),
                expected,
                advice,
            );
            return;
        }
    };
    report.ok(
        "certificate",
        format!("{} and its key belong together", certificate.display()),
    );
    for (at, der) in pair.cert.iter().enumerate() {
        one(at, der, clock::now(), report);
    }
}

fn one(at: usize, der: &CertificateDer<'_>, now: Time, report: &mut Report) {
    let name = if at == 0 {
        "own certificate".to_owned()
    } else {
        format!("certificate {} of the chain", at.saturating_add(1))
    };
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        let advice = "take another certificate";
        report.error(
            "certificate",
            Exit::Configuration,
            format!("{name} is none"),
            "X.509",
            advice,
        );
        return;
    };
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let validity = certificate.validity();
    let (from, until) = (seconds(validity.not_before), seconds(validity.not_after));
    let now = now.seconds();
    let named = names(&certificate);
    let about = match named.as_slice() {
        _ if at > 0 => format!("{name} ({})", certificate.subject()),
        [] => format!("{name} without names"),
        names => format!("{name} for {}", names.join(", ")),
    };
    let days = until.saturating_sub(now) / DAY_S;
    let until_text = clock::local(until);
    let advice = "renew it; the node takes the new files without a restart";
    if now < from {
        let found = format!("{about} is valid from {} on", clock::local(from));
        let advice = "wait, or set the clock";
        report.error(
            "certificate",
            Exit::Configuration,
            found,
            "one that is valid now",
            advice,
        );
    } else if now >= until {
        let found = format!("{about} expired on {until_text}");
        report.error(
            "certificate",
            Exit::Configuration,
            found,
            "one that is valid now",
            advice,
        );
    } else if days < SOON_DAYS {
        let found = format!("{about} expires in {days} days, on {until_text}");
        let expected = format!("{SOON_DAYS} days or more");
        report.warning("certificate", found, &expected, advice);
    } else {
        report.ok(
            "certificate",
            format!("{about}, {days} days more, until {until_text}"),
        );
    }
    if at == 0 && named.is_empty() {
        let found = "own certificate has no subject alternative name";
        let advice = "take one with the names by which login services reach this broker";
        report.warning(
            "certificate",
            found,
            "one name or more: clients match nothing else",
            advice,
        );
    }
}

/// The subject alternative names, as clients match them.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(name)
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}
