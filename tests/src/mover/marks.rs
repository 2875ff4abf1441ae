use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lampyrid_tests::load::{Mark, MarkKind};
use rustix::time::{ClockId, clock_gettime};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::moves::lock;

/// What the actor of migration traces of each part: its target.
const TARGET: &str = "lampyrid_migration::part";

/// Most marks that are kept.
const MOST: usize = 4_000_000;

/// Moments taken from the trace of migration.
#[derive(Clone, Default)]
pub(crate) struct Marks(Arc<Mutex<Vec<Mark>>>);

impl Marks {
    /// Logs to stderr as `RUST_LOG` says, or warnings, and keeps marks if they are wanted.
    pub(crate) fn start(wanted: bool) -> Self {
        let marks = Self::default();
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
        let lines =
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
        let keeper = wanted.then(|| {
            marks.clone().with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE))
        });
        tracing_subscriber::registry().with(lines).with(keeper).init();
        marks
    }

    /// All of them, once.
    pub(crate) fn take(&self) -> Vec<Mark> {
        std::mem::take(&mut lock(&self.0))
    }
}

impl<S: Subscriber> Layer<S> for Marks {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let at = clock_gettime(ClockId::Monotonic);
        let mut seen = Seen::default();
        event.record(&mut seen);
        let kind = match seen.what.as_str() {
            "Prepare" => MarkKind::Frozen,
            "activated" => MarkKind::Active,
            _ => return,
        };
        let at = Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0));
        let mut marks = lock(&self.0);
        if marks.len() < MOST {
            marks.push(Mark { part: seen.part, kind, entities: seen.entities, at });
        }
    }
}

#[derive(Default)]
struct Seen {
    what: String,
    part: String,
    entities: u64,
}

impl Visit for Seen {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "entities" {
            self.entities = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "what" => self.what = value.to_owned(),
            "part" => self.part = value.to_owned(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "what" => self.what = format!("{value:?}"),
            "part" => self.part = format!("{value:?}"),
            _ => {}
        }
    }
}
