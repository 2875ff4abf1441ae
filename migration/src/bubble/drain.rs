use lampyrid_wire::Epoch;
use serde::{Deserialize, Serialize};

use crate::{BubbleMoveReport, Reason};

/// That this process gives everything away; there until it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DrainRow {
    /// The view in which that was asked for.
    pub view_epoch: Epoch,
}

/// How a drain stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainState {
    /// Nobody has asked for one.
    Idle,
    /// Bubbles and entities are on their way.
    Running,
    /// Nothing is left here; the process leaves.
    Done,
}

/// What a caller is told of a drain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrainReport {
    /// How it stands.
    pub state: DrainState,
    /// Bubbles that are hosted here.
    pub bubbles_left: u64,
    /// Entities that are here.
    pub entities_left: u64,
    /// Entities that left and are not acknowledged by their destination: the drain waits for that.
    pub in_doubt: u64,
    /// Bubbles on their way.
    pub moves: Vec<BubbleMoveReport>,
    /// What holds it up, if something does.
    pub reason: Option<Reason>,
}
