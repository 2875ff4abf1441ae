//! Ten thousand open sagas on both sides of a crash: how much work their recovery is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, EntityId, Epoch, Incarnation, OwnershipEpoch, Peer, ProcessId,
    SagaId, StageId, Term, ViewId,
};

use crate::{
    Core, CoreConfig, Delivery, Effect, EntityRow, Image, Input, Limits, Membership, Message,
    PartEntity, PartId, PartPhase, PartRow, SagaRow, Snapshot, StagingRow, Step,
};

const SOURCE: ProcessId = ProcessId::from_u128(1);
const DESTINATION: ProcessId = ProcessId::from_u128(2);
const HERE: BubbleId = BubbleId::from_u128(10);
const THERE: BubbleId = BubbleId::from_u128(20);

fn term() -> Term {
    Term { cluster: ClusterId::from_u128(1), epoch: Epoch(1), view: ViewId([1; 32]) }
}

/// What each of both sides has of one saga of one entity.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    /// PREPARE alone; STAGE never came.
    Prepare,
    /// PREPARE there, STAGE here.
    Stage,
    /// COMMIT there, STAGE here.
    Commit,
    /// COMMIT there, ACTIVATE here.
    Activate,
}

/// Adds one open saga to the rows of both.
fn open(source: &mut Image, destination: &mut Image, n: u128, left: Left) {
    let (id, saga, stage) = (EntityId::from_u128(n), SagaId::from_u128(n), StageId::from_u128(n));
    let part = PartId { source: SOURCE, saga, part: 0 };
    let copy = Snapshot { id, epoch: OwnershipEpoch(1), state: Bytes::from(vec![7; 256]) };
    let decided = matches!(left, Left::Commit | Left::Activate);
    let row = SagaRow {
        to: THERE,
        view_epoch: Epoch(1),
        entities: vec![id],
        refused: Vec::new(),
        key: None,
    };
    source.sagas.insert(saga, Arc::new(row));
    let phase = match decided {
        true => PartPhase::Committed { stage, snapshots: vec![copy.clone()] },
        false => PartPhase::Prepared,
    };
    let row = PartRow {
        to: THERE,
        destination: DESTINATION,
        destination_incarnation: Incarnation(1),
        source_incarnation: Incarnation(1),
        view: term(),
        entities: vec![PartEntity { id, bubble: HERE, epoch: OwnershipEpoch(0) }],
        refused: Vec::new(),
        phase,
        adoptable: false,
    };
    source.parts.insert(part, Arc::new(row));
    if !decided {
        let state = Some(copy.state.clone());
        source.entities.insert(id, EntityRow { bubble: HERE, epoch: OwnershipEpoch(0), state });
    }
    match left {
        Left::Prepare => {}
        Left::Stage | Left::Commit => {
            let entities = vec![copy];
            let row = StagingRow { stage, to: THERE, entities, refused: Vec::new() };
            destination.stagings.insert(part, Arc::new(row));
        }
        Left::Activate => {
            let entities = vec![(id, copy.epoch)];
            let row = crate::ActivationRow { stage, entities };
            destination.activations.insert(part, Arc::new(row));
            let state = Some(copy.state);
            let row = EntityRow { bubble: THERE, epoch: copy.epoch, state };
            destination.entities.insert(id, row);
        }
    }
}

/// Both cores, what is on its way between them, and what was done.
struct Pair {
    cores: Vec<Core>,
    now: Duration,
    way: VecDeque<(usize, Message)>,
    steps: usize,
    messages: usize,
    records: usize,
}

impl Pair {
    fn recover(images: [Image; 2]) -> Self {
        let mut pair = Self {
            cores: Vec::new(),
            now: Duration::ZERO,
            way: VecDeque::new(),
            steps: 0,
            messages: 0,
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
                self.messages += 1;
                self.way.push_back((1 - at, message));
                if let Some(attempt) = report {
                    self.input(at, Input::Sent(attempt, Delivery::Sent));
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
fn recover(sagas: u128, kinds: &[Left]) -> (Pair, Duration, Duration) {
    let (mut source, mut destination) = (Image::default(), Image::default());
    source.bubbles.insert(HERE);
    destination.bubbles.insert(THERE);
    for n in 0..sagas {
        open(&mut source, &mut destination, n + 1, kinds[n as usize % kinds.len()]);
    }
    let began = Instant::now();
    let mut pair = Pair::recover([source, destination]);
    let local = began.elapsed();
    pair.run();
    (pair, local, began.elapsed())
}

#[test]
fn ten_thousand_open_sagas_are_recovered_with_a_bounded_amount_of_work_each() {
    const SAGAS: usize = 10_000;
    for (name, kinds) in [
        ("PREPARE alone", &[Left::Prepare][..]),
        ("STAGE alone", &[Left::Stage]),
        ("COMMIT without END", &[Left::Commit]),
        ("mixed", &[Left::Prepare, Left::Stage, Left::Commit, Left::Activate]),
    ] {
        let (pair, local, all) = recover(SAGAS as u128, kinds);
        let Pair { cores, steps, messages, records, .. } = pair;
        eprintln!(
            "{name}: local part {local:?}, everything {all:?}; {steps} steps, {messages} messages, \
             {records} records"
        );
        assert!(steps <= 5 * SAGAS, "{name}: {steps} steps");
        assert!(messages <= 3 * SAGAS, "{name}: {messages} messages");
        assert!(records <= 3 * SAGAS, "{name}: {records} records");
        let decided = |kind: &&Left| matches!(kind, Left::Commit | Left::Activate);
        let moved = SAGAS * kinds.iter().filter(decided).count() / kinds.len();
        let there = cores.iter().map(|core| core.image().entities.len());
        assert_eq!(there.collect::<Vec<_>>(), [SAGAS - moved, moved], "{name}");
        assert!(cores.iter().all(Core::is_idle), "{name}");
        let frozen = |core: &Core| core.audit().frozen + core.audit().staged;
        assert_eq!(cores.iter().map(frozen).sum::<u64>(), 0, "{name}");
    }
}
