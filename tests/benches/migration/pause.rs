use std::time::Duration;

use lampyrid_tests::load::{Latencies, Order, Tally};

use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::mover::tally;
use crate::plan::Plan;
use crate::{pauses, table, work};

const STATE_BYTES: usize = 256;

/// Requests a second, one entity each.
const RATE: u64 = 2_000;

/// At that rate 99 % of all entities are active again within:
const AT_RATE: Duration = Duration::from_millis(10);

/// And as fast as it goes, within:
const AT_MOST: Duration = Duration::from_millis(100);

/// How often all entities move as fast as it goes.
const SWINGS: usize = 4;

/// How long entities have no active copy: at a fixed rate, and at the highest.
pub(crate) fn measure(plan: &Plan, floors: &Floors) {
    open(plan, floors);
    closed(plan, floors);
}

fn open(plan: &Plan, floors: &Floors) {
    let fleet = Fleet::start(2, 1, true);
    let moves = (RATE as f64 * plan.time.as_secs_f64()) as usize;
    work::create(&fleet, 0, moves, STATE_BYTES);
    let source = fleet.get(0);
    source.count(Order::Collect);
    let offered = source.begin(Order::Offer { to: fleet.bubble(1), rate: RATE, moves });
    let done = tally(&offered.1);
    let name = format!("{RATE} moves/s, one a request, open loop");
    table::line(
        &format!("{name}: from when it was due until the caller knows"),
        &table::spread(&done.latencies),
        "",
        "",
        "",
    );
    report(&name, &fleet, &done, AT_RATE, floors);
}

fn closed(plan: &Plan, floors: &Floors) {
    let fleet = Fleet::start(2, 1, true);
    work::create(&fleet, 0, plan.entities, STATE_BYTES);
    let mut all = Tally::default();
    for turn in 0..SWINGS {
        let swung = work::swing(&fleet, turn % 2, 1 - turn % 2, plan.batch, plan.in_flight);
        all.took += swung.took;
        all.merge(&swung);
    }
    let name = format!("sustained, {} moves/s", table::number(all.rate()));
    report(&name, &fleet, &all, AT_MOST, floors);
}

fn report(name: &str, fleet: &Fleet, done: &Tally, bound: Duration, floors: &Floors) {
    let pauses: Latencies = pauses::take(fleet);
    // PREPARE, STAGE, COMMIT and ACTIVATE are durable one after the other; three messages between.
    let needed = floors.sync() * 4 + floors.round_trip() * 3 / 2;
    let ratio = pauses.at(0.5).as_secs_f64() / needed.as_secs_f64();
    let high = pauses.at(0.99);
    let busy = floors.busy.at(0.99);
    table::line(
        &format!("{name}: pause of an entity"),
        &table::spread(&pauses),
        &format!(
            "{} for 4 syncs and 3 ways; p99 {} of a sync beside other work",
            table::time(needed),
            table::time(busy),
        ),
        &format!("p50 {ratio:.1}"),
        &table::verdict(&format!("p99 at most {}", table::time(bound)), high <= bound),
    );
    let counted = pauses.count();
    let troubles = work::troubles(done);
    if counted < done.committed || !troubles.is_empty() {
        let what = format!("{counted} pauses of {} moves {troubles}", done.committed);
        table::line(&format!("{name}: not at once, or not seen"), &what, "", "", "");
    }
}
