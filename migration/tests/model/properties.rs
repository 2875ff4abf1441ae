//! What must hold of each state, and what must occur in some.

use stateright::Property;

use super::moves::{Moves, is_through};
use super::state::{State, is_sound};

pub(crate) const SOUND: &str = "every entity is active once or decided to be, as it was written";
pub(crate) const NOTICED: &str = "nobody is told, or notices, what must not be";
pub(crate) const HEALS: &str = "everything comes to its end once faults stop";
pub(crate) const THROUGH: &str = "all moves that may be asked for succeed";

impl Moves {
    /// All that is checked at each state.
    pub(crate) fn promises(&self) -> Vec<Property<Self>> {
        let mut promises = vec![
            Property::always(SOUND, |_: &Self, state: &State| {
                is_sound(&state.nodes, &state.truth).is_ok()
            }),
            Property::always(NOTICED, |_: &Self, state: &State| state.noticed.is_none()),
        ];
        if self.bounds.heals {
            promises.push(Property::always(HEALS, Self::heals));
        }
        if self.bounds.flaw.is_none() {
            promises.push(Property::sometimes(THROUGH, is_through));
        }
        promises
    }
}
