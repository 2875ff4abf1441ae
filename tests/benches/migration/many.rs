use std::time::{Duration, Instant};

use lampyrid::EntityStatus;
use lampyrid_tests::load::{Order, Tally};
use lampyrid_tests::{eventually, proc};

use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::mover::{Pending, tally};
use crate::plan::Plan;
use crate::{census, table, work};

const STATE_BYTES: usize = 256;
const PROCESSES: usize = 8;
const BUBBLES: usize = 16;

/// In each bubble at the beginning.
const ENTITIES: usize = 10_000;

const BATCH: usize = 64;
const IN_FLIGHT: usize = 2;

/// Between two looks at memory.
const LOOK: Duration = Duration::from_secs(5);

/// Memory is flat if the last tenth takes no more than this share of the middle.
const FLAT: f64 = 1.1;

/// Many processes with many bubbles with many entities, all of which roam.
pub(crate) fn measure(plan: &Plan, _: &Floors) {
    let fleet = Fleet::start(PROCESSES, BUBBLES, false);
    let each = ENTITIES.min(plan.entities);
    for mover in fleet.running() {
        for &bubble in mover.bubbles() {
            mover.count(Order::Create { bubble, count: each, bytes: STATE_BYTES });
        }
        work::tell(&format!("process {} is full", mover.pid()));
    }
    let expected = PROCESSES * BUBBLES * each;
    let to = fleet.all_bubbles();
    let start = Instant::now();
    let roam = |mover: &std::sync::Arc<crate::mover::Mover>| {
        let order =
            Order::Roam { to: to.clone(), batch: BATCH, in_flight: IN_FLIGHT, limit: plan.time };
        mover.begin(order).1
    };
    let roams: Vec<Pending> = fleet.running().iter().map(roam).collect();
    let mut resident: Vec<u64> = Vec::new();
    while start.elapsed() < plan.time {
        std::thread::sleep(LOOK.min(plan.time));
        resident.push(fleet.running().iter().map(|mover| proc::resident(mover.pid())).sum());
        let (seconds, now) = (start.elapsed().as_secs(), resident.last().copied());
        work::tell(&format!("{seconds} s: {} MiB resident", now.unwrap_or_default() / 1024));
    }
    let mut all = Tally::default();
    roams.iter().for_each(|roam| all.merge(&tally(roam)));
    all.took = start.elapsed();
    eventually("all sagas to be over", || {
        let over = |audit: lampyrid::Audit| audit.frozen + audit.staged + audit.in_doubt == 0;
        fleet.running().iter().all(|mover| over(mover.usage().audit)).then_some(())
    });
    report(plan, &all, &resident);
    let census = census::take(&fleet);
    let once = census.values().filter(|copies| {
        copies.len() == 1 && copies.iter().all(|(_, held)| held.status == EntityStatus::Active)
    });
    let (once, found) = (once.count(), census.len());
    let lost = expected.saturating_sub(found);
    table::line(
        "many: lost, doubled",
        &format!("{lost}, {} of {expected} entities", found - once),
        "",
        "",
        &table::verdict("0", once == expected),
    );
    assert_eq!(once, expected, "entities that are active once");
}

fn report(plan: &Plan, all: &Tally, resident: &[u64]) {
    let minutes = plan.time.as_secs_f64() / 60.0;
    let name = format!("many: {PROCESSES} processes x {BUBBLES} bubbles, {minutes:.1} minutes");
    table::line(
        &format!("{name}: moves a second"),
        &table::number(all.rate()),
        &work::troubles(all),
        "",
        "",
    );
    table::line("many: until the caller knows", &table::spread(&all.latencies), "", "", "");
    let (Some(&half), Some(&last)) = (resident.get(resident.len() / 2), resident.last()) else {
        return;
    };
    let ratio = last as f64 / half as f64;
    table::line(
        "many: resident memory of all at the end",
        &format!("{} MiB", last / 1024),
        &format!("{} MiB after half of the time", half / 1024),
        &format!("{ratio:.2}"),
        &table::verdict("flat (at most 1.1)", ratio <= FLAT),
    );
}
