use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lampyrid_wire::BubbleId;

use super::io::CallId;
use crate::PartId;

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// A part at its source: a repetition or a time limit.
    Part(PartId),
    /// A staging at its destination: asking the source.
    Staging(PartId),
    /// A caller that waits for a saga, for a location, or for the end.
    Call(CallId),
    /// A bubble on its way from here.
    Giving(BubbleId),
    /// A bubble on its way here.
    Taking(BubbleId),
    /// A look at the drain.
    Drain,
    /// A look at processes that are being barred.
    Bars,
}

/// All timers; at most one for each thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<Timer, Duration>,
    order: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Sets or (None) clears one.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Duration>) {
        if let Some(before) = self.due.remove(&timer) {
            self.order.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.due.insert(timer, at);
            self.order.insert((at, timer));
        }
    }

    /// Takes one that is due, if it was not before `since`.
    pub(crate) fn pop(&mut self, since: Duration, now: Duration) -> Option<Timer> {
        let first = (since, Timer::Part(PartId::MIN));
        let &(at, timer) = self.order.range(first..).next()?;
        if at > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }

    /// All that are set.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Timer> {
        self.due.keys()
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.order.first().map(|&(at, _)| at)
    }
}
