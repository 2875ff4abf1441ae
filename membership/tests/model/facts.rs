//! The small, plain terms in which the models keep what the core says. Everything that the core
//! itself produces or takes is translated here and in [`super::world`]; no rule is repeated.

use lampyrid_membership::Rank;

/// A view, by its number in the [`super::world::World`].
pub(crate) type ViewNo = u16;
/// A process, by its place among all processes of a model. Process ids rise with it.
pub(crate) type ProcessNo = u8;

/// A rank in two bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SmallRank {
    pub(crate) round: u8,
    pub(crate) index: u8,
}

impl SmallRank {
    pub(crate) fn of(rank: Rank) -> Self {
        Self {
            round: u8::try_from(rank.round).expect("few rounds in a model"),
            index: u8::try_from(rank.index).expect("few seats in a model"),
        }
    }

    pub(crate) fn whole(self) -> Rank {
        Rank { round: u64::from(self.round), index: u16::from(self.index) }
    }
}

/// A vote for a view in a rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Ballot {
    pub(crate) rank: SmallRank,
    pub(crate) value: ViewNo,
}

/// What one process said of itself: a promise, with the vote it had given by then, or a vote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Said {
    Promise { rank: SmallRank, voted: Option<Ballot> },
    Vote(Ballot),
}

impl Said {
    pub(crate) fn rank(self) -> SmallRank {
        match self {
            Self::Promise { rank, .. } => rank,
            Self::Vote(ballot) => ballot.rank,
        }
    }
}

/// One published fact: in the agreement on the successor of which view, and what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Fact {
    pub(crate) view: ViewNo,
    /// Counted as of another process than the listed one: only
    /// [`lampyrid_membership::Flaw::CountsIncarnations`] makes such.
    pub(crate) extra: bool,
    pub(crate) said: Said,
}

/// What of one process's part in an agreement is durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Acceptor {
    pub(crate) view: ViewNo,
    pub(crate) promised: Option<SmallRank>,
    pub(crate) voted: Option<Ballot>,
}

impl Acceptor {
    /// Of a view just installed.
    pub(crate) fn fresh(view: ViewNo) -> Self {
        Self { view, promised: None, voted: None }
    }
}

/// A rank that is being tried, no value out: how the core came to it. The core is brought there
/// again by the same calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Trying {
    /// What was durable before.
    pub(crate) before: Acceptor,
    /// The highest round it had heard of.
    pub(crate) floor: u8,
}

/// What the core made of one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) acceptor: Acceptor,
    /// Its own facts, all of them, to be published.
    pub(crate) facts: Vec<Fact>,
    /// It tries a rank now.
    pub(crate) tries: bool,
    /// It had to choose a value itself.
    pub(crate) chose: bool,
}

/// Who voted, and whether counted as of another process than the listed one.
pub(crate) type Voters = Vec<(ProcessNo, bool)>;
