//! Out of a cluster whose majority is lost for good: what `lampyrid recover` does, for hosts.
//!
//! A process never changes its cluster by itself. A [`Recovery`] of its data directory, while it is
//! stopped, either makes it the first member of a new cluster, or has it join the new cluster that
//! was made from another one's directory. Process id, bubbles and entities stay as they are, and
//! so do moves that are decided and not acknowledged: they end when both of their processes are in
//! one cluster again.

mod error;
mod salvage;
mod stake;

use std::path::Path;

use lampyrid_membership::AcceptorState;
use lampyrid_wire::{ClusterId, Incarnation, Member, ProcessId, Term};
use tokio::task::JoinSet;

pub use self::error::RecoverError;
pub use self::stake::Stake;
use crate::links::limits::{CONNECT_LIMIT, MAX_DIALS};
use crate::links::probe;
use crate::storage::Storage;

pub use lampyrid_membership::{ForceRefusal, MAX_PARENTS, ProbeOutcome};

/// The data directory of a process that does not run, held until this is dropped: nobody can start
/// the process meanwhile.
pub struct Recovery {
    storage: Storage,
    state: AcceptorState,
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What became of a process; durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Which process.
    pub process: ProcessId,
    /// The incarnation it has; its next start is a higher one.
    pub incarnation: Incarnation,
    /// Its cluster from now on.
    pub cluster: ClusterId,
    /// The last view of the cluster it left; none if it never got into that one.
    pub parent: Option<Term>,
}

impl Recovery {
    /// Opens a data directory that was used before, and verifies all of it. Nothing is written.
    ///
    /// # Errors
    /// [`RecoverError::Storage`]: it is missing, in use, damaged, or not to be read.
    pub async fn open(data_dir: &Path) -> Result<Self, RecoverError> {
        let directory = data_dir.to_owned();
        blocking(move || {
            let storage = Storage::open_used(&directory)?;
            let state = storage.acceptor.load().map_err(|source| storage.fault(source))?;
            let state = state.ok_or(RecoverError::Refused(ForceRefusal::NoView))?;
            Ok(Self { storage, state })
        })
        .await
    }

    /// Which process it is.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.state.process
    }

    /// The last view, as cluster, number and hash.
    #[must_use]
    pub fn last_view(&self) -> Option<Term> {
        self.state.view.as_ref().map(|view| view.term())
    }

    /// The last views of the clusters that it left by such a command, the newest last; at most
    /// [`MAX_PARENTS`].
    #[must_use]
    pub fn parents(&self) -> &[Term] {
        &self.state.parents
    }

    /// The other processes of its last view, and of the view that it voted for last.
    #[must_use]
    pub fn others(&self) -> Vec<Member> {
        self.state.others()
    }

    /// True if it would go on without the others when started, because it alone is a quorum of its
    /// last view: then force is not needed.
    #[must_use]
    pub fn goes_on_alone(&self) -> bool {
        let view = self.state.view.as_ref();
        view.is_some_and(|view| view.is_quorum([&self.state.process]))
    }

    /// What is on its disk, and how much of it others have a part in.
    ///
    /// # Errors
    /// [`RecoverError::Storage`].
    pub async fn stake(&self) -> Result<Stake, RecoverError> {
        let (storage, me) = (self.storage.clone(), self.process());
        blocking(move || Ok(Stake::of(&storage.image()?, me))).await
    }

    /// Whether [`Recovery::force_new_cluster`] would be refused whoever answers.
    ///
    /// # Errors
    /// [`RecoverError::Refused`].
    pub fn check(&self) -> Result<(), RecoverError> {
        self.state.forcible()?;
        Ok(())
    }

    /// Connects to the cluster address of each of the others, for at most a second each and some
    /// at a time, and says nothing. Whoever accepts counts as alive: a frozen process does, and so
    /// does a stranger that has taken the address.
    pub async fn ask_others(&self) -> Vec<(Member, ProbeOutcome)> {
        let mut waiting = self.others().into_iter();
        let mut asked = JoinSet::new();
        let mut outcomes = Vec::new();
        loop {
            for member in waiting.by_ref().take(MAX_DIALS - asked.len()) {
                asked.spawn(async move {
                    let outcome = probe(member.address, CONNECT_LIMIT).await;
                    (member, outcome)
                });
            }
            match asked.join_next().await {
                Some(Ok(outcome)) => outcomes.push(outcome),
                // Nothing in it panics, and nobody aborts it.
                Some(Err(_)) => {}
                None => break,
            }
        }
        outcomes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        outcomes
    }

    /// Makes the process the only member of a new cluster with a fresh id, in one transaction. All
    /// others of the old cluster will refuse it, and it them.
    ///
    /// # Errors
    /// [`RecoverError::Refused`] and [`RecoverError::Answered`]: nothing was changed.
    /// [`RecoverError::Storage`]: what is on disk is unknown; look again.
    pub async fn force_new_cluster(self) -> Result<Recovered, RecoverError> {
        self.check()?;
        let outcomes = self.ask_others().await.into_iter();
        let alive = outcomes.filter(|(_, outcome)| *outcome == ProbeOutcome::Accepted);
        let alive: Vec<Member> = alive.map(|(member, _)| member).collect();
        if !alive.is_empty() {
            return Err(RecoverError::Answered(alive));
        }
        let state = self.state.force_new_cluster(ClusterId::random())?;
        self.save(state).await
    }

    /// Has the process join `cluster` at its next start, which needs a seed. What it promised in
    /// its own cluster is forgotten, so it can never go back there.
    ///
    /// # Errors
    /// [`RecoverError::Refused`]: nothing was changed. [`RecoverError::Storage`]: what is on disk
    /// is unknown; look again.
    pub async fn join_new_cluster(self, cluster: ClusterId) -> Result<Recovered, RecoverError> {
        let state = self.state.join_new_cluster(cluster)?;
        self.save(state).await
    }

    async fn save(self, state: AcceptorState) -> Result<Recovered, RecoverError> {
        let parent = self.last_view();
        let storage = self.storage;
        blocking(move || {
            storage.acceptor.save(&state).map_err(|source| storage.fault(source))?;
            let AcceptorState { process, incarnation, cluster, .. } = state;
            let cluster = cluster.ok_or(ForceRefusal::NoView)?;
            Ok(Recovered { process, incarnation, cluster, parent })
        })
        .await
    }
}

/// Runs what blocks off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecoverError> + Send + 'static,
) -> Result<T, RecoverError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RecoverError::RuntimeStopped)?
}
