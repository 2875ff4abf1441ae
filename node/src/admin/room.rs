use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{AbortHandle, Id, JoinSet};

/// The open connections of a server, up to a limit. When there are so many, the oldest one that has
/// not asked for anything yet gives way: a real caller needs milliseconds until then, so those who
/// connect and are silent cannot keep it out, nor a look whether the process is alive.
pub(super) struct Room {
    limit: usize,
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
    next: u64,
}

struct Open {
    /// Rises from one to the next.
    number: u64,
    task: AbortHandle,
    settled: Settled,
}

/// Whether a connection has come far enough to stay.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled(Arc<AtomicBool>);

impl Settled {
    /// It is not for others to give way to any more.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, tasks: JoinSet::new(), open: HashMap::new(), next: 0 }
    }

    /// Sees to it that there is room for one more; false if all that are open stay.
    pub(super) fn make(&mut self) -> bool {
        if self.open.len() < self.limit {
            return true;
        }
        let unsettled = self.open.iter().filter(|(_, open)| !open.settled.is_set());
        let oldest = unsettled.min_by_key(|(_, open)| open.number).map(|(&id, _)| id);
        let Some(oldest) = oldest.and_then(|id| self.open.remove(&id)) else { return false };
        oldest.task.abort();
        true
    }

    /// Takes one in.
    pub(super) fn enter<F>(&mut self, connection: impl FnOnce(Settled) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let settled = Settled::default();
        let task = self.tasks.spawn(connection(settled.clone()));
        self.open.insert(task.id(), Open { number: self.next, task, settled });
        self.next += 1;
    }

    /// Waits for one to end; `None` if none is left. Cancellation safe.
    pub(super) async fn left(&mut self) -> Option<()> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        // One that gave way is out already.
        self.open.remove(&id);
        Some(())
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// One that ends when it gives way, or never; what is given ends with it.
    fn enter(room: &mut Room, is_settled: bool) -> oneshot::Receiver<()> {
        let (here, gone) = oneshot::channel::<()>();
        room.enter(|settled| async move {
            let _here = here;
            if is_settled {
                settled.set();
            }
            std::future::pending::<()>().await;
        });
        gone
    }

    #[tokio::test]
    async fn the_oldest_silent_one_gives_way_and_no_other() {
        let mut room = Room::new(3);
        let first = enter(&mut room, true);
        let mut silent = Vec::new();
        for _ in 0..2 {
            assert!(room.make());
            silent.push(enter(&mut room, false));
        }
        // They get to run once.
        tokio::task::yield_now().await;
        assert!(room.make());
        assert_eq!(room.len(), 2);
        let mut second = silent.remove(0);
        assert!((&mut second).await.is_err(), "the older one is gone");
        room.left().await.unwrap();
        let last = enter(&mut room, true);
        tokio::task::yield_now().await;
        assert!(room.make(), "the other silent one");
        assert!(silent.remove(0).await.is_err());
        let third = enter(&mut room, true);
        tokio::task::yield_now().await;
        assert!(!room.make(), "all stay");
        assert_eq!(room.len(), 3);
        drop((first, last, third));
    }

    #[tokio::test]
    async fn what_ends_or_panics_makes_room() {
        let mut room = Room::new(2);
        room.enter(|_| async {});
        room.enter(|settled| async move {
            settled.set();
            panic!("it is found in the output of the test");
        });
        room.left().await.unwrap();
        room.left().await.unwrap();
        assert_eq!(room.len(), 0);
        assert_eq!(room.left().await, None);
    }
}
