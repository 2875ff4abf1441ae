//! What every user of TLS in a process shares, links and admin HTTP alike: how files are read,
//! looked at again and complained of. The provider is the one that ractor_cluster brings, named
//! wherever it is needed, so that none has to be installed for the whole process.

#[cfg(test)]
pub(crate) mod authority;
mod date;
mod error;
mod fault;
mod files;
#[cfg(feature = "testkit")]
pub(crate) mod fuzz;
mod linger;
mod pem;
pub(crate) mod record;
mod renewed;

use std::sync::Arc;

use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate, ServerConfig};

pub(crate) use date::Date;
pub use error::TlsError;
pub(crate) use fault::describe;
#[cfg(feature = "cli")]
pub(crate) use files::exposed_mode;
pub(crate) use linger::linger;
pub(crate) use pem::{Pair, content, roots};
#[cfg(test)]
pub(crate) use renewed::LOOK_PAUSE;
pub(crate) use renewed::Renewed;

/// Where the cryptography comes from.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Each connection proves everything: one that was resumed would go on counting a certificate that
/// has been replaced since.
pub(crate) fn never_resume(server: &mut ServerConfig) {
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
}

/// Whether a certificate was given to that name.
pub(crate) fn names(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
