use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use lampyrid_migration::{NewEntities, Reason, StatusFilter};
use lampyrid_wire::{EntityId, OwnershipEpoch};
use serde_json::value::RawValue;

use super::answers::{CreatedMany, CreatedOne, EntityAnswer, PageAnswer};
use super::extract::{Id, Json, Search};
use super::limits::{DEFAULT_PAGE, MAX_ENTITIES, MAX_PAGE, MAX_STATE_BYTES};
use super::problem::Problem;
use super::requests::{Create, List, Put};
use super::routes::{App, json};

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Json(request): Json<Create>,
) -> Result<Response, Problem> {
    let new = match (request.id, request.count) {
        (Some(_), Some(_)) => return Err(Problem::invalid("give `id` or `count`, not both")),
        (Some(id), None) if id.is_nil() => {
            return Err(Problem::invalid("`id`: the nil UUID names no entity"));
        }
        (None, Some(0)) => return Err(Problem::invalid("`count` is 0; it must be at least 1")),
        (None, Some(count)) if count > MAX_ENTITIES => {
            return Err(Problem::over_limit("count", MAX_ENTITIES as u64, count as u64));
        }
        (None, Some(count)) => NewEntities::Many(count),
        (id, None) => NewEntities::One(id),
    };
    let many = request.count.is_some();
    let bubble = request.bubble;
    let state = state_bytes(request.state)?;
    app.permit()?;
    let ids = app.backend.create(bubble, new, state).await?;
    Ok(match ids.as_slice() {
        &[id] if !many => {
            json(StatusCode::CREATED, &CreatedOne { id, bubble, epoch: OwnershipEpoch(0) })
        }
        _ => json(StatusCode::CREATED, &CreatedMany { ids }),
    })
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Search(search): Search<List>,
) -> Result<Response, Problem> {
    let limit = search.limit.unwrap_or(DEFAULT_PAGE);
    if limit > MAX_PAGE {
        return Err(Problem::over_limit("limit", MAX_PAGE as u64, limit as u64));
    }
    if limit == 0 {
        return Err(Problem::invalid("`limit` is 0; it must be at least 1"));
    }
    let filter = search.status.unwrap_or(StatusFilter::Active);
    let page = app.backend.list(filter, search.after, limit).await?;
    Ok(json(StatusCode::OK, &PageAnswer::new(&page, app.is_stale())))
}

pub(crate) async fn read(
    State(app): State<Arc<App>>,
    Id(id): Id<EntityId>,
) -> Result<Response, Problem> {
    let stale = app.is_stale();
    match app.backend.get(id).await {
        Ok(record) => Ok(json(StatusCode::OK, &EntityAnswer::whole(record, stale))),
        Err(error) => {
            let missing = error.reason == Reason::UnknownEntity;
            Err(Problem::from(error).stale(stale && missing))
        }
    }
}

pub(crate) async fn write(
    State(app): State<Arc<App>>,
    Id(id): Id<EntityId>,
    Json(request): Json<Put>,
) -> Result<Response, Problem> {
    let state = state_bytes(request.state)?;
    app.permit()?;
    let record = app.backend.put(id, state).await?;
    Ok(json(StatusCode::OK, &EntityAnswer::whole(record, false)))
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Id(id): Id<EntityId>,
) -> Result<Response, Problem> {
    app.permit()?;
    app.backend.delete(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The JSON text as it came: the system does not look into a state.
fn state_bytes(state: Box<RawValue>) -> Result<Bytes, Problem> {
    let text: Box<str> = state.into();
    if text.len() > MAX_STATE_BYTES {
        return Err(Problem::too_large("state", MAX_STATE_BYTES));
    }
    Ok(Bytes::from(text.into_boxed_bytes()))
}
