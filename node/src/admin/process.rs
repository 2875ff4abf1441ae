use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json as value;

use super::problem::Problem;
use super::routes::{App, json};

pub(crate) async fn leave(State(app): State<Arc<App>>) -> Response {
    app.backend.leave();
    json(StatusCode::ACCEPTED, &value!({ "status": "leaving" }))
}

pub(crate) async fn healthz() -> Response {
    json(StatusCode::OK, &value!({ "status": "alive" }))
}

pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    match app.backend.readiness() {
        Ok(()) => Ok(json(StatusCode::OK, &value!({ "status": "ready" }))),
        Err(reason) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(Problem::new(status, "not_ready", "The process is not ready", reason.to_string()))
        }
    }
}
