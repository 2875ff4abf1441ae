use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::Member;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor,
};

use super::counted::Counted;
use super::tally::Tally;

/// Spans that wait, or are being sent: less than 2 MiB.
pub(super) const QUEUE_MAX: usize = 2_048;

/// Spans in one request.
const BATCH_MAX: usize = 512;

/// How long a span waits for others.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the end of the process may wait for the last batch.
const LAST_BATCH: Duration = Duration::from_secs(3);

/// Spans that wait to be sent. A thread of the SDK's takes them; nobody who brings one waits.
#[derive(Debug)]
pub(super) struct Queue {
    processor: BatchSpanProcessor,
    tally: Arc<Tally>,
}

impl Queue {
    /// Starts the thread.
    pub(super) fn start(exporter: impl SpanExporter + 'static, me: &Member) -> Self {
        let tally = Arc::<Tally>::default();
        let exporter = Counted { exporter, tally: Arc::clone(&tally) };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(PAUSE)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        processor.set_resource(&resource(me));
        Self { processor, tally }
    }

    /// Leaves it out if there is no room.
    pub(super) fn push(&self, span: SpanData) {
        // As many may wait here as fit into the SDK's queue, so that one never drops any by itself.
        if self.tally.enter() {
            self.processor.on_end(span);
        }
    }

    /// Sends what waits. Blocks, for some seconds at most.
    pub(super) fn stop(&self) {
        let why = match self.processor.shutdown_with_timeout(LAST_BATCH) {
            Ok(()) => "since the start".to_owned(),
            Err(error) => {
                tracing::warn!(%error, "the last spans may be lost");
                error.to_string()
            }
        };
        self.tally.say(&why);
    }
}

/// Who says it.
fn resource(me: &Member) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "lampyrid"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", me.process.to_string()),
            KeyValue::new("lampyrid.name", me.name.clone()),
        ])
        .build()
}
