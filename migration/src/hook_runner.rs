use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lampyrid_wire::Clock;
use tokio::sync::{Semaphore, mpsc};

use crate::{Hook, HookAnswer, HookOutcome, MigrationCounters, Move, MoveHooks};

/// Calls of `post_migrate` that may wait; beyond it they are left out, and counted.
const WAITING_MAX: usize = 1_024;

/// Calls of `post_migrate` at once.
const TELLING_MAX: usize = 32;

/// Calls the host's hooks, each in a task of its own, and cuts them off at the limit.
pub(crate) struct HookRunner {
    caller: Caller,
    moved: mpsc::Sender<Move>,
}

#[derive(Clone)]
struct Caller {
    hooks: Arc<dyn MoveHooks>,
    clock: Arc<dyn Clock>,
    limit: Duration,
    counters: Arc<MigrationCounters>,
}

impl HookRunner {
    /// Must be called within a runtime. Dropping this lets what was told go on to its end.
    pub(crate) fn start(
        hooks: Arc<dyn MoveHooks>,
        clock: Arc<dyn Clock>,
        limit: Duration,
        counters: Arc<MigrationCounters>,
    ) -> Self {
        let (moved, waiting) = mpsc::channel(WAITING_MAX);
        let caller = Caller { hooks, clock, limit, counters };
        tokio::spawn(tell(caller.clone(), waiting));
        Self { caller, moved }
    }

    /// Asks, and reports exactly once.
    pub(crate) fn ask(&self, planned: Move, report: impl FnOnce(HookAnswer) + Send + 'static) {
        let caller = self.caller.clone();
        tokio::spawn(async move {
            let hooks = Arc::clone(&caller.hooks);
            let asked = async move { hooks.pre_migrate(&planned).await };
            let (answer, took) = caller.call(asked).await;
            let outcome = match &answer {
                HookAnswer::Vetoes(vetoes) if vetoes.is_empty() => HookOutcome::Done,
                HookAnswer::Vetoes(_) => HookOutcome::Vetoed,
                HookAnswer::TimedOut => HookOutcome::TimedOut,
                HookAnswer::Failed => HookOutcome::Failed,
            };
            caller.counters.hook(Hook::Pre).record(outcome, took);
            report(answer);
        });
    }

    /// Tells, later and without waiting.
    pub(crate) fn tell(&self, moved: Move) {
        if self.moved.try_send(moved).is_err() {
            self.caller.counters.hooks_left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn tell(caller: Caller, mut waiting: mpsc::Receiver<Move>) {
    let room = Arc::new(Semaphore::new(TELLING_MAX));
    while let Some(moved) = waiting.recv().await {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let caller = caller.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let hooks = Arc::clone(&caller.hooks);
            let told = async move {
                hooks.post_migrate(&moved).await;
                Vec::new()
            };
            let (answer, took) = caller.call(told).await;
            let outcome = match answer {
                HookAnswer::Vetoes(_) => HookOutcome::Done,
                HookAnswer::TimedOut => HookOutcome::TimedOut,
                HookAnswer::Failed => HookOutcome::Failed,
            };
            caller.counters.hook(Hook::Post).record(outcome, took);
        });
    }
}

impl Caller {
    /// In a task of its own, which a panic ends and the limit cancels.
    async fn call(
        &self,
        hook: impl Future<Output = Vec<crate::Veto>> + Send + 'static,
    ) -> (HookAnswer, Duration) {
        let began = self.clock.now();
        let mut task = tokio::spawn(hook);
        let answer = tokio::select! {
            biased;
            done = &mut task => done.map_or(HookAnswer::Failed, HookAnswer::Vetoes),
            () = self.clock.sleep_until(began + self.limit) => {
                task.abort();
                HookAnswer::TimedOut
            }
        };
        (answer, self.clock.now() - began)
    }
}
