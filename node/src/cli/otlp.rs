//! Sends spans of moves to an OpenTelemetry collector.

mod collector;
mod counted;
mod endpoint;
mod ids;
mod queue;
mod sample;
mod spans;
mod tally;

use std::sync::{Arc, Mutex, PoisonError};

use lampyrid_migration::SpanSink;
use lampyrid_wire::Member;
use opentelemetry_otlp::SpanExporter;
use tokio::runtime::Handle;

use super::failure::Failure;
use collector::Collector;
pub(crate) use endpoint::Endpoint;
use queue::Queue;
pub(crate) use sample::Sample;
use spans::Spans;

/// Where spans go, and which.
#[derive(Debug, Clone)]
pub(crate) struct OtlpOptions {
    pub(crate) endpoint: Endpoint,
    pub(crate) sample: Sample,
}

/// The export of this process.
#[derive(Debug)]
pub(crate) struct Otlp {
    exporter: SpanExporter,
    sample: Sample,
}

/// What is to be stopped at the end; empty until the process has started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Option<Arc<Queue>>>>);

impl Otlp {
    /// Checks that spans can be sent; nobody is asked yet. On that runtime they will be.
    pub(crate) fn new(options: OtlpOptions, runtime: Handle) -> Result<Self, Failure> {
        let OtlpOptions { endpoint, sample } = options;
        let exporter = collector::exporter(&endpoint, Collector::new(runtime))
            .map_err(|error| Failure::failed(format!("spans cannot be sent: {error}")))?;
        Ok(Self { exporter, sample })
    }

    /// Where the spans of that process go from now on. Called once.
    fn sink(self, me: &Member, running: &Running) -> Arc<dyn SpanSink> {
        let queue = Arc::new(Queue::start(self.exporter, me));
        *running.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&queue));
        Arc::new(Spans::new(queue, self.sample))
    }

    /// What makes the sink once it is known which process this is, and what stops it.
    pub(crate) fn parts(
        self,
    ) -> (Running, impl Fn(&Member) -> Arc<dyn SpanSink> + Send + Sync + 'static) {
        let running = Running::default();
        let (ours, this) = (running.clone(), Mutex::new(Some(self)));
        let make = move |me: &Member| -> Arc<dyn SpanSink> {
            let this = this.lock().unwrap_or_else(PoisonError::into_inner).take();
            match this {
                Some(otlp) => otlp.sink(me, &ours),
                None => Arc::new(spans::Nowhere),
            }
        };
        (running, make)
    }
}

impl Running {
    /// Sends what waits, for some seconds at most.
    pub(crate) async fn stop(self) {
        let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(queue) = queue {
            // An error says that the runtime ends: so does the process.
            let _ = tokio::task::spawn_blocking(move || queue.stop()).await;
        }
    }
}
