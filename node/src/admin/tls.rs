use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lampyrid_wire::SystemClock;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::blunt;
use super::limits::{HANDSHAKE_TIMEOUT, WRITE_TIMEOUT};
use super::stall::Stall;
use crate::tls::record::HELLO;
use crate::tls::{Pair, Renewed, TlsError, content, linger, names, never_resume, provider};

/// What is spoken inside (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";

/// TLS 1.3 with a certificate of the server only: callers are known by their token. The files are
/// read again when they have changed.
#[derive(Debug)]
pub struct AdminTls {
    files: Renewed<Loaded>,
    /// What clients call the server, once that is known.
    host: Arc<OnceLock<String>>,
}

#[derive(Debug, Clone)]
struct Loaded {
    server: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

/// A connection on which requests can come.
pub(super) type Secured = TlsStream<Stall<TcpStream>>;

impl AdminTls {
    /// Reads certificate and key, as PEM. The key may be readable by its owner only (or by a group,
    /// if root owns it). Whether the certificate names the server is for its clients to say.
    ///
    /// # Errors
    /// What is wrong with the files, with the setting of `lampyrid node` that names them.
    pub fn new(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let files = vec![cert.clone(), key.clone()];
        let clock = Arc::new(SystemClock::new());
        let host = Arc::<OnceLock<String>>::default();
        let called = Arc::clone(&host);
        let load = move || {
            let loaded = Loaded::read(&cert, &key)?;
            if let Some(host) = called.get().filter(|host| !loaded.names(host)) {
                let cert = cert.display();
                tracing::warn!(%cert, host, "the new certificate does not name this host: clients will refuse it");
            }
            Ok(loaded)
        };
        let files = Renewed::new("admin", files, clock, load)?;
        Ok(Self { files, host })
    }

    /// Whether the certificate names that host, a DNS name or an address; those that come after it
    /// are looked at as well.
    pub(crate) fn serves(&self, host: &str) -> bool {
        // Told once, at the start.
        let _ = self.host.set(host.to_owned());
        self.files.current().names(host)
    }

    /// Makes an accepted connection ready for requests, or says on it why not.
    pub(super) async fn secure(&self, stream: TcpStream) -> io::Result<Secured> {
        // Dropped in the middle, the connection is closed.
        let handshake = timeout(HANDSHAKE_TIMEOUT, self.handshake(stream)).await;
        handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<Secured> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0] != HELLO {
            blunt::demand_tls(stream).await;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks no TLS"));
        }
        let acceptor = TlsAcceptor::from(self.files.current().server);
        // The watch on writes lies under TLS, where a byte that is taken is one on its way.
        let stream = Stall::new(stream, WRITE_TIMEOUT);
        match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => {
                linger(stream).await;
                Err(error)
            }
        }
    }
}

impl Loaded {
    fn names(&self, host: &str) -> bool {
        ServerName::try_from(host).is_ok_and(|host| names(&self.certificate, &host))
    }

    fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let pair = Pair { cert: ("admin-tls-cert", cert), key: ("admin-tls-key", key) };
        pair.check_secret()?;
        let (chain, key) = pair.read()?;
        let fault = |detail: String| content("admin-tls-cert", cert, detail);
        let certificate = chain.first().cloned().ok_or_else(|| fault(String::new()))?;
        check(&certificate).map_err(|e| fault(format!("no client would accept it: {e}")))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| pair.unfit(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| pair.unfit(&error))?;
        never_resume(&mut server);
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { server: Arc::new(server), certificate })
    }
}

/// Looks at all but who has signed it, which is between a client and its authorities. With no
/// authority at all that is the one complaint left about a certificate that is right.
fn check(certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let certificate = ParsedCertificate::try_from(certificate)?;
    let nobody = RootCertStore::empty();
    let algorithms = provider().signature_verification_algorithms.all;
    let now = UnixTime::now();
    match verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], now, algorithms) {
        Ok(()) | Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use rcgen::ExtendedKeyUsagePurpose;

    use super::*;
    use crate::links::TlsFiles;
    use crate::tls::authority::Authority;

    #[test]
    fn only_a_pair_that_clients_would_accept_is_taken() {
        let authority = Authority::new();
        let admin = |files: &TlsFiles| AdminTls::new(files.cert.clone(), files.key.clone());
        let good = authority.files("a.example");
        let tls = admin(&good).unwrap();
        assert!(tls.serves("a.example") && !tls.serves("b.example") && !tls.serves("127.0.0.1"));
        assert!(admin(&authority.files("127.0.0.1")).unwrap().serves("127.0.0.1"));
        let refused = |files: &TlsFiles, setting: &str, why: &str| {
            let error = admin(files).unwrap_err();
            assert_eq!(error.setting(), setting, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        };
        refused(&authority.expired("a"), "admin-tls-cert", "no client would accept it");
        let dials_only = authority.issue("a", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        refused(&dials_only, "admin-tls-cert", "no client would accept it");
        let key = authority.files("a").key;
        let why = "not the key of the certificate of --admin-tls-cert";
        refused(&TlsFiles { key, ..good.clone() }, "admin-tls-key", why);
        let swapped = TlsFiles { cert: good.key.clone(), ..good.clone() };
        refused(&swapped, "admin-tls-cert", "there is no certificate in it");
        fs::set_permissions(&good.key, Permissions::from_mode(0o644)).unwrap();
        refused(&good, "admin-tls-key", "others can read it");
    }
}
