//! What fuzzers feed TLS with: files of certificates and keys, and the certificates of strangers.

use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::names;
use super::pem::{certificates_in, key_in, roots_in};

/// A file of certificates, of a key and of authorities; and a certificate as a peer sends it, and
/// as an authority: without the base64, which no fuzzer changes in a way that makes sense.
pub fn pem(bytes: &[u8]) {
    let file = Path::new("a.pem");
    let name = ServerName::try_from("a.example").ok();
    let named = |certificate: &CertificateDer<'_>| {
        name.as_ref().is_some_and(|name| names(certificate, name))
    };
    // Errors are what most bytes are worth.
    if let Ok(chain) = certificates_in("tls-cert", file, bytes) {
        let _ = chain.iter().filter(|certificate| named(certificate)).count();
    }
    let _ = key_in("tls-key", file, bytes);
    let _ = roots_in("tls-ca", file, bytes);
    let certificate = CertificateDer::from(bytes);
    named(&certificate);
    let _ = RootCertStore::empty().add(certificate);
}
