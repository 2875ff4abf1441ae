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

#[derive(Debug)]
struct Kind {
    last: Duration,
    line: String,
    left_out: u64,
}

impl LogLimiter {
    /// Whether to write `line` now (an empty one is like no other); with the number of lines left
    /// out since the last one.
    pub(crate) fn admit(&self, now: Duration, kind: &'static str, line: &str) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kinds.get_mut(kind) {
            Some(state) if now < state.last + state.pause(line) => {
                state.left_out += 1;
                None
            }
            Some(state) => {
                state.last = now;
                line.clone_into(&mut state.line);
                Some(std::mem::take(&mut state.left_out))
            }
            None => {
                kinds.insert(kind, Kind { last: now, line: line.to_owned(), left_out: 0 });
                Some(0)
            }
        }
    }
}

impl Kind {
    fn pause(&self, line: &str) -> Duration {
        if !line.is_empty() && self.line == line { REPEATED } else { PERIOD }
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
    }
}
