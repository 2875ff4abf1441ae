use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lampyrid_wire::ParseIdError;
use serde::de::DeserializeOwned;

use super::limits::{BODY_TIMEOUT, MAX_BODY_BYTES};
use super::problem::Problem;
use super::routes::App;

/// A request body as JSON, whatever its content type says.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        parse(&body(request, app).await?).map(Self)
    }
}

/// The same where every field may be left out: no body at all says what `{}` does.
pub(crate) struct JsonOrNothing<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonOrNothing<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let bytes = body(request, app).await?;
        parse(if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes }).map(Self)
    }
}

/// Reads a body within a bounded time.
async fn body(request: Request, app: &App) -> Result<Bytes, Problem> {
    let body = tokio::time::timeout(BODY_TIMEOUT, read(request, app)).await;
    body.map_err(|_| too_slow())?
}

/// Reads a body of a bounded size. The room it takes is claimed before its first byte is read.
async fn read(request: Request, app: &App) -> Result<Bytes, Problem> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let announced = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let size = announced.unwrap_or(MAX_BODY_BYTES);
    if size > MAX_BODY_BYTES {
        return Err(Problem::too_large("body", MAX_BODY_BYTES));
    }
    let permits = u32::try_from(size).unwrap_or(u32::MAX);
    let _room = app.body_room.acquire_many(permits).await.map_err(|_| too_slow())?;
    collect(request.into_body()).await
}

async fn collect(body: Body) -> Result<Bytes, Problem> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::too_large("body", MAX_BODY_BYTES))
        }
        Err(error) => Err(Problem::invalid(format!("the body cannot be read: {error}"))),
    }
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // An array would be taken for the fields in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid("the body is an array; it must be an object"));
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::invalid(error.to_string()),
        _ => Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed_json",
            "The body is not JSON",
            error.to_string(),
        ),
    })
}

fn too_slow() -> Problem {
    let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
    let title = "The request took too long to arrive";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", title, detail)
}

/// The query part of the address.
pub(crate) struct Search<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Search<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(search)) => Ok(Self(search)),
            Err(error) => Err(Problem::invalid(error.body_text())),
        }
    }
}

/// The id in the path.
pub(crate) struct Id<T>(pub(crate) T);

impl<T, S: Send + Sync> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err = ParseIdError>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::invalid(error.body_text()))?;
        text.parse().map(Self).map_err(|error| Problem::invalid(error.to_string()))
    }
}
