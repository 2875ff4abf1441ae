use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use lampyrid_wire::{Clock, Member, ProcessId, Term};

use crate::{View, ViewChange};

/// How this process stands to its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It has never been a member in this life and seeks to become one.
    Joining,
    /// It is a member and in touch with a quorum.
    Active,
    /// It has lost the quorum, or is not (or no longer) listed in the newest view it knows.
    Isolated,
    /// It has left.
    Left,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Isolated => "isolated",
            Self::Left => "left",
        })
    }
}

/// What a process knows of its cluster at one moment. Immutable: readers get the newest by one
/// pointer swap, so the view, its coordinator and the registry read against it always agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewState {
    /// This process, as it is or wants to be listed.
    pub me: Member,
    /// How it stands.
    pub status: Status,
    /// The newest installed view, if it ever had one. While isolated it may be stale.
    pub view: Option<Arc<View>>,
    /// The processes without which this one cannot go on; empty unless isolated.
    pub waiting_for: Vec<ProcessId>,
}

impl ViewState {
    /// Who coordinates; nobody unless active.
    #[must_use]
    pub fn coordinator(&self) -> Option<ProcessId> {
        match self.status {
            Status::Active => self.view.as_ref().map(|view| view.coordinator()),
            Status::Joining | Status::Isolated | Status::Left => None,
        }
    }

    /// The fence of the installed view.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.view.as_ref().map(|view| view.term())
    }
}

/// The process may not write, register or move anything now: it is not in touch with a quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process is not in touch with a quorum of its view; it goes on by itself when enough members are back"
)]
pub struct Isolated;

/// What the subscribed actors are told, in order: first the current state, then every change of
/// view or status.
#[derive(Debug, Clone)]
pub struct ViewEvent {
    /// The state from now on.
    pub state: Arc<ViewState>,
    /// The change of view, unless only the status changed.
    pub change: Option<ViewChange>,
}

/// Readable by any thread without a message; written by the membership actor only.
#[derive(Clone)]
pub struct ViewHandle {
    state: Arc<ArcSwap<ViewState>>,
    /// Nanoseconds of the clock until which the status holds without a new sign from the core.
    holds_until: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ViewHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ViewHandle").field(&self.state.load()).finish()
    }
}

impl ViewHandle {
    /// A handle over `state`. The first state holds for good; see [`ViewHandle::hold_until`].
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, state: ViewState) -> Self {
        Self {
            state: Arc::new(ArcSwap::from_pointee(state)),
            holds_until: Arc::new(AtomicU64::new(u64::MAX)),
            clock,
        }
    }

    /// The newest state. A process that was stopped may read a status here that no longer holds;
    /// whoever acts on it asks [`ViewHandle::permit`].
    #[must_use]
    pub fn current(&self) -> Arc<ViewState> {
        self.state.load_full()
    }

    /// Leave to act in the current view, and its fence. Refused unless active, and refused as long
    /// as the membership core has not spoken since a moment that lies too long ago: the process
    /// was frozen, and others may have gone on without it.
    ///
    /// # Errors
    /// [`Isolated`].
    pub fn permit(&self) -> Result<Term, Isolated> {
        let state = self.state.load();
        match (state.status, state.term()) {
            (Status::Active, Some(term)) if !self.is_overdue() => Ok(term),
            _ => Err(Isolated),
        }
    }

    /// The status as it may be shown: an overdue `Active` is `Isolated`.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.state.load().status {
            Status::Active if self.is_overdue() => Status::Isolated,
            status => status,
        }
    }

    /// Publishes a state. For the membership actor, and for tests in its place.
    pub fn publish(&self, state: Arc<ViewState>) {
        self.state.store(state);
    }

    /// The status is to be believed until this moment of the clock; `None`: for good (a cluster of
    /// one, which nobody can go on without).
    pub fn hold_until(&self, moment: Option<Duration>) {
        let nanos = moment.map_or(u64::MAX, |at| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        self.holds_until.store(nanos, Ordering::Release);
    }

    fn is_overdue(&self) -> bool {
        self.clock.now().as_nanos() > u128::from(self.holds_until.load(Ordering::Acquire))
    }
}
