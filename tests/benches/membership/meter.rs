use std::time::Duration;

/// What was sent in one second by one member: the mean and the 99th percentile over all members
/// and seconds of a window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Payload bytes, mean.
    pub(crate) bytes_mean: f64,
    /// Payload bytes of a bad member-second.
    pub(crate) bytes_p99: f64,
    /// Messages, mean.
    pub(crate) messages_mean: f64,
    /// Messages of a bad member-second.
    pub(crate) messages_p99: f64,
    /// Messages sent and received a second at the coordinator. Of foca, which has none, at whoever
    /// has most of them; of the heartbeat that is the coordinator.
    pub(crate) coordinator: f64,
}

impl Load {
    /// Of the bytes and messages of every member in every second.
    pub(crate) fn of(mut bytes: Vec<u64>, mut messages: Vec<u64>, coordinator: f64) -> Self {
        Self {
            bytes_mean: mean(&bytes),
            bytes_p99: percentile_99(&mut bytes),
            messages_mean: mean(&messages),
            messages_p99: percentile_99(&mut messages),
            coordinator,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    bytes: u64,
    messages: u64,
}

/// Counts what every place sends, second by virtual second.
pub(crate) struct Meter {
    second: u64,
    current: Vec<Second>,
    running: Vec<bool>,
    /// Of every place that ran, of every second of the window.
    window: Vec<Second>,
    window_seconds: u64,
    /// Sent and received in the window.
    handled: Vec<u64>,
}

impl Meter {
    /// Nothing was sent.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            second: 0,
            current: vec![Second::default(); count],
            running: vec![false; count],
            window: Vec::new(),
            window_seconds: 0,
            handled: vec![0; count],
        }
    }

    /// A place counts from now on.
    pub(crate) fn start(&mut self, place: usize) {
        self.running[place] = true;
    }

    /// A place counts no more.
    pub(crate) fn stop(&mut self, place: usize) {
        self.running[place] = false;
    }

    /// It sent one message of so many bytes.
    pub(crate) fn sent(&mut self, place: usize, bytes: usize) {
        let current = &mut self.current[place];
        current.bytes += bytes as u64;
        current.messages += 1;
        self.handled[place] += 1;
    }

    /// A message reached it.
    pub(crate) fn received(&mut self, place: usize) {
        self.handled[place] += 1;
    }

    /// It is that late; seconds that are over are booked.
    pub(crate) fn advance(&mut self, now: Duration) {
        while self.second < now.as_secs() {
            self.second += 1;
            self.window_seconds += 1;
            for (second, running) in self.current.iter_mut().zip(&self.running) {
                let done = std::mem::take(second);
                if *running {
                    self.window.push(done);
                }
            }
        }
    }

    /// Starts a new window; at a whole second.
    pub(crate) fn open_window(&mut self) {
        self.window.clear();
        self.window_seconds = 0;
        self.handled.fill(0);
    }

    /// What the window came to.
    pub(crate) fn load(&self) -> Load {
        let busiest = self.handled.iter().max().copied().unwrap_or(0);
        Load::of(
            self.window.iter().map(|second| second.bytes).collect(),
            self.window.iter().map(|second| second.messages).collect(),
            busiest as f64 / self.window_seconds.max(1) as f64,
        )
    }
}

fn mean(of: &[u64]) -> f64 {
    of.iter().sum::<u64>() as f64 / of.len().max(1) as f64
}

fn percentile_99(of: &mut [u64]) -> f64 {
    if of.is_empty() {
        return 0.0;
    }
    let at = (of.len() * 99).div_ceil(100).saturating_sub(1);
    *of.select_nth_unstable(at).1 as f64
}
