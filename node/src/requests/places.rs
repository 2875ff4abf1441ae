use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use lampyrid_migration::MovedTo;
use lampyrid_wire::EntityId;

use super::MAX_PLACES;

/// Where entities were last found: a hint that saves a question to all members, never an answer.
/// The one that was noted first is forgotten first.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    places: HashMap<EntityId, MovedTo>,
    /// In the order in which they were noted; also holds what was forgotten since.
    order: VecDeque<EntityId>,
}

impl Places {
    pub(super) fn get(&self, id: EntityId) -> Option<MovedTo> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).places.get(&id).copied()
    }

    pub(super) fn note(&self, id: EntityId, place: MovedTo) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.places.insert(id, place).is_none() {
            known.order.push_back(id);
            if known.order.len() > MAX_PLACES
                && let Some(oldest) = known.order.pop_front()
            {
                known.places.remove(&oldest);
            }
        }
    }

    /// It is not there any more.
    pub(super) fn forget(&self, id: EntityId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).places.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyrid_wire::{BubbleId, OwnershipEpoch, ProcessId};

    #[test]
    fn the_newest_are_remembered_and_no_more_than_so_many() {
        let places = Places::default();
        let at = |n: u128| MovedTo {
            process: ProcessId::from_u128(n),
            bubble: BubbleId::from_u128(n),
            epoch: OwnershipEpoch(1),
        };
        let id = EntityId::from_u128;
        for n in 0..=MAX_PLACES as u128 {
            places.note(id(n), at(n));
        }
        assert_eq!(places.get(id(0)), None);
        assert_eq!(places.get(id(1)), Some(at(1)));
        places.note(id(1), at(2));
        assert_eq!(places.get(id(1)), Some(at(2)), "a newer place replaces the older");
        places.forget(id(1));
        assert_eq!(places.get(id(1)), None);
        for n in 0..10 * MAX_PLACES as u128 {
            places.note(id(n % 7), at(n));
            places.forget(id(n % 7));
        }
        let known = places.0.lock().unwrap();
        assert!(known.places.len() <= known.order.len() && known.order.len() == MAX_PLACES);
    }
}
