//! Ten thousand open sagas on both sides of a crash: how much work their recovery is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, Epoch, Incarnation, Peer, ProcessId, Term, ViewId,
};

use crate::testkit::{LeftOpen, OpenSagas};
use crate::{Core, CoreConfig, Delivery, Effect, Image, Input, Limits, Membership, Message, Step};

const SOURCE: ProcessId = ProcessId::from_u128(1);
const DESTINATION: ProcessId = ProcessId::from_u128(2);

fn term() -> Term {
    Term { cluster: ClusterId::from_u128(1), epoch: Epoch(1), view: ViewId([1; 32]) }
}

/// Frames that the links take for a peer before it has read them.
const LINK_WINDOW: usize = 256;

/// Both cores, what is on its way between them, and what was done.
struct Pair {
    cores: Vec<Core>,
    now: Duration,
    way: VecDeque<(usize, Message)>,
    /// Messages on their way to each.
    unread: [usize; 2],
    steps: usize,
    messages: usize,
    /// Messages that found the window of the links full.
    stalled: usize,
    records: usize,
}

impl Pair {
    fn recover(images: [Image; 2]) -> Self {
        let mut pair = Self {
            cores: Vec::new(),
            now: Duration::ZERO,
            way: VecDeque::new(),
            unread: [0; 2],
            steps: 0,
            messages: 0,
            stalled: 0,
            records: 0,
        };
        for (at, image) in images.into_iter().enumerate() {
            let config = CoreConfig {
                me: [SOURCE, DESTINATION][at],
                limits: Limits::default(),
                seed: [at as u8; 32],
                host_store: false,
                hooks: false,
                flaw: None,
            };
            let mut step = Step::default();
            pair.cores.push(Core::recover(config, image, pair.now, &mut step));
            pair.note(at, step);
        }
        pair
    }

    fn input(&mut self, at: usize, input: Input) {
        let mut step = Step::default();
        self.cores[at].step(self.now, input, &mut step);
        self.steps += 1;
        self.note(at, step);
    }

    fn note(&mut self, at: usize, step: Step) {
        self.records += step.records.len();
        for effect in step.effects {
            if let Effect::Send { message, report, .. } = effect {
                let full = report.is_some() && self.unread[1 - at] >= LINK_WINDOW;
                if full {
                    self.stalled += 1;
                } else {
                    self.messages += 1;
                    self.unread[1 - at] += 1;
                    self.way.push_back((1 - at, message));
                }
                if let Some(attempt) = report {
                    let delivery = if full { Delivery::WindowFull } else { Delivery::Sent };
                    self.input(at, Input::Sent(attempt, delivery));
                }
            }
        }
    }

    /// Until nothing is under way on either side.
    fn run(&mut self) {
        let members = [(SOURCE, Incarnation(1)), (DESTINATION, Incarnation(1))];
        for at in 0..2 {
            let members = members.into_iter().collect();
            self.input(at, Input::View(Membership { active: true, term: term(), members }));
        }
        loop {
            while let Some((to, message)) = self.way.pop_front() {
                self.unread[to] -= 1;
                let process = [SOURCE, DESTINATION][1 - to];
                let from = Peer { process, incarnation: Incarnation(1), nonce: BootNonce(1) };
                self.input(to, Input::Received { from, term: term(), message });
            }
            let next = self.cores.iter().filter_map(Core::deadline).min();
            let Some(next) = next else { return };
            assert!(next < Duration::from_secs(60), "it does not come to its end");
            self.now = self.now.max(next);
            for at in 0..2 {
                if self.cores[at].deadline().is_some_and(|at| at <= self.now) {
                    self.input(at, Input::Wake);
                }
            }
        }
    }
}

/// Recovers `sagas` open ones of these kinds, by turns; what it took.
fn recover(sagas: u128, kinds: &[LeftOpen]) -> (Pair, Duration, Duration) {
    let both = OpenSagas {
        source: SOURCE,
        destination: DESTINATION,
        here: BubbleId::from_u128(10),
        there: BubbleId::from_u128(20),
        state_bytes: 256,
    };
    let mut images = [Image::default(), Image::default()];
    images[0].bubbles.insert(both.here);
    images[1].bubbles.insert(both.there);
    for n in 0..sagas {
        let records = both.open(n + 1, kinds[n as usize % kinds.len()]);
        for (image, record) in images.iter_mut().zip(&records) {
            record.writes.iter().for_each(|write| image.apply(write));
        }
    }
    let began = Instant::now();
    let mut pair = Pair::recover(images);
    let local = began.elapsed();
    pair.run();
    (pair, local, began.elapsed())
}

#[test]
fn ten_thousand_open_sagas_are_recovered_with_a_bounded_amount_of_work_each() {
    const SAGAS: usize = 10_000;
    for (name, kinds) in [
        ("PREPARE alone", &[LeftOpen::Prepare][..]),
        ("STAGE alone", &[LeftOpen::Stage]),
        ("COMMIT without END", &[LeftOpen::Commit]),
        ("mixed", &[LeftOpen::Prepare, LeftOpen::Stage, LeftOpen::Commit, LeftOpen::Activate]),
    ] {
        let (pair, local, all) = recover(SAGAS as u128, kinds);
        let Pair { cores, steps, messages, stalled, records, now, .. } = pair;
        eprintln!(
            "{name}: local part {local:?}, everything {all:?}, {now:?} of waiting; {steps} steps, \
             {messages} messages, {stalled} more that found no room, {records} records"
        );
        assert!(steps <= 8 * SAGAS, "{name}: {steps} steps");
        assert!(stalled <= 2 * SAGAS, "{name}: {stalled} messages found no room");
        assert!(now <= Duration::from_millis(500), "{name}: {now:?} of waiting");
        assert!(messages <= 3 * SAGAS, "{name}: {messages} messages");
        assert!(records <= 3 * SAGAS, "{name}: {records} records");
        let decided = |kind: &&LeftOpen| matches!(kind, LeftOpen::Commit | LeftOpen::Activate);
        let moved = SAGAS * kinds.iter().filter(decided).count() / kinds.len();
        let there = cores.iter().map(|core| core.image().entities.len());
        assert_eq!(there.collect::<Vec<_>>(), [SAGAS - moved, moved], "{name}");
        assert!(cores.iter().all(Core::is_idle), "{name}");
        let frozen = |core: &Core| core.audit().frozen + core.audit().staged;
        assert_eq!(cores.iter().map(frozen).sum::<u64>(), 0, "{name}");
    }
}
