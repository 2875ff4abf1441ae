use std::time::Duration;

use lampyrid_wire::{Member, Peer, ProcessId, Term};

use super::{Event, Sim, address};
use crate::{LinkEvent, Protocol};

/// A session that nothing is read from for so long ends.
const IDLE_LIMIT: Duration = Duration::from_millis(6_500);

/// A session as both ends know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    ends: [(usize, u64, Peer); 2],
}

impl Session {
    pub(super) fn joins(&self, place: usize) -> bool {
        self.ends.iter().any(|&(at, _, _)| at == place)
    }

    fn is_between(&self, a: usize, b: usize) -> bool {
        self.joins(a) && self.joins(b)
    }
}

impl Sim {
    pub(super) fn cut_off(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to)) || self.blocked.contains(&(to, from))
    }

    fn session_of(&self, a: usize, b: usize) -> Option<(u64, Session)> {
        let found = self.sessions.iter().find(|(_, session)| session.is_between(a, b));
        found.map(|(&id, &session)| (id, session))
    }

    pub(super) fn transmit(
        &mut self,
        from: usize,
        to: ProcessId,
        term: Option<Term>,
        message: Protocol,
    ) {
        let Some(place) = self.place(to) else { return };
        let Some((session, known)) = self.session_of(from, place) else { return };
        let Some(&(_, _, peer)) = known.ends.iter().find(|&&(at, _, _)| at == from) else {
            return;
        };
        if self.blocked.contains(&(from, place)) {
            return;
        }
        let copies = if !self.chaotic {
            1
        } else if self.random.chance(self.plan.loss) {
            0
        } else {
            1 + usize::from(self.random.chance(50))
        };
        for _ in 0..copies {
            let slow = self.chaotic && self.random.chance(self.plan.stragglers);
            let delay = self.random.between(100, if slow { 400_000 } else { 4_000 });
            let message = Box::new(message.clone());
            self.after(delay, Event::Deliver { to: place, session, from: peer, term, message });
        }
    }

    /// Now and then the dialers come round.
    pub(super) fn dial(&mut self) {
        let count = self.processes.len();
        for a in 0..count {
            for b in a + 1..count {
                if (self.wants(a, b) || self.wants(b, a))
                    && self.can_meet(a, b)
                    && self.session_of(a, b).is_none()
                    && self.random.chance(600)
                {
                    self.open_session(a, b);
                }
            }
        }
        let pause = self.random.between(5_000, 25_000);
        self.after(pause, Event::Dial);
    }

    fn wants(&self, from: usize, to: usize) -> bool {
        let Some(run) = &self.processes[from].run else { return false };
        let kept = run.keep.iter().any(|member| member.address == address(to));
        let sought = run.seek.iter().any(|&seed| self.at_address(seed) == Some(to));
        sought || (kept && self.processes[from].id < self.processes[to].id)
    }

    fn can_meet(&self, a: usize, b: usize) -> bool {
        let frozen =
            |at: usize| self.processes[at].frozen_until.is_some_and(|until| self.now < until);
        let (Some(one), Some(other)) = (&self.processes[a].run, &self.processes[b].run) else {
            return false;
        };
        let same = one.cluster.is_none() || other.cluster.is_none() || one.cluster == other.cluster;
        same && !self.cut_off(a, b) && !frozen(a) && !frozen(b)
    }

    fn open_session(&mut self, a: usize, b: usize) {
        let (Some(one), Some(other)) = (&self.processes[a].run, &self.processes[b].run) else {
            return;
        };
        let session = Session { ends: [(a, one.boot, one.peer), (b, other.boot, other.peer)] };
        self.serial += 1;
        self.sessions.insert(self.serial, session);
        self.tell_ends(&session, LinkEvent::Up);
    }

    fn tell_ends(&mut self, session: &Session, event: impl Fn(Peer) -> LinkEvent) {
        let [(a, boot_a, peer_a), (b, boot_b, peer_b)] = session.ends;
        for (to, boot, peer) in [(a, boot_a, peer_b), (b, boot_b, peer_a)] {
            // Nearly at once, and in order.
            let soon = self.now + self.random.between(50, 800);
            let at = soon.max(self.processes[to].told_links_at);
            self.processes[to].told_links_at = at;
            self.after(at - self.now, Event::Link { to, boot, event: event(peer) });
        }
    }

    pub(super) fn close_session(&mut self, id: u64) {
        if let Some(session) = self.sessions.remove(&id) {
            self.tell_ends(&session, LinkEvent::Down);
        }
    }

    /// All sessions of a process end: it died, or introduces itself anew.
    pub(super) fn end_sessions(&mut self, place: usize) {
        let ids: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.joins(place))
            .map(|(&id, _)| id)
            .collect();
        for id in ids {
            self.close_session(id);
        }
    }

    /// Whoever was kept and is no longer wanted is hung up on.
    pub(super) fn keep(&mut self, place: usize, members: Vec<Member>) {
        let Some(run) = &mut self.processes[place].run else { return };
        let before = std::mem::replace(&mut run.keep, members);
        let (keep, seek) = (run.keep.clone(), run.seek.clone());
        for member in before {
            let wanted = keep.iter().any(|kept| kept.process == member.process)
                || seek.contains(&member.address);
            if let (false, Some(to)) = (wanted, self.place(member.process))
                && let Some((id, _)) = self.session_of(place, to)
            {
                self.close_session(id);
            }
        }
    }

    pub(super) fn block(&mut self, from: usize, to: usize) {
        self.blocked.insert((from, to));
        if let Some((session, _)) = self.session_of(from, to) {
            self.after(IDLE_LIMIT, Event::Idle { session });
        }
    }

    pub(super) fn freeze(&mut self, place: usize, span: Duration) {
        self.say(|| format!("{place} freezes for {span:?}"));
        let until = self.processes[place].frozen_until.unwrap_or_default().max(self.now + span);
        self.processes[place].frozen_until = Some(until);
        let ids: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.joins(place))
            .map(|(&id, _)| id)
            .collect();
        for session in ids {
            self.after(IDLE_LIMIT, Event::Idle { session });
        }
    }

    pub(super) fn session_idle(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let [(a, ..), (b, ..)] = session.ends;
        let frozen =
            |at: usize| self.processes[at].frozen_until.is_some_and(|until| self.now < until);
        if self.cut_off(a, b) || frozen(a) || frozen(b) {
            self.close_session(id);
        }
    }
}
