use lampyrid_wire::ProcessId;

use super::Core;
use super::flight::Backoff;
use super::io::{Delivery, Step};
use super::timers::Timer;
use crate::limits::{RESEND_FIRST, RESEND_MAX, STUCK_AFTER, WINDOW_RETRY};
use crate::row::{PartPhase, PartRow};
use crate::{Attempt, PartId, Phase, Reason};

/// What an open part waits for.
fn phase_of(row: &PartRow) -> Phase {
    match row.phase {
        PartPhase::Prepared => Phase::Stage,
        _ => Phase::Activate,
    }
}

impl Core {
    /// What became of a message of this part. One that found the peer's window full is tried again
    /// when that may have room, and no limit of its phase runs meanwhile.
    pub(crate) fn on_sent(&mut self, attempt: Attempt, delivery: Delivery) {
        let (part, now, limits) = (attempt.part, self.now, self.config.limits);
        let Some(flight) = self.flights.get_mut(&part) else { return };
        let Some(row) = self.image.parts.get(&part) else { return };
        let (to, phase) = (flight.destination, phase_of(row));
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        let mut at = now;
        if delivery == Delivery::WindowFull {
            lane.stalled.insert(part);
            // The first finds out when there is room if no answer tells.
            let is_first = lane.stalled.first() == Some(&part);
            at += if is_first { WINDOW_RETRY } else { RESEND_MAX };
        } else {
            lane.stalled.remove(&part);
        }
        let unsent = match delivery {
            Delivery::Sent | Delivery::WindowFull => None,
            Delivery::NoSession => Some(Reason::Unreachable),
            Delivery::NoRoom => Some(Reason::Overloaded { limit: "sessions".to_owned() }),
        };
        if delivery == Delivery::Sent {
            if flight.sent.is_none() || flight.unsent.is_some() {
                flight.sent = Some(now);
                flight.limit = self.peers.limit(to, phase);
                let first = self.peers.repeat_after(to, phase, RESEND_FIRST, RESEND_MAX);
                flight.backoff = Backoff::from(first);
            }
            flight.left(attempt.number, now);
        } else if unsent.is_some() {
            // How long it takes to get a session says nothing of round trips, nor they of it. The
            // same for one that was lost on the way: what was sent before may be lost with it.
            flight.sent.get_or_insert(now);
            flight.limit = flight.limit.max(limits.phase);
        }
        if delivery != Delivery::WindowFull {
            flight.unsent = unsent;
            at = now + flight.backoff.next();
            if let (Some(sent), false) = (flight.sent, flight.in_doubt) {
                at = at.min(sent + flight.limit).max(now);
            }
        }
        if row.phase == PartPhase::Prepared {
            at = at.min(flight.over_at(limits.saga));
        }
        self.timers.set(Timer::Part(part), Some(at));
        if delivery == Delivery::Sent {
            self.try_stalled(to);
        }
    }

    /// The peer answered an attempt.
    pub(crate) fn answered(&mut self, attempt: Attempt) {
        let Some(flight) = self.flights.get(&attempt.part) else { return };
        let to = flight.destination;
        let Some(row) = self.image.parts.get(&attempt.part) else { return };
        if let Some(left) = flight.left_at(attempt.number) {
            let took = self.now - left;
            self.peers.answered(to, phase_of(row), took, self.now);
        }
        self.try_stalled(to);
    }

    /// A session came up: what found none goes out now, not after its backoff, and the limit of its
    /// phase counts from here. So does every open question for an entity's place.
    pub(crate) fn on_reachable(&mut self, process: ProcessId, out: &mut Step) {
        for part in self.lanes.get(&process).into_iter().flat_map(|lane| &lane.open) {
            if let Some(flight) = self.flights.get_mut(part).filter(|f| f.unsent.is_some()) {
                flight.sent = None;
                self.timers.set(Timer::Part(*part), Some(self.now));
            }
        }
        self.ask_for_places(process, out);
    }

    /// Notes a part that is in doubt although its destination has been there for long.
    fn note_stuck(&mut self, part: PartId) {
        let now = self.now;
        let Some(flight) = self.flights.get(&part) else { return };
        let present = flight.in_doubt && self.reaches(flight.destination);
        if let (Some(flight), true) = (self.flights.get_mut(&part), present) {
            let since = *flight.waits_since.get_or_insert(now);
            if now >= since + STUCK_AFTER {
                self.stuck.insert(part);
            }
        }
    }

    /// Decided parts that a member of the view has left unacknowledged for [`STUCK_AFTER`].
    pub(crate) fn stuck(&mut self) -> usize {
        // Most of the time there are none, and this is asked after every step.
        if !self.stuck.is_empty() {
            self.stuck.retain(|part| self.flights.contains_key(part));
        }
        self.stuck.len()
    }

    /// Repeats what was not answered, or gives up what is not decided.
    pub(crate) fn on_part_timer(&mut self, part: PartId, out: &mut Step) {
        let now = self.now;
        let Some(flight) = self.flights.get(&part) else { return };
        if flight.freezing.is_some() {
            self.abort(part, &Reason::Timeout(Phase::Prepare), Vec::new(), out);
            return;
        }
        let Some(row) = self.image.parts.get(&part) else { return };
        let (to, phase, over_at) =
            (flight.destination, phase_of(row), flight.over_at(self.config.limits.saga));
        let limit_at = flight.sent.map(|sent| sent + flight.limit);
        let expired = limit_at.is_some_and(|at| at <= now);
        if let (Some(sent), true, false) = (flight.sent, expired, flight.in_doubt)
            && flight.unsent.is_none()
        {
            // What is repeated until it is acknowledged keeps its attempts itself.
            let given_up = flight.attempts(part).filter(|_| phase == Phase::Stage);
            self.peers.expired(to, phase, (sent, now), given_up);
        }
        if phase == Phase::Activate {
            if expired && self.gives_up_decided(part, out) {
                return;
            }
            if expired {
                self.doubt(part, out);
            }
            self.note_stuck(part);
            self.send_commit(part, out);
        } else if expired || over_at <= now {
            let reason = flight.unsent.clone().unwrap_or(Reason::Timeout(Phase::Stage));
            let since = flight.sent.unwrap_or(flight.began);
            let silent = !self.peers.was_heard_since(to, since);
            self.abort(part, &reason, Vec::new(), out);
            self.abort_queue(part.saga, &reason, out);
            if silent {
                // It answered to nothing, so what waits behind would only wait as long.
                self.abort_waiting(to, &reason, out);
            }
        } else if self.reaches(to) {
            self.send_stage(part, out);
        } else {
            self.timers.set(Timer::Part(part), Some(limit_at.unwrap_or(over_at).min(over_at)));
        }
    }
}
