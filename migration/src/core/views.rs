use lampyrid_wire::{Peer, ProcessId, Term};

use super::io::{Effect, Membership, Step};
use super::timers::Timer;
use super::{Core, Flaw};
use crate::limits::{DOUBTS_PER_MESSAGE, HELD_BYTES, HELD_MESSAGES};
use crate::row::PartPhase;
use crate::{DoubtAnswer, Message, PartId, Reason};

impl Core {
    /// Takes a new view or status: gives up what it ended, goes on with what it let go on.
    pub(crate) fn on_view(&mut self, view: Membership, out: &mut Step) {
        if self.view.as_ref() == Some(&view) {
            return;
        }
        self.view = Some(view);
        self.abort_ended_by_view(out);
        if self.is_active() {
            self.resume(out);
            self.held_bytes = 0;
            for (from, term, message) in std::mem::take(&mut self.held) {
                self.on_received(from, term, message, out);
            }
        } else {
            for part in self.doubting.keys() {
                self.timers.set(Timer::Staging(*part), None);
            }
            for doubting in self.doubting.values_mut() {
                doubting.due = None;
            }
        }
    }

    /// Undecided parts whose source or destination is not the process it was.
    fn abort_ended_by_view(&mut self, out: &mut Step) {
        let Some(view) = self.view.clone() else { return };
        let parts: Vec<PartId> = self.flights.keys().copied().collect();
        let me = self.config.me;
        for part in parts {
            let freezing = self.flights.get(&part).and_then(|flight| flight.freezing.as_ref());
            let row =
                freezing.map(|f| &f.row).or_else(|| self.image.parts.get(&part).map(|r| &**r));
            let Some(row) = row else { continue };
            let same = view.members.get(&row.destination) == Some(&row.destination_incarnation)
                && view.members.get(&me) == Some(&row.source_incarnation);
            let gone = !view.members.contains_key(&row.destination);
            if row.phase == PartPhase::Prepared && !same {
                self.abort(part, &Reason::ViewChanged, Vec::new(), out);
                self.abort_queue(part.saga, &Reason::ViewChanged, out);
            } else if row.phase != PartPhase::Prepared && gone && self.flawed(Flaw::EndOnRemoval) {
                self.end(part, out);
            }
        }
        let queued = self.sagas.iter().filter(|(_, saga)| {
            !saga.queue.is_empty() && !view.members.contains_key(&saga.destination)
        });
        let queued: Vec<_> = queued.map(|(id, _)| *id).collect();
        for id in queued {
            self.abort_queue(id, &Reason::ViewChanged, out);
        }
    }

    /// Sends again at once, in the new view, whatever waits for an answer; pauses what cannot be
    /// sent.
    fn resume(&mut self, out: &mut Step) {
        let parts: Vec<PartId> = self.flights.keys().copied().collect();
        for part in parts {
            let Some(row) = self.image.parts.get(&part) else { continue };
            let (to, prepared) = (row.destination, row.phase == PartPhase::Prepared);
            if let Some(flight) = self.flights.get_mut(&part) {
                flight.backoff = super::flight::Backoff::default();
                flight.alarmed = false;
                flight.in_doubt |= !prepared;
            }
            if prepared || self.reaches(to) {
                // The timer repeats it, and knows when it is too late for that.
                self.timers.set(Timer::Part(part), Some(self.now));
            } else {
                self.timers.set(Timer::Part(part), None);
            }
            if !prepared {
                self.pump(part.saga, out);
            }
        }
        let stagings: Vec<PartId> = self.doubting.keys().copied().collect();
        for part in stagings {
            let due = self.doubting.get(&part).and_then(|doubting| doubting.due);
            self.ask_at(part, due.unwrap_or(self.now));
        }
    }

    /// Fences a message, and deals with it.
    pub(crate) fn on_received(&mut self, from: Peer, term: Term, message: Message, out: &mut Step) {
        let Some(view) = &self.view else { return };
        if term.cluster != view.term.cluster || matches!(message, Message::StaleTerm { .. }) {
            // A refusal needs no answer: what it refused is sent again when the newer view comes.
            return;
        }
        if term.epoch > view.term.epoch {
            self.hold(from, term, message);
        } else if !view.active {
            // Who needs an answer sends again.
        } else if term != view.term || view.members.get(&from.process) != Some(&from.incarnation) {
            let refusal = Message::StaleTerm { term: view.term };
            let to = from.process;
            out.effects.push(Effect::Send { to, message: refusal, term: None, report: None });
            out.effects.push(Effect::Stale(from, term));
        } else {
            self.dispatch(from.process, message, out);
        }
    }

    /// Keeps a message of a newer view until that view is here.
    fn hold(&mut self, from: Peer, term: Term, message: Message) {
        let bytes = self.held_bytes + message.state_bytes();
        if self.held.len() < HELD_MESSAGES && bytes <= HELD_BYTES {
            self.held_bytes = bytes;
            self.held.push_back((from, term, message));
        }
    }

    fn dispatch(&mut self, from: ProcessId, message: Message, out: &mut Step) {
        let me = self.config.me;
        match message {
            Message::Stage { part, to, entities } if part.source == from => {
                self.on_stage(from, part, to, entities, out);
            }
            Message::Commit { part, stage, entities } if part.source == from => {
                self.on_commit(from, part, stage, &entities, out);
            }
            Message::Abort { part } if part.source == from => self.discard(part, |_| true, out),
            Message::DoubtAnswers { answers } => {
                for (part, answer) in answers {
                    if part.source == from {
                        self.on_doubt_answer(from, part, answer, out);
                    }
                }
            }
            Message::Staged { part, stage, accepted, refused } if part.source == me => {
                self.on_staged(from, part, stage, &accepted, refused, out);
            }
            Message::Activated { part, stage } if part.source == me => {
                self.on_activated(from, part, stage, out);
            }
            Message::UnknownStage { part, stage } if part.source == me => {
                self.on_unknown_stage(from, part, stage, out);
            }
            Message::Doubt { parts } => self.on_doubt(from, &parts, out),
            Message::Locate { query, entity } => self.on_locate(from, query, entity, out),
            Message::Located { query, found } => self.on_located(from, query, found, out),
            // Of a part that is not the sender's to speak of, or reserved.
            _ => {}
        }
    }

    /// Answers from the rows, which a replay has filled before any message is taken.
    fn on_doubt(&self, from: ProcessId, parts: &[PartId], out: &mut Step) {
        for parts in parts.chunks(DOUBTS_PER_MESSAGE) {
            let ours = parts.iter().filter(|part| part.source == self.config.me);
            let answers = ours.map(|part| (*part, self.answer(*part))).collect();
            self.send(from, Message::DoubtAnswers { answers }, None, out);
        }
    }

    fn answer(&self, part: PartId) -> DoubtAnswer {
        let Some(row) = self.image.parts.get(&part) else { return DoubtAnswer::Unknown };
        match (&row.phase, row.committed()) {
            (PartPhase::Prepared, _) if !self.flawed(Flaw::UnknownWhilePrepared) => {
                DoubtAnswer::Undecided
            }
            (_, Some((stage, entities))) => DoubtAnswer::Committed { stage, entities },
            _ => DoubtAnswer::Unknown,
        }
    }
}
