use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lampyrid_membership::Status;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::auth::{Token, demand_token, refuse_other_origins};
use super::limits::{MAX_BODY_BYTES_AT_ONCE, MAX_EVENT_STREAMS, REQUEST_TIMEOUT};
use super::metrics::{Metrics, scrape};
use super::problem::Problem;
use super::unread;
use super::{Backend, bars, bubbles, drain, entities, events, migrations, process, views};

/// What every handler sees.
pub(crate) struct App {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) metrics: Metrics,
    /// One permit per byte of a request body being read.
    pub(crate) body_room: Semaphore,
    pub(crate) event_room: Arc<Semaphore>,
    /// Says that the server stops: streams end.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl App {
    pub(crate) fn new(backend: Arc<dyn Backend>, stopping: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self {
            backend,
            metrics: Metrics::new(),
            body_room: Semaphore::new(MAX_BODY_BYTES_AT_ONCE),
            event_room: Arc::new(Semaphore::new(MAX_EVENT_STREAMS)),
            stopping,
        })
    }

    /// True if what is read now may be out of date.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self.backend.views().status(), Status::Isolated | Status::Left)
    }

    /// Leave to change something. Whoever does the change asks again; this gives one answer to all
    /// kinds of requests, whatever else is wrong with them.
    pub(crate) fn permit(&self) -> Result<(), Problem> {
        self.backend.views().permit().map(|_| ()).map_err(|_| Problem::isolated())
    }
}

pub(crate) fn router(app: Arc<App>, token: Option<Token>) -> Router {
    Router::new()
        .route("/v1/view", get(views::view))
        .route("/v1/topology", get(views::topology))
        .route("/v1/bubbles/{id}", get(views::bubble))
        .route(
            "/v1/bubbles/{id}/move",
            post(bubbles::start).get(bubbles::report).delete(bubbles::cancel),
        )
        .route("/v1/entities", post(entities::create).get(entities::list))
        .route(
            "/v1/entities/{id}",
            get(entities::read).put(entities::write).delete(entities::delete),
        )
        .route("/v1/migrations", post(migrations::start))
        .route("/v1/migrations/{saga}", get(migrations::report))
        .route("/v1/audit", get(views::audit))
        .route("/v1/events", get(events::stream))
        .route("/v1/barred", get(bars::list))
        .route("/v1/barred/{id}", post(bars::bar).get(bars::report))
        .route("/v1/drain", post(drain::start).get(drain::report).delete(drain::cancel))
        .route("/v1/leave", post(process::leave))
        .route("/healthz", get(process::healthz))
        .route("/readyz", get(process::readyz))
        .route("/metrics", get(scrape))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(limit_time))
        .layer(middleware::from_fn(refuse_other_origins))
        .layer(middleware::from_fn_with_state(Arc::new(token), demand_token))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), count))
        .layer(middleware::from_fn(unread::drain))
        .with_state(app)
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => {
            let title = "The answer could not be written";
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Problem::new(status, "internal", title, error.to_string()).into_response()
        }
    }
}

async fn no_such_route(request: Request) -> Problem {
    let detail = format!("there is nothing at `{}`", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "unknown_route", "Unknown route", detail)
}

async fn no_such_method(request: Request) -> Problem {
    let detail = format!("`{}` does not take {}", request.uri().path(), request.method());
    let title = "Method not allowed";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title, detail)
}

/// No request is worked on for ever. What it started goes on; only the waiting ends.
async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
            let status = StatusCode::GATEWAY_TIMEOUT;
            Problem::new(status, "timeout", "No answer in time", detail)
                .with("phase", "request")
                .into_response()
        }
    }
}

async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.metrics.count_request(response.status());
    response
}
