//! TLS: who is believed, what is served, and how the pair is replaced.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warifu_client_sdk::login_service::api::{Asked, Shown};
use warifu_client_sdk::login_service::{
    Authorities, BrokerAddress, LoginEnd, LoginService, LoginServiceError, MemoryPins, Pin,
    PinStore, Token,
};
use warifu_consensus::encoding::{parse_b64, text_b64};
use warifu_node::api::{self, Follow, Limits, TlsError};

use super::desk::{NOW, TestDesk};
use super::{BANK, BANK_TOKEN, LoginId, Site, answer};
use crate::pki::{Authority, Pair};
use crate::trio::body;

/// A site that serves the pair in a directory and follows it.
struct Secure {
    site: Site,
    dir: TempDir,
    authority: Authority,
}

impl Secure {
    async fn open(limits: Limits) -> Secure {
        let authority = Authority::new("the broker's house");
        let pair = authority.issue();
        Secure::serving(authority, &pair, limits).await
    }

    async fn serving(authority: Authority, pair: &Pair, limits: Limits) -> Secure {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, private_key) = pair.write(dir.path());
        let files = vec![certificate.clone(), private_key.clone()];
        let read = move || api::read_pair(&certificate, &private_key);
        let (live, follow) = Follow::open("certificate", files, read).unwrap();
        let live = Arc::new(live);
        tokio::spawn(follow.run(Arc::clone(&live)));
        let tls = api::server_config(live).unwrap();
        let desk = TestDesk::new(60, NOW);
        let trusted = client_config(&authority.pem, rustls::ALL_VERSIONS);
        Secure {
            site: Site::secured(desk, limits, tls, trusted).await,
            dir,
            authority,
        }
    }

    fn service(&self, broker: BrokerAddress) -> LoginService<MemoryPins> {
        let ledger = self.site.desk.with(|room| room.operators.ledger.clone());
        let token = Token::new(BANK_TOKEN).unwrap();
        LoginService::new(broker, token, ledger, BANK, MemoryPins::default())
            .unwrap()
            .with_clock(|| NOW)
    }

    fn trusted(&self) -> BrokerAddress {
        let authorities = Authorities::from_pem(self.authority.pem.as_bytes()).unwrap();
        BrokerAddress::new(self.site.url()).trusting(authorities)
    }

    fn pin(&self) -> Pin {
        let account = self.site.desk.found();
        let desk = &self.site.desk;
        desk.with(|room| room.accounts[&account].pin(&room.operators))
    }

    /// The certificate that a new connection is shown, and its connection.
    async fn shown(&self) -> (Vec<u8>, TlsStream<TcpStream>) {
        let config = client_config(&self.authority.pem, rustls::ALL_VERSIONS);
        let stream = connect(&self.site, config).await.unwrap();
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap();
        (chain[0].to_vec(), stream)
    }
}

fn client_config(ca: &str, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn connect(site: &Site, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(site.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, socket).await
}

fn der(pair: &Pair) -> Vec<u8> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes())
        .unwrap()
        .to_vec()
}

#[tokio::test]
async fn a_login_service_speaks_to_a_broker_of_its_own_pki() {
    let secure = Secure::open(Limits::default()).await;
    let (bank, pin) = (secure.service(secure.trusted()), secure.pin());
    bank.pins().pin("1001", &pin).await.unwrap();
    let login = bank
        .begin(pin, Asked::Login, Shown::from(body("web")))
        .await
        .unwrap();
    secure
        .site
        .desk
        .approve(LoginId(parse_b64(login.id()).unwrap()));
    assert!(matches!(bank.wait(login).await, Ok(LoginEnd::Admitted(_))));
}

#[tokio::test]
async fn strangers_expired_ones_and_others_names_are_not_believed() {
    let refusal = |secure: &Secure, broker: BrokerAddress| {
        let (bank, pin) = (secure.service(broker), secure.pin());
        async move {
            match bank
                .begin(pin, Asked::Login, Shown::from(body("web")))
                .await
            {
                Err(LoginServiceError::Unreachable { what, .. }) => what,
                other => panic!("{other:?}"),
            }
        }
    };
    let secure = Secure::open(Limits::default()).await;
    let system = BrokerAddress::new(secure.site.url());
    let what = refusal(&secure, system).await;
    assert!(what.contains("UnknownIssuer"), "{what}");
    let stranger = Authorities::from_pem(Authority::new("a stranger").pem.as_bytes()).unwrap();
    let what = refusal(
        &secure,
        BrokerAddress::new(secure.site.url()).trusting(stranger),
    )
    .await;
    assert!(
        what.contains("UnknownIssuer") || what.contains("BadSignature"),
        "{what}"
    );

    let authority = Authority::new("the broker's house");
    let pair = authority.issue_until(&["127.0.0.1"], 2024);
    let expired = Secure::serving(authority, &pair, Limits::default()).await;
    let what = refusal(&expired, expired.trusted()).await;
    assert!(
        what.contains("expired") || what.contains("Expired"),
        "{what}"
    );

    let authority = Authority::new("the broker's house");
    let pair = authority.issue_until(&["elsewhere.example"], 2096);
    let elsewhere = Secure::serving(authority, &pair, Limits::default()).await;
    let what = refusal(&elsewhere, elsewhere.trusted()).await;
    assert!(what.contains("not valid for name"), "{what}");
    for secure in [&secure, &expired, &elsewhere] {
        let begun = secure.site.desk.with(|room| room.begun_for.clone());
        assert_eq!(begun, None, "no token and no request reached a stranger");
    }
}

#[tokio::test]
async fn it_speaks_tls_1_2_and_1_3_and_http_1_1() {
    let secure = Secure::open(Limits::default()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = client_config(&secure.authority.pem, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut stream = connect(&secure.site, config).await.unwrap();
        let (_, connection) = stream.get_ref();
        assert_eq!(connection.protocol_version(), Some(version.version));
        assert_eq!(connection.alpn_protocol(), Some(b"http/1.1".as_slice()));
        // Two requests on one connection.
        for _ in 0..2 {
            let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = vec![0; 1024];
            let read = stream.read(&mut answer).await.unwrap();
            let text = String::from_utf8_lossy(&answer[..read]);
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
    }
    let mut config = client_config(&secure.authority.pem, rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(
        connect(&secure.site, config).await.is_err(),
        "there is no HTTP/2"
    );
}

#[tokio::test]
async fn plain_http_garbage_and_silence_are_cut_off_while_others_are_served() {
    let limits = Limits {
        handshake_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let secure = Secure::open(limits).await;
    let mut silent = TcpStream::connect(secure.site.address).await.unwrap();
    let mut half = TcpStream::connect(secure.site.address).await.unwrap();
    // A record of a ClientHello that never comes.
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let token = format!("GET /healthz HTTP/1.1\r\nauthorization: Bearer {BANK_TOKEN}\r\n\r\n");
    let garbage = vec![0xa5; 70_000];
    for sent in [
        token.as_bytes(),
        garbage.as_slice(),
        &[22, 3, 1, 255, 255],
        b"\r\n\r\n",
    ] {
        let mut line = TcpStream::connect(secure.site.address).await.unwrap();
        // The other end may close before all is sent.
        drop(line.write_all(sent).await);
        let mut got = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(3), line.read_to_end(&mut got)).await;
        assert!(end.is_ok(), "cut off");
        assert!(
            !got.starts_with(b"HTTP"),
            "nothing is answered in the clear"
        );
        assert!(got.len() < 64, "at most an alert: {got:?}");
    }
    for line in [&mut silent, &mut half] {
        let mut got = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(3), line.read_to_end(&mut got)).await;
        assert!(end.is_ok(), "a handshake has its time");
    }
    assert_eq!(answer(secure.site.get("/readyz")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_served_without_a_stop_and_a_bad_one_never() {
    let secure = Secure::open(Limits::default()).await;
    let dir = secure.dir.path();
    let account = secure.site.desk.found();
    let id = secure.site.begin(account).await;
    let path = format!("/v1/logins/{}?wait=30", text_b64(&id.0));
    let waiting = tokio::spawn(answer(secure.site.get(&path)));
    let (first, mut old_line) = secure.shown().await;

    let renewed = secure.authority.issue();
    renewed.write(dir);
    shows(&secure, &der(&renewed)).await;
    assert_ne!(first, der(&renewed));

    // A key of another certificate, no certificate, a key that others may read, nothing at all.
    let other = secure.authority.issue();
    std::fs::write(dir.join("tls.key"), &other.private_key).unwrap();
    stays(&secure, &der(&renewed)).await;
    std::fs::write(dir.join("tls.pem"), "no certificate").unwrap();
    stays(&secure, &der(&renewed)).await;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::write(dir.join("tls.pem"), &other.certificate).unwrap();
    std::fs::set_permissions(dir.join("tls.key"), open).unwrap();
    stays(&secure, &der(&renewed)).await;
    std::fs::remove_file(dir.join("tls.pem")).unwrap();
    stays(&secure, &der(&renewed)).await;

    let last = secure.authority.issue();
    last.write(dir);
    shows(&secure, &der(&last)).await;

    // Connections from before go on.
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    old_line.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    old_line.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    secure.site.desk.approve(id);
    let (_, ended): (_, Value) = waiting.await.unwrap();
    assert_eq!(ended["status"], json!("admitted"));
}

/// Waits until new connections are shown this certificate.
async fn shows(secure: &Secure, expected: &[u8]) {
    let shown = async {
        while secure.shown().await.0 != expected {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), shown)
        .await
        .expect("the new one is shown");
}

/// Waits longer than two looks at the files; the certificate is the one from before.
async fn stays(secure: &Secure, expected: &[u8]) {
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(secure.shown().await.0, expected);
}

#[test]
fn what_is_no_pair_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("the broker's house");
    let (pair, other) = (authority.issue(), authority.issue());
    let (certificate, key) = pair.write(dir.path());
    assert!(api::read_pair(&certificate, &key).is_ok());
    let error = |certificate: &Path, key: &Path| api::read_pair(certificate, key).unwrap_err();
    let missing = dir.path().join("missing");
    assert!(matches!(error(&missing, &key), TlsError::Read { .. }));
    assert!(matches!(error(&certificate, &missing), TlsError::Secret(_)));
    assert!(matches!(
        error(&certificate, &dir.path().join("tls.pem")),
        TlsError::Secret(_)
    ));
    let swapped = error(&key, &key);
    assert!(
        swapped.to_string().contains("found no certificate"),
        "{swapped}"
    );
    std::fs::write(&key, &other.private_key).unwrap();
    assert!(matches!(error(&certificate, &key), TlsError::Pair { .. }));
    std::fs::write(&key, &pair.certificate).unwrap();
    let none = error(&certificate, &key);
    assert!(matches!(none, TlsError::Pem { .. }), "{none}");
    std::fs::write(&key, &pair.private_key).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&key, open).unwrap();
    let unsafe_key = error(&certificate, &key);
    assert!(
        unsafe_key.to_string().contains("expected 0600"),
        "{unsafe_key}"
    );
    let secret = pair.private_key.lines().nth(1).unwrap();
    assert!(!format!("{unsafe_key:?}").contains(secret));
}
