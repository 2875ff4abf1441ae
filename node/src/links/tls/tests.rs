use std::fs;
use std::os::unix::fs::PermissionsExt;

use lampyrid_wire::{ManualClock, SystemClock};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::handshake::HandshakeError;
use super::*;
use crate::tls::LOOK_PAUSE;
use crate::tls::authority::{Authority, write_secret};

fn tls(files: &TlsFiles) -> Tls {
    Tls::unchecked(files.clone(), Arc::new(SystemClock::new()))
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
    let empty = authority.path().join("empty");
    write_secret(&empty, "");
    refused(&TlsFiles { cert: empty.clone(), ..good.clone() }, "a", "tls-cert", "no certificate");
    refused(&TlsFiles { ca: empty.clone(), ..good.clone() }, "a", "tls-ca", "no certificate");
    refused(&TlsFiles { key: empty, ..good.clone() }, "a", "tls-key", "no private key");
    let missing = authority.path().join("missing");
    refused(&TlsFiles { ca: missing, ..good.clone() }, "a", "tls-ca", "missing: ");
    let huge = authority.path().join("huge");
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
    let tls =
        Tls::new(files.clone(), "a".to_owned(), Arc::<ManualClock>::clone(&clock), Arc::default())
            .unwrap();
    let first = tls.0.current();
    let next = authority.files("a");
    fs::copy(&next.cert, &files.cert).unwrap();
    assert!(Arc::ptr_eq(&first.server, &tls.0.current().server), "looked at once a second");
    clock.advance(LOOK_PAUSE);
    // The key is still the old one.
    assert!(Arc::ptr_eq(&first.server, &tls.0.current().server));
    fs::copy(&next.key, &files.key).unwrap();
    clock.advance(LOOK_PAUSE);
    let second = tls.0.current();
    assert!(!Arc::ptr_eq(&first.server, &second.server));
    assert!(!Arc::ptr_eq(&first.client, &second.client));
    fs::remove_file(&files.cert).unwrap();
    clock.advance(LOOK_PAUSE);
    assert!(Arc::ptr_eq(&second.server, &tls.0.current().server), "gone, and still in use");
}
