//! A process is barred for ever, by command: all members learn it durably, and then each takes back
//! what left it for that process and was never acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lampyrid_wire::{EntityId, OwnershipEpoch, ProcessId};

use super::Core;
use super::flight::Backoff;
use super::io::{Effect, Step, StoreCall};
use super::timers::Timer;
use crate::limits::BARRED_MAX;
use crate::row::{PartPhase, PartRow};
use crate::{BarMessage, BarReport, BarRow, EntityRow, Message, PartId, Reason, RecordKind, Write};

/// What is remembered of barred processes, beside their rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bars {
    /// Members that have it durable, of those that this process tells, and whether as complete.
    told: BTreeMap<ProcessId, BTreeMap<ProcessId, bool>>,
    /// Parts that are about to be taken back.
    asking: BTreeMap<PartId, Asking>,
    backoff: Backoff,
    reinstalled: BTreeMap<ProcessId, u64>,
    elsewhere: BTreeMap<ProcessId, u64>,
    /// Members that have been told by the view.
    known: BTreeSet<ProcessId>,
}

/// A part whose entities are looked for.
#[derive(Clone, Debug)]
struct Asking {
    waiting: BTreeSet<ProcessId>,
    held: BTreeSet<EntityId>,
}

impl Core {
    /// True if this process takes nothing from that one.
    pub(crate) fn is_barred(&self, process: ProcessId) -> bool {
        self.image.barred.contains_key(&process)
    }

    /// Bars a process, or goes on with it.
    pub(crate) fn bar(&mut self, process: ProcessId, out: &mut Step) -> Result<BarReport, Reason> {
        self.permitted()?;
        let member = self.view.as_ref().is_some_and(|view| view.members.contains_key(&process));
        if process == self.config.me || (member && !self.is_barred(process)) {
            return Err(Reason::StillMember);
        }
        let row = self.image.barred.get(&process).copied();
        if row.is_none() && self.image.barred.len() >= BARRED_MAX {
            return Err(Reason::Overloaded { limit: "barred_processes".to_owned() });
        }
        if row.is_none_or(|row| !row.complete && row.by != self.config.me) {
            self.note_bar(process, self.config.me, false, out);
        }
        self.bars_due(out);
        Ok(self.bar_report(process))
    }

    /// How it stands.
    #[must_use]
    pub fn bar_report(&self, process: ProcessId) -> BarReport {
        let row = self.image.barred.get(&process);
        let told = self.bars.told.get(&process);
        let others = self.other_members();
        let waits = |member: &ProcessId| !told.is_some_and(|told| told.contains_key(member));
        let complete = row.is_some_and(|row| row.complete);
        let of = |counts: &BTreeMap<ProcessId, u64>| counts.get(&process).copied().unwrap_or(0);
        BarReport {
            process,
            barred: row.is_some(),
            known: self.has_trace_of(process),
            complete,
            waiting_for: others.into_iter().filter(|it| !complete && waits(it)).collect(),
            in_doubt: self.lost_to(process).map(|(_, row)| left(row)).sum(),
            reinstalled: of(&self.bars.reinstalled),
            elsewhere: of(&self.bars.elsewhere),
        }
    }

    /// True if anything kept here is about that process. Looks at all that is kept.
    fn has_trace_of(&self, process: ProcessId) -> bool {
        let image = &self.image;
        image.parts.values().any(|row| row.destination == process)
            || image.stagings.keys().any(|part| part.source == process)
            || image.moved.values().any(|went| went.process == process)
            || image.moves.values().any(|row| row.to == process)
            || image.incoming.values().any(|row| row.from == process)
    }

    /// All bars, for those who show them.
    #[must_use]
    pub fn bar_reports(&self) -> Vec<BarReport> {
        self.image.barred.keys().map(|process| self.bar_report(*process)).collect()
    }

    fn other_members(&self) -> Vec<ProcessId> {
        let members = self.view.iter().flat_map(|view| view.members.keys().copied());
        members.filter(|it| *it != self.config.me && !self.is_barred(*it)).collect()
    }

    /// Decided parts that went to that process.
    fn lost_to(&self, process: ProcessId) -> impl Iterator<Item = (PartId, &Arc<PartRow>)> + '_ {
        let parts = self.flights.keys().filter_map(|part| self.image.parts.get_key_value(part));
        parts.filter_map(move |(part, row)| {
            let decided = matches!(row.phase, PartPhase::Committed { .. });
            (decided && row.destination == process).then_some((*part, row))
        })
    }

    fn note_bar(&mut self, process: ProcessId, by: ProcessId, complete: bool, out: &mut Step) {
        let view_epoch = self.view.as_ref().map(|view| view.term.epoch).unwrap_or_default();
        let row = BarRow { by, view_epoch, complete };
        self.record(RecordKind::Bar, vec![Write::Bar(process, Some(row))], out);
        out.effects.push(Effect::Barred(self.image.barred.keys().copied().collect()));
        if complete {
            // What it sent here can never be decided any more.
            let staged = self.image.stagings.keys().filter(|part| part.source == process);
            let staged: Vec<PartId> = staged.copied().collect();
            for part in staged {
                self.discard(part, |_| true, out);
            }
        }
    }

    pub(crate) fn recover_bars(&self, out: &mut Step) {
        if !self.image.barred.is_empty() {
            out.effects.push(Effect::Barred(self.image.barred.keys().copied().collect()));
        }
    }

    /// A view came: who is new in it is told, what is under way goes on.
    pub(crate) fn bars_on_view(&mut self, out: &mut Step) {
        if self.image.barred.is_empty() || !self.is_active() {
            self.timers.set(Timer::Bars, None);
            return;
        }
        let others: BTreeSet<ProcessId> = self.other_members().into_iter().collect();
        let before = std::mem::replace(&mut self.bars.known, others);
        let new: Vec<ProcessId> = self.bars.known.difference(&before).copied().collect();
        for member in new {
            self.tell_bars(member, out);
        }
        // Another view may have other holders.
        self.bars.asking.clear();
        self.bars.backoff = Backoff::default();
        self.bars_due(out);
    }

    fn tell_bars(&self, member: ProcessId, out: &mut Step) {
        for (&process, row) in &self.image.barred {
            let tell = BarMessage::Tell { process, by: row.by, complete: row.complete };
            self.send(member, Message::Bar(tell), None, out);
        }
    }

    /// Goes on with whatever is not complete.
    pub(crate) fn bars_due(&mut self, out: &mut Step) {
        if !self.is_active() {
            return;
        }
        let mine = self.image.barred.iter().filter(|(_, row)| row.by == self.config.me);
        let mine: Vec<ProcessId> = mine.map(|(process, _)| *process).collect();
        let mut waits = false;
        for process in mine {
            waits |= self.spread_bar(process, out);
        }
        let complete = self.image.barred.iter().filter(|(_, row)| row.complete);
        let complete: Vec<ProcessId> = complete.map(|(process, _)| *process).collect();
        for process in complete {
            let parts: Vec<PartId> = self.lost_to(process).map(|(part, _)| part).collect();
            for part in parts {
                waits |= !self.take_back(part, out);
            }
        }
        let again = waits.then(|| self.now + self.bars.backoff.next());
        self.timers.set(Timer::Bars, again);
    }

    /// Tells who has not heard. It is complete once all members of the view have it durable, and
    /// the process is no member. True while somebody has not heard how it stands.
    fn spread_bar(&mut self, process: ProcessId, out: &mut Step) -> bool {
        let told = self.bars.told.get(&process).cloned().unwrap_or_default();
        let others = self.other_members();
        let listed = self.view.as_ref().is_some_and(|view| view.members.contains_key(&process));
        let all_know = others.iter().all(|member| told.contains_key(member)) && !listed;
        let mut complete = self.image.barred.get(&process).is_some_and(|row| row.complete);
        if all_know && !complete {
            complete = true;
            self.note_bar(process, self.config.me, complete, out);
        }
        let tell = BarMessage::Tell { process, by: self.config.me, complete };
        let mut missing = others;
        missing.retain(|member| told.get(member).is_none_or(|knows| complete && !knows));
        for member in &missing {
            self.send(*member, Message::Bar(tell.clone()), None, out);
        }
        (listed && !complete) || !missing.is_empty()
    }

    pub(crate) fn on_bar_message(&mut self, from: ProcessId, message: BarMessage, out: &mut Step) {
        match message {
            BarMessage::Tell { process, by, complete } => {
                let known = self.image.barred.get(&process);
                let news = known.is_none_or(|row| complete && !row.complete);
                let fits = known.is_some() || self.image.barred.len() < BARRED_MAX;
                if process == self.config.me || !fits {
                    return;
                }
                if news {
                    self.note_bar(process, by, complete, out);
                }
                let complete = self.image.barred.get(&process).is_some_and(|row| row.complete);
                let told = BarMessage::Told { process, complete };
                self.send(from, Message::Bar(told), None, out);
                if news && complete {
                    self.bars_due(out);
                }
            }
            BarMessage::Told { process, complete } => {
                let knows = self.bars.told.entry(process).or_default().entry(from).or_default();
                *knows |= complete;
                if self.image.barred.get(&process).is_some_and(|row| !row.complete) {
                    self.bars_due(out);
                }
            }
            BarMessage::Holders { process, part, entities } => {
                // What that process has staged here is gone first: it is held by nobody.
                if self.image.barred.get(&process).is_none_or(|row| !row.complete) {
                    self.note_bar(process, from, true, out);
                }
                let held = entities.into_iter().filter(|(id, epoch)| self.has_seen(*id, *epoch));
                let entities = held.map(|(id, _)| id).collect();
                self.send(from, Message::Bar(BarMessage::Held { part, entities }), None, out);
            }
            BarMessage::Held { part, entities } => {
                let Some(asking) = self.bars.asking.get_mut(&part) else { return };
                if asking.waiting.remove(&from) {
                    asking.held.extend(entities);
                    if asking.waiting.is_empty() {
                        self.bars_due(out);
                    }
                }
            }
        }
    }

    /// True if the entity is or was here at that epoch or a later one, or is staged here above it.
    fn has_seen(&self, id: EntityId, epoch: OwnershipEpoch) -> bool {
        let row = self.image.entities.get(&id).is_some_and(|row| row.epoch >= epoch);
        let seen = (id, epoch)..=(id, OwnershipEpoch(u64::MAX));
        let moved = self.image.moved.get(&id).is_some_and(|went| went.epoch > epoch);
        let staged = self.staged.get(&id).is_some_and(|copy| copy.epoch > epoch);
        row || self.activated.range(seen).next().is_some() || moved || staged
    }

    /// Asks all members whether a part's entities have gone further than the barred process; once
    /// all have said so, takes back those that nobody knows. True if that is done.
    fn take_back(&mut self, part: PartId, out: &mut Step) -> bool {
        let Some(row) = self.image.parts.get(&part).cloned() else { return true };
        let PartPhase::Committed { snapshots, .. } = &row.phase else { return true };
        let entities: Vec<_> = snapshots.iter().map(|copy| (copy.id, copy.epoch)).collect();
        let members: BTreeSet<ProcessId> = self.other_members().into_iter().collect();
        let here = entities.iter().filter(|(id, epoch)| self.has_seen(*id, *epoch));
        let here: BTreeSet<EntityId> = here.map(|(id, _)| *id).collect();
        let asking =
            self.bars.asking.entry(part).or_insert(Asking { waiting: members, held: here });
        if !asking.waiting.is_empty() {
            for member in asking.waiting.clone() {
                let entities = entities.clone();
                let ask = BarMessage::Holders { process: row.destination, part, entities };
                self.send(member, Message::Bar(ask), None, out);
            }
            return false;
        }
        let held = self.bars.asking.remove(&part).map(|asking| asking.held).unwrap_or_default();
        self.reinstall(part, &row, &held, out);
        true
    }

    /// Two epochs on: above what the barred process may have made of it.
    fn reinstall(
        &mut self,
        part: PartId,
        row: &PartRow,
        held: &BTreeSet<EntityId>,
        out: &mut Step,
    ) {
        let PartPhase::Committed { stage, snapshots } = &row.phase else { return };
        let homes: BTreeMap<EntityId, _> =
            row.entities.iter().map(|entity| (entity.id, entity.bubble)).collect();
        let (mut writes, mut refused, mut attach) = (Vec::new(), Vec::new(), Vec::new());
        for copy in snapshots.iter().filter(|copy| !held.contains(&copy.id)) {
            let Some(&bubble) = homes.get(&copy.id) else { continue };
            let (epoch, state) = (copy.epoch.next(), copy.state.clone());
            if self.config.host_store {
                attach.push(StoreCall::Attach(copy.id, bubble, epoch, state.clone()));
            }
            let back = EntityRow { bubble, epoch, state: Some(state) };
            writes.push(Write::Entity(copy.id, Some(back)));
            writes.push(Write::Moved(copy.id, None));
            refused.push((copy.id, Reason::Barred { process: row.destination }));
        }
        let back = refused.len() as u64;
        let gone: Vec<EntityId> =
            snapshots.iter().map(|copy| copy.id).filter(|id| held.contains(id)).collect();
        *self.bars.reinstalled.entry(row.destination).or_default() += back;
        *self.bars.elsewhere.entry(row.destination).or_default() += gone.len() as u64;
        self.counts.aborted += back;
        self.counts.committed += gone.len() as u64;
        let phase = match gone.is_empty() {
            true => PartPhase::Aborted,
            false => PartPhase::Ended { stage: *stage, entities: gone },
        };
        writes.push(Write::Part(part, Some(Arc::new(row.at(phase, refused)))));
        self.record(RecordKind::Reinstall, writes, out);
        out.effects.extend(attach.into_iter().map(Effect::Store));
        self.part_over(part, out);
    }
}

fn left(row: &Arc<PartRow>) -> u64 {
    match &row.phase {
        PartPhase::Committed { snapshots, .. } => snapshots.len() as u64,
        _ => 0,
    }
}
