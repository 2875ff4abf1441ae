use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lampyrid::{BubbleId, EntityId, StatusFilter};
use lampyrid_tests::load::Tally;
use tokio::task::JoinSet;

use crate::moves::{Moves, lock};

/// Before a request after one that was refused as a whole, or found nothing to move.
const PAUSE: Duration = Duration::from_millis(5);

/// How to move.
pub(crate) struct Wish {
    pub(crate) to: Vec<BubbleId>,
    pub(crate) batch: usize,
    pub(crate) in_flight: usize,
    pub(crate) limit: Duration,
}

/// Moves noted entities, until so many have gone, none is left, or the time is up.
pub(crate) async fn noted(moves: &Arc<Moves>, order: u64, wish: &Wish, most: usize) -> Tally {
    let to = wish.to[0];
    let start = Instant::now();
    let (limit, batch) = (wish.limit, wish.batch);
    let counter = moves.counter(order);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let left = Arc::new(AtomicUsize::new(most));
    let mut workers = JoinSet::new();
    for _ in 0..wish.in_flight {
        let (moves, counter) = (Arc::clone(moves), Arc::clone(&counter));
        let (tally, left) = (Arc::clone(&tally), Arc::clone(&left));
        workers.spawn(async move {
            while start.elapsed() < limit {
                let wanted = left.load(Ordering::Relaxed).min(batch);
                let ids = moves.take(wanted);
                if ids.is_empty() {
                    return;
                }
                left.fetch_sub(ids.len().min(left.load(Ordering::Relaxed)), Ordering::Relaxed);
                let again = moves.one(ids.clone(), to, Instant::now(), &counter, &tally).await;
                let refused = again.is_err();
                let stayed = again.unwrap_or(ids);
                left.fetch_add(stayed.len(), Ordering::Relaxed);
                moves.put_back(stayed);
                if refused {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    }
    while workers.join_next().await.is_some() {}
    finish(start, &tally)
}

/// Moves entities from random places in the order of ids to random bubbles, until the time is up.
pub(crate) async fn random(moves: &Arc<Moves>, order: u64, wish: &Wish) -> Tally {
    let start = Instant::now();
    let (limit, batch) = (wish.limit, wish.batch);
    let counter = moves.counter(order);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut workers = JoinSet::new();
    for _ in 0..wish.in_flight {
        let (moves, counter) = (Arc::clone(moves), Arc::clone(&counter));
        let (tally, bubbles) = (Arc::clone(&tally), wish.to.clone());
        workers.spawn(async move {
            while start.elapsed() < limit {
                let ids = somewhere(&moves, batch).await;
                let to = bubbles[rand::random_range(0..bubbles.len())];
                let moved = match ids.is_empty() {
                    true => false,
                    false => moves.one(ids, to, Instant::now(), &counter, &tally).await.is_ok(),
                };
                if !moved {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    }
    while workers.join_next().await.is_some() {}
    finish(start, &tally)
}

async fn somewhere(moves: &Moves, batch: usize) -> Vec<EntityId> {
    let after = Some(EntityId::random());
    let page = moves.node.migration().list(StatusFilter::Active, after, batch).await;
    page.map(|page| page.entities.iter().map(|entity| entity.id).collect()).unwrap_or_default()
}

fn finish(start: Instant, tally: &Mutex<Tally>) -> Tally {
    let mut tally = std::mem::take(&mut *lock(tally));
    tally.took = start.elapsed();
    tally
}
