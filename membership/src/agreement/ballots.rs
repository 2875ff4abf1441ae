use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::change::{Change, ValueId};
use super::rank::{Cast, Rank};
use crate::Places;
use crate::limits::{MAX_RANKS, MAX_VALUES};

/// What is known of one decision: who promised what, who voted for what. It only grows, and what is
/// said twice or late changes nothing; so messages may be lost, repeated and reordered at will,
/// and anybody may pass on what it knows.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Ballots {
    /// Who promised a rank, each with the vote it had given by then.
    promises: BTreeMap<(Rank, Option<Cast>), Places>,
    votes: BTreeMap<Cast, Places>,
    values: BTreeMap<ValueId, Change>,
}

/// A value as it is sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ValueRef {
    /// In full.
    #[serde(rename = "c")]
    Whole(Change),
    /// By its name, to one who has it.
    #[serde(rename = "k")]
    Known(ValueId),
}

/// A rank, and a value by its place in [`BallotFacts::values`].
pub type VoteRef = (Rank, u16);

/// What is known of one decision, as it is sent: values are named by their place in the list.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct BallotFacts {
    /// The values that are voted for.
    pub values: Vec<ValueRef>,
    /// Rank, the vote given by then (its rank and value), and who promised.
    pub promises: Vec<(Rank, Option<VoteRef>, Places)>,
    /// Rank, value, and who voted.
    pub votes: Vec<(Rank, u16, Places)>,
}

impl BallotFacts {
    /// True if they say nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.promises.is_empty() && self.votes.is_empty()
    }
}

impl Ballots {
    pub(crate) fn note_value(&mut self, id: ValueId, change: &Change) {
        self.values.entry(id).or_insert_with(|| change.clone());
    }

    pub(crate) fn note_promise(&mut self, rank: Rank, voted: Option<Cast>, by: &Places) -> bool {
        self.promises.entry((rank, voted)).or_default().join(by)
    }

    pub(crate) fn note_vote(&mut self, cast: Cast, by: &Places) -> bool {
        self.votes.entry(cast).or_default().join(by)
    }

    pub(crate) fn value(&self, id: ValueId) -> Option<&Change> {
        self.values.get(&id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&ValueId, &Change)> {
        self.values.iter()
    }

    /// Votes by rank and value, in that order.
    pub(crate) fn votes(&self) -> impl Iterator<Item = (Cast, &Places)> {
        self.votes.iter().map(|(&cast, by)| (cast, by))
    }

    /// The fast votes, by value.
    pub(crate) fn fast_votes(&self) -> impl Iterator<Item = (ValueId, &Places)> {
        self.votes().filter(|(cast, _)| cast.rank.is_fast()).map(|(cast, by)| (cast.value, by))
    }

    /// The promises of one rank, each with the vote that came with it.
    pub(crate) fn promises(&self, rank: Rank) -> impl Iterator<Item = (Option<Cast>, &Places)> {
        self.promises
            .range((rank, None)..)
            .take_while(move |((of, _), _)| *of == rank)
            .map(|((_, voted), by)| (*voted, by))
    }

    /// The ranks that are promised or voted in by anybody, fast votes aside.
    pub(crate) fn ranks(&self) -> BTreeSet<Rank> {
        let promised = self.promises.keys().map(|(rank, _)| *rank);
        let voted = self.votes.keys().map(|cast| cast.rank);
        promised.chain(voted).filter(|rank| !rank.is_fast()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.promises.is_empty() && self.votes.is_empty()
    }

    /// Forgets all but the highest [`MAX_RANKS`] ranks and the fast votes. What is forgotten of a
    /// decision that was reached by then is found again by the selection of a higher rank.
    pub(crate) fn prune(&mut self) {
        let ranks = self.ranks();
        if let Some(&least) = ranks.iter().rev().nth(MAX_RANKS - 1) {
            self.promises.retain(|(rank, _), _| *rank >= least);
            self.votes.retain(|cast, _| cast.rank.is_fast() || cast.rank >= least);
        }
        self.prune_values();
    }

    /// Forgets the values that no vote names.
    pub(crate) fn prune_values(&mut self) {
        let Self { promises, votes, values } = self;
        if values.len() > votes.len() {
            let named: BTreeSet<ValueId> = votes
                .keys()
                .chain(promises.keys().filter_map(|(_, voted)| voted.as_ref()))
                .map(|cast| cast.value)
                .collect();
            values.retain(|id, _| named.contains(id));
        }
    }

    pub(crate) fn has_room_for(&self, value: ValueId) -> bool {
        self.values.contains_key(&value) || self.values.len() < MAX_VALUES
    }

    /// All of it, or the part that `whose` gives; values in full unless `has` says that they are
    /// there already.
    pub(crate) fn facts(
        &self,
        whose: Option<&Places>,
        has: impl Fn(&ValueId) -> bool,
    ) -> BallotFacts {
        let mut facts = BallotFacts::default();
        let mut listed: Vec<ValueId> = Vec::new();
        let mut place = |facts: &mut BallotFacts, id: ValueId| {
            let known = listed.iter().position(|&other| other == id);
            let at = known.unwrap_or_else(|| {
                let change = self.values.get(&id).filter(|_| !has(&id));
                let value = change.cloned().map_or(ValueRef::Known(id), ValueRef::Whole);
                facts.values.push(value);
                listed.push(id);
                listed.len() - 1
            });
            u16::try_from(at).unwrap_or(u16::MAX)
        };
        let part = |by: &Places| match whose {
            None => by.clone(),
            Some(whose) => by.iter().filter(|&place| whose.contains(place)).collect(),
        };
        for ((rank, voted), by) in &self.promises {
            let by = part(by);
            if !by.is_empty() {
                let voted = voted.map(|cast| (cast.rank, place(&mut facts, cast.value)));
                facts.promises.push((*rank, voted, by));
            }
        }
        for (cast, by) in &self.votes {
            let by = part(by);
            if !by.is_empty() {
                let value = place(&mut facts, cast.value);
                facts.votes.push((cast.rank, value, by));
            }
        }
        facts
    }
}
