use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::handshake::HandshakeError;
use crate::tls::linger;
use crate::tls::record::{HELLO, PROTOCOL_VERSION, alert};

/// The first byte of a dialler without TLS.
const PLAIN_HELLO: u8 = b'L';

/// Looks at the first byte of an accepted connection, and tells a dialler in its own terms that only
/// one of the two sides speaks TLS. Nothing else is decided here.
pub(crate) async fn check(stream: TcpStream, secure: bool) -> Result<TcpStream, HandshakeError> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => return Err(HandshakeError::Silent),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            return Err(HandshakeError::Silent);
        }
        other => other?,
    };
    let why = match (first[0], secure) {
        (HELLO, false) => "it speaks TLS and this process does not",
        (PLAIN_HELLO, true) => "it speaks no TLS and this process demands it",
        _ => return Ok(stream),
    };
    refuse(stream).await;
    Err(HandshakeError::OneSided(why))
}

async fn refuse(mut stream: TcpStream) {
    // A dialler that has gone needs no answer.
    if stream.write_all(&alert(PROTOCOL_VERSION)).await.is_ok() {
        linger(stream).await;
    }
}
