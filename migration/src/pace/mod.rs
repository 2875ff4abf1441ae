//! How long a peer may take: pure arithmetic on round trips, without a clock.

mod estimate;
mod peers;
mod phase_limit;
mod round_trips;

pub use estimate::Estimate;
pub(crate) use peers::Peers;
pub use phase_limit::{DOUBLED_MAX, LIMIT_MIN, PhaseLimit, SAMPLES_MIN};
pub use round_trips::RoundTrips;

/// How time limits follow the round trips that were measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeLimits {
    /// The larger of the estimate of RFC 6298 and 1.5 times the 99.9th percentile of the last 1,024
    /// round trips, doubled while answers fail to come, never below 100 ms.
    #[default]
    Adaptive,
    /// 0.7 times the mean of the last 1,024 round trips, and 0.3 times the last one, and the larger
    /// of 500 ms and a fifth of the mean. To compare with.
    Weighted,
    /// Always the limit of [`crate::Limits::phase`].
    Fixed,
}
