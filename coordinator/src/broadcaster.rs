#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lampyrid_membership::View;
use lampyrid_registry::{
    Backoff, Fence, Held, Letter, RegistryWire, Standing, TopologyUpdate, Version,
};
use lampyrid_wire::{Incarnation, ProcessId, Term};

use crate::receiver::{Receiver, Verdict};
use crate::{BucketClock, Publication, Report};

/// Up to this many members everybody has a session with everybody.
pub const FULL_MESH_LIMIT: usize = 11;

/// Over how many rings an update travels in larger clusters.
const RINGS: usize = 3;
/// The first pause before an update is sent again; it doubles up to [`RESEND_MAX`].
const RESEND_FIRST: Duration = Duration::from_millis(200);
/// The longest pause between two sendings to one member.
const RESEND_MAX: Duration = Duration::from_secs(1);
/// How long an update may travel along the rings before the coordinator sends it directly.
const RING_PATIENCE: Duration = Duration::from_millis(500);

/// The broadcaster's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcasterConfig {
    /// The size of a view above which updates travel along the rings.
    pub full_mesh_limit: usize,
}

impl Default for BroadcasterConfig {
    fn default() -> Self {
        Self { full_mesh_limit: FULL_MESH_LIMIT }
    }
}

/// What happens to the broadcaster of one process.
#[derive(Debug, Clone)]
pub enum BroadcasterInput {
    /// The view or the status changed.
    View(Standing),
    /// This process's coordinator has a new state for everybody.
    Publish(Publication),
    /// A session with a process came up: what was sent to it before may not have left.
    Reachable(ProcessId),
    /// A message from a process (itself included).
    Letter(Letter),
    /// The time that [`BroadcasterCore::deadline`] named has come.
    Wake,
}

/// What the shell is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BroadcasterOutput {
    /// Send to a process.
    Send(ProcessId, Term, RegistryWire),
    /// Give the letter, which holds an update, to this process's registry.
    Store(Letter),
    /// Tell this process's coordinator that a quorum has stored this version.
    Acknowledged(Version),
    /// Count and log.
    Report(Report),
    /// A process is in a newer view.
    NewerView(ProcessId, Term),
    /// A message was refused as stale.
    Refused,
    /// A message from a newer view is kept; true if another gave way to it.
    Kept(bool),
}

#[derive(Debug, Clone)]
struct Progress {
    incarnation: Incarnation,
    /// The newest version of this reign that it has stored.
    stored: Option<Version>,
    /// It said that a delta does not fit.
    needs_full: bool,
    resend: Backoff,
}

impl Progress {
    /// What a delta for it may start from.
    fn base(&self) -> Option<Version> {
        self.stored.filter(|_| !self.needs_full)
    }
}

/// Brings the coordinator's state to every member and counts who has stored it; at the members,
/// judges what comes in and passes it on. It sends only while somebody has not stored the newest
/// state.
#[derive(Debug, Clone)]
pub struct BroadcasterCore {
    config: BroadcasterConfig,
    standing: Standing,
    current: Option<Publication>,
    /// The first broadcast of this reign: what was stored before it is no base for a delta, since
    /// it may hold lines that the gathering did not bring.
    first: Option<Version>,
    peers: BTreeMap<ProcessId, Progress>,
    acknowledged: Option<Version>,
    receiver: Receiver,
    held: Held,
}

impl BroadcasterCore {
    /// A core that knows of no broadcast. If this process coordinates, its coordinator is to
    /// publish again.
    #[must_use]
    pub fn new(config: BroadcasterConfig, standing: Standing) -> Self {
        Self {
            config,
            standing,
            current: None,
            first: None,
            peers: BTreeMap::new(),
            acknowledged: None,
            receiver: Receiver::default(),
            held: Held::default(),
        }
    }

    /// When it wants [`BroadcasterInput::Wake`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let (_, current) = self.work()?;
        let behind = self.peers.values().filter(|peer| peer.stored < Some(current.version));
        behind.map(|peer| peer.resend.due()).min()
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The wall clocks of the peers heard from.
    #[must_use]
    pub fn clock(&self) -> &BucketClock {
        self.receiver.clock()
    }

    /// Takes one input; appends what is to be done. `wall`: milliseconds since the Unix epoch, for
    /// reports only; `permitted`: membership gives leave to act.
    pub fn step(
        &mut self,
        now: Duration,
        wall: i64,
        permitted: bool,
        input: BroadcasterInput,
        out: &mut Vec<BroadcasterOutput>,
    ) {
        match input {
            BroadcasterInput::View(standing) => self.view(now, wall, standing, out),
            BroadcasterInput::Publish(publication) => self.publish(now, publication),
            BroadcasterInput::Reachable(process) => {
                if let Some(peer) = self.peers.get_mut(&process) {
                    peer.resend.hurry(now);
                }
            }
            BroadcasterInput::Letter(letter) => self.letter(now, wall, letter, out),
            BroadcasterInput::Wake => {}
        }
        self.send(now, wall, permitted, out);
    }

    /// The view and the state that this process has to bring to its members, if any.
    fn work(&self) -> Option<(&Arc<View>, &Publication)> {
        let view = self.standing.coordinates().filter(|_| self.standing.is_active())?;
        let current = self.current.as_ref().filter(|current| current.term == view.term())?;
        Some((view, current))
    }

    fn view(
        &mut self,
        now: Duration,
        wall: i64,
        standing: Standing,
        out: &mut Vec<BroadcasterOutput>,
    ) {
        if standing.precedes(&self.standing) {
            return;
        }
        let new_term = standing.term() != self.standing.term();
        self.standing = standing;
        if self.standing.coordinates().is_none() {
            self.current = None;
            self.peers.clear();
        }
        if let Some(view) = self.standing.view.clone() {
            self.receiver.retain(&view);
        }
        self.follow(now);
        if new_term {
            self.acknowledged = None;
            self.schedule(now);
        }
        for letter in self.held.release() {
            self.letter(now, wall, letter, out);
        }
    }

    fn publish(&mut self, now: Duration, publication: Publication) {
        if publication.fresh {
            self.peers.clear();
            self.acknowledged = None;
            self.first = Some(publication.version);
        }
        self.current = Some(publication);
        self.follow(now);
        self.schedule(now);
    }

    /// Everybody is sent to afresh; along the rings most need no copy of ours.
    fn schedule(&mut self, now: Duration) {
        let Some((view, _)) = self.work() else { return };
        let me = self.standing.me.0;
        let successors = (view.size() > self.config.full_mesh_limit).then(|| successors(view, me));
        for (process, peer) in &mut self.peers {
            let direct = successors.as_ref().is_none_or(|n| *process == me || n.contains(process));
            let due = if direct { now } else { now + RING_PATIENCE };
            peer.resend = Backoff::now(due, RESEND_FIRST, RESEND_MAX);
        }
    }

    /// Makes the peers those of the installed view.
    fn follow(&mut self, now: Duration) {
        let Some(view) = self.standing.coordinates() else { return };
        self.peers.retain(|&process, peer| view.lists(process, peer.incarnation));
        for member in view.members() {
            self.peers.entry(member.process).or_insert_with(|| Progress {
                incarnation: member.incarnation,
                stored: None,
                needs_full: false,
                resend: Backoff::now(now, RESEND_FIRST, RESEND_MAX),
            });
        }
    }

    fn letter(
        &mut self,
        now: Duration,
        wall: i64,
        letter: Letter,
        out: &mut Vec<BroadcasterOutput>,
    ) {
        let from = letter.from.process;
        match self.standing.fence((from, letter.from.incarnation), letter.term) {
            Fence::Current => {}
            Fence::Newer => {
                out.push(BroadcasterOutput::NewerView(from, letter.term));
                return out.push(BroadcasterOutput::Kept(self.held.keep(letter)));
            }
            Fence::Stale => {
                out.push(BroadcasterOutput::Refused);
                if let Some(term) = self.standing.term() {
                    out.push(BroadcasterOutput::Send(from, term, RegistryWire::Stale));
                }
                return;
            }
            Fence::Foreign => return,
        }
        match &letter.message {
            RegistryWire::Update(_) => self.receive(wall, letter, out),
            RegistryWire::Stored { version } => self.stored(from, *version, out),
            RegistryWire::NeedFull { version } => {
                let newest = self.current.as_ref().map(|current| current.version);
                if let Some(peer) = self.peers.get_mut(&from)
                    && newest == Some(*version)
                    && !peer.needs_full
                {
                    peer.needs_full = true;
                    peer.resend = Backoff::now(now, RESEND_FIRST, RESEND_MAX);
                }
            }
            _ => {}
        }
    }

    fn receive(&mut self, wall: i64, letter: Letter, out: &mut Vec<BroadcasterOutput>) {
        let RegistryWire::Update(update) = &letter.message else { return };
        let Some(view) = self.standing.member_of() else { return };
        if update.coordinator != view.coordinator() || update.term != letter.term {
            return;
        }
        let (from, me) = (letter.from.process, self.standing.me.0);
        let mut reports = Vec::new();
        let verdict = self.receiver.judge(view, from, update, wall, &mut reports);
        out.extend(reports.into_iter().map(BroadcasterOutput::Report));
        if verdict == Verdict::First
            && view.size() > self.config.full_mesh_limit
            && update.coordinator != me
        {
            let skip = [update.coordinator, from, me];
            for next in successors(view, me).into_iter().filter(|next| !skip.contains(next)) {
                let copy = RegistryWire::Update(TopologyUpdate { sent_at: wall, ..update.clone() });
                out.push(BroadcasterOutput::Send(next, letter.term, copy));
            }
        }
        if verdict != Verdict::Refused {
            out.push(BroadcasterOutput::Store(letter));
        }
    }

    fn stored(&mut self, from: ProcessId, version: Version, out: &mut Vec<BroadcasterOutput>) {
        let Some((view, current)) = self.work() else { return };
        let view = Arc::clone(view);
        if version > current.version || Some(version) < self.first {
            return;
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.stored < Some(version) {
            peer.stored = Some(version);
            peer.needs_full = false;
        }
        let storing = |version: Version| {
            self.peers.iter().filter(move |(_, p)| p.stored >= Some(version)).map(|(id, _)| id)
        };
        let versions: BTreeSet<Version> = self.peers.values().filter_map(|p| p.stored).collect();
        let by_quorum = versions.into_iter().rev().find(|&v| view.is_quorum(storing(v)));
        if let Some(version) = by_quorum.filter(|_| by_quorum > self.acknowledged) {
            self.acknowledged = Some(version);
            out.push(BroadcasterOutput::Acknowledged(version));
        }
    }

    fn send(
        &mut self,
        now: Duration,
        wall: i64,
        permitted: bool,
        out: &mut Vec<BroadcasterOutput>,
    ) {
        let Some((view, current)) = self.work() else { return };
        let (term, ringed) = (current.term, view.size() > self.config.full_mesh_limit);
        let current = current.clone();
        // What goes on along the rings must fit everybody.
        let common = self.peers.values().map(Progress::base).min().flatten();
        let mut made: BTreeMap<Option<Version>, Vec<TopologyUpdate>> = BTreeMap::new();
        for (&process, peer) in &mut self.peers {
            let behind = peer.stored < Some(current.version);
            // Without leave to act nothing is sent, but the timer goes on: leave may return
            // without an event.
            if !(behind && peer.resend.take(now) && permitted) {
                continue;
            }
            let base = if ringed { common } else { peer.base() };
            let parts = made
                .entry(base)
                .or_insert_with(|| update(&current, self.standing.me.0, base, wall).split());
            for part in parts.iter().cloned() {
                out.push(BroadcasterOutput::Send(process, term, RegistryWire::Update(part)));
            }
        }
    }
}

fn update(
    publication: &Publication,
    coordinator: ProcessId,
    base: Option<Version>,
    wall: i64,
) -> TopologyUpdate {
    let changed = publication.table.iter().filter(|(_, line)| Some(line.changed) > base);
    TopologyUpdate {
        term: publication.term,
        sequence: publication.version.sequence,
        coordinator,
        base,
        part: 0,
        parts: 1,
        entries: changed.map(|(&process, line)| (process, Arc::clone(&line.entry))).collect(),
        sent_at: wall,
    }
}

/// Whom a process passes an update on to: those whose first observers it is among, so that each
/// member gets it from [`RINGS`] others, over links that membership keeps anyway.
fn successors(view: &View, process: ProcessId) -> BTreeSet<ProcessId> {
    let topology = view.topology();
    let Some(me) = view.place_of(process) else { return BTreeSet::new() };
    topology
        .subjects(me)
        .iter()
        .filter(|&&subject| topology.observers(subject).iter().take(RINGS).any(|&it| it == me))
        .filter_map(|&subject| view.members().get(usize::from(subject)))
        .map(|member| member.process)
        .collect()
}
