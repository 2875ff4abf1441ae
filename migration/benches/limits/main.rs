//! Time limits: how often a rule gives up what would have been answered, and how long it takes to
//! give up what never is.
//!
//! `cargo bench -p lampyrid-migration --bench limits`. Time is virtual and everything follows from
//! one seed. Run as a test it is short, and asserts what the table is to show.

mod latencies;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Error, Write};
use std::time::Duration;

use lampyrid_migration::TimeLimits;
use lampyrid_migration::pace::PhaseLimit;

use self::latencies::{Latencies, Pattern};

/// Between two messages.
const PACE: Duration = Duration::from_millis(10);

/// The limit while too little is known.
const FIXED: Duration = Duration::from_secs(1);

const SEED: u64 = 42;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Answered(Duration),
    Expired(Duration),
}

/// What became of messages that were all answered, sooner or later.
struct Run {
    messages: usize,
    /// Given up before their answer came.
    false_time_outs: usize,
    /// What each limit was: had the peer frozen right then, it would have been told after so long.
    limits: Vec<Duration>,
}

/// A message each 10 ms. Answers that come too late count as well.
fn run(rule: TimeLimits, pattern: Pattern, messages: usize) -> Run {
    let mut limit = PhaseLimit::new(rule, FIXED);
    let mut latencies = Latencies::new(pattern, SEED);
    let mut events = BinaryHeap::new();
    let mut run = Run { messages, false_time_outs: 0, limits: Vec::with_capacity(messages) };
    for n in 0..messages {
        let now = PACE * u32::try_from(n).unwrap_or(u32::MAX);
        while let Some(Reverse((at, event))) = events.pop() {
            if at > now {
                events.push(Reverse((at, event)));
                break;
            }
            match event {
                Event::Answered(took) => limit.answered(took),
                Event::Expired(sent) => limit.expired(sent, at),
            }
        }
        let (current, took) = (limit.limit(), latencies.of(now));
        events.push(Reverse((now + took, Event::Answered(took))));
        if took > current {
            run.false_time_outs += 1;
            events.push(Reverse((now + current, Event::Expired(now))));
        }
        run.limits.push(current);
    }
    run.limits.sort_unstable();
    run
}

impl Run {
    fn per_100_000(&self) -> f64 {
        self.false_time_outs as f64 * 1e5 / self.messages as f64
    }

    /// The limit that so many of a thousand did not exceed.
    fn limit(&self, per_mille: usize) -> Duration {
        let rank = (self.limits.len() * per_mille).div_ceil(1_000).max(1);
        self.limits.get(rank - 1).copied().unwrap_or_default()
    }
}

const RULES: [(TimeLimits, &str); 3] = [
    (TimeLimits::Adaptive, "adaptive"),
    (TimeLimits::Weighted, "weighted"),
    (TimeLimits::Fixed, "fixed, 1 s"),
];

fn main() -> Result<(), Error> {
    if !std::env::args().any(|argument| argument == "--bench") {
        test();
        return Ok(());
    }
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| round trips | rule | false time-outs in 100,000 | told after, p50 | p99 | max |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
    for pattern in Pattern::ALL {
        for (rule, name) in RULES {
            let run = run(rule, pattern, 400_000);
            let millis = |per_mille| run.limit(per_mille).as_millis();
            let (half, most, all) = (millis(500), millis(990), millis(1_000));
            let (pattern, lost) = (pattern.name(), run.per_100_000());
            writeln!(out, "| {pattern} | {name} | {lost:.1} | {half} ms | {most} ms | {all} ms |")?;
        }
    }
    Ok(())
}

/// What the table is to show, on a shorter run.
fn test() {
    let run = |rule, pattern| run(rule, pattern, 50_000);
    let steady = run(TimeLimits::Adaptive, Pattern::Steady);
    assert_eq!(steady.false_time_outs, 0);
    assert_eq!(steady.limit(990), Duration::from_millis(100));
    let weighted = run(TimeLimits::Weighted, Pattern::Steady);
    assert!(weighted.limit(500) > steady.limit(500) * 5);
    let slow = run(TimeLimits::Adaptive, Pattern::Slow);
    assert!(slow.false_time_outs < 500, "until 16 are known: {}", slow.false_time_outs);
    assert_eq!(run(TimeLimits::Fixed, Pattern::Slow).false_time_outs, 50_000);
    let tail = run(TimeLimits::Adaptive, Pattern::HeavyTailed);
    assert!(tail.per_100_000() < 200.0, "{}", tail.per_100_000());
}
