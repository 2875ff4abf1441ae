//! The supervision tree of one process. Everything given to a child outlives it, so that a
//! restarted child goes on where the one before ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use lampyrid_coordinator::{
    BroadcasterActor, BroadcasterArguments, CoordinatorActor, CoordinatorArguments,
};
use lampyrid_membership::{MembershipActor, MembershipArguments};
use lampyrid_migration::{
    MigrationActor, MigrationArguments, MigrationCounters, MigrationFault, MigrationMessage,
};
use lampyrid_registry::{RegistryActor, RegistryArguments};
use lampyrid_wire::{BubbleId, Clock, ProcessId, Slot};
use ractor::{Actor, ActorCell, ActorStatus, SpawnErr};
use tokio::sync::watch;

use super::end::{End, Fatal};
use super::event_log::EventLog;
use super::net::Net;
use crate::links::LinkCounters;
use crate::requests::RequestCounters;
use crate::supervision::{
    ChildSpec, Intensity, RestartCounters, Supervisor, SupervisorArguments, SupervisorMessage,
    SupervisorRef,
};

/// The children, by their names in logs and metrics.
const NAMES: [&str; 6] =
    ["migration", "links", "membership", "registry", "coordinator", "broadcaster"];

/// The running tree.
pub(super) struct Tree {
    supervisor: SupervisorRef,
    ended: watch::Receiver<bool>,
    restarts: RestartCounters,
    migration: Slot<MigrationMessage>,
    pub(super) counters: Counters,
}

/// What the parts have done; for the metrics.
#[derive(Clone, Default)]
pub(super) struct Counters {
    pub(super) links: Arc<LinkCounters>,
    pub(super) membership: Arc<lampyrid_membership::Counters>,
    pub(super) registry: Arc<lampyrid_registry::Counters>,
    pub(super) migration: Arc<MigrationCounters>,
    pub(super) requests: Arc<RequestCounters>,
    /// Until when the certificate is valid, in seconds since 1970; 0 without one.
    pub(super) certificate: Arc<AtomicU64>,
}

/// Bubbles of this process that other processes host. Outlives the actor that is told of them.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<BTreeMap<BubbleId, ProcessId>>>);

impl Claims {
    pub(super) fn add(&self, bubble: BubbleId, by: ProcessId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(bubble, by);
    }

    /// Those that are asked for again: whoever hosts them says so again.
    pub(super) fn forget(&self, bubbles: &BTreeSet<BubbleId>) {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|bubble, _| !bubbles.contains(bubble));
    }

    /// Those of `bubbles` that others host.
    pub(super) fn among(&self, bubbles: &BTreeSet<BubbleId>) -> BTreeMap<BubbleId, ProcessId> {
        let mut claims = self.all();
        claims.retain(|bubble, _| bubbles.contains(bubble));
        claims
    }

    fn all(&self) -> BTreeMap<BubbleId, ProcessId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How to start the children that need the bubbles to be known.
pub(super) struct Rest {
    pub(super) links: Net,
    pub(super) membership: MembershipArguments,
    pub(super) registry: RegistryArguments,
    pub(super) coordinator: CoordinatorArguments,
    pub(super) broadcaster: BroadcasterArguments,
}

impl Tree {
    /// Starts the supervisor with its first child: migration, which replays the journal.
    pub(super) async fn start(
        clock: &Arc<dyn Clock>,
        end: &Arc<End>,
        counters: Counters,
        claims: Claims,
        events: EventLog,
        migration: impl Fn() -> MigrationArguments + Send + Sync + 'static,
    ) -> Result<Self, SpawnErr> {
        let restarts = RestartCounters::of(NAMES);
        let slot = migration().slot;
        let end = Arc::clone(end);
        let told = slot.clone();
        let child = ChildSpec::new(NAMES[0], move |supervisor| {
            let spawning = linked(MigrationActor, migration(), supervisor);
            let (claims, told) = (claims.clone(), told.clone());
            async move {
                let actor = spawning.await?;
                for (bubble, by) in claims.all() {
                    // An actor that has failed again is told again after its next start.
                    let _ = told.cast(MigrationMessage::BubbleClaimed(bubble, by));
                }
                Ok(actor)
            }
        })
        // Without room in its journal it can do nothing, and ending the process makes none.
        .waiting_while(|error| error.downcast_ref().is_some_and(MigrationFault::is_full));
        let arguments = SupervisorArguments {
            children: vec![child],
            intensity: Intensity::default(),
            clock: Arc::clone(clock),
            counters: restarts.clone(),
            on_restart: Arc::new(move |restart| events.note_restart(restart)),
            on_escalate: Arc::new(move |escalation| end.set(Err(Fatal::from(escalation)))),
        };
        let (supervisor, running) = Actor::spawn(None, Supervisor, arguments).await?;
        let (tell, ended) = watch::channel(false);
        tokio::spawn(async move {
            // A supervisor that panicked has ended as well.
            let _ = running.await;
            tell.send_replace(true);
        });
        Ok(Self { supervisor, ended, restarts, migration: slot, counters })
    }

    /// Starts the other children, in the order in which one needs the other.
    pub(super) fn add(&self, rest: Rest) {
        let Rest { links, membership, registry, coordinator, broadcaster } = rest;
        let links = match links {
            Net::Tcp(links) => Some(ChildSpec::new(NAMES[1], move |supervisor| {
                let links = links.clone();
                async move {
                    links
                        .spawn_linked(supervisor)
                        .await
                        .map_err(|error| SpawnErr::StartupFailed(error.into()))
                }
            })),
            #[cfg(feature = "testkit")]
            Net::Memory(_) => None,
        };
        let others = [
            ChildSpec::new(NAMES[2], move |supervisor| {
                linked(MembershipActor, membership.clone(), supervisor)
            }),
            ChildSpec::new(NAMES[3], move |supervisor| {
                linked(RegistryActor, registry.clone(), supervisor)
            }),
            ChildSpec::new(NAMES[4], move |supervisor| {
                linked(CoordinatorActor, coordinator.clone(), supervisor)
            }),
            ChildSpec::new(NAMES[5], move |supervisor| {
                linked(BroadcasterActor, broadcaster.clone(), supervisor)
            }),
        ];
        for child in links.into_iter().chain(others) {
            // A supervisor that has ended already has said why.
            let _ = self.supervisor.cast(SupervisorMessage::Add(child));
        }
    }

    /// Turns true once the supervisor, and with it every child, has ended.
    pub(super) fn watch_end(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// True once it has.
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    pub(super) fn supervisor(&self) -> SupervisorRef {
        self.supervisor.clone()
    }

    /// Resolves once the supervisor, and with it every child, has ended.
    pub(super) async fn ended(&self) {
        self.supervisor.stop(Some("the process ends".to_owned()));
        // The sender gone means the same.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// True while the migration actor runs: it has replayed its journal and can write it.
    pub(super) fn migration_runs(&self) -> bool {
        self.migration.get().is_some_and(|actor| actor.get_status() == ActorStatus::Running)
    }

    #[cfg(test)]
    pub(super) fn migration_slot(&self) -> Slot<MigrationMessage> {
        self.migration.clone()
    }

    /// Restarts so far, by child and cause.
    pub(super) fn restarts(&self) -> &RestartCounters {
        &self.restarts
    }
}

async fn linked<A: Actor>(
    actor: A,
    arguments: A::Arguments,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, actor, arguments, supervisor).await?;
    Ok(actor.get_cell())
}
