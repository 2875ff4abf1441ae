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
    /// This process has met it, or has something that went there or came from there.
    known: bool,
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
        let state = match (report.barred, report.complete, report.in_doubt) {
            (false, ..) => "not_barred",
            (true, false, _) => "telling",
            (true, true, 0) => "done",
            (true, true, _) => "taking_back",
        };
        Self {
            process: report.process,
            state,
            known: report.known,
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

/// Of any process: what is known of it can be asked before it is barred.
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Id(process): Id<ProcessId>,
) -> Result<Response, Problem> {
    let report = app.backend.bar_report(process).await?;
    Ok(json(StatusCode::OK, &BarAnswer::from(report)))
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let barred = app.backend.bars().await?.into_iter().map(BarAnswer::from).collect();
    Ok(json(StatusCode::OK, &BarsAnswer { barred }))
}
