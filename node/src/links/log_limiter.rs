use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One line a second for each kind of event that a stranger can provoke.
const PERIOD: Duration = Duration::from_secs(1);

/// Keeps strangers from filling the log.
#[derive(Debug, Default)]
pub(crate) struct LogLimiter(Mutex<BTreeMap<&'static str, Kind>>);

#[derive(Debug)]
struct Kind {
    last: Duration,
    left_out: u64,
}

impl LogLimiter {
    /// Whether to write a line now; with the number of lines left out since the last one.
    pub(crate) fn admit(&self, now: Duration, kind: &'static str) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kinds.get_mut(kind) {
            Some(state) if now < state.last + PERIOD => {
                state.left_out += 1;
                None
            }
            Some(state) => {
                state.last = now;
                Some(std::mem::take(&mut state.left_out))
            }
            None => {
                kinds.insert(kind, Kind { last: now, left_out: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_none_forgotten() {
        let limiter = LogLimiter::default();
        assert_eq!(limiter.admit(Duration::ZERO, "a"), Some(0));
        assert_eq!(limiter.admit(Duration::from_millis(10), "a"), None);
        assert_eq!(limiter.admit(Duration::from_millis(20), "b"), Some(0));
        assert_eq!(limiter.admit(Duration::from_millis(990), "a"), None);
        assert_eq!(limiter.admit(PERIOD, "a"), Some(2));
    }
}
