use std::path::Path;
use std::time::{Duration, Instant};

use lampyrid_migration::testkit::{LeftOpen, OpenSagas};
use lampyrid_migration::{Database, Journal, Record, open_database};
use lampyrid_tests::eventually;
use rustix::process::Signal;

use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::plan::Plan;
use crate::{census, table, work};

const STATE_BYTES: usize = 256;

/// Open sagas of one entity each. Two processes that run have fewer open between them, since the
/// window of a lane bounds them; so the journals are written as a crash could have left them.
const OPEN: usize = 10_000;

/// All of them are over within:
const LIMIT: Duration = Duration::from_secs(2);

const STORE_FILE: &str = "lampyrid.redb";

/// Both processes come back with thousands of open sagas between them.
pub(crate) fn measure(_: &Plan, _: &Floors) {
    let (_, idle) = once(0, &LeftOpen::ALL);
    for (what, kinds) in [
        ("10,000 open sagas of all kinds", &LeftOpen::ALL[..]),
        ("10,000 open sagas, COMMIT without END", &[LeftOpen::Commit]),
    ] {
        let (ready, over) = once(OPEN, kinds);
        let beside = format!("{} without any", table::time(idle));
        table::line(&format!("{what}: both ready"), &table::time(ready), "", "", "");
        table::line(
            &format!("{what}: all over, from the start of the processes"),
            &table::time(over),
            &beside,
            "",
            &table::verdict("at most 2 s", over <= LIMIT),
        );
    }
}

/// When both were ready, and when nothing was open any more.
fn once(open: usize, kinds: &[LeftOpen]) -> (Duration, Duration) {
    let fleet = Fleet::start(2, 1, false);
    let [source, destination] = [0, 1].map(|at| fleet.get(at).started.process);
    let [here, there] = [0, 1].map(|at| fleet.bubble(at));
    // At one moment: none sees the other die.
    (0..2).for_each(|at| fleet.get(at).signal(Signal::STOP));
    (0..2).for_each(|at| fleet.kill(at));
    let both = OpenSagas { source, destination, here, there, state_bytes: STATE_BYTES };
    let kind = |number: usize| kinds[number % kinds.len()];
    let sagas = (0..open).map(|number| both.open(number as u128 + 1, kind(number)));
    let (at_source, at_destination) = sagas.map(|[source, other]| (source, other)).unzip();
    write(&fleet.data_dir(0), at_source);
    write(&fleet.data_dir(1), at_destination);

    let start = Instant::now();
    let movers = [0, 1].map(|at| fleet.restart(at));
    movers.iter().for_each(|mover| assert!(mover.wait_ready(), "a process has ended"));
    let ready = start.elapsed();
    eventually("all sagas to be over", || {
        let over = |audit: lampyrid::Audit| audit.frozen + audit.staged + audit.in_doubt == 0;
        movers.iter().all(|mover| over(mover.usage().audit)).then_some(())
    });
    let over = start.elapsed();
    let replayed = movers[0].usage().audit.replayed;
    assert_eq!(replayed, open as u64, "the source knows all of them");
    work::tell(&format!("{open} open sagas, ready after {ready:.2?}, over after {over:.2?}"));
    let census = census::take(&fleet);
    assert_eq!(census.len(), open, "entities");
    for number in 0..open {
        let id = lampyrid::EntityId::from_u128(number as u128 + 1);
        let places: Vec<usize> = census[&id].iter().map(|(at, _)| *at).collect();
        assert_eq!(places, [usize::from(kind(number).is_decided())], "{id}");
    }
    (ready, over)
}

/// Adds these to the journal in a data directory.
fn write(directory: &Path, records: Vec<Record>) {
    let store = open_database(&directory.join(STORE_FILE)).expect("its store");
    Database::new(store).commit(&[records]).expect("a disk");
}
