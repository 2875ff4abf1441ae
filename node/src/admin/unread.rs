use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

use super::limits::{DRAIN_TIMEOUT, MAX_DRAINED_BYTES};

/// Takes in what a refused request still sends. Many clients read no answer before they have sent
/// everything, and a connection closed in the middle of it is reset: they would never learn why.
/// What is too much or too slow is cut off all the same, and one that waits to be told to go on
/// (`Expect: 100-continue`) reads at once.
pub(crate) async fn drain(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::EXPECT) || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (left, rest) = oneshot::channel();
    let watched = |body| Body::new(Watched { body, left: Some(left) });
    let response = next.run(request.map(watched)).await;
    if let Ok(body) = rest.await {
        discard(body, DRAIN_TIMEOUT).await;
    }
    response
}

async fn discard(mut body: Body, limit: Duration) {
    let all = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > MAX_DRAINED_BYTES {
                return;
            }
        }
    };
    // Too slow: the answer is sent, whether or not it is ever read.
    let _ = tokio::time::timeout(limit, all).await;
}

/// A body that is given back if it was dropped before its end.
struct Watched {
    body: Body,
    left: Option<oneshot::Sender<Body>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            // Nobody waits for it if the whole request has been given up.
            let _ = left.send(std::mem::take(&mut self.body));
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.left = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
