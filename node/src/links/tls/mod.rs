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

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lampyrid_wire::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use files::{TlsError, TlsFiles};
pub use identity::Identity;

use self::files::Stamps;
use self::load::Loaded;
use super::transport::{Securing, Transport, WireStream, linger};

/// How often the files are looked at, at most; connections that are made between share what was
/// read before.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Stands for the name of whoever is dialled, which only its hello tells; never sent.
const UNNAMED: &str = "lampyrid.invalid";

/// Secures connections by the files of [`TlsFiles`], and reads them again when they have changed:
/// a renewed certificate or authority counts for the next connection, without a restart. Files that
/// do not fit one another are not taken: what was read before stays in use.
pub struct Tls {
    files: TlsFiles,
    name: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    loaded: Loaded,
    stamps: Stamps,
    looked: Duration,
}

impl Tls {
    /// Reads the files for a process of that name.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(files: TlsFiles, name: String, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let stamps = files.stamps();
        let loaded = Loaded::checked(&files, &name)?;
        let state = Mutex::new(State { loaded, stamps, looked: clock.now() });
        Ok(Self { files, name, clock, state })
    }

    /// Without a look at what it shows itself: for tests of what its peers say.
    #[cfg(test)]
    pub(super) fn unchecked(files: TlsFiles, name: &str, clock: Arc<dyn Clock>) -> Self {
        let (stamps, loaded) = (files.stamps(), Loaded::unchecked(&files).unwrap().0);
        let state = Mutex::new(State { loaded, stamps, looked: clock.now() });
        Self { files, name: name.to_owned(), clock, state }
    }

    fn current(&self) -> Loaded {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if now >= state.looked + LOOK_PAUSE {
            state.looked = now;
            self.look(&mut state);
        }
        state.loaded.clone()
    }

    fn look(&self, state: &mut State) {
        let stamps = self.files.stamps();
        if stamps == state.stamps {
            return;
        }
        // Also if they are refused: they are read, and complained of, once.
        state.stamps = stamps;
        match Loaded::checked(&self.files, &self.name) {
            Ok(loaded) => {
                state.loaded = loaded;
                tracing::info!("certificates have changed and were read again");
            }
            Err(error) => {
                tracing::warn!(%error, "changed certificates are not used; those read before are");
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).field("name", &self.name).finish()
    }
}

impl Transport for Tls {
    fn client(&self, stream: TcpStream) -> Securing {
        let connector = TlsConnector::from(self.current().client);
        Box::pin(async move {
            let name = ServerName::try_from(UNNAMED).map_err(io::Error::other)?;
            let stream = connector.connect(name, stream).await?;
            let identity = Identity::proven(stream.get_ref().1)?;
            Ok(halves(stream, identity))
        })
    }

    fn server(&self, stream: TcpStream) -> Securing {
        let acceptor = TlsAcceptor::from(self.current().server);
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
