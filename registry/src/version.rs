use std::fmt;

use lampyrid_wire::Epoch;
use serde::{Deserialize, Serialize};

/// The number of a broadcast: first the view in which the coordinator made it, then its place among
/// that coordinator's broadcasts. One epoch has one coordinator, so a version names one state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The epoch of the coordinator's view.
    pub epoch: Epoch,
    /// Rises by one with each broadcast of one life of a process; 0 is an ordinary number.
    pub sequence: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.sequence)
    }
}
