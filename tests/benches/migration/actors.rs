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

/// Kills of each actor, over all processes.
const KILLS: usize = 40;

/// A bound on what ought to end much sooner.
const LIMIT: Duration = Duration::from_secs(600);

/// How restarts are shown.
const RESTARTS: &str = "lampyrid_actor_restarts_total{actor=\"";

/// Actors are killed at random while entities move at random.
pub(crate) fn measure(plan: &Plan, _: &Floors) {
    let fleet = Fleet::start(SIZE, 1, false);
    let bubbles: Vec<BubbleId> = (0..SIZE).map(|at| fleet.bubble(at)).collect();
    (0..SIZE).for_each(|at| work::create(&fleet, at, ENTITIES / SIZE, STATE_BYTES));
    let admins: Vec<Admin> = (0..SIZE).map(|at| Admin::new(&fleet.get(at).started.admin)).collect();
    let before = epochs(&admins);
    let names = restarts(&admins[0]).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let mut deck: Vec<(usize, String)> = names
        .iter()
        .flat_map(|name| (0..KILLS).map(move |kill| (kill % SIZE, name.clone())))
        .collect();
    let mut rng = rand::rng();
    let roams: Vec<Pending> = (0..SIZE)
        .map(|at| {
            let to = bubbles.iter().copied().filter(|to| *to != bubbles[at]).collect();
            let (batch, in_flight) = (plan.batch.min(16), plan.in_flight);
            fleet.get(at).begin(Order::Roam { to, batch, in_flight, limit: killing_time(&names) }).1
        })
        .collect();
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    while let Some(chosen) = (0..deck.len()).collect::<Vec<_>>().choose(&mut rng).copied() {
        let (at, name) = deck.swap_remove(chosen);
        let had = of(&admins[at], &name);
        let killed = Instant::now();
        // One that is about to be started again cannot be killed yet.
        eventually("the actor to be started again", || {
            fleet.get(at).count(Order::Kill(name.clone()));
            (of(&admins[at], &name) > had).then_some(())
        });
        slowest = slowest.max(killed.elapsed());
    }
    let took = start.elapsed();
    let moved: u64 = roams.iter().map(|roam| tally(roam).committed).sum();
    let counted: u64 = admins.iter().flat_map(restarts).map(|(_, count)| count).sum();
    let killed = (KILLS * names.len()) as u64;
    let audit = eventually("every entity to be active once", || {
        let all: Vec<_> = (0..SIZE).map(|at| fleet.get(at).usage().audit).collect();
        let open: u64 = all.iter().map(|audit| audit.frozen + audit.staged + audit.in_doubt).sum();
        (open == 0).then(|| all.iter().map(|audit| audit.active).sum::<u64>())
    });
    let views = epochs(&admins).iter().zip(&before).map(|(after, before)| after - before).max();
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

/// Load for as long as it will take, and no longer than the limit.
fn killing_time(names: &[String]) -> Duration {
    (Duration::from_millis(150) * (KILLS * names.len()) as u32).min(LIMIT)
}

fn epochs(admins: &[Admin]) -> Vec<u64> {
    let epoch = |admin: &Admin| admin.get("/v1/view")?.body["epoch"].as_u64();
    admins.iter().map(|admin| epoch(admin).expect("it answers")).collect()
}

fn restarts(admin: &Admin) -> Vec<(String, u64)> {
    let text = admin.text("/metrics").expect("it answers");
    text.lines()
        .filter_map(|line| line.strip_prefix(RESTARTS)?.split_once("\"} "))
        .map(|(name, count)| (name.to_owned(), count.parse().expect("a count")))
        .collect()
}

fn of(admin: &Admin, name: &str) -> u64 {
    restarts(admin).into_iter().find(|(known, _)| known == name).map_or(0, |(_, count)| count)
}
