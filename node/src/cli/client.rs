use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lampyrid_wire::ProcessId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;

/// How long a process may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a process may take to answer, besides what it was asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read: a page of 10,000 entities takes about 2 MB.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// A client of one process's admin HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    base: String,
    token: Option<HeaderValue>,
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// There was no answer, or none that could be read.
    #[error("cannot reach {url}: {detail}")]
    Unreachable { url: String, detail: String },
    /// The process refused, and said why.
    #[error("{url}: {code}: {detail}")]
    Refused {
        url: String,
        status: StatusCode,
        code: String,
        detail: String,
        /// The process that an entity has gone to.
        moved_to: Option<ProcessId>,
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

#[derive(Deserialize)]
struct MovedTo {
    process: ProcessId,
}

impl Client {
    /// A client of the process at `url`, which shows `token` if there is one.
    pub(crate) fn new(url: &str, token: Option<String>) -> Result<Self, String> {
        let base = url.trim().trim_end_matches('/').to_owned();
        let parsed: Uri = base.parse().map_err(|error| format!("`{url}`: {error}"))?;
        if parsed.scheme_str() != Some("http") || parsed.authority().is_none() {
            return Err(format!("`{url}` is not a URL such as http://127.0.0.1:41002"));
        }
        let token = match token.map(|text| HeaderValue::try_from(format!("Bearer {text}"))) {
            None => None,
            Some(Ok(mut value)) => {
                value.set_sensitive(true);
                Some(value)
            }
            Some(Err(_)) => return Err("the token cannot be sent in a header".to_owned()),
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http =
            Http::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { http, base, token })
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
        Ok(Problem { code, detail, moved_to }) => {
            let (url, moved_to) = (url.to_owned(), moved_to.map(|to| to.process));
            ClientError::Refused { url, status, code, detail, moved_to }
        }
        Err(_) => {
            unreachable(url, format!("{status} without a reason: is this a lampyrid process?"))
        }
    }
}

/// An error with its causes: the outermost alone says only that something failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_urls_are_taken() {
        assert!(Client::new("http://127.0.0.1:1/", None).is_ok());
        for url in ["", "127.0.0.1:1", "https://a:1", "http://", "ftp://a"] {
            assert!(Client::new(url, None).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = Client::new(&url, None).unwrap();
        let error = client.get::<Value>("/v1/view").await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }
}
