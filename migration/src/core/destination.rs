use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, ProcessId, StageId};

use super::accounts::Load;
use super::flight::Backoff;
use super::io::{Effect, Step, StoreCall};
use super::timers::Timer;
use super::{Core, Flaw};
use crate::limits::{DOUBTS_PER_MESSAGE, EPOCH_MAX};
use crate::{
    ActivationRow, Attempt, DoubtAnswer, EntityRow, Message, PartId, Reason, RecordKind, Snapshot,
    StagingRow, Write,
};

/// What a destination remembers, beside its row, of a staging that is not decided here.
#[derive(Clone, Debug)]
pub(crate) struct Doubting {
    pub(crate) load: Load,
    pub(crate) backoff: Backoff,
    /// When to ask the source; `None` while it cannot be asked.
    pub(crate) due: Option<Duration>,
}

/// Where an entity's staged copy is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    pub(crate) part: PartId,
    pub(crate) epoch: OwnershipEpoch,
}

impl Copied {
    pub(crate) fn of(part: PartId, copy: &Snapshot) -> Self {
        Self { part, epoch: copy.epoch }
    }
}

impl Core {
    /// Makes inactive copies, or says again what was made.
    pub(crate) fn on_stage(
        &mut self,
        from: ProcessId,
        Attempt { part, number: attempt }: Attempt,
        to: BubbleId,
        entities: Vec<Snapshot>,
        out: &mut Step,
    ) {
        let none =
            |refused| Message::Staged { part, attempt, stage: None, accepted: Vec::new(), refused };
        if let Some(row) = self.image.activations.get(&part) {
            let accepted = row.entities.iter().map(|(id, _)| *id).collect();
            let stage = Some(row.stage);
            let again = Message::Staged { part, attempt, stage, accepted, refused: Vec::new() };
            self.send(from, again, None, out);
            return;
        }
        if !self.image.stagings.contains_key(&part) {
            if let Some(answer) = self.answer_by_other(part, &entities) {
                self.send(from, answer, None, out);
                return;
            }
            let ids: Vec<EntityId> = entities.iter().map(|copy| copy.id).collect();
            if let Err(reason) = self.may_stage(to, &entities) {
                let refused = ids.into_iter().map(|id| (id, reason.clone())).collect();
                self.send(from, none(refused), None, out);
                return;
            }
            if let Some(refused) = self.stage(part, to, entities, out) {
                self.send(from, none(refused), None, out);
                return;
            }
        }
        let Some(row) = self.image.stagings.get(&part) else { return };
        let accepted = row.entities.iter().map(|copy| copy.id).collect();
        let refused = row.refused.clone();
        let stage = Some(row.stage);
        let answer = Message::Staged { part, attempt, stage, accepted, refused };
        self.send(from, answer, None, out);
    }

    /// What would refuse all of it.
    fn may_stage(&self, to: BubbleId, entities: &[Snapshot]) -> Result<(), Reason> {
        if self.closing {
            return Err(Reason::ViewChanged);
        }
        if self.is_draining() {
            return Err(Reason::Draining);
        }
        if self.open_move(to).is_some() {
            return Err(Reason::AlreadyMoving { to });
        }
        if !self.image.bubbles.contains(&to) && !self.takes(to) {
            return Err(Reason::NotHosted);
        }
        if let Some(&by) = self.claims.get(&to) {
            return Err(Reason::BubbleClaimed { by });
        }
        let limits = &self.config.limits;
        let load = self.staged_from_members().with(load_of(entities));
        if load.entities > limits.in_entities {
            return Err(Reason::Overloaded { limit: "incoming_entities".into() });
        }
        if load.bytes > limits.in_bytes {
            return Err(Reason::Overloaded { limit: "incoming_bytes".into() });
        }
        Ok(())
    }

    /// Copies whose source is gone from the view may stay for long: they do not count.
    fn staged_from_members(&self) -> Load {
        let mut sum = Load::default();
        for (source, load) in &self.staged_from {
            if self.view.as_ref().is_some_and(|view| view.members.contains_key(source)) {
                sum.add(*load);
            }
        }
        sum
    }

    /// STAGE. Gives the refusals back if nothing was staged.
    fn stage(
        &mut self,
        part: PartId,
        to: BubbleId,
        entities: Vec<Snapshot>,
        out: &mut Step,
    ) -> Option<Vec<(EntityId, Reason)>> {
        let mut accepted: Vec<Snapshot> = Vec::with_capacity(entities.len());
        let mut taken = BTreeSet::new();
        let mut refused = Vec::new();
        let mut lower: BTreeMap<PartId, BTreeSet<EntityId>> = BTreeMap::new();
        for copy in entities {
            let verdict = match taken.insert(copy.id) {
                true => self.may_stage_one(&copy),
                false => Err(Reason::StagingFailed("it is named twice".into())),
            };
            match verdict {
                Ok(Some(other)) => {
                    lower.entry(other).or_default().insert(copy.id);
                    accepted.push(copy);
                }
                Ok(None) => accepted.push(copy),
                Err(reason) => refused.push((copy.id, reason)),
            }
        }
        if accepted.is_empty() {
            return Some(refused);
        }
        for (other, ids) in lower {
            self.discard(other, |copy| ids.contains(&copy.id), out);
        }
        let load = load_of(&accepted);
        for copy in &accepted {
            self.staged.insert(copy.id, Copied::of(part, copy));
            if self.flawed(Flaw::SeenCountsStaged) {
                self.seen.insert(copy.id, copy.epoch);
            }
        }
        let stage = self.new_stage_id();
        let row = StagingRow { stage, to, entities: accepted, refused };
        self.record(RecordKind::Stage, vec![Write::Staging(part, Some(Arc::new(row)))], out);
        self.staged_from.entry(part.source).or_default().add(load);
        let due = self.now + self.config.limits.phase;
        let backoff = Backoff::default();
        self.doubting.insert(part, Doubting { load, backoff, due: Some(due) });
        self.timers.set(Timer::Staging(part), Some(due));
        None
    }

    /// `Ok(Some(part))`: a lower copy of that part has to go, because a higher epoch proves that
    /// its saga aborted.
    fn may_stage_one(&mut self, copy: &Snapshot) -> Result<Option<PartId>, Reason> {
        let failed = |why: &str| Err(Reason::StagingFailed(why.to_owned()));
        if copy.epoch > EPOCH_MAX {
            return failed("nothing has moved that often");
        }
        if self.image.entities.contains_key(&copy.id) {
            return failed("an entity of that id is active there");
        }
        let newer = (copy.id, copy.epoch)..=(copy.id, OwnershipEpoch(u64::MAX));
        if self.activated.range(newer).next().is_some() {
            return failed("it was active there at that epoch or a later one");
        }
        if self.seen.get(&copy.id).is_some_and(|&epoch| epoch >= copy.epoch) {
            return failed("it was seen there at that epoch or a later one");
        }
        let Some(&other) = self.staged.get(&copy.id) else { return Ok(None) };
        if other.epoch >= copy.epoch {
            // What became of that other one? Its source should know by now.
            self.ask_at(other.part, self.now);
            return failed("a copy of another move is staged there");
        }
        Ok(Some(other.part))
    }

    /// COMMIT: activates exactly the list, if it names the staging that is here.
    pub(crate) fn on_commit(
        &mut self,
        from: ProcessId,
        (part, attempt): (PartId, Option<u32>),
        stage: StageId,
        list: &[EntityId],
        out: &mut Step,
    ) {
        let here = self.part_of_stage(part, stage);
        let known = match (self.image.activations.get(&here), self.image.stagings.get(&here)) {
            (Some(row), _) => {
                let known = row.stage == stage;
                if self.flawed(Flaw::ForgetsAfterDuplicate) {
                    self.forget_activation(part, out);
                }
                known
            }
            (None, Some(row)) => {
                let named = row.stage == stage || self.flawed(Flaw::CommitWithoutStage);
                named && self.activate(here, list, out)
            }
            (None, None) => false,
        };
        let answer = match known {
            true => Message::Activated { part, attempt, stage },
            false => Message::UnknownStage { part, stage },
        };
        self.send(from, answer, None, out);
    }

    /// ACTIVATE: the rows come and the outcome with them, in one transaction. False if something
    /// of the list is not staged, which no correct source can ask for.
    fn activate(&mut self, part: PartId, list: &[EntityId], out: &mut Step) -> bool {
        let Some(row) = self.image.stagings.get(&part).cloned() else { return false };
        let list: BTreeSet<EntityId> = match self.flawed(Flaw::CommitWithoutList) {
            true => row.entities.iter().map(|copy| copy.id).collect(),
            false => list.iter().copied().collect(),
        };
        let copies: Vec<&Snapshot> =
            row.entities.iter().filter(|copy| list.contains(&copy.id)).collect();
        if copies.len() != list.len() || list.is_empty() {
            out.effects.push(Effect::Alarm(part, "COMMIT lists what was never staged"));
            return false;
        }
        let mut writes = Vec::with_capacity(copies.len() * 2 + 2);
        let mut attach = Vec::new();
        for copy in &copies {
            assert!(
                !self.image.entities.contains_key(&copy.id),
                "an active entity is never staged, nor created while it is staged"
            );
            if self.config.host_store {
                let state = copy.state.clone();
                attach.push(StoreCall::Attach(copy.id, row.to, copy.epoch, state));
            }
            let entity =
                EntityRow { bubble: row.to, epoch: copy.epoch, state: Some(copy.state.clone()) };
            writes.push(Write::Entity(copy.id, Some(entity)));
            if self.image.moved.contains_key(&copy.id) {
                writes.push(Write::Moved(copy.id, None));
            }
        }
        let entities: Vec<_> = copies.iter().map(|copy| (copy.id, copy.epoch)).collect();
        self.activated.extend(entities.iter().copied());
        writes.push(Write::Staging(part, None));
        let outcome = ActivationRow { stage: row.stage, entities };
        writes.push(Write::Activation(part, Some(Arc::new(outcome))));
        self.staging_over(part, &row);
        self.record(RecordKind::Activate, writes, out);
        out.effects.extend(attach.into_iter().map(Effect::Store));
        self.kept_activations.push_back((self.now, part));
        true
    }

    /// Drops copies of a staging; the staging itself when none is left.
    pub(crate) fn discard(
        &mut self,
        part: PartId,
        goes: impl Fn(&Snapshot) -> bool,
        out: &mut Step,
    ) {
        let Some(before) = self.image.stagings.get(&part).cloned() else { return };
        self.staging_over(part, &before);
        let stay = before.entities.iter().filter(|copy| !goes(copy));
        let (entities, refused) = (stay.cloned().collect(), before.refused.clone());
        let row = StagingRow { entities, refused, ..*before };
        if row.entities.is_empty() {
            self.record(RecordKind::Discard, vec![Write::Staging(part, None)], out);
            return;
        }
        let load = load_of(&row.entities);
        for copy in &row.entities {
            self.staged.insert(copy.id, Copied::of(part, copy));
        }
        self.record(RecordKind::Discard, vec![Write::Staging(part, Some(Arc::new(row)))], out);
        self.staged_from.entry(part.source).or_default().add(load);
        self.doubting.insert(part, Doubting { load, backoff: Backoff::default(), due: None });
        self.ask_at(part, self.now);
    }

    fn staging_over(&mut self, part: PartId, row: &StagingRow) {
        for copy in &row.entities {
            if self.staged.get(&copy.id).is_some_and(|copied| copied.part == part) {
                self.staged.remove(&copy.id);
            }
        }
        if let Some(doubting) = self.doubting.remove(&part)
            && let Some(load) = self.staged_from.get_mut(&part.source)
        {
            load.remove(doubting.load);
            if *load == Load::default() {
                self.staged_from.remove(&part.source);
            }
        }
        self.timers.set(Timer::Staging(part), None);
    }

    pub(crate) fn ask_at(&mut self, part: PartId, at: Duration) {
        let reachable = self.reaches(part.source);
        if let Some(doubting) = self.doubting.get_mut(&part) {
            doubting.due = reachable.then_some(at);
            self.timers.set(Timer::Staging(part), doubting.due);
        }
    }

    /// Asks the sources of stagings about those that are due.
    pub(crate) fn ask_about(&mut self, due: BTreeMap<ProcessId, Vec<PartId>>, out: &mut Step) {
        for (source, parts) in due {
            let reachable = self.reaches(source);
            for part in &parts {
                let Some(doubting) = self.doubting.get_mut(part) else { continue };
                let again = self.now + doubting.backoff.next();
                doubting.due = reachable.then_some(again);
                self.timers.set(Timer::Staging(*part), doubting.due);
            }
            for parts in parts.chunks(DOUBTS_PER_MESSAGE) {
                self.send(source, Message::Doubt { parts: parts.to_vec() }, None, out);
            }
        }
    }

    /// The source says what became of a part.
    pub(crate) fn on_doubt_answer(
        &mut self,
        from: ProcessId,
        part: PartId,
        answer: DoubtAnswer,
        out: &mut Step,
    ) {
        match answer {
            DoubtAnswer::Undecided => {}
            DoubtAnswer::Committed { stage, entities } => {
                if self.image.stagings.contains_key(&part) {
                    self.on_commit(from, (part, None), stage, &entities, out);
                }
            }
            DoubtAnswer::Unknown => {
                self.discard(part, |_| true, out);
                self.forget_activation(part, out);
            }
        }
    }
}

pub(crate) fn load_of(copies: &[Snapshot]) -> Load {
    Load { entities: copies.len(), bytes: copies.iter().map(|copy| copy.state.len()).sum() }
}
