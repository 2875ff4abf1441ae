use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lampyrid_wire::Clock;
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, SpawnErr, SupervisionEvent,
};

use super::intensity::{Intensity, Verdict};

/// The pause before a child is started again that waits for something outside of the process.
const WAITING_PAUSE: Duration = Duration::from_secs(1);

/// How long each child has to end when the supervisor is stopped.
const STOP_LIMIT: Duration = Duration::from_secs(1);

type Spawned = Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>;

/// How to start one child; called again for every restart.
pub(crate) struct ChildSpec {
    name: &'static str,
    spawn: Box<dyn Fn(ActorCell) -> Spawned + Send + Sync>,
    waits: fn(&ActorProcessingErr) -> bool,
}

impl ChildSpec {
    /// A child of that name, started by `spawn`, which links it to the cell it is given.
    pub(crate) fn new<F, Spawning>(name: &'static str, spawn: F) -> Self
    where
        F: Fn(ActorCell) -> Spawning + Send + Sync + 'static,
        Spawning: Future<Output = Result<ActorCell, SpawnErr>> + Send + 'static,
    {
        let spawn = Box::new(move |supervisor| -> Spawned { Box::pin(spawn(supervisor)) });
        Self { name, spawn, waits: |_| false }
    }

    /// Failures for which `waits` holds are nobody's fault in this process and may end by
    /// themselves: it is started again and again, unhurriedly, and they make no restart storm.
    pub(crate) fn waiting_while(self, waits: fn(&ActorProcessingErr) -> bool) -> Self {
        Self { waits, ..self }
    }
}

/// Why a child had to be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It returned an error or panicked.
    Failed,
    /// It was stopped or killed, by nobody who is in charge of it.
    Ended,
    /// It did not start.
    NotStarted,
    /// It waits for something outside of the process, a disk with room for one.
    Waits,
}

impl Failure {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Failed, Self::Ended, Self::NotStarted, Self::Waits];

    /// Its name in metrics and events.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Ended => "ended",
            Self::NotStarted => "not_started",
            Self::Waits => "waits",
        }
    }
}

/// Restarts so far, by child and cause; for the metrics.
#[derive(Debug, Default, Clone)]
pub(crate) struct RestartCounters(Arc<BTreeMap<&'static str, [AtomicU64; Failure::ALL.len()]>>);

impl RestartCounters {
    /// Counters for these children.
    pub(crate) fn of(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self(Arc::new(names.into_iter().map(|name| (name, Default::default())).collect()))
    }

    fn count(&self, name: &str, failure: Failure) {
        if let Some(counters) = self.0.get(name) {
            counters[failure as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts.
    #[cfg(any(feature = "cli", test))]
    pub(crate) fn read(&self) -> impl Iterator<Item = (&'static str, Failure, u64)> + '_ {
        self.0.iter().flat_map(|(name, counters)| {
            Failure::ALL.map(|why| (*name, why, counters[why as usize].load(Ordering::Relaxed)))
        })
    }

    /// Those of each child together.
    pub(crate) fn by_child(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, counters)| {
            (*name, counters.iter().map(|count| count.load(Ordering::Relaxed)).sum())
        })
    }
}

/// A child that is started again, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restart {
    /// Its name in logs and metrics.
    pub actor: &'static str,
    /// What happened to it: `failed` (an error or a panic), `ended` (it was killed), `not_started`,
    /// `waits` (for room on a disk).
    pub cause: &'static str,
    /// The same in words, with its error.
    pub reason: String,
}

/// A restart storm: restarting does not help any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{child}` keeps failing, restarting it does not help: {reason}")]
pub(crate) struct Escalation {
    /// The child that failed last.
    pub(crate) child: &'static str,
    /// Why it failed.
    pub(crate) reason: String,
}

/// What the supervisor starts with.
pub(crate) struct SupervisorArguments {
    /// The children, in the order in which they are started.
    pub(crate) children: Vec<ChildSpec>,
    /// When to give up.
    pub(crate) intensity: Intensity,
    /// The time of restarts.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where restarts are counted.
    pub(crate) counters: RestartCounters,
    /// Told of each restart.
    pub(crate) on_restart: Arc<dyn Fn(Restart) + Send + Sync>,
    /// Called once, when it gives up; then it stops, and its children with it.
    pub(crate) on_escalate: Arc<dyn Fn(Escalation) + Send + Sync>,
}

/// What the supervisor is told.
pub(crate) enum SupervisorMessage {
    /// One more child, started after those before.
    Add(ChildSpec),
    /// The pause before a restart is over.
    Start(usize),
    /// End that child as a panic would; for tests.
    #[cfg(any(feature = "testkit", feature = "fault-points"))]
    Kill(String),
}

// Never sent to another process.
impl Message for SupervisorMessage {}

/// The running supervisor.
pub(crate) type SupervisorRef = ActorRef<SupervisorMessage>;

/// Starts its children in order and each of them again when it fails or ends; stopping it stops
/// them all.
pub(crate) struct Supervisor;

/// Which child runs as which actor.
pub(crate) struct Running {
    arguments: SupervisorArguments,
    actors: BTreeMap<ActorId, usize>,
}

impl Running {
    #[cfg(any(feature = "testkit", feature = "fault-points"))]
    fn kill(&self, name: &str, myself: &SupervisorRef) {
        for child in myself.get_children() {
            let place = self.actors.get(&child.get_id());
            if place.is_some_and(|place| self.arguments.children[*place].name == name) {
                child.kill();
            }
        }
    }

    async fn start(&mut self, child: usize, myself: &SupervisorRef) {
        let spec = &self.arguments.children[child];
        match (spec.spawn)(myself.get_cell()).await {
            Ok(actor) => {
                self.actors.insert(actor.get_id(), child);
            }
            Err(error) => {
                let waits = self.arguments.children[child].waits;
                let waits = matches!(&error, SpawnErr::StartupFailed(error) if waits(error));
                let why = if waits { Failure::Waits } else { Failure::NotStarted };
                self.failed(child, error.to_string(), why, myself);
            }
        }
    }

    fn failed(&mut self, child: usize, reason: String, why: Failure, myself: &SupervisorRef) {
        let name = self.arguments.children[child].name;
        let clock = Arc::clone(&self.arguments.clock);
        let verdict = match why {
            Failure::Waits => Verdict::RestartAfter(WAITING_PAUSE),
            _ => self.arguments.intensity.failed(clock.now(), child),
        };
        match verdict {
            Verdict::RestartAfter(pause) => {
                tracing::warn!(child = name, reason, ?pause, "an actor failed; it is restarted");
                self.arguments.counters.count(name, why);
                (self.arguments.on_restart)(Restart { actor: name, cause: why.name(), reason });
                let myself = myself.clone();
                let deadline = clock.now() + pause;
                tokio::spawn(async move {
                    if !pause.is_zero() {
                        clock.sleep_until(deadline).await;
                    }
                    // The supervisor gone meanwhile means that nothing is to be started.
                    let _ = myself.cast(SupervisorMessage::Start(child));
                });
            }
            Verdict::Escalate => {
                tracing::error!(child = name, reason, "a restart storm; giving up");
                (self.arguments.on_escalate)(Escalation { child: name, reason });
                myself.stop(Some(format!("restart storm of {name}")));
            }
        }
    }
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = Running;
    type Arguments = SupervisorArguments;

    async fn pre_start(
        &self,
        _myself: SupervisorRef,
        arguments: SupervisorArguments,
    ) -> Result<Running, ActorProcessingErr> {
        Ok(Running { arguments, actors: BTreeMap::new() })
    }

    async fn post_start(
        &self,
        myself: SupervisorRef,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        for child in 0..running.arguments.children.len() {
            running.start(child, &myself).await;
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: SupervisorRef,
        message: SupervisorMessage,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        let child = match message {
            SupervisorMessage::Add(spec) => {
                running.arguments.children.push(spec);
                running.arguments.children.len() - 1
            }
            SupervisorMessage::Start(child) => child,
            #[cfg(any(feature = "testkit", feature = "fault-points"))]
            SupervisorMessage::Kill(name) => {
                running.kill(&name, &myself);
                return Ok(());
            }
        };
        running.start(child, &myself).await;
        Ok(())
    }

    async fn post_stop(
        &self,
        myself: SupervisorRef,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        // In reverse, so that nobody loses what it needs; whoever does not end in time is killed
        // after this.
        let mut children = myself.get_children();
        let place = |child: &ActorCell| running.actors.get(&child.get_id()).copied();
        children.sort_by_key(|child| std::cmp::Reverse(place(child)));
        for child in children {
            let name = place(&child).map_or("?", |place| running.arguments.children[place].name);
            if child.stop_and_wait(None, Some(STOP_LIMIT)).await.is_err() {
                tracing::warn!(child = name, "an actor did not end in time; it is killed");
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: SupervisorRef,
        event: SupervisionEvent,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, reason, error) = match event {
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                (actor, reason.unwrap_or_else(|| "it ended".to_owned()), None)
            }
            SupervisionEvent::ActorFailed(actor, error) => (actor, error.to_string(), Some(error)),
            _ => return Ok(()),
        };
        if let Some(child) = running.actors.remove(&actor.get_id()) {
            let waits = running.arguments.children[child].waits;
            let why = match error {
                None => Failure::Ended,
                Some(error) if waits(&error) => Failure::Waits,
                Some(_) => Failure::Failed,
            };
            running.failed(child, reason, why, &myself);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyrid_wire::{Slot, SystemClock};
    use tokio::sync::mpsc;

    struct Fragile(mpsc::UnboundedSender<()>, Slot<Blow>);

    struct Blow(bool);
    impl Message for Blow {}

    impl Actor for Fragile {
        type Msg = Blow;
        type State = ();
        type Arguments = ();

        async fn pre_start(
            &self,
            myself: ActorRef<Blow>,
            (): (),
        ) -> Result<(), ActorProcessingErr> {
            self.1.fill(myself);
            self.0.send(())?;
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<Blow>,
            Blow(panics): Blow,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            assert!(!panics, "a panic");
            Err("an error".into())
        }
    }

    #[tokio::test]
    async fn a_failed_child_is_started_again_until_it_becomes_a_storm() {
        let (started, mut starts) = mpsc::unbounded_channel();
        let (escalated, mut escalations) = mpsc::unbounded_channel();
        let slot = Slot::new();
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let restarts = Arc::clone(&told);
        let counters = RestartCounters::of(["fragile"]);
        let child = slot.clone();
        let arguments = SupervisorArguments {
            children: vec![ChildSpec::new("fragile", move |supervisor| {
                let actor = Fragile(started.clone(), child.clone());
                async move {
                    let (actor, _) = Actor::spawn_linked(None, actor, (), supervisor).await?;
                    Ok(actor.get_cell())
                }
            })],
            intensity: Intensity::of(3),
            clock: Arc::new(SystemClock::new()),
            counters: counters.clone(),
            on_restart: Arc::new(move |restart: Restart| restarts.lock().unwrap().push(restart)),
            on_escalate: Arc::new(move |escalation| {
                let _ = escalated.send(escalation);
            }),
        };
        let (_, ended) = Actor::spawn(None, Supervisor, arguments).await.unwrap();
        for panics in [true, false, true, false] {
            starts.recv().await.unwrap();
            slot.cast(Blow(panics)).unwrap();
        }
        let escalation = escalations.recv().await.unwrap();
        assert_eq!((escalation.child, escalation.reason.as_str()), ("fragile", "an error"));
        ended.await.unwrap();
        assert_eq!(counters.by_child().collect::<Vec<_>>(), [("fragile", 3)]);
        let failed = counters.read().find(|(_, why, _)| *why == Failure::Failed);
        assert_eq!(failed, Some(("fragile", Failure::Failed, 3)));
        let told = told.lock().unwrap().clone();
        assert!(told[0].reason.contains("a panic"), "{told:?}");
        let error = ("fragile", "failed", "an error");
        assert_eq!((told[1].actor, told[1].cause, told[1].reason.as_str()), error);
    }

    /// A clock that stands still and lets nobody wait.
    struct Impatient;

    impl Clock for Impatient {
        fn now(&self) -> Duration {
            Duration::ZERO
        }

        fn wall(&self) -> std::time::SystemTime {
            std::time::SystemTime::UNIX_EPOCH
        }

        fn sleep_until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::ready(()))
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the tide is out")]
    struct Tide;

    #[tokio::test]
    async fn a_child_that_waits_for_something_outside_makes_no_storm() {
        let (started, mut starts) = mpsc::unbounded_channel();
        let slot = Slot::new();
        let (child, tides) = (slot.clone(), Arc::new(AtomicU64::new(0)));
        let spec = ChildSpec::new("fragile", move |supervisor| {
            let actor = Fragile(started.clone(), child.clone());
            let early = tides.fetch_add(1, Ordering::Relaxed) < 50;
            async move {
                if early {
                    return Err(SpawnErr::StartupFailed(Tide.into()));
                }
                let (actor, _) = Actor::spawn_linked(None, actor, (), supervisor).await?;
                Ok(actor.get_cell())
            }
        });
        let arguments = SupervisorArguments {
            children: vec![spec.waiting_while(|error| error.is::<Tide>())],
            intensity: Intensity::of(3),
            clock: Arc::new(Impatient),
            counters: RestartCounters::of(["fragile"]),
            on_restart: Arc::new(|restart| assert_eq!(restart.cause, "waits")),
            on_escalate: Arc::new(|escalation| panic!("{escalation}")),
        };
        let counters = arguments.counters.clone();
        let (supervisor, ended) = Actor::spawn(None, Supervisor, arguments).await.unwrap();
        starts.recv().await.unwrap();
        assert_eq!(counters.by_child().collect::<Vec<_>>(), [("fragile", 50)]);
        supervisor.stop(None);
        ended.await.unwrap();
    }
}
