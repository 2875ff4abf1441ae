use std::io;

/// What a store asks of a disk, and can be refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// To write.
    Write,
    /// To change the length of the file.
    SetLen,
    /// To make durable what was written.
    Sync,
}

/// How it is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    /// Not at all: the process crashes in that call.
    Crash,
}

impl From<FaultError> for io::Error {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Io | FaultError::Crash => Self::other("input/output error"),
            FaultError::Full => Self::new(io::ErrorKind::StorageFull, "no space left on device"),
        }
    }
}

/// A refusal to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Of which call.
    pub call: Call,
    /// Which call of that kind, counted from 1 for the next.
    pub nth: u64,
    /// How.
    pub error: FaultError,
    /// And of every such call after it.
    pub forever: bool,
}

/// What is to be refused, and how often was asked.
#[derive(Clone, Default, Debug)]
pub(super) struct Plan {
    calls: u64,
    /// Each with its number of calls still to go.
    faults: Vec<Fault>,
    crash_in: Option<u64>,
}

impl Plan {
    /// Nothing is refused; the count goes on.
    pub(super) fn after(before: &Self) -> Self {
        Self { calls: before.calls, ..Self::default() }
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn crash_in(&mut self, nth: u64) {
        self.crash_in = Some(nth);
    }

    /// Counts a call; how it is refused, if it is.
    pub(super) fn next(&mut self, call: Call) -> Option<FaultError> {
        self.calls += 1;
        if let Some(left) = &mut self.crash_in {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Some(FaultError::Crash);
            }
        }
        let mut refusal = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.call == call) {
            fault.nth = fault.nth.saturating_sub(1);
            if fault.nth == 0 {
                refusal = refusal.or(Some(fault.error));
            }
        }
        self.faults.retain(|fault| fault.nth > 0 || fault.forever);
        refusal
    }
}
