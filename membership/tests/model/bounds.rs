//! What a model explores, and its steps.

use lampyrid_membership::Flaw;

use super::facts::{Fact, ProcessNo, ViewNo};
use super::state::Wish;

/// When fast votes are given. Before all else is enough, and nothing is lost by it: a fast vote
/// comes before the first promise of its process, and what that process has heard by then moves
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Fast {
    /// At any time at which the core gives one.
    #[default]
    AnyTime,
    /// Before all else: at least so many for one value, the others for any or none.
    First(usize),
    /// Never: by whoever comes to propose in a classic round.
    Never,
}

/// What bounds a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    /// Processes in the first view.
    pub(crate) size: u8,
    /// Processes outside of it, without any view.
    pub(crate) outside: u8,
    /// How many views may follow the first.
    pub(crate) agreements: u64,
    /// Rounds that are started, in all views together.
    pub(crate) starts: u8,
    /// How often a process starts again, all of them together.
    pub(crate) restarts: u8,
    /// Who may start a round; all others are alike.
    pub(crate) starters: Vec<ProcessNo>,
    /// Who may start again.
    pub(crate) restarters: Vec<ProcessNo>,
    /// What anybody may want at any time.
    pub(crate) wishes: Vec<Wish>,
    pub(crate) fast: Fast,
    /// Views are installed. If not, the model ends where a successor is decided.
    pub(crate) install: bool,
    /// The rule of what must be back for the cluster to heal is checked at each state.
    pub(crate) heals: bool,
    /// That rule as it stands for views without fast votes.
    pub(crate) forget_fast: bool,
    /// Only two successors of one view count as a failure.
    pub(crate) only_harm: bool,
    pub(crate) flaw: Option<Flaw>,
}

/// A step of one process. Messages are facts, each published by the one whom it is about, that
/// never vanish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    VoteFast(ProcessNo, ViewNo),
    ProposeFirst(ProcessNo, ViewNo),
    Start(ProcessNo, u8),
    Learn(ProcessNo, ProcessNo, Fact),
    Collect(ProcessNo, Vec<(ProcessNo, Fact)>, Option<ViewNo>),
    Restart(ProcessNo),
    Install(ProcessNo, ViewNo),
    AnswerPast(ProcessNo, ProcessNo, Fact),
}
