use std::sync::{Arc, RwLock};

use ractor::{ActorRef, Message};

/// The actor is not running now: it is being restarted, or the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the actor is not running now; it is being restarted or the process is stopping: try again"
)]
pub struct NotRunning;

/// Where a supervised actor can be found over its restarts. The actor puts itself in when it
/// starts; whoever holds a clone casts to the one that runs now. (ractor's own names are global to
/// the operating-system process, which several members in one test process would share.)
pub struct Slot<M: Message>(Arc<RwLock<Option<ActorRef<M>>>>);

impl<M: Message> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Message> Default for Slot<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M: Message> std::fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

impl<M: Message> Slot<M> {
    /// An empty slot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the running actor in, in place of the one before.
    pub fn fill(&self, actor: ActorRef<M>) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(actor);
    }

    /// The actor that runs now, if any.
    #[must_use]
    pub fn get(&self) -> Option<ActorRef<M>> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Casts to the actor that runs now.
    ///
    /// # Errors
    /// [`NotRunning`]; the message is dropped.
    pub fn cast(&self, message: M) -> Result<(), NotRunning> {
        self.get().ok_or(NotRunning)?.cast(message).map_err(|_| NotRunning)
    }
}
