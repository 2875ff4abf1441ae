//! A whole bubble on its way from one process to another: rows, messages and reports. The rules are
//! in the core.

mod drain;
mod message;
mod report;
mod row;

pub use drain::{DrainReport, DrainRow, DrainState};
pub use message::{BubbleFate, BubbleMessage};
pub use report::{BubbleMoveReport, BubbleMoveState};
pub use row::{BubbleMovePhase, BubbleMoveRow, IncomingPhase, IncomingRow};
