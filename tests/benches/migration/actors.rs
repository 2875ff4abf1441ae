use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lampyrid::BubbleId;
use lampyrid_tests::load::Order;
use lampyrid_tests::{Admin, eventually};
use rand::seq::IndexedRandom;

use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::mover::{Pending, tally};
use crate::plan::Plan;
use crate::{table, work};

const STATE_BYTES: usize = 256;

/// Processes, over sockets.
const SIZE: usize = 3;

/// Entities that move meanwhile.
const ENTITIES: usize = 3_000;

/// Kills of each actor, over all processes: 1,200 in all.
const KILLS: usize = 200;

/// Between two kills in one process: after ten restarts within ten seconds it would be given up.
const PAUSE: Duration = Duration::from_millis(1_200);

/// Between two kills.
const LOOK: Duration = Duration::from_millis(40);

/// After that a kill hit nobody.
const LOST: Duration = Duration::from_secs(5);

/// How long entities move.
const LOAD: Duration = Duration::from_secs(500);

/// A bound on what ought to end much sooner.
const LIMIT: Duration = Duration::from_secs(900);

/// How restarts are shown.
const RESTARTS: &str = "lampyrid_actor_restarts_total{actor=\"";

/// Actors are killed at random while entities move at random.
pub(crate) fn measure(plan: &Plan, _: &Floors) {
    let fleet = Fleet::start(SIZE, 1, false);
    let bubbles: Vec<BubbleId> = (0..SIZE).map(|at| fleet.bubble(at)).collect();
    (0..SIZE).for_each(|at| work::create(&fleet, at, ENTITIES / SIZE, STATE_BYTES));
    let admins: Vec<Admin> = (0..SIZE).map(|at| fleet.get(at).admin()).collect();
    let epochs = || (0..SIZE).map(|at| fleet.get(at).epoch());
    let before: Vec<u64> = epochs().collect();
    let names = restarts(&admins[0]).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let roams: Vec<Pending> = (0..SIZE)
        .map(|at| {
            let to = bubbles.iter().copied().filter(|to| *to != bubbles[at]).collect();
            let (batch, in_flight) = (plan.batch.min(16), plan.in_flight);
            fleet.get(at).begin(Order::Roam { to, batch, in_flight, limit: LOAD }).1
        })
        .collect();
    let start = Instant::now();
    let slowest = kill(&fleet, &admins, &names);
    let took = start.elapsed();
    let moved: u64 = roams.iter().map(|roam| tally(roam).committed).sum();
    let counted: u64 = admins.iter().flat_map(restarts).map(|(_, count)| count).sum();
    let killed = (KILLS * names.len()) as u64;
    let audit = eventually("every entity to be active once", || {
        let all: Vec<_> = (0..SIZE).map(|at| fleet.get(at).usage().audit).collect();
        let open: u64 = all.iter().map(|audit| audit.frozen + audit.staged + audit.in_doubt).sum();
        (open == 0).then(|| all.iter().map(|audit| audit.active).sum::<u64>())
    });
    let views = epochs().zip(&before).map(|(after, before)| after - before).max();
    let name = "actors killed at random under load";
    table::line(
        &format!("{name}: {}", names.join(", ")),
        &format!("{killed} kills, {counted} restarts in the metrics"),
        &format!("{moved} moves in {}", table::time(took)),
        &format!("slowest restart {}", table::time(slowest)),
        &table::verdict("every restart", counted >= killed),
    );
    table::line(
        &format!("{name}: views"),
        &views.unwrap_or_default().to_string(),
        "",
        "",
        &table::verdict("none", views == Some(0)),
    );
    table::line(
        &format!("{name}: entities active"),
        &format!("{} of {ENTITIES}", audit.0),
        "",
        "",
        &table::verdict("all, once", audit.0 == ENTITIES as u64),
    );
}

/// One actor of one process.
struct Slot {
    at: usize,
    name: String,
    killed: Option<(Instant, u64)>,
    last: Instant,
}

/// Kills each actor so often, in random order, several at once; the slowest restart.
fn kill(fleet: &Fleet, admins: &[Admin], names: &[String]) -> Duration {
    let mut rng = rand::rng();
    let mut slowest = Duration::ZERO;
    let mut left: BTreeMap<String, usize> =
        names.iter().map(|name| (name.clone(), KILLS)).collect();
    let start = Instant::now();
    let mut slots: Vec<Slot> = (0..SIZE)
        .flat_map(|at| {
            let slot =
                move |name: &String| Slot { at, name: name.clone(), killed: None, last: start };
            names.iter().map(slot)
        })
        .collect();
    while left.values().any(|left| *left > 0) || slots.iter().any(|slot| slot.killed.is_some()) {
        assert!(start.elapsed() < LIMIT, "{left:?} are left");
        let counts: Vec<BTreeMap<String, u64>> =
            admins.iter().map(|admin| restarts(admin).into_iter().collect()).collect();
        let count = |slot: &Slot| counts[slot.at].get(&slot.name).copied().unwrap_or_default();
        for slot in &mut slots {
            let Some((killed, had)) = slot.killed else { continue };
            if count(slot) > had {
                slowest = slowest.max(killed.elapsed());
                slot.killed = None;
            } else if killed.elapsed() > LOST {
                // It was about to be started again: one that does not run cannot be killed.
                fleet.get(slot.at).count(Order::Kill(slot.name.clone()));
                slot.killed = Some((Instant::now(), had));
            }
        }
        let free: Vec<usize> = (0..slots.len())
            .filter(|&at| {
                let slot = &slots[at];
                let slots_of = slots.iter().filter(|other| other.at == slot.at);
                let rested = slots_of.map(|other| other.last.elapsed()).min() > Some(PAUSE);
                slot.killed.is_none() && rested && left[&slot.name] > 0
            })
            .collect();
        if let Some(&chosen) = free.choose(&mut rng) {
            let had = count(&slots[chosen]);
            let slot = &mut slots[chosen];
            fleet.get(slot.at).count(Order::Kill(slot.name.clone()));
            (slot.killed, slot.last) = (Some((Instant::now(), had)), Instant::now());
            left.entry(slot.name.clone()).and_modify(|left| *left -= 1);
        }
        std::thread::sleep(LOOK);
    }
    slowest
}

fn restarts(admin: &Admin) -> Vec<(String, u64)> {
    let text = admin.text("/metrics").expect("it answers");
    let mut all = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(RESTARTS)) {
        let (name, rest) = line.split_once('"').expect("a name");
        let count = rest.rsplit_once(' ').expect("a count").1;
        *all.entry(name.to_owned()).or_default() += count.parse::<u64>().expect("a count");
    }
    all.into_iter().collect()
}
