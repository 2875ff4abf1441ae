use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lampyrid_migration::BarReport;
use lampyrid_wire::ProcessId;
use serde::Serialize;

use super::extract::Id;
use super::problem::Problem;
use super::routes::{App, json};

#[derive(Serialize)]
struct BarAnswer {
    process: ProcessId,
    state: &'static str,
    waiting_for: Vec<ProcessId>,
    in_doubt: u64,
    reinstalled: u64,
    elsewhere: u64,
}

#[derive(Serialize)]
struct BarsAnswer {
    barred: Vec<BarAnswer>,
}

impl From<BarReport> for BarAnswer {
    fn from(report: BarReport) -> Self {
        let state = match (report.complete, report.in_doubt) {
            (false, _) => "telling",
            (true, 0) => "done",
            (true, _) => "taking_back",
        };
        Self {
            process: report.process,
            state,
            waiting_for: report.waiting_for,
            in_doubt: report.in_doubt,
            reinstalled: report.reinstalled,
            elsewhere: report.elsewhere,
        }
    }
}

pub(crate) async fn bar(
    State(app): State<Arc<App>>,
    Id(process): Id<ProcessId>,
) -> Result<Response, Problem> {
    app.permit()?;
    let report = app.backend.bar(process).await?;
    Ok(json(StatusCode::ACCEPTED, &BarAnswer::from(report)))
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let barred = app.backend.bars().await?.into_iter().map(BarAnswer::from).collect();
    Ok(json(StatusCode::OK, &BarsAnswer { barred }))
}
