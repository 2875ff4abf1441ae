use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use lampyrid::admin::AdminTls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Answer, PATIENCE, Server, answer};

/// A server with TLS, and who trusts it.
pub(crate) struct Secured {
    pub(crate) server: Server,
    client: TlsConnector,
}

impl Secured {
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let signed = params.signed_by(&key, &issuer).unwrap();
        let place = tempfile::tempdir().unwrap();
        let [cert_file, key_file] = ["cert", "key"].map(|name| place.path().join(name));
        std::fs::write(&cert_file, signed.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let tls = AdminTls::new(cert_file, key_file).unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let mut client =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&TLS13])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        // As browsers and curl do.
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let server = Server::start_with(None, Some(tls)).await;
        Self { server, client: TlsConnector::from(Arc::new(client)) }
    }

    /// A connection whose handshake is over.
    pub(crate) async fn open(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.server.address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        self.client.connect(name, stream).await.unwrap()
    }

    /// Sends a request that ends the connection, and reads its answer.
    pub(crate) async fn raw(&self, text: &str) -> Answer {
        let mut stream = self.open().await;
        let mut bytes = Vec::new();
        let exchange = async {
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            stream.read_to_end(&mut bytes).await.unwrap();
        };
        timeout(PATIENCE, exchange).await.unwrap();
        answer(bytes)
    }
}
