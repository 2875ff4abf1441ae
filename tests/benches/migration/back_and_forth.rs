use std::time::Instant;

use lampyrid_tests::load::Tally;
use lampyrid_tests::proc;

use crate::cost::Cost;
use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::plan::Plan;
use crate::{table, work};

/// Bytes of each state.
const STATE_BYTES: usize = 256;

/// Share of the store's rate that has to be reached.
const SHARE: f64 = 0.08;

/// Moves after which the store may not grow much any more, of a million.
const FIRST: f64 = 0.2;

/// How much it may.
const GROWTH: f64 = 1.5;

/// Memory is flat if the second half ends with no more than this share of its beginning.
const FLAT: f64 = 1.1;

/// Sizes at one moment, of both processes.
struct Sizes {
    resident: u64,
    disk: u64,
}

impl Sizes {
    fn now(fleet: &Fleet) -> Self {
        Self {
            resident: fleet.running().iter().map(|mover| proc::resident(mover.pid())).sum(),
            disk: (0..fleet.size()).map(|at| fleet.disk(at)).sum(),
        }
    }
}

/// All entities from one process to the other and back, until so many moves are done.
pub(crate) fn measure(plan: &Plan, floors: &Floors) {
    let fleet = Fleet::start(2, 1, false);
    work::create(&fleet, 0, plan.entities, STATE_BYTES);
    let before = Cost::so_far(&fleet);
    let start = Instant::now();
    let mut all = Tally::default();
    let mut sizes: Vec<(u64, Sizes)> = Vec::new();
    let mut from = 0;
    while all.committed < plan.moves as u64 {
        let swung = work::swing(&fleet, from, 1 - from, plan.batch, plan.in_flight);
        all.merge(&swung);
        sizes.push((all.committed, Sizes::now(&fleet)));
        tell(&all, &swung, sizes.last());
        from = 1 - from;
    }
    all.took = start.elapsed();
    let after = Cost::so_far(&fleet);
    let name = "back and forth, 256 B";
    rate(name, &all, floors);
    table::line(
        &format!("{name}: until the caller knows, closed loop"),
        &table::spread(&all.latencies),
        "",
        "",
        "",
    );
    after.report(&before, name, all.committed, STATE_BYTES);
    flat(name, &sizes, plan.moves as u64);
    let troubles = work::troubles(&all);
    if !troubles.is_empty() {
        table::line(&format!("{name}: not at once"), &troubles, "", "", "");
    }
    // 0 lost, 0 doubled: everything is where it was sent last.
    let audits = [0, 1].map(|at| fleet.get(at).usage().audit);
    let here = audits[from].active;
    let elsewhere = audits[1 - from].active + audits[0].staged + audits[1].staged;
    let whole = here == plan.entities as u64 && elsewhere == 0;
    table::line(
        &format!("{name}: active at the end"),
        &format!("{here} of {}, {elsewhere} elsewhere", plan.entities),
        "",
        "",
        &table::verdict("all, once", whole),
    );
}

fn tell(all: &Tally, swung: &Tally, sizes: Option<&(u64, Sizes)>) {
    let Some((_, sizes)) = sizes else { return };
    work::tell(&format!(
        "{} moves, {:.0}/s, resident {} MiB, disk {} MiB {}",
        all.committed,
        swung.rate(),
        sizes.resident / 1024,
        sizes.disk >> 20,
        work::troubles(swung)
    ));
}

fn rate(name: &str, all: &Tally, floors: &Floors) {
    let ratio = all.rate() / floors.grouped;
    table::line(
        &format!("{name}: moves a second"),
        &table::number(all.rate()),
        &format!("{} records/s in commits of 64", table::number(floors.grouped)),
        &format!("{:.1} %", ratio * 100.0),
        &table::verdict("at least 8 %", ratio >= SHARE),
    );
}

fn flat(name: &str, sizes: &[(u64, Sizes)], moves: u64) {
    let at = |share: f64| {
        let wanted = (moves as f64 * share) as u64;
        sizes.iter().find(|(done, _)| *done >= wanted).map(|(_, sizes)| sizes)
    };
    let (Some(first), Some(half), Some(last)) = (at(FIRST), at(0.5), at(1.0)) else { return };
    let mebibytes = |kibibytes: u64| format!("{} MiB", kibibytes / 1024);
    let ratio = last.resident as f64 / half.resident as f64;
    table::line(
        &format!("{name}: resident memory of both at the end"),
        &mebibytes(last.resident),
        &format!("{} at half of the moves", mebibytes(half.resident)),
        &format!("{ratio:.2}"),
        &table::verdict("flat (at most 1.1)", ratio <= FLAT),
    );
    let ratio = last.disk as f64 / first.disk as f64;
    table::line(
        &format!("{name}: files of both at the end"),
        &mebibytes(last.disk / 1024),
        &format!("{} after a fifth of the moves", mebibytes(first.disk / 1024)),
        &format!("{ratio:.2}"),
        &table::verdict("at most 1.5", ratio <= GROWTH),
    );
}
