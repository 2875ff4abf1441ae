use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use lampyrid_membership::sim::Network;

use crate::lists::Lists;
use crate::meter::Meter;

/// One process of a membership protocol, without clock or network.
pub(crate) trait Process {
    /// What it wants to be woken for.
    type Timer;

    /// It starts.
    fn start(&mut self, now: Duration, out: &mut Effects<Self::Timer>);

    /// A message from another place arrived.
    fn receive(
        &mut self,
        now: Duration,
        from: usize,
        payload: &Bytes,
        out: &mut Effects<Self::Timer>,
    );

    /// A timer it asked for is due.
    fn wake(&mut self, now: Duration, timer: Self::Timer, out: &mut Effects<Self::Timer>);
}

/// What a process wants done after one event.
pub(crate) struct Effects<T> {
    /// Messages: to whom, and the bytes.
    pub(crate) sends: Vec<(usize, Bytes)>,
    /// After how long to wake it, and for what.
    pub(crate) timers: Vec<(Duration, T)>,
    /// Who came into its list (true) or left it (false), in order.
    pub(crate) changes: Vec<(usize, bool)>,
}

enum Happening<T> {
    Start,
    Deliver(usize, Bytes),
    Wake(T),
}

struct Event<T> {
    at: Duration,
    serial: u64,
    place: usize,
    what: Happening<T>,
}

/// Processes of one protocol and the network between them, in virtual time.
pub(crate) struct Engine<P: Process> {
    now: Duration,
    serial: u64,
    queue: BinaryHeap<Event<P::Timer>>,
    /// False: not started yet, or dead.
    running: Vec<bool>,
    processes: Vec<P>,
    effects: Effects<P::Timer>,
    /// What lies between them.
    pub(crate) network: Network,
    /// Who sees whom.
    pub(crate) lists: Lists,
    /// What was sent.
    pub(crate) meter: Meter,
}

impl<P: Process> Engine<P> {
    /// Processes with the moments they start at. Everybody is expected in the list.
    pub(crate) fn new(network: Network, processes: Vec<(Duration, P)>) -> Self {
        let count = processes.len();
        let mut engine = Self {
            now: Duration::ZERO,
            serial: 0,
            queue: BinaryHeap::new(),
            running: vec![false; count],
            processes: Vec::with_capacity(count),
            effects: Effects { sends: Vec::new(), timers: Vec::new(), changes: Vec::new() },
            network,
            lists: Lists::new(count),
            meter: Meter::new(count),
        };
        for (place, (at, process)) in processes.into_iter().enumerate() {
            engine.processes.push(process);
            engine.push(at, place, Happening::Start);
        }
        engine
    }

    /// Virtual time.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// The process ends here, without a word.
    pub(crate) fn crash(&mut self, place: usize) {
        self.running[place] = false;
        self.meter.stop(place);
        self.lists.dead(place);
    }

    /// Lets time pass.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.one(end) {}
        self.now = end;
        self.meter.advance(end);
    }

    /// Lets time pass until all that live have the one right list; the moment, unless it was not so
    /// by `end`.
    pub(crate) fn run_until_agreed(&mut self, end: Duration) -> Option<Duration> {
        self.run_while(end, |lists| !lists.agreed())
    }

    /// Lets time pass as long as the lists are so; the moment they are not, unless it does not come
    /// by `end`.
    pub(crate) fn run_while(
        &mut self,
        end: Duration,
        so: impl Fn(&Lists) -> bool,
    ) -> Option<Duration> {
        while so(&self.lists) {
            if !self.one(end) {
                self.now = end;
                self.meter.advance(end);
                return None;
            }
        }
        Some(self.now)
    }

    /// The next event, if it comes by then.
    fn one(&mut self, end: Duration) -> bool {
        if self.queue.peek().is_none_or(|event| event.at > end) {
            return false;
        }
        let Some(Event { at, place, what, .. }) = self.queue.pop() else { return false };
        self.now = at;
        self.meter.advance(at);
        let process = &mut self.processes[place];
        match what {
            Happening::Start => {
                self.running[place] = true;
                self.meter.start(place);
                self.lists.started(place);
                process.start(at, &mut self.effects);
            }
            Happening::Deliver(..) | Happening::Wake(_) if !self.running[place] => return true,
            Happening::Deliver(from, payload) => {
                self.meter.received(place);
                process.receive(at, from, &payload, &mut self.effects);
            }
            Happening::Wake(timer) => process.wake(at, timer, &mut self.effects),
        }
        self.perform(place);
        true
    }

    fn perform(&mut self, place: usize) {
        if !self.effects.changes.is_empty() {
            self.lists.change(place, self.effects.changes.drain(..));
        }
        let mut sends = std::mem::take(&mut self.effects.sends);
        for (to, payload) in sends.drain(..) {
            self.meter.sent(place, payload.len());
            if self.network.delivers(self.now, place, to) {
                let at = self.now + self.network.latency(place, to);
                self.push(at, to, Happening::Deliver(place, payload));
            }
        }
        self.effects.sends = sends;
        let mut timers = std::mem::take(&mut self.effects.timers);
        for (delay, timer) in timers.drain(..) {
            self.push(self.now + delay, place, Happening::Wake(timer));
        }
        self.effects.timers = timers;
    }

    fn push(&mut self, at: Duration, place: usize, what: Happening<P::Timer>) {
        self.serial += 1;
        self.queue.push(Event { at, serial: self.serial, place, what });
    }
}

// The heap gives the greatest first; the earliest has to be it.
impl<T> Ord for Event<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl<T> PartialOrd for Event<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Event<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Event<T> {}
