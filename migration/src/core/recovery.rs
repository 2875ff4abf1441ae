use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lampyrid_wire::EntityId;

use super::accounts::Load;
use super::bars::Bars;
use super::census::Census;
use super::destination::{Copied, Doubting, load_of};
use super::flight::{Backoff, Flight};
use super::giving::Hosting;
use super::ids::Ids;
use super::io::{Effect, Step, StoreCall};
use super::retention::Kept;
use super::saga::Saga;
use super::timers::Timers;
use super::{Core, CoreConfig, Flaw};
use crate::pace::Peers;
use crate::row::PartPhase;
use crate::{Audit, Image, PartId, Reason, RecordKind, Write};

impl Core {
    /// A core that goes on from what a journal replayed. `out` is the local part of recovery: it
    /// must be durable, and its calls on the host's store done, before anything is served. The
    /// remote part follows by itself when there is a view.
    #[must_use]
    pub fn recover(config: CoreConfig, image: Image, now: Duration, out: &mut Step) -> Self {
        let mut core = Self {
            config,
            ids: Ids::new(config.seed),
            now,
            view: None,
            closing: false,
            leaving: None,
            moving: BTreeMap::new(),
            census: Census::of(&image),
            stuck: BTreeSet::new(),
            flights: BTreeMap::new(),
            sagas: BTreeMap::new(),
            lanes: BTreeMap::new(),
            stirred: BTreeSet::new(),
            out: Load::default(),
            peers: Peers::new(config.limits.time_limits, config.limits.phase),
            staged: BTreeMap::new(),
            doubting: BTreeMap::new(),
            staged_from: BTreeMap::new(),
            activated: BTreeSet::new(),
            seen: BTreeMap::new(),
            claims: BTreeMap::new(),
            hosting: Hosting::default(),
            bars: Bars::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            queries: BTreeMap::new(),
            asking: BTreeMap::new(),
            next_query: 0,
            waiters: BTreeMap::new(),
            store_calls: BTreeMap::new(),
            unattached: BTreeSet::new(),
            hook_calls: BTreeSet::new(),
            timers: Timers::default(),
            kept_sagas: Kept::default(),
            kept_activations: VecDeque::new(),
            counts: Audit::default(),
            image,
        };
        core.recover_destination();
        core.recover_source(out);
        core.recover_bars(out);
        core.recover_moves(out);
        core.redrive(out);
        core
    }

    fn recover_destination(&mut self) {
        for (part, row) in &self.image.activations {
            self.activated.extend(row.entities.iter().copied());
            self.kept_activations.push_back((self.now, *part));
        }
        for (part, row) in &self.image.stagings {
            let load = load_of(&row.entities);
            let copies = row.entities.iter();
            self.staged.extend(copies.map(|copy| (copy.id, Copied::of(*part, copy))));
            self.staged_from.entry(part.source).or_default().add(load);
            self.counts.replayed += row.entities.len() as u64;
            let doubting = Doubting { load, backoff: Backoff::default(), due: None };
            self.doubting.insert(*part, doubting);
        }
    }

    fn recover_source(&mut self, out: &mut Step) {
        let mut next_query = [0; 8];
        next_query.copy_from_slice(&self.ids.uuid().as_bytes()[..8]);
        // Answers to questions of the life before must not be taken for answers of this one.
        self.next_query = u64::from_be_bytes(next_query) >> 1;
        for (&id, row) in &self.image.sagas {
            let saga = Saga::new(self.config.me, None);
            debug_assert!(!row.to.is_nil());
            self.sagas.insert(id, saga);
        }
        let parts: Vec<PartId> = self.image.parts.keys().copied().collect();
        for part in parts {
            self.recover_part(part, out);
        }
        let over = self.sagas.iter().filter(|(_, saga)| saga.is_over()).map(|(id, _)| *id);
        let over: Vec<_> = over.collect();
        for id in over {
            self.keep_saga(id);
        }
    }

    fn recover_part(&mut self, part: PartId, out: &mut Step) {
        let Some(row) = self.image.parts.get(&part).cloned() else { return };
        match &row.phase {
            // Nothing was decided, and nothing will be: the destination learns it when it asks.
            PartPhase::Prepared => {
                self.counts.replayed += row.entities.len() as u64;
                self.abort(part, &Reason::ViewChanged, Vec::new(), out);
            }
            PartPhase::Committed { snapshots, .. } => {
                self.counts.replayed += snapshots.len() as u64;
                let load = load_of(snapshots);
                self.out.add(load);
                let first = self.ids.uuid().as_fields().0;
                let limit = self.config.limits.phase;
                let flight = Flight::new(row.destination, load, self.now, limit).again(first);
                self.take_off(part, flight);
                let lane = self.lanes.entry(row.destination).or_default();
                lane.load.add(load);
                lane.sagas.insert(part.saga);
                if let Some(saga) = self.sagas.get_mut(&part.saga) {
                    saga.destination = row.destination;
                    saga.open.insert(part);
                }
                self.redo(part, out);
                self.lock_until_end(part, true);
            }
            PartPhase::Ended { .. } | PartPhase::Aborted => {}
        }
    }

    /// The rows of what left are gone, in the same transaction as the decision; should one be
    /// there all the same, it goes only if it is at the very epoch that left. At a higher one the
    /// entity has come back.
    fn redo(&mut self, part: PartId, out: &mut Step) {
        let Some(row) = self.image.parts.get(&part).cloned() else { return };
        let Some((_, left)) = row.committed() else { return };
        let by_id_alone = self.flawed(Flaw::RedoByEntityAlone);
        let left: BTreeSet<EntityId> = left.into_iter().collect();
        let stale =
            row.entities.iter().filter(|entity| left.contains(&entity.id)).filter(|entity| {
                let owned = self.image.entities.get(&entity.id);
                owned.is_some_and(|owned| by_id_alone || owned.epoch == entity.epoch)
            });
        let writes: Vec<Write> = stale.map(|entity| Write::Entity(entity.id, None)).collect();
        if !writes.is_empty() {
            self.record(RecordKind::Commit, writes, out);
        }
    }

    /// Tells the host's store again what it may have missed.
    fn redrive(&mut self, out: &mut Step) {
        if !self.config.host_store {
            return;
        }
        for row in self.image.parts.values() {
            let Some((_, left)) = row.committed() else { continue };
            if row.destination == self.config.me {
                continue;
            }
            let left: BTreeSet<EntityId> = left.into_iter().collect();
            let gone = row.entities.iter().filter(|entity| left.contains(&entity.id));
            let calls = gone.map(|entity| StoreCall::Detach(entity.id, entity.epoch));
            out.effects.extend(calls.map(Effect::Store));
        }
        for (id, row) in &self.image.entities {
            if let Some(state) = &row.state {
                let call = StoreCall::Attach(*id, row.bubble, row.epoch, state.clone());
                out.effects.push(Effect::Store(call));
            }
        }
        // No record tells of what was frozen for a part that was not prepared yet. What left is
        // detached by now, and nothing else is on its way: what was prepared was aborted.
        out.effects.push(Effect::Store(StoreCall::UnfreezeAll));
    }
}
