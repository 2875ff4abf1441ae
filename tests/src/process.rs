use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::admin::Admin;
use crate::output::{collect, lines, settled};
use crate::place::{Forward, Place};
use crate::wait::{PATIENCE, eventually};

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Arguments after `node`.
    pub arguments: Vec<String>,
    /// Environment on top of a clean one.
    pub environment: Vec<(String, String)>,
    /// The program, if not that of the cluster.
    pub binary: Option<PathBuf>,
    /// Where it runs, if not beside the test.
    pub place: Option<Arc<dyn Place>>,
}

impl Options {
    /// One more argument with its value.
    #[must_use]
    pub fn with(mut self, flag: &str, value: impl Into<String>) -> Self {
        self.arguments.extend([flag.to_owned(), value.into()]);
        self
    }

    /// One more argument that has no value.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self
    }

    /// Runs it there.
    #[must_use]
    pub fn at(mut self, place: Arc<dyn Place>) -> Self {
        self.place = Some(place);
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Keeps identity, journal and entities in `dir`.
    #[must_use]
    pub fn data(self, dir: &Path) -> Self {
        self.with("--data-dir", dir.display().to_string())
    }
}

/// A running `lampyrid node`; killed and reaped when dropped.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    events: Mutex<Receiver<String>>,
    stderr: Arc<Mutex<String>>,
    /// The `listening` line.
    pub listening: Value,
    /// Its admin HTTP.
    pub admin: Admin,
    /// Leads there, if it runs elsewhere.
    _forward: Option<Forward>,
}

impl NodeProcess {
    /// Starts `binary node` and waits until both ports are bound.
    ///
    /// # Errors
    /// What it left on stderr and its exit status, if it ended before.
    pub fn start(binary: &Path, options: &Options) -> Result<Self, (ExitStatus, String)> {
        let mut command = command(options.binary.as_deref().unwrap_or(binary), options);
        let child = match &options.place {
            Some(place) => place.spawn(&mut command),
            None => command.spawn(),
        };
        let mut child = child.expect("the binary under test starts");
        let events = lines(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        match events.recv_timeout(PATIENCE) {
            Ok(line) => {
                let listening: Value =
                    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                assert_eq!(listening["event"], "listening", "{line}");
                let url = listening["admin"].as_str().expect("an admin URL");
                let forward = options.place.as_ref().map(|place| {
                    let to = url.trim_start_matches("http://").parse().expect("an address");
                    Forward::start(Arc::clone(place), to).expect("a port on loopback")
                });
                let admin = match &forward {
                    Some(forward) => Admin::new(&format!("http://{}", forward.address())),
                    None => Admin::new(url),
                };
                let events = Mutex::new(events);
                Ok(Self { child, events, stderr, listening, admin, _forward: forward })
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.wait().expect("the child can be waited for");
                let text = settled(&stderr);
                Err((status, text))
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("no `listening` line within {PATIENCE:?}: {}", settled(&stderr));
            }
        }
    }

    /// Waits for the `ready` line.
    pub fn wait_ready(&self) -> Value {
        let events = self.events.lock().expect("no reader panicked");
        let line = events.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            panic!("no `ready` line ({error}); stderr:\n{}", self.stderr())
        });
        let event: Value = serde_json::from_str(&line).expect("a JSON line");
        assert_eq!(event["event"], "ready", "{line}");
        event
    }

    /// What it has printed since the last call.
    #[must_use]
    pub fn printed(&self) -> Vec<Value> {
        let events = self.events.lock().expect("no reader panicked");
        events.try_iter().map(|line| serde_json::from_str(&line).expect("a JSON line")).collect()
    }

    /// Its number in the operating system.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its process id in the cluster.
    #[must_use]
    pub fn id(&self) -> String {
        self.listening["id"].as_str().expect("an id").to_owned()
    }

    /// Its cluster address.
    #[must_use]
    pub fn address(&self) -> String {
        self.listening["cluster"].as_str().expect("an address").to_owned()
    }

    /// Its incarnation at the start.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.listening["incarnation"].as_u64().expect("a number")
    }

    /// What it logged so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("the collector did not panic").clone()
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("an own child can be signalled");
    }

    /// Ends it like a power cut, and reaps it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Freezes it.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_none()
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self) -> ExitStatus {
        eventually("the process to end", || {
            self.child.try_wait().expect("the child can be waited for")
        })
        .0
    }

    /// Asks it to leave by SIGTERM and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let id = self.listening["id"].as_str().unwrap_or("?").to_owned();
            eprintln!("--- stderr of {id} ---\n{}", self.stderr());
        }
    }
}

fn command(binary: &Path, options: &Options) -> Command {
    let mut command = Command::new(binary);
    command.arg("node").args(&options.arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LAMPYRID_")) {
        command.env_remove(name);
    }
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
