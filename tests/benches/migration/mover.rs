use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lampyrid::BubbleId;
use lampyrid_tests::load::{Answer, Line, Mark, Order, Setup, Started, Tally, Usage};
use lampyrid_tests::{Admin, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mover-under-test");

/// How long an answer is waited for beyond the time that the order itself may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

type Waiting = Arc<Mutex<BTreeMap<u64, Sender<Answer>>>>;

/// An answer to come; the channel ends if the process does.
pub(crate) type Pending = Receiver<Answer>;

/// A running `mover-under-test`; killed and reaped when dropped.
pub(crate) struct Mover {
    child: Mutex<Child>,
    pid: u32,
    stdin: Mutex<(ChildStdin, u64)>,
    waiting: Waiting,
    said: Mutex<Receiver<Started>>,
    /// What it said of itself when it was bound.
    pub(crate) started: Started,
    ready: OnceLock<Started>,
}

impl Mover {
    /// Starts one and waits until it is bound; it may be long until it is ready. What it logs is
    /// appended to `log`.
    pub(crate) fn start(setup: &Setup, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log file");
        let mut child = Command::new(PROGRAM)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        say(&mut stdin, setup).expect("it reads its setup");
        let stdout = child.stdout.take().expect("it is piped");
        let (tell, said) = channel();
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        std::thread::spawn(move || hear(stdout, &tell, &answers));
        let started = said.recv_timeout(PATIENCE).expect("it says that it is bound");
        Self {
            pid: child.id(),
            child: Mutex::new(child),
            stdin: Mutex::new((stdin, 0)),
            waiting,
            said: Mutex::new(said),
            started,
            ready: OnceLock::new(),
        }
    }

    /// Waits until it is ready; false if it ends before.
    pub(crate) fn wait_ready(&self) -> bool {
        match lock(&self.said).recv_timeout(PATIENCE) {
            // It says so once.
            Ok(ready) => self.ready.set(ready).is_ok(),
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => panic!("mover {} does not become ready", self.pid),
        }
    }

    /// What it hosts; it must have become ready.
    pub(crate) fn bubbles(&self) -> &[BubbleId] {
        &self.ready.get().expect("it is ready").bubbles
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&lock(&self.child)), signal).expect("an own child");
    }

    /// kill -9, reaped.
    pub(crate) fn kill(&self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Gives an order; its number, and where its answer will be. A process that has ended answers
    /// nothing.
    pub(crate) fn begin(&self, order: Order) -> (u64, Pending) {
        let (sender, answer) = channel();
        let mut stdin = lock(&self.stdin);
        stdin.1 += 1;
        let number = stdin.1;
        lock(&self.waiting).insert(number, sender);
        if say(&mut stdin.0, &Line { number, body: order }).is_err() {
            lock(&self.waiting).remove(&number);
        }
        (number, answer)
    }

    pub(crate) fn ask(&self, order: Order) -> Answer {
        let what = format!("{order:?}");
        let answer = self.begin(order).1.recv_timeout(ANSWER_LIMIT);
        answer.unwrap_or_else(|error| panic!("no answer to {what}: {error}"))
    }

    pub(crate) fn count(&self, order: Order) -> u64 {
        match self.ask(order) {
            Answer::Count(count) => count,
            other => panic!("{other:?}"),
        }
    }

    /// Its admin HTTP.
    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.started.admin)
    }

    /// The epoch of its view.
    pub(crate) fn epoch(&self) -> u64 {
        let view = self.admin().view().expect("it answers");
        view["epoch"].as_u64().expect("a number")
    }

    pub(crate) fn usage(&self) -> Usage {
        match self.ask(Order::Usage) {
            Answer::Usage(usage) => usage,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn marks(&self) -> Vec<Mark> {
        match self.ask(Order::Marks) {
            Answer::Marks(marks) => marks,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What became of an order to move.
pub(crate) fn tally(answer: &Pending) -> Tally {
    tallied(answer.recv_timeout(ANSWER_LIMIT).expect("an answer in time"))
}

/// The same from its answer.
pub(crate) fn tallied(answer: Answer) -> Tally {
    match answer {
        Answer::Tally(tally) => tally,
        other => panic!("{other:?}"),
    }
}

fn say(stdin: &mut ChildStdin, line: &impl Serialize) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line).expect("it encodes");
    text.push(b'\n');
    stdin.write_all(&text)
}

/// Until it ends; whoever still waits then gets nothing.
fn hear(stdout: impl std::io::Read, tell: &Sender<Started>, waiting: &Waiting) {
    use std::io::BufRead;
    for line in std::io::BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str::<Line<Answer>>(&line) {
            Ok(Line { number, body }) => {
                if let Some(asker) = lock(waiting).remove(&number) {
                    // An asker that is gone has given up.
                    let _ = asker.send(body);
                }
            }
            Err(_) => {
                // A killed process may leave half a line.
                if let Ok(started) = serde_json::from_str(&line) {
                    let _ = tell.send(started);
                }
            }
        }
    }
    lock(waiting).clear();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
