use std::sync::Arc;
use std::time::SystemTime;

use lampyrid_migration::{MoveSpan, Outcome, PartId, SagaReport, SpanSink, SpanWork};
use lampyrid_wire::SagaId;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::queue::Queue;
use super::{Sample, ids};

/// Turns moves into spans, and queues them.
pub(super) struct Spans {
    queue: Arc<Queue>,
    sample: Sample,
}

/// Nobody wants them.
pub(super) struct Nowhere;

/// What of a span follows from the work.
struct Shape {
    id: SpanId,
    parent: SpanId,
    name: &'static str,
    kind: SpanKind,
    status: Status,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
}

impl Spans {
    pub(super) fn new(queue: Arc<Queue>, sample: Sample) -> Self {
        Self { queue, sample }
    }
}

impl SpanSink for Spans {
    fn follows(&self, saga: SagaId) -> bool {
        self.sample.takes(saga)
    }

    fn ended(&self, span: MoveSpan) {
        self.queue.push(draw(SystemTime::now(), span));
    }
}

impl SpanSink for Nowhere {
    fn follows(&self, _: SagaId) -> bool {
        false
    }

    fn ended(&self, _: MoveSpan) {}
}

/// The span as it is sent. Its length is of the monotonic clock; the wall clock, read once, only
/// says where it lies.
fn draw(now: SystemTime, span: MoveSpan) -> SpanData {
    let MoveSpan { saga, view, took, ended_ago, work } = span;
    let end_time = now.checked_sub(ended_ago).unwrap_or(now);
    let start_time = end_time.checked_sub(took).unwrap_or(end_time);
    let shape = match work {
        SpanWork::Saga { report, in_doubt_ago, replayed } => {
            let doubted = in_doubt_ago.map(|ago| now.checked_sub(ago).unwrap_or(now));
            whole(&report, doubted, replayed)
        }
        SpanWork::Stage { part, attempt, to, staged, refused } => {
            let mut attributes = of_part(&part, staged + refused);
            attributes.push(KeyValue::new("lampyrid.bubble", to.to_string()));
            attributes.push(KeyValue::new("lampyrid.refused", count(refused)));
            let status =
                if staged == 0 { Status::error("nothing was staged") } else { Status::Unset };
            at_destination("stage", ids::stage(&part, attempt), &part, status, attributes)
        }
        SpanWork::Activate { part, entities } => {
            let attributes = of_part(&part, entities);
            at_destination("activate", ids::activate(&part), &part, Status::Unset, attributes)
        }
    };
    let Shape { id, parent, name, kind, status, mut attributes, events: all } = shape;
    attributes.push(KeyValue::new("lampyrid.saga", saga.to_string()));
    attributes
        .push(KeyValue::new("lampyrid.view_epoch", i64::try_from(view.0).unwrap_or(i64::MAX)));
    let mut events = SpanEvents::default();
    events.events = all;
    let (trace, state) = (ids::trace(saga), TraceState::default());
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, state),
        parent_span_id: parent,
        parent_span_is_remote: parent != SpanId::INVALID,
        span_kind: kind,
        name: name.into(),
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status,
        instrumentation_scope: InstrumentationScope::builder("lampyrid")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// The span of a saga at its source.
fn whole(report: &SagaReport, doubted: Option<SystemTime>, replayed: bool) -> Shape {
    let is_committed = |outcome: &Outcome| matches!(outcome, Outcome::Committed { .. });
    let committed = report.entities.iter().filter(|entity| is_committed(&entity.outcome)).count();
    let aborted = report.entities.len() - committed;
    let state = match (committed, aborted) {
        (_, 0) => "committed",
        (0, _) => "aborted",
        _ => "mixed",
    };
    let why = report.entities.iter().find_map(|entity| match &entity.outcome {
        Outcome::Aborted { reason } => Some(reason.code()),
        _ => None,
    });
    let mut attributes = vec![
        KeyValue::new("lampyrid.bubble", report.to.to_string()),
        KeyValue::new("lampyrid.entities", count(report.entities.len())),
        KeyValue::new("lampyrid.committed", count(committed)),
        KeyValue::new("lampyrid.aborted", count(aborted)),
        KeyValue::new("lampyrid.state", state),
        KeyValue::new("lampyrid.replayed", replayed),
    ];
    attributes.extend(why.map(|code| KeyValue::new("lampyrid.reason", code)));
    let status = match why {
        Some(code) if committed == 0 => Status::error(code),
        _ => Status::Unset,
    };
    let events = doubted.map(|at| Event::new("in_doubt", at, Vec::new(), 0));
    Shape {
        id: ids::root(report.saga),
        parent: SpanId::INVALID,
        name: "migration",
        kind: SpanKind::Client,
        status,
        attributes,
        events: events.into_iter().collect(),
    }
}

fn at_destination(
    name: &'static str,
    id: SpanId,
    part: &PartId,
    status: Status,
    attributes: Vec<KeyValue>,
) -> Shape {
    let (parent, kind) = (ids::root(part.saga), SpanKind::Server);
    Shape { id, parent, name, kind, status, attributes, events: Vec::new() }
}

fn of_part(part: &PartId, entities: usize) -> Vec<KeyValue> {
    vec![
        KeyValue::new("lampyrid.part", i64::from(part.part)),
        KeyValue::new("lampyrid.source", part.source.to_string()),
        KeyValue::new("lampyrid.entities", count(entities)),
    ]
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lampyrid_migration::{Reason, SagaEntity, SagaState};
    use lampyrid_wire::{BubbleId, EntityId, Epoch, OwnershipEpoch, ProcessId};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn span(work: SpanWork) -> SpanData {
        let (took, ended_ago) = (Duration::from_secs(3), Duration::from_secs(2));
        let saga = SagaId::from_u128(7);
        draw(SystemTime::UNIX_EPOCH + NOW, MoveSpan { saga, view: Epoch(4), took, ended_ago, work })
    }

    fn report(outcomes: impl IntoIterator<Item = Outcome>) -> SagaReport {
        let entity = |outcome| SagaEntity { id: EntityId::from_u128(1), outcome, latency: None };
        SagaReport {
            saga: SagaId::from_u128(7),
            state: SagaState::Done,
            to: BubbleId::from_u128(1),
            view_epoch: Epoch(4),
            entities: outcomes.into_iter().map(entity).collect(),
        }
    }

    fn attribute(span: &SpanData, key: &str) -> String {
        let key = format!("lampyrid.{key}");
        let found = span.attributes.iter().find(|one| one.key.as_str() == key);
        found.map(|one| one.value.to_string()).unwrap_or_default()
    }

    #[test]
    fn begin_and_end_are_when_things_happened() {
        let doubted = Some(Duration::from_secs(4));
        let report = report([Outcome::Committed { epoch: OwnershipEpoch(1) }]);
        let whole = span(SpanWork::Saga { report, in_doubt_ago: doubted, replayed: false });
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!((since(whole.start_time), since(whole.end_time)), (995, 998));
        assert_eq!(since(whole.events.events[0].timestamp), 996);
    }

    #[test]
    fn a_destination_names_the_span_of_the_source_as_its_parent() {
        let part = PartId { source: ProcessId::from_u128(9), saga: SagaId::from_u128(7), part: 0 };
        let to = BubbleId::from_u128(1);
        let whole =
            span(SpanWork::Saga { report: report([]), in_doubt_ago: None, replayed: false });
        let stage = span(SpanWork::Stage { part, attempt: 0, to, staged: 1, refused: 0 });
        let activate = span(SpanWork::Activate { part, entities: 1 });
        assert_eq!(whole.parent_span_id, SpanId::INVALID);
        for child in [&stage, &activate] {
            assert_eq!(child.span_context.trace_id(), whole.span_context.trace_id());
            assert_eq!(child.parent_span_id, whole.span_context.span_id());
            assert_eq!(attribute(child, "source"), part.source.to_string());
            assert_eq!(attribute(child, "view_epoch"), "4");
        }
        assert_ne!(stage.span_context.span_id(), activate.span_context.span_id());
    }

    #[test]
    fn an_outcome_shows_in_state_and_status() {
        let committed = || Outcome::Committed { epoch: OwnershipEpoch(1) };
        let aborted = || Outcome::Aborted { reason: Reason::NotHosted };
        let of = |outcomes: Vec<Outcome>| {
            let report = report(outcomes);
            let span = span(SpanWork::Saga { report, in_doubt_ago: None, replayed: false });
            (attribute(&span, "state"), attribute(&span, "reason"), span.status)
        };
        assert_eq!(of(vec![committed()]), ("committed".into(), String::new(), Status::Unset));
        let mixed = of(vec![committed(), aborted()]);
        assert_eq!(mixed, ("mixed".into(), "not_hosted".into(), Status::Unset));
        let none = of(vec![aborted()]);
        assert_eq!(none, ("aborted".into(), "not_hosted".into(), Status::error("not_hosted")));
    }
}
