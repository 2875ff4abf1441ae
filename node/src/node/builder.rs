use std::sync::Arc;

use lampyrid_migration::{EntityStore, HostStore, Limits, MoveHooks, SpanSink, Storage};
use lampyrid_wire::Member;

use super::{Node, StartError, boot};
use crate::config::NodeConfig;
use crate::requests::RequestHandler;

/// Makes the sink of spans of a process, once it is known which it is.
pub(crate) type MakeSpanSink = Arc<dyn Fn(&Member) -> Arc<dyn SpanSink> + Send + Sync>;

/// What a host brings along.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) states: Storage,
    pub(super) hooks: Option<Arc<dyn MoveHooks>>,
    pub(super) limits: Limits,
    pub(super) requests: Option<Arc<dyn RequestHandler>>,
    pub(super) spans: Option<MakeSpanSink>,
}

/// A process that is to start, and what its host brings along.
#[must_use]
pub struct NodeBuilder {
    config: NodeConfig,
    host: Host,
}

impl std::fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeBuilder").field("limits", &self.host.limits).finish_non_exhaustive()
    }
}

impl NodeBuilder {
    pub(super) fn new(config: NodeConfig) -> Self {
        let host = Host {
            states: Storage::Durable,
            hooks: None,
            limits: Limits::default(),
            requests: None,
            spans: None,
        };
        Self { config, host }
    }

    /// The states of active entities are in that store; without one, in the data directory.
    pub fn store(mut self, store: Arc<dyn EntityStore>) -> Self {
        self.host.states = Storage::Host(HostStore::new(store));
        self
    }

    /// These are asked before entities move and told when they have.
    pub fn hooks(mut self, hooks: Arc<dyn MoveHooks>) -> Self {
        self.host.hooks = Some(hooks);
        self
    }

    /// Answers the requests of [`Node::ask`] for the entities of this process.
    pub fn requests(mut self, handler: Arc<dyn RequestHandler>) -> Self {
        self.host.requests = Some(handler);
        self
    }

    /// What may be under way at once, and how long it may take.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.host.limits = limits;
        self
    }

    /// Moves are drawn as spans there.
    #[cfg(feature = "otel")]
    pub(crate) fn spans(mut self, make: MakeSpanSink) -> Self {
        self.host.spans = Some(make);
        self
    }

    /// Starts it; see [`Node::start`]. Not cancellation safe: a dropped future may leave the data
    /// directory in use until the runtime ends.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(self) -> Result<Node, StartError> {
        boot::start(self.config, self.host).await
    }

    /// Starts it on a network in memory, under that network's clock; several may run in one
    /// process. It is at [`NodeConfig::listen`] there, and its seeds are addresses there.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    #[cfg(feature = "testkit")]
    pub async fn start_on(self, network: &crate::testkit::Network) -> Result<Node, StartError> {
        boot::start_on(self.config, self.host, network.clone()).await
    }
}
