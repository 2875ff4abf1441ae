//! A whole bubble moves: the side that gives it away. Its entities go first, each as a part of an
//! ordinary saga; the hosting follows when none is left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lampyrid_wire::{BubbleId, EntityId, ProcessId, SagaId};

use super::Core;
use super::drain::Drain;
use super::flight::Backoff;
use super::io::{CallId, Effect, Reply, Step};
use super::timers::Timer;
use crate::limits::{BUBBLE_MOVES_MAX, WAITERS_MAX};
use crate::{
    BubbleFate, BubbleMessage, BubbleMovePhase, BubbleMoveReport, BubbleMoveRow, BubbleMoveState,
    Message, Reason, RecordKind, Write,
};

/// What is remembered of bubbles on their way, beside their rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosting {
    pub(crate) giving: BTreeMap<BubbleId, Giving>,
    /// The sagas in which entities of such a bubble go.
    pub(crate) batches: BTreeMap<SagaId, BubbleId>,
    /// Bubbles to look at before the step ends.
    pub(crate) due: BTreeSet<BubbleId>,
    pub(crate) waiters: BTreeMap<CallId, BubbleId>,
    pub(crate) taking: BTreeMap<BubbleId, Backoff>,
    pub(crate) drain: Drain,
    /// Moves that are over, and when that was seen.
    pub(crate) kept_given: VecDeque<(Duration, BubbleId, SagaId)>,
    pub(crate) kept_taken: VecDeque<(Duration, BubbleId)>,
}

/// What a giver remembers of an open move.
#[derive(Clone, Debug, Default)]
pub(crate) struct Giving {
    /// The destination has said that it takes the entities.
    pub(crate) agreed: bool,
    /// Until when it has to, the first time.
    pub(crate) until: Option<Duration>,
    /// The registry knows that the bubble is hosted here no longer.
    pub(crate) registered: bool,
    /// The saga under way.
    pub(crate) saga: Option<SagaId>,
    /// The last entity that was looked at.
    pub(crate) after: Option<EntityId>,
    pub(crate) backoff: Backoff,
    pub(crate) moved: u64,
    /// When an entity last went, or the move began.
    pub(crate) progress: Duration,
    pub(crate) hindrance: Option<Reason>,
}

impl Core {
    /// The move of a bubble that is under way from here.
    pub(crate) fn open_move(&self, bubble: BubbleId) -> Option<&BubbleMoveRow> {
        self.image.moves.get(&bubble).filter(|row| row.phase.is_open())
    }

    /// Starts to move a bubble; a repetition gives the move that is under way.
    pub(crate) fn move_bubble(
        &mut self,
        bubble: BubbleId,
        to: ProcessId,
        host: Option<ProcessId>,
        out: &mut Step,
    ) -> Result<BubbleMoveReport, Reason> {
        self.permitted()?;
        if let Some(row) = self.open_move(bubble) {
            return match row.to == to {
                true => self.bubble_report(bubble).ok_or(Reason::UnknownBubble),
                false => Err(Reason::AlreadyMoving { to: bubble }),
            };
        }
        if self.image.incoming.get(&bubble).is_some_and(|row| row.phase.is_open()) {
            return Err(Reason::AlreadyMoving { to: bubble });
        }
        let hosting = self.image.bubbles.contains(&bubble);
        // What was left of a bubble goes to nobody but its host.
        let follows = host == Some(to) && self.residents(bubble) > 0;
        match host {
            _ if hosting || follows => {}
            None => return Err(Reason::UnknownBubble),
            Some(_) => return Err(Reason::NotHosted),
        }
        if to == self.config.me {
            return Err(Reason::SameProcess);
        }
        if !self.reaches(to) {
            return Err(Reason::UnknownProcess);
        }
        if self.hosting.giving.len() >= BUBBLE_MOVES_MAX {
            return Err(Reason::Overloaded { limit: "bubble_moves".to_owned() });
        }
        self.begin_move(bubble, to, hosting, out);
        self.bubble_report(bubble).ok_or(Reason::UnknownBubble)
    }

    pub(crate) fn begin_move(
        &mut self,
        bubble: BubbleId,
        to: ProcessId,
        hosting: bool,
        out: &mut Step,
    ) {
        let view_epoch = self.view.as_ref().map(|view| view.term.epoch).unwrap_or_default();
        let phase = BubbleMovePhase::Moving;
        let row = BubbleMoveRow { id: self.ids.saga(), to, view_epoch, hosting, phase };
        self.record(RecordKind::MoveBubble, vec![Write::BubbleMove(bubble, Some(row))], out);
        // Whoever hosts it already takes what follows, without being asked.
        let until = hosting.then(|| self.now + self.config.limits.saga);
        let giving = Giving { until, progress: self.now, ..Giving::default() };
        self.hosting.giving.insert(bubble, giving);
        self.hosting.due.insert(bubble);
    }

    /// Goes on with moves that a restart interrupted.
    pub(crate) fn recover_moves(&mut self, out: &mut Step) {
        for (&bubble, row) in &self.image.moves {
            if row.phase.is_open() {
                let moved = self.image.moved.values();
                let went = |went: &&crate::MovedTo| went.bubble == bubble && went.process == row.to;
                let moved = moved.filter(went).count() as u64;
                let giving = Giving { moved, progress: self.now, ..Giving::default() };
                self.hosting.giving.insert(bubble, giving);
            } else {
                self.hosting.kept_given.push_back((self.now, bubble, row.id));
            }
        }
        self.recover_incoming();
        // What was made durable last may not have been told any more.
        out.effects.push(Effect::Hosting);
    }

    /// Looks at every move for which something happened.
    pub(crate) fn drive_moves(&mut self, out: &mut Step) {
        while let Some(bubble) = self.hosting.due.pop_first() {
            self.drive_move(bubble, out);
        }
    }

    fn drive_move(&mut self, bubble: BubbleId, out: &mut Step) {
        let Some(row) = self.open_move(bubble).cloned() else { return };
        if self.closing {
            return;
        }
        let Some(giving) = self.hosting.giving.get(&bubble) else { return };
        let late = !giving.agreed && giving.until.is_some_and(|until| until <= self.now);
        if row.phase == BubbleMovePhase::Moving && late {
            let reason = giving.hindrance.clone().unwrap_or(Reason::Unreachable);
            self.abort_move(bubble, reason, out);
            return;
        }
        if !self.reaches(row.to) {
            // Resumed by the view that brings it back; only a first agreement has a limit.
            self.timers.set(Timer::Giving(bubble), giving.until.filter(|_| !giving.agreed));
            return;
        }
        let id = row.id;
        match row.phase {
            BubbleMovePhase::Released if giving.registered => {
                self.tell(row.to, BubbleMessage::Host { bubble, id }, out);
                self.look_again(bubble);
            }
            // Whoever keeps the registry says when it knows.
            BubbleMovePhase::Released => {}
            _ if row.hosting && !giving.agreed => {
                self.tell(row.to, BubbleMessage::Take { bubble, id }, out);
                self.look_again(bubble);
            }
            _ => self.drive_entities(bubble, &row, out),
        }
    }

    /// Looks at a move again after its backoff.
    pub(crate) fn look_again(&mut self, bubble: BubbleId) {
        if let Some(giving) = self.hosting.giving.get_mut(&bubble) {
            let mut at = self.now + giving.backoff.next();
            if let (false, Some(until)) = (giving.agreed, giving.until) {
                at = at.min(until);
            }
            self.timers.set(Timer::Giving(bubble), Some(at));
        }
    }

    pub(crate) fn tell(&self, to: ProcessId, message: BubbleMessage, out: &mut Step) {
        self.send(to, Message::Bubble(message), None, out);
    }

    /// The destination takes the entities, or does not.
    pub(crate) fn on_taking(
        &mut self,
        from: ProcessId,
        bubble: BubbleId,
        id: SagaId,
        refused: Option<Reason>,
        out: &mut Step,
    ) {
        let meant = self.open_move(bubble).is_some_and(|row| {
            row.id == id && row.to == from && row.phase == BubbleMovePhase::Moving
        });
        let Some(giving) = self.hosting.giving.get_mut(&bubble).filter(|_| meant) else { return };
        match refused {
            None => {
                giving.backoff = Backoff::default();
                giving.until = None;
                if !std::mem::replace(&mut giving.agreed, true) {
                    giving.hindrance = None;
                    giving.progress = self.now;
                    self.hosting.due.insert(bubble);
                }
            }
            // Also one that had agreed may have to take it back: it is being drained itself.
            Some(reason) => self.abort_move(bubble, reason, out),
        }
    }

    /// None is left here: the decision to host it no longer. From here on it only goes forward.
    pub(crate) fn release(&mut self, bubble: BubbleId, out: &mut Step) {
        let Some(row) = self.image.moves.get(&bubble).cloned() else { return };
        if !row.hosting {
            self.end_move(bubble, BubbleMovePhase::Done, out);
            return;
        }
        let row = BubbleMoveRow { phase: BubbleMovePhase::Released, ..row };
        let writes = vec![Write::Bubble(bubble, false), Write::BubbleMove(bubble, Some(row))];
        self.record(RecordKind::ReleaseBubble, writes, out);
        self.claims.remove(&bubble);
        if let Some(giving) = self.hosting.giving.get_mut(&bubble) {
            giving.backoff = Backoff::default();
            giving.hindrance = None;
        }
        self.timers.set(Timer::Giving(bubble), None);
        out.effects.push(Effect::Hosting);
    }

    /// The registry holds what is hosted here; of `claimed`, others host.
    pub(crate) fn on_registered(
        &mut self,
        hosted: &BTreeSet<BubbleId>,
        claimed: &BTreeMap<BubbleId, ProcessId>,
        out: &mut Step,
    ) {
        for (&bubble, row) in &self.image.moves {
            let released = row.phase == BubbleMovePhase::Released && !hosted.contains(&bubble);
            if let Some(giving) = self.hosting.giving.get_mut(&bubble).filter(|_| released) {
                giving.registered = true;
                self.hosting.due.insert(bubble);
            }
        }
        for &bubble in hosted {
            match claimed.get(&bubble) {
                Some(&by) => drop(self.claims.insert(bubble, by)),
                None => drop(self.claims.remove(&bubble)),
            }
            self.incoming_registered(bubble, out);
        }
    }

    /// The destination hosts it.
    pub(crate) fn on_hosted(
        &mut self,
        from: ProcessId,
        bubble: BubbleId,
        id: SagaId,
        out: &mut Step,
    ) {
        let meant = self.open_move(bubble).is_some_and(|row| {
            row.id == id && row.to == from && row.phase == BubbleMovePhase::Released
        });
        if meant {
            self.end_move(bubble, BubbleMovePhase::Done, out);
        }
    }

    /// Gives a move up while that is possible. True if it is over or there is none.
    pub(crate) fn cancel_move(
        &mut self,
        bubble: BubbleId,
        out: &mut Step,
    ) -> Result<BubbleMoveReport, Reason> {
        match self.open_move(bubble).map(|row| row.phase.clone()) {
            Some(BubbleMovePhase::Moving) => {
                self.abort_move(bubble, Reason::Cancelled, out);
            }
            Some(_) => return Err(Reason::AlreadyMoving { to: bubble }),
            None => {}
        }
        self.bubble_report(bubble).ok_or(Reason::UnknownBubble)
    }

    pub(crate) fn abort_move(&mut self, bubble: BubbleId, reason: Reason, out: &mut Step) {
        let Some(row) = self.open_move(bubble) else { return };
        let (to, id) = (row.to, row.id);
        self.shun(to);
        if let Some(saga) = self.hosting.giving.get(&bubble).and_then(|giving| giving.saga) {
            // What is decided goes on; what is not stays.
            self.hosting.batches.remove(&saga);
            let stays = match &reason {
                Reason::Cancelled => Reason::Cancelled,
                _ => Reason::Refused("its bubble stays".to_owned()),
            };
            self.abort_saga(saga, &stays, out);
        }
        self.tell(to, BubbleMessage::Fate { bubble, id, fate: BubbleFate::Over }, out);
        self.end_move(bubble, BubbleMovePhase::Aborted(reason), out);
    }

    pub(crate) fn end_move(&mut self, bubble: BubbleId, phase: BubbleMovePhase, out: &mut Step) {
        let Some(row) = self.image.moves.get(&bubble).cloned() else { return };
        let id = row.id;
        let row = BubbleMoveRow { phase, ..row };
        self.record(RecordKind::MoveBubble, vec![Write::BubbleMove(bubble, Some(row))], out);
        self.timers.set(Timer::Giving(bubble), None);
        let report = self.bubble_report(bubble);
        self.hosting.giving.remove(&bubble);
        self.hosting.kept_given.push_back((self.now, bubble, id));
        self.drain_due();
        let waiting = self.hosting.waiters.iter().filter(|(_, of)| **of == bubble);
        let waiting: Vec<CallId> = waiting.map(|(call, _)| *call).collect();
        for call in waiting {
            self.hosting.waiters.remove(&call);
            self.timers.set(Timer::Call(call), None);
            out.effects.push(Effect::Reply(call, Reply::BubbleReport(report.clone())));
        }
    }

    /// A taker asks what became of a move.
    pub(crate) fn on_ask_bubble(
        &mut self,
        from: ProcessId,
        bubble: BubbleId,
        id: SagaId,
        out: &mut Step,
    ) {
        let open = self.open_move(bubble).is_some_and(|row| row.id == id && row.to == from);
        let fate = if open { BubbleFate::Open } else { BubbleFate::Over };
        self.tell(from, BubbleMessage::Fate { bubble, id, fate }, out);
    }

    /// A view came, or activity: everything that can go on does.
    pub(crate) fn moves_on_view(&mut self, out: &mut Step) {
        if self.is_active() {
            for (&bubble, giving) in &mut self.hosting.giving {
                giving.backoff = Backoff::default();
                // Another life of it has to say so again; the same one repeats itself.
                giving.agreed = false;
                self.hosting.due.insert(bubble);
            }
        } else {
            for &bubble in self.hosting.giving.keys() {
                self.timers.set(Timer::Giving(bubble), None);
            }
        }
        self.incoming_on_view(out);
        self.drain_due();
    }

    /// How a bubble's move stands.
    #[must_use]
    pub fn bubble_report(&self, bubble: BubbleId) -> Option<BubbleMoveReport> {
        let row = self.image.moves.get(&bubble)?;
        let giving = self.hosting.giving.get(&bubble);
        let (state, reason) = match &row.phase {
            BubbleMovePhase::Moving => (BubbleMoveState::Moving, None),
            BubbleMovePhase::Released => (BubbleMoveState::HandingOver, None),
            BubbleMovePhase::Done => (BubbleMoveState::Done, None),
            BubbleMovePhase::Aborted(reason) => (BubbleMoveState::Aborted, Some(reason.clone())),
        };
        let away = row.phase.is_open() && !self.reaches(row.to);
        let held_up = giving.and_then(|giving| giving.hindrance.clone());
        Some(BubbleMoveReport {
            id: row.id,
            bubble,
            to: row.to,
            view_epoch: row.view_epoch,
            state,
            moved: giving.map_or_else(|| self.forwarded(bubble, row.to), |giving| giving.moved),
            left: self.residents(bubble),
            reason: reason.or(held_up).or(away.then_some(Reason::Unreachable)),
        })
    }

    fn forwarded(&self, bubble: BubbleId, to: ProcessId) -> u64 {
        let went = self.image.moved.values();
        went.filter(|went| went.bubble == bubble && went.process == to).count() as u64
    }

    /// Entities of a bubble that have a row here.
    pub(crate) fn residents(&self, bubble: BubbleId) -> u64 {
        self.census.residents(bubble).entities
    }

    /// Answers at once, or notes who waits. Waiting never aborts anything.
    pub(crate) fn wait_for_bubble(
        &mut self,
        call: CallId,
        bubble: BubbleId,
        until: Duration,
    ) -> Option<Reply> {
        let waits = self.hosting.waiters.len() < WAITERS_MAX && until > self.now;
        if waits && self.open_move(bubble).is_some() {
            self.hosting.waiters.insert(call, bubble);
            self.timers.set(Timer::Call(call), Some(until));
            return None;
        }
        Some(Reply::BubbleReport(self.bubble_report(bubble)))
    }

    /// A caller has waited long enough for a bubble; false if it waits for something else.
    pub(crate) fn bubble_wait_over(&mut self, call: CallId, out: &mut Step) -> bool {
        let Some(bubble) = self.hosting.waiters.remove(&call) else { return false };
        let report = self.bubble_report(bubble);
        out.effects.push(Effect::Reply(call, Reply::BubbleReport(report)));
        true
    }
}
