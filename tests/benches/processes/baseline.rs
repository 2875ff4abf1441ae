use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lampyrid_tests::{PATIENCE, proc};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::idle::{Usage, report};
use crate::table;

const PROGRAM: &str = env!("CARGO_BIN_EXE_heartbeat-baseline");

/// A process of the heartbeat; killed when dropped.
struct Beater {
    child: Child,
    lines: Receiver<Value>,
}

impl Beater {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::Null));
            }
        });
        Self { child, lines }
    }

    fn member(address: &str, number: usize) -> Self {
        Self::start(&["member", address, &number.to_string()])
    }

    fn wait(&self, event: &str, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("it prints what is waited for");
            if line["event"] == event && is(&line) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("an own child");
    }

    fn usage(&mut self) -> Usage {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"\n").expect("it listens");
        let bytes = self.wait("bytes", |_| true)["sent"].as_f64().expect("a number");
        let pid = self.child.id();
        let (cpu, resident) = (proc::cpu(pid), proc::resident(pid));
        // All its frames but the lists have one length, and no lists are sent when idle.
        Usage { cpu, resident, messages: bytes / FRAME_BYTES, bytes, link_bytes: bytes }
    }
}

/// A heartbeat or its acknowledgement with its length.
const FRAME_BYTES: f64 = 4.0 + 48.0 + 8.0;

impl Drop for Beater {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Group {
    coordinator: Beater,
    address: String,
    /// By number, from 1.
    members: Vec<Beater>,
}

impl Group {
    fn start(nodes: usize) -> Self {
        let coordinator = Beater::start(&["coordinator"]);
        let listening = coordinator.wait("listening", |_| true);
        let address = listening["address"].as_str().expect("an address").to_owned();
        let members = (1..nodes).map(|number| Beater::member(&address, number)).collect();
        let group = Self { coordinator, address, members };
        group.wait_all(None);
        group
    }

    /// Until the coordinator and all members but one have a list of all but that one.
    fn wait_all(&self, without: Option<usize>) {
        let numbers = (1..=self.members.len()).filter(|&number| Some(number) != without);
        let wanted = json!(numbers.collect::<Vec<_>>());
        let others = self.members.iter().enumerate().filter(|(at, _)| Some(at + 1) != without);
        self.coordinator.wait("list", |line| line["members"] == wanted);
        for (_, member) in others {
            member.wait("list", |line| line["members"] == wanted);
        }
    }
}

/// The same faults and figures, as far as they apply: only members fail, never the coordinator.
pub(crate) fn measure(nodes: usize, repetitions: usize, time: Duration) {
    let mut group = Group::start(nodes);
    let mut killed = Vec::new();
    let mut frozen = Vec::new();
    for turn in 0..repetitions {
        let victim = turn % group.members.len();
        // A heartbeat's moment is not that of the fault: vary the distance.
        std::thread::sleep(Duration::from_millis(turn as u64 * 370 % 1_000));
        let start = Instant::now();
        group.members[victim].signal(Signal::KILL);
        group.wait_all(Some(victim + 1));
        killed.push(start.elapsed());
        group.members[victim] = Beater::member(&group.address, victim + 1);
        group.wait_all(None);
        let start = Instant::now();
        group.members[victim].signal(Signal::STOP);
        group.wait_all(Some(victim + 1));
        frozen.push(start.elapsed());
        // It would not be taken back by itself: the heartbeat is that plain.
        group.members[victim] = Beater::member(&group.address, victim + 1);
        group.wait_all(None);
    }
    table::times("heartbeat: kill -9 of a member to all lists", &mut killed, &[]);
    table::times("heartbeat: freeze of a member to all lists", &mut frozen, &[]);
    let before: Vec<Usage> = group.members.iter_mut().map(Beater::usage).collect();
    let coordinator = group.coordinator.usage();
    std::thread::sleep(time);
    let after: Vec<Usage> = group.members.iter_mut().map(Beater::usage).collect();
    report("heartbeat member", &before, &after, time);
    report("heartbeat coordinator", &[coordinator], &[group.coordinator.usage()], time);
}
