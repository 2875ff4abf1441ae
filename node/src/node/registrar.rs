use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_migration::MigrationHandle;
use lampyrid_registry::{RegistryError, RegistryHandle};
use lampyrid_wire::Clock;
use tokio::sync::{Mutex, Notify, watch};

use super::BubbleError;
use super::tree::Claims;

/// How long one registration is waited for; it goes on in the background after that.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// The first pause before a registration that failed is tried again; it doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(50);

/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Registers what this process hosts, one registration at a time. Each takes the set as it is when
/// its turn has come: a set that was read earlier might claim a bubble again that has been released
/// since.
#[derive(Clone)]
pub(super) struct Registrar {
    clock: Arc<dyn Clock>,
    migration: MigrationHandle,
    registry: RegistryHandle,
    claims: Claims,
    turn: Arc<Mutex<()>>,
}

impl Registrar {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        migration: MigrationHandle,
        registry: RegistryHandle,
        claims: Claims,
    ) -> Self {
        Self { clock, migration, registry, claims, turn: Arc::default() }
    }

    /// Registers what is hosted now, and tells migration once the registry holds it.
    pub(super) async fn register(&self) -> Result<(), BubbleError> {
        let _turn = self.turn.lock().await;
        let hosted: BTreeSet<_> = self.migration.hosted_bubbles().await?.into_iter().collect();
        // Whoever still hosts one of them says so again in answer.
        self.claims.forget(&hosted);
        let answer = self.registry.register(hosted.clone(), REGISTER_LIMIT).await;
        if let Ok(()) | Err(RegistryError::BubbleClaimed { .. }) = answer {
            let claimed = self.claims.among(&hosted);
            self.migration.registered(hosted, claimed);
        }
        Ok(answer?)
    }

    /// Registers whenever `changed` says so, until that has succeeded; ends with the process.
    pub(super) async fn keep(self, changed: Arc<Notify>, mut ended: watch::Receiver<bool>) {
        let work = async {
            loop {
                changed.notified().await;
                self.register_until_done().await;
            }
        };
        tokio::select! {
            () = work => {}
            // The sender gone means the same.
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }

    async fn register_until_done(&self) {
        let mut pause = RETRY_FIRST;
        loop {
            match self.register().await {
                // Of a claimed bubble the others are registered.
                Ok(()) | Err(BubbleError::Registry(RegistryError::BubbleClaimed { .. })) => return,
                Err(error) => tracing::debug!(%error, "what is hosted is not registered yet"),
            }
            self.clock.sleep_until(self.clock.now() + pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}
