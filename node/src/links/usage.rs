use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lampyrid_wire::{Channel, Clock};

use super::link_core::Traffic;

/// When frames last passed through a session; noted for every frame, so without a lock.
pub(crate) struct Usage {
    clock: Arc<dyn Clock>,
    /// Nanoseconds of the clock, by channel; [`NEVER`] before the first frame.
    last: [AtomicU64; Channel::ALL.len()],
}

const NEVER: u64 = u64::MAX;

impl Usage {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Channel::ALL.map(|_| AtomicU64::new(NEVER)) }
    }

    /// A frame passed, either way.
    pub(crate) fn note(&self, channel: Channel) {
        let now = u64::try_from(self.clock.now().as_nanos()).unwrap_or(NEVER - 1);
        self.last[channel as usize].store(now, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        let last = |channel: Channel| match self.last[channel as usize].load(Ordering::Relaxed) {
            NEVER => None,
            nanos => Some(Duration::from_nanos(nanos)),
        };
        let concern = [Channel::Registry, Channel::Migration, Channel::Requests].map(last);
        let concern = concern.into_iter().max().flatten();
        Traffic { any: concern.max(last(Channel::Membership)), concern }
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::ManualClock;

    use super::*;

    #[test]
    fn membership_counts_as_traffic_and_not_as_a_concern() {
        let clock = Arc::new(ManualClock::new());
        let usage = Usage::new(Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(usage.read(), Traffic::default());
        let at = |millis| Some(clock.now() + Duration::from_millis(millis));
        let (first, second) = (at(0), at(5));
        usage.note(Channel::Migration);
        assert_eq!(usage.read(), Traffic { any: first, concern: first });
        clock.advance(Duration::from_millis(5));
        usage.note(Channel::Membership);
        assert_eq!(usage.read(), Traffic { any: second, concern: first });
    }
}
