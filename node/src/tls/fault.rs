use tokio_rustls::rustls::{CertificateError, Error};

use super::date::Date;

/// What is wrong with a certificate and what to do about it, in words that stay the same for as long
/// as it is: whoever logs them can tell a repetition.
pub(crate) fn describe(error: &Error) -> String {
    use CertificateError::{
        Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidYet,
        NotValidYetContext, UnknownIssuer,
    };
    let Error::InvalidCertificate(fault) = error else { return error.to_string() };
    match fault {
        Expired => "the certificate has expired: renew it".to_owned(),
        ExpiredContext { not_after, .. } => {
            format!("the certificate expired on {}: renew it", Date(*not_after))
        }
        NotValidYet => "the certificate is not valid yet: look at the clocks".to_owned(),
        NotValidYetContext { not_before, .. } => format!(
            "the certificate is not valid before {}: wait, or look at the clocks",
            Date(*not_before)
        ),
        UnknownIssuer => {
            "no authority of --tls-ca has signed the certificate: give both processes the same \
             --tls-ca, or a certificate of that authority"
                .to_owned()
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "the certificate may not be used like this: it has to be for clients and for servers \
             (extendedKeyUsage=serverAuth,clientAuth)"
                .to_owned()
        }
        _ => error.to_string(),
    }
}
