use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::admin::Admin;
use crate::wait::{PATIENCE, eventually};

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Arguments after `node`.
    pub arguments: Vec<String>,
    /// Environment on top of a clean one.
    pub environment: Vec<(String, String)>,
}

impl Options {
    /// One more argument with its value.
    #[must_use]
    pub fn with(mut self, flag: &str, value: impl Into<String>) -> Self {
        self.arguments.extend([flag.to_owned(), value.into()]);
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
}

impl NodeProcess {
    /// Starts `binary node` and waits until both ports are bound.
    ///
    /// # Errors
    /// What it left on stderr and its exit status, if it ended before.
    pub fn start(binary: &Path, options: &Options) -> Result<Self, (ExitStatus, String)> {
        let mut child = command(binary, options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let events = lines(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        match events.recv_timeout(PATIENCE) {
            Ok(line) => {
                let listening: Value =
                    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                assert_eq!(listening["event"], "listening", "{line}");
                let admin = Admin::new(listening["admin"].as_str().expect("an admin URL"));
                Ok(Self { child, events: Mutex::new(events), stderr, listening, admin })
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
    command
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Bound on what is kept of a log, in bytes.
const LOG_LIMIT: usize = 4 * 1024 * 1024;

fn collect(mut stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 8192];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            let mut text = sink.lock().expect("readers do not panic");
            if text.len() < LOG_LIMIT {
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
    });
    text
}

/// What was collected once the collector has seen the end; the child is gone already.
fn settled(text: &Arc<Mutex<String>>) -> String {
    let started = std::time::Instant::now();
    while Arc::strong_count(text) > 1 && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    text.lock().expect("the collector did not panic").clone()
}
