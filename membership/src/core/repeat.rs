use std::time::Duration;

use crate::limits::pause;

/// When something unanswered is sent again: at once after news, then with doubling pauses.
#[derive(Debug, Default)]
pub(super) struct Repeat {
    next: Option<Duration>,
    tries: u32,
}

impl Repeat {
    /// There is news: due at once.
    pub(super) fn restart(&mut self, now: Duration) {
        *self = Self { next: Some(now), tries: 0 };
    }

    /// There is news, but it can wait for the first pause.
    pub(super) fn restart_later(&mut self, now: Duration) {
        *self = Self { next: Some(now + pause(0)), tries: 1 };
    }

    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.next
    }

    /// True if due; the next time is then set.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        match self.next {
            Some(next) if next <= now => {
                self.next = Some(now + pause(self.tries));
                self.tries = self.tries.saturating_add(1);
                true
            }
            _ => false,
        }
    }
}
