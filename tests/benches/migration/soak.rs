use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lampyrid::{EntityId, EntityStatus, ProcessId};
use lampyrid_tests::eventually;
use lampyrid_tests::load::{Order, Tally};
use rand::RngExt;
use rustix::process::Signal;

use crate::census::{self, Census};
use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::mover::{Mover, Pending};
use crate::plan::Plan;
use crate::writers::{Known, Written, write};
use crate::{table, work};

const STATE_BYTES: usize = 256;
const SIZE: usize = 4;
const WRITERS: usize = 16;

/// Entities in a random request, and requests at once of each process.
const BATCH: usize = 64;
const IN_FLIGHT: usize = 16;

/// Between two faults, at most.
const FAULT_PAUSE: Duration = Duration::from_millis(2_000);

/// A frozen or dead process is back after that, at most.
const OUTAGE: Duration = Duration::from_millis(4_000);

/// Between two reports.
const REPORT: Duration = Duration::from_secs(30);

/// What was done to the processes.
#[derive(Default, Debug)]
struct Faults {
    kills: usize,
    freezes: usize,
}

/// Random kills, freezes and restarts at full load; then everything is there once, with all
/// acknowledged writes.
pub(crate) fn measure(plan: &Plan, _: &Floors) {
    let fleet = Fleet::start(SIZE, 1, false);
    let places: BTreeMap<ProcessId, usize> =
        (0..SIZE).map(|at| (fleet.get(at).started.process, at)).collect();
    (0..SIZE).for_each(|at| work::create(&fleet, at, plan.entities / SIZE, STATE_BYTES));
    let begun = census::take(&fleet);
    let ids: Vec<(EntityId, usize)> =
        begun.iter().filter_map(|(id, copies)| Some((*id, copies.first()?.0))).collect();
    let ended = AtomicBool::new(false);
    let load = Load {
        until: Instant::now() + plan.time,
        bubbles: fleet.all_bubbles(),
        roams: Mutex::default(),
    };
    let (faults, written) = std::thread::scope(|scope| {
        let shares = ids.chunks(ids.len().div_ceil(WRITERS));
        let (fleet, places, ended) = (&fleet, &places, &ended);
        let writers: Vec<_> = shares
            .map(|own| scope.spawn(move || write(fleet, places, own.to_vec(), STATE_BYTES, ended)))
            .collect();
        (0..SIZE).for_each(|at| load.put_on(&fleet.get(at)));
        let faults = hurt(scope, fleet, &load);
        ended.store(true, Ordering::Relaxed);
        let written: Vec<Written> =
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
        (faults, written)
    });
    let moved = load.finish();
    work::tell("faults are over; waiting for what is open");
    settle(&fleet);
    report(plan, &faults, &moved, &written);
    audit(&fleet, &ids, &written);
}

/// The moves that all processes make.
struct Load {
    until: Instant,
    bubbles: Vec<lampyrid::BubbleId>,
    roams: Mutex<Vec<Pending>>,
}

impl Load {
    fn put_on(&self, mover: &Mover) {
        let limit = self.until.saturating_duration_since(Instant::now());
        let to = self.bubbles.clone();
        let order = Order::Roam { to, batch: BATCH, in_flight: IN_FLIGHT, limit };
        let roam = mover.begin(order).1;
        self.roams.lock().unwrap_or_else(PoisonError::into_inner).push(roam);
    }

    /// What was moved by those that have not died.
    fn finish(self) -> Tally {
        let mut all = Tally::default();
        for roam in self.roams.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Ok(lampyrid_tests::load::Answer::Tally(tally)) = roam.recv() {
                all.merge(&tally);
            }
        }
        all
    }
}

/// Hurts one process at a time, sometimes two, until the time is up; then all run.
fn hurt<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    fleet: &'scope Fleet,
    load: &'scope Load,
) -> Faults {
    let mut random = rand::rng();
    let mut faults = Faults::default();
    let mut frozen: BTreeMap<usize, Instant> = BTreeMap::new();
    let mut down: BTreeMap<usize, Instant> = BTreeMap::new();
    let (mut next, mut told) = (Instant::now() + FAULT_PAUSE, Instant::now());
    loop {
        let now = Instant::now();
        let over = now >= load.until;
        for at in due(&mut frozen, over) {
            fleet.get(at).signal(Signal::CONT);
        }
        for at in due(&mut down, over) {
            let mover = fleet.restart(at);
            scope.spawn(move || revive(&mover, load));
        }
        if over {
            return faults;
        }
        if now >= next {
            next = now + FAULT_PAUSE.mul_f64(random.random_range(0.1..1.0));
            let allowed = if random.random_range(0..4) == 0 { 2 } else { 1 };
            let at = random.random_range(0..SIZE);
            let hurt: BTreeSet<&usize> = frozen.keys().chain(down.keys()).collect();
            if hurt.len() < allowed && !hurt.contains(&at) {
                let back = now + OUTAGE.mul_f64(random.random_range(0.02..1.0));
                if random.random_range(0..2) == 0 {
                    faults.kills += 1;
                    fleet.kill(at);
                    down.insert(at, back);
                } else {
                    faults.freezes += 1;
                    fleet.get(at).signal(Signal::STOP);
                    frozen.insert(at, back);
                }
            }
        }
        if told.elapsed() >= REPORT {
            told = Instant::now();
            work::tell(&format!("{:.0?} left: {faults:?}", load.until - now));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn due(waiting: &mut BTreeMap<usize, Instant>, all: bool) -> Vec<usize> {
    let now = Instant::now();
    let due: Vec<usize> =
        waiting.iter().filter(|(_, back)| all || **back <= now).map(|(at, _)| *at).collect();
    due.iter().for_each(|at| {
        waiting.remove(at);
    });
    due
}

/// It may be killed again before it is ready.
fn revive(mover: &Arc<Mover>, load: &Load) {
    if mover.wait_ready() {
        load.put_on(mover);
    }
}

/// Until nothing is on its way any more.
fn settle(fleet: &Fleet) {
    fleet.wait_known();
    eventually("all sagas to be over", || {
        let over = |mover: &Arc<Mover>| {
            let audit = mover.usage().audit;
            audit.frozen + audit.staged + audit.in_doubt == 0
        };
        fleet.running().iter().all(over).then_some(())
    });
}

fn report(plan: &Plan, faults: &Faults, moved: &Tally, written: &[Written]) {
    let sum = |figure: fn(&Written) -> u64| written.iter().map(figure).sum::<u64>();
    let minutes = plan.time.as_secs_f64() / 60.0;
    table::line(
        &format!("soak, {minutes:.1} minutes: faults"),
        &format!("{} kills, {} freezes", faults.kills, faults.freezes),
        "",
        "",
        "",
    );
    table::line(
        "soak: moves, of processes until they died not counted",
        &table::number(moved.committed as f64),
        &work::troubles(moved),
        "",
        "",
    );
    table::line(
        "soak: acknowledged writes",
        &table::number(sum(|one| one.acknowledged) as f64),
        &format!("{} without an answer", table::number(sum(|one| one.unanswered) as f64)),
        "",
        "",
    );
}

/// Panics if anything is wrong.
fn audit(fleet: &Fleet, ids: &[(EntityId, usize)], written: &[Written]) {
    let census = census::take(fleet);
    let known: BTreeMap<EntityId, &Known> =
        written.iter().flat_map(|one| &one.known).map(|(id, known)| (*id, known)).collect();
    let wrong = wrongs(&census, ids, &known);
    let [lost, doubled, overwritten] = [&wrong[0], &wrong[1], &wrong[2]].map(Vec::len);
    table::line(
        "soak: lost, doubled, acknowledged writes lost",
        &format!("{lost}, {doubled}, {overwritten} of {} entities", ids.len()),
        "",
        "",
        &table::verdict("0", lost + doubled + overwritten == 0),
    );
    if lost + doubled + overwritten > 0 {
        for text in wrong.iter().flat_map(|texts| texts.iter().take(20)) {
            work::tell(text);
        }
        panic!("the audit failed");
    }
}

/// Lost ones, doubled ones, and those whose state is not what was acknowledged.
fn wrongs(
    census: &Census,
    ids: &[(EntityId, usize)],
    known: &BTreeMap<EntityId, &Known>,
) -> [Vec<String>; 3] {
    let mut wrong: [Vec<String>; 3] = Default::default();
    for (id, _) in ids {
        let copies = census.get(id).map(Vec::as_slice).unwrap_or_default();
        match copies {
            [(_, held)] if held.status == EntityStatus::Active => {
                let allowed =
                    held.value.is_some_and(|value| known.get(id).is_none_or(|k| k.allows(value)));
                if !allowed {
                    wrong[2].push(format!("{held:?}, but {:?}", known.get(id)));
                }
            }
            [] => wrong[0].push(format!("{id} is nowhere")),
            copies => wrong[1].push(format!("{id}: {copies:?}")),
        }
    }
    wrong
}
