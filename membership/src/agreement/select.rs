use super::change::ValueId;
use super::rank::Rank;
use super::{Agreement, Flaw};

/// What selection says about the value of a rank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Selection {
    /// This may have been decided, so it must be proposed again.
    Forced(ValueId),
    /// Nothing can have been decided in a lower rank: any value is safe.
    Free,
}

impl Agreement {
    /// Chooses from the votes that came with the promises of a rank: a classic vote of the highest
    /// rank forces its value; a fast value is forced if so many of those who answered voted for it
    /// that it may have had a fast quorum.
    pub(super) fn select(&self, rank: Rank) -> Selection {
        if self.flaws.has(Flaw::NoSelection) {
            return Selection::Free;
        }
        let answers = || self.ballots.promises(rank);
        if self.flaws.has(Flaw::FirstVoteSeen) {
            let first = answers().find_map(|(voted, _)| voted);
            return first.map_or(Selection::Free, |cast| Selection::Forced(cast.value));
        }
        let highest = answers().filter_map(|(voted, _)| voted).max_by_key(|cast| cast.rank);
        let Some(highest) = highest else { return Selection::Free };
        if !highest.rank.is_fast() {
            return Selection::Forced(highest.value);
        }
        let all: usize = answers().map(|(_, by)| by.len()).sum();
        let missing = self.view.size() - self.view.fast_quorum();
        answers()
            .filter_map(|(voted, by)| voted.map(|cast| (cast.value, by.len())))
            .find(|(_, votes)| votes + missing >= all)
            .map_or(Selection::Free, |(value, _)| Selection::Forced(value))
    }
}
