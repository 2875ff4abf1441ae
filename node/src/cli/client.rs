use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
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

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let lost = |detail: String| ClientError::Unreachable { url: url.clone(), detail };
        let mut request = Request::builder().method(method).uri(&url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let bytes = match body {
            None => Bytes::new(),
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
        };
        let request = request.body(Full::new(bytes)).map_err(|error| lost(error.to_string()))?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|e| lost(chain(&e)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            Ok((head.status, body.map_err(|error| lost(error.to_string()))?.to_bytes()))
        };
        let (status, bytes) = tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| lost(format!("no answer within {limit:?}")))??;
        if status.is_success() {
            let read = serde_json::from_slice(&bytes);
            return read
                .map_err(|error| lost(format!("an answer that is not understood: {error}")));
        }
        Err(match serde_json::from_slice(&bytes) {
            Ok(Problem { code, detail, moved_to }) => {
                let moved_to = moved_to.map(|to| to.process);
                ClientError::Refused { url, status, code, detail, moved_to }
            }
            Err(_) => lost(format!("{status} without a reason: is this a lampyrid process?")),
        })
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
