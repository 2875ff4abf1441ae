//! A disk under the store that does what disks do to stores: it keeps what was synced apart from
//! what was only written, and loses, tears and refuses at the moments that a test chooses.

mod content;
mod fault;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::random::Random;
use content::Content;
pub use content::Survival;
use fault::Plan;
pub use fault::{Call, Fault, FaultError};

/// A disk for tests, as a backend of the store. Clones are the same disk. Everything it does
/// follows from its seed and from what is asked of it.
///
/// - A write that was not synced may survive a crash or not, whole or in part; so may a change of
///   the file's length. A later write may survive without an earlier one.
/// - A failed sync writes some of what was dirty and forgets that the rest was: a later sync that
///   succeeds says nothing about it. What is read afterwards is, by seed, what was written (as of
///   ext4 and xfs) or what is on the disk (as of btrfs).
/// - A full disk refuses to write where nothing was ever written, but not to overwrite; a file
///   grows without needing room, as with `ftruncate`.
#[derive(Clone)]
pub struct CrashDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for CrashDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CrashDisk")
    }
}

type Watch = dyn Fn(&CrashDisk) + Send + Sync;

struct State {
    random: Random,
    content: Content,
    plan: Plan,
    /// Told of each moment at which a crash would find something else than at the one before.
    watch: Option<Arc<Watch>>,
    /// The process that had it open is gone: nothing it still does has any effect.
    down: bool,
}

impl CrashDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::of(seed, Content::default())
    }

    fn of(seed: u64, content: Content) -> Self {
        let (random, plan) = (Random::new(seed), Plan::default());
        Self(Arc::new(Mutex::new(State { random, content, plan, watch: None, down: false })))
    }

    /// Calls `watch` with a copy of this disk at each moment at which a crash could find something
    /// else than before: after every write and change of length, and before every sync.
    pub fn watch(&self, watch: impl Fn(&CrashDisk) + Send + Sync + 'static) {
        self.state().watch = Some(Arc::new(watch));
    }

    fn tell(&self) {
        let state = self.state();
        if let Some(watch) = state.watch.clone() {
            let copy = Self::of(state.plan.calls(), state.content.clone());
            drop(state);
            watch(&copy);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that change something, so far: writes, changes of length and syncs.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().plan.calls()
    }

    /// Adds a fault; it counts calls from now.
    pub fn fail(&self, fault: Fault) {
        self.state().plan.add(fault);
    }

    /// All faults are over, and there is room again.
    pub fn heal(&self) {
        let mut state = self.state();
        state.plan = Plan::after(&state.plan);
        state.content.set_room(None);
    }

    /// From now on only that many more blocks of 4 KiB can be taken.
    pub fn fill_up(&self, room: u64) {
        self.state().content.set_room(Some(room));
    }

    /// The process crashes in the `nth` call from now (counted from 1), which may still have had
    /// its effect; everything after it fails and has none.
    pub fn crash_in(&self, nth: u64) {
        self.state().plan.crash_in(nth);
    }

    /// True once the process that had it open has crashed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// What is left after a crash now, as a disk that can be opened again. This one serves nobody
    /// any more.
    #[must_use]
    pub fn crash(&self, survival: Survival) -> Self {
        let left = self.look(survival);
        self.state().down = true;
        left
    }

    /// What would be left after a crash now. This one goes on.
    #[must_use]
    pub fn look(&self, survival: Survival) -> Self {
        let state = self.state();
        let mut random = match survival {
            Survival::Random(seed) => Random::new(seed),
            Survival::None | Survival::All => state.random.clone(),
        };
        let content = state.content.after_crash(survival, &mut random);
        Self::of(random.number(), content)
    }

    /// The process that had it open ended, and another opens it: what was written is still there,
    /// synced or not, but what the old one still does has no effect.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut state = self.state();
        state.down = true;
        let seed = state.random.number();
        let again = Self::of(seed, state.content.clone());
        again.state().plan = state.plan.clone();
        again
    }

    /// Cuts the file off, what was synced included: damage, no crash.
    pub fn cut(&self, len: u64) {
        self.state().content.cut(len);
    }

    /// Length of the file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.state().content.len()
    }
}

fn gone() -> io::Error {
    io::Error::other("the process that had this disk open has crashed")
}

impl State {
    /// Counts a call and says how it is refused, if it is. After a crash nothing has any effect.
    fn begin(&mut self, call: Call) -> Result<Option<FaultError>, io::Error> {
        if self.down {
            return Err(gone());
        }
        let refusal = self.plan.next(call);
        self.down = refusal == Some(FaultError::Crash);
        Ok(refusal)
    }

    fn set_len(&mut self, len: u64) -> Result<(), io::Error> {
        match self.begin(Call::SetLen)? {
            None => self.content.set_len(len),
            Some(error) => {
                if error == FaultError::Crash {
                    self.content.set_len(len);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), io::Error> {
        match self.begin(Call::Sync)? {
            None => self.content.sync(),
            Some(error) => {
                // How much of it a crash left to do is chosen with the rest of what survives.
                if error != FaultError::Crash {
                    self.content.fail_sync(&mut self.random);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let Some(error) = self.begin(Call::Write)? else {
            return self.content.write(offset, data);
        };
        match error {
            // An error of this write would be nobody's.
            FaultError::Crash => drop(self.content.write(offset, data)),
            FaultError::Io | FaultError::Full => {
                self.content.write_some(offset, data, &mut self.random);
            }
        }
        Err(error.into())
    }
}

impl StorageBackend for CrashDisk {
    fn len(&self) -> Result<u64, io::Error> {
        let state = self.state();
        if state.down { Err(gone()) } else { Ok(state.content.len()) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.state();
        if state.down { Err(gone()) } else { state.content.read(offset, out) }
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.state().set_len(len)?;
        self.tell();
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.tell();
        self.state().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.state().write(offset, data)?;
        self.tell();
        Ok(())
    }
}
