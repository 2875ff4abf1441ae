use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use lampyrid_wire::Clock;

use super::TlsError;
use super::files::{Stamps, stamps};

/// How often the files are looked at, at most; connections that are made between share what was
/// read before.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How long a connection waits for a look. Files are read by a thread of their own: one on a mount
/// that hangs is waited for once, and never again until it has come back.
const LOOK_LIMIT: Duration = Duration::from_millis(100);

/// How often files that are still not taken are complained of.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

type Load<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// What is made of some files, made again when they have changed: a renewed certificate or
/// authority counts for the next connection, without a restart. Files that do not fit one another
/// are not taken: what was read before stays in use, and they are tried again at each look.
pub(crate) struct Renewed<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// Whose certificates they are, for the log.
    port: &'static str,
    files: Vec<PathBuf>,
    load: Load<T>,
    clock: Arc<dyn Clock>,
    looking: AtomicBool,
    state: Mutex<State<T>>,
}

struct State<T> {
    loaded: T,
    /// Of the files that were loaded.
    stamps: Stamps,
    looked: Duration,
    /// What was complained of last, and when.
    complaint: Option<(String, Duration)>,
}

impl<T: Clone + Send + 'static> Renewed<T> {
    /// Reads the files by `load`, now and whenever one of them has changed.
    pub(crate) fn new(
        port: &'static str,
        files: Vec<PathBuf>,
        clock: Arc<dyn Clock>,
        load: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let state = State { loaded: load()?, stamps, looked: clock.now(), complaint: None };
        let (load, state): (Load<T>, _) = (Box::new(load), Mutex::new(state));
        let looking = AtomicBool::new(false);
        Ok(Self(Arc::new(Shared { port, files, load, clock, looking, state })))
    }

    /// What counts for a connection that is made now.
    pub(crate) fn current(&self) -> T {
        if self.0.is_due() {
            let (done, wait) = mpsc::sync_channel(1);
            let shared = Arc::clone(&self.0);
            let looking = std::thread::Builder::new().name("certificates".to_owned());
            let looking = looking.spawn(move || {
                shared.look();
                shared.looking.store(false, Ordering::Release);
                // Nobody waits any more after LOOK_LIMIT.
                let _ = done.send(());
            });
            match looking {
                // Late: what was read before counts.
                Ok(_) => drop(wait.recv_timeout(LOOK_LIMIT)),
                // No thread can be had now: later.
                Err(_) => self.0.looking.store(false, Ordering::Release),
            }
        }
        self.0.state().loaded.clone()
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for one caller, who then looks.
    fn is_due(&self) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        if now < state.looked + LOOK_PAUSE || self.looking.swap(true, Ordering::AcqRel) {
            return false;
        }
        state.looked = now;
        true
    }

    /// Reads without the lock: it may take as long as it takes.
    fn look(&self) {
        let stamps = stamps(&self.files);
        if stamps == self.state().stamps {
            self.state().complaint = None;
            return;
        }
        let loaded = (self.load)();
        let (port, now) = (self.port, self.clock.now());
        let mut state = self.state();
        match loaded {
            Ok(loaded) => {
                (state.loaded, state.stamps, state.complaint) = (loaded, stamps, None);
                tracing::info!(port, "certificates have changed and were read again");
            }
            Err(error) => {
                let text = error.to_string();
                let same = |(said, at): &(String, _)| *said == text && now < *at + COMPLAINT_PAUSE;
                if !state.complaint.as_ref().is_some_and(same) {
                    state.complaint = Some((text, now));
                    tracing::warn!(
                        port, %error,
                        "changed certificates are not used, those read before are; tried again"
                    );
                }
            }
        }
    }
}

impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { port, files, .. } = &*self.0;
        f.debug_struct("Renewed").field("port", port).field("files", files).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lampyrid_wire::ManualClock;

    use super::super::files::{check_secret, read};
    use super::*;

    /// What is in a file that only its owner may read.
    fn renewed(clock: &Arc<ManualClock>, path: PathBuf) -> Result<Renewed<Vec<u8>>, TlsError> {
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        Renewed::new("test", vec![path.clone()], clock, move || {
            check_secret("key", &path)?;
            read("key", &path)
        })
    }

    #[test]
    fn what_was_refused_is_tried_again_although_only_its_mode_has_changed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("one", 0o600);
        let clock = Arc::new(ManualClock::new());
        let renewed = renewed(&clock, path.clone()).unwrap();
        write("two and more", 0o644);
        // A look may be late on a busy machine; then the next one tells.
        let after = |wanted: &[u8]| {
            for _ in 0..1_000 {
                clock.advance(LOOK_PAUSE);
                if renewed.current() == wanted {
                    return;
                }
            }
            panic!("not {wanted:?}");
        };
        after(b"one");
        let complaint = renewed.0.state().complaint.clone();
        assert!(complaint.is_none_or(|(text, _)| text.contains("chmod 600")));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        after(b"two and more");
    }

    #[test]
    fn what_is_no_file_is_refused_and_never_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let clock = Arc::new(ManualClock::new());
        for path in [path, home.path().to_owned()] {
            let error = renewed(&clock, path).unwrap_err().to_string();
            assert!(error.contains("it is no file"), "{error}");
        }
    }
}
