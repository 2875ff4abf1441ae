use std::path::Path;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, RootCertStore};

use super::TlsError;
use super::files::{check_secret, read};

/// A certificate with its key, and the settings that name the two files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) cert: (&'static str, &'a Path),
    pub(crate) key: (&'static str, &'a Path),
}

impl Pair<'_> {
    /// Refuses a key that others can read.
    pub(crate) fn check_secret(&self) -> Result<(), TlsError> {
        let (setting, path) = self.key;
        // Said first: a certificate may be read by all, so its mode would lead astray.
        if let Ok(bytes) = read(setting, path)
            && bytes.starts_with(b"-----BEGIN CERTIFICATE")
        {
            let cert = self.cert.0;
            let detail = format!("this is a certificate and no key: is it meant for --{cert}?");
            return Err(content(setting, path, detail));
        }
        check_secret(setting, path)
    }

    /// The own certificate first, and the key.
    pub(crate) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(self.cert.0, self.cert.1)?;
        let (setting, path) = self.key;
        Ok((chain, key_in(setting, path, &read(setting, path)?)?))
    }

    /// The two do not go together.
    pub(crate) fn unfit(&self, error: &rustls::Error) -> TlsError {
        let (setting, path) = self.key;
        match error {
            rustls::Error::InconsistentKeys(_) => {
                let cert = self.cert.0;
                content(setting, path, format!("it is not the key of the certificate of --{cert}"))
            }
            error => content(setting, path, error),
        }
    }
}

type Chain = Vec<CertificateDer<'static>>;

/// The certificates in a file, at least one.
fn certificates(setting: &'static str, path: &Path) -> Result<Chain, TlsError> {
    certificates_in(setting, path, &read(setting, path)?)
}

/// The authorities in a file.
pub(crate) fn roots(setting: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    roots_in(setting, path, &read(setting, path)?)
}

/// The same of a file whose bytes are known.
pub(super) fn certificates_in(
    setting: &'static str,
    path: &Path,
    bytes: &[u8],
) -> Result<Chain, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(content(setting, path, "there is no certificate in it (PEM is expected)")),
        Err(error) => Err(content(setting, path, error)),
    }
}

pub(super) fn key_in(
    setting: &'static str,
    path: &Path,
    bytes: &[u8],
) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| {
        let is_locked = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let detail = match is_locked {
            true => "its key is encrypted: store it without a passphrase, for its owner only",
            false => "there is no private key in it",
        };
        content(setting, path, detail)
    })
}

pub(super) fn roots_in(
    setting: &'static str,
    path: &Path,
    bytes: &[u8],
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates_in(setting, path, bytes)? {
        roots.add(authority).map_err(|error| content(setting, path, error))?;
    }
    Ok(roots)
}

pub(crate) fn content(setting: &'static str, path: &Path, detail: impl ToString) -> TlsError {
    TlsError::Content { setting, path: path.to_owned(), detail: detail.to_string() }
}
