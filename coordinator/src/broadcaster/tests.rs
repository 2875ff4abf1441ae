use lampyrid_membership::Status;
use lampyrid_registry::Entry;
use lampyrid_wire::{BootNonce, ClusterId, Epoch, Member, Peer};

use super::*;
use crate::{Order, Published};

fn member(number: u128) -> Member {
    Member {
        process: ProcessId::from_u128(number),
        incarnation: Incarnation(1),
        name: String::new(),
        address: "127.0.0.1:1".parse().unwrap(),
        admin: None,
    }
}

fn view(size: u128) -> Arc<View> {
    let first = View::first(ClusterId::from_u128(1), "c", member(1));
    Arc::new(first.successor((1..=size).map(member).collect()).unwrap())
}

/// The broadcaster of one process, beside others that the test plays.
struct Bench {
    core: BroadcasterCore,
    view: Arc<View>,
    now: Duration,
}

impl Bench {
    fn new(size: u128, me: impl Fn(&View) -> ProcessId) -> Self {
        let view = view(size);
        let me = (me(&view), Incarnation(1));
        let standing = Standing { me, status: Status::Active, view: Some(Arc::clone(&view)) };
        let core = BroadcasterCore::new(BroadcasterConfig::default(), standing);
        Self { core, view, now: Duration::ZERO }
    }

    fn coordinator(size: u128) -> Self {
        Self::new(size, View::coordinator)
    }

    fn follower(size: u128) -> Self {
        Self::new(size, |view| {
            let mut ids = view.members().iter().map(|m| m.process);
            ids.find(|&id| id != view.coordinator()).unwrap()
        })
    }

    fn step(&mut self, input: BroadcasterInput) -> Vec<BroadcasterOutput> {
        let mut out = Vec::new();
        self.core.step(self.now, 0, true, input, &mut out);
        out
    }

    fn letter(&mut self, from: ProcessId, message: RegistryWire) -> Vec<BroadcasterOutput> {
        let from = Peer { process: from, incarnation: Incarnation(1), nonce: BootNonce(1) };
        let term = self.view.term();
        self.step(BroadcasterInput::Letter(Letter { from, term, message }))
    }

    fn stored(&mut self, from: ProcessId, sequence: u64) -> Vec<BroadcasterOutput> {
        let version = self.version(sequence);
        self.letter(from, RegistryWire::Stored { version })
    }

    fn version(&self, sequence: u64) -> Version {
        Version { epoch: self.view.epoch(), sequence }
    }

    /// A table in which the line of process n changed with broadcast n.
    fn publish(&mut self, sequence: u64, fresh: bool) -> Vec<BroadcasterOutput> {
        let line = |number: u64| {
            let entry = Entry {
                incarnation: Incarnation(1),
                request: 1,
                bubbles: None,
                claimed: BTreeMap::new(),
            };
            let changed = self.version(number);
            (ProcessId::from_u128(number.into()), Published { entry: Arc::new(entry), changed })
        };
        let table = Arc::new((1..=sequence).map(line).collect());
        let (term, version) = (self.view.term(), self.version(sequence));
        self.step(BroadcasterInput::Publish(Publication { term, version, fresh, table }))
    }

    fn update(&mut self, from: ProcessId, sequence: u64) -> Vec<BroadcasterOutput> {
        let message = RegistryWire::Update(TopologyUpdate {
            term: self.view.term(),
            sequence,
            coordinator: self.view.coordinator(),
            base: None,
            part: 0,
            parts: 1,
            entries: BTreeMap::new(),
            sent_at: 0,
        });
        self.letter(from, message)
    }

    fn ids(&self) -> Vec<ProcessId> {
        self.view.members().iter().map(|m| m.process).collect()
    }
}

/// To whom updates go, with their bases and how many lines they carry.
fn updates(out: &[BroadcasterOutput]) -> Vec<(ProcessId, Option<u64>, usize)> {
    let update = |output: &BroadcasterOutput| match output {
        BroadcasterOutput::Send(to, _, RegistryWire::Update(update)) => {
            Some((*to, update.base.map(|base| base.sequence), update.entries.len()))
        }
        _ => None,
    };
    out.iter().filter_map(update).collect()
}

#[test]
fn everybody_gets_a_full_update_first_and_then_what_changed_since() {
    let mut bench = Bench::coordinator(3);
    let ids = bench.ids();
    let full: Vec<_> = ids.iter().map(|&id| (id, None, 1)).collect();
    assert_eq!(updates(&bench.publish(1, true)), full);
    bench.stored(ids[0], 1);
    bench.stored(ids[1], 1);
    let out = updates(&bench.publish(3, false));
    assert_eq!(out, [(ids[0], Some(1), 2), (ids[1], Some(1), 2), (ids[2], None, 3)]);
    // A delta that does not fit is answered by everything, once.
    let version = bench.version(3);
    let out = bench.letter(ids[0], RegistryWire::NeedFull { version });
    assert_eq!(updates(&out), [(ids[0], None, 3)]);
    assert_eq!(updates(&bench.letter(ids[0], RegistryWire::NeedFull { version })), []);
}

#[test]
fn who_has_not_stored_is_sent_to_again_with_pauses_of_up_to_a_second() {
    let mut bench = Bench::coordinator(2);
    let ids = bench.ids();
    bench.publish(1, true);
    bench.stored(ids[0], 1);
    let mut times = Vec::new();
    while times.len() < 5 {
        bench.now = bench.core.deadline().unwrap();
        assert_eq!(updates(&bench.step(BroadcasterInput::Wake)), [(ids[1], None, 1)]);
        times.push(bench.now.as_millis());
    }
    assert_eq!(times, [200, 600, 1_400, 2_400, 3_400]);
    bench.stored(ids[1], 1);
    assert_eq!(bench.core.deadline(), None, "no timer without work");
}

#[test]
fn a_quorum_is_counted_per_process_and_reported_once() {
    let mut bench = Bench::coordinator(4);
    let ids = bench.ids();
    let coordinator = bench.view.coordinator();
    let others: Vec<_> = ids.into_iter().filter(|&id| id != coordinator).collect();
    bench.publish(1, true);
    assert_eq!(bench.stored(others[0], 1), []);
    assert_eq!(bench.stored(others[0], 1), []);
    assert_eq!(bench.stored(others[1], 1), [], "a half without the tie-breaker");
    let version = bench.version(1);
    assert_eq!(bench.stored(coordinator, 1), [BroadcasterOutput::Acknowledged(version)]);
    assert_eq!(bench.stored(others[2], 1), []);
}

#[test]
fn what_was_stored_before_the_gathering_is_no_base() {
    let mut bench = Bench::coordinator(3);
    let ids = bench.ids();
    bench.publish(2, true);
    bench.publish(5, true);
    bench.stored(ids[0], 4);
    assert_eq!(updates(&bench.publish(6, false))[0], (ids[0], None, 6));
}

#[test]
fn order_is_judged_and_a_repetition_by_the_coordinator_is_stored_again() {
    let mut bench = Bench::follower(3);
    let coordinator = bench.view.coordinator();
    let is_stored = |out: &[BroadcasterOutput]| {
        out.iter().any(|output| matches!(output, BroadcasterOutput::Store(_)))
    };
    let report = |order| BroadcasterOutput::Report(Report::Order(coordinator, order));
    assert!(is_stored(&bench.update(coordinator, 4)));
    let repeated = bench.update(coordinator, 4);
    assert!(is_stored(&repeated) && repeated.contains(&report(Order::Duplicate)));
    let gap = bench.update(coordinator, 7);
    assert!(is_stored(&gap) && gap.contains(&report(Order::Gap(5..=6))));
    assert_eq!(bench.update(coordinator, 6), [report(Order::Reordered)]);
}

#[test]
fn along_the_rings_everybody_is_reached_and_forwards_once() {
    let size = 40;
    let mut coordinator = Bench::coordinator(size);
    let first = coordinator.publish(1, true);
    let direct = updates(&first);
    assert!(direct.len() <= RINGS + 1, "the coordinator sends to itself and its successors");
    let me = coordinator.view.coordinator();
    let mut members: BTreeMap<ProcessId, Bench> =
        coordinator.ids().into_iter().map(|id| (id, Bench::new(size, |_| id))).collect();
    let mut under_way: Vec<(ProcessId, ProcessId)> =
        direct.iter().map(|&(to, _, _)| (me, to)).collect();
    let (mut stored, mut frames) = (BTreeSet::new(), 0);
    while let Some((from, to)) = under_way.pop() {
        frames += 1;
        let out = members.get_mut(&to).unwrap().update(from, 1);
        if out.iter().any(|output| matches!(output, BroadcasterOutput::Store(_))) {
            assert!(stored.insert(to) || from == me, "stored twice at {to}");
        }
        under_way.extend(updates(&out).into_iter().map(|(next, _, _)| (to, next)));
    }
    assert_eq!(stored.len(), 40);
    assert!(frames <= 40 * RINGS + 1, "{frames}");
}

#[test]
fn an_update_of_another_than_the_coordinator_is_ignored() {
    let mut bench = Bench::follower(3);
    let me = bench.core.standing().me.0;
    let message = RegistryWire::Update(TopologyUpdate {
        term: bench.view.term(),
        sequence: 1,
        coordinator: me,
        base: None,
        part: 0,
        parts: 1,
        entries: BTreeMap::new(),
        sent_at: 0,
    });
    assert_eq!(bench.letter(me, message), []);
    assert_eq!(bench.view.epoch(), Epoch(2));
}

#[test]
fn a_member_that_comes_within_reach_gets_again_what_it_was_sent_before_and_nothing_else() {
    let mut bench = Bench::coordinator(3);
    let me = bench.view.coordinator();
    let other = bench.ids().into_iter().find(|&id| id != me).unwrap();
    assert_eq!(bench.step(BroadcasterInput::Reachable(other)), []);
    assert_eq!(updates(&bench.publish(1, true)).len(), 3);
    bench.now += Duration::from_millis(5);
    let out = bench.step(BroadcasterInput::Reachable(other));
    assert_eq!(updates(&out).iter().map(|it| it.0).collect::<Vec<_>>(), [other]);
    bench.stored(other, 1);
    assert_eq!(bench.step(BroadcasterInput::Reachable(other)), []);
    // Along the rings: who is not sent to directly yet is not because a session comes up.
    let mut bench = Bench::coordinator(40);
    let direct: Vec<ProcessId> = updates(&bench.publish(1, true)).iter().map(|it| it.0).collect();
    let later = bench.ids().into_iter().find(|id| !direct.contains(id)).unwrap();
    bench.now += Duration::from_millis(5);
    assert_eq!(bench.step(BroadcasterInput::Reachable(later)), []);
}
