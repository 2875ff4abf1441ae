use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use tokio::runtime::Handle;

use super::Endpoint;

/// How long a collector may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a batch is sent again, after pauses of 100 ms and more.
const RETRIES: usize = 2;

/// The most that is read of an answer, which says next to nothing.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Speaks HTTP to the collector. The batches come from a thread that has no runtime, and hyper needs
/// one: requests run on that of the process, and the thread waits for them.
#[derive(Debug)]
pub(super) struct Collector {
    http: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

impl Collector {
    pub(super) fn new(runtime: Handle) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(ANSWER_TIMEOUT));
        Self { http: Client::builder(TokioExecutor::new()).build(tcp), runtime }
    }
}

/// What encodes spans and sends them there. Everything is said here, so that no variable of the
/// SDK's own changes it.
pub(super) fn exporter(
    endpoint: &Endpoint,
    collector: Collector,
) -> Result<SpanExporter, ExporterBuildError> {
    SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint.to_string())
        .with_timeout(ANSWER_TIMEOUT)
        .with_retry_policy(RetryPolicy::recommended().with_max_retries(RETRIES))
        .build()
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let work = async move {
            let (head, body) = http.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let limited = async { tokio::time::timeout(ANSWER_TIMEOUT, work).await };
        self.runtime.spawn(limited).await??
    }
}
