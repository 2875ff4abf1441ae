//! What a harness and the program `mover-under-test` say to each other: lines of JSON, an order
//! with a number one way, the answer with the same number the other. Answers come in any order.

mod latencies;
mod order;
mod tally;

pub use latencies::Latencies;
pub use order::{Answer, Held, Line, Mark, MarkKind, Order, Setup, Started, Usage};
pub use tally::Tally;

/// The secret of all processes of a test.
pub const COOKIE: &[u8] = b"a cookie for tests only, 0123456789";
