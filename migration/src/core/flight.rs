use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::EntityId;

use super::accounts::Load;
use crate::Reason;
use crate::limits::{RESEND_FIRST, RESEND_MAX};
use crate::row::PartRow;

/// What a source remembers, beside its row, of a part that is not over.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) load: Load,
    /// When PREPARE was asked for: the limit of the whole part counts from here.
    pub(crate) began: Duration,
    /// When the first message of the phase was handed to the links; the limit of the phase counts
    /// from here, not from when the message was queued behind a sync.
    pub(crate) sent: Option<Duration>,
    /// Why the last attempt did not leave the process, if it found no session.
    pub(crate) unsent: Option<Reason>,
    pub(crate) backoff: Backoff,
    /// Decided, and not acknowledged in time.
    pub(crate) in_doubt: bool,
    /// The destination says it does not know the staging: a person has to look.
    pub(crate) alarmed: bool,
    /// While the host's store is freezing.
    pub(crate) freezing: Option<Freezing>,
}

/// A part whose entities the host's store is freezing.
#[derive(Debug)]
pub(crate) struct Freezing {
    /// PREPARE as it will be.
    pub(crate) row: PartRow,
    /// Those without an answer yet.
    pub(crate) waiting: BTreeSet<EntityId>,
    /// Those that are frozen.
    pub(crate) states: BTreeMap<EntityId, Bytes>,
}

impl Flight {
    pub(crate) fn new(load: Load, now: Duration) -> Self {
        Self {
            load,
            began: now,
            sent: None,
            unsent: None,
            backoff: Backoff::default(),
            in_doubt: false,
            alarmed: false,
            freezing: None,
        }
    }

    /// A new phase begins: its limits count afresh.
    pub(crate) fn next_phase(&mut self) {
        self.sent = None;
        self.unsent = None;
        self.backoff = Backoff::default();
    }
}

/// Waits between repetitions: doubling, and never above one second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(RESEND_FIRST)
    }
}

impl Backoff {
    /// The wait before the next repetition.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(RESEND_MAX);
        wait
    }
}
