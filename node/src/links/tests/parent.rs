//! Starts, drives and ends children.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::child;
use crate::links::{Bounds, TlsFiles};

/// Only a bound for a test that fails: no test takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One test at a time: the figures are worth more, and few cores are not torn between children.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
pub(super) struct Setup {
    id: u32,
    incarnation: u64,
    nonce: u64,
    cookie: String,
    name: String,
    cluster: Option<u32>,
    port: u16,
    bounds: Bounds,
    tls: Option<String>,
}

impl Setup {
    pub(super) fn of(id: u32) -> Self {
        Self {
            id,
            incarnation: 1,
            nonce: u64::from(id) * 1_000,
            cookie: "correct horse battery staple".to_owned(),
            name: "test".to_owned(),
            cluster: None,
            port: 0,
            bounds: Bounds::default(),
            tls: None,
        }
    }

    pub(super) fn incarnation(self, incarnation: u64) -> Self {
        Self { nonce: self.nonce + incarnation, incarnation, ..self }
    }

    pub(super) fn nonce(self, nonce: u64) -> Self {
        Self { nonce, ..self }
    }

    pub(super) fn cookie(self, cookie: &str) -> Self {
        Self { cookie: cookie.to_owned(), ..self }
    }

    pub(super) fn name(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub(super) fn cluster(self, cluster: u32) -> Self {
        Self { cluster: Some(cluster), ..self }
    }

    pub(super) fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    pub(super) fn idle(self, idle: Duration) -> Self {
        Self { bounds: Bounds { idle, ..self.bounds }, ..self }
    }

    pub(super) fn room(self, sessions: usize, for_members: usize) -> Self {
        Self { bounds: Bounds { sessions, for_members, ..self.bounds }, ..self }
    }

    pub(super) fn on_demand(self, on_demand: usize) -> Self {
        Self { bounds: Bounds { on_demand, ..self.bounds }, ..self }
    }

    /// With TLS, calling itself `name`.
    pub(super) fn tls(self, name: &str, files: &TlsFiles) -> Self {
        let TlsFiles { cert, key, ca } = files;
        let files = [cert, key, ca].map(|path| path.display().to_string()).join(";");
        Self { tls: Some(format!("{name};{files}")), ..self }
    }

    pub(super) fn start(self) -> Process {
        let Self { id, incarnation, nonce, cookie, name, cluster, port, bounds, tls } = self;
        let Bounds { sessions, for_members, on_demand, idle } = bounds;
        let bounds = format!("{sessions};{for_members};{on_demand};{}", idle.as_millis());
        let cluster = cluster.map_or("-".to_owned(), |id| id.to_string());
        let arguments =
            format!("{id};{incarnation};{nonce};{cookie};{name};{cluster};{port};{bounds}");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "links::tests::child_process", "--nocapture"])
            .env(child::VARIABLE, arguments)
            .envs(tls.map(|tls| (child::TLS_VARIABLE, tls)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test harness of the child prints a line start before our first.
                if let Some(at) = line.find('@')
                    && sender.send(line[at + 1..].to_owned()).is_err()
                {
                    break;
                }
            }
        });
        let stdin = child.stdin.take().unwrap();
        let mut process =
            Process { id, incarnation, child, stdin, lines, passed: Vec::new(), address: None };
        let line = process.expect("LISTEN");
        process.address = Some(line.split_whitespace().nth(1).unwrap().parse().unwrap());
        process
    }
}

pub(super) struct Process {
    id: u32,
    incarnation: u64,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// Lines that were read while another one was expected.
    passed: Vec<String>,
    address: Option<SocketAddr>,
}

impl Process {
    pub(super) fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    pub(super) fn member(&self) -> String {
        format!("{}.{}@{}", self.id, self.incarnation, self.address())
    }

    /// Whether it has said so while something else was expected.
    pub(super) fn has_passed(&self, start: &str) -> bool {
        self.passed.iter().any(|line| line.starts_with(start))
    }

    pub(super) fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
        self.stdin.flush().unwrap();
    }

    /// The next line that begins with `start`; others are put aside.
    pub(super) fn expect(&mut self, start: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with(start) => return line,
                Ok(line) => self.passed.push(line),
                Err(error) => self.give_up(start, error),
            }
        }
    }

    /// The next line that begins with one of these; others are put aside.
    pub(super) fn expect_any_of(&mut self, starts: &[&str]) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if starts.iter().any(|start| line.starts_with(start)) => return line,
                Ok(line) => self.passed.push(line),
                Err(error) => self.give_up(starts[0], error),
            }
        }
    }

    /// Such a line, from those put aside first.
    pub(super) fn expect_any_order(&mut self, start: &str) -> String {
        match self.passed.iter().position(|line| line.starts_with(start)) {
            Some(at) => self.passed.remove(at),
            None => self.expect(start),
        }
    }

    fn give_up(&self, start: &str, error: RecvTimeoutError) -> ! {
        panic!("process {}: no `{start}` ({error}); put aside: {:?}", self.id, self.passed);
    }

    pub(super) fn ask(&mut self, command: &str, start: &str) -> String {
        self.tell(command);
        self.expect(start)
    }

    /// Asks for the counters until both texts are in them.
    pub(super) fn wait_count(&mut self, one: &str, other: &str) -> String {
        let started = std::time::Instant::now();
        loop {
            let counted = self.ask("count", "COUNT");
            if counted.contains(one) && counted.contains(other) {
                return counted;
            }
            assert!(started.elapsed() < PATIENCE, "no `{one}` and `{other}` in {counted}");
        }
    }

    /// Nothing that came so far begins with `start`.
    pub(super) fn no_sign_of(&mut self, start: &str) {
        self.passed.extend(self.lines.try_iter());
        let seen = self.passed.iter().find(|line| line.starts_with(start));
        assert_eq!(seen, None, "process {}: {:?}", self.id, self.passed);
    }

    pub(super) fn forget(&mut self) {
        self.passed.clear();
    }

    /// SIGKILL, and waits for its end.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn freeze(&mut self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&mut self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Bytes of memory in use.
    pub(super) fn resident(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
    }

    /// Files and sockets it holds.
    pub(super) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// A figure for whoever reads the test's output.
    pub(super) fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "[process {}] {text}", self.id);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
