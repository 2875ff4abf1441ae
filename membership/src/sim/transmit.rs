use std::time::Duration;

use lampyrid_wire::{ProcessId, Term};

use super::event::Letter;
use super::sessions::Pair;
use super::{Event, Sim, Violation};
use crate::{Input, Protocol};

/// The slowest a straggler is, in microseconds.
const STRAGGLER: u64 = 400_000;

/// The latest a message is that outlives its session, in microseconds.
const GHOST: u64 = 5_000_000;

impl Sim {
    /// A message goes on its way, if there is a session with that process.
    pub(super) fn transmit(
        &mut self,
        from: usize,
        to: ProcessId,
        term: Option<Term>,
        message: Protocol,
    ) {
        let Some(to) = self.place(to) else { return };
        let pair = Pair::of(from, to);
        let Some(session) = self.sessions.get_mut(&pair) else { return };
        let id = session.id;
        let (sender, receiver) = session.ends_from(from);
        let (peer, boot) = (sender.peer, receiver.boot);
        self.traffic.sent(self.now, from, peer, term, &message);
        if !self.network.delivers(self.now, from, to) {
            return self.doubt(pair);
        }
        let letter = |message: Box<Protocol>, outlives: bool| {
            let from = peer;
            Letter { pair, session: id, to, boot, from, term, message, outlives }
        };
        if self.chaotic {
            if self.random.chance(self.plan.loss) {
                return;
            }
            if self.random.chance(self.plan.repeats) {
                let again = letter(Box::new(message.clone()), false);
                self.travel(again, from);
            }
        }
        let outlives = self.chaotic && self.random.chance(self.plan.ghosts);
        self.travel(letter(Box::new(message), outlives), from);
    }

    fn travel(&mut self, letter: Letter, from: usize) {
        let mut at = self.now + self.network.latency(from, letter.to);
        let plan = &self.plan;
        let (mut ordered, mut late) = (true, Duration::ZERO);
        if self.chaotic {
            ordered = !self.random.chance(plan.reordered);
            if self.random.chance(plan.stragglers) {
                late = self.random.between(0, STRAGGLER);
                ordered = false;
            }
        }
        if letter.outlives {
            late = self.random.between(0, GHOST);
        } else if ordered && let Some(session) = self.sessions.get_mut(&letter.pair) {
            let (_, receiver) = session.ends_from(from);
            at = at.max(receiver.next_arrival);
            receiver.next_arrival = at;
        }
        self.queue.push(at + late, Event::Deliver(letter));
    }

    /// It counts only if its session still stands, or if it was read while that stood.
    pub(super) fn deliver(&mut self, letter: Letter) -> Result<(), Violation> {
        let Letter { pair, session, to, boot, from, term, message, outlives } = letter;
        if !self.is_boot(to, boot) {
            return Ok(());
        }
        match self.sessions.get_mut(&pair).filter(|known| known.id == session) {
            Some(session) => session.ends_from(to).0.heard = self.now,
            None if outlives => {}
            None => return Ok(()),
        }
        self.delivered += 1;
        self.traffic.received(self.now, to);
        self.step(to, Input::Received { from, term, message })
    }
}
