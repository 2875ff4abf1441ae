use std::sync::{Mutex, PoisonError};

use super::limits::{CREDIT_FRACTION, WindowSize};

/// Frames and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) frames: u32,
    pub(crate) bytes: u64,
}

impl Amount {
    pub(crate) const fn frame(bytes: u64) -> Self {
        Self { frames: 1, bytes }
    }

    fn add(&mut self, other: Self) {
        self.frames = self.frames.saturating_add(other.frames);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn sub(&mut self, other: Self) {
        self.frames = self.frames.saturating_sub(other.frames);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// The sender's side of a window: what is on its way.
#[derive(Debug)]
pub(crate) struct SendWindow {
    size: WindowSize,
    out: Mutex<Amount>,
}

impl SendWindow {
    pub(crate) fn new(size: WindowSize) -> Self {
        Self { size, out: Mutex::default() }
    }

    /// Takes room for a frame; false if the window is full.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let room = out.frames < self.size.frames && out.bytes < self.size.bytes;
        if room {
            out.add(Amount::frame(bytes));
        }
        room
    }

    /// Gives room back. A peer that gives back more than was taken gains nothing by it.
    pub(crate) fn give_back(&self, amount: Amount) {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).sub(amount);
    }
}

/// The receiver's side: what came in and was not yet given back. It never exceeds what the sender
/// holds to be on its way, so it is the check that the sender keeps to its window.
#[derive(Debug)]
pub(crate) struct Ledger {
    size: WindowSize,
    /// The largest legal frame: by so much a window may be overshot.
    frame_limit: u64,
    state: Mutex<LedgerState>,
}

#[derive(Debug, Default)]
struct LedgerState {
    open: Amount,
    done: Amount,
}

/// The sender went beyond its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overrun;

impl Ledger {
    pub(crate) fn new(size: WindowSize, frame_limit: u64) -> Self {
        Self { size, frame_limit, state: Mutex::default() }
    }

    /// Notes a frame that came in.
    pub(crate) fn receive(&self, bytes: u64) -> Result<(), Overrun> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.add(Amount::frame(bytes));
        let within = bytes <= self.frame_limit
            && state.open.frames <= self.size.frames
            && state.open.bytes < self.size.bytes + self.frame_limit;
        if within { Ok(()) } else { Err(Overrun) }
    }

    /// Notes a frame that has been dealt with; the credit to send back, once it is worth a message.
    /// What is held back is less than a quarter of the window, so an idle sender always has room:
    /// no timer is needed.
    pub(crate) fn done(&self, bytes: u64) -> Option<Amount> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done.add(Amount::frame(bytes));
        let worth = state.done.frames >= self.size.frames / CREDIT_FRACTION
            || state.done.bytes >= self.size.bytes / u64::from(CREDIT_FRACTION);
        worth.then(|| {
            let done = std::mem::take(&mut state.done);
            state.open.sub(done);
            done
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: WindowSize = WindowSize { frames: 8, bytes: 1_000 };
    const FRAME_LIMIT: u64 = 2_000;

    #[test]
    fn a_sender_that_keeps_to_its_window_never_overruns_and_never_starves() {
        for length in [0, 1, 100, 249, 250, 999, 1_000, 2_000] {
            let window = SendWindow::new(SIZE);
            let ledger = Ledger::new(SIZE, FRAME_LIMIT);
            let mut held = 0_u64;
            for round in 0..1_000 {
                if window.take(length) {
                    ledger.receive(length).unwrap();
                    held += 1;
                } else {
                    assert!(held > 0, "starved with frames of {length} bytes");
                }
                if round % 3 == 0 && held > 0 {
                    held -= 1;
                    if let Some(credit) = ledger.done(length) {
                        window.give_back(credit);
                    }
                }
            }
        }
    }

    #[test]
    fn a_full_window_takes_nothing_more() {
        let window = SendWindow::new(SIZE);
        assert!(window.take(999));
        assert!(window.take(2_000), "one frame may overshoot");
        assert!(!window.take(0));
        window.give_back(Amount { frames: 100, bytes: u64::MAX });
        assert!((0..8).all(|_| window.take(0)));
        assert!(!window.take(0), "too much given back is worth no more than a whole window");
    }

    #[test]
    fn a_sender_beyond_its_window_is_caught() {
        let ledger = Ledger::new(SIZE, FRAME_LIMIT);
        assert!((0..8).all(|_| ledger.receive(1).is_ok()));
        assert_eq!(ledger.receive(1), Err(Overrun));
        assert_eq!(Ledger::new(SIZE, FRAME_LIMIT).receive(2_001), Err(Overrun));
    }
}
