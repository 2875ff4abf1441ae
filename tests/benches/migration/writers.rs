use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use lampyrid::{EntityId, ProcessId};
use lampyrid_tests::load::{Answer, Order};
use rand::seq::IndexedRandom;

use crate::fleet::Fleet;

/// How long an answer is waited for before its outcome counts as unknown; longer than a freeze.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Before the next try at a place that does not run.
const PAUSE: Duration = Duration::from_millis(2);

/// What a writer knows of an entity.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known {
    /// The last number that was acknowledged.
    pub(crate) acknowledged: u64,
    /// Numbers whose write was not answered by a process that died since: each is there or never
    /// will be.
    pub(crate) died: BTreeSet<u64>,
    /// Numbers whose outcome the process itself did not know: they may take effect later.
    pub(crate) open: BTreeSet<u64>,
    next: u64,
    place: usize,
}

impl Known {
    /// Whether that number may be what is there at the end.
    pub(crate) fn allows(&self, value: u64) -> bool {
        value == self.acknowledged
            || self.open.contains(&value)
            || (value > self.acknowledged && self.died.contains(&value))
    }
}

/// What one writer has done.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) known: BTreeMap<EntityId, Known>,
    pub(crate) acknowledged: u64,
    pub(crate) unanswered: u64,
}

/// Writes to entities of its own, one write at a time, wherever they are, until told to end.
pub(crate) fn write(
    fleet: &Fleet,
    places: &BTreeMap<ProcessId, usize>,
    own: Vec<(EntityId, usize)>,
    bytes: usize,
    ended: &AtomicBool,
) -> Written {
    let mut random = rand::rng();
    let ids: Vec<EntityId> = own.iter().map(|(id, _)| *id).collect();
    let known =
        own.into_iter().map(|(id, place)| (id, Known { place, next: 1, ..Known::default() }));
    let mut written = Written { known: known.collect(), ..Written::default() };
    while !ended.load(Ordering::Relaxed) {
        let Some(&entity) = ids.choose(&mut random) else { break };
        let Some(known) = written.known.get_mut(&entity) else { break };
        let Some(mover) = fleet.find(known.place) else {
            known.place = rand::random_range(0..fleet.size());
            std::thread::sleep(PAUSE);
            continue;
        };
        let value = known.next;
        known.next += 1;
        let answer = mover.begin(Order::Put { entity, value, bytes }).1;
        match answer.recv_timeout(ANSWER_LIMIT) {
            Ok(Answer::Written(Ok(()))) => {
                known.acknowledged = value;
                written.acknowledged += 1;
            }
            Ok(Answer::Written(Err((reason, moved)))) => {
                if reason == "journal_failed" {
                    known.open.insert(value);
                    written.unanswered += 1;
                }
                match moved.and_then(|process| places.get(&process)) {
                    Some(&place) => known.place = place,
                    None if reason == "unknown_entity" => {
                        known.place = rand::random_range(0..fleet.size());
                    }
                    None => std::thread::sleep(PAUSE),
                }
            }
            Ok(other) => panic!("{other:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                known.died.insert(value);
                written.unanswered += 1;
            }
            Err(RecvTimeoutError::Timeout) => {
                known.open.insert(value);
                written.unanswered += 1;
            }
        }
    }
    written
}
