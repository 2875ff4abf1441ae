mod crowd;
mod dummy;

use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_tests::load::{Order, Tally};
use lampyrid_tests::proc;

use self::crowd::Crowd;
use self::dummy::Dummy;
use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::mover::tallied;
use crate::plan::Plan;
use crate::{table, work};

const STATE_BYTES: usize = 256;

/// Three, so that the view could change.
const SIZE: usize = 3;

/// Moves a second, one a request.
const RATE: u64 = 2_000;

/// How long strangers come.
const TIME: Duration = Duration::from_secs(30);

/// Turns of each, so that a bad minute hits both.
const TURNS: usize = 4;

/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(50);

/// How much slower moves may become.
const SLOWER: f64 = 2.0;

/// How much more memory the process may hold.
const MEMORY_KIB: u64 = 64 * 1024;

/// One turn.
struct Seen {
    moves: Tally,
    most_kib: u64,
    views: u64,
    came: u64,
}

/// Strangers crowd the ports of the source of moves; beside it the same crowd at a dummy's ports.
pub(crate) fn measure(_: &Plan, _: &Floors) {
    crowd::raise_limit();
    let pairs: Vec<[Seen; 2]> = (0..TURNS).map(|_| [turn(false), turn(true)]).collect();
    let high = |seen: &Seen| seen.moves.latencies.at(0.99);
    let mut ratios: Vec<f64> = pairs
        .iter()
        .map(|[aside, crowded]| high(crowded).as_secs_f64() / high(aside).as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let middle = work::median(ratios.clone());
    let all = |which: usize| {
        let each: Vec<String> = pairs.iter().map(|pair| table::time(high(&pair[which]))).collect();
        each.join(", ")
    };
    let name = "strangers";
    table::line(
        &format!("{name}: p99 of {RATE} moves/s, {TURNS} turns"),
        &all(1),
        &format!("{} beside the crowd", all(0)),
        &format!("median {middle:.2}, {:.2} to {:.2}", ratios[0], ratios[TURNS - 1]),
        &table::verdict("at most twice", middle <= SLOWER),
    );
    let most = |which: usize| pairs.iter().map(|pair| pair[which].most_kib).max().unwrap_or(0);
    let more = most(1).saturating_sub(most(0));
    table::line(
        &format!("{name}: memory of the crowded process"),
        &format!("{} MiB", most(1) / 1024),
        &format!("{} MiB beside the crowd", most(0) / 1024),
        &format!("{} MiB more", more / 1024),
        &table::verdict("at most 64 MiB", more <= MEMORY_KIB),
    );
    let views = |which: usize| pairs.iter().map(|pair| pair[which].views).sum::<u64>();
    table::line(
        &format!("{name}: views meanwhile"),
        &views(1).to_string(),
        &format!("{} beside the crowd", views(0)),
        "",
        &table::verdict("none", views(1) == 0),
    );
    let came = |which: usize| pairs.iter().map(|pair| pair[which].came).sum::<u64>();
    let moved = |which: usize| pairs.iter().map(|pair| pair[which].moves.committed).sum::<u64>();
    let due = RATE as f64 * TIME.as_secs_f64() * TURNS as f64;
    table::line(
        &format!("{name}: moves, and connections made"),
        &format!("{} of {due:.0}, {}", moved(1), came(1)),
        &format!("{}, {}", moved(0), came(0)),
        "",
        "",
    );
}

fn turn(at_it: bool) -> Seen {
    let fleet = Fleet::start(SIZE, 1, false);
    let source = fleet.get(0);
    let moves = (RATE as f64 * TIME.as_secs_f64()) as usize;
    work::create(&fleet, 0, moves, STATE_BYTES);
    source.count(Order::Collect);
    let before = fleet.get(1).epoch();
    let dummies = [Dummy::start(), Dummy::start()];
    let (cluster, admin) = if at_it {
        (address(&source.started.address), address(&source.started.admin))
    } else {
        (dummies[0].address(), dummies[1].address())
    };
    let crowd = Crowd::start(cluster, admin);
    let offered = source.begin(Order::Offer { to: fleet.bubble(1), rate: RATE, moves }).1;
    let mut most_kib = 0;
    let moves = loop {
        most_kib = most_kib.max(proc::resident(source.pid()));
        match offered.recv_timeout(LOOK) {
            Ok(answer) => break tallied(answer),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(error) => panic!("the source has ended: {error}"),
        }
    };
    let came = crowd.stop();
    let views = fleet.get(1).epoch() - before;
    let at = if at_it { "at the source" } else { "at a dummy" };
    work::tell(&format!("{at}: p99 {:?}, {came} connections", moves.latencies.at(0.99)));
    Seen { moves, most_kib, views, came }
}

fn address(of: &str) -> SocketAddr {
    of.trim_start_matches("http://").parse().expect("an address")
}
