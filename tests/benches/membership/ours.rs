use std::collections::BTreeSet;
use std::time::Duration;

use lampyrid_membership::sim::{Direction, Plan, Random, Sim, Violation};
use lampyrid_wire::ProcessId;

use crate::experiments::{
    BOOTSTRAP_WINDOW, Bootstrap, Crash, FAULTS_LAST, Fault, Faults, HEAVY_LOSS, PATIENCE, SETTLE,
    WINDOW, one_percent, some, starts,
};
use crate::meter::Load;

/// The largest cluster of ours that is measured.
pub(crate) const LARGEST: usize = 2_000;

/// How often it is looked whether most of the lists are complete.
const LOOK: Duration = Duration::from_millis(10);

/// All but the first join through the first.
pub(crate) fn bootstrap(seed: u64, places: usize) -> Result<Bootstrap, Violation> {
    let mut random = Random::new(seed);
    let mut sim = Sim::new(Plan::calm(seed, places));
    let begun = sim.now();
    sim.count_traffic();
    let mut order: Vec<(Duration, usize)> =
        starts(&mut random, places).into_iter().enumerate().map(|(at, when)| (when, at)).collect();
    order.sort_unstable();
    let mut nearly = None;
    for (when, place) in order {
        sim.run_until(begun + when)?;
        sim.boot(place)?;
    }
    let end = begun + BOOTSTRAP_WINDOW;
    while nearly.is_none() && sim.now() < end {
        sim.run_until(sim.now() + LOOK)?;
        nearly = nearly_complete(&sim).then(|| sim.now() - begun);
    }
    let mut took = agreed(&mut sim, end, begun)?;
    sim.run_until(end)?;
    let load = load(&sim, BOOTSTRAP_WINDOW);
    if took.is_none() {
        took = agreed(&mut sim, begun + PATIENCE, begun)?;
    }
    let lists = sim.views().filter(|view| view.size() > 1).count();
    Ok(Bootstrap { took, nearly, lists, load })
}

/// `crashes` of a settled cluster die at one time. If `unplugged`, so do their machines: nobody's
/// connection is reset, and connects are not refused but not answered.
pub(crate) fn crash(
    seed: u64,
    places: usize,
    crashes: usize,
    unplugged: bool,
) -> Result<Crash, Violation> {
    let mut random = Random::new(seed);
    let mut sim = settled(seed, places)?;
    sim.count_traffic();
    let begun = sim.now();
    let at = begun + WINDOW;
    sim.run_until(at)?;
    let idle = load(&sim, WINDOW);
    let before = sim.views().count();
    for place in some(&mut random, places, crashes) {
        if unplugged {
            sim.unplug(place);
        } else {
            sim.crash(place);
        }
    }
    let mut took = agreed(&mut sim, at + WINDOW, at)?;
    sim.run_until(at + WINDOW)?;
    let change = load(&sim, WINDOW * 2);
    if took.is_none() {
        took = agreed(&mut sim, at + PATIENCE, at)?;
    }
    Ok(Crash { took, lists: sim.views().count() - before, idle, change })
}

/// The network is bad for 1 % of a settled cluster.
pub(crate) fn faults(seed: u64, places: usize, fault: Fault) -> Result<Faults, Violation> {
    let mut random = Random::new(seed);
    let mut sim = settled(seed, places)?;
    let faulty = some(&mut random, places, one_percent(places));
    let (begun, before) = (sim.now(), sim.views().count());
    sim.change_network(|network| {
        for &place in &faulty {
            match fault {
                Fault::Loss => {
                    network.set_loss(place, Direction::Incoming, HEAVY_LOSS);
                    network.set_loss(place, Direction::Outgoing, HEAVY_LOSS);
                }
                Fault::FlipFlop => network.flip_flop(place, Direction::Incoming, begun),
            }
        }
    });
    sim.run_until(begun + FAULTS_LAST)?;
    let bad: BTreeSet<ProcessId> = faulty.iter().map(|&place| sim.id(place)).collect();
    let removed = removed_since(&sim, before);
    let listed = |process: &&ProcessId| {
        (0..places)
            .filter(|place| !faulty.contains(place))
            .filter_map(|place| sim.state(place)?.view.as_ref())
            .any(|view| view.member(**process).is_some())
    };
    Ok(Faults {
        healthy_removed: removed.difference(&bad).count(),
        faulty_removed: removed.intersection(&bad).count(),
        faulty_out: bad.iter().filter(|process| !listed(process)).count(),
        faulty: faulty.len(),
        lists: sim.views().count() - before,
    })
}

fn settled(seed: u64, places: usize) -> Result<Sim, Violation> {
    let mut sim = Sim::settled(Plan::calm(seed, places))?;
    sim.run_until(sim.now() + SETTLE)?;
    Ok(sim)
}

/// Lets time pass until all that run are active in one view of just them; how long that is after
/// `since`, unless it was not so by `end`.
fn agreed(sim: &mut Sim, end: Duration, since: Duration) -> Result<Option<Duration>, Violation> {
    match sim.until_converged_within(end.saturating_sub(sim.now())) {
        Ok(()) => Ok(Some(sim.now() - since)),
        Err(Violation::NoConvergence(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

fn nearly_complete(sim: &Sim) -> bool {
    let places = sim.places();
    let size = |place| Some(sim.state(place)?.view.as_ref()?.size());
    (0..places).filter_map(size).sum::<usize>() * 100 >= places * places * 99
}

/// Whoever a view listed and the next one did not, in that life.
fn removed_since(sim: &Sim, views: usize) -> BTreeSet<ProcessId> {
    let mut removed = BTreeSet::new();
    let of_interest: Vec<_> = sim.views().skip(views.saturating_sub(1)).collect();
    for pair in of_interest.windows(2) {
        let [before, after] = pair else { continue };
        let gone = before.members().iter().filter(|m| !after.lists(m.process, m.incarnation));
        removed.extend(gone.map(|member| member.process));
    }
    removed
}

/// Over the first `span` since counting began, of those that still run.
fn load(sim: &Sim, span: Duration) -> Load {
    let seconds = usize::try_from(span.as_secs()).unwrap_or(0);
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    for place in (0..sim.places()).filter(|&place| sim.state(place).is_some()) {
        let seen = sim.traffic().of(place);
        bytes.extend((0..seconds).map(|at| seen.get(at).map_or(0, |load| load.bytes)));
        messages.extend((0..seconds).map(|at| seen.get(at).map_or(0, |load| load.sent)));
    }
    let coordinator = (0..sim.places())
        .find_map(|place| sim.state(place)?.view.as_ref())
        .and_then(|view| sim.place_of(view.coordinator()));
    let handled: u64 = coordinator.map_or(0, |place| {
        let seen = sim.traffic().of(place).iter().take(seconds);
        seen.map(|load| load.sent + load.received).sum()
    });
    Load::of(bytes, messages, handled as f64 / seconds.max(1) as f64)
}
