use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lampyrid_migration::MigrateRequest;
use lampyrid_wire::SagaId;

use super::answers::{SagaAccepted, SagaAnswer};
use super::extract::{Id, Json};
use super::limits::{MAX_ENTITIES, MAX_IDEMPOTENCY_KEY_BYTES};
use super::problem::Problem;
use super::requests::{Migrate, wait};
use super::routes::{App, json};

pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Json(request): Json<Migrate>,
) -> Result<Response, Problem> {
    let wait = check(&request)?;
    app.permit()?;
    let entities = request.entities.into_iter().map(|wanted| wanted.0).collect();
    let (to, idempotency_key) = (request.to, request.idempotency_key);
    let saga = app.backend.migrate(MigrateRequest { entities, to, idempotency_key }).await?;
    let report = match wait {
        // What was started goes on, even where its report cannot be had now.
        Some(limit) => app.backend.wait(saga, limit).await.unwrap_or_default(),
        None => None,
    };
    Ok(match report {
        Some(report) => json(StatusCode::OK, &SagaAnswer::new(&report, false)),
        None => json(StatusCode::ACCEPTED, &SagaAccepted { saga }),
    })
}

fn check(request: &Migrate) -> Result<Option<Duration>, Problem> {
    let count = request.entities.len();
    if count == 0 {
        return Err(Problem::invalid("`entities` is empty; it must name at least one"));
    }
    if count > MAX_ENTITIES {
        return Err(Problem::over_limit("entities", MAX_ENTITIES as u64, count as u64));
    }
    let wait = wait(request.wait_ms)?;
    match request.idempotency_key.as_ref().map(String::len) {
        Some(0) => Err(Problem::invalid("`idempotency_key` is empty")),
        Some(length) if length > MAX_IDEMPOTENCY_KEY_BYTES => Err(Problem::over_limit(
            "idempotency_key",
            MAX_IDEMPOTENCY_KEY_BYTES as u64,
            length as u64,
        )),
        _ => Ok(wait),
    }
}

pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Id(id): Id<SagaId>,
) -> Result<Response, Problem> {
    let stale = app.is_stale();
    match app.backend.saga(id).await? {
        Some(report) => Ok(json(StatusCode::OK, &SagaAnswer::new(&report, stale))),
        None => {
            let detail = "this process knows no such migration, or has forgotten it";
            let title = "Unknown migration";
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_saga", title, detail).stale(stale))
        }
    }
}
