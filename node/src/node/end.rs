use std::net::SocketAddr;

use lampyrid_membership::{RefusalReason, StopReason};
use tokio::sync::watch;

use crate::supervision::Escalation;

/// Why a process ended without having been asked to.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// Membership cannot go on.
    #[error(transparent)]
    Membership(#[from] StopReason),
    /// No seed let it in.
    #[error("no cluster was joined within the join timeout: {0}")]
    NotJoined(NotJoined),
    /// An actor fails again and again.
    #[error("{0}")]
    RestartStorm(String),
}

/// What became of each seed.
#[derive(Debug, Clone)]
pub struct NotJoined(pub Vec<(SocketAddr, Option<RefusalReason>)>);

impl std::fmt::Display for NotJoined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (seed, refusal)) in self.0.iter().enumerate() {
            let gap = if n == 0 { "" } else { "; " };
            match refusal {
                Some(reason) => write!(f, "{gap}{seed} refused: {reason}")?,
                None => write!(f, "{gap}{seed} did not answer or did not admit it")?,
            }
        }
        Ok(())
    }
}

impl From<Escalation> for Fatal {
    fn from(escalation: Escalation) -> Self {
        Self::RestartStorm(escalation.to_string())
    }
}

/// How the process ended, once it has; the first word counts.
#[derive(Debug)]
pub(crate) struct End(watch::Sender<Option<Result<(), Fatal>>>);

impl End {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn set(&self, end: Result<(), Fatal>) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(end);
            }
            first
        });
    }

    pub(crate) async fn wait(&self) -> Result<(), Fatal> {
        let mut end = self.0.subscribe();
        // The sender lives as long as this does.
        let known = end.wait_for(Option::is_some).await.ok().and_then(|known| known.clone());
        known.unwrap_or(Ok(()))
    }
}
