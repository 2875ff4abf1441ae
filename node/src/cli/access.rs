use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, client::Resumption};

use super::args::AccessArgs;
use super::failure::Failure;
use super::options::read_token;
use crate::tls::{TlsError, content, provider, roots};

const CA: &str = "admin-ca";

/// What a client shows to the processes that it asks, and whom it believes that they are those.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// The admin token.
    pub(crate) token: Option<String>,
    /// Whose certificates are accepted. Never those that the machine trusts: whoever gets a
    /// certificate of any of these authorities would be believed to be a process.
    pub(crate) trust: Option<Arc<ClientConfig>>,
}

impl AccessArgs {
    /// Reads the files that were given.
    pub(crate) fn read(&self) -> Result<Access, Failure> {
        let fault = |source: &str, detail: &dyn std::fmt::Display| {
            Failure::usage(format!("{source}: {detail}"))
        };
        let token = self.admin_token_file.as_deref().map(read_token).transpose();
        let token = token.map_err(|detail| fault("--admin-token-file", &detail))?;
        let named = std::env::var_os("LAMPYRID_ADMIN_CA").filter(|path| !path.is_empty());
        let (path, source) = match (&self.admin_ca, named) {
            (Some(path), _) => (path.clone(), "--admin-ca"),
            (None, Some(path)) => (PathBuf::from(path), "LAMPYRID_ADMIN_CA"),
            (None, None) => return Ok(Access { token, trust: None }),
        };
        let trust = trust(&path).map_err(|error| fault(source, &error))?;
        Ok(Access { token, trust: Some(Arc::new(trust)) })
    }
}

/// Trusts the authorities in the file and nobody else.
pub(super) fn trust(path: &Path) -> Result<ClientConfig, TlsError> {
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| content(CA, path, error))?
        .with_root_certificates(roots(CA, path)?)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(client)
}
