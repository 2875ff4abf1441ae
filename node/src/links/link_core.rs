use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_membership::{LinkEvent, RefusalReason};
use lampyrid_wire::{Member, Peer, ProcessId};

use super::config::Bounds;
use super::hello::{Statement, Verdict};
use super::limits::{CLOSE_LIMIT, MAX_SESSIONS, MAX_SOUGHT, READY_LIMIT, STABLE_AFTER};
use super::targets::{DialOutcome, Targets, Wish};
use demand::Demand;

mod demand;
mod vocabulary;

pub(crate) use vocabulary::{Basis, Card, ConnId, Input, Output, Traffic};

#[derive(Debug)]
struct Link {
    conn: ConnId,
    card: Card,
    decision: u64,
    /// Its stream is there.
    delivered: bool,
    /// The substrate has it.
    handed: bool,
    /// The peer is or was a member to keep.
    was_kept: bool,
    /// The peer is or was listed in the installed view.
    was_listed: bool,
    /// This process wished for it.
    wished: bool,
    /// Since when it is neither kept nor sought, unless it is.
    spare_since: Option<Duration>,
    up_since: Option<Duration>,
    /// When it must be up.
    deadline: Duration,
}

/// Which sessions there are, which are to be, and what is dialled for that.
///
/// **One session per pair.** The process with the lower id arbitrates: the last message of every
/// handshake is its verdict. It numbers its decisions; both sides let a higher number displace a
/// lower one and ignore the reverse, so verdicts that overtake each other on two connections leave
/// the same survivor on both sides. With a session standing, a further connection of the same life
/// is a duplicate, unless the peer states that it heard of that session and no longer has it: then
/// ours is half-open and gives way. Another life of the process displaces, an older one never does.
///
/// **On demand.** A member that membership does not keep is dialled, whatever the ids, when something
/// is to be sent to it; see [`Demand`] for how such a session ends.
///
/// **Substrate.** It runs its own election between sessions of one node name; so a session is
/// handed over only when it has let go of the one before, and there is never anything to elect.
#[derive(Debug)]
pub(crate) struct LinkCore {
    me: Peer,
    live: BTreeMap<ProcessId, Link>,
    /// Closed sessions that the substrate has not let go of yet.
    closing: BTreeMap<ConnId, (ProcessId, Duration)>,
    /// The newest life of each process with which there was a session. A start that is none of a
    /// higher incarnation comes from a copied or rolled-back data directory.
    lives: BTreeMap<ProcessId, Peer>,
    /// The highest decision heard from each process that arbitrates.
    seen: BTreeMap<ProcessId, (Peer, u64)>,
    targets: Targets,
    demand: Demand,
    bounds: Bounds,
    last_conn: ConnId,
    last_decision: u64,
}

/// Entries of `seen` without a session are dropped beyond this many.
const MAX_SEEN: usize = 4 * MAX_SESSIONS;

impl LinkCore {
    /// A core without sessions. `generation` rises with every restart of the links in this life of
    /// the process, so that decisions go on rising.
    pub(crate) fn new(me: Peer, seed: u64, generation: u32, bounds: Bounds) -> Self {
        Self {
            me,
            live: BTreeMap::new(),
            closing: BTreeMap::new(),
            lives: BTreeMap::new(),
            seen: BTreeMap::new(),
            targets: Targets::new(seed),
            demand: Demand::new(bounds.on_demand, bounds.idle),
            bounds,
            last_conn: 0,
            last_decision: u64::from(generation) << 32,
        }
    }

    pub(crate) fn me(&self) -> Peer {
        self.me
    }

    /// Lives of processes that were met before this core began; a newer one that it has met stays.
    pub(crate) fn recall(&mut self, met: impl IntoIterator<Item = Peer>) {
        for peer in met {
            let known = self.lives.get(&peer.process).map(|known| known.incarnation);
            if known < Some(peer.incarnation) {
                self.note_life(peer);
            }
        }
    }

    /// Whether a peer would be refused, and what to state to it.
    pub(crate) fn consider(&self, peer: &Peer) -> (Option<RefusalReason>, Statement) {
        let live = self.live.get(&peer.process);
        let refusal =
            if peer.process == self.me.process {
                Some(RefusalReason::OwnId)
            } else if self.lives.get(&peer.process).is_some_and(|known| {
                known.nonce != peer.nonce && peer.incarnation <= known.incarnation
            }) {
                Some(RefusalReason::Twin)
            } else if live.is_none() && self.live.len() >= self.room_for(peer.process) {
                Some(RefusalReason::TooManySessions)
            } else {
                None
            };
        let live = live.filter(|link| link.card.peer == *peer).map(|link| link.decision);
        (refusal, Statement { seen: self.seen_of(peer), live })
    }

    /// Whether we arbitrate between us and the peer.
    pub(crate) fn arbitrates(me: &Peer, peer: &Peer) -> bool {
        me.process < peer.process
    }

    /// When [`Input::Wake`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let links = self.live.values().filter(|link| link.up_since.is_none());
        let closing = self.closing.values().map(|(_, deadline)| *deadline);
        let dials = self.targets.deadline(|wish| wanted(&self.live, &self.me, wish));
        let ends = [self.targets.next_expiry(), self.demand.look_at].into_iter().flatten();
        links.map(|link| link.deadline).chain(closing).chain(dials).chain(ends).min()
    }

    /// How many sessions there may be for one more with that process.
    fn room_for(&self, process: ProcessId) -> usize {
        let known = self.targets.keeps(process) || self.demand.lists(process);
        if known {
            self.bounds.sessions
        } else {
            self.bounds.sessions.saturating_sub(self.bounds.for_members)
        }
    }

    /// One step; `out` is appended to.
    pub(crate) fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Me(me) => self.set_me(now, me, out),
            Input::Keep(members) => self.keep(now, members, out),
            Input::Seek(addresses) => {
                self.targets.seek(addresses.into_iter().take(MAX_SOUGHT));
                self.prune(now, out);
            }
            Input::View(view) => self.view(now, view, out),
            Input::Wish(process) => self.wish(now, process, out),
            Input::Traffic(seen) => self.traffic(now, &seen, out),
            Input::Settle(card, basis) => self.settle(now, card, basis, out),
            Input::Delivered(conn) => match self.link_mut(conn) {
                Some(link) => link.delivered = true,
                None => out.push(Output::Close(conn, "another connection took its place")),
            },
            Input::Ready(conn) => self.ready(now, conn, out),
            Input::Broken(conn, why) => self.close(now, conn, why, out),
            Input::Ended(conn) => {
                self.closing.remove(&conn);
                self.drop_link(now, conn, "the connection ended", false, out);
            }
            Input::DialEnded(address, outcome) => self.dial_ended(now, address, outcome, out),
            Input::Wake => self.expire(now, out),
        }
        self.hand_over(out);
        let Self { live, targets, me, .. } = self;
        let due = targets.due(now, |wish| wanted(live, me, wish));
        out.extend(due.into_iter().map(Output::Dial));
    }

    fn seen_of(&self, peer: &Peer) -> u64 {
        self.seen.get(&peer.process).filter(|(life, _)| life == peer).map_or(0, |(_, seen)| *seen)
    }

    fn link_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.live.values_mut().find(|link| link.conn == conn)
    }

    fn set_me(&mut self, now: Duration, me: Peer, out: &mut Vec<Output>) {
        if self.me != me {
            let all: Vec<ConnId> = self.live.values().map(|link| link.conn).collect();
            all.into_iter().for_each(|conn| self.close(now, conn, "a new incarnation", out));
            self.me = me;
        }
    }

    fn keep(&mut self, now: Duration, mut members: Vec<Member>, out: &mut Vec<Output>) {
        members.retain(|member| member.process != self.me.process);
        // However many wait to be admitted, they crowd out no member.
        members.sort_by_cached_key(|it| (!self.demand.lists(it.process), it.process));
        members.truncate(MAX_SESSIONS);
        self.targets.keep(members.iter().map(|m| (m.process, m.address, m.incarnation)));
        self.prune(now, out);
        for member in members {
            if let Some(link) = self.live.get(&member.process)
                && link.card.peer.incarnation < member.incarnation
            {
                self.close(now, link.conn, "the member is at a higher incarnation", out);
            }
        }
    }

    /// Sessions with processes that were members and are neither kept nor sought any more, nor
    /// listed, end. Those with others stay: joiners dial us before we know of them. What becomes of
    /// those with members, and of strangers that are of no use, is for [`LinkCore::traffic`].
    fn prune(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Self { live, targets, demand, .. } = self;
        let mut over = Vec::new();
        for link in live.values_mut() {
            let listed = demand.lists(link.process());
            link.note(now, targets, listed);
            let was_member = link.was_kept || link.was_listed;
            if link.spare_since.is_some() && was_member && !listed {
                over.push(link.conn);
            }
        }
        for conn in over {
            self.close(now, conn, "the process is no longer a member", out);
        }
        self.look_later(now);
    }

    fn settle(&mut self, now: Duration, card: Card, basis: Basis, out: &mut Vec<Output>) {
        let verdict = self.rule(&card, basis);
        let Verdict::Go(decision) = verdict else {
            out.push(Output::Ruling(verdict, None));
            return;
        };
        let process = card.peer.process;
        if let Some(old) = self.live.get(&process) {
            self.close(now, old.conn, "another connection took its place", out);
        }
        if let Basis::Theirs(_) = basis {
            self.note_seen(card.peer, decision);
        }
        self.note_life(card.peer);
        self.last_conn += 1;
        let conn = self.last_conn;
        let mut link = Link {
            conn,
            card,
            decision,
            delivered: false,
            handed: false,
            was_kept: false,
            was_listed: false,
            wished: self.targets.wishes(process),
            spare_since: None,
            up_since: None,
            deadline: now + READY_LIMIT,
        };
        link.note(now, &self.targets, self.demand.lists(process));
        let displaced = self.live.insert(process, link);
        assert!(displaced.is_none(), "one session per process");
        out.push(Output::Ruling(verdict, Some(conn)));
    }

    fn note_life(&mut self, peer: Peer) {
        if self.lives.len() >= MAX_SEEN {
            let live = &self.live;
            self.lives.retain(|process, _| live.contains_key(process));
        }
        self.lives.insert(peer.process, peer);
    }

    fn rule(&mut self, card: &Card, basis: Basis) -> Verdict {
        let (refusal, _) = self.consider(&card.peer);
        if let Some(reason) = refusal {
            return Verdict::Refused(reason);
        }
        if card.as_me != self.me {
            return Verdict::Duplicate;
        }
        let stands = self.live.get(&card.peer.process).is_some_and(|old| {
            let life = old.card.peer;
            if life == card.peer {
                match basis {
                    Basis::Ours(it) => it.seen < old.decision || it.live == Some(old.decision),
                    Basis::Theirs(decision) => decision <= old.decision,
                }
            } else {
                card.peer.incarnation < life.incarnation
            }
        });
        match basis {
            _ if stands => Verdict::Duplicate,
            Basis::Theirs(decision) if decision <= self.seen_of(&card.peer) => Verdict::Duplicate,
            Basis::Theirs(decision) => Verdict::Go(decision),
            Basis::Ours(_) => {
                self.last_decision += 1;
                Verdict::Go(self.last_decision)
            }
        }
    }

    fn note_seen(&mut self, peer: Peer, decision: u64) {
        self.seen.insert(peer.process, (peer, decision));
        if self.seen.len() > MAX_SEEN {
            let Self { seen, live, .. } = self;
            let spare = seen.keys().find(|process| !live.contains_key(process)).copied();
            spare.map(|process| seen.remove(&process));
        }
    }

    fn ready(&mut self, now: Duration, conn: ConnId, out: &mut Vec<Output>) {
        if let Some(link) = self.link_mut(conn)
            && link.handed
            && link.up_since.is_none()
        {
            link.up_since = Some(now);
            let peer = link.card.peer;
            out.push(Output::Up(conn, peer));
            self.targets.unwish(peer.process);
            self.look_later(now);
        }
    }

    fn dial_ended(
        &mut self,
        now: Duration,
        address: SocketAddr,
        outcome: DialOutcome,
        out: &mut Vec<Output>,
    ) {
        self.targets.dial_ended(now, address, &outcome);
        let reason = match outcome {
            DialOutcome::Refused(reason) => reason,
            DialOutcome::Full(_) => RefusalReason::TooManySessions,
            DialOutcome::Ourselves => RefusalReason::OwnId,
            DialOutcome::Settled(_) | DialOutcome::Failed => return,
        };
        out.push(Output::Event(LinkEvent::Refused { address, reason }));
    }

    fn expire(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.closing.retain(|_, (_, deadline)| *deadline > now);
        let late: Vec<ConnId> = self
            .live
            .values()
            .filter(|link| link.up_since.is_none() && link.deadline <= now)
            .map(|link| link.conn)
            .collect();
        for conn in late {
            self.close(now, conn, "it did not get ready in time", out);
        }
        self.targets.expire(now);
        self.look_if_due(now, out);
    }

    fn close(&mut self, now: Duration, conn: ConnId, why: &'static str, out: &mut Vec<Output>) {
        self.drop_link(now, conn, why, true, out);
    }

    fn drop_link(
        &mut self,
        now: Duration,
        conn: ConnId,
        why: &'static str,
        still_held: bool,
        out: &mut Vec<Output>,
    ) {
        let Some(process) = self.live.values().find(|l| l.conn == conn).map(|l| l.process()) else {
            return;
        };
        let Some(link) = self.live.remove(&process) else { return };
        out.push(Output::Close(conn, why));
        if link.handed && still_held {
            self.closing.insert(conn, (process, now + CLOSE_LIMIT));
        }
        let stable = link.up_since.is_some_and(|since| now >= since + STABLE_AFTER);
        self.targets.session_ended(stable, process, &link.addresses());
        if link.up_since.is_some() {
            out.push(Output::Down(conn, link.card.peer));
        }
    }

    fn hand_over(&mut self, out: &mut Vec<Output>) {
        let Self { live, closing, .. } = self;
        for link in live.values_mut().filter(|link| link.delivered && !link.handed) {
            if !closing.values().any(|(process, _)| *process == link.process()) {
                link.handed = true;
                out.push(Output::HandOver(link.conn));
            }
        }
    }
}

impl Link {
    fn process(&self) -> ProcessId {
        self.card.peer.process
    }

    /// Takes note of whether membership wants it and the view lists its peer.
    fn note(&mut self, now: Duration, targets: &Targets, listed: bool) {
        let kept = targets.keeps(self.process());
        self.was_kept |= kept;
        self.was_listed |= listed;
        let wanted = kept || self.addresses().iter().any(|&it| targets.follows(it));
        self.spare_since = if wanted { None } else { self.spare_since.or(Some(now)) };
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.card.dialled.into_iter().chain([self.card.advertised]).collect()
    }
}

/// A member to keep is dialled by the lower id; one on demand, and what is sought, by who wants it.
fn wanted(live: &BTreeMap<ProcessId, Link>, me: &Peer, wish: Wish) -> bool {
    match wish {
        Wish::Member(process, at_least) => {
            me.process < process
                && live.get(&process).is_none_or(|link| link.card.peer.incarnation < at_least)
        }
        Wish::OnDemand(process, at_least) => {
            live.get(&process).is_none_or(|link| link.card.peer.incarnation < at_least)
        }
        Wish::Hinted => live.is_empty(),
        Wish::Sought(address, reached) => !live
            .values()
            .any(|link| reached == Some(link.process()) || link.addresses().contains(&address)),
    }
}

#[cfg(test)]
mod tests;
