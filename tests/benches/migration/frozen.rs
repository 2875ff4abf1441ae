use std::time::{Duration, Instant};

use lampyrid_tests::load::{Order, Tally};
use lampyrid_tests::proc;
use rustix::process::Signal;

use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::mover::{Pending, tally};
use crate::plan::Plan;
use crate::{table, work};

const STATE_BYTES: usize = 256;

/// Places of the processes: four, so that three are a quorum.
const SIZE: usize = 4;
const SOURCE: usize = 0;
const HEALTHY: usize = 1;
const FROZEN: usize = 2;

/// How long moves go to a frozen process: it is in the view for a part of that time.
const TIME: Duration = Duration::from_secs(4);

/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(50);

/// Share of the undisturbed rate that has to stay.
const SHARE: f64 = 0.8;

/// How much more memory the source may hold: the windows of one link and what may be on its way
/// out of states of that size, with room for the allocator.
const MEMORY_KIB: u64 = 64 * 1024;

/// One destination takes nothing any more, and callers go on asking for it.
pub(crate) fn measure(plan: &Plan, _: &Floors) {
    let fleet = Fleet::start(SIZE, 1, false);
    work::create(&fleet, SOURCE, plan.entities * 3, STATE_BYTES);
    let source = fleet.get(SOURCE);
    source.count(Order::Collect);
    let before = tally(&begin(&fleet, HEALTHY, plan.in_flight, plan));
    work::tell(&format!("undisturbed {:.0}/s", before.rate()));
    let resident = proc::resident(source.pid());
    fleet.get(FROZEN).signal(Signal::STOP);
    let frozen = Instant::now();
    // As many requests as it takes to come to the limit, and some.
    let stuck = begin(&fleet, FROZEN, plan.in_flight * 16, plan);
    let others = begin(&fleet, HEALTHY, plan.in_flight, plan);
    let mut most = resident;
    while frozen.elapsed() < TIME {
        most = most.max(proc::resident(source.pid()));
        std::thread::sleep(LOOK);
    }
    let meanwhile = tally(&others);
    // What was decided for it ends when it is back.
    fleet.get(FROZEN).signal(Signal::CONT);
    let stuck = tally(&stuck);
    report(&before, &meanwhile, &stuck, most.saturating_sub(resident));
}

fn begin(fleet: &Fleet, to: usize, in_flight: usize, plan: &Plan) -> Pending {
    let to = fleet.bubble(to);
    let (moves, batch) = (plan.entities, plan.batch);
    fleet.get(SOURCE).begin(Order::Move { to, moves, batch, in_flight, limit: TIME }).1
}

fn report(before: &Tally, meanwhile: &Tally, stuck: &Tally, grown: u64) {
    let ratio = meanwhile.rate() / before.rate();
    let rate = |tally: &Tally| format!("{}/s", table::number(tally.rate()));
    table::line(
        "frozen destination: moves to another one",
        &rate(meanwhile),
        &format!("{} undisturbed", rate(before)),
        &format!("{:.0} %", ratio * 100.0),
        &table::verdict("at least 80 %", ratio >= SHARE),
    );
    let latencies = format!("p99 {}", table::time(meanwhile.latencies.at(0.99)));
    let undisturbed = format!("p99 {} undisturbed", table::time(before.latencies.at(0.99)));
    table::line("frozen destination: until the caller knows", &latencies, &undisturbed, "", "");
    table::line(
        "frozen destination: more memory at the source",
        &format!("{} MiB", grown / 1024),
        "",
        "",
        &table::verdict("at most 64 MiB", grown <= MEMORY_KIB),
    );
    let overloaded = stuck.refused.get("overloaded").copied().unwrap_or_default();
    table::line(
        "frozen destination: what callers are told who ask for it",
        &work::troubles(stuck),
        "",
        "",
        &table::verdict("overloaded", overloaded > 0),
    );
    let troubles = work::troubles(meanwhile);
    if !troubles.is_empty() {
        table::line("frozen destination: moves to the other, not at once", &troubles, "", "", "");
    }
}
