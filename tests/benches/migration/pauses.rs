use std::collections::BTreeMap;
use std::time::Duration;

use lampyrid_tests::load::{Latencies, MarkKind};

use crate::fleet::Fleet;

/// How long entities had no active copy, by entity, since the marks were taken last: from the step
/// that froze them at the source to their activation, durable, at the destination. Those that were
/// given up are not in it.
pub(crate) fn take(fleet: &Fleet) -> Latencies {
    let (mut frozen, mut active) = (BTreeMap::new(), BTreeMap::<String, Duration>::new());
    for mark in fleet.running().iter().flat_map(|mover| mover.marks()) {
        match mark.kind {
            MarkKind::Frozen => {
                frozen.insert(mark.part, (mark.at, mark.entities));
            }
            MarkKind::Active => {
                // A repeated acknowledgement is not the moment.
                active.entry(mark.part).and_modify(|at| *at = mark.at.min(*at)).or_insert(mark.at);
            }
        }
    }
    let mut pauses = Latencies::default();
    for (part, at) in active {
        if let Some((since, entities)) = frozen.get(&part) {
            pauses.record_many(at.saturating_sub(*since), *entities);
        }
    }
    pauses
}
