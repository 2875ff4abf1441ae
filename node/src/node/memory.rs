use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lampyrid_wire::{Clock, Peer};

use crate::links::Lives;
use crate::storage::Notebook;

/// How long news of other processes' lives are gathered before they are written: a cluster that
/// starts, or a member that comes back, has more urgent things to sync.
const GATHERED_FOR: Duration = Duration::from_secs(1);

/// Keeps on disk which lives of other processes were met, so that a copy or an old state of a data
/// directory is known even to those who have been restarted since. Behind by a moment: what a crash
/// takes from it makes it notice less, never wrongly.
#[derive(Clone)]
pub(super) struct Memory {
    lives: Lives,
    /// None: all is forgotten when the process ends.
    notebook: Option<Notebook>,
    clock: Arc<dyn Clock>,
    writing: Arc<AtomicBool>,
}

impl Memory {
    pub(super) fn new(lives: Lives, notebook: Option<Notebook>, clock: Arc<dyn Clock>) -> Self {
        Self { lives, notebook, clock, writing: Arc::default() }
    }

    /// Notes a life that was met. Returns at once; must be called within the runtime.
    pub(super) fn note(&self, peer: Peer) {
        if self.lives.note(peer)
            && let Some(notebook) = self.notebook.clone()
            && !self.writing.swap(true, Ordering::AcqRel)
        {
            tokio::spawn(self.clone().write(notebook));
        }
    }

    async fn write(self, notebook: Notebook) {
        self.clock.sleep_until(self.clock.now() + GATHERED_FOR).await;
        // From here on news need another write.
        self.writing.store(false, Ordering::Release);
        let written = tokio::task::spawn_blocking(move || {
            let lives = self.lives.all();
            notebook.set_lives(&lives).map(|()| lives)
        });
        match written.await {
            Ok(Ok(lives)) => tracing::debug!(?lives, "kept which lives were met"),
            Ok(Err(error)) => tracing::warn!(%error, "which lives were met could not be kept"),
            // The runtime is shutting down.
            Err(_) => {}
        }
    }
}
