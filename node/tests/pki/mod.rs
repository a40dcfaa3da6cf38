//! A private PKI: an authority of the test's own, and certificates in files.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate chain and its key, PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) private_key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for these host names and addresses, good until the first day of a year.
    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            private_key: key.serialize_pem(),
        }
    }

    pub(crate) fn issue(&self) -> Pair {
        self.issue_until(&["localhost", "127.0.0.1"], 2096)
    }
}

impl Pair {
    /// Writes `tls.pem` and `tls.key` (0600), each in one step, as renewals do.
    pub(crate) fn write(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let put = |name: &str, text: &str, mode: u32| {
            let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, PermissionsExt::from_mode(mode)).unwrap();
            std::fs::rename(&new, &path).unwrap();
            path
        };
        let certificate = put("tls.pem", &self.certificate, 0o644);
        (certificate, put("tls.key", &self.private_key, 0o600))
    }
}
