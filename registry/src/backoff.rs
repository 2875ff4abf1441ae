use std::time::Duration;

/// When to send again what has not been answered: at `first`, then twice as long each time, up to
/// `longest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    due: Duration,
    pause: Duration,
    longest: Duration,
    tried: bool,
}

impl Backoff {
    /// Due at once.
    #[must_use]
    pub fn now(now: Duration, first: Duration, longest: Duration) -> Self {
        Self { due: now, pause: first, longest, tried: false }
    }

    /// When it is due.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Due at once if it was sent before; for when whoever did not answer comes within reach.
    pub fn hurry(&mut self, now: Duration) {
        if self.tried {
            self.due = self.due.min(now);
        }
    }

    /// True once it is due; then it is due again one pause later.
    pub fn take(&mut self, now: Duration) -> bool {
        if now < self.due {
            return false;
        }
        self.tried = true;
        self.due = now + self.pause;
        self.pause = (self.pause * 2).min(self.longest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::now(ms(5), ms(200), ms(1_000));
        let mut sent = Vec::new();
        for now in 0..4_000 {
            if backoff.take(ms(now)) {
                sent.push(now);
            }
        }
        assert_eq!(sent, [5, 205, 605, 1_405, 2_405, 3_405]);
    }

    #[test]
    fn only_what_was_sent_before_can_be_hurried() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::now(ms(500), ms(200), ms(1_000));
        backoff.hurry(ms(100));
        assert!(!backoff.take(ms(100)) && backoff.take(ms(500)));
        backoff.hurry(ms(510));
        assert!(backoff.take(ms(510)));
        assert_eq!(backoff.due(), ms(910));
    }
}
