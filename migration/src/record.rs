use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lampyrid_wire::{BubbleId, EntityId, ProcessId, SagaId};

use crate::row::{ActivationRow, EntityRow, KeyRow, PartRow, SagaRow, StagingRow};
use crate::{BarRow, BubbleMoveRow, DrainRow, IncomingRow, MovedTo, PartId};

/// What a durable record says; its name in fault points, logs and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RecordKind {
    /// A bubble is hosted here from now on.
    CreateBubble,
    /// A bubble is hosted here no longer.
    RetireBubble,
    /// Entities began here.
    Create,
    /// An entity's state changed.
    Put,
    /// An entity ended.
    Delete,
    /// A migration request was admitted.
    Admit,
    /// Entities are frozen to move.
    Prepare,
    /// Source: the entities left; the decision.
    Commit,
    /// Source: the destination acknowledged. Callers are told without waiting for it: that the
    /// entities are the destination's has been durable since COMMIT.
    End,
    /// Source: nothing left.
    Abort,
    /// Entities moved between two bubbles of this process.
    Local,
    /// Destination: inactive copies exist.
    Stage,
    /// Destination: copies became active, and the outcome.
    Activate,
    /// Destination: copies were dropped.
    Discard,
    /// The host's store has taken an entity's state over.
    Attached,
    /// Outcomes, keys and forwarding addresses that have had their time are forgotten.
    Purge,
    /// A bubble is to move away, or that is over.
    MoveBubble,
    /// A bubble that moves is hosted here no longer.
    ReleaseBubble,
    /// A bubble is to come here, or that is over.
    TakeBubble,
    /// A bubble that came is hosted here.
    HostBubble,
    /// Everything is to go elsewhere, or that is over.
    Drain,
    /// A process is barred for ever.
    Bar,
    /// Source: what left for a process that is barred is here again.
    Reinstall,
    /// Reserved for adoption: a destination asks for consent to abort.
    AbortRequest,
    /// Reserved for adoption: a source consents.
    AbortConsent,
    /// Reserved for adoption: a destination will never stage that part.
    Refused,
}

/// One row put or removed. Writes are absolute, so doing one twice is doing it once. Rows that hold
/// lists are shared between the image and its records, not copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// An entity owned here.
    Entity(EntityId, Option<EntityRow>),
    /// A bubble hosted here.
    Bubble(BubbleId, bool),
    /// A request admitted here.
    Saga(SagaId, Option<Arc<SagaRow>>),
    /// A part whose source this is.
    Part(PartId, Option<Arc<PartRow>>),
    /// Inactive copies here.
    Staging(PartId, Option<Arc<StagingRow>>),
    /// The outcome of a part whose destination this is.
    Activation(PartId, Option<Arc<ActivationRow>>),
    /// Where an entity went.
    Moved(EntityId, Option<MovedTo>),
    /// An idempotency key.
    Key(String, Option<KeyRow>),
    /// A bubble on its way from here.
    BubbleMove(BubbleId, Option<BubbleMoveRow>),
    /// A bubble on its way here.
    Incoming(BubbleId, Option<IncomingRow>),
    /// Everything is to go elsewhere.
    Drain(Option<DrainRow>),
    /// A process is barred.
    Bar(ProcessId, Option<BarRow>),
}

/// One durable record. All records of one step are one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// What it says.
    pub kind: RecordKind,
    /// The rows it changes.
    pub writes: Vec<Write>,
}

/// All rows: what a journal gives back on replay, and what the core works on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// Entities owned here.
    pub entities: BTreeMap<EntityId, EntityRow>,
    /// Bubbles hosted here.
    pub bubbles: BTreeSet<BubbleId>,
    /// Requests admitted here.
    pub sagas: BTreeMap<SagaId, Arc<SagaRow>>,
    /// Parts whose source this is.
    pub parts: BTreeMap<PartId, Arc<PartRow>>,
    /// Inactive copies here.
    pub stagings: BTreeMap<PartId, Arc<StagingRow>>,
    /// Outcomes of parts whose destination this is.
    pub activations: BTreeMap<PartId, Arc<ActivationRow>>,
    /// Where entities went.
    pub moved: BTreeMap<EntityId, MovedTo>,
    /// Idempotency keys.
    pub keys: BTreeMap<String, KeyRow>,
    /// Bubbles on their way from here.
    pub moves: BTreeMap<BubbleId, BubbleMoveRow>,
    /// Bubbles on their way here.
    pub incoming: BTreeMap<BubbleId, IncomingRow>,
    /// Set while everything is to go elsewhere.
    pub drain: Option<DrainRow>,
    /// Processes that are barred for ever.
    pub barred: BTreeMap<ProcessId, BarRow>,
}

impl Image {
    /// Applies one write.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Entity(id, row) => set(&mut self.entities, id, row),
            Write::Bubble(id, true) => {
                self.bubbles.insert(*id);
            }
            Write::Bubble(id, false) => {
                self.bubbles.remove(id);
            }
            Write::Saga(id, row) => set(&mut self.sagas, id, row),
            Write::Part(id, row) => set(&mut self.parts, id, row),
            Write::Staging(id, row) => set(&mut self.stagings, id, row),
            Write::Activation(id, row) => set(&mut self.activations, id, row),
            Write::Moved(id, row) => set(&mut self.moved, id, row),
            Write::Key(key, row) => set(&mut self.keys, key, row),
            Write::BubbleMove(id, row) => set(&mut self.moves, id, row),
            Write::Incoming(id, row) => set(&mut self.incoming, id, row),
            Write::Drain(row) => self.drain = *row,
            Write::Bar(process, row) => set(&mut self.barred, process, row),
        }
    }
}

fn set<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, key: &K, value: &Option<V>) {
    match value {
        Some(value) => {
            map.insert(key.clone(), value.clone());
        }
        None => {
            map.remove(key);
        }
    }
}
