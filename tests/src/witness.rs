use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admin::Admin;
use crate::cluster::Cluster;

/// How often each process is asked.
const EVERY: Duration = Duration::from_millis(25);

/// How long one answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What a process said of its view at one moment.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The place of the process.
    pub at: usize,
    /// When the answer was there.
    pub when: Instant,
    /// `active`, `isolated`, ...
    pub status: String,
    /// Of the installed view.
    pub epoch: u64,
    /// Of the installed view.
    pub view: String,
    /// Who coordinates, as it believes.
    pub coordinator: Option<String>,
    /// How many the installed view has.
    pub members: usize,
}

impl Sight {
    fn new(at: usize, view: &Value) -> Option<Self> {
        Some(Self {
            at,
            when: Instant::now(),
            status: view["status"].as_str()?.to_owned(),
            epoch: view["epoch"].as_u64()?,
            view: view["id"].as_str()?.to_owned(),
            coordinator: view["coordinator"].as_str().map(str::to_owned),
            members: view["members"].as_array()?.len(),
        })
    }

    fn says_the_same(&self, other: &Self) -> bool {
        (&self.status, self.epoch, &self.view, &self.coordinator)
            == (&other.status, other.epoch, &other.view, &other.coordinator)
    }
}

/// Asks every process for its view all the time, and keeps what changes.
#[derive(Debug)]
pub struct Witness {
    seen: Arc<Mutex<Vec<Sight>>>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Watches all running processes of a cluster until dropped.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let (seen, ended) = (Arc::default(), Arc::default());
        let watch = |at| {
            let admin = cluster.admin(at).with_limit(ANSWER_LIMIT);
            let (seen, ended) = (Arc::clone(&seen), Arc::clone(&ended));
            std::thread::spawn(move || watch(at, &admin, &seen, &ended))
        };
        let threads = cluster.running().into_iter().map(watch).collect();
        Self { seen, ended, threads }
    }

    /// Everything that has changed since then, in order.
    #[must_use]
    pub fn since(&self, start: Instant) -> Vec<Sight> {
        self.lock().iter().filter(|sight| sight.when >= start).cloned().collect()
    }

    /// The first change at a process since then that is as asked for.
    #[must_use]
    pub fn first(&self, start: Instant, at: usize, is: impl Fn(&Sight) -> bool) -> Option<Sight> {
        self.since(start).into_iter().find(|sight| sight.at == at && is(sight))
    }

    /// Panics if two different views were ever seen in one epoch.
    pub fn assert_one_view_an_epoch(&self) {
        let mut views: BTreeMap<u64, Sight> = BTreeMap::new();
        for sight in self.lock().iter() {
            let known = views.entry(sight.epoch).or_insert_with(|| sight.clone());
            assert_eq!(known.view, sight.view, "two views of one epoch: {known:?}, {sight:?}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sight>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn watch(at: usize, admin: &Admin, seen: &Mutex<Vec<Sight>>, ended: &AtomicBool) {
    let mut last: Option<Sight> = None;
    while !ended.load(Ordering::Relaxed) {
        if let Some(sight) = admin.view().and_then(|view| Sight::new(at, &view))
            && !last.as_ref().is_some_and(|last| last.says_the_same(&sight))
        {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(sight.clone());
            last = Some(sight);
        }
        std::thread::sleep(EVERY);
    }
}
