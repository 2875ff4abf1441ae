use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::load::Loaded;

/// The largest file read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

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

/// When and what each file was.
pub(super) type Stamps = [Option<(SystemTime, u64, u64)>; 3];

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {detail}", path.display())]
    Content {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The name of the process can be in no certificate.
    #[error(
        "`{0}` is no DNS name, so no certificate can name it; with TLS a process needs a name such \
         as `node-1` or `a.example`"
    )]
    Name(String),
}

impl TlsError {
    /// The setting at fault, by its name on the command line without the dashes.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::Read { setting, .. } | Self::Content { setting, .. } => setting,
            Self::Name(_) => "name",
        }
    }
}

impl TlsFiles {
    /// Whether a process of that name could start with these files now.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self, name: &str) -> Result<(), TlsError> {
        Loaded::checked(self, name).map(drop)
    }

    pub(super) fn stamps(&self) -> Stamps {
        [&self.cert, &self.key, &self.ca].map(|path| {
            let of = std::fs::metadata(path).ok()?;
            Some((of.modified().ok()?, of.len(), number(&of)))
        })
    }
}

/// Tells a file that was put in the place of another.
fn number(of: &std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::ino(of);
    #[cfg(not(unix))]
    return 0;
}

/// The bytes of a file.
pub(super) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let fault = |source| TlsError::Read { setting, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fault)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let detail = format!("it has more than {MAX_FILE_BYTES} bytes: it is no PEM file");
        return Err(TlsError::Content { setting, path: path.to_owned(), detail });
    }
    Ok(bytes)
}

/// Refuses a secret that others can read.
pub(super) fn check_secret(setting: &'static str, path: &Path) -> Result<(), TlsError> {
    let fault = |source| TlsError::Read { setting, path: path.to_owned(), source };
    let of = std::fs::metadata(path).map_err(fault)?;
    match exposed(&of) {
        None => Ok(()),
        Some(mode) => {
            let detail = format!("others can read it (mode {mode:04o}): chmod 600 it");
            Err(TlsError::Content { setting, path: path.to_owned(), detail })
        }
    }
}

#[cfg(unix)]
fn exposed(of: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mode = of.mode() & 0o777;
    // What a service manager hands out belongs to root and is read through a group.
    let allowed = if of.uid() == 0 { 0o740 } else { 0o700 };
    (mode & !allowed != 0).then_some(mode)
}

#[cfg(not(unix))]
fn exposed(_: &std::fs::Metadata) -> Option<u32> {
    None
}
