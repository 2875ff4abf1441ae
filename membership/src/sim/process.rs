use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_wire::{BootNonce, ClusterId, Epoch, Peer, ProcessId};

use super::edges::SimEdge;
use super::{Event, Sim, Violation, address, cluster_of, member};
use crate::{
    AcceptorState, AcceptorStore, Flaw, Input, MembershipCore, MemoryStore, Output, Start,
    ViewState, start_identity,
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
    pub(super) told: Epoch,
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
        if self.plan.flaw == Some(Flaw::WipedDiskKeepsId) && self.chaotic {
            self.wipe(place);
        }
        let process = &self.processes[place];
        let Ok(state) = start_identity(&process.disk, process.id) else { return Ok(()) };
        let out = self.launch(place, state);
        self.perform(place, out)
    }

    /// Forgets all but who it is; see [`Flaw::WipedDiskKeepsId`].
    fn wipe(&mut self, place: usize) {
        let wiped = self.random.chance(500);
        let disk = &self.processes[place].disk;
        if let (true, Ok(Some(state))) = (wiped, disk.load()) {
            let blank = AcceptorState::new(state.process, state.incarnation);
            // A store in memory does not fail.
            let _ = disk.save(&blank);
        }
    }

    /// Starts it at some moment within that time, in microseconds.
    pub(super) fn boot_within(&mut self, place: usize, spread: u64) {
        let delay = self.random.between(0, spread);
        self.after(delay, Event::Restart(place));
    }

    /// Starts a process from that state, which is on its disk. What it wants done first is returned.
    pub(super) fn launch(&mut self, place: usize, state: AcceptorState) -> Vec<Output> {
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
        out
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
}
