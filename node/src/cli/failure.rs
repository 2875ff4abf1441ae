use std::process::ExitCode;

/// Why a command did not do what it was asked to, by exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Exit 1: it was tried and failed; the text names the typed reason.
    #[error("{0}")]
    Failed(String),
    /// Exit 2: bad usage or configuration; the text names the flag, variable, or file and line.
    #[error("{0}")]
    Usage(String),
    /// Exit 3: the process could not be reached.
    #[error("cannot reach {url}: {detail}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What happened.
        detail: String,
    },
    /// Exit 130: ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Exit 1 without a word: what is wrong has been shown as the result.
    #[error("")]
    Shown,
}

impl Failure {
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self::Failed(detail.into())
    }

    pub(crate) fn usage(detail: impl Into<String>) -> Self {
        Self::Usage(detail.into())
    }

    /// Says why on stderr and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        use std::io::Write;
        let text = self.to_string();
        if !text.is_empty() {
            // Nobody may be left to read it.
            let _ = writeln!(std::io::stderr(), "error: {text}");
        }
        ExitCode::from(match self {
            Self::Failed(_) | Self::Shown => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Interrupted => 130,
        })
    }
}
