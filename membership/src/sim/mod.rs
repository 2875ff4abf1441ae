//! A simulator of many processes: their real cores and edges, a seeded network, seeded faults.
//! Everything follows from one seed; invariants are checked at every durable write and message.

mod campaign;
mod check;
mod dial;
mod edges;
mod event;
mod faults;
mod look;
mod network;
mod plan;
mod process;
mod queue;
mod random;
mod run;
pub mod scale;
mod sessions;
mod settled;
mod traffic;
mod transmit;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_wire::{ClusterId, Incarnation, Member, ProcessId};

pub use self::campaign::{Campaign, Report};
use self::check::Checker;
pub use self::check::Violation;
use self::event::Event;
pub use self::faults::{Fault, FaultSet};
pub use self::network::{Direction, FLIP, Network};
pub use self::plan::Plan;
use self::process::Process;
use self::queue::Queue;
pub use self::random::Random;
pub use self::run::{Failure, Outcome};
use self::sessions::{Pair, Session};
pub use self::traffic::{Load, Traffic};
use crate::{EdgeInput, EdgeOutput, Input, Output};

/// Several processes and what lies between them.
#[derive(Debug)]
pub struct Sim {
    plan: Plan,
    now: Duration,
    random: Random,
    queue: Queue<Event>,
    processes: Vec<Process>,
    places: HashMap<ProcessId, usize>,
    sessions: HashMap<Pair, Session>,
    session_serial: u64,
    network: Network,
    checker: Checker,
    traffic: Traffic,
    chaotic: bool,
    events: u64,
    delivered: u64,
    /// Something was published, started or ended since [`Sim::converged`] was last worked out.
    stirred: bool,
    /// Emptied output lists, to be used again.
    spare: Vec<Vec<Output>>,
    spare_edge: Vec<Vec<EdgeOutput>>,
    /// Whether to tell what happens, for reading one seed.
    pub verbose: bool,
}

impl Sim {
    /// Processes that are not running yet. The first founds the cluster, the others know it.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        // Ids in an order of their own, so that the founder has no fixed place.
        let processes: Vec<Process> = (0..plan.processes)
            .map(|_| Process::new(ProcessId::from_u128(u128::from(random.draw()) + 1)))
            .collect();
        let places = processes.iter().enumerate().map(|(at, process)| (process.id, at)).collect();
        Self {
            plan,
            now: Duration::from_secs(1),
            network: Network::new(random.draw(), plan.processes),
            random,
            queue: Queue::new(),
            processes,
            places,
            sessions: HashMap::new(),
            session_serial: 0,
            checker: Checker::new(plan.only_harm),
            traffic: Traffic::default(),
            chaotic: false,
            events: 0,
            delivered: 0,
            stirred: true,
            spare: Vec::new(),
            spare_edge: Vec::new(),
            verbose: false,
        }
    }

    /// Lets simulated time pass.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn run_until(&mut self, end: Duration) -> Result<(), Violation> {
        while let Some((at, serial, event)) = self.queue.pop_until(end) {
            self.now = at;
            self.events += 1;
            self.happen(serial, event)?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn after(&mut self, delay: Duration, event: Event) -> u64 {
        self.queue.push(self.now + delay, event)
    }

    fn happen(&mut self, serial: u64, event: Event) -> Result<(), Violation> {
        if let Some(of) = event.process()
            && let Some(until) = self.processes[of].frozen_until
            && self.now < until
        {
            self.postpone(until, serial, event);
            return Ok(());
        }
        match event {
            Event::Deliver(letter) => self.deliver(letter)?,
            Event::Link { to, boot, event } => {
                if self.is_boot(to, boot) {
                    self.step(to, Input::Link(event))?;
                }
            }
            Event::Wake { of } => self.wake(of, serial)?,
            Event::WakeEdge { of, subject } => self.wake_edge(of, subject, serial)?,
            Event::Connected { of, boot, subject, outcome } => {
                if self.is_boot(of, boot) {
                    self.step_edge(of, subject, EdgeInput::Connected(outcome))?;
                }
            }
            Event::Idle { pair, session } => self.session_idle(pair, session),
            Event::Dial { of, boot, to } => {
                if self.is_boot(of, boot) {
                    self.dial(of, to);
                }
            }
            Event::Fault => self.fault()?,
            Event::Restart(place) => self.boot(place)?,
        }
        Ok(())
    }

    fn is_boot(&self, process: usize, boot: u64) -> bool {
        self.processes[process].run.as_ref().is_some_and(|run| run.boot == boot)
    }

    fn is_frozen(&self, place: usize) -> bool {
        self.processes[place].frozen_until.is_some_and(|until| self.now < until)
    }

    /// What the process's own clock shows.
    fn clock(&self, place: usize) -> Duration {
        self.now + self.processes[place].ahead
    }

    fn place(&self, id: ProcessId) -> Option<usize> {
        self.places.get(&id).copied()
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
        incarnation: Incarnation(1),
        name: format!("p{place}"),
        address: address(place),
        admin: None,
    }
}

fn cluster_of(seed: u64) -> ClusterId {
    ClusterId::from_u128(u128::from(seed) + 1)
}
