//! Mutual TLS 1.3 (RFC 8446) between processes, on rustls with the provider that ractor_cluster
//! brings. Both ends show a certificate that an authority of `--tls-ca` has signed; the name that a
//! process goes by has to be among the names of its certificate, which the handshake checks once
//! the hello has said that name. No session is ever resumed: each connection proves everything.

mod chain;
mod files;
mod identity;
mod load;
#[cfg(test)]
pub(super) mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lampyrid_wire::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use files::TlsFiles;
pub use identity::Identity;

use self::load::Loaded;
use super::transport::{Securing, Transport, WireStream};
use crate::tls::{Date, Renewed, TlsError, linger};

/// When the end of a certificate is near enough to be told of.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Stands for the name of whoever is dialled, which only its hello tells; never sent.
const UNNAMED: &str = "lampyrid.invalid";

/// Secures connections by the files of [`TlsFiles`], and reads them again when they have changed:
/// a renewed certificate or authority counts for the next connection, without a restart. Files that
/// do not fit one another are not taken: what was read before stays in use.
#[derive(Debug)]
pub struct Tls(Renewed<Loaded>);

impl Tls {
    /// Reads the files for a process of that name. `valid_until` is told the last second, since
    /// 1970, at which peers accept its certificate.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(
        files: TlsFiles,
        name: String,
        clock: Arc<dyn Clock>,
        valid_until: Arc<AtomicU64>,
    ) -> Result<Self, TlsError> {
        let all = files.all();
        let load = move || {
            let loaded = Loaded::checked(&files, &name)?;
            valid_until.store(loaded.valid_until.as_secs(), Ordering::Relaxed);
            if loaded.valid_until.as_secs() < UnixTime::now().as_secs() + SOON.as_secs() {
                let until = Date(loaded.valid_until);
                tracing::warn!(%until, "the certificate of this process expires soon: renew it");
            }
            Ok(loaded)
        };
        Renewed::new("cluster", all, clock, load).map(Self)
    }

    /// Without a look at what it shows itself: for tests of what its peers say.
    #[cfg(test)]
    pub(super) fn unchecked(files: TlsFiles, clock: Arc<dyn Clock>) -> Self {
        let all = files.all();
        let load = move || Ok(Loaded::unchecked(&files)?.0);
        Self(Renewed::new("cluster", all, clock, load).unwrap())
    }
}

impl Transport for Tls {
    fn client(&self, stream: TcpStream) -> Securing {
        let connector = TlsConnector::from(self.0.current().client);
        Box::pin(async move {
            let name = ServerName::try_from(UNNAMED).map_err(io::Error::other)?;
            let stream = connector.connect(name, stream).await?;
            let identity = Identity::proven(stream.get_ref().1)?;
            Ok(halves(stream, identity))
        })
    }

    fn server(&self, stream: TcpStream) -> Securing {
        let acceptor = TlsAcceptor::from(self.0.current().server);
        Box::pin(async move {
            match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => {
                    let identity = Identity::proven(stream.get_ref().1)?;
                    Ok(halves(stream, identity))
                }
                Err((error, stream)) => {
                    linger(stream).await;
                    Err(error)
                }
            }
        })
    }

    fn is_secure(&self) -> bool {
        true
    }
}

fn halves<S>(stream: S, identity: Identity) -> WireStream
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    WireStream { reader: Box::new(reader), writer: Box::new(writer), identity: Some(identity) }
}
