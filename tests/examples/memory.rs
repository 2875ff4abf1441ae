//! What membership keeps in memory for each member that it keeps track of:
//!
//!     cargo run --release -p lampyrid-tests --example memory -- 100 1000 2000
//!
//! So many copies of one process's core, with its edges and with views that it shares with nobody,
//! are made in this process, and the growth of its resident anonymous memory is divided by their
//! number. So what the allocator adds is in it. Linux only.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measurement")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_membership::{
    AcceptorState, EdgeCore, EdgeEvent, EdgeInput, EdgeOutput, Input, LinkEvent, MembershipCore,
    Output, Pace, Protocol, Start, View,
};
use lampyrid_wire::{BootNonce, ClusterId, Incarnation, Member, Peer, ProcessId, decode, encode};

/// Of the largest size as many copies as keep this machine's memory small, of others as many as
/// make the growth large beside a page.
const MEMBERS_IN_ALL: usize = 100_000;

/// Simulated time in which edges are probed and answer.
const SPAN: Duration = Duration::from_secs(3);

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|it| it.parse().expect("sizes")).collect();
    let sizes = if sizes.is_empty() { vec![100, 1_000, 2_000] } else { sizes };
    println!("| members | bytes a process | more for each member more |");
    println!("| --- | --- | --- |");
    let mut all = Vec::new();
    let mut last: Option<(usize, f64)> = None;
    for size in sizes {
        let copies = (MEMBERS_IN_ALL / size).max(1);
        let views = Views::of(size);
        let before = resident();
        all.extend((0..copies).map(|at| Process::start(&views, at % size)));
        let bytes = (resident() - before) * 1_024.0 / copies as f64;
        let slope = last.map(|(less, fewer)| (bytes - fewer) / (size - less) as f64);
        let slope = slope.map_or(String::new(), |slope| format!("{slope:.0}"));
        println!("| {size} | {bytes:.0} | {slope} |");
        last = Some((size, bytes));
    }
    let steps: usize = all.iter().map(|process| process.edges.len()).sum();
    eprintln!("{} processes with {steps} edges were alive", all.len());
}

/// Two views of one cluster, the second as it is after somebody has started again.
struct Views {
    before: View,
    now: View,
}

impl Views {
    fn of(size: usize) -> Self {
        let mut members: Vec<Member> = (0..size).map(member).collect();
        let first = View::first(ClusterId::from_u128(7), "lampyrid", members[0].clone());
        let before = first.successor(members.clone()).expect("different processes");
        members[0].incarnation = Incarnation(2);
        let now = before.successor(members).expect("different processes");
        Self { before, now }
    }
}

fn member(at: usize) -> Member {
    Member {
        process: ProcessId::random(),
        incarnation: Incarnation(1),
        name: format!("node-{at}"),
        address: ([10, 0, (at >> 8) as u8, at as u8], 41_001).into(),
        admin: Some("http://127.0.0.1:41002".to_owned()),
    }
}

fn peer(member: &Member) -> Peer {
    Peer { process: member.process, incarnation: member.incarnation, nonce: BootNonce(1) }
}

/// Its own copy, as if it had come over the wire.
fn copy(view: &View) -> Arc<View> {
    Arc::new(decode(&encode(view).expect("a view")).expect("a view"))
}

/// One process that has installed both views, one after the other, and observes its subjects.
struct Process {
    core: MembershipCore,
    edges: BTreeMap<ProcessId, EdgeCore>,
    attempt: u64,
}

impl Process {
    fn start(views: &Views, at: usize) -> Self {
        let now = Duration::from_secs(1);
        let me = views.now.members()[at].clone();
        let mut state = AcceptorState::new(me.process, me.incarnation);
        state.cluster = Some(views.before.cluster());
        state.view = Some(copy(&views.before));
        let start = Start {
            me,
            nonce: BootNonce(2),
            cluster_name: "lampyrid".to_owned(),
            seeds: Vec::new(),
            found: None,
            jitter: 1,
            sessions: Vec::new(),
        };
        let mut out = Vec::new();
        let core = MembershipCore::new(now, start, state, None, &mut out);
        let mut process = Self { core, edges: BTreeMap::new(), attempt: 0 };
        process.perform(now, out);
        let topology = views.now.topology();
        let seat = u16::try_from(at).expect("a small view");
        let neighbours: Vec<Peer> = topology
            .neighbours(seat)
            .iter()
            .map(|&place| peer(&views.now.members()[usize::from(place)]))
            .collect();
        for &peer in &neighbours {
            process.step(now, Input::Link(LinkEvent::Up(peer)));
        }
        let stamp = Some(views.now.stamp());
        for &from in &neighbours {
            let message = Box::new(Protocol::View(copy(&views.now)));
            process.step(now, Input::Received { from, stamp, message });
        }
        process.pass(now, &neighbours, stamp);
        assert_eq!(process.core.durable().view.as_deref(), Some(&views.now), "it is installed");
        process
    }

    /// Time passes: probes are sent and answered, those of others come in.
    fn pass(
        &mut self,
        start: Duration,
        neighbours: &[Peer],
        stamp: Option<lampyrid_membership::Stamp>,
    ) {
        let mut now = start;
        let mut sequence = 0;
        while now < start + SPAN {
            now += Pace::default().every;
            sequence += 1;
            for &from in neighbours {
                let message = Box::new(Protocol::Probe { sequence, attempt: 0 });
                self.step(now, Input::Received { from, stamp, message });
            }
            for subject in self.edges.keys().copied().collect::<Vec<_>>() {
                self.edge(now, subject, EdgeInput::Wake);
            }
            self.step(now, Input::Wake);
        }
    }

    fn step(&mut self, now: Duration, input: Input) {
        let mut out = Vec::new();
        self.core.step(now, input, &mut out);
        self.perform(now, out);
    }

    fn perform(&mut self, now: Duration, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Watch { attempt, subjects } => {
                    self.attempt = attempt;
                    let mut before = std::mem::take(&mut self.edges);
                    for subject in subjects {
                        let process = subject.member.process;
                        let known = before.remove(&process);
                        let new = || EdgeCore::new(now, true, Pace::default(), &mut Vec::new());
                        self.edges.insert(process, known.unwrap_or_else(new));
                    }
                }
                Output::Edge { subject, input } => self.edge(now, subject, input),
                _ => {}
            }
        }
    }

    /// A step of an edge whose subject answers at once.
    fn edge(&mut self, now: Duration, subject: ProcessId, input: EdgeInput) {
        let mut next = vec![input];
        while let Some(input) = next.pop() {
            let Some(edge) = self.edges.get_mut(&subject) else { return };
            let mut out = Vec::new();
            edge.step(now, input, &mut out);
            let round_trip = edge.round_trip();
            for output in out {
                match output {
                    EdgeOutput::Probe(sequence) => next.push(EdgeInput::Answer(sequence)),
                    EdgeOutput::Verdict(verdict) => {
                        let (attempt, event) =
                            (self.attempt, EdgeEvent::Verdict(verdict, round_trip));
                        self.step(now, Input::Edge { subject, attempt, event });
                    }
                    EdgeOutput::Connect(_) => {}
                }
            }
        }
    }
}

/// This process's own memory, in KiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let figure = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
    figure.expect("a figure in kB")
}
