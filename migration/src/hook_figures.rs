use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::LatencyHistogram;

/// Which hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// [`crate::MoveHooks::pre_migrate`].
    Pre,
    /// [`crate::MoveHooks::post_migrate`].
    Post,
}

impl Hook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pre, Self::Post];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre_migrate",
            Self::Post => "post_migrate",
        }
    }
}

/// How the call of a hook ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookOutcome {
    /// Without a veto.
    Done,
    /// With at least one.
    Vetoed,
    /// It was cut off at the limit.
    TimedOut,
    /// It panicked.
    Failed,
}

impl HookOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Vetoed, Self::TimedOut, Self::Failed];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Vetoed => "vetoed",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
        }
    }
}

/// How the calls of one hook went.
#[derive(Debug, Default)]
pub struct HookFigures {
    outcomes: [AtomicU64; HookOutcome::ALL.len()],
    took: LatencyHistogram,
}

impl HookFigures {
    pub(crate) fn record(&self, outcome: HookOutcome, took: Duration) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.took.record(took);
    }

    /// How many calls ended like that.
    #[must_use]
    pub fn ended(&self, outcome: HookOutcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// How long calls took, to their end or to the limit.
    #[must_use]
    pub fn took(&self) -> &LatencyHistogram {
        &self.took
    }
}
