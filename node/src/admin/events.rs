use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use lampyrid_membership::Status;
use lampyrid_migration::{Outcome, SagaReport};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::answers::TopologyAnswer;
use super::limits::MAX_EVENT_STREAMS;
use super::problem::Problem;
use super::routes::App;
use super::views;
use crate::{NodeEvent, NumberedEvent, Restart};

/// Events on their way to one client. One that does not read falls behind in the log, not here.
const BUFFER: usize = 1;

/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An id that no event has.
const NO_ID: u64 = 0;

/// What a client that comes back names.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

/// `GET /v1/events`: server-sent events, the current state first, or what came after
/// `Last-Event-ID`. A client that takes nothing for long is cut off.
pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_event(&headers);
    let Ok(room) = Arc::clone(&app.event_room).try_acquire_owned() else {
        let detail = format!("{MAX_EVENT_STREAMS} event streams are open");
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Err(Problem::new(status, "overloaded", "Too much is under way", detail)
            .with("limit", "event_streams"));
    };
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(forward(Arc::clone(&app), after, sender, room));
    let mut response = Response::new(Body::new(EventBody(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// What is no number was never an id here, so it is answered as every unknown id is: browsers do
/// not come back after an error.
pub(super) fn last_event(headers: &HeaderMap) -> Option<u64> {
    let given = headers.get(LAST_EVENT_ID).filter(|given| !given.is_empty())?;
    let id = given.to_str().ok().and_then(|text| text.trim().parse().ok());
    Some(id.unwrap_or(NO_ID))
}

async fn forward(
    app: Arc<App>,
    after: Option<u64>,
    client: mpsc::Sender<Bytes>,
    _room: OwnedSemaphorePermit,
) {
    let (mut events, mut stopping) = (app.backend.events(after), app.stopping.clone());
    let work = async {
        // The first bytes tell the client at once that it is listening.
        let mut next = Bytes::from_static(b": listening\n\n");
        // Sending fails when the client has gone.
        while client.send(next).await.is_ok() {
            next = tokio::select! {
                () = client.closed() => return,
                event = tokio::time::timeout(KEEP_ALIVE, events.next()) => match event {
                    Err(_) => Bytes::from_static(b":\n\n"),
                    Ok(Some(event)) => {
                        let stale = app.backend.views().status() != Status::Active;
                        render(&event, stale)
                    }
                    Ok(None) => return,
                },
            };
        }
    };
    tokio::select! {
        () = work => {}
        // The sender gone means the same.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

fn render(event: &NumberedEvent, stale: bool) -> Bytes {
    let (kind, data) = match &event.event {
        NodeEvent::View(state) => {
            ("view", serde_json::to_value(views::describe(state, state.status)).unwrap_or_default())
        }
        NodeEvent::Coordinator { epoch, coordinator } => {
            ("coordinator", json!({ "epoch": epoch, "coordinator": coordinator }))
        }
        NodeEvent::Topology(snapshot) => {
            let answer = TopologyAnswer::new((**snapshot).clone().into(), stale);
            ("topology", serde_json::to_value(answer).unwrap_or_default())
        }
        NodeEvent::Saga(report) => ("migration", saga(report)),
        NodeEvent::Restart(Restart { actor, cause, reason }) => {
            ("restart", json!({ "actor": actor, "cause": cause, "reason": reason }))
        }
        NodeEvent::Gap => ("gap", json!({})),
    };
    Bytes::from(format!("id: {}\nevent: {kind}\ndata: {data}\n\n", event.id))
}

/// In counts: `/v1/migrations/{saga}` has each entity.
fn saga(report: &SagaReport) -> Value {
    let (mut committed, mut aborted, mut pending) = (0_u64, 0_u64, 0_u64);
    for entity in &report.entities {
        match entity.outcome {
            Outcome::Committed { .. } => committed += 1,
            Outcome::Aborted { .. } => aborted += 1,
            Outcome::Pending => pending += 1,
        }
    }
    json!({
        "saga": report.saga,
        "state": report.state,
        "to": report.to,
        "view_epoch": report.view_epoch,
        "committed": committed,
        "aborted": aborted,
        "pending": pending,
    })
}

struct EventBody(mpsc::Receiver<Bytes>);

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
