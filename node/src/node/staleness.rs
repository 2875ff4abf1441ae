use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lampyrid_wire::Epoch;

/// Since when the topology may be older than the view: from when that was installed.
#[derive(Debug, Default)]
pub(super) struct Staleness(Mutex<(Epoch, Duration)>);

impl Staleness {
    /// A view was installed, or its status changed.
    pub(super) fn installed(&self, now: Duration, view: Epoch) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if since.0 != view {
            *since = (view, now);
        }
    }

    /// For how long the topology has been older than the installed view.
    pub(super) fn of(&self, now: Duration, topology: Epoch) -> Duration {
        let (view, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if topology >= view { Duration::ZERO } else { now.saturating_sub(since) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_view_on_and_ends_with_its_topology() {
        let staleness = Staleness::default();
        let at = Duration::from_secs;
        assert_eq!(staleness.of(at(1), Epoch(0)), at(0), "no view yet");
        staleness.installed(at(5), Epoch(3));
        staleness.installed(at(7), Epoch(3));
        assert_eq!(staleness.of(at(9), Epoch(2)), at(4), "whenever somebody looks");
        assert_eq!(staleness.of(at(9), Epoch(3)), at(0));
        staleness.installed(at(20), Epoch(4));
        assert_eq!(staleness.of(at(21), Epoch(3)), at(1), "another view has its own time");
    }
}
