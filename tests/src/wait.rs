use std::time::{Duration, Instant};

/// How long a test waits for a condition that ought to hold soon: generous, because it only
/// matters when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `probe` gives a value, and returns it with the time it took.
///
/// # Panics
/// When [`PATIENCE`] is used up; `what` is in the message.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> (T, Duration) {
    let started = Instant::now();
    loop {
        if let Some(value) = probe() {
            return (value, started.elapsed());
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
