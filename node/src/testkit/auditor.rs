use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lampyrid_membership::ViewEvent;
use lampyrid_migration::{EntityStatus, Reason, StatusFilter};
use lampyrid_wire::{ClusterId, EntityId, Epoch, ProcessId, ViewId};

use crate::Node;

/// Entities asked for at a time.
const PAGE: usize = 10_000;

/// Knows which entities there must be and which views were seen, and says whether what must hold
/// does. Clones are the same auditor.
#[derive(Debug, Clone, Default)]
pub struct Auditor(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    expected: BTreeSet<EntityId>,
    views: BTreeMap<(ClusterId, Epoch), BTreeSet<ViewId>>,
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Entities that are active, in one place.
    pub active: usize,
    /// Those that are frozen or staged somewhere and active nowhere: on their way.
    pub moving: BTreeSet<EntityId>,
    /// Those that were expected and are nowhere.
    pub lost: BTreeSet<EntityId>,
    /// Those that are active more than once, and where.
    pub doubled: BTreeMap<EntityId, Vec<ProcessId>>,
    /// Epochs with more than one view.
    pub split: Vec<(ClusterId, Epoch)>,
}

impl Findings {
    /// True if nothing is lost, doubled or split. What moves is neither.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.split.is_empty()
    }

    /// True if nothing moves either.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_sound() && self.moving.is_empty()
    }
}

impl Auditor {
    /// One that expects nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are expected.
    pub fn expect(&self, entities: impl IntoIterator<Item = EntityId>) {
        self.known().expected.extend(entities);
    }

    /// Notes every view that this process installs.
    pub fn watch(&self, node: &Node) {
        let auditor = self.clone();
        node.subscribe(Arc::new(move |event: ViewEvent| {
            if let Some(view) = &event.state.view {
                let name = (view.cluster(), view.epoch());
                auditor.known().views.entry(name).or_default().insert(view.id());
            }
        }));
    }

    /// Asks these processes for all that they have, one after the other: an entity that moves
    /// meanwhile may be met twice or not at all, so audit when nothing moves.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: a process did not answer.
    pub async fn audit(&self, nodes: impl IntoIterator<Item = &Node>) -> Result<Findings, Reason> {
        let mut active: BTreeMap<EntityId, Vec<ProcessId>> = BTreeMap::new();
        let mut moving = BTreeSet::new();
        for node in nodes {
            let process = node.member().process;
            let mut after = None;
            loop {
                let page = node.migration().list(StatusFilter::All, after, PAGE).await?;
                for entity in page.entities {
                    match entity.status {
                        EntityStatus::Active => active.entry(entity.id).or_default().push(process),
                        _ => drop(moving.insert(entity.id)),
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        moving.retain(|id| !active.contains_key(id));
        let known = self.known();
        let found = |id: &&EntityId| active.contains_key(id) || moving.contains(id);
        let lost = known.expected.iter().filter(|id| !found(id)).copied().collect();
        let split = known.views.iter().filter(|(_, ids)| ids.len() > 1);
        let split = split.map(|(name, _)| *name).collect();
        let all = active.len();
        active.retain(|_, places| places.len() > 1);
        Ok(Findings { active: all - active.len(), moving, lost, doubled: active, split })
    }
}
