use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, Sender, channel};
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
/// before anything is served. An epoch lower than the one the store has is old news, and to be
/// ignored.
///
/// Calls come one after the other, from a thread of their own, so they may block; but all entities
/// of the process wait for the one that does. A freeze that takes longer than
/// [`crate::Limits::phase`] gives up its move, a caller waits 10 s at most, and while 65,536 calls
/// wait further ones are refused as overloaded.
///
/// A panic is an error like any other (`the store panicked: ...`): the thread goes on with the next
/// call, so a store that has locks has to use them again after one that panicked held them.
pub trait EntityStore: Send + Sync + 'static {
    /// From now on the entity is here with that state, unless the store has it at this epoch or a
    /// higher one already.
    ///
    /// # Errors
    /// Logged. The journal keeps the state and gives it again when somebody reads, writes or moves
    /// the entity, and at the next start. It is owned here all the same, and can leave.
    fn attach(
        &self,
        entity: EntityId,
        bubble: BubbleId,
        epoch: OwnershipEpoch,
        state: Bytes,
    ) -> Result<(), StoreError>;

    /// The entity at that epoch is here no longer; one at a higher epoch is meant to stay. Also
    /// called before one is created under an id that the caller chose, for what an entity of that
    /// id may have left behind, at an epoch above all others: what is detached is forgotten, its
    /// epoch as well. One that was deleted just before the process ended may not be detached again.
    fn detach(&self, entity: EntityId, epoch: OwnershipEpoch);

    /// Stop changing it and give its state: it may be about to leave. A state above
    /// [`crate::Limits::state_bytes`] does not.
    ///
    /// # Errors
    /// It does not move, with [`crate::Reason::Refused`], and is unfrozen.
    fn freeze(&self, entity: EntityId, epoch: OwnershipEpoch) -> Result<Bytes, StoreError>;

    /// It stays: go on with it. Also called for one that was not frozen, and again before a write
    /// if it panicked. What is frozen need not be remembered over a restart of the process.
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

/// Calls that may wait for a store.
pub(crate) const STORE_CALLS_MAX: usize = 65_536;

/// So much of what a panic says is told.
const PANIC_BYTES: usize = 1_024;

/// What the store was told to freeze, and nothing since that it did.
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

    /// Starts the thread that calls the store, in the order given. It ends when what is returned is
    /// dropped and everything was done.
    pub(crate) fn start(
        &self,
        report: impl Fn(Input) + Send + 'static,
    ) -> std::io::Result<StoreCalls> {
        let (sender, calls) = channel();
        let behind = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&behind);
        let Self { store, lease } = self.clone();
        std::thread::Builder::new().name("lampyrid-store".to_owned()).spawn(move || {
            let mut frozen = lease.lock().unwrap_or_else(PoisonError::into_inner);
            for call in calls {
                if let Some(input) = perform(&*store, &mut frozen, call) {
                    report(input);
                }
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
        })?;
        Ok(StoreCalls { sender, behind })
    }
}

/// Calls on their way to the store's thread.
pub(crate) struct StoreCalls {
    sender: Sender<StoreCall>,
    behind: Arc<AtomicUsize>,
}

impl StoreCalls {
    pub(crate) fn send(&self, call: StoreCall) -> Result<(), SendError<StoreCall>> {
        self.behind.fetch_add(1, Ordering::Relaxed);
        self.sender.send(call)
    }

    /// True while so much is to be done that callers are refused: a store that hangs must not have
    /// them pile up.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed) >= STORE_CALLS_MAX
    }
}

/// Calls a store by its host. A panic there is the host's, and an error to whoever asked: the
/// thread goes on, for others wait for it.
fn guarded<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(|error| error.why),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let mut why = text.unwrap_or_else(|| "no text".to_owned());
            // Nobody knows what else it has in it, and callers elsewhere are told.
            let end = (0..=PANIC_BYTES).rev().find(|&end| why.is_char_boundary(end));
            why.truncate(end.unwrap_or_default());
            Err(format!("the store panicked: {why}"))
        }
    }
}

/// The same for a call that cannot fail otherwise. True if it did not.
fn done(what: &str, id: EntityId, epoch: OwnershipEpoch, call: impl FnOnce()) -> bool {
    let call = || {
        call();
        Ok(())
    };
    let called = guarded(call);
    if let Err(error) = &called {
        tracing::error!(entity = %id, %epoch, error, "the host's store failed to {what}");
    }
    called.is_ok()
}

fn unfreeze(store: &dyn EntityStore, frozen: &mut Frozen, id: EntityId, epoch: OwnershipEpoch) {
    if done("unfreeze an entity", id, epoch, || store.unfreeze(id, epoch)) {
        frozen.remove(&id);
    }
}

pub(crate) fn perform(
    store: &dyn EntityStore,
    frozen: &mut Frozen,
    call: StoreCall,
) -> Option<Input> {
    match call {
        StoreCall::Freeze(part, id, epoch) => {
            frozen.insert(id, epoch);
            Some(Input::StoreFrozen(part, id, guarded(|| store.freeze(id, epoch))))
        }
        StoreCall::Unfreeze(id, epoch) => {
            unfreeze(store, frozen, id, epoch);
            None
        }
        StoreCall::UnfreezeAll => {
            for (id, epoch) in frozen.clone() {
                unfreeze(store, frozen, id, epoch);
            }
            None
        }
        StoreCall::Detach(id, epoch) => {
            frozen.remove(&id);
            done("detach an entity", id, epoch, || store.detach(id, epoch));
            None
        }
        StoreCall::Attach(id, bubble, epoch, state) => {
            if frozen.get(&id).is_some_and(|at| *at < epoch) {
                frozen.remove(&id);
            }
            let attached = guarded(|| store.attach(id, bubble, epoch, state));
            if let Err(error) = &attached {
                let what = "the host's store did not take an entity over: the journal keeps it";
                tracing::error!(entity = %id, %epoch, error, "{what}");
            }
            Some(Input::StoreAttached(id, epoch, attached))
        }
        StoreCall::Read(call, id, _) => {
            Some(Input::StoreAnswered(call, id, guarded(|| store.read(id))))
        }
        StoreCall::Write(call, id, epoch, state) => {
            // Nobody writes what is to be frozen: the store panicked when it was to unfreeze it.
            if frozen.get(&id) == Some(&epoch) {
                unfreeze(store, frozen, id, epoch);
            }
            let written = guarded(|| store.write(id, epoch, state.clone()));
            Some(Input::StoreAnswered(call, id, written.map(|()| state)))
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
