//! A simulator of many processes: their real cores and edges, a seeded network, seeded faults.
//! Everything follows from one seed; invariants are checked at every durable write and message.

mod check;
mod faults;
mod links;
mod network;
mod process;
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_wire::{ClusterId, Member, Peer, ProcessId, Term};

use self::check::Checker;
pub use self::check::Violation;
use self::links::Session;
pub use self::network::{Direction, FLIP, Network};
use self::process::{Process, Running};
pub use self::random::Random;
use crate::{EdgeInput, Flaw, Input, LinkEvent, ProbeOutcome, Protocol, Status, ViewState};

/// The longest a fault-free cluster may take to come together, in simulated time.
const CONVERGENCE: Duration = Duration::from_secs(40);

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// All chance comes from it.
    pub seed: u64,
    /// How many processes.
    pub processes: usize,
    /// How long faults happen.
    pub chaos: Duration,
    /// How many of 1,000 durable writes end in a crash just before or just after.
    pub crashes_per_write: u64,
    /// How many of 1,000 messages are lost.
    pub loss: u64,
    /// How many of 1,000 faults follow the one before at once.
    pub bursts: u64,
    /// How many of 1,000 messages are very late.
    pub stragglers: u64,
    /// A rule left out, to see that it is missed.
    pub flaw: Option<Flaw>,
    /// Checks only what users would see (one chain of views, epochs that rise), not how it came
    /// about: what is then noticed of a missing rule is its harm.
    pub only_harm: bool,
}

impl Plan {
    /// The plan of a seed whose faults are meant to leave votes of several ranks behind: many
    /// proposers at once, few of whom get through.
    #[must_use]
    pub fn contended(seed: u64) -> Self {
        Self {
            processes: if seed.is_multiple_of(2) { 3 } else { 4 },
            chaos: Duration::from_secs(20),
            crashes_per_write: 150,
            stragglers: 100,
            loss: 100,
            bursts: 400,
            ..Self::of_seed(seed)
        }
    }

    /// The plan of a seed: two to six processes, some seconds of faults.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let processes = 2 + usize::try_from(random.below(5)).unwrap_or(0);
        let one_of = |random: &mut Random, of: [u64; 3]| match random.below(3) {
            0 => of[0],
            1 => of[1],
            _ => of[2],
        };
        Self {
            seed,
            processes,
            chaos: Duration::from_secs(8 + random.below(12)),
            crashes_per_write: one_of(&mut random, [5, 40, 120]),
            stragglers: one_of(&mut random, [10, 50, 250]),
            loss: one_of(&mut random, [10, 40, 250]),
            bursts: 300,
            flaw: None,
            only_harm: false,
        }
    }
}

/// A simulation that broke a promise.
#[derive(Debug, thiserror::Error)]
#[error(
    "seed {seed}, {processes} processes, at {at:?}: {violation}\nreproduce: LAMPYRID_SIM_SEED={seed} cargo test -p lampyrid-membership --test simulation one_seed -- --nocapture"
)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How many processes.
    pub processes: usize,
    /// When, in simulated time.
    pub at: Duration,
    /// What.
    pub violation: Violation,
}

/// What a simulation came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Views agreed on.
    pub views: usize,
    /// Events simulated.
    pub events: u64,
    /// From the end of the faults to one view with everybody in it.
    pub healed_in: Duration,
}

#[derive(Debug, Clone)]
enum Event {
    /// A message arrives; it counts only if its session still stands.
    Deliver {
        to: usize,
        session: u64,
        from: Peer,
        term: Option<Term>,
        message: Box<Protocol>,
    },
    /// The links tell a process of a session.
    Link {
        to: usize,
        boot: u64,
        event: LinkEvent,
    },
    Wake {
        of: usize,
        boot: u64,
    },
    WakeEdge {
        of: usize,
        boot: u64,
        subject: ProcessId,
    },
    Connected {
        of: usize,
        boot: u64,
        subject: ProcessId,
        outcome: ProbeOutcome,
    },
    /// A session nobody could read from for too long ends.
    Idle {
        session: u64,
    },
    Dial,
    Fault,
    /// A process that has just crashed comes back.
    Restart(usize),
}

impl Event {
    fn process(&self) -> Option<usize> {
        match self {
            Self::Deliver { to, .. } | Self::Link { to, .. } => Some(*to),
            Self::Wake { of, .. } | Self::WakeEdge { of, .. } | Self::Connected { of, .. } => {
                Some(*of)
            }
            Self::Idle { .. } | Self::Dial | Self::Fault | Self::Restart(_) => None,
        }
    }
}

/// Several processes and what lies between them.
#[derive(Debug)]
pub struct Sim {
    plan: Plan,
    now: Duration,
    random: Random,
    queue: BTreeMap<(Duration, u64), Event>,
    serial: u64,
    processes: Vec<Process>,
    sessions: BTreeMap<u64, Session>,
    /// Directions in which nothing passes.
    blocked: BTreeSet<(usize, usize)>,
    checker: Checker,
    chaotic: bool,
    events: u64,
    /// Whether to tell what happens, for reading one seed.
    pub verbose: bool,
}

impl Sim {
    /// Processes that are not running yet. The first founds the cluster, the others know it.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut sim = Self {
            plan,
            now: Duration::from_secs(1),
            random: Random::new(plan.seed),
            queue: BTreeMap::new(),
            serial: 0,
            processes: (0..plan.processes).map(|_| Process::new()).collect(),
            sessions: BTreeMap::new(),
            blocked: BTreeSet::new(),
            checker: Checker::new(plan.only_harm),
            chaotic: false,
            events: 0,
            verbose: false,
        };
        // Ids in an order of their own, so that the founder has no fixed place.
        for process in &mut sim.processes {
            process.id = ProcessId::from_u128(u128::from(sim.random.draw()) + 1);
        }
        sim.after(Duration::ZERO, Event::Dial);
        sim
    }

    /// Runs the whole plan: form, faults, heal.
    ///
    /// # Errors
    /// [`Failure`], with the line that reproduces it.
    pub fn run(mut self) -> Result<Outcome, Box<Failure>> {
        let result = self.phases();
        result.map_err(|violation| {
            Box::new(Failure {
                seed: self.plan.seed,
                processes: self.plan.processes,
                at: self.now,
                violation,
            })
        })
    }

    fn phases(&mut self) -> Result<Outcome, Violation> {
        for process in 0..self.processes.len() {
            self.boot(process)?;
        }
        self.until_converged()?;
        self.chaotic = true;
        self.after(Duration::ZERO, Event::Fault);
        let end = self.now + self.plan.chaos;
        self.run_until(end)?;
        self.heal()?;
        let healed = self.now;
        self.until_converged()?;
        Ok(Outcome {
            views: self.checker.views.len(),
            events: self.events,
            healed_in: self.now - healed,
        })
    }

    /// Lets simulated time pass.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn run_until(&mut self, end: Duration) -> Result<(), Violation> {
        while let Some((&(at, serial), _)) = self.queue.first_key_value() {
            if at > end {
                break;
            }
            self.now = at;
            if let Some(event) = self.queue.remove(&(at, serial)) {
                self.events += 1;
                self.happen(event)?;
            }
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// Lets time pass until all running processes are active in one view that has just them.
    ///
    /// # Errors
    /// [`Violation::NoConvergence`] after a generous time, or any other.
    pub fn until_converged(&mut self) -> Result<(), Violation> {
        let end = self.now + CONVERGENCE;
        while !self.converged() {
            if self.now >= end {
                return Err(Violation::NoConvergence(self.picture()));
            }
            self.run_until(self.now + Duration::from_millis(5))?;
        }
        Ok(())
    }

    /// True if all running processes are active members of one view and nobody else is.
    #[must_use]
    pub fn converged(&self) -> bool {
        let running: Vec<&Running> =
            self.processes.iter().filter_map(|process| process.run.as_ref()).collect();
        let states: Vec<&ViewState> = running.iter().filter_map(|run| run.shown.as_ref()).collect();
        let Some(first) = states.first().and_then(|state| state.view.as_ref()) else {
            return false;
        };
        states.len() == running.len()
            && first.size() == running.len()
            && states
                .iter()
                .all(|state| state.status == Status::Active && state.view.as_ref() == Some(first))
    }

    /// Simulated time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// What a process has published, if it runs.
    #[must_use]
    pub fn state(&self, process: usize) -> Option<&ViewState> {
        self.processes.get(process)?.run.as_ref()?.shown.as_ref()
    }

    /// The id of a process.
    #[must_use]
    pub fn id(&self, process: usize) -> ProcessId {
        self.processes[process].id
    }

    fn picture(&self) -> String {
        let line = |(at, process): (usize, &Process)| {
            let shown = process.run.as_ref().and_then(|run| run.shown.as_ref());
            let seen = shown.map_or_else(
                || "down".to_owned(),
                |state| {
                    let epoch = state.view.as_ref().map_or(0, |view| view.epoch().0);
                    let size = state.view.as_ref().map_or(0, |view| view.size());
                    format!(
                        "{:?} epoch {epoch} of {size}, incarnation {}, waits for {}",
                        state.status,
                        state.me.incarnation,
                        state.waiting_for.len()
                    )
                },
            );
            format!("[{at}: {seen}]")
        };
        self.processes.iter().enumerate().map(line).collect::<Vec<_>>().join(" ")
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), event);
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        if let Some(until) = event.process().and_then(|of| self.processes[of].frozen_until)
            && self.now < until
        {
            self.after(until - self.now, event);
            return Ok(());
        }
        match event {
            Event::Deliver { to, session, from, term, message } => {
                let stands = self.sessions.get(&session).is_some_and(|known| known.joins(to));
                if stands {
                    self.step(to, Input::Received { from, term, message })?;
                }
            }
            Event::Link { to, boot, event } => {
                if self.is_boot(to, boot) {
                    self.step(to, Input::Link(event))?;
                }
            }
            Event::Wake { of, boot } => {
                if self.is_boot(of, boot) {
                    self.wake(of)?;
                }
            }
            Event::WakeEdge { of, boot, subject } => {
                if self.is_boot(of, boot) {
                    self.step_edge(of, subject, EdgeInput::Wake)?;
                }
            }
            Event::Connected { of, boot, subject, outcome } => {
                if self.is_boot(of, boot) {
                    self.step_edge(of, subject, EdgeInput::Connected(outcome))?;
                }
            }
            Event::Idle { session } => self.session_idle(session),
            Event::Dial => self.dial(),
            Event::Fault => self.fault()?,
            Event::Restart(place) => self.boot(place)?,
        }
        Ok(())
    }

    fn is_boot(&self, process: usize, boot: u64) -> bool {
        self.processes[process].run.as_ref().is_some_and(|run| run.boot == boot)
    }

    fn place(&self, id: ProcessId) -> Option<usize> {
        self.processes.iter().position(|process| process.id == id)
    }

    fn at_address(&self, address: SocketAddr) -> Option<usize> {
        usize::from(address.port()).checked_sub(1).filter(|&at| at < self.processes.len())
    }

    fn say(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            // Read by a person who reproduces one seed; captured by the test harness otherwise.
            #[allow(clippy::print_stdout)]
            {
                println!("{:>12.6} {}", self.now.as_secs_f64(), line());
            }
        }
    }
}

fn address(process: usize) -> SocketAddr {
    let port = u16::try_from(process + 1).unwrap_or(u16::MAX);
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn member(id: ProcessId, place: usize) -> Member {
    Member {
        process: id,
        incarnation: lampyrid_wire::Incarnation(1),
        name: format!("p{place}"),
        address: address(place),
        admin: None,
    }
}

fn cluster_of(seed: u64) -> ClusterId {
    ClusterId::from_u128(u128::from(seed) + 1)
}
