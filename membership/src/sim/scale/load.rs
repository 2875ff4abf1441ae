use std::time::Duration;

use super::super::{Load, Plan, Sim, Violation};
use super::chosen;

/// Bytes that members send in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bytes {
    /// Mean over members and seconds.
    pub mean: f64,
    /// 99 of 100 seconds of single members are at most this.
    pub p99: u64,
    /// The most that one member sent in one second.
    pub most: u64,
}

/// What members send and are sent, seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Loads {
    /// Encoded messages, over the members that ran to the end.
    pub bytes: Bytes,
    /// Messages sent by one member in one second: mean over members and seconds.
    pub messages: f64,
    /// Messages sent or received in one second, by the member that coordinates at the end.
    pub at_coordinator: f64,
    /// The most that any member sent and received in all: messages in one second, mean over time.
    pub at_busiest: f64,
    /// Messages and bytes by kind, over everybody and the whole time.
    pub kinds: Vec<(String, u64, u64)>,
}

/// A settled cluster runs for `before`, then `crashes` members end at once, then it runs for
/// `after`; whole seconds.
///
/// # Errors
/// [`Violation`].
pub fn loads(
    seed: u64,
    processes: usize,
    crashes: usize,
    before: Duration,
    after: Duration,
) -> Result<Loads, Violation> {
    let mut sim = Sim::settled(Plan::calm(seed, processes))?;
    // What settling has set off is over by then.
    sim.run_until(sim.now() + Duration::from_secs(5))?;
    sim.count_traffic();
    sim.run_until(sim.now() + before)?;
    for place in chosen(&sim, seed, crashes) {
        sim.crash(place);
    }
    sim.run_until(sim.now() + after)?;
    Ok(measured(&sim, (before + after).as_secs()))
}

fn measured(sim: &Sim, seconds: u64) -> Loads {
    let running: Vec<usize> = (0..sim.places()).filter(|&at| sim.state(at).is_some()).collect();
    let whole = usize::try_from(seconds).unwrap_or(0);
    let of = |place: usize| {
        let seen = sim.traffic().of(place).iter().copied();
        seen.chain(std::iter::repeat(Load::default())).take(whole)
    };
    let per_second = |place: usize| {
        of(place).map(|load| load.sent + load.received).sum::<u64>() as f64 / seconds as f64
    };
    let mut bytes: Vec<u64> =
        running.iter().flat_map(|&place| of(place).map(|load| load.bytes)).collect();
    bytes.sort_unstable();
    let samples = bytes.len().max(1) as f64;
    let sent: u64 = running.iter().flat_map(|&place| of(place).map(|load| load.sent)).sum();
    let coordinator = running
        .first()
        .and_then(|&place| sim.state(place)?.view.as_ref())
        .and_then(|view| sim.place_of(view.coordinator()));
    Loads {
        bytes: Bytes {
            mean: bytes.iter().sum::<u64>() as f64 / samples,
            p99: bytes.get(bytes.len() * 99 / 100).copied().unwrap_or(0),
            most: bytes.last().copied().unwrap_or(0),
        },
        messages: sent as f64 / samples,
        at_coordinator: coordinator.map_or(0.0, per_second),
        at_busiest: running.iter().map(|&place| per_second(place)).fold(0.0, f64::max),
        kinds: sim.traffic().kinds(),
    }
}
