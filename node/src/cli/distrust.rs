use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// Why a handshake with `host` failed, and what to do about it.
pub(super) fn explain(error: &io::Error, host: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(why)) => {
            format!("its certificate is not accepted: {}", distrust(why, host))
        }
        Some(Error::InvalidMessage(_)) => {
            "it does not speak TLS: is it a process without --admin-tls-cert, and its URL http://?"
                .to_owned()
        }
        Some(Error::AlertReceived(AlertDescription::InternalError)) => {
            "it takes no further connection now (are too many open?): try again later".to_owned()
        }
        Some(error) => format!("no TLS with it: {error}"),
        None => format!("it ended the connection during the TLS handshake ({error})"),
    }
}

fn distrust(why: &CertificateError, host: &str) -> String {
    use CertificateError as E;
    match why {
        E::UnknownIssuer | E::BadSignature => {
            "no authority of --admin-ca has signed it; give the one that did, unless this is \
             another process than you think"
                .to_owned()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => format!(
            "it does not name `{host}`; use the name that it has in the URL, or give the process \
             one (--admin-tls-cert) that names `{host}`"
        ),
        E::Expired | E::ExpiredContext { .. } => {
            "it has expired; renew the file of --admin-tls-cert of the process, or set the clock \
             of this machine"
                .to_owned()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "it is not valid yet; set the clock of this machine".to_owned()
        }
        other => other.to_string(),
    }
}
