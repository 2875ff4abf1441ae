use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lampyrid_migration::{BubbleMoveReport, BubbleMoveState};
use lampyrid_wire::{BubbleId, Epoch, ProcessId, SagaId};
use serde::Serialize;

use super::extract::{Id, Json};
use super::problem::Problem;
use super::requests::{MoveBubble, wait};
use super::routes::{App, json};

#[derive(Serialize)]
struct Accepted {
    r#move: SagaId,
}

#[derive(Serialize)]
pub(crate) struct MoveAnswer {
    r#move: SagaId,
    bubble: BubbleId,
    to_process: ProcessId,
    view_epoch: Epoch,
    state: BubbleMoveState,
    entities: Entities,
    /// Why it was aborted, or what holds it up now.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Entities {
    moved: u64,
    left: u64,
}

impl From<BubbleMoveReport> for MoveAnswer {
    fn from(report: BubbleMoveReport) -> Self {
        Self {
            r#move: report.id,
            bubble: report.bubble,
            to_process: report.to,
            view_epoch: report.view_epoch,
            state: report.state,
            entities: Entities { moved: report.moved, left: report.left },
            reason: report.reason.map(|reason| reason.code()),
        }
    }
}

pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Id(bubble): Id<BubbleId>,
    Json(request): Json<MoveBubble>,
) -> Result<Response, Problem> {
    let wait = wait(request.wait_ms)?;
    app.permit()?;
    let accepted = app.backend.move_bubble(bubble, request.to_process).await?;
    let report = match wait {
        // What was started goes on, even where its report cannot be had now.
        Some(limit) => app.backend.wait_for_bubble(bubble, limit).await.unwrap_or_default(),
        None => None,
    };
    Ok(match report.filter(|report| report.id == accepted.id) {
        Some(report) => json(StatusCode::OK, &MoveAnswer::from(report)),
        None => json(StatusCode::ACCEPTED, &Accepted { r#move: accepted.id }),
    })
}

pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Id(bubble): Id<BubbleId>,
) -> Result<Response, Problem> {
    match app.backend.bubble_move(bubble).await? {
        Some(report) => Ok(json(StatusCode::OK, &MoveAnswer::from(report))),
        None => Err(unknown()),
    }
}

pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Id(bubble): Id<BubbleId>,
) -> Result<Response, Problem> {
    app.permit()?;
    let report = app.backend.cancel_move(bubble).await?;
    Ok(json(StatusCode::OK, &MoveAnswer::from(report)))
}

fn unknown() -> Problem {
    let detail = "this process has not moved that bubble, or has forgotten it";
    Problem::new(StatusCode::NOT_FOUND, "unknown_move", "Unknown move", detail)
}
