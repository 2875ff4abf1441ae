use lampyrid_wire::{Peer, ProcessId, Term};

use super::io::{Effect, Membership, Step};
use super::timers::Timer;
use super::{Core, Flaw};
use crate::limits::{DOUBTS_PER_MESSAGE, HELD_BYTES, HELD_MESSAGES};
use crate::row::PartPhase;
use crate::{Attempt, DoubtAnswer, Message, PartId, Reason};

impl Core {
    /// Takes a new view or status: gives up what it ended, goes on with what it let go on.
    pub(crate) fn on_view(&mut self, view: Membership, out: &mut Step) {
        if self.view.as_ref() == Some(&view) {
            return;
        }
        self.peers.retain(|peer| view.members.contains_key(peer));
        let before = self.view.replace(view);
        self.abort_ended_by_view(before.as_ref(), out);
        self.bars_on_view(out);
        self.moves_on_view(out);
        for part in std::mem::take(&mut self.stuck) {
            if let Some(flight) = self.flights.get_mut(&part) {
                flight.waits_since = None;
            }
        }
        if self.is_active() {
            self.resume(before.as_ref(), out);
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
    fn abort_ended_by_view(&mut self, before: Option<&Membership>, out: &mut Step) {
        let Some(view) = &self.view else { return };
        let me = self.config.me;
        let (mine, members) = (view.members.get(&me).copied(), &view.members);
        let was = |process: ProcessId| before.and_then(|view| view.members.get(&process)).copied();
        let other = |to: &ProcessId| {
            before.is_none() || was(me) != mine || was(*to) != members.get(to).copied()
        };
        let others = self.lanes.keys().filter(|to| other(to));
        let others: Vec<_> = others.map(|to| (*to, members.get(to).copied())).collect();
        for (to, life) in others {
            let open = self.lanes.get(&to).map(|lane| lane.open.clone()).unwrap_or_default();
            for part in open {
                let freezing = self.flights.get(&part).and_then(|flight| flight.freezing.as_ref());
                let row = freezing.map(|f| &f.row);
                let row = row.or_else(|| self.image.parts.get(&part).map(|row| &**row));
                let Some(row) = row else { continue };
                let same = life == Some(row.destination_incarnation)
                    && mine == Some(row.source_incarnation);
                let undecided = row.phase == PartPhase::Prepared;
                if undecided && !same {
                    self.abort(part, &Reason::ViewChanged, Vec::new(), out);
                    self.abort_queue(part.saga, &Reason::ViewChanged, out);
                } else if !undecided && life.is_none() && self.flawed(Flaw::EndOnRemoval) {
                    self.end(part, out);
                }
            }
            if life.is_none() {
                self.abort_waiting(to, &Reason::ViewChanged, out);
            }
        }
    }

    /// Sends again at once, in the new view, whatever waits for an answer; pauses what cannot be
    /// sent.
    fn resume(&mut self, before: Option<&Membership>, out: &mut Step) {
        let lanes: Vec<ProcessId> = self.lanes.keys().copied().collect();
        for to in lanes {
            let reached = self.reaches(to);
            if !reached && before.is_some_and(|view| !view.members.contains_key(&to)) {
                // Paused already.
                continue;
            }
            let open = self.lanes.get(&to).map(|lane| lane.open.clone()).unwrap_or_default();
            for part in open {
                let Some(row) = self.image.parts.get(&part) else { continue };
                let prepared = row.phase == PartPhase::Prepared;
                if let Some(flight) = self.flights.get_mut(&part) {
                    flight.backoff = super::flight::Backoff::default();
                    flight.waits_since = None;
                    flight.alarmed = false;
                }
                if !prepared {
                    self.doubt(part, out);
                }
                // The timer repeats it, and knows when it is too late for that.
                let at = (prepared || reached).then_some(self.now);
                self.timers.set(Timer::Part(part), at);
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
        if self.is_barred(from.process) {
            return;
        }
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
            Message::Stage { part, attempt, to, entities } if part.source == from => {
                self.on_stage(from, Attempt { part, number: attempt }, to, entities, out);
            }
            Message::Commit { part, attempt, stage, entities } if part.source == from => {
                self.on_commit(from, (part, Some(attempt)), stage, &entities, out);
            }
            Message::Abort { part } if part.source == from => self.discard(part, |_| true, out),
            Message::DoubtAnswers { answers } => {
                for (part, answer) in answers {
                    if part.source == from {
                        self.on_doubt_answer(from, part, answer, out);
                    }
                }
            }
            Message::Staged { part, attempt, stage, accepted, refused } if part.source == me => {
                let attempt = Attempt { part, number: attempt };
                self.on_staged(from, attempt, stage, &accepted, refused, out);
            }
            Message::Activated { part, attempt, stage } if part.source == me => {
                self.on_activated(from, part, attempt, stage, out);
            }
            Message::UnknownStage { part, stage } if part.source == me => {
                self.on_unknown_stage(from, part, stage, out);
            }
            Message::Doubt { parts } => self.on_doubt(from, &parts, out),
            Message::Locate { query, entity } => self.on_locate(from, query, entity, out),
            Message::Located { query, found } => self.on_located(from, query, found, out),
            Message::Bar(message) => self.on_bar_message(from, message, out),
            Message::Bubble(message) => self.on_bubble_message(from, message, out),
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
