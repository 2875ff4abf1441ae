use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use lampyrid_wire::{EntityId, ProcessId};
use serde::Serialize;

use super::tally::{Counts, percentile};
use super::watch::History;
use crate::cli::answers::EntityStatus;
use crate::cli::audit::Census;
use crate::cli::failure::Failure;

/// The result, in the order in which it is documented.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    views: u64,
    coordinators: Vec<ProcessId>,
    agreed: bool,
    kill_to_view_ms: f64,
    migrations: Migrations,
    latency_ms: Latency,
    entities: Entities,
    /// Copies that were still frozen or staged when the time to settle was over.
    #[serde(skip)]
    unsettled: usize,
}

#[derive(Debug, Serialize)]
struct Migrations {
    committed: u64,
    aborted: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
}

#[derive(Debug, Serialize)]
struct Entities {
    expected: usize,
    active: usize,
    lost: usize,
    duplicated: usize,
}

impl Report {
    pub(crate) fn new(
        census: &Census,
        ids: &BTreeSet<EntityId>,
        counts: &Counts,
        history: &History,
        agreed: bool,
        kill_to_view: Duration,
    ) -> Self {
        let mut latencies = counts.latencies.clone();
        latencies.sort_unstable_by(f64::total_cmp);
        let at = |percent| percentile(&latencies, percent);
        Self {
            views: history.views(),
            coordinators: history.coordinators(),
            agreed: agreed && !history.is_split,
            kill_to_view_ms: (kill_to_view.as_secs_f64() * 1e4).round() / 10.0,
            migrations: Migrations { committed: counts.committed, aborted: counts.aborted },
            latency_ms: Latency { p50: at(50.0), p95: at(95.0), p99: at(99.0) },
            entities: Entities {
                expected: ids.len(),
                active: census.count(EntityStatus::Active),
                lost: census.missing(ids).len(),
                duplicated: census.duplicated().len(),
            },
            unsettled: census.count(EntityStatus::Frozen) + census.count(EntityStatus::Staged),
        }
    }

    /// Nothing lost, nothing duplicated, nothing stuck, and all agreed.
    ///
    /// # Errors
    /// What is not so, by name.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let found = &self.entities;
        let faults = [
            (!self.agreed, "not_agreed"),
            (found.lost > 0, "entities_lost"),
            (found.duplicated > 0, "entities_duplicated"),
            (found.active != found.expected, "entities_not_active"),
            (self.unsettled > 0, "entities_unsettled"),
        ];
        let names = faults.into_iter().filter(|(is_so, _)| *is_so).map(|(_, name)| name);
        let names: Vec<&str> = names.collect();
        if names.is_empty() { Ok(()) } else { Err(names.join(", ")) }
    }

    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        let text = serde_json::to_string(self);
        text.map(|line| line + "\n").map_err(|error| Failure::failed(error.to_string()))
    }

    pub(crate) fn to_table(&self) -> String {
        let mut text = String::new();
        let coordinators: Vec<_> = self.coordinators.iter().map(short).collect();
        let (latency, entities) = (&self.latency_ms, &self.entities);
        let latencies = format!(
            "p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
            latency.p50, latency.p95, latency.p99
        );
        let rows = [
            ("views", self.views.to_string()),
            ("coordinators", coordinators.join(" -> ")),
            ("agreed at the end", if self.agreed { "yes" } else { "NO" }.to_owned()),
            ("from kill to new view", format!("{:.1} ms", self.kill_to_view_ms)),
            ("migrations committed", self.migrations.committed.to_string()),
            ("migrations aborted", self.migrations.aborted.to_string()),
            ("migration latency", latencies),
            ("entities expected", entities.expected.to_string()),
            ("entities active", entities.active.to_string()),
            ("entities lost", entities.lost.to_string()),
            ("entities duplicated", entities.duplicated.to_string()),
            ("still frozen or staged", self.unsettled.to_string()),
        ];
        for (name, value) in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<24}{value}");
        }
        text
    }
}

/// The first digits of an id: enough to tell a few processes apart.
fn short(process: &ProcessId) -> String {
    process.to_string().chars().take(8).collect()
}
