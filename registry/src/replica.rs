use std::collections::BTreeMap;
use std::sync::Arc;

use lampyrid_membership::View;
use lampyrid_wire::ProcessId;

use crate::{Entry, TopologyUpdate, Version};

/// The registry as one process holds it: immutable once published, cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replica {
    /// The last broadcast stored; `None` before the first.
    pub version: Option<Version>,
    /// The lines, by process.
    pub entries: BTreeMap<ProcessId, Arc<Entry>>,
}

/// A delta that starts behind what is stored: something in between is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap;

impl Replica {
    /// Takes a whole update in. Of a state as new or newer nothing changes.
    pub(crate) fn apply(&mut self, update: TopologyUpdate) -> Result<(), Gap> {
        let version = update.version();
        if self.version >= Some(version) {
            return Ok(());
        }
        match update.base {
            None => self.entries = update.entries,
            Some(base) if self.version >= Some(base) => self.entries.extend(update.entries),
            Some(_) => return Err(Gap),
        }
        self.version = Some(version);
        Ok(())
    }

    /// Drops the lines of whoever is not in `view` at that incarnation; true if there were any.
    pub(crate) fn purge(&mut self, view: &View) -> bool {
        let before = self.entries.len();
        self.entries.retain(|&process, entry| view.lists(process, entry.incarnation));
        self.entries.len() != before
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{BubbleId, ClusterId, Epoch, Incarnation, Term, ViewId};
    use proptest::prelude::*;

    use super::*;

    const TERM: Term =
        Term { cluster: ClusterId::from_u128(1), epoch: Epoch(1), view: ViewId([1; 32]) };

    fn version(sequence: u64) -> Version {
        Version { epoch: Epoch(1), sequence }
    }

    /// States 0 to `changed.len()`: in each, one process's line is another than before.
    fn history(changed: &[u128]) -> Vec<BTreeMap<ProcessId, Arc<Entry>>> {
        let mut states = vec![BTreeMap::new()];
        for (at, &process) in changed.iter().enumerate() {
            let mut next = states[at].clone();
            let request = at as u64 + 1;
            let bubble = BubbleId::from_u128(request.into());
            let entry = Entry {
                incarnation: Incarnation(1),
                request,
                bubbles: Some(BTreeMap::from([(bubble, version(request))])),
                claimed: BTreeMap::new(),
            };
            next.insert(ProcessId::from_u128(process), Arc::new(entry));
            states.push(next);
        }
        states
    }

    fn update(
        to: &BTreeMap<ProcessId, Arc<Entry>>,
        base: Option<u64>,
        sequence: u64,
    ) -> TopologyUpdate {
        let changed = |entry: &Entry| base.is_none_or(|base| entry.request > base);
        TopologyUpdate {
            term: TERM,
            sequence,
            coordinator: ProcessId::from_u128(1),
            base: base.map(version),
            part: 0,
            parts: 1,
            entries: to
                .iter()
                .filter(|(_, e)| changed(e))
                .map(|(&p, e)| (p, Arc::clone(e)))
                .collect(),
            sent_at: 0,
        }
    }

    proptest! {
        #[test]
        fn updates_lost_repeated_or_out_of_order_never_make_a_state_that_never_was(
            changed in prop::collection::vec(1_u128..6, 1..12),
            arrivals in prop::collection::vec((0_usize..12, prop::option::of(0_usize..12)), 0..40),
        ) {
            let states = history(&changed);
            let mut replica = Replica::default();
            for (to, base) in arrivals {
                let to = to % states.len();
                let base = base.map(|base| (base % (to + 1)) as u64);
                let before = replica.clone();
                if replica.apply(update(&states[to], base, to as u64)).is_err() {
                    prop_assert_eq!(&replica, &before);
                }
                prop_assert!(replica.version >= before.version);
                if let Some(version) = replica.version {
                    prop_assert_eq!(&replica.entries, &states[version.sequence as usize]);
                }
            }
            let last = states.len() - 1;
            replica.apply(update(&states[last], None, last as u64)).ok();
            prop_assert_eq!(&replica.entries, &states[last]);
        }
    }
}
