use std::time::Duration;

use lampyrid::BubbleId;
use lampyrid_tests::load::{Order, Tally};

use crate::fleet::Fleet;
use crate::mover::tally;

/// A bound on what ought to end by itself.
const LIMIT: Duration = Duration::from_secs(240);

/// How it goes.
pub(crate) fn tell(what: &str) {
    eprintln!("{what}");
}

/// The order to move all noted entities.
pub(crate) fn all(to: BubbleId, batch: usize, in_flight: usize) -> Order {
    Order::Move { to, moves: usize::MAX, batch, in_flight, limit: LIMIT }
}

/// Everything that is active at `from` goes to `to`.
pub(crate) fn swing(
    fleet: &Fleet,
    from: usize,
    to: usize,
    batch: usize,
    in_flight: usize,
) -> Tally {
    fleet.get(from).count(Order::Collect);
    tally(&fleet.get(from).begin(all(fleet.bubble(to), batch, in_flight)).1)
}

/// Fills the first bubble of a process.
pub(crate) fn create(fleet: &Fleet, at: usize, count: usize, bytes: usize) {
    let bubble = fleet.bubble(at);
    fleet.get(at).count(Order::Create { bubble, count, bytes });
}

/// What did not go as asked, in words; empty if all did.
pub(crate) fn troubles(tally: &Tally) -> String {
    let mut all: Vec<String> = [("stayed", &tally.aborted), ("refused", &tally.refused)]
        .iter()
        .flat_map(|(what, counts)| {
            counts.iter().map(move |(reason, count)| format!("{count} {what}: {reason}"))
        })
        .collect();
    if tally.unanswered > 0 {
        all.push(format!("{} unanswered", tally.unanswered));
    }
    all.join(", ")
}

/// The middle of some figures, of which there has to be one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let last = figures.len() - 1;
    f64::midpoint(figures[last / 2], figures[figures.len() / 2])
}
