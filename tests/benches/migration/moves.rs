use std::time::{Duration, Instant};

use lampyrid_tests::load::{Order, Tally};
use lampyrid_tests::proc;

use crate::cost::Cost;
use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::mover::{Pending, tally};
use crate::plan::Plan;
use crate::{pauses, table, work};

const SIZES: [usize; 2] = [2, 4];
const STATES: [usize; 2] = [256, 4_096];
const ENTITIES: [usize; 4] = [1, 100, 10_000, 100_000];

/// Each is measured that long, and at least one round.
const TIME: Duration = Duration::from_secs(5);

/// Each process of a ring moves what it has to the next one, round after round.
pub(crate) fn measure(plan: &Plan, floors: &Floors) {
    for size in SIZES {
        for bytes in STATES {
            for entities in ENTITIES.into_iter().filter(|&entities| entities <= plan.entities) {
                one(plan, floors, size, bytes, entities);
            }
        }
    }
}

fn one(plan: &Plan, floors: &Floors, size: usize, bytes: usize, entities: usize) {
    let fleet = Fleet::start(size, 1, true);
    work::create(&fleet, 0, entities, bytes);
    let before = Cost::so_far(&fleet);
    let (start, mut all) = (Instant::now(), Tally::default());
    while all.committed == 0 || start.elapsed() < TIME {
        let swings: Vec<Pending> = (0..size).filter_map(|at| swing(&fleet, at, plan)).collect();
        swings.iter().for_each(|swing| all.merge(&tally(swing)));
    }
    all.took = start.elapsed();
    let after = Cost::so_far(&fleet);
    let pauses = pauses::take(&fleet);
    let name = format!("{size} processes, {entities} of {bytes} B");
    table::line(
        &format!("{name}: moves a second"),
        &table::number(all.rate()),
        &format!("{} records/s in commits of 64", table::number(floors.grouped)),
        &format!("{:.1} %", all.rate() / floors.grouped * 100.0),
        "",
    );
    let spread = |what: &str, latencies| {
        table::line(&format!("{name}: {what}"), &table::spread(latencies), "", "", "");
    };
    spread("until the caller knows, closed loop", &all.latencies);
    spread("pause", &pauses);
    after.report(&before, &name, all.committed, bytes);
    let resident: u64 = fleet.running().iter().map(|mover| proc::resident(mover.pid())).sum();
    let resident = format!("{} MiB", resident / 1024);
    let troubles = work::troubles(&all);
    table::line(&format!("{name}: resident memory of all"), &resident, &troubles, "", "");
}

/// `None` if there is nothing to move.
fn swing(fleet: &Fleet, at: usize, plan: &Plan) -> Option<Pending> {
    let next = (at + 1) % fleet.size();
    let here = fleet.get(at).count(Order::Collect);
    let order = || work::all(fleet.bubble(next), plan.batch, plan.in_flight);
    (here > 0).then(|| fleet.get(at).begin(order()).1)
}
