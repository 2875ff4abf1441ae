use std::path::PathBuf;

use super::load::Loaded;
use crate::tls::{Pair, TlsError};

/// Where certificate, key and authorities of a process are, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the process and those between it and the authority.
    pub cert: PathBuf,
    /// Its private key; readable by its owner only (or by a group, if root owns it).
    pub key: PathBuf,
    /// The certificates of the authorities that may sign those of processes.
    pub ca: PathBuf,
}

impl TlsFiles {
    /// Whether a process of that name could start with these files now.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self, name: &str) -> Result<(), TlsError> {
        Loaded::checked(self, name).map(drop)
    }

    pub(super) fn pair(&self) -> Pair<'_> {
        Pair { cert: ("tls-cert", &self.cert), key: ("tls-key", &self.key) }
    }

    pub(super) fn all(&self) -> Vec<PathBuf> {
        vec![self.cert.clone(), self.key.clone(), self.ca.clone()]
    }
}
