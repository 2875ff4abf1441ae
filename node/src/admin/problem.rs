use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lampyrid_migration::{BatchError, EntityError, Reason};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What is sent, in the order in which it is documented.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    code: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

/// The title of all requests that are over a limit by themselves.
const OVER_LIMIT: &str = "The request exceeds a limit";

/// A refusal as an RFC 9457 problem document.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    members: Map<String, Value>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, code, title, detail: detail.into(), members: Map::new() }
    }

    /// Adds an extension member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Marks what was read while isolated.
    pub(crate) fn stale(self, stale: bool) -> Self {
        if stale { self.with("stale", true) } else { self }
    }

    /// A request that says something it must not.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        let title = "The request is not valid";
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", title, detail)
    }

    /// A request over one of the limits.
    pub(crate) fn over_limit(limit: &'static str, maximum: u64, found: u64) -> Self {
        let detail = format!("`{limit}` is {found}; it may be at most {maximum}");
        Self::new(StatusCode::BAD_REQUEST, "limit_exceeded", OVER_LIMIT, detail)
            .with("limit", limit)
            .with("maximum", maximum)
    }

    /// A body or state that is too large.
    pub(crate) fn too_large(limit: &'static str, maximum: usize) -> Self {
        let detail = format!("`{limit}` may have at most {maximum} bytes");
        let title = "The content is too large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", title, detail)
            .with("limit", limit)
            .with("maximum", maximum)
    }

    /// A write, creation or move while isolated.
    pub(crate) fn isolated() -> Self {
        Reason::Isolated.into()
    }
}

/// The HTTP status of a typed reason.
#[must_use]
pub fn status_of(reason: &Reason) -> StatusCode {
    match reason {
        Reason::UnknownEntity | Reason::UnknownBubble | Reason::UnknownProcess => {
            StatusCode::NOT_FOUND
        }
        Reason::AlreadyMoving { .. }
        | Reason::NotHosted
        | Reason::SameBubble
        | Reason::EntityExists
        | Reason::EpochMismatch { .. }
        | Reason::IdempotencyMismatch
        | Reason::BubbleClaimed { .. }
        | Reason::BubbleNotEmpty
        | Reason::SameProcess
        | Reason::StillMember
        | Reason::NoOtherMember
        | Reason::Cancelled
        | Reason::Barred { .. } => StatusCode::CONFLICT,
        Reason::Refused(_) | Reason::HookTimedOut | Reason::HookFailed => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Reason::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
        Reason::LimitExceeded { .. } => StatusCode::BAD_REQUEST,
        Reason::Unreachable
        | Reason::Isolated
        | Reason::ViewChanged
        | Reason::Draining
        | Reason::JournalFailed
        | Reason::StagingFailed(_) => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// The short text that is the same for every occurrence of a reason.
fn title_of(reason: &Reason) -> &'static str {
    match reason {
        Reason::UnknownEntity => "Unknown entity",
        Reason::UnknownBubble => "Unknown bubble",
        Reason::SameBubble => "The entity is in that bubble already",
        Reason::AlreadyMoving { .. } => "It is moving already",
        Reason::NotHosted => "The bubble is not hosted here",
        Reason::EpochMismatch { .. } => "The entity is at another ownership epoch",
        Reason::Unreachable => "The destination cannot be reached",
        Reason::Refused(_) | Reason::HookTimedOut | Reason::HookFailed => "The move was refused",
        Reason::StagingFailed(_) => "The entity could not be staged",
        Reason::Timeout(_) => "No answer in time",
        Reason::Isolated => "The process is isolated",
        Reason::ViewChanged => "The view changed",
        Reason::Overloaded { .. } => "Too much is under way",
        Reason::IdempotencyMismatch => "The idempotency key was used for another request",
        Reason::JournalFailed => "The journal failed",
        Reason::EntityExists => "The entity exists",
        Reason::BubbleClaimed { .. } => "Another process hosts the bubble",
        Reason::BubbleNotEmpty => "The bubble is not empty",
        Reason::UnknownProcess => "Unknown process",
        Reason::Draining => "The process is being drained",
        Reason::StillMember => "The process is a member of the view",
        Reason::Barred { .. } => "The destination was barred",
        Reason::SameProcess => "The bubble is at that process already",
        Reason::LimitExceeded { .. } => OVER_LIMIT,
        Reason::NoOtherMember => "There is no other member",
        Reason::Cancelled => "The move was cancelled",
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        let problem =
            Self::new(status_of(&reason), reason.code(), title_of(&reason), reason.to_string());
        match reason {
            Reason::AlreadyMoving { to } => problem.with("to", to.to_string()),
            Reason::BubbleClaimed { by } => problem.with("by", by.to_string()),
            Reason::Overloaded { limit } => problem.with("limit", limit),
            Reason::LimitExceeded { limit, maximum } => {
                problem.with("limit", limit).with("maximum", maximum)
            }
            Reason::EpochMismatch { expected, found } => {
                problem.with("expected", expected.0).with("found", found.0)
            }
            Reason::Timeout(phase) => problem.with("phase", json!(phase)),
            _ => problem,
        }
    }
}

impl From<EntityError> for Problem {
    fn from(error: EntityError) -> Self {
        let problem = Self::from(error.reason);
        match error.moved_to {
            None => problem,
            Some(to) => problem.with(
                "moved_to",
                json!({ "process": to.process, "bubble": to.bubble, "epoch": to.epoch }),
            ),
        }
    }
}

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        error.0.into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            kind: self.code,
            code: self.code,
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            members: &self.members,
        };
        // Names and values are all text and numbers: there is nothing that cannot be written.
        let text = serde_json::to_string(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
