//! A whole bubble moves: the side that takes it.

use lampyrid_wire::{BubbleId, ProcessId, SagaId};

use super::Core;
use super::flight::Backoff;
use super::io::{Effect, Step};
use super::timers::Timer;
use crate::limits::{BUBBLES_MAX, PURGE_PER_STEP};
use crate::{
    BubbleFate, BubbleMessage, BubbleMovePhase, IncomingPhase, IncomingRow, Reason, RecordKind,
    Write,
};

impl Core {
    pub(crate) fn on_bubble_message(
        &mut self,
        from: ProcessId,
        message: BubbleMessage,
        out: &mut Step,
    ) {
        match message {
            BubbleMessage::Take { bubble, id } => self.on_take(from, bubble, id, out),
            BubbleMessage::Taking { bubble, id, refused } => {
                self.on_taking(from, bubble, id, refused, out);
            }
            BubbleMessage::Host { bubble, id } => self.on_host(from, bubble, id, out),
            BubbleMessage::Hosted { bubble, id } => self.on_hosted(from, bubble, id, out),
            BubbleMessage::Ask { bubble, id } => self.on_ask_bubble(from, bubble, id, out),
            BubbleMessage::Fate { bubble, id, fate } => {
                self.on_bubble_fate(from, bubble, id, fate, out);
            }
        }
    }

    /// True while copies of that bubble's entities are taken in although it is not hosted here yet.
    pub(crate) fn takes(&self, bubble: BubbleId) -> bool {
        self.image.incoming.get(&bubble).is_some_and(|row| row.phase.is_open())
    }

    fn on_take(&mut self, from: ProcessId, bubble: BubbleId, id: SagaId, out: &mut Step) {
        let before = self.image.incoming.get(&bubble).filter(|row| row.phase.is_open());
        if let Some(row) = before.filter(|row| row.from == from && row.id != id) {
            // One of the two is over, and only the giver knows which. It asks again for the other.
            self.tell(from, BubbleMessage::Ask { bubble, id: row.id }, out);
            return;
        }
        if self.open_move(bubble).is_some_and(|row| row.phase == BubbleMovePhase::Released) {
            // Either this is old, or it comes back before its arrival was acknowledged: that
            // acknowledgement is being asked for.
            return;
        }
        let refused = match self.may_take(bubble, id) {
            Ok(true) => {
                if self.claims.get(&bubble) == Some(&from) {
                    self.take_again(bubble, out);
                }
                None
            }
            Ok(false) => {
                self.take_bubble(from, bubble, id, out);
                None
            }
            Err(reason) => Some(reason),
        };
        self.tell(from, BubbleMessage::Taking { bubble, id, refused }, out);
    }

    /// True: it was agreed before.
    fn may_take(&self, bubble: BubbleId, id: SagaId) -> Result<bool, Reason> {
        let moving = || Reason::AlreadyMoving { to: bubble };
        if let Some(row) = self.image.incoming.get(&bubble) {
            if row.id == id {
                return Ok(true);
            }
            if row.phase.is_open() {
                return Err(moving());
            }
        }
        if self.closing {
            return Err(Reason::ViewChanged);
        }
        if self.is_draining() {
            return Err(Reason::Draining);
        }
        if self.open_move(bubble).is_some() {
            return Err(moving());
        }
        let open = self.hosting.taking.len() + self.image.bubbles.len();
        if open >= BUBBLES_MAX {
            return Err(Reason::Overloaded { limit: "bubbles".to_owned() });
        }
        Ok(false)
    }

    fn take_bubble(&mut self, from: ProcessId, bubble: BubbleId, id: SagaId, out: &mut Step) {
        // Also where it is believed to be hosted here: only a registration that follows the release
        // shows that it is.
        let row = IncomingRow { id, from, phase: IncomingPhase::Taking };
        self.record(RecordKind::TakeBubble, vec![Write::Incoming(bubble, Some(row))], out);
        // What is here of it serves again, together with what comes.
        self.claims.remove(&bubble);
        self.hosting.taking.insert(bubble, Backoff::default());
        self.ask_soon(bubble);
    }

    /// What was hosted here while its giver was away is the giver's again, and still on its way.
    fn take_again(&mut self, bubble: BubbleId, out: &mut Step) {
        let Some(row) = self.image.incoming.get(&bubble).cloned() else { return };
        self.claims.remove(&bubble);
        let row = IncomingRow { phase: IncomingPhase::Taking, ..row };
        let writes = vec![Write::Bubble(bubble, false), Write::Incoming(bubble, Some(row))];
        self.record(RecordKind::TakeBubble, writes, out);
        self.hosting.taking.insert(bubble, Backoff::default());
        self.ask_soon(bubble);
        // A registration that is on its way still names it, and may come after the giver's release.
        out.effects.push(Effect::Hosting);
    }

    /// Sets when the giver is asked.
    fn ask_soon(&mut self, bubble: BubbleId) {
        let Some(row) = self.image.incoming.get(&bubble) else { return };
        let asks = row.phase == IncomingPhase::Taking && self.reaches(row.from);
        let wait = self.hosting.taking.get_mut(&bubble).map(Backoff::next);
        let at = wait.filter(|_| asks).map(|wait| self.now + wait);
        self.timers.set(Timer::Taking(bubble), at);
    }

    pub(crate) fn on_taking_timer(&mut self, bubble: BubbleId, out: &mut Step) {
        let Some(row) = self.image.incoming.get(&bubble) else { return };
        if row.phase == IncomingPhase::Taking {
            self.tell(row.from, BubbleMessage::Ask { bubble, id: row.id }, out);
            self.ask_soon(bubble);
        }
    }

    fn on_host(&mut self, from: ProcessId, bubble: BubbleId, id: SagaId, out: &mut Step) {
        let rests = self.image.bubbles.contains(&bubble) && self.open_move(bubble).is_none();
        match self.image.incoming.get(&bubble) {
            Some(row) if row.id == id && row.phase == IncomingPhase::Taking => {
                self.host(bubble, out);
            }
            // Answered when the registry knows.
            Some(row) if row.id == id && row.phase == IncomingPhase::Hosted => {}
            // It was hosted here while the giver was away. Since then the giver may have had it
            // again, so it is registered again.
            Some(row) if row.id == id && rests => {
                self.claims.remove(&bubble);
                self.hosting.taking.insert(bubble, Backoff::default());
                self.host(bubble, out);
            }
            // Only what was agreed is handed over, and that is only forgotten when it is over.
            _ => self.tell(from, BubbleMessage::Hosted { bubble, id }, out),
        }
    }

    /// From now on it is hosted here.
    fn host(&mut self, bubble: BubbleId, out: &mut Step) {
        let Some(row) = self.image.incoming.get(&bubble).cloned() else { return };
        let row = IncomingRow { phase: IncomingPhase::Hosted, ..row };
        let writes = vec![Write::Bubble(bubble, true), Write::Incoming(bubble, Some(row))];
        self.record(RecordKind::HostBubble, writes, out);
        self.timers.set(Timer::Taking(bubble), None);
        out.effects.push(Effect::Hosting);
    }

    /// The registry holds it.
    pub(crate) fn incoming_registered(&mut self, bubble: BubbleId, out: &mut Step) {
        let Some(row) = self.image.incoming.get(&bubble).cloned() else { return };
        if row.phase != IncomingPhase::Hosted {
            return;
        }
        self.drain_due();
        let (from, id) = (row.from, row.id);
        if self.claims.get(&bubble) == Some(&from) {
            // Its giver was away and is back as its host: so it gives it as if it had not been.
            self.take_again(bubble, out);
            return;
        }
        let row = IncomingRow { phase: IncomingPhase::Done, ..row };
        self.record(RecordKind::TakeBubble, vec![Write::Incoming(bubble, Some(row))], out);
        self.hosting.taking.remove(&bubble);
        self.hosting.kept_taken.push_back((self.now, bubble));
        self.tell(from, BubbleMessage::Hosted { bubble, id }, out);
    }

    fn on_bubble_fate(
        &mut self,
        from: ProcessId,
        bubble: BubbleId,
        id: SagaId,
        fate: BubbleFate,
        out: &mut Step,
    ) {
        let Some(row) = self.image.incoming.get(&bubble) else { return };
        // What is hosted here stays so, whatever a giver that was away believes.
        let forgets = row.phase != IncomingPhase::Hosted && fate == BubbleFate::Over;
        if row.id == id && row.from == from && forgets {
            self.hosting.taking.remove(&bubble);
            self.timers.set(Timer::Taking(bubble), None);
            self.record(RecordKind::TakeBubble, vec![Write::Incoming(bubble, None)], out);
        }
    }

    pub(crate) fn recover_incoming(&mut self) {
        for (&bubble, row) in &self.image.incoming {
            if row.phase.is_open() {
                self.hosting.taking.insert(bubble, Backoff::default());
            } else {
                self.hosting.kept_taken.push_back((self.now, bubble));
            }
        }
    }

    /// Forgets moves that have had their time. What was taken is kept until its giver has
    /// forgotten it.
    pub(crate) fn purge_moves(&mut self, out: &mut Step) {
        let kept = self.config.limits.retention;
        for _ in 0..PURGE_PER_STEP {
            let due =
                self.hosting.kept_given.front().filter(|(since, ..)| self.now >= *since + kept);
            let Some(&(_, bubble, id)) = due else { break };
            self.hosting.kept_given.pop_front();
            // It may have moved again since.
            let row = self.image.moves.get(&bubble);
            if row.is_some_and(|row| row.id == id && !row.phase.is_open()) {
                self.record(RecordKind::Purge, vec![Write::BubbleMove(bubble, None)], out);
            }
        }
        for _ in 0..PURGE_PER_STEP {
            let due =
                self.hosting.kept_taken.front().filter(|(since, _)| self.now >= *since + kept);
            let Some(&(_, bubble)) = due else { break };
            self.hosting.kept_taken.pop_front();
            let row = self.image.incoming.get(&bubble);
            if let Some(row) = row.filter(|row| row.phase == IncomingPhase::Done) {
                self.tell(row.from, BubbleMessage::Ask { bubble, id: row.id }, out);
                self.hosting.kept_taken.push_back((self.now, bubble));
            }
        }
    }

    /// A giver that is gone from the view hosts nothing: who has the bubble's entities takes its
    /// place, and what the giver still has follows when it returns.
    pub(crate) fn incoming_on_view(&mut self, out: &mut Step) {
        let Some(view) = self.view.clone() else { return };
        let taking: Vec<BubbleId> = self.hosting.taking.keys().copied().collect();
        for bubble in taking {
            let Some(row) = self.image.incoming.get(&bubble) else { continue };
            if !view.active || row.phase != IncomingPhase::Taking {
                self.timers.set(Timer::Taking(bubble), None);
            } else if view.members.contains_key(&row.from) {
                self.hosting.taking.insert(bubble, Backoff::default());
                self.ask_soon(bubble);
            } else {
                self.host(bubble, out);
            }
        }
    }
}
