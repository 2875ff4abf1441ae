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
    let Some(why) = fault(first[0], secure) else { return Ok(stream) };
    refuse(stream).await;
    Err(HandshakeError::OneSided(why))
}

/// What a first byte tells of a dialler that cannot be understood.
pub(super) fn fault(first: u8, secure: bool) -> Option<&'static str> {
    match (first, secure) {
        (HELLO, false) => Some("it speaks TLS and this process does not"),
        (PLAIN_HELLO, true) => Some("it speaks no TLS and this process demands it"),
        _ => None,
    }
}

async fn refuse(mut stream: TcpStream) {
    // A dialler that has gone needs no answer.
    if stream.write_all(&alert(PROTOCOL_VERSION)).await.is_ok() {
        linger(stream).await;
    }
}
