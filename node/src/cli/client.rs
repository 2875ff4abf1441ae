use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lampyrid_wire::ProcessId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::Access;
use super::connector::Connector;
use super::failure::Failure;
use super::url;

/// How long a process may take to answer, besides what it was asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read: a page of 10,000 entities takes about 2 MB.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// What is said by a process that speaks TLS to those who do not.
const TLS_REQUIRED: &str = "tls_required";

/// A client of one process's admin HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: Http<Connector, Full<Bytes>>,
    base: String,
    token: Option<HeaderValue>,
    /// Whether authorities are trusted, without whom there is no TLS.
    trusts: bool,
    /// Whether the first process was asked over TLS: what it says must not lead to less.
    is_secured: bool,
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// There was no answer, or none that could be read.
    #[error("cannot reach {url}: {detail}")]
    Unreachable { url: String, detail: String },
    /// It was not asked: the URL does not do, or something is missing for it.
    #[error("{0}")]
    Usage(String),
    /// The process refused, and said why.
    #[error("{url}: {code}: {detail}")]
    Refused {
        url: String,
        status: StatusCode,
        code: String,
        detail: String,
        /// Where an entity has gone to.
        moved_to: Option<MovedTo>,
    },
}

impl ClientError {
    /// True if the process answered with that typed reason.
    pub(crate) fn is(&self, reason: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == reason)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable { url, detail } => Self::Unreachable { url, detail },
            ClientError::Usage(detail) => Self::usage(detail),
            ClientError::Refused { .. } => Self::failed(error.to_string()),
        }
    }
}

/// What a problem document says; everything else in it is for machines.
#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    moved_to: Option<MovedTo>,
}

/// Where an entity has gone to, and at which epoch it came there.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct MovedTo {
    pub(crate) process: ProcessId,
    #[serde(default)]
    pub(crate) epoch: u64,
}

impl Client {
    /// A client of the process at `url`.
    pub(crate) fn new(url: &str, access: Access) -> Result<Self, String> {
        let base = url.trim().trim_end_matches('/').to_owned();
        let Access { token, trust } = access;
        let is_secured = url::check(&base, trust.is_some())?;
        let token = match token.map(|text| HeaderValue::try_from(format!("Bearer {text}"))) {
            None => None,
            Some(Ok(mut value)) => {
                value.set_sensitive(true);
                Some(value)
            }
            Some(Err(_)) => return Err("the token cannot be sent in a header".to_owned()),
        };
        let trusts = trust.is_some();
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(Connector::new(trust));
        Ok(Self { http, base, token, trusts, is_secured })
    }

    /// Where the process is.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// The same client, for another process.
    pub(crate) fn at(&self, url: &str) -> Self {
        Self { base: url.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None, ANSWER_TIMEOUT).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, path, None, ANSWER_TIMEOUT).await
    }

    /// `wait` is what the process is asked to wait before it answers.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<T, ClientError> {
        self.ask(Method::POST, path, Some(body), ANSWER_TIMEOUT + wait).await
    }

    /// The same as [`Client::get`] with a limit of the caller's, for those who ask again and again.
    pub(crate) async fn poll<T: DeserializeOwned>(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None, limit).await
    }

    /// What is no JSON, such as the metrics.
    pub(crate) async fn text(&self, path: &str, limit: Duration) -> Result<String, ClientError> {
        let bytes = self.exchange(Method::GET, path, None, limit).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An answer that goes on: its head came within `limit`, the body is the caller's to read.
    pub(crate) async fn open(
        &self,
        path: &str,
        header: Option<(&'static str, String)>,
        limit: Duration,
    ) -> Result<Incoming, ClientError> {
        self.may_ask()?;
        let url = format!("{}{path}", self.base);
        let opening = async {
            let mut request = self.request(Method::GET, &url);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            let answer = self.send(&url, request, Bytes::new()).await?;
            match answer.status().is_success() {
                true => Ok(answer.into_body()),
                false => Err(refusal(&url, answer.status(), &whole(&url, answer).await?)),
            }
        };
        within(&url, limit, opening).await
    }

    /// Whether the process may be asked with what there is, which the URL of another process, told
    /// by one, has not shown yet.
    fn may_ask(&self) -> Result<(), ClientError> {
        let is_secured = url::check(&self.base, self.trusts).map_err(ClientError::Usage)?;
        if self.is_secured && !is_secured && self.token.is_some() {
            let url = &self.base;
            return Err(ClientError::Usage(format!(
                "`{url}` is listed by a process that was asked over https://; the admin token is \
                 not sent to it in the clear (give it --admin-tls-cert)"
            )));
        }
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let bytes = self.exchange(method, path, body, limit).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let url = format!("{}{path}", self.base);
            unreachable(&url, format!("an answer that is not understood: {error}"))
        })
    }

    /// The body of an answer that is no refusal.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Bytes, ClientError> {
        self.may_ask()?;
        let url = format!("{}{path}", self.base);
        let mut request = self.request(method, &url);
        let mut bytes = Bytes::new();
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json");
            bytes = Bytes::from(body.to_string());
        }
        let exchange = async {
            let answer = self.send(&url, request, bytes).await?;
            let status = answer.status();
            Ok((status, whole(&url, answer).await?))
        };
        let (status, bytes) = within(&url, limit, exchange).await?;
        if status.is_success() { Ok(bytes) } else { Err(refusal(&url, status, &bytes)) }
    }

    fn request(&self, method: Method, url: &str) -> Builder {
        let request = Request::builder().method(method).uri(url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    async fn send(
        &self,
        url: &str,
        request: Builder,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let lost = |detail| unreachable(url, detail);
        let request = request.body(Full::new(body)).map_err(|error| lost(error.to_string()))?;
        self.http.request(request).await.map_err(|error| lost(chain(&error)))
    }
}

fn unreachable(url: &str, detail: String) -> ClientError {
    ClientError::Unreachable { url: url.to_owned(), detail }
}

async fn whole(url: &str, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
    Ok(body.map_err(|error| unreachable(url, error.to_string()))?.to_bytes())
}

async fn within<T>(
    url: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| unreachable(url, format!("no answer within {limit:?}")))?
}

fn refusal(url: &str, status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body) {
        // It was reached no more than a port that speaks something else.
        Ok(Problem { code, detail, .. }) if code == TLS_REQUIRED => unreachable(url, detail),
        Ok(Problem { code, detail, moved_to }) => {
            let url = url.to_owned();
            ClientError::Refused { url, status, code, detail, moved_to }
        }
        Err(_) => {
            unreachable(url, format!("{status} without a reason: is this a lampyrid process?"))
        }
    }
}

/// An error with its causes: the outermost alone says only that something failed.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            text += "; what answers there speaks no HTTP in the clear: is its URL https://?";
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use super::*;
    use crate::cli::access::trust;
    use crate::tls::authority::Authority;

    fn client(url: &str) -> Result<Client, String> {
        Client::new(url, Access::default())
    }

    fn trusting(token: Option<&str>) -> Access {
        let trust = trust(&Authority::new().files("a").ca).unwrap();
        Access { token: token.map(str::to_owned), trust: Some(Arc::new(trust)) }
    }

    /// Listens, answers the first caller with these bytes, and gives what it was sent.
    fn answering(bytes: &'static [u8]) -> (String, std::thread::JoinHandle<Vec<u8>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let heard = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; 4096];
            let length = stream.read(&mut heard).unwrap();
            heard.truncate(length);
            stream.write_all(bytes).unwrap();
            heard
        });
        (place, heard)
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = client(&url).unwrap().get::<Value>("/v1/view").await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_process_asked_over_tls_leads_to_no_less() {
        let first = Client::new("https://127.0.0.1:1", trusting(Some("secret"))).unwrap();
        let error = first.at("http://127.0.0.1:1").get::<Value>("/v1/view").await.unwrap_err();
        assert!(matches!(error, ClientError::Usage(_)), "{error}");
        assert!(error.to_string().contains("not sent to it in the clear"), "{error}");
        let plain = client("http://127.0.0.1:1").unwrap();
        let error = plain.at("https://127.0.0.1:1").get::<Value>("/v1/view").await.unwrap_err();
        assert!(error.to_string().contains("--admin-ca"), "{error}");
    }

    #[tokio::test]
    async fn the_token_stays_here_if_the_other_side_speaks_no_tls_and_the_error_says_so() {
        let (place, heard) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let url = format!("https://{place}");
        let client = Client::new(&url, trusting(Some("secret"))).unwrap();
        let error = client.get::<Value>("/v1/view").await.unwrap_err().to_string();
        assert!(error.contains("it does not speak TLS"), "{error}");
        let heard = heard.join().unwrap();
        assert_eq!(heard[0], 0x16);
        assert!(!heard.windows(6).any(|bytes| bytes == b"secret"));
    }

    #[tokio::test]
    async fn plain_http_to_a_stranger_with_tls_is_an_error_that_says_so() {
        let (place, heard) = answering(&[0x15, 3, 3, 0, 2, 2, 70]);
        let client = client(&format!("http://{place}")).unwrap();
        let error = client.get::<Value>("/v1/view").await.unwrap_err().to_string();
        assert!(error.contains("is its URL https://?"), "{error}");
        heard.join().unwrap();
    }
}
