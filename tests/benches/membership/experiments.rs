use std::time::Duration;

use lampyrid_membership::sim::{Direction, Network, Random};

use crate::engine::{Engine, Process};
use crate::foca::Beginning;
use crate::meter::Load;

/// All start within the first second.
pub(crate) const STARTS_WITHIN: Duration = Duration::from_secs(1);

/// How long a formed cluster runs before anything is measured.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);

/// The longest a cluster may take to agree.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// How long the load of a bootstrap is measured, whenever it is complete.
pub(crate) const BOOTSTRAP_WINDOW: Duration = Duration::from_secs(10);

/// How long the load is measured before a crash, and again after it.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// How long faults last.
pub(crate) const FAULTS_LAST: Duration = Duration::from_secs(120);

/// Messages that a faulty place loses in either direction, of 1,000.
pub(crate) const HEAVY_LOSS: u64 = 800;

/// What 1 % of the members suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 80 % of what they send and of what is sent to them is lost.
    Loss,
    /// For 20 s nothing reaches them, for 20 s everything does, and so on.
    FlipFlop,
}

/// All join through one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bootstrap {
    /// From the first start until all had the one list of all, if they came so far.
    pub(crate) took: Option<Duration>,
    /// Different lists of two or more that anybody had.
    pub(crate) lists: usize,
    /// From the first start until 99 % of all pairs of members knew each other that way round.
    pub(crate) nearly: Option<Duration>,
    /// In the [`BOOTSTRAP_WINDOW`] from the first start.
    pub(crate) load: Load,
}

/// Some die at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    /// From the crash until all survivors had the one list of survivors, if they came so far.
    pub(crate) took: Option<Duration>,
    /// Different lists anybody had since the crash; one is the least.
    pub(crate) lists: usize,
    /// In the [`WINDOW`] before.
    pub(crate) idle: Load,
    /// In the [`WINDOW`] before and the one after.
    pub(crate) change: Load,
}

/// The network is bad for some for [`FAULTS_LAST`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// Healthy members that some healthy member took out of its list at any time.
    pub(crate) healthy_removed: usize,
    /// Faulty ones, alike.
    pub(crate) faulty_removed: usize,
    /// Faulty ones that at the end were in no healthy member's list.
    pub(crate) faulty_out: usize,
    /// Faulty ones.
    pub(crate) faulty: usize,
    /// Different lists anybody had meanwhile.
    pub(crate) lists: usize,
}

/// One percent, at least one.
pub(crate) fn one_percent(places: usize) -> usize {
    places.div_ceil(100)
}

/// So many different places.
pub(crate) fn some(random: &mut Random, places: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..places).collect();
    for at in 0..count.min(places) {
        let left = u64::try_from(places - at).unwrap_or(1);
        let other = at + usize::try_from(random.below(left)).unwrap_or(0);
        all.swap(at, other);
    }
    all.truncate(count);
    all
}

/// When each place starts: the first at once, the others within the first second.
pub(crate) fn starts(random: &mut Random, places: usize) -> Vec<Duration> {
    let within = u64::try_from(STARTS_WITHIN.as_micros()).unwrap_or(1);
    let at = |place| if place == 0 { Duration::ZERO } else { random.between(0, within - 1) };
    (0..places).map(at).collect()
}

/// `places` processes, all but the first knowing only the first.
pub(crate) fn bootstrap<P: Process>(
    seed: u64,
    places: usize,
    make: impl Fn(usize, Beginning) -> P,
) -> Bootstrap {
    let mut random = Random::new(seed);
    let beginning =
        |place| if place == 0 { Beginning::Seed } else { Beginning::Joiner { seed: 0 } };
    let processes = starts(&mut random, places)
        .into_iter()
        .enumerate()
        .map(|(place, at)| (at, make(place, beginning(place))))
        .collect();
    let mut engine = Engine::new(Network::new(seed, places), processes);
    let nearly = engine.run_while(BOOTSTRAP_WINDOW, |lists| !lists.nearly_complete());
    let mut took = engine.run_until_agreed(BOOTSTRAP_WINDOW);
    let mut lists = engine.lists.seen();
    engine.run_until(BOOTSTRAP_WINDOW);
    let load = engine.meter.load();
    if took.is_none() {
        took = engine.run_until_agreed(PATIENCE);
        lists = engine.lists.seen();
    }
    Bootstrap { took, nearly, lists, load }
}

/// A formed cluster after it has settled.
fn formed<P: Process>(
    seed: u64,
    random: &mut Random,
    places: usize,
    make: impl Fn(usize, Beginning) -> P,
) -> Engine<P> {
    let processes = starts(random, places)
        .into_iter()
        .enumerate()
        .map(|(place, at)| (at, make(place, Beginning::Member)))
        .collect();
    let mut engine = Engine::new(Network::new(seed, places), processes);
    engine.run_until(SETTLE);
    engine
}

/// `crashes` of a formed cluster of `places` die at one time.
pub(crate) fn crash<P: Process>(
    seed: u64,
    places: usize,
    crashes: usize,
    make: impl Fn(usize, Beginning) -> P,
) -> Crash {
    let mut random = Random::new(seed);
    let mut engine = formed(seed, &mut random, places, make);
    engine.meter.open_window();
    let at = SETTLE + WINDOW;
    engine.run_until(at);
    let idle = engine.meter.load();
    engine.lists.forget();
    for place in some(&mut random, places, crashes) {
        engine.crash(place);
    }
    let mut took = engine.run_until_agreed(at + WINDOW);
    let mut lists = engine.lists.seen();
    engine.run_until(at + WINDOW);
    let change = engine.meter.load();
    if took.is_none() {
        took = engine.run_until_agreed(at + PATIENCE);
        lists = engine.lists.seen();
    }
    Crash { took: took.map(|when| when - at), lists, idle, change }
}

/// The network is bad for 1 % of a formed cluster.
pub(crate) fn faults<P: Process>(
    seed: u64,
    places: usize,
    fault: Fault,
    make: impl Fn(usize, Beginning) -> P,
) -> Faults {
    let mut random = Random::new(seed);
    let mut engine = formed(seed, &mut random, places, make);
    let faulty = one_percent(places);
    for place in some(&mut random, places, faulty) {
        engine.lists.set_faulty(place);
        match fault {
            Fault::Loss => {
                engine.network.set_loss(place, Direction::Incoming, HEAVY_LOSS);
                engine.network.set_loss(place, Direction::Outgoing, HEAVY_LOSS);
            }
            Fault::FlipFlop => {
                engine.network.flip_flop(place, Direction::Incoming, engine.now());
            }
        }
    }
    engine.lists.forget();
    engine.run_until(SETTLE + FAULTS_LAST);
    Faults {
        healthy_removed: engine.lists.ever_removed(false),
        faulty_removed: engine.lists.ever_removed(true),
        faulty_out: engine.lists.faulty_out(),
        faulty,
        lists: engine.lists.seen(),
    }
}
