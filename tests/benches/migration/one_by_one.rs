use std::time::Duration;

use crate::cost::Cost;
use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::plan::Plan;
use crate::{table, work};

const STATE_BYTES: usize = 256;

/// Moves, one after the other.
const MOVES: usize = 2_000;

/// What one move cannot do without: PREPARE, STAGE, COMMIT and ACTIVATE are durable one after the
/// other.
const SYNCS: u32 = 4;

/// STAGE and its answer, COMMIT and its answer.
const ROUND_TRIPS: u32 = 2;

/// How many times that a move may take.
const TIMES: f64 = 3.0;

/// One entity after the other, each when the one before has arrived.
pub(crate) fn measure(plan: &Plan, floors: &Floors) {
    let fleet = Fleet::start(2, 1, false);
    work::create(&fleet, 0, MOVES.min(plan.moves), STATE_BYTES);
    let before = Cost::so_far(&fleet);
    let tally = work::swing(&fleet, 0, 1, 1, 1);
    let after = Cost::so_far(&fleet);
    let name = "one by one, 256 B";
    let (middle, high) = (tally.latencies.at(0.5), tally.latencies.at(0.99));
    let bounds = middle <= Duration::from_millis(2) && high <= Duration::from_millis(10);
    let needed = floors.sync() * SYNCS + floors.round_trip() * ROUND_TRIPS;
    let ratio = middle.as_secs_f64() / needed.as_secs_f64();
    table::line(
        &format!("{name}: until the caller knows"),
        &table::spread(&tally.latencies),
        "",
        "",
        &table::verdict("p50 at most 2 ms, p99 at most 10 ms", bounds),
    );
    table::line(
        &format!("{name}: p50"),
        &table::time(middle),
        &format!("{} for {SYNCS} syncs and {ROUND_TRIPS} round trips", table::time(needed)),
        &format!("{ratio:.1}"),
        &table::verdict("at most 3", ratio <= TIMES),
    );
    table::line(&format!("{name}: moves a second"), &table::number(tally.rate()), "", "", "");
    after.report(&before, name, tally.committed, STATE_BYTES);
    let troubles = work::troubles(&tally);
    if !troubles.is_empty() {
        table::line(&format!("{name}: not at once"), &troubles, "", "", "");
    }
}
