use std::time::Duration;

use super::figures::Figures;
use crate::cli::answers::{Audit, Topology, View};
use crate::cli::client::{Client, ClientError};

/// What a process answered at one time.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) url: String,
    pub(super) view: View,
    pub(super) topology: Topology,
    /// Absent while the actor that counts does not answer: the rest is worth showing.
    pub(super) audit: Option<Audit>,
    /// Absent if the metrics could not be read.
    pub(super) figures: Option<Figures>,
}

impl Look {
    /// Asks for all at once, so that slow answers do not add up.
    pub(super) async fn take(client: &Client, limit: Duration) -> Result<Self, ClientError> {
        let (view, topology, audit, metrics) = tokio::join!(
            client.poll("/v1/view", limit),
            client.poll("/v1/topology", limit),
            client.poll("/v1/audit", limit),
            client.text("/metrics", limit),
        );
        Ok(Self {
            url: client.url().to_owned(),
            view: view?,
            topology: topology?,
            audit: audit.ok(),
            figures: metrics.ok().map(|text| Figures::read(&text)),
        })
    }
}
