//! Answers to clients whose request is not even read.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::tls::linger;
use crate::tls::record::{INTERNAL_ERROR, alert};

/// What a client over the limit is told.
const FULL: &str = r#"{"type":"overloaded","code":"overloaded","title":"Too much is under way","status":503,"detail":"too many connections are open"}"#;

/// What a client without TLS is told where TLS is spoken.
const TLS_REQUIRED: &str = r#"{"type":"tls_required","code":"tls_required","title":"TLS is spoken here","status":400,"detail":"this port speaks TLS: use https:// and the authority that signed its certificate (--admin-ca)"}"#;

/// Refuses a client over the limit. Best effort: whether it gets to read that does not matter.
pub(super) fn turn_away(stream: &TcpStream, is_secured: bool) {
    // There is no alert that means it; without a handshake, text would be garbage to the client.
    let _ = if is_secured {
        stream.try_write(&alert(INTERNAL_ERROR))
    } else {
        stream.try_write(answer("503 Service Unavailable", "retry-after: 1\r\n", FULL).as_bytes())
    };
}

/// Tells a client that it has to speak TLS.
pub(super) async fn demand_tls(mut stream: TcpStream) {
    // One that has gone needs no answer.
    if stream.write_all(answer("400 Bad Request", "", TLS_REQUIRED).as_bytes()).await.is_ok() {
        linger(stream).await;
    }
}

fn answer(status: &str, header: &str, problem: &str) -> String {
    let length = problem.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{header}\
         content-type: application/problem+json\r\ncontent-length: {length}\r\n\r\n{problem}"
    )
}
