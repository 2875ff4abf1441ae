//! Everything membership decides, as one deterministic state machine. It composes the cores of
//! agreement and cut detection; the edges run beside it and report to it.

mod catch_up;
mod flap;
mod gossip;
mod install;
mod io;
mod join;
mod leave;
mod observe;
mod propose;
mod receive;
mod repeat;
mod sessions;
mod status;
#[cfg(test)]
mod tests;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Member, Peer, ProcessId};

use self::catch_up::CatchUp;
use self::flap::Flapping;
use self::gossip::Gossip;
pub use self::io::{EdgeEvent, Input, Output, Start, StopReason, Subject};
use self::join::{Seeking, Waiting};
use self::leave::Leaving;
use self::observe::Watching;
use self::propose::Round;
use self::repeat::Repeat;
use crate::agreement::{Agreement, Change};
use crate::cut::Cut;
use crate::flaw::{Flaw, Flaws};
use crate::limits::PULSE;
use crate::message::Protocol;
use crate::{AcceptorState, Stamp, Status, View, ViewState};

/// One process's part in membership.
#[derive(Debug)]
pub struct MembershipCore {
    me: Member,
    start: Start,
    flaws: Flaws,
    durable: AcceptorState,
    sessions: BTreeMap<ProcessId, Peer>,
    watching: Watching,
    cut: Cut,
    /// This process's place in the installed view, at whatever incarnation.
    seat: Option<u16>,
    /// On the successor of the installed view.
    agreement: Option<Agreement>,
    gossip: Gossip,
    round: Round,
    catch_up: CatchUp,
    flapping: Flapping,
    /// What made the installed view out of its predecessor, if that was installed here.
    last_change: Option<(Stamp, Change)>,
    before: Option<Arc<View>>,
    /// Since when a change of the view is known.
    undecided_since: Option<Duration>,
    waiting: BTreeMap<ProcessId, Waiting>,
    barred: BTreeSet<ProcessId>,
    seeking: Seeking,
    leaving: Option<Leaving>,
    /// Who has to be told of the installed view; those it removed until a moment.
    owed: BTreeMap<ProcessId, Option<Duration>>,
    telling: Repeat,
    /// Members of the view before and those who waited then, unless the installed one lists them.
    outside: Vec<Member>,
    /// Who has shown to have installed the view that is installed here.
    installed_by: BTreeSet<ProcessId>,
    published: Option<ViewState>,
    /// The view that subscribers were told last.
    told: Option<Arc<View>>,
    kept: Option<Vec<Member>>,
    sought: Option<Vec<SocketAddr>>,
    last_step: Duration,
    /// More has happened than what passes on an edge at rest.
    stale: bool,
    /// When the next full step is due, pulse aside.
    due: Option<Duration>,
    ended: bool,
}

impl MembershipCore {
    /// Starts, or goes on after the restart of the actor around it. `state` is what the store
    /// holds, its incarnation raised already if the process was started. `told` is the view that
    /// subscribers know from before such a restart.
    #[must_use]
    pub fn new(
        now: Duration,
        start: Start,
        state: AcceptorState,
        told: Option<Arc<View>>,
        out: &mut Vec<Output>,
    ) -> Self {
        Self::with_flaws(now, start, state, told, Flaws::default(), out)
    }

    /// A core that leaves out a rule.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn flawed(
        now: Duration,
        start: Start,
        state: AcceptorState,
        flaw: Option<crate::Flaw>,
        out: &mut Vec<Output>,
    ) -> Self {
        let flaws = Flaws { flaw, ..Flaws::default() };
        Self::with_flaws(now, start, state, None, flaws, out)
    }

    fn with_flaws(
        now: Duration,
        start: Start,
        state: AcceptorState,
        told: Option<Arc<View>>,
        flaws: Flaws,
        out: &mut Vec<Output>,
    ) -> Self {
        let me = Member { incarnation: state.incarnation, ..start.me.clone() };
        let mut core = Self {
            me,
            flaws,
            durable: state,
            sessions: start.sessions.iter().map(|peer| (peer.process, *peer)).collect(),
            watching: Watching::new(now, told.is_some()),
            cut: Cut::default(),
            seat: None,
            agreement: None,
            gossip: Gossip::default(),
            round: Round::default(),
            catch_up: CatchUp::default(),
            flapping: Flapping::default(),
            last_change: None,
            before: None,
            undecided_since: None,
            waiting: BTreeMap::new(),
            barred: BTreeSet::new(),
            seeking: Seeking::default(),
            leaving: None,
            owed: BTreeMap::new(),
            telling: Repeat::default(),
            outside: Vec::new(),
            installed_by: BTreeSet::new(),
            published: None,
            told,
            kept: None,
            sought: None,
            last_step: now,
            stale: true,
            due: None,
            ended: false,
            start,
        };
        core.begin(now, out);
        core
    }

    /// Takes one step. Outputs are appended in the order in which they must be carried out.
    pub fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        if self.ended {
            return;
        }
        self.stale = !is_routine(&input, self.stamp());
        self.notice_own_lateness(now);
        match input {
            Input::Received { from, stamp, message } => {
                self.receive(now, from, stamp, *message, out);
            }
            Input::Link(event) => self.link(now, event, out),
            Input::Edge { subject, attempt, event } => {
                self.edge(now, subject, attempt, event, out);
            }
            Input::Wake => {}
            Input::Leave => self.leave(now),
            Input::StalePeer(process) => self.bring_up(now, process, None, out),
            Input::NewerPeer(process) => self.query(now, process, out),
            Input::Barred(processes) => self.bar(processes),
            Input::Synced(took) => self.round.note_sync(took),
        }
        if self.stale || self.due.is_some_and(|due| now >= due) {
            self.settle(now, out);
        } else if !self.ended {
            self.last_step = now;
            self.hold(now, self.status(), out);
        }
    }

    /// When it wants [`Input::Wake`]; `None`: no timer at all.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if self.ended {
            return None;
        }
        let pulse = self.has_company().then(|| self.last_step + PULSE);
        [pulse, self.due].into_iter().flatten().min()
    }

    fn due(&self) -> Option<Duration> {
        [
            self.watching_deadline(),
            self.retraction_due(),
            self.proposing_deadline(),
            self.gossip.next(),
            self.telling_deadline(),
            self.join_deadline(),
            self.undecided_until().filter(|&until| until > self.last_step),
            self.leaving.as_ref().map(|leaving| leaving.lingers.unwrap_or(leaving.until)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// This process as it is or wants to be listed.
    #[must_use]
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// This process as its links introduce it.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer { process: self.me.process, incarnation: self.me.incarnation, nonce: self.start.nonce }
    }

    /// What must survive a crash.
    #[must_use]
    pub fn durable(&self) -> &AcceptorState {
        &self.durable
    }

    /// The state as it would be published now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.published.as_ref().map_or(Status::Joining, |state| state.status)
    }

    fn begin(&mut self, now: Duration, out: &mut Vec<Output>) {
        if let Some(cluster) = self.durable.cluster {
            out.push(Output::SetCluster(cluster));
        }
        match (self.durable.view.clone(), self.start.found) {
            (Some(view), _) => {
                if let Some(listed) = view.member(self.me.process)
                    && listed.incarnation > self.me.incarnation
                {
                    return self.stop_rolled_back(listed.incarnation, out);
                }
                self.begin_agreement(&view, Some(()));
                self.tell_everybody_of(now, None, &view);
                self.telling.restart(now);
            }
            // Who was told to join another cluster has an id without a view, and founds none.
            (None, Some(cluster)) if self.durable.cluster.is_none() => {
                let name = self.start.cluster_name.clone();
                let first = View::first(cluster, name, self.me.clone());
                self.install(now, Arc::new(first), out);
            }
            (None, _) => {}
        }
        self.settle(now, out);
    }

    /// Whatever time or the input just handled has made due.
    fn settle(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.ended {
            return;
        }
        self.last_step = now;
        self.refresh_waiting(now);
        self.retract_if_due(now);
        self.refresh_watch(out);
        self.note_undecided(now);
        self.refresh_status(now, out);
        self.consider_proposal(now, out);
        if self.ended {
            return;
        }
        // A decision reached just now changes all of these.
        self.refresh_watch(out);
        self.refresh_links(out);
        self.gossip_if_due(now, out);
        self.tell_if_due(now, out);
        self.ask_if_due(now, out);
        self.refresh_status(now, out);
        self.go_if_left(now, out);
        self.due = self.due();
    }

    fn stop_rolled_back(&mut self, known: lampyrid_wire::Incarnation, out: &mut Vec<Output>) {
        let own = self.me.incarnation;
        self.stop(StopReason::DataDirectoryRolledBack { known, own }, out);
    }

    fn stop(&mut self, reason: StopReason, out: &mut Vec<Output>) {
        self.ended = true;
        out.push(Output::Stop(reason));
    }

    /// The newest installed view.
    fn view(&self) -> Option<&Arc<View>> {
        self.durable.view.as_ref()
    }

    fn stamp(&self) -> Option<Stamp> {
        self.view().map(|view| view.stamp())
    }

    /// True if everybody has links with everybody, or there is no view yet.
    fn is_full_mesh(&self) -> bool {
        self.view().is_none_or(|view| view.topology().is_full())
    }

    /// True if this very life of the process is a member.
    fn is_member(&self) -> bool {
        let listed =
            self.seat.zip(self.view()).and_then(|(at, view)| view.members().get(usize::from(at)));
        listed.is_some_and(|member| member.incarnation == self.me.incarnation)
    }

    /// A member that is not alone.
    fn has_company(&self) -> bool {
        self.is_member() && self.view().is_some_and(|view| view.size() > 1)
    }

    fn persist(&mut self, out: &mut Vec<Output>) {
        if let Some(agreement) = &self.agreement {
            self.durable.promised = agreement.promised();
            self.durable.voted = agreement.voted().cloned();
        }
        let mut state = self.durable.clone();
        if self.flaws.has(Flaw::ForgetfulAcceptor) {
            state.promised = None;
            state.voted = None;
        }
        out.push(Output::Persist(Box::new(state)));
    }

    fn send(&self, to: ProcessId, message: Protocol, out: &mut Vec<Output>) {
        if to != self.me.process && self.sessions.contains_key(&to) {
            out.push(Output::Send { to, stamp: self.stamp(), message });
        }
    }

    fn send_view(&self, to: ProcessId, out: &mut Vec<Output>) {
        if let Some(view) = self.view() {
            self.send(to, Protocol::View(Arc::clone(view)), out);
        }
    }
}

/// True for what passes on an edge at rest, which asks for no second look at everything else.
fn is_routine(input: &Input, own: Option<Stamp>) -> bool {
    match input {
        Input::Received { stamp, message, .. } => {
            *stamp == own && matches!(**message, Protocol::Probe { .. } | Protocol::Answer { .. })
        }
        Input::Edge { event: EdgeEvent::Probe(_), .. } | Input::Synced(_) => true,
        _ => false,
    }
}
