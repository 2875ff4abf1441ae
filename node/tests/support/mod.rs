//! A backend of a few maps behind a real server, and a client that sees every byte.

mod fake;
mod secured;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampyrid::admin::{AdminListener, AdminServer, AdminTls, Token};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use fake::Fake;
pub(crate) use secured::Secured;

/// Far beyond what anything here takes: reached only by what hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    server: AdminServer,
}

impl Server {
    pub(crate) async fn start(token: Option<&str>) -> Self {
        Self::start_with(token, None).await
    }

    async fn start_with(token: Option<&str>, tls: Option<AdminTls>) -> Self {
        let listener = AdminListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let listener = match tls {
            Some(tls) => listener.secured(tls),
            None => listener,
        };
        let fake = Arc::new(Fake::new());
        let address = listener.address();
        let token = token.map(|text| Token::new(text.as_bytes()));
        let server = listener.serve(Arc::<Fake>::clone(&fake), token);
        Self { fake, address, server }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "").await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
        raw(self.address, &format!("{head}content-length: {length}\r\n\r\n{body}")).await
    }

    pub(crate) async fn open(&self, text: &str) -> Open {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        Open { stream, seen: String::new() }
    }

    pub(crate) async fn stop(self) {
        self.server.shutdown().await;
    }
}

/// A connection that stays open.
pub(crate) struct Open {
    stream: TcpStream,
    seen: String,
}

impl Open {
    pub(crate) async fn read_until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let mut bytes = [0; 1024];
            let count = timeout(PATIENCE, self.stream.read(&mut bytes)).await.unwrap().unwrap();
            assert_ne!(count, 0, "the stream ended after {:?}", self.seen);
            self.seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }
}

/// Sends bytes and reads the one answer.
pub(crate) async fn raw(address: SocketAddr, text: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read all.
    let (mut read, mut write) = stream.split();
    let mut bytes = Vec::new();
    let exchange = async {
        let _ = tokio::join!(write.write_all(text.as_bytes()), read.read_to_end(&mut bytes));
    };
    timeout(PATIENCE, exchange).await.unwrap();
    answer(bytes)
}

/// The same for a client that reads nothing before everything is sent.
pub(crate) async fn send_then_read(address: SocketAddr, text: String) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = Vec::new();
    let exchange = async {
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.read_to_end(&mut bytes).await.unwrap();
    };
    timeout(PATIENCE, exchange).await.unwrap();
    answer(bytes)
}

fn answer(bytes: Vec<u8>) -> Answer {
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("not an answer: {text:?}")),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], code);
        assert_eq!(problem["status"], status);
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}
