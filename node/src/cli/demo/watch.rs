use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::ProcessId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::child::Site;
use crate::cli::answers::View;

/// The pause between two looks at a process's view.
const PAUSE: Duration = Duration::from_millis(25);

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(1);

/// Views on their way into the history.
const BUFFER: usize = 64;

/// Looks at every process's view all the time.
pub(crate) struct Watch {
    stop: watch::Sender<bool>,
    lookers: JoinSet<()>,
    views: mpsc::Receiver<View>,
    history: History,
}

/// What was seen: for each epoch its view and coordinator.
#[derive(Debug, Default)]
pub(crate) struct History {
    epochs: BTreeMap<u64, (String, ProcessId)>,
    /// Two different views of one epoch were seen: the one thing that must never be.
    pub(crate) is_split: bool,
}

impl History {
    fn note(&mut self, view: &View) {
        let (Some(id), Some(coordinator)) = (&view.id, view.coordinator) else { return };
        let seen = self.epochs.entry(view.epoch).or_insert_with(|| (id.clone(), coordinator));
        self.is_split |= seen.0 != *id || seen.1 != coordinator;
    }

    /// How many views there have been: epochs count them from 1 on.
    pub(crate) fn views(&self) -> u64 {
        self.epochs.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }

    /// The coordinators, one after the other.
    pub(crate) fn coordinators(&self) -> Vec<ProcessId> {
        let mut all: Vec<_> = self.epochs.values().map(|(_, coordinator)| *coordinator).collect();
        all.dedup();
        all
    }
}

impl Watch {
    pub(crate) fn start(sites: &[Arc<Site>]) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (sender, views) = mpsc::channel(BUFFER);
        let mut lookers = JoinSet::new();
        for site in sites {
            lookers.spawn(look(Arc::clone(site), sender.clone(), stopping.clone()));
        }
        Self { stop, lookers, views, history: History::default() }
    }

    /// Looks once more, and gives what was seen.
    pub(crate) async fn stop(mut self) -> History {
        self.stop.send_replace(true);
        while let Some(view) = self.views.recv().await {
            self.history.note(&view);
        }
        while self.lookers.join_next().await.is_some() {}
        self.history
    }
}

/// Reports each change of what a process shows, and its last view at the end.
async fn look(site: Arc<Site>, views: mpsc::Sender<View>, stopping: watch::Receiver<bool>) {
    let mut last = None;
    loop {
        let is_last = *stopping.borrow();
        if let Ok(view) = site.client().poll::<View>("/v1/view", LOOK).await {
            let seen = Some((view.id.clone(), view.coordinator));
            if seen != last {
                last = seen;
                if views.send(view).await.is_err() {
                    return;
                }
            }
        }
        if is_last {
            return;
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64, id: &str, coordinator: u128) -> View {
        let coordinator = ProcessId::from_u128(coordinator);
        let value = serde_json::json!({
            "epoch": epoch, "id": id, "status": "active", "self": coordinator, "incarnation": 1,
            "coordinator": coordinator, "members": [],
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_history_counts_views_and_tells_a_split() {
        let mut history = History::default();
        for (epoch, id, coordinator) in [(2, "b", 1), (4, "d", 2), (2, "b", 1), (5, "e", 1)] {
            history.note(&view(epoch, id, coordinator));
        }
        assert_eq!(history.views(), 5);
        assert_eq!(history.coordinators(), [1, 2, 1].map(ProcessId::from_u128));
        assert!(!history.is_split);
        history.note(&view(4, "x", 2));
        assert!(history.is_split);
    }
}
