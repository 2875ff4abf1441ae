use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lampyrid::BubbleId;
use lampyrid_tests::load::Tally;
use tokio::task::JoinSet;

use crate::moves::{Moves, lock};

/// Requests at fixed intervals, whatever becomes of those before: a caller that waits is counted
/// as waiting.
pub(crate) async fn offer(
    moves: &Arc<Moves>,
    order: u64,
    to: BubbleId,
    rate: u64,
    most: usize,
) -> Tally {
    let start = Instant::now();
    let counter = moves.counter(order);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut due = paced(start, rate, most);
    let mut requests = JoinSet::new();
    while let Some(due) = due.recv().await {
        let ids = moves.take(1);
        if ids.is_empty() {
            break;
        }
        let (moves, counter) = (Arc::clone(moves), Arc::clone(&counter));
        let tally = Arc::clone(&tally);
        requests.spawn(async move {
            // What is refused is counted, and not tried again.
            let _ = moves.one(ids, to, due, &counter, &tally).await;
        });
    }
    while requests.join_next().await.is_some() {}
    let mut tally = std::mem::take(&mut *lock(&tally));
    tally.took = start.elapsed();
    tally
}

/// The moments at which requests are due, each given when it has come. From a thread: the timers
/// of the runtime are a millisecond coarse.
fn paced(start: Instant, rate: u64, most: usize) -> tokio::sync::mpsc::UnboundedReceiver<Instant> {
    let (tell, due) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for number in 0..most as u32 {
            let at = start + Duration::from_secs(1) * number / u32::try_from(rate).unwrap_or(1);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if tell.send(at).is_err() {
                return;
            }
        }
    });
    due
}
