//! The entities of a bubble that moves: as many at a time as an ordinary saga may have.

use std::ops::Bound;
use std::sync::Arc;

use lampyrid_wire::{BubbleId, ProcessId, SagaId};

use super::Core;
use super::accounts::Load;
use super::flight::Backoff;
use super::io::Step;
use super::saga::{Movable, Saga};
use crate::limits::{BUBBLE_BATCH, HOOK_ENTITIES};
use crate::row::{PartPhase, parts_of};
use crate::{BubbleMoveRow, Outcome, PartId, Reason, RecordKind, SagaRow, Write};

impl Core {
    /// Sends the next entities on their way; or, when none is left, lets the bubble go.
    pub(crate) fn drive_entities(&mut self, bubble: BubbleId, row: &BubbleMoveRow, out: &mut Step) {
        let Some(giving) = self.hosting.giving.get(&bubble) else { return };
        if let Some(saga) = giving.saga {
            let over = self.sagas.get(&saga).is_none_or(Saga::is_over);
            if !over {
                return;
            }
            if !self.batch_over(bubble, saga) {
                let why = self.hosting.giving.get(&bubble).and_then(|it| it.hindrance.clone());
                return match why.filter(is_final) {
                    Some(reason) => self.abort_move(bubble, reason, out),
                    None => self.look_again(bubble),
                };
            }
        }
        if self.residents(bubble) == 0 {
            if self.is_pinned(bubble) || !self.may_release(bubble) {
                return self.look_again(bubble);
            }
            return self.release(bubble, out);
        }
        match self.next_batch(bubble, row.to) {
            Ok((batch, load)) => self.admit_batch(bubble, row, batch, load, out),
            Err(hindrance) => {
                if let Some(giving) = self.hosting.giving.get_mut(&bubble) {
                    giving.hindrance = hindrance;
                }
                self.look_again(bubble);
            }
        }
    }

    /// Copies on their way into it are waited for, while those who know about them are there.
    fn is_pinned(&self, bubble: BubbleId) -> bool {
        let mut stagings = self.image.stagings.iter().filter(|(_, row)| row.to == bubble);
        stagings.any(|(part, _)| self.reaches(part.source))
    }

    /// Takes note of what a batch brought; false if that was nothing.
    fn batch_over(&mut self, bubble: BubbleId, saga: SagaId) -> bool {
        self.hosting.batches.remove(&saga);
        let (mut moved, mut reason) = (0, None);
        for entity in self.report(saga).into_iter().flat_map(|report| report.entities) {
            match entity.outcome {
                Outcome::Committed { .. } => moved += 1,
                Outcome::Aborted { reason: why } => reason = reason.or(Some(why)),
                Outcome::Pending => {}
            }
        }
        let Some(giving) = self.hosting.giving.get_mut(&bubble) else { return false };
        giving.saga = None;
        giving.moved += moved;
        giving.hindrance = reason;
        if moved > 0 {
            giving.backoff = Backoff::default();
            giving.progress = self.now;
        }
        moved > 0
    }

    /// Entities of the bubble that no part of a saga has, as many as may go now; what hinders, if
    /// there are none.
    fn next_batch(
        &mut self,
        bubble: BubbleId,
        to: ProcessId,
    ) -> Result<(Movable, Load), Option<Reason>> {
        let room = self.config.limits.hook_calls.saturating_sub(self.hook_calls.len());
        let most =
            if self.config.hooks { BUBBLE_BATCH.min(room * HOOK_ENTITIES) } else { BUBBLE_BATCH };
        let after = self.hosting.giving.get(&bubble).and_then(|giving| giving.after);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut batch = Vec::new();
        let mut load = Load::default();
        let (mut full, mut last) = (None, None);
        for (id, row) in self.image.entities.range((from, Bound::Unbounded)) {
            if row.bubble != bubble || self.moving.contains_key(id) {
                continue;
            }
            let one = self.load_of(row);
            full = self.has_share(to, load.with(one)).err();
            if full.is_none() && most == 0 {
                full = Some(Reason::Overloaded { limit: "hook_calls".to_owned() });
            }
            if full.is_some() || batch.len() >= most {
                break;
            }
            load.add(one);
            batch.push((*id, row.epoch, one.bytes));
            last = Some(*id);
        }
        if let Some(giving) = self.hosting.giving.get_mut(&bubble) {
            giving.after = last;
        }
        match (batch.is_empty(), full, after) {
            (false, ..) => Ok((batch, load)),
            (true, Some(reason), _) => Err(Some(reason)),
            // Round again from the first.
            (true, None, Some(_)) => self.next_batch(bubble, to),
            // All that are left belong to other moves, which end by themselves.
            (true, None, None) => Err(None),
        }
    }

    fn admit_batch(
        &mut self,
        bubble: BubbleId,
        row: &BubbleMoveRow,
        batch: Movable,
        load: Load,
        out: &mut Step,
    ) {
        let id = self.ids.saga();
        let saga_row = SagaRow {
            to: bubble,
            view_epoch: self.view.as_ref().map(|view| view.term.epoch).unwrap_or_default(),
            entities: batch.iter().map(|(id, ..)| *id).collect(),
            refused: Vec::new(),
            key: None,
        };
        self.record(RecordKind::Admit, vec![Write::Saga(id, Some(Arc::new(saga_row)))], out);
        self.hosting.batches.insert(id, bubble);
        if let Some(giving) = self.hosting.giving.get_mut(&bubble) {
            giving.saga = Some(id);
        }
        self.start_saga(id, row.to, batch, load, out);
    }

    /// Entities of a saga have arrived: if it is a bubble's, the bubble makes progress.
    pub(crate) fn batch_arrives(&mut self, saga: SagaId) {
        let bubble = self.hosting.batches.get(&saga);
        if let Some(giving) = bubble.and_then(|bubble| self.hosting.giving.get_mut(bubble)) {
            giving.progress = self.now;
        }
    }

    /// A saga is over: if it was a bubble's, the bubble goes on.
    pub(crate) fn batch_ended(&mut self, saga: SagaId) {
        if let Some(&bubble) = self.hosting.batches.get(&saga) {
            self.hosting.due.insert(bubble);
        }
    }

    /// Nothing of a saga that is not decided leaves.
    pub(crate) fn abort_saga(&mut self, saga: SagaId, reason: &Reason, out: &mut Step) {
        self.abort_queue(saga, reason, out);
        let parts = self.image.parts.range(parts_of(self.config.me, saga));
        let undecided = parts.filter(|(_, row)| row.phase == PartPhase::Prepared);
        let mut open: Vec<PartId> = undecided.map(|(part, _)| *part).collect();
        let freezing = self.sagas.get(&saga).into_iter().flat_map(|saga| &saga.open);
        open.extend(freezing.filter(|part| !self.image.parts.contains_key(part)));
        for part in open {
            self.abort(part, reason, Vec::new(), out);
        }
    }
}

/// True if the destination will not take the rest, however often it is asked.
fn is_final(reason: &Reason) -> bool {
    use Reason::{AlreadyMoving, BubbleClaimed, Draining, NotHosted};
    matches!(reason, AlreadyMoving { .. } | BubbleClaimed { .. } | Draining | NotHosted)
}
