use std::collections::BTreeMap;

use bytes::Bytes;
use lampyrid_wire::{EntityId, OwnershipEpoch};

use super::world::World;
use crate::{PartPhase, RecordKind};

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
    /// Checks what is durable. At most one process has an entity's row; one has it, or a decided
    /// part has its copy; its epoch and its acknowledged writes never go back; what was reported
    /// as committed is there.
    pub(crate) fn check(&mut self) -> Result<(), Violation> {
        if let Some(what) = self.noticed.take() {
            return violation(what);
        }
        for (n, process) in self.processes.iter().enumerate() {
            if process.live.as_ref().is_some_and(|live| !live.core.counts_hold()) {
                return violation(format!("process {n}: its counts are not those of its rows"));
            }
        }
        let mut rows: BTreeMap<EntityId, Vec<(usize, OwnershipEpoch, u64)>> = BTreeMap::new();
        let mut decided: BTreeMap<EntityId, u64> = BTreeMap::new();
        for (n, process) in self.processes.iter().enumerate() {
            for (id, row) in &process.disk.entities {
                let state = row.state.as_ref().map_or(0, version);
                rows.entry(*id).or_default().push((n, row.epoch, state));
            }
            for row in process.disk.parts.values() {
                if let PartPhase::Committed { snapshots, .. } = &row.phase {
                    for copy in snapshots {
                        let best = decided.entry(copy.id).or_default();
                        *best = (*best).max(version(&copy.state));
                    }
                }
            }
        }
        for (id, rows) in &rows {
            if rows.len() > 1 {
                return violation(format!("{id:?} is active more than once: {rows:?}"));
            }
        }
        for (id, truth) in &mut self.truth {
            let row = rows.get(id).and_then(|rows| rows.first());
            if truth.deleted && row.is_some() {
                return violation(format!("{id:?} was ended and is back: {row:?}"));
            }
            let known = row.map(|row| row.2).or_else(|| decided.get(id).copied());
            match known {
                // What an old part still carries is no copy of an entity that ended since.
                _ if row.is_none() && truth.delete_asked => {}
                None => return violation(format!("{id:?} is lost")),
                Some(version) if version < truth.acknowledged => {
                    let acknowledged = truth.acknowledged;
                    return violation(format!(
                        "{id:?} is at version {version}, but {acknowledged} was acknowledged"
                    ));
                }
                _ => {}
            }
            if let Some((process, epoch, _)) = row {
                if epoch.0 < truth.epoch {
                    let before = truth.epoch;
                    return violation(format!(
                        "{id:?} is at epoch {epoch} on {process}, after {before}"
                    ));
                }
                truth.epoch = epoch.0;
            }
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
        Ok(())
    }

    /// Checks that everything has come to its end: nothing staged, nothing frozen, nothing decided
    /// without its end, every entity there.
    pub(crate) fn check_quiet(&self) -> Result<(), Violation> {
        for (n, process) in self.processes.iter().enumerate() {
            if let Some(part) = process.disk.stagings.keys().next() {
                return violation(format!("process {n} still has {part:?} staged"));
            }
            let open = |phase: &PartPhase| {
                matches!(phase, PartPhase::Prepared | PartPhase::Committed { .. })
            };
            if let Some((part, row)) = process.disk.parts.iter().find(|(_, p)| open(&p.phase)) {
                return violation(format!("process {n}: {part:?} never ends: {:?}", row.phase));
            }
            let frozen = process.live.as_ref().map_or(0, |live| live.core.audit().frozen);
            if frozen > 0 {
                return violation(format!("process {n} has {frozen} frozen entities"));
            }
            let same = process.live.as_ref().is_some_and(|l| *l.core.image() == process.disk);
            if !same {
                return violation(format!("process {n} differs from its disk"));
            }
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
