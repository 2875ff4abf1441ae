use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_wire::{BootNonce, ClusterId, Epoch, Peer, ProcessId};

use super::edges::SimEdge;
use super::{Event, Sim, Violation, address, cluster_of, member};
use crate::{
    AcceptorState, AcceptorStore, Input, MembershipCore, MemoryStore, Output, Start, ViewState,
    start_identity,
};

#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    /// What survives a crash.
    pub(super) disk: MemoryStore,
    pub(super) run: Option<Running>,
    pub(super) frozen_until: Option<Duration>,
    /// Its timers are late until then.
    pub(super) stalls_until: Duration,
    /// How far its clock has jumped.
    pub(super) ahead: Duration,
    /// Its machine is gone: nothing refuses what is sent to it.
    pub(super) unplugged: bool,
    /// Link events reach it in order.
    pub(super) told_links_at: Duration,
    /// Places it has sessions with.
    pub(super) neighbours: BTreeSet<usize>,
}

/// What does not.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) core: MembershipCore,
    pub(super) boot: u64,
    pub(super) edges: BTreeMap<ProcessId, SimEdge>,
    pub(super) alarm: Option<Alarm>,
    /// Places it keeps sessions with, sorted.
    pub(super) keep: Vec<usize>,
    /// Places it seeks, sorted.
    pub(super) seek: Vec<usize>,
    /// Dials that are due or in flight, with the attempts so far.
    pub(super) dials: BTreeMap<usize, u32>,
    pub(super) cluster: Option<ClusterId>,
    pub(super) peer: Peer,
    pub(super) shown: Option<ViewState>,
    told: Epoch,
}

/// The alarm that was set last: when its owner wanted it, by the owner's clock, and the event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alarm {
    pub(super) wanted: Duration,
    pub(super) serial: u64,
}

impl Process {
    pub(super) fn new(id: ProcessId) -> Self {
        Self {
            id,
            disk: MemoryStore::new(),
            run: None,
            frozen_until: None,
            stalls_until: Duration::ZERO,
            ahead: Duration::ZERO,
            unplugged: false,
            told_links_at: Duration::ZERO,
            neighbours: BTreeSet::new(),
        }
    }
}

impl Sim {
    /// Starts a process that is not running.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn boot(&mut self, place: usize) -> Result<(), Violation> {
        let process = &self.processes[place];
        if process.run.is_some() {
            return Ok(());
        }
        let Ok(state) = start_identity(&process.disk, process.id) else { return Ok(()) };
        self.launch(place, state)
    }

    /// Starts it at some moment within that time, in microseconds.
    pub(super) fn boot_within(&mut self, place: usize, spread: u64) {
        let delay = self.random.between(0, spread);
        self.after(delay, Event::Restart(place));
    }

    /// Starts a process from that state, which is on its disk.
    pub(super) fn launch(&mut self, place: usize, state: AcceptorState) -> Result<(), Violation> {
        let boot = self.random.draw();
        self.stirred = true;
        let process = &mut self.processes[place];
        process.frozen_until = None;
        process.unplugged = false;
        let nonce = BootNonce(boot);
        let peer = Peer { process: process.id, incarnation: state.incarnation, nonce };
        let start = Start {
            me: member(process.id, place),
            nonce,
            cluster_name: "sim".to_owned(),
            seeds: self.seeds_of(place),
            found: (place == 0).then(|| cluster_of(self.plan.seed)),
            jitter: boot,
            sessions: Vec::new(),
        };
        let mut out = self.spare.pop().unwrap_or_default();
        let clock = self.clock(place);
        let core = MembershipCore::flawed(clock, start, state, self.plan.flaw, &mut out);
        self.processes[place].run = Some(Running {
            core,
            boot,
            edges: BTreeMap::new(),
            alarm: None,
            keep: Vec::new(),
            seek: Vec::new(),
            dials: BTreeMap::new(),
            cluster: None,
            peer,
            shown: None,
            told: Epoch(0),
        });
        self.say(|| format!("{place} starts as {}", peer.incarnation));
        self.perform(place, out)
    }

    fn seeds_of(&self, place: usize) -> Vec<SocketAddr> {
        match place {
            0 => Vec::new(),
            _ if self.plan.one_seed => vec![address(0)],
            _ => vec![address(0), address(place - 1)],
        }
    }

    /// Ends a process at once; what is not durable is lost. Its peers' sessions are reset.
    pub fn crash(&mut self, place: usize) {
        if self.stop(place) {
            self.say(|| format!("{place} crashes"));
            self.end_sessions(place);
        }
    }

    /// True if it was running.
    pub(super) fn stop(&mut self, place: usize) -> bool {
        self.processes[place].frozen_until = None;
        self.stirred = true;
        self.processes[place].run.take().is_some()
    }

    pub(super) fn step(&mut self, place: usize, input: Input) -> Result<(), Violation> {
        let clock = self.clock(place);
        let Some(run) = &mut self.processes[place].run else { return Ok(()) };
        let mut out = self.spare.pop().unwrap_or_default();
        run.core.step(clock, input, &mut out);
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

    pub(super) fn wake(&mut self, place: usize, serial: u64) -> Result<(), Violation> {
        let clock = self.clock(place);
        let Some(run) = &mut self.processes[place].run else { return Ok(()) };
        if run.alarm.is_none_or(|alarm| alarm.serial != serial) {
            return Ok(());
        }
        run.alarm = None;
        if run.core.deadline().is_none_or(|at| at > clock) {
            self.set_alarm(place);
            return Ok(());
        }
        self.step(place, Input::Wake)?;
        let process = &self.processes[place];
        let after = process.run.as_ref().and_then(|run| run.core.deadline());
        if after.is_some_and(|at| at <= clock) {
            return Err(Violation::BusyLoop(process.id));
        }
        Ok(())
    }

    pub(super) fn set_alarm(&mut self, place: usize) {
        let clock = self.clock(place);
        let Some(run) = &self.processes[place].run else { return };
        let Some(wanted) = run.core.deadline() else { return };
        if run.alarm.is_some_and(|set| set.wanted <= wanted) {
            return;
        }
        let late = self.lateness(place, 2_000);
        let serial = self.after(wanted.saturating_sub(clock) + late, Event::Wake { of: place });
        self.with(place, |run| run.alarm = Some(Alarm { wanted, serial }));
    }

    /// How late a timer of this process is, in microseconds at most `usual` unless it stalls.
    pub(super) fn lateness(&mut self, place: usize, usual: u64) -> Duration {
        if self.now < self.processes[place].stalls_until {
            self.random.between(50_000, 3_000_000)
        } else {
            self.random.between(100, usual.max(100))
        }
    }

    fn perform(&mut self, place: usize, mut out: Vec<Output>) -> Result<(), Violation> {
        for output in out.drain(..) {
            if self.processes[place].run.is_none() {
                // It crashed between two outputs, or left.
                break;
            }
            self.carry_out(place, output)?;
        }
        self.spare.push(out);
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
            Output::Keep(members) => self.keep(place, &members),
            Output::Seek(addresses) => self.seek(place, &addresses),
            Output::SetCluster(cluster) => self.with(place, |run| run.cluster = Some(cluster)),
            Output::SetIncarnation(incarnation) => {
                self.say(|| format!("{place} becomes {incarnation}"));
                self.with(place, |run| run.peer.incarnation = incarnation);
                self.end_sessions(place);
            }
            Output::Watch { attempt, subjects } => self.watch(place, attempt, subjects)?,
            Output::Edge { subject, input } => self.step_edge(place, subject, input)?,
            Output::Publish { state, change } => {
                self.stirred = true;
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

    pub(super) fn with(&mut self, place: usize, change: impl FnOnce(&mut Running)) {
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
}
