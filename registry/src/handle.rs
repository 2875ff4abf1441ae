use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use lampyrid_membership::{ViewHandle, ViewState};
use lampyrid_wire::{BubbleId, Epoch, Incarnation, ProcessId, Slot};
use tokio::sync::watch;

use crate::{Entry, OwnRegistration, RegistryError, RegistryMessage, Replica};

/// How long a registration may take if the caller has no wish of its own: several changes of
/// coordinator and cooldowns.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// The whole registry as one process has stored it: one broadcast of one coordinator, less the
/// processes that the installed view no longer lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    changed: watch::Sender<()>,
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
            changed: watch::Sender::new(()),
        }))
    }

    /// Where the registry actor is found.
    #[must_use]
    pub fn slot(&self) -> &Slot<RegistryMessage> {
        &self.0.slot
    }

    /// Says whenever another broadcast was stored.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
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

    /// The epoch of the last broadcast stored here; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.stored.load().replica.version.map(|version| version.epoch).unwrap_or_default()
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
        // First what is new, then what is over: a bubble that changes hosts is never without one.
        for (&process, entry) in &stored.replica.entries {
            if before.replica.entries.get(&process) == Some(entry) {
                continue;
            }
            for &bubble in entry.bubbles.iter().flat_map(|bubbles| bubbles.keys()) {
                self.0.by_bubble.insert(bubble, (process, entry.incarnation));
            }
            self.0.by_process.insert(process, Arc::clone(entry));
        }
        for (&process, old) in &before.replica.entries {
            let new = stored.replica.entries.get(&process);
            if new == Some(old) {
                continue;
            }
            if new.is_none() {
                self.0.by_process.remove(&process);
            }
            self.forget(process, old, new.map(Arc::as_ref));
        }
        self.0.changed.send_replace(());
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lampyrid_membership::{Status, View};
    use lampyrid_wire::{ClusterId, ManualClock, Member};
    use proptest::prelude::*;

    use super::*;
    use crate::Version;

    fn handle(incarnations: &[u64]) -> RegistryHandle {
        let member = |(at, &incarnation): (usize, &u64)| Member {
            process: process(at as u128 + 1),
            incarnation: Incarnation(incarnation),
            name: String::new(),
            address: "127.0.0.1:1".parse().unwrap(),
            admin: None,
        };
        let members: Vec<Member> = incarnations.iter().enumerate().map(member).collect();
        let me = members[0].clone();
        let first = View::first(ClusterId::from_u128(1), "c", me.clone());
        let view = Some(Arc::new(first.successor(members).unwrap()));
        let state = ViewState { me, status: Status::Active, view, waiting_for: vec![] };
        RegistryHandle::new(ViewHandle::new(Arc::new(ManualClock::new()), state), None)
    }

    fn process(number: u128) -> ProcessId {
        ProcessId::from_u128(number)
    }

    fn replica(hosts: &[(u128, u64, &[u128])]) -> Replica {
        let version = Version { epoch: Epoch(1), sequence: 0 };
        let entry = |incarnation, bubbles: &[u128]| Entry {
            incarnation: Incarnation(incarnation),
            request: 1,
            bubbles: Some(bubbles.iter().map(|&b| (BubbleId::from_u128(b), version)).collect()),
            claimed: BTreeMap::new(),
        };
        Replica {
            version: Some(version),
            entries: hosts
                .iter()
                .map(|&(p, incarnation, bubbles)| {
                    (process(p), Arc::new(entry(incarnation, bubbles)))
                })
                .collect(),
        }
    }

    #[test]
    fn a_line_of_another_life_counts_for_nothing() {
        let handle = handle(&[1, 2]);
        let old = replica(&[(1, 1, &[5]), (2, 1, &[6])]);
        handle.install(old, OwnRegistration::default());
        assert_eq!(handle.find_process(BubbleId::from_u128(5)), Some(process(1)));
        assert_eq!(handle.find_process(BubbleId::from_u128(6)), None);
        assert_eq!(handle.bubbles_of(process(2)), None);
        assert_eq!(handle.all_processes(), BTreeSet::from([process(1)]));
        assert_eq!(handle.topology().processes.len(), 1);
    }

    proptest! {
        #[test]
        fn both_directions_agree_whatever_is_installed_after_whatever(
            states in prop::collection::vec(prop::collection::btree_map(1_u128..9, 1_u128..4, 0..8), 1..12),
        ) {
            let handle = handle(&[1, 1, 1]);
            for hosts in states {
                let of = |p| hosts.iter().filter(|&(_, &h)| h == p).map(|(&b, _)| b).collect::<Vec<_>>();
                let sets: Vec<(u128, Vec<u128>)> =
                    (1..4).map(|p| (p, of(p))).filter(|(_, set)| !set.is_empty()).collect();
                let lines: Vec<_> = sets.iter().map(|(p, set)| (*p, 1, &set[..])).collect();
                handle.install(replica(&lines), OwnRegistration::default());
                for bubble in 1..9 {
                    let host = hosts.get(&bubble).map(|&host| process(host));
                    prop_assert_eq!(handle.find_process(BubbleId::from_u128(bubble)), host);
                }
                for p in 1..4 {
                    let set = sets.iter().find(|(other, _)| *other == p).map(|(_, set)| {
                        set.iter().map(|&bubble| BubbleId::from_u128(bubble)).collect()
                    });
                    prop_assert_eq!(handle.bubbles_of(process(p)), set);
                }
            }
        }
    }
}
