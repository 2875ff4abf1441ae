use std::io;

use tokio_rustls::rustls::ConnectionCommon;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

const LABEL: &[u8] = b"EXPORTER-lampyrid-hello";

/// What the other end of a secured connection has proved: that it holds the key of a certificate
/// that our authority has signed.
#[derive(Debug, Clone)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    binding: [u8; 32],
}

impl Identity {
    pub(super) fn proven<D>(connection: &ConnectionCommon<D>) -> io::Result<Self> {
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        // Both sides demand one: a handshake without does not come to its end.
        let shown = shown.ok_or(io::ErrorKind::InvalidData)?;
        let certificate = shown.clone().into_owned();
        let binding = connection.export_keying_material([0; 32], LABEL, None);
        Ok(Self { certificate, binding: binding.map_err(io::Error::other)? })
    }

    /// Whether its certificate was given to a process of that name.
    pub(crate) fn names(&self, name: &str) -> bool {
        names(&self.certificate, name)
    }

    /// Known to the two ends of this one connection only (RFC 9266 does the same for other
    /// protocols): a hello that covers it is worth nothing in another one.
    pub(crate) fn binding(&self) -> &[u8] {
        &self.binding
    }
}

pub(super) fn names(certificate: &CertificateDer<'_>, name: &str) -> bool {
    dns_name(name).is_some_and(|name| crate::tls::names(certificate, &name))
}

/// Names of certificates are DNS names; others cannot be in one.
pub(super) fn dns_name(name: &str) -> Option<ServerName<'_>> {
    ServerName::try_from(name).ok().filter(|name| matches!(name, ServerName::DnsName(_)))
}
