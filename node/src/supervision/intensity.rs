use std::collections::VecDeque;
use std::time::Duration;

/// How many restarts of all children together are borne within [`WINDOW`].
const MOST_RESTARTS: usize = 10;
/// The time over which restarts are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// The pause before the second restart of a child within the window; it doubles with each further
/// one. Others do not wait for that child: it would make a fault of one that of all.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What to do about a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it again after this pause.
    RestartAfter(Duration),
    /// Restarting does not help: end, with a reason.
    Escalate,
}

/// Counts restarts and decides between another and giving up. Plain state: time is an argument.
#[derive(Debug)]
pub(crate) struct Intensity {
    most: usize,
    /// When, and which child.
    restarts: VecDeque<(Duration, usize)>,
}

impl Default for Intensity {
    fn default() -> Self {
        Self { most: MOST_RESTARTS, restarts: VecDeque::with_capacity(MOST_RESTARTS) }
    }
}

impl Intensity {
    /// Bears up to `most` restarts within the window.
    #[cfg(test)]
    pub(crate) fn of(most: usize) -> Self {
        Self { most, restarts: VecDeque::new() }
    }

    /// A child failed at `now`.
    pub(crate) fn failed(&mut self, now: Duration, child: usize) -> Verdict {
        while self.restarts.front().is_some_and(|&(at, _)| at + WINDOW <= now) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.most {
            return Verdict::Escalate;
        }
        let earlier = self.restarts.iter().filter(|(_, failed)| *failed == child).count();
        self.restarts.push_back((now, child));
        Verdict::RestartAfter(match earlier {
            0 => Duration::ZERO,
            n => (FIRST_PAUSE * 2_u32.saturating_pow(n.min(16) as u32 - 1)).min(LONGEST_PAUSE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_pauses_grow_up_to_a_limit() {
        let mut intensity = Intensity::default();
        let pauses: Vec<Verdict> = (0..9).map(|_| intensity.failed(Duration::ZERO, 0)).collect();
        assert_eq!(pauses[0], Verdict::RestartAfter(Duration::ZERO));
        assert_eq!(pauses[1], Verdict::RestartAfter(FIRST_PAUSE));
        assert_eq!(pauses[2], Verdict::RestartAfter(FIRST_PAUSE * 2));
        assert_eq!(pauses[8], Verdict::RestartAfter(LONGEST_PAUSE));
        let other = intensity.failed(Duration::ZERO, 1);
        assert_eq!(other, Verdict::RestartAfter(Duration::ZERO), "it has not failed before");
    }

    #[test]
    fn a_storm_escalates_and_a_slow_trickle_never_does() {
        let mut intensity = Intensity::default();
        let storm = (0..=MOST_RESTARTS).map(|n| intensity.failed(Duration::ZERO, n % 6)).last();
        assert_eq!(storm, Some(Verdict::Escalate));
        let mut intensity = Intensity::default();
        let trickle = (1..1_000).map(|n| intensity.failed(WINDOW * n / 5, 0));
        assert!(trickle.into_iter().all(|verdict| verdict != Verdict::Escalate));
    }
}
