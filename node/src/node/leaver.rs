use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lampyrid_membership::{MembershipMessage, MembershipPort, limits::LEAVE_LIMIT};
use lampyrid_migration::MigrationHandle;
use tokio::sync::{Notify, watch};

use super::end::End;
use crate::supervision::SupervisorRef;

/// Leads the process out of its cluster, once.
#[derive(Clone)]
pub(super) struct Leaver {
    migration: MigrationHandle,
    port: MembershipPort,
    supervisor: SupervisorRef,
    end: Arc<End>,
    leaving: Arc<AtomicBool>,
}

impl Leaver {
    pub(super) fn new(
        migration: MigrationHandle,
        port: MembershipPort,
        supervisor: SupervisorRef,
        end: Arc<End>,
    ) -> Self {
        Self { migration, port, supervisor, end, leaving: Arc::default() }
    }

    /// Begins and returns at once; must be called within the runtime.
    pub(super) fn leave(&self) {
        if !self.leaving.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.clone().go());
        }
    }

    async fn go(self) {
        if let Ok(false) | Err(_) = self.migration.prepare_to_leave().await {
            tracing::warn!("some moves are not over; they go on after the next start");
        }
        if let Some(membership) = self.port.slot().get() {
            // Whatever the answer: it has waited as long as it should.
            let limit = Some(LEAVE_LIMIT + Duration::from_secs(1));
            let _ = membership.call(MembershipMessage::Leave, limit).await;
        }
        self.supervisor.stop(Some("left".to_owned()));
        self.end.set(Ok(()));
    }

    /// Leaves when `drained` says that nothing is left; ends with the process.
    pub(super) async fn leave_when(self, drained: Arc<Notify>, mut ended: watch::Receiver<bool>) {
        tokio::select! {
            () = drained.notified() => self.leave(),
            // The sender gone means the same.
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }
}
