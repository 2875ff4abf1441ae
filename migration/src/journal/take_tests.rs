//! Commits while the store takes half of the redo log: it is stopped after each of its writes, and
//! what is committed meanwhile is crashed at every moment, or finds a disk that fails.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::crash_tests::{Witness, fresh, groups_in, history, open_on};
use super::taker::{Job, in_thread};
use super::{Journal, JournalError};
use crate::testkit::{Call, CrashDisk, Fault, FaultError, Survival};

thread_local! {
    /// Of the test that runs in this thread.
    static GATE: RefCell<Option<Arc<Gate>>> = const { RefCell::new(None) };
    /// True in the thread in which its store takes something.
    static TAKES: Cell<bool> = const { Cell::new(false) };
}

/// Holds the store where it takes something, so that one thread runs at a time.
#[derive(Debug)]
struct Gate {
    /// Writes that it may do before it is held.
    writes: usize,
    state: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    begun: bool,
    writes: usize,
    held: bool,
    released: bool,
    over: bool,
}

impl Gate {
    fn after(writes: usize) -> Arc<Self> {
        let state = Mutex::new(Progress::default());
        Arc::new(Self { writes, state, changed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Progress) -> bool) {
        let state = self.state();
        let waited = self.changed.wait_while(state, |progress| !until(progress));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn is_held(&self) -> bool {
        self.state().held && !self.state().released
    }

    fn release(&self) {
        self.change(|progress| progress.released = true);
    }

    /// Before each call: the store is held, and all others wait until it is.
    fn pass(&self, writes: bool) {
        if !TAKES.get() {
            return self.wait(|progress| {
                !progress.begun || progress.held || progress.over || progress.released
            });
        }
        if !writes {
            return;
        }
        if self.state().writes == self.writes {
            self.change(|progress| progress.held = true);
            self.wait(|progress| progress.released);
        }
        self.change(|progress| progress.writes += 1);
    }
}

/// Lets the store take something in a thread, behind the gate.
fn gated(job: Job) -> Result<(), JournalError> {
    let gate = GATE.with_borrow(Clone::clone).expect("a test has set it");
    gate.change(|progress| progress.begun = true);
    in_thread(Box::new(move || {
        TAKES.set(true);
        job();
        gate.change(|progress| progress.over = true);
    }))
}

#[derive(Debug)]
struct Gated {
    disk: CrashDisk,
    gate: Arc<Gate>,
}

impl StorageBackend for Gated {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.gate.pass(true);
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.gate.pass(false);
        let done = self.disk.sync_data();
        if done.is_err() {
            // The journal waits for the store then.
            self.gate.release();
        }
        done
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.gate.pass(true);
        self.disk.write(offset, data)
    }
}

/// Commits that follow while the store is held.
const MEANWHILE: usize = 3;

/// Holds the store after that many writes. False if it needed no more than these.
fn held_after(writes: usize, sync_fails: bool) -> bool {
    let what = format!("held after {writes} writes, a sync fails: {sync_fails}");
    let (history, images) = history(3, 60, false);
    let disk = fresh(1);
    let gate = Gate::after(writes);
    GATE.set(Some(Arc::clone(&gate)));
    let gated_disk = Gated { disk: disk.clone(), gate: Arc::clone(&gate) };
    let mut journal = open_on(Arc::new(gated_disk)).unwrap().taking_in(gated);
    let mut rest = history.iter();
    while !gate.state().begun {
        journal.commit(rest.next().expect("the log is full before that")).unwrap();
    }
    let under_way = gate.is_held();
    let mut done = history.len() - rest.len();
    if under_way {
        let witness = Witness::of(images.clone());
        witness.acknowledged.store(done, Ordering::Relaxed);
        let watching = Arc::clone(&witness);
        disk.watch(move |disk| match TAKES.get() {
            true => {}
            false => watching.look(disk, 2),
        });
        if sync_fails {
            disk.fail(Fault { call: Call::Sync, nth: 2, error: FaultError::Io, forever: false });
        }
        for group in rest.by_ref().take(MEANWHILE) {
            if journal.commit(group).is_err() {
                break;
            }
            assert!(gate.is_held(), "{what}: a commit waited for the store");
            witness.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        let acknowledged = witness.acknowledged.load(Ordering::Relaxed);
        assert_eq!(acknowledged - done, if sync_fails { 1 } else { MEANWHILE }, "{what}");
        done = acknowledged;
        disk.watch(|_| ());
    }
    gate.release();
    if !(under_way && sync_fails) {
        // The store takes more of it, whenever that is.
        for group in rest {
            journal.commit(group).unwrap();
        }
        journal.settle().unwrap();
        done = history.len();
    }
    drop(journal);
    GATE.set(None);
    for survival in [Survival::None, Survival::All, Survival::Random(writes as u64)] {
        groups_in(&disk.look(survival), &images, done, &what);
    }
    groups_in(&disk.reopen(), &images, done, &what);
    under_way
}

#[test]
fn what_is_committed_while_the_store_takes_half_of_the_log_survives_whatever_happens() {
    let mut writes = 0;
    while held_after(writes, false) {
        held_after(writes, true);
        writes += 1;
    }
    eprintln!("the store was held after each of its {writes} writes");
    assert!(writes > 5, "{writes}");
}
