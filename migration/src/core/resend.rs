use lampyrid_wire::ProcessId;

use super::Core;
use super::io::{Delivery, Step};
use super::timers::Timer;
use crate::limits::WINDOW_RETRY;
use crate::row::PartPhase;
use crate::{PartId, Phase, Reason};

impl Core {
    /// What became of a message of this part. One that found the peer's window full is tried again
    /// soon, and no limit of its phase runs meanwhile.
    pub(crate) fn on_sent(&mut self, part: PartId, delivery: Delivery) {
        let limits = self.config.limits;
        let Some(flight) = self.flights.get_mut(&part) else { return };
        let Some(row) = self.image.parts.get(&part) else { return };
        let mut at = self.now + WINDOW_RETRY;
        if delivery != Delivery::WindowFull {
            let sent = *flight.sent.get_or_insert(self.now);
            flight.unsent = match delivery {
                Delivery::Sent | Delivery::WindowFull => None,
                Delivery::NoSession => Some(Reason::Unreachable),
                Delivery::NoRoom => Some(Reason::Overloaded { limit: "sessions".to_owned() }),
            };
            at = self.now + flight.backoff.next();
            if !flight.in_doubt {
                at = at.min(sent + limits.phase).max(self.now);
            }
        }
        if row.phase == PartPhase::Prepared {
            at = at.min(flight.began + limits.saga);
        }
        self.timers.set(Timer::Part(part), Some(at));
    }

    /// A session came up: what found none goes out now, not after its backoff, and the limit of its
    /// phase counts from here. So does every open question for an entity's place.
    pub(crate) fn on_reachable(&mut self, process: ProcessId, out: &mut Step) {
        for (part, flight) in &mut self.flights {
            let row = self.image.parts.get(part);
            if row.is_some_and(|row| row.destination == process) && flight.unsent.is_some() {
                flight.sent = None;
                self.timers.set(Timer::Part(*part), Some(self.now));
            }
        }
        self.ask_for_places(process, out);
    }

    /// Repeats what was not answered, or gives up what is not decided.
    pub(crate) fn on_part_timer(&mut self, part: PartId, out: &mut Step) {
        let limits = self.config.limits;
        let now = self.now;
        let Some(flight) = self.flights.get(&part) else { return };
        let (sent, began, unsent) = (flight.sent, flight.began, flight.unsent.clone());
        if flight.freezing.is_some() {
            self.abort(part, &Reason::Timeout(Phase::Prepare), Vec::new(), out);
            self.pump(part.saga, out);
            return;
        }
        let Some(row) = self.image.parts.get(&part) else { return };
        let expired = sent.is_some_and(|sent| sent + limits.phase <= now);
        if row.phase == PartPhase::Prepared {
            if expired || began + limits.saga <= now {
                let reason = unsent.unwrap_or(Reason::Timeout(Phase::Stage));
                self.abort(part, &reason, Vec::new(), out);
                self.abort_queue(part.saga, &reason, out);
            } else if self.reaches(row.destination) {
                self.send_stage(part, out);
            } else {
                let at = sent.map_or(began + limits.saga, |sent| sent + limits.phase);
                self.timers.set(Timer::Part(part), Some(at));
            }
        } else {
            if let Some(flight) = self.flights.get_mut(&part) {
                flight.in_doubt |= expired;
            }
            self.send_commit(part, out);
            self.pump(part.saga, out);
        }
    }
}
