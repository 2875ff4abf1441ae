use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch};

use crate::{Input, StoreCall};

/// Why the host's store could not do it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct StoreError {
    /// What the host says.
    pub why: String,
}

/// The host's own store of the states of active entities. The journal owns ownership; this only
/// follows. Every call is idempotent, may come more than once, and comes again after a restart
/// before anything is served. Calls come one after the other, from a thread of their own, so they
/// may block. An epoch lower than the one the store has is old news, and to be ignored.
pub trait EntityStore: Send + Sync + 'static {
    /// From now on the entity is here with that state, unless the store has it at this epoch or a
    /// higher one already.
    ///
    /// # Errors
    /// The journal keeps the state and gives it again at the next start.
    fn attach(
        &self,
        entity: EntityId,
        bubble: BubbleId,
        epoch: OwnershipEpoch,
        state: Bytes,
    ) -> Result<(), StoreError>;

    /// The entity at that epoch is here no longer; one at a higher epoch is meant to stay.
    fn detach(&self, entity: EntityId, epoch: OwnershipEpoch);

    /// Stop changing it and give its state: it may be about to leave.
    ///
    /// # Errors
    /// It does not move, with [`crate::Reason::Refused`].
    fn freeze(&self, entity: EntityId, epoch: OwnershipEpoch) -> Result<Bytes, StoreError>;

    /// It stays: go on with it. Also called for one that was not frozen. What is frozen need not be
    /// remembered over a restart of the process.
    fn unfreeze(&self, entity: EntityId, epoch: OwnershipEpoch);

    /// Its state.
    ///
    /// # Errors
    /// Told to the caller.
    fn read(&self, entity: EntityId) -> Result<Bytes, StoreError>;

    /// Takes a new state; as durable as this store is when it returns.
    ///
    /// # Errors
    /// Told to the caller.
    fn write(
        &self,
        entity: EntityId,
        epoch: OwnershipEpoch,
        state: Bytes,
    ) -> Result<(), StoreError>;
}

/// Where the states of active entities are.
#[derive(Clone)]
pub enum Storage {
    /// In the journal's own transactions, the default: what was acknowledged survives a kill.
    Durable,
    /// In the host's own store.
    Host(HostStore),
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Durable => "Durable",
            Self::Host(_) => "Host",
        })
    }
}

/// What the store was told to freeze, and nothing since.
pub(crate) type Frozen = BTreeMap<EntityId, OwnershipEpoch>;

/// A host's store, used by one thread at a time over the restarts of the actor.
#[derive(Clone)]
pub struct HostStore {
    store: Arc<dyn EntityStore>,
    lease: Arc<Mutex<Frozen>>,
}

impl HostStore {
    /// Uses that store.
    #[must_use]
    pub fn new(store: Arc<dyn EntityStore>) -> Self {
        Self { store, lease: Arc::default() }
    }

    /// Starts the thread that calls the store, in the order given. It ends when the sender is
    /// dropped and everything was done.
    pub(crate) fn start(
        &self,
        report: impl Fn(Input) + Send + 'static,
    ) -> std::io::Result<Sender<StoreCall>> {
        let (sender, calls) = channel();
        let Self { store, lease } = self.clone();
        std::thread::Builder::new().name("lampyrid-store".to_owned()).spawn(move || {
            let mut frozen = lease.lock().unwrap_or_else(PoisonError::into_inner);
            for call in calls {
                if let Some(input) = perform(&*store, &mut frozen, call) {
                    report(input);
                }
            }
        })?;
        Ok(sender)
    }
}

pub(crate) fn perform(
    store: &dyn EntityStore,
    frozen: &mut Frozen,
    call: StoreCall,
) -> Option<Input> {
    let why = |error: StoreError| error.why;
    match call {
        StoreCall::Freeze(part, id, epoch) => {
            frozen.insert(id, epoch);
            Some(Input::StoreFrozen(part, id, store.freeze(id, epoch).map_err(why)))
        }
        StoreCall::Unfreeze(id, epoch) => {
            frozen.remove(&id);
            store.unfreeze(id, epoch);
            None
        }
        StoreCall::UnfreezeAll => {
            let stays = std::mem::take(frozen);
            stays.into_iter().for_each(|(id, epoch)| store.unfreeze(id, epoch));
            None
        }
        StoreCall::Detach(id, epoch) => {
            frozen.remove(&id);
            store.detach(id, epoch);
            None
        }
        StoreCall::Attach(id, bubble, epoch, state) => {
            if frozen.get(&id).is_some_and(|at| *at < epoch) {
                frozen.remove(&id);
            }
            let attached = store.attach(id, bubble, epoch, state);
            attached.is_ok().then_some(Input::StoreAttached(id, epoch))
        }
        StoreCall::Read(call, id, _) => {
            Some(Input::StoreAnswered(call, id, store.read(id).map_err(why)))
        }
        StoreCall::Write(call, id, epoch, state) => {
            let written = store.write(id, epoch, state.clone()).map(|()| state);
            Some(Input::StoreAnswered(call, id, written.map_err(why)))
        }
    }
}

/// The simplest store of a host: in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entities: Mutex<BTreeMap<EntityId, Held>>,
}

#[derive(Debug)]
struct Held {
    epoch: OwnershipEpoch,
    state: Bytes,
    frozen: bool,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn entities(&self) -> MutexGuard<'_, BTreeMap<EntityId, Held>> {
        self.entities.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing() -> StoreError {
    StoreError { why: "the store does not have that entity".to_owned() }
}

impl EntityStore for MemoryStore {
    fn attach(
        &self,
        entity: EntityId,
        _bubble: BubbleId,
        epoch: OwnershipEpoch,
        state: Bytes,
    ) -> Result<(), StoreError> {
        let mut entities = self.entities();
        if entities.get(&entity).is_none_or(|held| held.epoch < epoch) {
            entities.insert(entity, Held { epoch, state, frozen: false });
        }
        Ok(())
    }

    fn detach(&self, entity: EntityId, epoch: OwnershipEpoch) {
        let mut entities = self.entities();
        if entities.get(&entity).is_some_and(|held| held.epoch <= epoch) {
            entities.remove(&entity);
        }
    }

    fn freeze(&self, entity: EntityId, epoch: OwnershipEpoch) -> Result<Bytes, StoreError> {
        let mut entities = self.entities();
        let held = entities.get_mut(&entity).filter(|held| held.epoch == epoch);
        let held = held.ok_or_else(missing)?;
        held.frozen = true;
        Ok(held.state.clone())
    }

    fn unfreeze(&self, entity: EntityId, epoch: OwnershipEpoch) {
        if let Some(held) = self.entities().get_mut(&entity).filter(|held| held.epoch == epoch) {
            held.frozen = false;
        }
    }

    fn read(&self, entity: EntityId) -> Result<Bytes, StoreError> {
        self.entities().get(&entity).map(|held| held.state.clone()).ok_or_else(missing)
    }

    fn write(
        &self,
        entity: EntityId,
        epoch: OwnershipEpoch,
        state: Bytes,
    ) -> Result<(), StoreError> {
        let mut entities = self.entities();
        let held = entities.get_mut(&entity).filter(|held| held.epoch == epoch);
        let held = held.ok_or_else(missing)?;
        if held.frozen {
            return Err(StoreError { why: "the entity is frozen".to_owned() });
        }
        held.state = state;
        Ok(())
    }
}
