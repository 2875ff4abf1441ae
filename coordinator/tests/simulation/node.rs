use std::time::Duration;

use lampyrid_coordinator::{
    BroadcasterConfig, BroadcasterCore, BroadcasterInput, BroadcasterOutput, CoordinatorConfig,
    CoordinatorCore, CoordinatorInput, CoordinatorOutput,
};
use lampyrid_registry::{
    OwnRegistration, RegistryCore, RegistryInput, RegistryOutput, Replica, Standing,
};

/// One of the three cores of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Registry,
    Coordinator,
    Broadcaster,
}

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Registry, Self::Coordinator, Self::Broadcaster];
}

#[derive(Debug, Clone)]
pub(crate) enum Input {
    Registry(RegistryInput),
    Coordinator(CoordinatorInput),
    Broadcaster(BroadcasterInput),
}

#[derive(Debug)]
pub(crate) enum Output {
    Registry(RegistryOutput),
    Coordinator(CoordinatorOutput),
    Broadcaster(BroadcasterOutput),
}

/// One running process: its cores, and what outlives its actors.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) standing: Standing,
    pub(crate) registry: RegistryCore,
    coordinator: CoordinatorCore,
    broadcaster: BroadcasterCore,
    /// As the handle would keep it.
    pub(crate) stored: (Replica, OwnRegistration),
    sequence: u64,
    config: BroadcasterConfig,
    /// How far its wall clock is off, in milliseconds.
    wall_offset: i64,
}

impl Node {
    pub(crate) fn start(
        now: Duration,
        standing: Standing,
        config: BroadcasterConfig,
        wall_offset: i64,
    ) -> (Self, Vec<Output>) {
        let stored = (Replica::default(), OwnRegistration::default());
        let mut out = Vec::new();
        let registry = registry(now, &standing, &stored, &mut out);
        let coordinator = coordinator(now, &standing, 0, &mut out);
        let broadcaster = BroadcasterCore::new(config.clone(), standing.clone());
        let node = Self {
            standing,
            registry,
            coordinator,
            broadcaster,
            stored,
            sequence: 0,
            config,
            wall_offset,
        };
        (node, out)
    }

    /// Restarts one actor from what outlives it.
    pub(crate) fn restart(&mut self, now: Duration, part: Part) -> Vec<Output> {
        let mut out = Vec::new();
        match part {
            Part::Registry => {
                self.registry = registry(now, &self.standing, &self.stored, &mut out);
            }
            Part::Coordinator => {
                self.coordinator = coordinator(now, &self.standing, self.sequence, &mut out);
            }
            Part::Broadcaster => {
                self.broadcaster = BroadcasterCore::new(self.config.clone(), self.standing.clone());
                return self.step(now, true, Input::Coordinator(CoordinatorInput::Republish));
            }
        }
        out
    }

    pub(crate) fn step(&mut self, now: Duration, permitted: bool, input: Input) -> Vec<Output> {
        match input {
            Input::Registry(input) => {
                let mut out = Vec::new();
                self.registry.step(now, input, &mut out);
                out.into_iter().map(Output::Registry).collect()
            }
            Input::Coordinator(input) => {
                let mut out = Vec::new();
                self.coordinator.step(now, permitted, input, &mut out);
                out.into_iter().map(Output::Coordinator).collect()
            }
            Input::Broadcaster(input) => {
                let mut out = Vec::new();
                let wall = i64::try_from(now.as_millis()).unwrap_or(i64::MAX) + self.wall_offset;
                self.broadcaster.step(now, wall, permitted, input, &mut out);
                out.into_iter().map(Output::Broadcaster).collect()
            }
        }
    }

    pub(crate) fn published(&mut self, sequence: u64) {
        self.sequence = sequence + 1;
    }

    pub(crate) fn deadline(&self, part: Part) -> Option<Duration> {
        match part {
            Part::Registry => self.registry.deadline(),
            Part::Coordinator => self.coordinator.deadline(),
            Part::Broadcaster => self.broadcaster.deadline(),
        }
    }
}

fn registry(
    now: Duration,
    standing: &Standing,
    stored: &(Replica, OwnRegistration),
    out: &mut Vec<Output>,
) -> RegistryCore {
    let mut outputs = Vec::new();
    let (replica, own) = stored.clone();
    let core = RegistryCore::new(now, standing.clone(), replica, own, &mut outputs);
    out.extend(outputs.into_iter().map(Output::Registry));
    core
}

fn coordinator(
    now: Duration,
    standing: &Standing,
    sequence: u64,
    out: &mut Vec<Output>,
) -> CoordinatorCore {
    let mut outputs = Vec::new();
    let config = CoordinatorConfig::default();
    let core = CoordinatorCore::new(now, true, config, standing.clone(), sequence, &mut outputs);
    out.extend(outputs.into_iter().map(Output::Coordinator));
    core
}
