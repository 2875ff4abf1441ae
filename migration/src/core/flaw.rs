use std::sync::Arc;

use lampyrid_wire::{OwnershipEpoch, StageId};

use super::Core;
use super::accounts::Hold;
use super::io::Step;
use crate::row::PartPhase;
use crate::{EntityRow, Message, PartId, RecordKind, Snapshot, Write};

/// Rules that can be broken on purpose, to show that the tests would notice. Each was once a design
/// that lost, doubled or blocked an entity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Flaw {
    /// A destination activates on COMMIT whatever staging it names.
    CommitWithoutStage,
    /// A destination names its stagings by a counter that starts again with its actor.
    VolatileStageIds,
    /// A destination finds a staged copy by entity and epoch, whatever saga it is of.
    StagedByEpoch,
    /// Staged and discarded copies count as seen.
    SeenCountsStaged,
    /// A decided part is taken as ended when the view removes its destination.
    EndOnRemoval,
    /// Recovery removes the entities of a decided part by id alone, whatever their epoch.
    RedoByEntityAlone,
    /// A destination forgets what it activated at once, and a source takes back what is unknown
    /// there.
    TakesBackUnknown,
    /// A source answers unknown while PREPARE is open.
    UnknownWhilePrepared,
    /// A source answers unknown before it has replayed its journal. (Of the shell, not the core.)
    UnknownBeforeReplay,
    /// Messages leave before the records they depend on are durable. (Of the shell, not the core.)
    SendBeforeSync,
    /// COMMIT has no list: the source lets all of the part go, and the destination activates all
    /// it staged.
    CommitWithoutList,
    /// The source removes entities without recording the decision with it.
    NoRecordBeforeRemoval,
    /// A source that gets no answer to COMMIT in time gives up, and restores nothing.
    TimeoutRestoresNothing,
    /// A source that gets no answer to COMMIT in time takes the entities back.
    TimeoutReAdds,
    /// A destination takes a copy of an entity that it once activated for a repetition, whatever
    /// its epoch.
    DuplicateWithoutEpoch,
    /// A destination forgets what it activated once it has answered a repetition.
    ForgetsAfterDuplicate,
    /// Messages carry the view of PREPARE in place of the current one.
    PrepareViewAsTerm,
    /// A source keeps entities that left locked until the destination acknowledged.
    LockUntilEnd,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::CommitWithoutStage,
        Self::VolatileStageIds,
        Self::StagedByEpoch,
        Self::SeenCountsStaged,
        Self::EndOnRemoval,
        Self::RedoByEntityAlone,
        Self::TakesBackUnknown,
        Self::UnknownWhilePrepared,
        Self::UnknownBeforeReplay,
        Self::SendBeforeSync,
        Self::CommitWithoutList,
        Self::NoRecordBeforeRemoval,
        Self::TimeoutRestoresNothing,
        Self::TimeoutReAdds,
        Self::DuplicateWithoutEpoch,
        Self::ForgetsAfterDuplicate,
        Self::PrepareViewAsTerm,
        Self::LockUntilEnd,
    ];
}

/// What the core does instead of its rules where one of them is broken.
impl Core {
    pub(crate) fn flawed(&self, flaw: Flaw) -> bool {
        self.config.flaw == Some(flaw)
    }

    /// The name of a new staging.
    pub(crate) fn new_stage_id(&mut self) -> StageId {
        match self.flawed(Flaw::VolatileStageIds) {
            true => self.ids.counted_stage(),
            false => self.ids.stage(),
        }
    }

    /// Answers STAGE by what is here of other sagas; `None`: by the rules.
    pub(crate) fn answer_by_other(&self, part: PartId, copies: &[Snapshot]) -> Option<Message> {
        let (stage, entities) = if self.flawed(Flaw::StagedByEpoch) {
            let same = |staged: &Snapshot| {
                copies.iter().any(|copy| (copy.id, copy.epoch) == (staged.id, staged.epoch))
            };
            let row = self.image.stagings.values().find(|row| row.entities.iter().any(same))?;
            (row.stage, row.entities.iter().map(|copy| copy.id).collect::<Vec<_>>())
        } else if self.flawed(Flaw::DuplicateWithoutEpoch) {
            let rows = self.image.activations.values();
            let row = rows.into_iter().find(|row| {
                row.entities.iter().any(|(id, _)| copies.iter().any(|copy| copy.id == *id))
            })?;
            (row.stage, row.entities.iter().map(|(id, _)| *id).collect())
        } else {
            return None;
        };
        let (accepted, refused) = copies.iter().map(|copy| copy.id).partition(|id| {
            let of_it: &Vec<_> = &entities;
            of_it.contains(id)
        });
        let refused: Vec<lampyrid_wire::EntityId> = refused;
        let why = || crate::Reason::StagingFailed("it is not of that staging".into());
        let refused = refused.into_iter().map(|id| (id, why())).collect();
        Some(Message::Staged { part, stage: Some(stage), accepted, refused, attempt: 0 })
    }

    /// The part under which COMMIT finds a staging.
    pub(crate) fn part_of_stage(&self, part: PartId, stage: StageId) -> PartId {
        if !self.flawed(Flaw::StagedByEpoch) && !self.flawed(Flaw::DuplicateWithoutEpoch) {
            return part;
        }
        let staged = self.image.stagings.iter().find(|(_, row)| row.stage == stage);
        let active = self.image.activations.iter().find(|(_, row)| row.stage == stage);
        staged.map(|(other, _)| *other).or(active.map(|(other, _)| *other)).unwrap_or(part)
    }

    /// Removes the decision from the record of COMMIT.
    pub(crate) fn lose_decision(&self, out: &mut Step) {
        if self.flawed(Flaw::NoRecordBeforeRemoval)
            && let Some(record) = out.records.last_mut()
        {
            record.writes.retain(|write| !matches!(write, Write::Part(..)));
        }
    }

    /// A decided part got no answer in time. True if that ended it, against the rules.
    pub(crate) fn gives_up_decided(&mut self, part: PartId, out: &mut Step) -> bool {
        let re_adds = self.flawed(Flaw::TimeoutReAdds);
        if !re_adds && !self.flawed(Flaw::TimeoutRestoresNothing) {
            return false;
        }
        self.undo_decision(part, re_adds, |entity| entity, out);
        true
    }

    /// The destination says that it does not know the staging. True if the entities were taken
    /// back, against the rules.
    pub(crate) fn takes_back(&mut self, part: PartId, out: &mut Step) -> bool {
        let does = self.flawed(Flaw::TakesBackUnknown);
        if does {
            self.undo_decision(part, true, |left| left.next().next(), out);
        }
        does
    }

    fn undo_decision(
        &mut self,
        part: PartId,
        restores: bool,
        epoch: impl Fn(OwnershipEpoch) -> OwnershipEpoch,
        out: &mut Step,
    ) {
        let Some(row) = self.image.parts.get(&part).cloned() else { return };
        let PartPhase::Committed { snapshots, .. } = &row.phase else { return };
        let mut writes = Vec::new();
        for copy in snapshots.iter().filter(|_| restores) {
            let Some(entity) = row.entities.iter().find(|entity| entity.id == copy.id) else {
                continue;
            };
            let state = Some(copy.state.clone());
            let back = EntityRow { bubble: entity.bubble, epoch: epoch(entity.epoch), state };
            writes.push(Write::Entity(copy.id, Some(back)));
        }
        let over = row.at(PartPhase::Aborted, Vec::new());
        writes.push(Write::Part(part, Some(Arc::new(over))));
        self.record(RecordKind::Abort, writes, out);
        self.part_over(part, out);
    }

    /// Locks what left, or no longer.
    pub(crate) fn lock_until_end(&mut self, part: PartId, locked: bool) {
        if !self.flawed(Flaw::LockUntilEnd) {
            return;
        }
        let row = self.image.parts.get(&part);
        let Some((_, left)) = row.and_then(|row| row.committed()) else {
            return;
        };
        for id in left {
            if locked {
                self.moving.insert(id, Hold { part, frozen: None });
            } else {
                self.let_go(id);
            }
        }
    }
}
