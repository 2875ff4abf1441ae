use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One line a second for each kind of event that a stranger can provoke.
const PERIOD: Duration = Duration::from_secs(1);
/// The same line again comes later: a process that is refused tries every second, and for hours.
const REPEATED: Duration = Duration::from_secs(60);

/// Keeps strangers from filling the log.
#[derive(Debug, Default)]
pub(crate) struct LogLimiter(Mutex<BTreeMap<&'static str, Kind>>);

/// Lines that are remembered of one kind: so many processes that are set up wrongly do not make each
/// other's lines look new.
const MOST_LINES: usize = 32;

#[derive(Debug)]
struct Kind {
    last: Duration,
    /// What was said, and when.
    said: BTreeMap<String, Duration>,
    left_out: u64,
}

impl LogLimiter {
    /// Whether to write `line` now (an empty one is like no other); with the number of lines left
    /// out since the last one.
    pub(crate) fn admit(&self, now: Duration, kind: &'static str, line: &str) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Kind { last: now, said: BTreeMap::new(), left_out: 0 };
        let is_first = !kinds.contains_key(kind);
        let state = kinds.entry(kind).or_insert_with(fresh);
        if !is_first && (now < state.last + PERIOD || state.is_repeated(now, line)) {
            state.left_out += 1;
            return None;
        }
        state.note(now, line);
        Some(std::mem::take(&mut state.left_out))
    }
}

impl Kind {
    fn is_repeated(&self, now: Duration, line: &str) -> bool {
        self.said.get(line).is_some_and(|at| now < *at + REPEATED)
    }

    fn note(&mut self, now: Duration, line: &str) {
        self.last = now;
        self.said.retain(|_, at| now < *at + REPEATED);
        if !line.is_empty() {
            if self.said.len() == MOST_LINES {
                self.said.pop_first();
            }
            self.said.insert(line.to_owned(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_none_forgotten() {
        let limiter = LogLimiter::default();
        assert_eq!(limiter.admit(Duration::ZERO, "a", ""), Some(0));
        assert_eq!(limiter.admit(Duration::from_millis(10), "a", ""), None);
        assert_eq!(limiter.admit(Duration::from_millis(20), "b", ""), Some(0));
        assert_eq!(limiter.admit(Duration::from_millis(990), "a", ""), None);
        assert_eq!(limiter.admit(PERIOD, "a", ""), Some(2));
    }

    #[test]
    fn the_same_line_comes_once_a_minute_and_another_one_at_once() {
        let limiter = LogLimiter::default();
        assert_eq!(limiter.admit(Duration::ZERO, "a", "x"), Some(0));
        for second in 1..60 {
            assert_eq!(limiter.admit(Duration::from_secs(second), "a", "x"), None);
        }
        assert_eq!(limiter.admit(REPEATED, "a", "x"), Some(59));
        assert_eq!(limiter.admit(REPEATED + PERIOD, "a", "y"), Some(0));
        // Several that take turns are each known.
        for second in 2..50 {
            for line in ["x", "y"] {
                assert_eq!(limiter.admit(REPEATED + PERIOD * second, "a", line), None);
            }
        }
    }
}
