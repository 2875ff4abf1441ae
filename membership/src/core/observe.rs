use std::collections::BTreeMap;
use std::time::Duration;

use lampyrid_wire::{Incarnation, Member, Peer, ProcessId};

use super::{EdgeEvent, MembershipCore, Output, Subject};
use crate::limits::{ACCUSATION_HOLDS, EDGE_LIMIT, HOLD, LATE, PULSE, RECONNECT_HOLD};
use crate::message::Protocol;
use crate::{EdgeInput, Places, Verdict, View};

/// What this process observes of the others, by its own edges.
#[derive(Debug)]
pub(super) struct Watching {
    /// Rises whenever everything is observed afresh; also over restarts of the actor, because it is
    /// never below the clock.
    pub(super) attempt: u64,
    /// The attempt that reports name: 0 from the installation of a view on, until what was reported
    /// is taken back. After a restart of the actor, which may have forgotten reports, it is later.
    pub(super) reports_as: u64,
    /// When the reports of the view last changed, whoever's.
    pub(super) changed_at: Duration,
    edges: BTreeMap<ProcessId, Edge>,
    /// Members whose session has just ended, and when: a reconnect is in flight.
    lost: BTreeMap<ProcessId, Duration>,
    /// Until then our own lateness explains silence.
    stalled_until: Duration,
    emitted: Option<(u64, Vec<(ProcessId, Incarnation)>)>,
}

#[derive(Debug)]
struct Edge {
    incarnation: Incarnation,
    sight: Sight,
    /// When it answered again after it had been reported.
    recovered: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Not looked at yet; a new member is presumed to be there.
    Presumed,
    /// This process was frozen: nobody counts before it has answered.
    Unconfirmed,
    Healthy,
    Down,
}

impl Watching {
    pub(super) fn new(now: Duration, restarted: bool) -> Self {
        Self {
            attempt: attempt_at(now, 0),
            reports_as: if restarted { attempt_at(now, 0) } else { 0 },
            changed_at: Duration::ZERO,
            edges: BTreeMap::new(),
            lost: BTreeMap::new(),
            stalled_until: Duration::ZERO,
            emitted: None,
        }
    }
}

impl Watching {
    /// A new view: nothing was reported in it.
    pub(super) fn begin_view(&mut self) {
        self.reports_as = 0;
        for edge in self.edges.values_mut() {
            edge.recovered = None;
        }
    }
}

fn attempt_at(now: Duration, above: u64) -> u64 {
    let clock = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1);
    clock.max(above) + 1
}

impl MembershipCore {
    /// Compares the clock with when a step was due at the latest.
    pub(super) fn notice_own_lateness(&mut self, now: Duration) {
        if !self.has_company() {
            return;
        }
        let idle = now.saturating_sub(self.last_step);
        if idle > PULSE + LATE {
            self.watching.stalled_until = now + EDGE_LIMIT;
        }
        if idle > HOLD {
            self.stale = true;
            // Frozen: others may have gone on. Isolated until a quorum has answered.
            self.next_attempt(now);
            for edge in self.watching.edges.values_mut() {
                edge.sight = Sight::Unconfirmed;
            }
        }
    }

    /// Takes back what was reported in this view; observes afresh.
    pub(super) fn next_attempt(&mut self, now: Duration) {
        self.watching.attempt = attempt_at(now, self.watching.attempt);
        self.watching.reports_as = attempt_at(now, self.watching.reports_as);
        if let Some(seat) = self.seat.filter(|_| self.is_member()) {
            self.cut.report(seat, self.watching.reports_as, []);
            self.watching.changed_at = now;
            self.own_news(now);
        }
    }

    /// Observes exactly its subjects of the installed view, while a member oneself.
    pub(super) fn refresh_watch(&mut self, out: &mut Vec<Output>) {
        let view = self.durable.view.clone().filter(|_| self.is_member());
        let members = || {
            let seat = self.seat.unwrap_or(u16::MAX);
            view.iter().flat_map(move |view| {
                let places = view.topology().subjects(seat).iter();
                places.filter_map(|&place| view.members().get(usize::from(place)))
            })
        };
        let attempt = self.watching.attempt;
        let same = match &self.watching.emitted {
            Some((of, keys)) => {
                *of == attempt && members().map(Member::key).eq(keys.iter().copied())
            }
            None => members().next().is_none(),
        };
        if same {
            return;
        }
        let linked = |member: &Member| {
            let peer = self.sessions.get(&member.process);
            peer.is_some_and(|peer| peer.incarnation == member.incarnation)
        };
        let subjects: Vec<Subject> = members()
            .map(|member| Subject { member: member.clone(), linked: linked(member) })
            .collect();
        let wanted = (attempt, members().map(Member::key).collect::<Vec<_>>());
        let edges = &mut self.watching.edges;
        edges.retain(|process, edge| wanted.1.contains(&(*process, edge.incarnation)));
        for &(process, incarnation) in &wanted.1 {
            edges.entry(process).or_insert(Edge {
                incarnation,
                sight: Sight::Presumed,
                recovered: None,
            });
        }
        self.watching.lost.retain(|process, _| edges.contains_key(process));
        self.watching.emitted = Some(wanted);
        out.push(Output::Watch { attempt: self.watching.attempt, subjects });
    }

    /// Tells an edge of a session that came up.
    pub(super) fn edge_up(&mut self, peer: Peer, out: &mut Vec<Output>) {
        if self.is_subject(peer) {
            self.watching.lost.remove(&peer.process);
            out.push(Output::Edge { subject: peer.process, input: EdgeInput::Up });
        }
    }

    pub(super) fn edge_down(&mut self, now: Duration, peer: Peer, out: &mut Vec<Output>) {
        if self.is_subject(peer) {
            self.watching.lost.insert(peer.process, now);
            out.push(Output::Edge { subject: peer.process, input: EdgeInput::Down });
        }
    }

    fn is_subject(&self, peer: Peer) -> bool {
        self.watching
            .edges
            .get(&peer.process)
            .is_some_and(|edge| edge.incarnation == peer.incarnation)
    }

    /// An edge monitor speaks.
    pub(super) fn edge(
        &mut self,
        now: Duration,
        subject: ProcessId,
        attempt: u64,
        event: EdgeEvent,
        out: &mut Vec<Output>,
    ) {
        if attempt != self.watching.attempt {
            // Started before the last fresh start, or kept over it by nobody.
            return;
        }
        let Some(edge) = self.watching.edges.get_mut(&subject) else { return };
        match event {
            EdgeEvent::Probe(sequence) => {
                let attempt = self.watching.reports_as;
                self.send(subject, Protocol::Probe { sequence, attempt }, out);
            }
            EdgeEvent::Verdict(Verdict::Healthy, round_trip) => {
                if edge.sight == Sight::Down {
                    edge.recovered = Some(now);
                }
                edge.sight = Sight::Healthy;
                self.watching.lost.remove(&subject);
                self.round.note_round_trip(round_trip);
            }
            EdgeEvent::Verdict(Verdict::Silent, _) if now < self.watching.stalled_until => {
                // Our own mailbox was not worked off: the answers may lie in it.
                out.push(Output::Edge { subject, input: EdgeInput::Forgive });
            }
            EdgeEvent::Verdict(Verdict::Lost | Verdict::Silent, _) => {
                edge.sight = Sight::Down;
                edge.recovered = None;
                self.watching.lost.remove(&subject);
                self.alert(now, subject);
            }
        }
    }

    /// Reports a member as unreachable; irrevocable within this view and attempt. Who sees most of
    /// its few edges down has lost its own link, and accuses nobody.
    fn alert(&mut self, now: Duration, subject: ProcessId) {
        let Some(seat) = self.seat.filter(|_| self.is_member()) else { return };
        let Some(place) = self.view().and_then(|view| view.place_of(subject)) else { return };
        if !self.is_full_mesh() && !self.sees_most() {
            return;
        }
        if self.cut.report(seat, self.watching.reports_as, [place]) {
            self.watching.changed_at = now;
            self.own_news(now);
        }
    }

    /// True if not more than half of the own edges are down, and, after a freeze, more than half
    /// have answered.
    pub(super) fn sees_most(&self) -> bool {
        let edges = self.watching.edges.values();
        let (mut down, mut unconfirmed, mut healthy) = (0, 0, 0);
        for edge in edges {
            match edge.sight {
                Sight::Down => down += 1,
                Sight::Unconfirmed => unconfirmed += 1,
                Sight::Presumed | Sight::Healthy => healthy += 1,
            }
        }
        let all = down + unconfirmed + healthy;
        down * 2 <= all && (unconfirmed == 0 || healthy * 2 > all)
    }

    /// Those whom this process observes, in the order of their ids.
    pub(super) fn subjects(&self) -> impl Iterator<Item = ProcessId> {
        self.watching.edges.keys().copied()
    }

    /// A report that has led to nothing although its subject has long been answering again is
    /// taken back, under the next attempt: else the noise of a long view would add up to a cut,
    /// and reports of nearly everybody, from a bad moment, would stand in the way of any view.
    pub(super) fn retract_if_due(&mut self, now: Duration) {
        if self.retraction_due().is_some_and(|at| now >= at) {
            for edge in self.watching.edges.values_mut() {
                edge.recovered = None;
            }
            self.next_attempt(now);
        }
    }

    pub(super) fn retraction_due(&self) -> Option<Duration> {
        let recovered = self.watching.edges.values().filter_map(|edge| edge.recovered).min();
        recovered.map(|since| since + ACCUSATION_HOLDS)
    }

    /// In a new view nothing is reported yet; what is unreachable still, is reported at once.
    pub(super) fn report_again(&mut self, now: Duration) {
        let down: Vec<ProcessId> = self
            .watching
            .edges
            .iter()
            .filter(|(_, edge)| edge.sight == Sight::Down)
            .map(|(&process, _)| process)
            .collect();
        for subject in down {
            self.alert(now, subject);
        }
    }

    pub(super) fn is_live(&self, process: ProcessId) -> bool {
        match self.watching.edges.get(&process) {
            Some(edge) => matches!(edge.sight, Sight::Presumed | Sight::Healthy),
            None => self.sessions.contains_key(&process),
        }
    }

    /// Unreachable by this process's own observation.
    pub(super) fn is_down(&self, process: ProcessId) -> bool {
        self.watching.edges.get(&process).is_some_and(|edge| edge.sight == Sight::Down)
    }

    /// True if this process and the live edges of its own are a quorum.
    pub(super) fn live_quorum(&self, view: &View) -> bool {
        let live: Places = (0..)
            .zip(view.members())
            .filter(|(_, member)| member.process == self.me.process || self.is_live(member.process))
            .map(|(place, _)| place)
            .collect();
        view.is_quorum_of_places(&live)
    }

    /// True while own reconnect attempts may yet widen or narrow the cut.
    pub(super) fn reconnects(&self, now: Duration) -> bool {
        self.watching.lost.values().any(|&since| now < since + RECONNECT_HOLD)
    }

    pub(super) fn watching_deadline(&self) -> Option<Duration> {
        let holds = self.watching.lost.values().map(|&since| since + RECONNECT_HOLD);
        holds.filter(|&end| end > self.last_step).min()
    }
}
