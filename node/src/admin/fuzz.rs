//! What fuzzers feed the admin HTTP with: bodies, and the header of those who come back.

use axum::http::{HeaderMap, HeaderValue};

use super::events::{LAST_EVENT_ID, last_event};
use super::extract::parse;
use super::requests::{Create, Drain, Migrate, MoveBubble, Put};

/// A body of each kind, and `Last-Event-ID`.
pub fn admin(bytes: &[u8]) {
    // Problems are what most bytes are worth.
    let _ = parse::<Create>(bytes);
    let _ = parse::<Put>(bytes);
    let _ = parse::<Migrate>(bytes);
    let _ = parse::<MoveBubble>(bytes);
    let _ = parse::<Drain>(bytes);
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, value);
        let _ = last_event(&headers);
    }
}
