//! One process of a cluster, inside a host application or behind the `lampyrid` binary.

#[cfg(feature = "cli")]
mod backend;

use std::sync::Arc;

use lampyrid_membership::{Status, View, ViewHandle, ViewState};
use lampyrid_wire::{ClusterId, Incarnation, Member, ProcessId, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::{ConfigError, NodeConfig};

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its cluster address.
    #[error("cannot listen for other processes: {0}")]
    Listen(#[from] std::io::Error),
}

/// Why a process ended without having been asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {}

/// A running process.
#[derive(Debug)]
pub struct Node {
    views: ViewHandle,
    leaving: watch::Sender<bool>,
    _listener: TcpListener,
}

impl Node {
    /// Starts a process. Returns as soon as its port is bound and its data directory is its own;
    /// it may be long until [`Node::ready`] resolves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        config.check()?;
        let listener = TcpListener::bind(config.listen).await?;
        let me = Member {
            process: ProcessId::random(),
            incarnation: Incarnation(1),
            name: config.name,
            address: listener.local_addr()?,
            admin: config.admin_url,
        };
        let view = View::first(ClusterId::random(), config.cluster_name, me.clone());
        let view = Some(Arc::new(view));
        let state = ViewState { me, status: Status::Active, view, waiting_for: Vec::new() };
        let views = ViewHandle::new(Arc::new(SystemClock::new()), state);
        Ok(Self { views, leaving: watch::Sender::new(false), _listener: listener })
    }

    /// This process as it is or wants to be listed.
    #[must_use]
    pub fn member(&self) -> Member {
        self.views.current().me.clone()
    }

    /// Resolves when the process is in a quorum view, recovered and able to write. Cancellation
    /// safe.
    pub async fn ready(&self) {}

    /// Begins the graceful leave and returns at once; [`Node::stopped`] tells when it is done.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Resolves when the process has stopped: it has left, or cannot go on. Cancellation safe.
    ///
    /// # Errors
    /// [`Fatal`], if nobody asked it to stop.
    pub async fn stopped(&self) -> Result<(), Fatal> {
        // The sender lives as long as this node.
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
        Ok(())
    }
}
