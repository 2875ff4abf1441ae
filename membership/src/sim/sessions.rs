use std::time::Duration;

use lampyrid_wire::Peer;

use super::{Event, Sim};
use crate::LinkEvent;

/// A session that nothing is read from for so long ends.
const IDLE_LIMIT: Duration = Duration::from_millis(6_500);

/// Two places, the lower first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair(usize, usize);

impl Pair {
    pub(super) fn of(a: usize, b: usize) -> Self {
        Self(a.min(b), a.max(b))
    }
}

/// What one end knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) place: usize,
    pub(super) boot: u64,
    pub(super) peer: Peer,
    /// When it read something last.
    pub(super) heard: Duration,
    /// Nothing sent later arrives here before.
    pub(super) next_arrival: Duration,
}

/// A session as both ends know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    pub(super) id: u64,
    ends: [End; 2],
    /// Whether somebody looks at it again to see if it has gone idle.
    doubted: bool,
}

impl Session {
    /// The end at a place, and the other.
    pub(super) fn ends_from(&mut self, from: usize) -> (&mut End, &mut End) {
        let [a, b] = &mut self.ends;
        if a.place == from { (a, b) } else { (b, a) }
    }
}

impl Sim {
    pub(super) fn open_session(&mut self, a: usize, b: usize) {
        let end = |place: usize| {
            let run = self.processes[place].run.as_ref()?;
            let (heard, next_arrival) = (self.now, self.now);
            Some(End { place, boot: run.boot, peer: run.peer, heard, next_arrival })
        };
        let (Some(one), Some(other)) = (end(a), end(b)) else { return };
        self.session_serial += 1;
        let session = Session { id: self.session_serial, ends: [one, other], doubted: false };
        let session = self.tell_ends(session, LinkEvent::Up);
        self.sessions.insert(Pair::of(a, b), session);
        self.processes[a].neighbours.insert(b);
        self.processes[b].neighbours.insert(a);
    }

    /// Nearly at once, and in order; nothing arrives before its receiver was told.
    fn tell_ends(&mut self, mut session: Session, event: fn(Peer) -> LinkEvent) -> Session {
        let peers = [session.ends[1].peer, session.ends[0].peer];
        for (end, peer) in session.ends.iter_mut().zip(peers) {
            let soon = self.now + self.random.between(50, 800);
            let at = soon.max(self.processes[end.place].told_links_at);
            self.processes[end.place].told_links_at = at;
            end.next_arrival = at;
            let event = Event::Link { to: end.place, boot: end.boot, event: event(peer) };
            self.after(at - self.now, event);
        }
        session
    }

    pub(super) fn close_session(&mut self, pair: Pair) {
        let Some(session) = self.sessions.remove(&pair) else { return };
        let Pair(a, b) = pair;
        self.processes[a].neighbours.remove(&b);
        self.processes[b].neighbours.remove(&a);
        self.tell_ends(session, LinkEvent::Down);
        for (of, to) in [(a, b), (b, a)] {
            self.dial_soon(of, to);
        }
    }

    /// All sessions of a process end: it died, or introduces itself anew.
    pub(super) fn end_sessions(&mut self, place: usize) {
        let neighbours: Vec<usize> = self.processes[place].neighbours.iter().copied().collect();
        for other in neighbours {
            self.close_session(Pair::of(place, other));
        }
    }

    /// True if the session is one of both processes as they run now.
    pub(super) fn is_current(&self, pair: Pair) -> bool {
        self.sessions
            .get(&pair)
            .is_some_and(|session| session.ends.iter().all(|end| self.is_boot(end.place, end.boot)))
    }

    /// Something does not get through: the session ends unless something else does.
    pub(super) fn doubt(&mut self, pair: Pair) {
        if let Some(session) = self.sessions.get_mut(&pair)
            && !session.doubted
        {
            session.doubted = true;
            let session = session.id;
            self.after(IDLE_LIMIT, Event::Idle { pair, session });
        }
    }

    /// Looks at the sessions of a process, or of all, after something was done to it or the network.
    pub(super) fn doubt_sessions(&mut self, of: Option<usize>) {
        let places = of.map_or(0..self.processes.len(), |place| place..place + 1);
        let mut pairs = Vec::new();
        for place in places {
            let others = self.processes[place].neighbours.iter();
            pairs.extend(others.map(|&other| Pair::of(place, other)));
        }
        for pair in pairs {
            if self.sessions.get(&pair).is_some_and(|session| self.is_troubled(session)) {
                self.doubt(pair);
            }
        }
    }

    pub(super) fn session_idle(&mut self, pair: Pair, id: u64) {
        let Some(session) = self.sessions.get(&pair).filter(|known| known.id == id) else { return };
        let session = *session;
        let hears = |end: &End, other: &End| {
            // Where nothing is wrong the links' own signs of life pass, which are not simulated.
            end.heard + IDLE_LIMIT > self.now || !self.is_mute(other, end)
        };
        let [a, b] = &session.ends;
        if !hears(a, b) || !hears(b, a) {
            self.close_session(pair);
            return;
        }
        let again = self.is_troubled(&session);
        if let Some(session) = self.sessions.get_mut(&pair) {
            session.doubted = false;
        }
        if again {
            self.doubt(pair);
        }
    }

    fn is_mute(&self, from: &End, to: &End) -> bool {
        let runs = self.is_boot(from.place, from.boot) && !self.is_frozen(from.place);
        !runs || self.network.is_troubled(self.now, from.place, to.place)
    }

    fn is_troubled(&self, session: &Session) -> bool {
        let [a, b] = &session.ends;
        self.is_mute(a, b) || self.is_mute(b, a)
    }
}
