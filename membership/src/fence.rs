use lampyrid_wire::Term;

use crate::ViewState;

/// How a message's term stands to the receiver's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fence {
    /// Of the same view: act on it.
    Current,
    /// Of an older view, or of none: refuse it, and let membership send the newer view.
    Stale,
    /// Of a newer view: let membership ask for it, and act once it is installed.
    Newer,
    /// Of another cluster: drop it.
    OtherCluster,
}

impl Fence {
    /// Compares a message's term with the state of the receiver.
    #[must_use]
    pub fn check(message: Option<Term>, current: &ViewState) -> Self {
        Self::compare(message, current.term())
    }

    /// The same against the receiver's term alone.
    #[must_use]
    pub fn compare(message: Option<Term>, own: Option<Term>) -> Self {
        match (message, own) {
            (None, None) => Self::Current,
            (None, Some(_)) => Self::Stale,
            (Some(_), None) => Self::Newer,
            (Some(message), Some(own)) if message.cluster != own.cluster => Self::OtherCluster,
            (Some(message), Some(own)) if message.epoch < own.epoch => Self::Stale,
            (Some(message), Some(own)) if message.epoch > own.epoch => Self::Newer,
            (Some(message), Some(own)) if message.view == own.view => Self::Current,
            // One epoch, two views: not of the history this process belongs to.
            (Some(_), Some(_)) => Self::OtherCluster,
        }
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{ClusterId, Epoch, ViewId};

    use super::*;

    #[test]
    fn a_term_is_judged_by_cluster_then_epoch_then_view() {
        let term = |cluster, epoch, view| {
            Some(Term {
                cluster: ClusterId::from_u128(cluster),
                epoch: Epoch(epoch),
                view: ViewId([view; 32]),
            })
        };
        let own = term(1, 5, 5);
        assert_eq!(Fence::compare(term(1, 5, 5), own), Fence::Current);
        assert_eq!(Fence::compare(term(1, 4, 4), own), Fence::Stale);
        assert_eq!(Fence::compare(None, own), Fence::Stale);
        assert_eq!(Fence::compare(term(1, 6, 6), own), Fence::Newer);
        assert_eq!(Fence::compare(term(2, 6, 6), own), Fence::OtherCluster);
        assert_eq!(Fence::compare(term(1, 5, 6), own), Fence::OtherCluster);
    }
}
