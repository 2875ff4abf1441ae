use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use lampyrid_wire::{ManualClock, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::handshake::HandshakeError;
use super::*;

/// Signs certificates for tests.
pub(in super::super) struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    files: AtomicUsize,
}

impl Authority {
    pub(in super::super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca"), certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key), files: AtomicUsize::new(0) }
    }

    /// For a process of that name.
    pub(in super::super) fn files(&self, name: &str) -> TlsFiles {
        self.issue(name, |_| {})
    }

    pub(in super::super) fn expired(&self, name: &str) -> TlsFiles {
        self.issue(name, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// Another one's certificate with trust in this one.
    pub(in super::super) fn trusting(&self, other: &TlsFiles) -> TlsFiles {
        TlsFiles { ca: self.directory.path().join("ca"), ..other.clone() }
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsFiles {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = |kind: &str| self.directory.path().join(format!("{number}.{kind}"));
        let files =
            TlsFiles { cert: path("pem"), key: path("key"), ca: path("").with_file_name("ca") };
        fs::write(&files.cert, certificate.pem()).unwrap();
        write_secret(&files.key, &key.serialize_pem());
        files
    }
}

fn write_secret(path: &PathBuf, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn tls(files: &TlsFiles) -> Tls {
    Tls::unchecked(files.clone(), "x", Arc::new(SystemClock::new()))
}

/// A byte there and back: in TLS 1.3 a dialler learns only then that it was refused.
async fn meet(
    dialler: &Tls,
    acceptor: &Tls,
) -> (Result<Identity, HandshakeError>, Result<Identity, HandshakeError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dial = async {
        let mut wire = dialler.client(TcpStream::connect(address).await?).await?;
        wire.writer.write_all(b"1").await?;
        wire.writer.flush().await?;
        wire.reader.read_u8().await?;
        Ok(wire.identity.unwrap())
    };
    let accept = async {
        let mut wire = acceptor.server(listener.accept().await?.0).await?;
        wire.reader.read_u8().await?;
        wire.writer.write_all(b"2").await?;
        wire.writer.flush().await?;
        Ok(wire.identity.unwrap())
    };
    tokio::join!(dial, accept)
}

#[tokio::test]
async fn two_of_one_authority_know_each_others_names_and_share_a_secret() {
    let authority = Authority::new();
    let (a, b) = (tls(&authority.files("a")), tls(&authority.files("b.example")));
    let (b_proven, a_proven) = meet(&a, &b).await;
    let (b_proven, a_proven) = (b_proven.unwrap(), a_proven.unwrap());
    assert!(a_proven.names("a") && a_proven.names("A"), "as DNS compares names");
    assert!(b_proven.names("b.example"));
    for other in ["b", "example", "", "*", "b.example.", "127.0.0.1", "b example"] {
        assert!(!a_proven.names(other), "{other}");
        assert!(other == "b.example." || !b_proven.names(other), "{other}");
    }
    assert_eq!(a_proven.binding(), b_proven.binding());
    let (again, _) = meet(&a, &b).await;
    assert_ne!(again.unwrap().binding(), b_proven.binding());
}

#[tokio::test]
async fn strangers_are_refused_on_both_sides_whoever_dials() {
    let (authority, other) = (Authority::new(), Authority::new());
    let us = tls(&authority.files("a"));
    let serves_only = authority.issue("b", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let dials_only = authority.issue("b", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let early = authority.issue("b", |params| params.not_before = date_time_ymd(2090, 1, 1));
    let strange = authority.trusting(&other.files("b"));
    let refused = |result: Result<Identity, HandshakeError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, HandshakeError::Certificate(_)), "{error:?}");
    };
    for (files, dials, serves) in [
        (&strange, true, true),
        (&authority.expired("b"), true, true),
        (&early, true, true),
        (&serves_only, true, false),
        (&dials_only, false, true),
    ] {
        let them = tls(files);
        if dials {
            let (theirs, ours) = meet(&them, &us).await;
            refused(theirs);
            refused(ours);
        }
        if serves {
            let (ours, theirs) = meet(&us, &them).await;
            refused(ours);
            refused(theirs);
        }
    }
}

#[tokio::test]
async fn a_dialler_without_a_certificate_is_refused() {
    use tokio_rustls::rustls::{ClientConfig, crypto::aws_lc_rs, version::TLS13};
    let authority = Authority::new();
    let files = authority.files("a");
    let us = tls(&files);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let own = Loaded::unchecked(&files).unwrap().1;
    let mut bare = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(own.as_dialled)
        .with_no_client_auth();
    bare.alpn_protocols = vec![b"lampyrid".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dial = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(UNNAMED).unwrap();
        let stream = TlsConnector::from(Arc::new(bare)).connect(name, stream).await;
        // Refused now or at the first byte.
        match stream {
            Ok(mut stream) => stream.read_u8().await.is_err(),
            Err(_) => true,
        }
    };
    let accept = async { us.server(listener.accept().await.unwrap().0).await.map(drop) };
    let (refused, accepted) = tokio::join!(dial, accept);
    assert!(refused);
    let error = HandshakeError::from(accepted.unwrap_err());
    assert!(matches!(error, HandshakeError::Certificate(_)), "{error:?}");
}

#[test]
fn files_that_peers_would_refuse_are_refused_at_the_start_by_their_setting() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.files("a");
    good.check("a").unwrap();
    let refused = |files: &TlsFiles, name: &str, setting: &str, why: &str| {
        let error = files.check(name).unwrap_err();
        assert_eq!(error.setting(), setting, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(&good, "b", "tls-cert", "does not name this process, `b`");
    refused(&good, "a b", "name", "no DNS name");
    refused(&authority.expired("a"), "a", "tls-cert", "peers would not accept it");
    refused(&authority.trusting(&other.files("a")), "a", "tls-cert", "peers would not accept it");
    let key = other.files("a").key;
    refused(&TlsFiles { key, ..good.clone() }, "a", "tls-key", "not the key of the certificate");
    let empty = authority.directory.path().join("empty");
    write_secret(&empty, "");
    refused(&TlsFiles { cert: empty.clone(), ..good.clone() }, "a", "tls-cert", "no certificate");
    refused(&TlsFiles { ca: empty.clone(), ..good.clone() }, "a", "tls-ca", "no certificate");
    refused(&TlsFiles { key: empty, ..good.clone() }, "a", "tls-key", "no private key");
    let missing = authority.directory.path().join("missing");
    refused(&TlsFiles { ca: missing, ..good.clone() }, "a", "tls-ca", "missing: ");
    let huge = authority.directory.path().join("huge");
    fs::write(&huge, vec![b'x'; 2 * 1024 * 1024]).unwrap();
    refused(&TlsFiles { cert: huge, ..good.clone() }, "a", "tls-cert", "more than");
    fs::set_permissions(&good.key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&good, "a", "tls-key", "others can read it (mode 0644)");
}

#[test]
fn changed_files_count_without_a_restart_and_broken_ones_do_not() {
    let authority = Authority::new();
    let files = authority.files("a");
    let clock = Arc::new(ManualClock::new());
    let tls = Tls::new(files.clone(), "a".to_owned(), Arc::<ManualClock>::clone(&clock)).unwrap();
    let first = tls.current();
    let next = authority.files("a");
    fs::copy(&next.cert, &files.cert).unwrap();
    assert!(Arc::ptr_eq(&first.server, &tls.current().server), "looked at once a second");
    clock.advance(LOOK_PAUSE);
    // The key is still the old one.
    assert!(Arc::ptr_eq(&first.server, &tls.current().server));
    fs::copy(&next.key, &files.key).unwrap();
    clock.advance(LOOK_PAUSE);
    let second = tls.current();
    assert!(!Arc::ptr_eq(&first.server, &second.server));
    assert!(!Arc::ptr_eq(&first.client, &second.client));
    fs::remove_file(&files.cert).unwrap();
    clock.advance(LOOK_PAUSE);
    assert!(Arc::ptr_eq(&second.server, &tls.current().server), "gone, and still in use");
}
