use std::io;
use std::path::PathBuf;

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
