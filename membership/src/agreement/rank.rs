use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::change::ValueId;
use crate::View;

/// What proposals are ordered by. No two processes ever share one: the index is the proposer's
/// place among the sorted processes of the view being left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Rank {
    /// Rises with every try; 0 is the fast round, which belongs to nobody.
    pub round: u64,
    /// Whose it is.
    pub index: u16,
}

impl Rank {
    /// The rank of all fast votes (Fast Paxos; Lamport, 2006): below every other.
    pub const FAST: Self = Self { round: 0, index: 0 };

    /// True for the rank of fast votes.
    #[must_use]
    pub fn is_fast(self) -> bool {
        self.round == 0
    }
}

/// A vote as it is kept on disk: this view, in that rank.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The rank voted in.
    pub rank: Rank,
    /// What for.
    pub value: Arc<View>,
}

/// A vote as it is counted and sent: the value by its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cast {
    /// The rank voted in.
    pub rank: Rank,
    /// What for.
    pub value: ValueId,
}
