use std::sync::Arc;

use bytes::Bytes;
use lampyrid_wire::{EntityId, OwnershipEpoch};

use super::world::World;
use crate::{PartId, PartPhase, PartRow, Record, RecordKind, Write};

/// What must be so of an entity, whatever happens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Truth {
    /// The highest version of which a caller was told that it is written.
    pub(crate) acknowledged: u64,
    /// The highest ownership epoch at which it was active on a disk.
    pub(crate) epoch: u64,
    /// A caller asked to end it, and may or may not have been answered.
    pub(crate) delete_asked: bool,
    /// A caller was told that it ended.
    pub(crate) deleted: bool,
}

/// A broken invariant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct Violation {
    /// What was broken.
    pub what: String,
}

pub(crate) fn violation<T>(what: String) -> Result<T, Violation> {
    Err(Violation { what })
}

fn version(state: &Bytes) -> u64 {
    let mut bytes = [0; 8];
    let n = state.len().min(8);
    bytes[..n].copy_from_slice(&state[..n]);
    u64::from_be_bytes(bytes)
}

impl World {
    /// Makes records durable, and notes what of entities that concerns.
    pub(crate) fn write(&mut self, process: usize, records: &[Record]) {
        for write in records.iter().flat_map(|record| &record.writes) {
            let disk = &mut self.processes[process].disk;
            match write {
                Write::Entity(id, row) => {
                    self.touched.insert(*id);
                    if let (Some(truth), Some(row)) = (self.truth.get_mut(id), row) {
                        truth.epoch = truth.epoch.max(row.epoch.0);
                    }
                }
                Write::Staging(part, _) => {
                    let before = disk.stagings.get(part).into_iter().flat_map(|row| &row.entities);
                    self.touched.extend(before.map(|copy| copy.id));
                }
                Write::Part(part, after) => {
                    let copies = |row: &PartRow| match &row.phase {
                        PartPhase::Committed { snapshots, .. } => {
                            snapshots.iter().map(|copy| copy.id).collect()
                        }
                        _ => Vec::new(),
                    };
                    for id in disk.parts.get(part).map(|row| copies(row)).unwrap_or_default() {
                        self.touched.insert(id);
                        if let Some(parts) = self.decided.get_mut(&id) {
                            parts.remove(&(process, *part));
                        }
                    }
                    for id in after.as_ref().map(|row| copies(row)).unwrap_or_default() {
                        self.touched.insert(id);
                        self.decided.entry(id).or_default().insert((process, *part));
                    }
                }
                _ => {}
            }
            disk.apply(write);
        }
    }

    /// Checks what is durable, of all entities that changed since the last check. At most one
    /// process has an entity's row; one has it, or a decided part has its copy, which its
    /// destination is still able to activate; its epoch and its acknowledged writes never go back;
    /// what was reported as committed is there.
    pub(crate) fn check(&mut self) -> Result<(), Violation> {
        for id in std::mem::take(&mut self.touched) {
            self.check_entity(id)?;
        }
        for (id, epoch) in self.take_committed() {
            let truth = self.truth.get(&id).copied().unwrap_or_default();
            if truth.epoch < epoch && !truth.delete_asked {
                let seen = truth.epoch;
                return violation(format!(
                    "{id:?} was reported at epoch {epoch}, but only {seen} was ever active"
                ));
            }
        }
        match self.noticed.take() {
            Some(what) => violation(what),
            None => Ok(()),
        }
    }

    fn check_entity(&mut self, id: EntityId) -> Result<(), Violation> {
        // Whatever a barred process has is out of the cluster.
        let processes = self.processes.iter().enumerate();
        let processes = processes.filter(|(_, process)| !self.is_barred(process.id));
        let mut rows = processes.filter_map(|(n, process)| {
            let row = process.disk.entities.get(&id)?;
            Some((n, row.epoch, row.state.as_ref().map_or(0, version)))
        });
        let row = rows.next();
        if let (Some(row), Some(other)) = (row, rows.next()) {
            return violation(format!("{id:?} is active more than once: {row:?}, {other:?}"));
        }
        let Some(truth) = self.truth.get(&id).copied() else { return Ok(()) };
        if truth.deleted && row.is_some() {
            return violation(format!("{id:?} was ended and is back: {row:?}"));
        }
        let known = match row {
            Some((_, _, version)) => version,
            None if truth.delete_asked => return Ok(()),
            None => match self.decided_copy(id, OwnershipEpoch(truth.epoch).next()) {
                Some(version) => version,
                None => return violation(format!("{id:?} is lost")),
            },
        };
        if known < truth.acknowledged {
            let acknowledged = truth.acknowledged;
            return violation(format!(
                "{id:?} is at version {known}, but {acknowledged} was acknowledged"
            ));
        }
        if let Some((process, epoch, _)) = row.filter(|row| row.1.0 < truth.epoch) {
            let before = truth.epoch;
            return violation(format!("{id:?} is at epoch {epoch} on {process}, after {before}"));
        }
        Ok(())
    }

    /// The version of a copy that was decided to be the next active one, and that its destination
    /// has staged under the name that was decided.
    fn decided_copy(&self, id: EntityId, epoch: OwnershipEpoch) -> Option<u64> {
        self.decided.get(&id)?.iter().find_map(|&(process, part)| {
            let row = self.processes[process].disk.parts.get(&part)?;
            let PartPhase::Committed { stage, snapshots } = &row.phase else { return None };
            if self.is_barred(row.destination) {
                // About to be taken back, whatever became of it there.
                let copy = snapshots.iter().find(|copy| copy.id == id)?;
                return Some(version(&copy.state));
            }
            let copy = snapshots.iter().find(|copy| (copy.id, copy.epoch) == (id, epoch))?;
            let destination = self.processes.iter().find(|other| other.id == row.destination)?;
            let staged = destination.disk.stagings.get(&part)?;
            (staged.stage == *stage && staged.entities.contains(copy)).then(|| version(&copy.state))
        })
    }

    /// Checks that everything has come to its end as far as that takes nobody who is down: nothing
    /// staged, nothing frozen, nothing decided without its end, every entity there.
    pub(crate) fn check_quiet(&self) -> Result<(), Violation> {
        let up = |id| self.processes.iter().any(|other| other.id == id && other.live.is_some());
        for (n, process) in self.processes.iter().enumerate() {
            let Some(live) = &process.live else { continue };
            let mut stagings = process.disk.stagings.keys();
            if let Some(part) = stagings.find(|part| up(part.source)) {
                return violation(format!("process {n} still has {part} staged"));
            }
            let is_open = |(_, row): &(&PartId, &Arc<PartRow>)| match row.phase {
                PartPhase::Prepared => true,
                PartPhase::Committed { .. } => up(row.destination),
                _ => false,
            };
            if let Some((part, row)) = process.disk.parts.iter().find(is_open) {
                return violation(format!("process {n}: {part} never ends: {:?}", row.phase));
            }
            let frozen = live.core.audit().frozen;
            // What is in a bubble that another hosts is frozen until it is moved out.
            let elsewhere = |bubble| self.host_of(bubble).is_some_and(|host| host != process.id);
            let rows = process.disk.entities.values();
            let rows = rows.filter(|row| elsewhere(row.bubble));
            let frozen = frozen.saturating_sub(rows.count() as u64);
            if frozen > 0 {
                return violation(format!("process {n} has {frozen} frozen entities"));
            }
            if *live.core.image() != process.disk {
                return violation(format!("process {n} differs from its disk"));
            }
            if let Err(what) = live.core.check_invariants() {
                return violation(format!("process {n}: {what}"));
            }
        }
        if self.processes.iter().any(|process| process.live.is_none()) {
            return Ok(());
        }
        for (id, truth) in &self.truth {
            if self.owner(*id).is_none() && !truth.delete_asked {
                return violation(format!("{id:?} is nowhere"));
            }
        }
        Ok(())
    }

    /// Which kinds of record wait for a sync at a process; for traces.
    #[must_use]
    pub fn unsynced(&self, process: usize) -> Vec<RecordKind> {
        let live = self.processes.get(process).and_then(|process| process.live.as_ref());
        let records = live.into_iter().flat_map(|live| &live.unsynced);
        records.flat_map(|(_, records)| records.iter().map(|record| record.kind)).collect()
    }
}
