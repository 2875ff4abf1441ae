use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use lampyrid_membership::Status;
use lampyrid_migration::{Audit, Reason};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::routes::App;

/// How long a scrape waits for the figures of entities; without, the last ones stand.
const AUDIT_LIMIT: Duration = Duration::from_secs(1);

/// The figures of one process. Its recorder is installed only while figures are recorded, so
/// several nodes in one operating-system process do not mix theirs.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, describe);
        Self { recorder }
    }

    pub(crate) fn count_request(&self, status: StatusCode) {
        with_local_recorder(&self.recorder, || {
            counter!("lampyrid_http_requests_total", "status" => status.as_u16().to_string())
                .increment(1);
        });
    }

    pub(crate) fn connections(&self, open: usize) {
        with_local_recorder(&self.recorder, || {
            gauge!("lampyrid_http_connections").set(open as f64);
        });
    }
}

fn describe() {
    crate::node::metrics::describe();
    describe_gauge!("lampyrid_view_epoch", "Epoch of the installed view; 0 without one");
    describe_gauge!("lampyrid_view_members", "Members of the installed view");
    describe_gauge!("lampyrid_active", "1 while the process is in touch with a quorum");
    describe_gauge!("lampyrid_coordinating", "1 while the process coordinates");
    describe_gauge!("lampyrid_ready", "1 while /readyz answers 200");
    describe_gauge!("lampyrid_incarnation", "Incarnation of the process");
    describe_gauge!("lampyrid_registered_processes", "Processes in the registry");
    describe_gauge!("lampyrid_registered_bubbles", "Bubbles in the registry");
    describe_gauge!("lampyrid_entities", "Entities at this process by status");
    describe_gauge!("lampyrid_migrations_in_doubt", "Moves decided and not yet acknowledged");
    describe_counter!("lampyrid_migrations_started_total", "Moves of entities started here");
    describe_counter!("lampyrid_migrations_committed_total", "Moves of entities committed");
    describe_counter!("lampyrid_migrations_aborted_total", "Moves of entities aborted");
    describe_counter!("lampyrid_migrations_replayed_total", "Moves taken up from the journal");
    describe_counter!("lampyrid_http_requests_total", "Admin HTTP requests answered by status");
    describe_gauge!("lampyrid_http_connections", Unit::Count, "Admin HTTP connections open");
}

/// `GET /metrics`: what the shared handles say now, and what the node adds.
pub(crate) async fn scrape(State(app): State<Arc<App>>) -> Response {
    // While the journal waits for its disk there is no answer, and a scrape does not wait for long.
    let audit = tokio::time::timeout(AUDIT_LIMIT, app.backend.audit()).await;
    let audit = audit.unwrap_or(Err(Reason::JournalFailed));
    let truth = |yes: bool| f64::from(u8::from(yes));
    with_local_recorder(&app.metrics.recorder, || {
        let views = app.backend.views();
        let (state, status) = (views.current(), views.status());
        let view = state.view.as_deref();
        let active = status == Status::Active;
        let coordinating = active && state.coordinator() == Some(state.me.process);
        gauge!("lampyrid_view_epoch").set(view.map_or(0, |view| view.epoch().0) as f64);
        gauge!("lampyrid_view_members").set(view.map_or(0, |view| view.size()) as f64);
        gauge!("lampyrid_active").set(truth(active));
        gauge!("lampyrid_coordinating").set(truth(coordinating));
        gauge!("lampyrid_ready").set(truth(app.backend.readiness().is_ok()));
        gauge!("lampyrid_incarnation").set(state.me.incarnation.0 as f64);
        let topology = app.backend.topology();
        let bubbles: usize = topology.processes.iter().map(|entry| entry.bubbles.len()).sum();
        gauge!("lampyrid_registered_processes").set(topology.processes.len() as f64);
        gauge!("lampyrid_registered_bubbles").set(bubbles as f64);
        // Without an answer the last figures stand.
        if let Ok(audit) = &audit {
            record_audit(audit);
        }
        app.backend.record_metrics();
    });
    let text = app.metrics.recorder.handle().render() + &app.backend.histograms();
    let mut response = Response::new(Body::from(text));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

fn record_audit(audit: &Audit) {
    gauge!("lampyrid_entities", "status" => "active").set(audit.active as f64);
    gauge!("lampyrid_entities", "status" => "frozen").set(audit.frozen as f64);
    gauge!("lampyrid_entities", "status" => "staged").set(audit.staged as f64);
    gauge!("lampyrid_migrations_in_doubt").set(audit.in_doubt as f64);
    counter!("lampyrid_migrations_started_total").absolute(audit.started);
    counter!("lampyrid_migrations_committed_total").absolute(audit.committed);
    counter!("lampyrid_migrations_aborted_total").absolute(audit.aborted);
    counter!("lampyrid_migrations_replayed_total").absolute(audit.replayed);
}
