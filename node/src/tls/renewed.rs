use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lampyrid_wire::Clock;

use super::TlsError;
use super::files::{Stamps, stamps};

/// How often the files are looked at, at most; connections that are made between share what was
/// read before.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_secs(1);

type Load<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// What is made of some files, made again when they have changed: a renewed certificate or
/// authority counts for the next connection, without a restart. Files that do not fit one another
/// are not taken: what was read before stays in use.
pub(crate) struct Renewed<T> {
    /// Whose certificates they are, for the log.
    port: &'static str,
    files: Vec<PathBuf>,
    load: Load<T>,
    clock: Arc<dyn Clock>,
    state: Mutex<State<T>>,
}

struct State<T> {
    loaded: T,
    stamps: Stamps,
    looked: Duration,
}

impl<T: Clone> Renewed<T> {
    /// Reads the files by `load`, now and whenever one of them has changed.
    pub(crate) fn new(
        port: &'static str,
        files: Vec<PathBuf>,
        clock: Arc<dyn Clock>,
        load: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let state = State { loaded: load()?, stamps, looked: clock.now() };
        Ok(Self { port, files, load: Box::new(load), clock, state: Mutex::new(state) })
    }

    /// What counts for a connection that is made now.
    pub(crate) fn current(&self) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if now >= state.looked + LOOK_PAUSE {
            state.looked = now;
            self.look(&mut state);
        }
        state.loaded.clone()
    }

    fn look(&self, state: &mut State<T>) {
        let stamps = stamps(&self.files);
        if stamps == state.stamps {
            return;
        }
        // Also if they are refused: they are read, and complained of, once.
        state.stamps = stamps;
        let port = self.port;
        match (self.load)() {
            Ok(loaded) => {
                state.loaded = loaded;
                tracing::info!(port, "certificates have changed and were read again");
            }
            Err(error) => {
                tracing::warn!(port, %error, "changed certificates are not used; those read before are");
            }
        }
    }
}

impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").field("port", &self.port).field("files", &self.files).finish()
    }
}
