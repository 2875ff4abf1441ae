use std::collections::VecDeque;
use std::sync::Arc;

use lampyrid_membership::{Status, View, ViewState};
use lampyrid_wire::{Incarnation, ProcessId, Term};

use crate::Letter;

/// The most messages from newer views that an actor keeps until it has caught up. They are
/// repeated by their senders, so those over the limit are only late.
pub const MAX_HELD: usize = 64;

/// What a core knows of its own place: who it is, the installed view, its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// This life of this process.
    pub me: (ProcessId, Incarnation),
    /// How it stands.
    pub status: Status,
    /// The installed view, if any.
    pub view: Option<Arc<View>>,
}

impl From<&ViewState> for Standing {
    fn from(state: &ViewState) -> Self {
        Self { me: state.me.key(), status: state.status, view: state.view.clone() }
    }
}

/// How a message's term stands to the receiver's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Sent in the installed view, by a member of it.
    Current,
    /// From an older view, or from somebody who is no member: refused.
    Stale,
    /// From a view not yet installed here: kept until it is.
    Newer,
    /// From another cluster: ignored.
    Foreign,
}

impl Standing {
    /// True if `other` is a later view of the same cluster. Events that were under way while their
    /// receiver was restarted may be older than what it read at its start; they are skipped.
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        match (&self.view, &other.view) {
            (Some(here), Some(there)) => {
                here.cluster() == there.cluster() && here.epoch() < there.epoch()
            }
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    /// The fence of the installed view.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.view.as_ref().map(|view| view.term())
    }

    /// The installed view, if it lists this life of this process.
    #[must_use]
    pub fn member_of(&self) -> Option<&Arc<View>> {
        self.view.as_ref().filter(|view| view.lists(self.me.0, self.me.1))
    }

    /// True if it is a member in touch with a quorum.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Status::Active && self.member_of().is_some()
    }

    /// The view that this process coordinates by the ring, whether or not it may act now.
    #[must_use]
    pub fn coordinates(&self) -> Option<&Arc<View>> {
        self.member_of().filter(|view| view.coordinator() == self.me.0)
    }

    /// Judges the term of a message from that life of a process.
    #[must_use]
    pub fn fence(&self, from: (ProcessId, Incarnation), term: Term) -> Fence {
        let Some(view) = &self.view else { return Fence::Newer };
        let here = view.term();
        if term.cluster != here.cluster {
            Fence::Foreign
        } else if term.epoch > here.epoch {
            Fence::Newer
        } else if term == here && view.lists(from.0, from.1) {
            Fence::Current
        } else {
            Fence::Stale
        }
    }
}

/// Messages from views that are not yet installed here; the oldest give way.
#[derive(Debug, Clone, Default)]
pub struct Held(VecDeque<Letter>);

impl Held {
    /// Keeps one; true if another had to give way.
    pub fn keep(&mut self, letter: Letter) -> bool {
        let full = self.0.len() >= MAX_HELD;
        if full {
            self.0.pop_front();
        }
        self.0.push_back(letter);
        full
    }

    /// Takes all out, in the order in which they came.
    #[must_use]
    pub fn release(&mut self) -> Vec<Letter> {
        std::mem::take(&mut self.0).into()
    }
}
