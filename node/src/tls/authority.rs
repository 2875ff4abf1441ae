use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use crate::links::TlsFiles;

/// Signs certificates for tests.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    files: AtomicUsize,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca"), certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key), files: AtomicUsize::new(0) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// For a process of that name.
    pub(crate) fn files(&self, name: &str) -> TlsFiles {
        self.issue(name, |_| {})
    }

    pub(crate) fn expired(&self, name: &str) -> TlsFiles {
        self.issue(name, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// Another one's certificate with trust in this one.
    pub(crate) fn trusting(&self, other: &TlsFiles) -> TlsFiles {
        TlsFiles { ca: self.directory.path().join("ca"), ..other.clone() }
    }

    pub(crate) fn issue(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsFiles {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = |kind: &str| self.directory.path().join(format!("{number}.{kind}"));
        let files =
            TlsFiles { cert: path("pem"), key: path("key"), ca: path("").with_file_name("ca") };
        fs::write(&files.cert, certificate.pem()).unwrap();
        write_secret(&files.key, &key.serialize_pem());
        files
    }
}

pub(crate) fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
