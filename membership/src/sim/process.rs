use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_wire::{BootNonce, ClusterId, Epoch, Incarnation, Member, Peer, ProcessId};

use super::{Event, Sim, Violation, address, cluster_of, member};
use crate::{
    AcceptorState, AcceptorStore, EdgeCore, EdgeEvent, EdgeInput, EdgeOutput, Input,
    MembershipCore, MemoryStore, Output, ProbeOutcome, Start, Subject, ViewState, start_identity,
};

#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    /// What survives a crash.
    disk: MemoryStore,
    pub(super) run: Option<Running>,
    pub(super) frozen_until: Option<Duration>,
    /// Link events reach it in order.
    pub(super) told_links_at: Duration,
}

/// What does not.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) core: MembershipCore,
    pub(super) boot: u64,
    edges: BTreeMap<ProcessId, SimEdge>,
    woken_at: Option<Duration>,
    pub(super) keep: Vec<Member>,
    pub(super) seek: Vec<SocketAddr>,
    pub(super) cluster: Option<ClusterId>,
    pub(super) peer: Peer,
    pub(super) shown: Option<ViewState>,
    told: Epoch,
}

#[derive(Debug)]
struct SimEdge {
    core: EdgeCore,
    incarnation: Incarnation,
    attempt: u64,
    woken_at: Option<Duration>,
}

impl Process {
    pub(super) fn new() -> Self {
        Self {
            id: ProcessId::from_u128(0),
            disk: MemoryStore::new(),
            run: None,
            frozen_until: None,
            told_links_at: Duration::ZERO,
        }
    }
}

impl Sim {
    /// Starts a process that is not running.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn boot(&mut self, place: usize) -> Result<(), Violation> {
        if self.processes[place].run.is_some() {
            return Ok(());
        }
        let boot = self.random.draw();
        let process = &mut self.processes[place];
        process.frozen_until = None;
        let Ok(state) = start_identity(&process.disk, process.id) else { return Ok(()) };
        let nonce = BootNonce(boot);
        let peer = Peer { process: process.id, incarnation: state.incarnation, nonce };
        let founder = place == 0;
        let start = Start {
            me: member(process.id, place),
            nonce,
            cluster_name: "sim".to_owned(),
            seeds: if founder { Vec::new() } else { vec![address(0), address(place - 1)] },
            found: founder.then(|| cluster_of(self.plan.seed)),
            jitter: boot,
            sessions: Vec::new(),
        };
        let mut out = Vec::new();
        let core = MembershipCore::flawed(self.now, start, state, self.plan.flaw, &mut out);
        self.processes[place].run = Some(Running {
            core,
            boot,
            edges: BTreeMap::new(),
            woken_at: None,
            keep: Vec::new(),
            seek: Vec::new(),
            cluster: None,
            peer,
            shown: None,
            told: Epoch(0),
        });
        self.say(|| format!("{place} starts as {}", peer.incarnation));
        self.perform(place, out)
    }

    /// Ends a process at once; what is not durable is lost.
    pub fn crash(&mut self, place: usize) {
        if self.processes[place].run.take().is_some() {
            self.say(|| format!("{place} crashes"));
            self.processes[place].frozen_until = None;
            self.end_sessions(place);
        }
    }

    pub(super) fn step(&mut self, place: usize, input: Input) -> Result<(), Violation> {
        let now = self.now;
        let Some(run) = &mut self.processes[place].run else { return Ok(()) };
        let mut out = Vec::new();
        run.core.step(now, input, &mut out);
        self.perform(place, out)
    }

    /// Has a process leave.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn leave(&mut self, place: usize) -> Result<(), Violation> {
        self.say(|| format!("{place} leaves"));
        self.step(place, Input::Leave)
    }

    pub(super) fn wake(&mut self, place: usize) -> Result<(), Violation> {
        let now = self.now;
        let Some(run) = &mut self.processes[place].run else { return Ok(()) };
        run.woken_at = None;
        if run.core.deadline().is_some_and(|at| at <= now) {
            self.step(place, Input::Wake)?;
            let id = self.processes[place].id;
            let after = self.processes[place].run.as_ref().and_then(|run| run.core.deadline());
            if after.is_some_and(|at| at <= now) {
                return Err(Violation::BusyLoop(id));
            }
        } else {
            self.set_alarm(place);
        }
        Ok(())
    }

    fn set_alarm(&mut self, place: usize) {
        let now = self.now;
        let Some(run) = &mut self.processes[place].run else { return };
        let Some(at) = run.core.deadline() else { return };
        if run.woken_at.is_none_or(|set| at < set || set < now) {
            run.woken_at = Some(at);
            let boot = run.boot;
            let late = self.random.between(0, 2_000);
            self.after(at.saturating_sub(now) + late, Event::Wake { of: place, boot });
        }
    }

    fn perform(&mut self, place: usize, out: Vec<Output>) -> Result<(), Violation> {
        for output in out {
            if self.processes[place].run.is_none() {
                // It crashed between two outputs, or left.
                return Ok(());
            }
            self.carry_out(place, output)?;
        }
        self.set_alarm(place);
        Ok(())
    }

    fn carry_out(&mut self, place: usize, output: Output) -> Result<(), Violation> {
        let id = self.processes[place].id;
        match output {
            Output::Persist(state) => self.save(place, &state)?,
            Output::Send { to, term, message } => {
                self.checker.sent(id, term.map(|term| term.epoch), &message)?;
                self.transmit(place, to, term, message);
            }
            Output::Keep(members) => self.keep(place, members),
            Output::Seek(addresses) => self.with(place, |run| run.seek = addresses),
            Output::SetCluster(cluster) => self.with(place, |run| run.cluster = Some(cluster)),
            Output::SetIncarnation(incarnation) => {
                self.say(|| format!("{place} becomes {incarnation}"));
                self.with(place, |run| run.peer.incarnation = incarnation);
                self.end_sessions(place);
            }
            Output::Watch { attempt, subjects } => self.watch(place, attempt, subjects)?,
            Output::Edge { subject, input } => self.step_edge(place, subject, input)?,
            Output::Publish { state, change } => {
                self.say(|| {
                    let size = state.view.as_ref().map_or(0, |view| view.size());
                    let epoch = state.view.as_ref().map_or(0, |view| view.epoch().0);
                    format!("{place} is {:?}, epoch {epoch} of {size}", state.status)
                });
                if let (Some(change), Some(run)) = (change, &mut self.processes[place].run) {
                    let epoch = change.view.epoch();
                    if epoch <= run.told {
                        return Err(Violation::ToldBackwards(id, epoch, run.told));
                    }
                    run.told = epoch;
                }
                self.with(place, |run| run.shown = Some(state));
            }
            Output::HoldUntil(_) => {}
            Output::Left => {
                self.say(|| format!("{place} has left"));
                self.crash(place);
            }
            Output::Stop(reason) => return Err(Violation::Stopped(id, reason)),
        }
        Ok(())
    }

    fn with(&mut self, place: usize, change: impl FnOnce(&mut Running)) {
        if let Some(run) = &mut self.processes[place].run {
            change(run);
        }
    }

    /// A durable write; in bad times the process dies just before or just after it.
    fn save(&mut self, place: usize, state: &AcceptorState) -> Result<(), Violation> {
        let dies = self.chaotic && self.random.chance(self.plan.crashes_per_write);
        if dies && self.random.chance(700) {
            let soon = self.random.between(1_000, 80_000);
            self.after(soon, Event::Restart(place));
        }
        if dies && self.random.chance(500) {
            self.crash(place);
            return Ok(());
        }
        self.checker.persisted(state)?;
        self.say(|| {
            let vote = state.voted.as_ref().map(|vote| (vote.rank, vote.value.id()));
            let epoch = state.view.as_ref().map_or(0, |view| view.epoch().0);
            format!("{place} saves epoch {epoch}, promise {:?}, vote {vote:?}", state.promised)
        });
        if self.processes[place].disk.save(state).is_err() || dies {
            self.crash(place);
        }
        Ok(())
    }

    fn watch(
        &mut self,
        place: usize,
        attempt: u64,
        subjects: Vec<Subject>,
    ) -> Result<(), Violation> {
        let now = self.now;
        let mut started = Vec::new();
        if let Some(run) = &mut self.processes[place].run {
            let mut before = std::mem::take(&mut run.edges);
            for Subject { member, linked } in subjects {
                let same = |edge: &SimEdge| {
                    edge.incarnation == member.incarnation && edge.attempt == attempt
                };
                let edge = match before.remove(&member.process) {
                    Some(edge) if same(&edge) => edge,
                    _ => {
                        let mut out = Vec::new();
                        let core = EdgeCore::new(now, linked, &mut out);
                        started.push((member.process, out));
                        let incarnation = member.incarnation;
                        SimEdge { core, incarnation, attempt, woken_at: None }
                    }
                };
                run.edges.insert(member.process, edge);
            }
        }
        for (subject, out) in started {
            self.perform_edge(place, subject, out)?;
        }
        Ok(())
    }

    pub(super) fn step_edge(
        &mut self,
        place: usize,
        subject: ProcessId,
        input: EdgeInput,
    ) -> Result<(), Violation> {
        let now = self.now;
        let Some(run) = &mut self.processes[place].run else { return Ok(()) };
        let Some(edge) = run.edges.get_mut(&subject) else { return Ok(()) };
        if input == EdgeInput::Wake {
            edge.woken_at = None;
        }
        let mut out = Vec::new();
        edge.core.step(now, input, &mut out);
        self.perform_edge(place, subject, out)
    }

    fn perform_edge(
        &mut self,
        place: usize,
        subject: ProcessId,
        out: Vec<EdgeOutput>,
    ) -> Result<(), Violation> {
        let mut events = Vec::new();
        for output in out {
            let Some(run) = &self.processes[place].run else { return Ok(()) };
            let Some(edge) = run.edges.get(&subject) else { return Ok(()) };
            match output {
                EdgeOutput::Probe(sequence) => events.push(EdgeEvent::Probe(sequence)),
                EdgeOutput::Verdict(verdict) => {
                    events.push(EdgeEvent::Verdict(verdict, edge.core.round_trip()));
                }
                EdgeOutput::Connect(limit) => {
                    let boot = run.boot;
                    let (outcome, took) = self.connect(place, subject, limit);
                    self.after(took, Event::Connected { of: place, boot, subject, outcome });
                }
            }
        }
        self.set_edge_alarm(place, subject);
        let attempt = self.processes[place]
            .run
            .as_ref()
            .and_then(|run| run.edges.get(&subject))
            .map(|edge| edge.attempt);
        for event in events {
            if let Some(attempt) = attempt {
                self.step(place, Input::Edge { subject, attempt, event })?;
            }
        }
        Ok(())
    }

    fn set_edge_alarm(&mut self, place: usize, subject: ProcessId) {
        let now = self.now;
        let Some(run) = &mut self.processes[place].run else { return };
        let boot = run.boot;
        let Some(edge) = run.edges.get_mut(&subject) else { return };
        let Some(at) = edge.core.deadline() else { return };
        if edge.woken_at.is_none_or(|set| at < set || set < now) {
            edge.woken_at = Some(at);
            let delay = at.saturating_sub(now) + Duration::from_micros(100);
            self.after(delay, Event::WakeEdge { of: place, boot, subject });
        }
    }

    fn connect(
        &mut self,
        from: usize,
        subject: ProcessId,
        limit: Duration,
    ) -> (ProbeOutcome, Duration) {
        let soon = self.random.between(100, 3_000);
        let Some(to) = self.place(subject) else { return (ProbeOutcome::Refused, soon) };
        if self.cut_off(from, to) {
            (ProbeOutcome::NoAnswer, limit)
        } else if self.processes[to].run.is_none() {
            (ProbeOutcome::Refused, soon)
        } else {
            // A frozen process's listener accepts as well.
            (ProbeOutcome::Accepted, soon)
        }
    }
}
