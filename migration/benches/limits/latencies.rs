use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// How the round trips of a peer come about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pattern {
    /// 4 to 6 ms.
    Steady,
    /// 1.5 to 1.7 s: a far or overloaded peer.
    Slow,
    /// Pareto from 2 ms with exponent 1.5: one in a thousand takes 200 ms, one in 100,000 more than
    /// 4 s.
    HeavyTailed,
    /// 4 to 6 ms, and 60 ms to 90 ms in each second's first 50 ms: a collector, or a checkpoint.
    Pauses,
    /// 5 ms, 400 ms, 5 ms, 2 s and so on, each for 100 s, give or take a tenth.
    Steps,
    /// From 5 ms up to 1 s and down again in 200 s, give or take a tenth.
    Ramp,
}

impl Pattern {
    pub(crate) const ALL: [Self; 6] =
        [Self::Steady, Self::Slow, Self::HeavyTailed, Self::Pauses, Self::Steps, Self::Ramp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady, 5 ms",
            Self::Slow => "steady, 1.6 s",
            Self::HeavyTailed => "heavy-tailed (Pareto 1.5)",
            Self::Pauses => "pauses each second",
            Self::Steps => "steps, 5 ms to 2 s",
            Self::Ramp => "ramp, 5 ms to 1 s",
        }
    }
}

/// Round trips of one pattern; they follow from the seed alone.
pub(crate) struct Latencies {
    pattern: Pattern,
    random: StdRng,
}

impl Latencies {
    pub(crate) fn new(pattern: Pattern, seed: u64) -> Self {
        Self { pattern, random: StdRng::seed_from_u64(seed) }
    }

    /// How long what is sent at that moment takes.
    pub(crate) fn of(&mut self, at: Duration) -> Duration {
        let unit: f64 = self.random.random();
        let (second, within) = (at.as_secs(), at.as_secs_f64().fract());
        let tenth = 0.9 + 0.2 * unit;
        let millis = match self.pattern {
            Pattern::Steady => 4.0 + 2.0 * unit,
            Pattern::Slow => 1_500.0 + 200.0 * unit,
            Pattern::HeavyTailed => 2.0 * (1.0 - unit).powf(-1.0 / 1.5),
            Pattern::Pauses if within < 0.05 => 60.0 + 30.0 * unit,
            Pattern::Pauses => 4.0 + 2.0 * unit,
            Pattern::Steps => [5.0, 400.0, 5.0, 2_000.0][(second / 100 % 4) as usize] * tenth,
            Pattern::Ramp => {
                let part = at.as_secs_f64() % 200.0 / 100.0;
                (5.0 + 995.0 * if part < 1.0 { part } else { 2.0 - part }) * tenth
            }
        };
        Duration::from_secs_f64(millis / 1e3)
    }
}
