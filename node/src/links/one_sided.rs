use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::handshake::HandshakeError;
use super::transport::linger;

/// How an alert of TLS begins.
pub(crate) const TLS_ALERT: [u8; 2] = [0x15, 0x03];
/// The first byte of a dialler with TLS, and of one without.
const TLS_HELLO: u8 = 0x16;
const PLAIN_HELLO: u8 = b'L';
/// An alert that both understand: fatal, protocol_version (RFC 8446, 6).
const REFUSAL: [u8; 7] = [TLS_ALERT[0], TLS_ALERT[1], 3, 0, 2, 2, 70];

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
        (TLS_HELLO, false) => "it speaks TLS and this process does not",
        (PLAIN_HELLO, true) => "it speaks no TLS and this process demands it",
        _ => return Ok(stream),
    };
    refuse(stream).await;
    Err(HandshakeError::OneSided(why))
}

async fn refuse(mut stream: TcpStream) {
    // A dialler that has gone needs no answer.
    if stream.write_all(&REFUSAL).await.is_ok() {
        linger(stream).await;
    }
}
