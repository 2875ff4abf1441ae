use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// Signs certificates of processes under test.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl Authority {
    /// A new one, whose files are in `directory`.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is right");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::create_dir_all(directory).expect("the directory is writable");
        fs::write(directory.join("ca.pem"), certificate.pem()).expect("it is writable");
        Self { directory: directory.to_owned(), issuer: Arc::new(Issuer::new(params, key)) }
    }

    /// The same one, with files of its own in `directory`.
    #[must_use]
    pub fn beside(&self, directory: &Path) -> Self {
        fs::create_dir_all(directory).expect("the directory is writable");
        fs::copy(self.ca(), directory.join("ca.pem")).expect("it is writable");
        Self { directory: directory.to_owned(), issuer: Arc::clone(&self.issuer) }
    }

    /// Whom the processes trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A fresh certificate with all these names, and its key, as `file`.pem and `file`.key.
    #[must_use]
    pub fn issue(&self, file: &str, names: &[String]) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(names.to_vec()).expect("DNS names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let own = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&own, &*self.issuer).expect("a certificate");
        let cert = self.directory.join(format!("{file}.pem"));
        let key = self.directory.join(format!("{file}.key"));
        fs::write(&cert, signed.pem()).expect("it is writable");
        fs::write(&key, own.serialize_pem()).expect("it is writable");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("it is ours");
        (cert, key)
    }

    /// The flags for a process of that name.
    #[must_use]
    pub fn flags(&self, name: &str) -> Vec<String> {
        let (cert, key) = self.issue(name, &[name.to_owned()]);
        [("--tls-cert", cert), ("--tls-key", key), ("--tls-ca", self.ca())]
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
            .collect()
    }
}
