//! The limits of the admin HTTP. Exceeding one refuses the whole request; nothing starts.

use std::time::Duration;

/// The largest request body, in bytes; a larger one is answered 413.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The bytes of request bodies being read at one moment; further requests wait for room.
pub const MAX_BODY_BYTES_AT_ONCE: usize = 8 * MAX_BODY_BYTES;

/// The largest state of an entity, in bytes of its JSON text.
pub const MAX_STATE_BYTES: usize = 1024 * 1024;

/// The most entities in one request: to be moved, or created by `count`.
pub const MAX_ENTITIES: usize = 10_000;

/// The longest listing.
pub const MAX_PAGE: usize = 10_000;

/// The length of a listing when none is asked for.
pub const DEFAULT_PAGE: usize = 1_000;

/// The longest wait for a saga, in milliseconds.
pub const MAX_WAIT_MS: u64 = 60_000;

/// The longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;

/// Connections open at one moment; further ones are answered 503 and closed.
pub const MAX_CONNECTIONS: usize = 256;

/// Of these, event streams.
pub const MAX_EVENT_STREAMS: usize = 64;

/// How long a client may take to send a request's head, or idle between two requests.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take for the handshake of TLS. The time that it takes counts towards that
/// for heads.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to send a request's body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The bytes of a refused request's body that are taken in and thrown away, so that its sender gets
/// to read the refusal.
pub const MAX_DRAINED_BYTES: usize = 8 * MAX_BODY_BYTES;

/// How long that may take.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may leave an answer unread.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a request may be worked on, its waits included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// How long answers under way are given to end when the server stops.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

const _: () = {
    assert!(MAX_STATE_BYTES < MAX_BODY_BYTES);
    assert!(MAX_BODY_BYTES <= MAX_BODY_BYTES_AT_ONCE);
    assert!(MAX_WAIT_MS / 1_000 + BODY_TIMEOUT.as_secs() < REQUEST_TIMEOUT.as_secs());
    assert!(HANDSHAKE_TIMEOUT.as_secs() < HEADER_TIMEOUT.as_secs());
    assert!(MAX_EVENT_STREAMS < MAX_CONNECTIONS);
};
