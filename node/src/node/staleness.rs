use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lampyrid_wire::Epoch;

/// Since when the topology has been older than the view, as far as somebody looked. A new view starts
/// anew: its coordinator has its time.
#[derive(Debug, Default)]
pub(super) struct Staleness(Mutex<Option<(Epoch, Duration)>>);

impl Staleness {
    /// How long the topology has been older than this view.
    pub(super) fn look(&self, now: Duration, view: Epoch, topology: Epoch) -> Duration {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *since {
            _ if topology >= view => *since = None,
            Some((of, at)) if of == view => return now.saturating_sub(at),
            _ => *since = Some((view, now)),
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_first_look_at_a_view_and_ends_with_its_topology() {
        let staleness = Staleness::default();
        let look = |secs, view, topology| {
            staleness.look(Duration::from_secs(secs), Epoch(view), Epoch(topology)).as_secs()
        };
        assert_eq!(look(1, 2, 2), 0);
        assert_eq!(look(5, 3, 2), 0, "it has just come");
        assert_eq!(look(9, 3, 2), 4);
        assert_eq!(look(20, 4, 2), 0, "another view");
        assert_eq!(look(21, 4, 2), 1);
        assert_eq!(look(22, 4, 4), 0);
        assert_eq!(look(50, 5, 4), 0);
    }
}
