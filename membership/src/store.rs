use std::sync::{Arc, Mutex, PoisonError};

use lampyrid_wire::{ClusterId, Incarnation, ProcessId, Term};
use serde::{Deserialize, Serialize};

use crate::{Rank, View, Vote};

/// All that membership must find again after a crash. One value, written whole: a view and the end
/// of its predecessor's promises and votes are one transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AcceptorState {
    /// This process.
    pub process: ProcessId,
    /// The highest incarnation it has used.
    pub incarnation: Incarnation,
    /// Its cluster; set once. Only an operator's command leads to another, see
    /// [`AcceptorState::force_new_cluster`].
    pub cluster: Option<ClusterId>,
    /// The newest view it has installed.
    pub view: Option<Arc<View>>,
    /// The highest rank promised among the successors of `view`.
    pub promised: Option<Rank>,
    /// The vote of the highest rank given among the successors of `view`.
    pub voted: Option<Vote>,
    /// The last view of each cluster that it left by an operator's command, the newest last. Stores
    /// of before there was such a command do not have the field.
    #[serde(default)]
    pub parents: Vec<Term>,
}

impl AcceptorState {
    /// The state of a process that has never been anything.
    #[must_use]
    pub fn new(process: ProcessId, incarnation: Incarnation) -> Self {
        Self {
            process,
            incarnation,
            cluster: None,
            view: None,
            promised: None,
            voted: None,
            parents: Vec::new(),
        }
    }
}

/// The store did not do what it was asked. After a failed save nobody knows what is on disk:
/// nothing may be answered from it, and the truth is what is read after reopening.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptorStoreError {
    /// The medium failed or is full.
    #[error("the acceptor state could not be {action}: {reason}")]
    Io {
        /// `read` or `written`.
        action: &'static str,
        /// What the medium said.
        reason: String,
    },
    /// What was read is no acceptor state.
    #[error("the stored acceptor state is damaged: {0}")]
    Damaged(String),
}

/// Where the acceptor state lives. Calls may block; the actor makes them off the runtime's
/// threads, one at a time.
pub trait AcceptorStore: Send + Sync + 'static {
    /// The state last saved, if any.
    ///
    /// # Errors
    /// [`AcceptorStoreError`].
    fn load(&self) -> Result<Option<AcceptorState>, AcceptorStoreError>;

    /// Replaces the state; durable when it returns, all or nothing.
    ///
    /// # Errors
    /// [`AcceptorStoreError`]; the outcome is then unknown.
    fn save(&self, state: &AcceptorState) -> Result<(), AcceptorStoreError>;
}

/// A store that lasts as long as the process: for processes without a data directory, and tests.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Option<AcceptorState>>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl AcceptorStore for MemoryStore {
    fn load(&self) -> Result<Option<AcceptorState>, AcceptorStoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn save(&self, state: &AcceptorState) -> Result<(), AcceptorStoreError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(state.clone());
        Ok(())
    }
}

/// Starts a process: finds its identity or makes `fresh` it, and raises the incarnation, durably,
/// before anything is sent. Call it once a process start, not when an actor is restarted.
///
/// # Errors
/// [`AcceptorStoreError`]; the process must not start.
pub fn start_identity(
    store: &dyn AcceptorStore,
    fresh: ProcessId,
) -> Result<AcceptorState, AcceptorStoreError> {
    let state = match store.load()? {
        None => AcceptorState::new(fresh, Incarnation(1)),
        Some(state) => AcceptorState { incarnation: state.incarnation.next(), ..state },
    };
    store.save(&state)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_a_higher_incarnation_of_the_same_process() {
        let store = MemoryStore::new();
        let first = start_identity(&store, ProcessId::from_u128(1)).unwrap();
        let second = start_identity(&store, ProcessId::from_u128(2)).unwrap();
        assert_eq!((first.process, first.incarnation), (ProcessId::from_u128(1), Incarnation(1)));
        assert_eq!((second.process, second.incarnation), (ProcessId::from_u128(1), Incarnation(2)));
        assert_eq!(store.load().unwrap(), Some(second));
    }

    #[test]
    fn a_state_written_before_there_were_parents_still_opens() {
        #[derive(Serialize)]
        struct Before {
            process: ProcessId,
            incarnation: Incarnation,
            cluster: Option<ClusterId>,
            view: Option<Arc<View>>,
            promised: Option<Rank>,
            voted: Option<Vote>,
        }
        let state = AcceptorState {
            cluster: Some(ClusterId::from_u128(5)),
            promised: Some(Rank { round: 3, index: 1 }),
            ..AcceptorState::new(ProcessId::from_u128(1), Incarnation(7))
        };
        let AcceptorState { process, incarnation, cluster, view, promised, voted, .. } =
            state.clone();
        let before = Before { process, incarnation, cluster, view, promised, voted };
        let bytes = lampyrid_wire::encode(&before).unwrap();
        assert_eq!(lampyrid_wire::decode::<AcceptorState>(&bytes).unwrap(), state);
    }
}
