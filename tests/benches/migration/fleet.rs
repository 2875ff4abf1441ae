use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lampyrid::BubbleId;
use lampyrid_tests::load::{Order, Setup};
use lampyrid_tests::{Authority, eventually};
use tempfile::TempDir;

use crate::mover::Mover;
use crate::work;

/// Several movers on loopback, each with a data directory of its own in one temporary directory.
pub(crate) struct Fleet {
    directory: TempDir,
    movers: Mutex<Vec<Option<Arc<Mover>>>>,
    bubbles: usize,
    marks: bool,
    authority: Option<Authority>,
}

impl Fleet {
    /// Starts so many, with so many bubbles each, and waits until all know all bubbles.
    pub(crate) fn start(size: usize, bubbles: usize, marks: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::begin(directory, None, size, bubbles, marks)
    }

    /// The same with mutual TLS between them.
    pub(crate) fn secured(size: usize, bubbles: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new(&directory.path().join("tls"));
        Self::begin(directory, Some(authority), size, bubbles, false)
    }

    fn begin(
        directory: TempDir,
        authority: Option<Authority>,
        size: usize,
        bubbles: usize,
        marks: bool,
    ) -> Self {
        let movers = Mutex::new((0..size).map(|_| None).collect());
        let fleet = Self { directory, movers, bubbles, marks, authority };
        for at in 0..size {
            assert!(fleet.restart(at).wait_ready(), "mover {at} has ended");
        }
        fleet.wait_known();
        fleet
    }

    /// Starts one (again); it may be long until it is ready.
    pub(crate) fn restart(&self, at: usize) -> Arc<Mover> {
        let first = self.running().into_iter().next();
        let name = format!("mover-{at}");
        let tls = self.authority.as_ref().map(|authority| {
            let (cert, key) = authority.issue(&name, std::slice::from_ref(&name));
            [cert, key, authority.ca()]
        });
        let setup = Setup {
            name,
            tls,
            data_dir: self.data_dir(at),
            join: first.map(|first| first.started.address.clone()),
            bubbles: self.bubbles,
            marks: self.marks,
        };
        let log = self.directory.path().join(format!("mover-{at}.log"));
        let mover = Arc::new(Mover::start(&setup, &log));
        self.movers()[at] = Some(Arc::clone(&mover));
        mover
    }

    /// kill -9, reaped.
    pub(crate) fn kill(&self, at: usize) {
        let mover = self.movers()[at].take();
        if let Some(mover) = mover {
            mover.kill();
        }
    }

    /// Until all know all bubbles of all.
    pub(crate) fn wait_known(&self) {
        let all = (self.bubbles * self.size()) as u64;
        eventually("all to know all bubbles", || {
            let known = |mover: &Arc<Mover>| mover.count(Order::Bubbles) == all;
            self.running().iter().all(known).then_some(())
        });
    }

    pub(crate) fn size(&self) -> usize {
        self.movers().len()
    }

    /// A running one.
    pub(crate) fn get(&self, at: usize) -> Arc<Mover> {
        self.find(at).expect("it runs")
    }

    /// One, if it runs.
    pub(crate) fn find(&self, at: usize) -> Option<Arc<Mover>> {
        self.movers()[at].clone()
    }

    pub(crate) fn running(&self) -> Vec<Arc<Mover>> {
        self.movers().iter().flatten().cloned().collect()
    }

    /// The first bubble of a process.
    pub(crate) fn bubble(&self, at: usize) -> BubbleId {
        self.get(at).bubbles()[0]
    }

    pub(crate) fn all_bubbles(&self) -> Vec<BubbleId> {
        self.running().iter().flat_map(|mover| mover.bubbles().to_vec()).collect()
    }

    fn movers(&self) -> MutexGuard<'_, Vec<Option<Arc<Mover>>>> {
        self.movers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn data_dir(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("data-{at}"))
    }

    /// The bytes of all files that a process keeps.
    pub(crate) fn disk(&self, at: usize) -> u64 {
        size_of_files(&self.data_dir(at))
    }
}

/// If anything is wrong, it keeps everything for whoever looks for the cause.
impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (0..self.size()).for_each(|at| self.kill(at));
            self.directory.disable_cleanup(true);
            work::tell(&format!("data and logs are in {}", self.directory.path().display()));
        }
    }
}

fn size_of_files(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("the data directory");
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of_files(&entry.path()),
        Ok(metadata) => metadata.len(),
        // Replaced meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}
