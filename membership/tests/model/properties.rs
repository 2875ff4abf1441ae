//! What must hold of each state, and what must occur in some.

use std::collections::BTreeMap;

use stateright::Property;

use super::chain::Chain;
use super::facts::ViewNo;
use super::state::State;

pub(crate) const ONE: &str = "one successor of each view";
pub(crate) const QUORUM: &str = "a decision has a quorum of durable votes in one rank";
pub(crate) const LIVED: &str = "nobody is listed at a life it has not begun";
pub(crate) const HEALS: &str = "it heals by itself once those are back who must be";
pub(crate) const DECIDES: &str = "a successor is decided";
pub(crate) const LAST: &str = "the last view of the bound is installed";

impl Chain {
    /// All that is checked at each state.
    pub(crate) fn promises(&self) -> Vec<Property<Self>> {
        let one = Property::always(ONE, Self::is_one);
        if self.bounds.only_harm {
            return vec![one];
        }
        let mut properties = vec![
            one,
            Property::always(QUORUM, Self::has_quorum),
            Property::always(LIVED, |model: &Self, state: &State| {
                state.processes.iter().filter_map(|it| it.acceptor).all(|acceptor| {
                    state.numbered().all(|(process, it)| {
                        let listed = model.world.listed(acceptor.view, process);
                        listed.is_none_or(|listed| listed <= it.incarnation)
                    })
                })
            }),
            Property::sometimes(DECIDES, |model: &Self, state: &State| {
                state.left().iter().any(|&view| !state.decided(&model.world, view).is_empty())
            }),
        ];
        if self.bounds.install {
            properties.push(Property::sometimes(LAST, |model: &Self, state: &State| {
                state.installed.iter().any(|&view| model.ends(view))
            }));
        }
        if self.bounds.heals {
            properties.push(Property::always(HEALS, Self::heals));
        }
        properties
    }

    /// Of each epoch there is one view, decided or installed.
    fn is_one(&self, state: &State) -> bool {
        let mut of_epoch: BTreeMap<u64, ViewNo> = BTreeMap::new();
        let decided = state.left().into_iter().flat_map(|view| state.decided(&self.world, view));
        let mut views = state.installed.iter().copied().chain(decided);
        views.all(|view| *of_epoch.entry(self.world.depth(view)).or_insert(view) == view)
    }

    /// Counted here anew: distinct processes of the view being left, by the published votes.
    fn has_quorum(&self, state: &State) -> bool {
        let left = state.left();
        let decided: Vec<ViewNo> =
            left.iter().flat_map(|&view| state.decided(&self.world, view)).collect();
        let mut views = state.installed.iter().filter(|&&view| view != 0).chain(&decided);
        views.all(|&next| {
            left.iter().any(|&view| {
                let size = self.seats(state, view).len();
                let tie = self.world.view(view).tie_breaker_place();
                state.ballots(view).iter().filter(|(ballot, _)| ballot.value == next).any(
                    |(ballot, voters)| {
                        let mut seats: Vec<u16> = voters
                            .iter()
                            .filter_map(|&(by, _)| self.world.place(view, by))
                            .map(u16::from)
                            .collect();
                        seats.dedup();
                        let fast = ballot.rank.round == 0;
                        let half = tie.is_some_and(|tie| seats.contains(&tie));
                        (fast && seats.len() >= size - (size - 1) / 4)
                            || (!fast && 2 * seats.len() > size)
                            || (!fast && 2 * seats.len() == size && half)
                    },
                )
            })
        })
    }
}
