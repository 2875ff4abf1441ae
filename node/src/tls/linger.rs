use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long a connection that was given up stays open, so that the peer can read why.
const LINGER: Duration = Duration::from_millis(200);
/// How much of what it still sends is thrown away meanwhile, in bytes.
const LINGER_BYTES: u64 = 16 * 1024;

/// Closes a connection so that what was said last arrives: closing it while there is something to
/// read would reset it.
pub(crate) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let whole = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whatever comes of it, it is closed now.
    let _ = tokio::time::timeout(LINGER, whole).await;
}
