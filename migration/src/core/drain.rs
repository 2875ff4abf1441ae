//! Everything here goes elsewhere: all bubbles by the ring, with all their entities, and then what
//! was left of other bubbles.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lampyrid_membership::Ring;
use lampyrid_wire::{BubbleId, ProcessId};

use super::Core;
use super::io::{CallId, Effect, Reply, Step};
use super::timers::Timer;
use crate::limits::{
    BUBBLE_MOVES_MAX, DRAIN_LOOK, DRAIN_STALL, RELEASE_TOGETHER, SHUNNED_FOR, WAITERS_MAX,
};
use crate::{
    BubbleMessage, BubbleMovePhase, DrainReport, DrainRow, DrainState, Reason, RecordKind, Write,
};

/// What is remembered of a drain, beside its row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    /// Look at it before the step ends.
    due: bool,
    /// It is complete; the process is about to leave.
    over: bool,
    /// Since when bubbles without entities wait for the others, to be released with them.
    ready: Option<Duration>,
    /// Members that could not take what they should, until when.
    shunned: BTreeMap<ProcessId, Duration>,
    /// Entities that each member was given.
    given: BTreeMap<ProcessId, u64>,
    waiters: BTreeSet<CallId>,
}

impl Core {
    /// True from when a drain is asked for until it is given up or the process ends.
    pub(crate) fn is_draining(&self) -> bool {
        self.image.drain.is_some() || self.hosting.drain.over
    }

    /// Starts a drain, or goes on with the one that is under way.
    pub(crate) fn drain(&mut self, out: &mut Step) -> Result<DrainReport, Reason> {
        if !self.is_draining() {
            self.permitted()?;
            let has_something = !self.image.bubbles.is_empty() || !self.image.entities.is_empty();
            if has_something && self.others().is_empty() {
                return Err(Reason::NoOtherMember);
            }
            let view_epoch = self.view.as_ref().map(|view| view.term.epoch).unwrap_or_default();
            let row = DrainRow { view_epoch };
            self.record(RecordKind::Drain, vec![Write::Drain(Some(row))], out);
            self.refuse_incoming(out);
        }
        self.hosting.drain.due = true;
        Ok(self.drain_report())
    }

    /// Gives a drain up: what has not gone stays.
    pub(crate) fn cancel_drain(&mut self, out: &mut Step) -> Result<DrainReport, Reason> {
        if self.hosting.drain.over {
            return Err(Reason::Draining);
        }
        if self.image.drain.is_some() {
            self.record(RecordKind::Drain, vec![Write::Drain(None)], out);
            let open: Vec<BubbleId> = self.hosting.giving.keys().copied().collect();
            for bubble in open {
                // One that is released already goes on.
                let _ = self.cancel_move(bubble, out);
            }
            self.timers.set(Timer::Drain, None);
            self.answer_drain(out);
            self.hosting.drain = Drain::default();
        }
        Ok(self.drain_report())
    }

    /// How it stands.
    #[must_use]
    pub fn drain_report(&self) -> DrainReport {
        let state = match (self.hosting.drain.over, self.image.drain.is_some()) {
            (true, _) => DrainState::Done,
            (false, true) => DrainState::Running,
            (false, false) => DrainState::Idle,
        };
        let open = self.hosting.giving.keys().filter_map(|bubble| self.bubble_report(*bubble));
        let hindrance = self.hosting.giving.values().find_map(|giving| giving.hindrance.clone());
        let alone = state == DrainState::Running && self.others().is_empty();
        DrainReport {
            state,
            bubbles_left: self.image.bubbles.len() as u64,
            entities_left: self.image.entities.len() as u64,
            in_doubt: self.census.in_doubt(),
            moves: open.collect(),
            reason: hindrance.or(alone.then_some(Reason::NoOtherMember)),
        }
    }

    fn others(&self) -> Vec<ProcessId> {
        let members = self.view.iter().filter(|view| view.active).flat_map(|v| v.members.keys());
        members.copied().filter(|process| *process != self.config.me).collect()
    }

    pub(crate) fn drain_due(&mut self) {
        self.hosting.drain.due |= self.image.drain.is_some();
    }

    /// Goes on with a drain, if something has happened to it.
    pub(crate) fn drive_drain(&mut self, out: &mut Step) {
        if !std::mem::take(&mut self.hosting.drain.due) || self.image.drain.is_none() {
            return;
        }
        if !self.is_active() || self.closing {
            self.timers.set(Timer::Drain, None);
            return;
        }
        self.timers.set(Timer::Drain, Some(self.now + DRAIN_LOOK));
        let members: BTreeSet<ProcessId> = self.others().into_iter().collect();
        self.replace_failed(&members, out);
        self.give_all(&members, out);
        self.drive_moves(out);
        let strays = self.strays();
        if !strays.is_empty() {
            out.effects.push(Effect::FindHosts(strays));
        }
        self.refuse_incoming(out);
        self.end_drain_if_over(out);
    }

    /// Moves whose destination is gone or stuck are given up; the bubble then goes to another.
    fn replace_failed(&mut self, members: &BTreeSet<ProcessId>, out: &mut Step) {
        let now = self.now;
        self.hosting.drain.shunned.retain(|_, until| *until > now);
        let giving = self.hosting.giving.iter();
        let failed = giving.filter_map(|(&bubble, giving)| {
            let row = self.image.moves.get(&bubble)?;
            let gone = !members.contains(&row.to);
            let stuck = giving.progress + DRAIN_STALL <= now && self.residents(bubble) > 0;
            let fails = row.phase == BubbleMovePhase::Moving && (gone || stuck);
            fails.then_some((bubble, row.to))
        });
        let failed: Vec<(BubbleId, ProcessId)> = failed.collect();
        for (bubble, to) in failed {
            self.shun(to);
            self.abort_move(bubble, Reason::Unreachable, out);
        }
    }

    /// A member could not take a bubble: the next one on the ring has to, while there is one.
    pub(crate) fn shun(&mut self, process: ProcessId) {
        if self.is_draining() {
            self.hosting.drain.shunned.insert(process, self.now + SHUNNED_FOR);
        }
    }

    /// Every bubble is on its way, the ones with many entities first.
    fn give_all(&mut self, members: &BTreeSet<ProcessId>, out: &mut Step) {
        // One that has just come goes on once its arrival is registered.
        let rests =
            |bubble: &&BubbleId| !self.takes(**bubble) && self.open_move(**bubble).is_none();
        let here = self.image.bubbles.iter().filter(rests);
        let mut here: Vec<(u64, BubbleId)> =
            here.map(|bubble| (self.residents(*bubble), *bubble)).collect();
        here.sort_unstable_by(|one, other| other.cmp(one));
        for (entities, bubble) in here {
            if self.hosting.giving.len() >= BUBBLE_MOVES_MAX {
                return;
            }
            let Some(to) = self.next_taker(bubble, members) else { return };
            *self.hosting.drain.given.entry(to).or_default() += entities + 1;
            self.begin_move(bubble, to, true, out);
        }
    }

    /// The member that was given least so far; of several, the first on the bubble's ring.
    fn next_taker(&self, bubble: BubbleId, members: &BTreeSet<ProcessId>) -> Option<ProcessId> {
        let cluster = self.view.as_ref()?.term.cluster;
        let drain = &self.hosting.drain;
        let fit = members.iter().copied().filter(|member| !drain.shunned.contains_key(member));
        let ring = Ring::new(cluster, &format!("bubble {bubble}"), fit);
        let given = |process: &&ProcessId| drain.given.get(process).copied().unwrap_or_default();
        ring.order().iter().min_by_key(given).copied()
    }

    /// Bubbles that are not hosted here and have entities here that nothing moves.
    fn strays(&self) -> Vec<BubbleId> {
        let inhabited = self.census.inhabited();
        let hosted = |bubble: &BubbleId| self.image.bubbles.contains(bubble);
        inhabited.filter(|b| !hosted(b) && self.open_move(*b).is_none()).collect()
    }

    /// The registry says who hosts these.
    pub(crate) fn on_hosts(
        &mut self,
        hosts: &BTreeMap<BubbleId, Option<ProcessId>>,
        out: &mut Step,
    ) {
        let strays: BTreeSet<BubbleId> = self.strays().into_iter().collect();
        for (&bubble, host) in hosts {
            let full = self.hosting.giving.len() >= BUBBLE_MOVES_MAX;
            if full || !self.is_draining() || !strays.contains(&bubble) {
                continue;
            }
            match *host {
                Some(host) if host == self.config.me || !self.reaches(host) => {}
                Some(host) => self.begin_move(bubble, host, false, out),
                // Nobody: so it is taken along as a bubble of this process.
                None if self.takes(bubble) => {}
                None => {
                    let writes = vec![Write::Bubble(bubble, true)];
                    self.record(RecordKind::CreateBubble, writes, out);
                    out.effects.push(Effect::Hosting);
                    self.hosting.drain.due = true;
                }
            }
        }
    }

    /// Bubbles on their way here had better go elsewhere.
    fn refuse_incoming(&self, out: &mut Step) {
        for &bubble in self.hosting.taking.keys() {
            let Some(row) = self.image.incoming.get(&bubble) else { continue };
            if row.phase == crate::IncomingPhase::Taking {
                let refused = Some(Reason::Draining);
                let message = BubbleMessage::Taking { bubble, id: row.id, refused };
                self.tell(row.from, message, out);
            }
        }
    }

    /// False while a bubble without entities should wait for the others: what is released together
    /// is one change of the registry, and one broadcast.
    pub(crate) fn may_release(&mut self, bubble: BubbleId) -> bool {
        if self.image.drain.is_none() {
            return true;
        }
        let since = *self.hosting.drain.ready.get_or_insert(self.now);
        let busy = |other: &BubbleId| {
            let row = self.open_move(*other);
            let moving = row.is_some_and(|row| row.phase == BubbleMovePhase::Moving);
            *other != bubble && moving && self.residents(*other) > 0
        };
        if self.hosting.giving.keys().any(busy) && self.now < since + RELEASE_TOGETHER {
            return false;
        }
        // Those that waited need not wait for their backoff.
        let waiting: Vec<BubbleId> = self.hosting.giving.keys().copied().collect();
        self.hosting.due.extend(waiting.into_iter().filter(|other| *other != bubble));
        true
    }

    fn end_drain_if_over(&mut self, out: &mut Step) {
        let here = self.image.bubbles.len() + self.image.entities.len();
        // Who is away and takes a bubble claims it when it returns.
        let mut moves = self.image.moves.iter().filter(|(_, row)| row.phase.is_open());
        let moving = moves.any(|(_, row)| self.reaches(row.to));
        let staged = self.doubting.keys().any(|part| self.reaches(part.source));
        let taking = self.image.incoming.values();
        let taking = taking.into_iter().any(|row| row.phase.is_open() && self.reaches(row.from));
        if here > 0 || moving || staged || taking || !self.flights.is_empty() {
            return;
        }
        self.record(RecordKind::Drain, vec![Write::Drain(None)], out);
        self.hosting.drain.over = true;
        self.timers.set(Timer::Drain, None);
        self.answer_drain(out);
        out.effects.push(Effect::Drained);
    }

    fn answer_drain(&mut self, out: &mut Step) {
        let report = self.drain_report();
        for call in std::mem::take(&mut self.hosting.drain.waiters) {
            self.timers.set(Timer::Call(call), None);
            out.effects.push(Effect::Reply(call, Reply::DrainReport(report.clone())));
        }
    }

    /// Answers at once, or notes who waits. Waiting never ends anything.
    pub(crate) fn wait_for_drain(&mut self, call: CallId, until: Duration) -> Option<Reply> {
        let waits = self.hosting.drain.waiters.len() < WAITERS_MAX && until > self.now;
        if waits && self.image.drain.is_some() {
            self.hosting.drain.waiters.insert(call);
            self.timers.set(Timer::Call(call), Some(until));
            return None;
        }
        Some(Reply::DrainReport(self.drain_report()))
    }

    /// A caller has waited long enough for the drain; false if it waits for something else.
    pub(crate) fn drain_wait_over(&mut self, call: CallId, out: &mut Step) -> bool {
        let waited = self.hosting.drain.waiters.remove(&call);
        if waited {
            let report = self.drain_report();
            out.effects.push(Effect::Reply(call, Reply::DrainReport(report)));
        }
        waited
    }
}
