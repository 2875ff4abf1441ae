use std::future::Future;
use std::io;
use std::pin::Pin;

use std::time::Duration;

use ractor_cluster::{BoxRead, BoxWrite};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tls::Identity;

/// How long a connection that was given up stays open, so that the peer can read why.
const LINGER: Duration = Duration::from_millis(200);
/// How much of what it still sends is thrown away meanwhile, in bytes.
const LINGER_BYTES: u64 = 16 * 1024;

/// The two halves of a connection, as the handshake and the session use them.
#[allow(missing_debug_implementations)]
pub struct WireStream {
    /// What the peer sends.
    pub reader: BoxRead,
    /// What we send.
    pub writer: BoxWrite,
    /// What the other end has proved, if the transport has it prove anything.
    pub identity: Option<Identity>,
}

/// A connection being secured. Dropping it gives the connection up.
pub type Securing = Pin<Box<dyn Future<Output = io::Result<WireStream>> + Send>>;

/// What lies between TCP and the hello: the seam for TLS. Its time counts towards the handshake's
/// limit, so an implementation needs none of its own.
pub trait Transport: Send + Sync + 'static {
    /// Makes a dialled connection ready for the hello.
    fn client(&self, stream: TcpStream) -> Securing;

    /// Makes an accepted connection ready for the hello.
    fn server(&self, stream: TcpStream) -> Securing;

    /// Whether it speaks TLS.
    fn is_secure(&self) -> bool;
}

/// TCP as it is: the cookie authenticates both ends, nothing is encrypted, and whoever can alter
/// packets can alter frames. For loopback and trusted networks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Plain {
    fn split(stream: TcpStream) -> Securing {
        let (reader, writer) = stream.into_split();
        let halves =
            WireStream { reader: Box::new(reader), writer: Box::new(writer), identity: None };
        Box::pin(std::future::ready(Ok(halves)))
    }
}

impl Transport for Plain {
    fn client(&self, stream: TcpStream) -> Securing {
        Self::split(stream)
    }

    fn server(&self, stream: TcpStream) -> Securing {
        Self::split(stream)
    }

    fn is_secure(&self) -> bool {
        false
    }
}

/// Closes a connection so that what was said last arrives: closing it while there is something to
/// read would reset it.
pub(crate) async fn linger(mut stream: TcpStream) {
    let whole = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whatever comes of it, it is closed now.
    let _ = tokio::time::timeout(LINGER, whole).await;
}
