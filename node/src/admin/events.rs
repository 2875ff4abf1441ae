use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Event;
use super::limits::MAX_EVENT_STREAMS;
use super::problem::Problem;
use super::routes::App;

/// Events on their way to one client.
const BUFFER: usize = 64;

/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /v1/events`. A client that cannot keep up is cut off and connects again.
pub(crate) async fn stream(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let Some(events) = app.backend.events() else {
        let detail = "this process does not offer the event stream";
        let status = StatusCode::NOT_IMPLEMENTED;
        return Err(Problem::new(status, "not_implemented", "Not implemented", detail));
    };
    let Ok(room) = Arc::clone(&app.event_room).try_acquire_owned() else {
        let detail = format!("{MAX_EVENT_STREAMS} event streams are open");
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Err(Problem::new(status, "overloaded", "Too much is under way", detail)
            .with("limit", "event_streams"));
    };
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(forward(events, sender, room));
    let mut response = Response::new(Body::new(EventBody(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

async fn forward(
    mut events: broadcast::Receiver<Event>,
    client: mpsc::Sender<Bytes>,
    _room: OwnedSemaphorePermit,
) {
    // The first bytes tell the client at once that it is listening.
    let mut next = Bytes::from_static(b": listening\n\n");
    loop {
        if client.try_send(next).is_err() {
            return;
        }
        next = tokio::select! {
            () = client.closed() => return,
            event = tokio::time::timeout(KEEP_ALIVE, events.recv()) => match event {
                Err(_) => Bytes::from_static(b":\n\n"),
                Ok(Ok(event)) => render(&event),
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => return,
            },
        };
    }
}

fn render(event: &Event) -> Bytes {
    Bytes::from(format!("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.kind.name(), event.data))
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
