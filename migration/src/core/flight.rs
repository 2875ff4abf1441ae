use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{EntityId, ProcessId};

use super::accounts::Load;
use crate::limits::{ATTEMPTS_MAX, RESEND_FIRST, RESEND_MAX};
use crate::row::PartRow;
use crate::{Attempt, PartId, Reason};

/// What a source remembers, beside its row, of a part that is not over.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) destination: ProcessId,
    pub(crate) load: Load,
    /// When PREPARE was asked for: the limit of the whole part counts from here.
    pub(crate) began: Duration,
    /// When the first message of the phase was handed to the links; the limit of the phase counts
    /// from here, not from when the message was queued behind a sync.
    pub(crate) sent: Option<Duration>,
    /// How long the phase may take.
    pub(crate) limit: Duration,
    /// Why the last attempt did not leave the process, if it found no session.
    pub(crate) unsent: Option<Reason>,
    pub(crate) backoff: Backoff,
    /// The number of the next attempt.
    next: u32,
    /// Attempts of the phase, the newest ones, and when they left.
    attempts: VecDeque<(u32, Duration)>,
    /// Decided, and not acknowledged in time.
    pub(crate) in_doubt: bool,
    /// Since when it has been in doubt with the destination in the view.
    pub(crate) waits_since: Option<Duration>,
    /// The destination says it does not know the staging: a person has to look.
    pub(crate) alarmed: bool,
    /// While the host's store is freezing.
    pub(crate) freezing: Option<Freezing>,
}

/// A part whose entities the host's store is freezing.
#[derive(Clone, Debug)]
pub(crate) struct Freezing {
    /// PREPARE as it will be.
    pub(crate) row: PartRow,
    /// Those without an answer yet.
    pub(crate) waiting: BTreeSet<EntityId>,
    /// Those that are frozen.
    pub(crate) states: BTreeMap<EntityId, Bytes>,
}

impl Flight {
    pub(crate) fn new(destination: ProcessId, load: Load, now: Duration, limit: Duration) -> Self {
        Self {
            destination,
            load,
            began: now,
            sent: None,
            limit,
            unsent: None,
            backoff: Backoff::default(),
            next: 0,
            attempts: VecDeque::new(),
            in_doubt: false,
            waits_since: None,
            alarmed: false,
            freezing: None,
        }
    }

    /// Goes on after a restart: decided, and not acknowledged. Its attempts have other numbers than
    /// those of the life before, whose answers may still come.
    pub(crate) fn again(self, next: u32) -> Self {
        Self { next, in_doubt: true, ..self }
    }

    /// Forgets when everything was, for models without time.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn forget_time(&mut self, now: Duration, limit: Duration) {
        self.began = now;
        self.sent = self.sent.map(|_| now);
        self.limit = limit;
        self.waits_since = None;
        self.unsent = None;
        self.backoff = Backoff::default();
        self.next = 0;
        self.attempts.clear();
    }

    /// A new phase begins: its limits count afresh.
    pub(crate) fn next_phase(&mut self) {
        self.sent = None;
        self.unsent = None;
        self.backoff = Backoff::default();
        self.attempts.clear();
    }

    /// The number of the attempt that is made now.
    pub(crate) fn attempt(&mut self) -> u32 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }

    /// An attempt left the process.
    pub(crate) fn left(&mut self, number: u32, now: Duration) {
        if self.attempts.len() == ATTEMPTS_MAX {
            self.attempts.pop_front();
        }
        self.attempts.push_back((number, now));
    }

    /// When an attempt of this phase left.
    pub(crate) fn left_at(&self, number: u32) -> Option<Duration> {
        self.attempts.iter().find(|(left, _)| *left == number).map(|(_, at)| *at)
    }

    /// The attempts of this phase.
    pub(crate) fn attempts(&self, part: PartId) -> impl Iterator<Item = (Attempt, Duration)> {
        self.attempts.iter().map(move |&(number, at)| (Attempt { part, number }, at))
    }

    /// When nothing further is waited for, unless it was decided. What could not even be sent has no
    /// more time because the peer is slow.
    pub(crate) fn over_at(&self, whole: Duration) -> Duration {
        let slow = if self.sent.is_some() { self.limit * 3 } else { Duration::ZERO };
        self.began + whole.max(slow)
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
    /// Begins with that wait.
    pub(crate) fn from(first: Duration) -> Self {
        Self(first)
    }

    /// The wait before the next repetition.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(RESEND_MAX);
        wait
    }
}
