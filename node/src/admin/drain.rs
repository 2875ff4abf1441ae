use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lampyrid_migration::{DrainReport, DrainState};
use serde::Serialize;

use super::bubbles::MoveAnswer;
use super::extract::JsonOrNothing;
use super::problem::Problem;
use super::requests::{Drain, wait};
use super::routes::{App, json};

#[derive(Serialize)]
struct DrainAnswer {
    state: DrainState,
    bubbles_left: u64,
    entities_left: u64,
    in_doubt: u64,
    /// What holds it up now.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    moves: Vec<MoveAnswer>,
}

impl From<DrainReport> for DrainAnswer {
    fn from(report: DrainReport) -> Self {
        Self {
            state: report.state,
            bubbles_left: report.bubbles_left,
            entities_left: report.entities_left,
            in_doubt: report.in_doubt,
            reason: report.reason.map(|reason| reason.code()),
            moves: report.moves.into_iter().map(MoveAnswer::from).collect(),
        }
    }
}

pub(crate) async fn start(
    State(app): State<Arc<App>>,
    JsonOrNothing(request): JsonOrNothing<Drain>,
) -> Result<Response, Problem> {
    let wait = wait(request.wait_ms)?;
    let accepted = app.backend.drain().await?;
    let Some(limit) = wait else {
        return Ok(json(StatusCode::ACCEPTED, &DrainAnswer::from(accepted)));
    };
    // What was started goes on, even where its report cannot be had now.
    let report = app.backend.wait_for_drain(limit).await.unwrap_or(accepted);
    Ok(json(StatusCode::OK, &DrainAnswer::from(report)))
}

pub(crate) async fn report(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let report = app.backend.wait_for_drain(Duration::ZERO).await?;
    Ok(json(StatusCode::OK, &DrainAnswer::from(report)))
}

pub(crate) async fn cancel(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let report = app.backend.cancel_drain().await?;
    Ok(json(StatusCode::OK, &DrainAnswer::from(report)))
}
