use std::future::Future;
use std::io;
use std::pin::Pin;

use ractor_cluster::{BoxRead, BoxWrite};
use tokio::net::TcpStream;

use super::tls::Identity;

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
