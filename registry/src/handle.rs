use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use lampyrid_membership::{ViewHandle, ViewState};
use lampyrid_wire::{BubbleId, Epoch, Incarnation, ProcessId, Slot};

use crate::{Entry, OwnRegistration, RegistryError, RegistryMessage, Replica};

/// How long a registration may take if the caller has no wish of its own: several changes of
/// coordinator and cooldowns.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// The whole registry as one process has stored it: one broadcast of one coordinator, less the
/// processes that the installed view no longer lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologySnapshot {
    /// The epoch of the last broadcast stored here; 0 before the first.
    pub epoch: Epoch,
    /// Its number within the epoch.
    pub sequence: u64,
    /// The registered members with their bubbles, both in order of id.
    pub processes: Vec<(ProcessId, Vec<BubbleId>)>,
}

struct Stored {
    replica: Replica,
    own: OwnRegistration,
}

struct Shared {
    by_process: DashMap<ProcessId, Arc<Entry>>,
    by_bubble: DashMap<BubbleId, (ProcessId, Incarnation)>,
    stored: ArcSwap<Stored>,
    view: ViewHandle,
    slot: Slot<RegistryMessage>,
}

/// What runs where. Lookups are made by any thread, without a message and without waiting for the
/// registry actor, the only writer; what they return are copies. A line counts only while that life
/// of its process is in the installed view, so a removed process is gone with the view, before its
/// lines are purged. While the process is isolated, lookups answer from what it last knew.
#[derive(Clone)]
pub struct RegistryHandle(Arc<Shared>);

impl std::fmt::Debug for RegistryHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RegistryHandle").field(&self.0.stored.load().replica.version).finish()
    }
}

impl RegistryHandle {
    /// An empty registry read against `view`. With `initial` bubbles the process registers them by
    /// itself as soon as it is a member.
    #[must_use]
    pub fn new(view: ViewHandle, initial: Option<BTreeSet<BubbleId>>) -> Self {
        let own = initial.map(OwnRegistration::initial).unwrap_or_default();
        Self(Arc::new(Shared {
            by_process: DashMap::new(),
            by_bubble: DashMap::new(),
            stored: ArcSwap::from_pointee(Stored { replica: Replica::default(), own }),
            view,
            slot: Slot::new(),
        }))
    }

    /// Where the registry actor is found.
    #[must_use]
    pub fn slot(&self) -> &Slot<RegistryMessage> {
        &self.0.slot
    }

    /// The view against which it is read.
    #[must_use]
    pub fn view(&self) -> &ViewHandle {
        &self.0.view
    }

    /// Which process hosts the bubble.
    #[must_use]
    pub fn find_process(&self, bubble: BubbleId) -> Option<ProcessId> {
        let (process, incarnation) = *self.0.by_bubble.get(&bubble)?;
        counts(&self.0.view.current(), process, incarnation).then_some(process)
    }

    /// What the process hosts; `None` if it is not registered.
    #[must_use]
    pub fn bubbles_of(&self, process: ProcessId) -> Option<BTreeSet<BubbleId>> {
        let entry = Arc::clone(self.0.by_process.get(&process)?.value());
        counts(&self.0.view.current(), process, entry.incarnation).then(|| entry.set())?
    }

    /// All hosted bubbles.
    #[must_use]
    pub fn all_bubbles(&self) -> BTreeSet<BubbleId> {
        self.topology().processes.into_iter().flat_map(|(_, bubbles)| bubbles).collect()
    }

    /// All registered processes.
    #[must_use]
    pub fn all_processes(&self) -> BTreeSet<ProcessId> {
        self.topology().processes.into_iter().map(|(process, _)| process).collect()
    }

    /// The whole registry at one moment.
    #[must_use]
    pub fn topology(&self) -> TopologySnapshot {
        let stored = self.0.stored.load();
        let state = self.0.view.current();
        let version = stored.replica.version;
        TopologySnapshot {
            epoch: version.map(|version| version.epoch).unwrap_or_default(),
            sequence: version.map(|version| version.sequence).unwrap_or_default(),
            processes: stored
                .replica
                .entries
                .iter()
                .filter(|(process, entry)| counts(&state, **process, entry.incarnation))
                .filter_map(|(&process, entry)| {
                    Some((process, entry.bubbles.as_ref()?.keys().copied().collect()))
                })
                .collect(),
        }
    }

    /// Replaces the bubbles that this process hosts. Answered once a quorum of the view, and this
    /// process itself, have stored it; asked for again, over changes of coordinator, up to `limit`.
    /// The set stays requested whatever the answer, and is registered again by itself whenever
    /// the process is admitted anew.
    ///
    /// Not cancellation safe in the sense that dropping the future does not take the request back.
    ///
    /// # Errors
    /// [`RegistryError`]; each variant says what it means for the registry.
    pub async fn register(
        &self,
        bubbles: BTreeSet<BubbleId>,
        limit: Duration,
    ) -> Result<(), RegistryError> {
        self.request(Some(bubbles), limit).await
    }

    /// Makes this process host nothing and be listed no longer; else like
    /// [`RegistryHandle::register`].
    ///
    /// # Errors
    /// [`RegistryError`]; each variant says what it means for the registry.
    pub async fn unregister(&self, limit: Duration) -> Result<(), RegistryError> {
        self.request(None, limit).await
    }

    async fn request(
        &self,
        bubbles: Option<BTreeSet<BubbleId>>,
        limit: Duration,
    ) -> Result<(), RegistryError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.0
            .slot
            .cast(RegistryMessage::Register { bubbles, limit, reply })
            .map_err(|_| RegistryError::NotRunning)?;
        answer.await.unwrap_or(Err(RegistryError::NotRunning))
    }

    /// What the actor last published: from there its next life goes on.
    pub(crate) fn stored(&self) -> (Replica, OwnRegistration) {
        let stored = self.0.stored.load();
        (stored.replica.clone(), stored.own.clone())
    }

    /// Publishes; only for the registry actor, of which one runs at a time.
    pub(crate) fn install(&self, replica: Replica, own: OwnRegistration) {
        let before = self.0.stored.load_full();
        let stored = Arc::new(Stored { replica, own });
        self.0.stored.store(Arc::clone(&stored));
        for (&process, entry) in &stored.replica.entries {
            let old = before.replica.entries.get(&process);
            if old.is_some_and(|old| Arc::ptr_eq(old, entry) || old == entry) {
                continue;
            }
            for &bubble in entry.bubbles.iter().flat_map(|bubbles| bubbles.keys()) {
                self.0.by_bubble.insert(bubble, (process, entry.incarnation));
            }
            if let Some(old) = old {
                self.forget(process, old, Some(entry));
            }
            self.0.by_process.insert(process, Arc::clone(entry));
        }
        for (&process, old) in &before.replica.entries {
            if !stored.replica.entries.contains_key(&process) {
                self.0.by_process.remove(&process);
                self.forget(process, old, None);
            }
        }
    }

    /// Removes what `old` lists and `new` does not, unless somebody else hosts it by now.
    fn forget(&self, process: ProcessId, old: &Entry, new: Option<&Entry>) {
        let keeps = |bubble| {
            new.and_then(|new| new.bubbles.as_ref()).is_some_and(|new| new.contains_key(bubble))
        };
        for bubble in old.bubbles.iter().flat_map(|bubbles| bubbles.keys()) {
            if !keeps(bubble) {
                self.0.by_bubble.remove_if(bubble, |_, owner| owner.0 == process);
            }
        }
    }
}

fn counts(state: &ViewState, process: ProcessId, incarnation: Incarnation) -> bool {
    state.view.as_ref().is_some_and(|view| view.lists(process, incarnation))
}
