use std::time::{Duration, Instant};

use lampyrid_tests::eventually;
use lampyrid_tests::load::Order;
use rustix::process::Signal;

use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::plan::Plan;
use crate::{census, table, work};

const STATE_BYTES: usize = 256;

/// Sagas that have to be open when the processes die.
const OPEN: u64 = 10_000;

/// Requests at once, one entity each: some have not been admitted yet when it happens.
const IN_FLIGHT: usize = 15_000;

/// All of them are over within:
const LIMIT: Duration = Duration::from_secs(2);

/// Tries to kill in the right moment.
const TRIES: usize = 5;

/// Both processes die with thousands of open sagas between them, and come back.
pub(crate) fn measure(_: &Plan, _: &Floors) {
    let mut most = None;
    for _ in 0..TRIES {
        let found = once();
        let better = most.as_ref().is_none_or(|(open, ..): &(u64, _, _)| *open < found.0);
        if better {
            most = Some(found);
        }
        if most.as_ref().is_some_and(|(open, ..)| *open >= OPEN) {
            break;
        }
    }
    let Some((open, ready, over)) = most else { return };
    table::line(
        "both killed with open sagas, both started again: ready",
        &table::time(ready),
        &format!("{} open sagas", table::number(open as f64)),
        "",
        "",
    );
    // Without so many open ones nothing is shown either way.
    let verdict = match open >= OPEN {
        true => table::verdict("10,000 in at most 2 s", over <= LIMIT),
        false => "10,000 in at most 2 s: NOT SHOWN, too few were open".to_owned(),
    };
    table::line(
        "and all sagas over, from the start of the processes",
        &table::time(over),
        &format!("{} open sagas", table::number(open as f64)),
        "",
        &verdict,
    );
}

/// How many sagas were open, when both were ready, and when nothing was open any more.
fn once() -> (u64, Duration, Duration) {
    let fleet = Fleet::start(2, 1, false);
    let entities = IN_FLIGHT * 2;
    work::create(&fleet, 0, entities, STATE_BYTES);
    let source = fleet.get(0);
    source.count(Order::Collect);
    let (number, _) = source.begin(work::all(fleet.bubble(1), 1, IN_FLIGHT));
    eventually("some moves", || (source.count(Order::Committed(number)) > 0).then_some(()));
    // At one moment: none sees the other die.
    (0..2).for_each(|at| fleet.get(at).signal(Signal::STOP));
    (0..2).for_each(|at| fleet.kill(at));
    let start = Instant::now();
    let movers = [0, 1].map(|at| fleet.restart(at));
    movers.iter().for_each(|mover| assert!(mover.wait_ready(), "a process has ended"));
    let ready = start.elapsed();
    let replayed = movers.iter().map(|mover| mover.usage().audit.replayed).max();
    eventually("all sagas to be over", || {
        let over = |audit: lampyrid::Audit| audit.frozen + audit.staged + audit.in_doubt == 0;
        movers.iter().all(|mover| over(mover.usage().audit)).then_some(())
    });
    let over = start.elapsed();
    let open = replayed.unwrap_or_default();
    work::tell(&format!("{open} open sagas, ready after {ready:.2?}, over after {over:.2?}"));
    let census = census::take(&fleet);
    assert_eq!(census.len(), entities, "entities");
    assert!(census.values().all(|copies| copies.len() == 1), "all once");
    (open, ready, over)
}
