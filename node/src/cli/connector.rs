use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tower_service::Service;

use super::distrust::explain;
use super::url::host;

/// How long a process may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Connects to processes: to those of https:// URLs by TLS, whose handshake is over, and the
/// certificate accepted, before a byte of any request is sent.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    trust: Option<Arc<ClientConfig>>,
}

impl Connector {
    pub(super) fn new(trust: Option<Arc<ClientConfig>>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        Self { tcp, trust }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Fault>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.tcp.poll_ready(context).map_err(Fault::from)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let trust = self.trust.clone();
        let host = host(&uri).to_owned();
        let is_secured = uri.scheme_str() == Some("https");
        let connecting = self.tcp.call(uri);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            if !is_secured {
                return Ok(TokioIo::new(Wire(Box::new(stream))));
            }
            let trust = trust.ok_or("no authority is trusted")?;
            let name = ServerName::try_from(host.clone())?;
            let secured = TlsConnector::from(trust).connect(name, stream).await;
            let stream = secured.map_err(|error| explain(&error, &host))?;
            Ok(TokioIo::new(Wire(Box::new(stream))))
        })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection, whatever it is made of.
pub(super) struct Wire(Box<dyn Duplex>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::version::TLS13;

    use super::super::access::{Access, trust};
    use super::super::client::Client;
    use super::*;
    use crate::links::TlsFiles;
    use crate::tls::authority::Authority;
    use crate::tls::{Pair, provider};

    /// What a client says of a process with these files, and whether a handshake came to its end.
    async fn meet(files: &TlsFiles, access: Access) -> (String, bool) {
        let pair = Pair { cert: ("cert", &files.cert), key: ("key", &files.key) };
        let (chain, key) = pair.read().unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let client = Client::new(&url, access).unwrap();
        let serve = async {
            let stream = listener.accept().await.unwrap().0;
            TlsAcceptor::from(Arc::new(server)).accept(stream).await.is_ok()
        };
        let (answer, is_met) = tokio::join!(client.get::<Value>("/v1/view"), serve);
        (answer.unwrap_err().to_string(), is_met)
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_accepted_ends_it_before_a_request_is_sent() {
        let (authority, other) = (Authority::new(), Authority::new());
        let good = authority.files("127.0.0.1");
        let token = Some("secret".to_owned());
        let access = Access { token, trust: Some(Arc::new(trust(&good.ca).unwrap())) };
        assert!(meet(&good, access.clone()).await.1, "the others fail for their own reasons");
        for (files, why) in [
            (other.files("127.0.0.1"), "no authority of --admin-ca has signed it"),
            (authority.files("a.example"), "it does not name `127.0.0.1`"),
            (authority.expired("127.0.0.1"), "it has expired"),
        ] {
            let (said, is_met) = meet(&files, access.clone()).await;
            assert!(said.contains(why) && !is_met, "{said}");
        }
    }
}
