//! One test for each rule of the protocol, on one core at a time: what the other side says is
//! written by hand.

mod bubbles;
mod flaws;

use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, EntityId, Epoch, Incarnation, OwnershipEpoch, Peer, ProcessId,
    SagaId, StageId, Term, ViewId,
};

use crate::STUCK_AFTER;
use crate::{
    CallId, Core, CoreConfig, Delivery, DoubtAnswer, Effect, EntityStatus, Expected, Flaw, Image,
    Input, Limits, Membership, Message, MigrateRequest, NewEntities, Outcome, PartId, PartPhase,
    Reason, RecordKind, Reply, Request, SagaReport, SagaState, Snapshot, Step, Write,
};

const ME: ProcessId = ProcessId::from_u128(1);
const OTHER: ProcessId = ProcessId::from_u128(2);
const HERE: BubbleId = BubbleId::from_u128(10);
const ALSO_HERE: BubbleId = BubbleId::from_u128(11);
const THERE: BubbleId = BubbleId::from_u128(20);

/// One core, its journal, and everything it did in the last step.
struct Bench {
    core: Core,
    now: Duration,
    epoch: u64,
    calls: u64,
    kinds: Vec<RecordKind>,
    writes: usize,
    sent: Vec<Message>,
    replies: Vec<Reply>,
    alarms: usize,
    delivery: Delivery,
    stale: usize,
    /// The last attempt that was made.
    attempt: u32,
}

fn config(flaw: Option<Flaw>) -> CoreConfig {
    let out_share = usize::MAX;
    let limits = Limits { in_entities: 4, out_entities: 4, out_share, ..Limits::default() };
    CoreConfig { me: ME, limits, seed: [3; 32], host_store: false, hooks: false, flaw }
}

fn view(epoch: u64, other: Option<u64>) -> Membership {
    let mut members = vec![(ME, Incarnation(1))];
    members.extend(other.map(|incarnation| (OTHER, Incarnation(incarnation))));
    let cluster = ClusterId::from_u128(1);
    let term = Term { cluster, epoch: Epoch(epoch), view: ViewId([epoch as u8; 32]) };
    Membership { active: true, term, members: members.into_iter().collect() }
}

fn other(incarnation: u64) -> Peer {
    Peer { process: OTHER, incarnation: Incarnation(incarnation), nonce: BootNonce(1) }
}

fn entity(n: u128) -> EntityId {
    EntityId::from_u128(n)
}

fn copy(n: u128, epoch: u64) -> Snapshot {
    let state = Bytes::from_static(b"theirs");
    Snapshot { id: entity(n), epoch: OwnershipEpoch(epoch), state }
}

/// A part of a saga of the other process.
fn theirs(n: u128) -> PartId {
    PartId { source: OTHER, saga: SagaId::from_u128(n), part: 0 }
}

impl Bench {
    fn new() -> Self {
        Self::with(None)
    }

    fn with(flaw: Option<Flaw>) -> Self {
        let mut bench = Self::over(Image::default(), flaw);
        bench.give(Input::View(view(1, Some(1))));
        bench.ask(Request::CreateBubble(Some(HERE)));
        bench.ask(Request::CreateBubble(Some(ALSO_HERE)));
        bench
    }

    fn over(image: Image, flaw: Option<Flaw>) -> Self {
        let mut step = Step::default();
        let core = Core::recover(config(flaw), image, Duration::ZERO, &mut step);
        let mut bench = Self {
            core,
            now: Duration::ZERO,
            epoch: 1,
            calls: 0,
            kinds: Vec::new(),
            writes: 0,
            sent: Vec::new(),
            replies: Vec::new(),
            alarms: 0,
            delivery: Delivery::Sent,
            stale: 0,
            attempt: 0,
        };
        bench.note(step);
        bench
    }

    /// The same disk under a new core, in the same view.
    fn restart(&mut self) {
        self.restart_with(None);
    }

    fn restart_with(&mut self, flaw: Option<Flaw>) {
        let epoch = self.epoch;
        *self = Self::over(self.core.image().clone(), flaw);
        self.core.mint_from([4; 32]);
        self.epoch = epoch;
    }

    fn note(&mut self, step: Step) {
        self.kinds = step.records.iter().map(|record| record.kind).collect();
        self.writes = step.records.iter().map(|record| record.writes.len()).sum();
        self.sent.clear();
        self.replies.clear();
        let mut reports = Vec::new();
        for effect in step.effects {
            match effect {
                Effect::Send { message, report, .. } => {
                    self.attempt = report.map_or(self.attempt, |attempt| attempt.number);
                    reports.extend(report);
                    self.sent.push(message.unnumbered());
                }
                Effect::Reply(_, reply) => self.replies.push(reply),
                Effect::Alarm(..) => self.alarms += 1,
                Effect::Stale(..) => self.stale += 1,
                Effect::Store(_) | Effect::Measured(..) => {}
                Effect::AskHook(..) | Effect::Moved(_) => {}
                Effect::SagaChanged(_) => {}
                Effect::Hosting | Effect::FindHosts(_) | Effect::Barred(_) | Effect::Drained => {}
            }
        }
        for attempt in reports {
            let mut step = Step::default();
            self.core.step(self.now, Input::Sent(attempt, self.delivery), &mut step);
        }
        assert!(self.core.counts_hold());
    }

    fn give(&mut self, input: Input) {
        let mut step = Step::default();
        self.core.step(self.now, input, &mut step);
        self.note(step);
    }

    fn hear(&mut self, message: Message) {
        let term = view(self.epoch, None).term;
        self.give(Input::Received { from: other(1), term, message });
    }

    fn view(&mut self, other: Option<u64>) {
        self.epoch += 1;
        self.give(Input::View(view(self.epoch, other)));
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.give(Input::Wake);
    }

    fn ask(&mut self, request: Request) -> Option<Reply> {
        self.calls += 1;
        self.give(Input::Request(CallId(self.calls), request));
        self.replies.first().cloned()
    }

    fn create(&mut self) -> EntityId {
        let state = Bytes::from_static(b"mine");
        let request = Request::Create { bubble: HERE, new: NewEntities::One(None), state };
        match self.ask(request) {
            Some(Reply::Created(Ok(ids))) => ids[0],
            reply => panic!("{reply:?}"),
        }
    }

    fn try_move(&mut self, ids: &[EntityId], to: BubbleId) -> Result<SagaId, Reason> {
        let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
        let request = MigrateRequest { entities, to, idempotency_key: None };
        match self.ask(Request::Migrate { request, host: (to == THERE).then_some(OTHER) }) {
            Some(Reply::Saga(answer)) => answer.map_err(|error| error.0),
            // The answer follows the effects of the saga's first steps.
            _ => match self.replies.iter().find_map(|reply| match reply {
                Reply::Saga(answer) => Some(answer.clone()),
                _ => None,
            }) {
                Some(answer) => answer.map_err(|error| error.0),
                None => panic!("no answer"),
            },
        }
    }

    /// Starts to move; the part that was prepared.
    fn prepare(&mut self, ids: &[EntityId]) -> PartId {
        let saga = self.try_move(ids, THERE).unwrap();
        assert_eq!(self.kinds, [RecordKind::Admit, RecordKind::Prepare]);
        PartId { source: ME, saga, part: 0 }
    }

    fn staged(&mut self, part: PartId, stage: u128, accepted: &[EntityId]) {
        let stage = Some(StageId::from_u128(stage));
        let accepted = accepted.to_vec();
        let attempt = self.attempt;
        self.hear(Message::Staged { part, attempt, stage, accepted, refused: vec![] });
    }

    fn activated(&mut self, part: PartId, stage: u128) {
        let (attempt, stage) = (Some(self.attempt), StageId::from_u128(stage));
        self.hear(Message::Activated { part, attempt, stage });
    }

    fn stage_only(&mut self, part: PartId, entities: Vec<Snapshot>) {
        self.hear(Message::Stage { part, attempt: 0, to: HERE, entities });
    }

    /// The other process stages copies here; the staging's name.
    fn stage(&mut self, part: PartId, entities: Vec<Snapshot>) -> Option<StageId> {
        self.stage_only(part, entities);
        match self.sent.first() {
            Some(Message::Staged { stage, .. }) => *stage,
            sent => panic!("{sent:?}"),
        }
    }

    fn commit(&mut self, part: PartId, stage: StageId, ids: &[EntityId]) {
        self.hear(Message::Commit { part, attempt: 1, stage, entities: ids.to_vec() });
    }

    fn doubts(&mut self, part: PartId) -> DoubtAnswer {
        self.hear(Message::Doubt { parts: vec![part] });
        match self.sent.first() {
            Some(Message::DoubtAnswers { answers }) => answers[0].1.clone(),
            sent => panic!("{sent:?}"),
        }
    }

    fn report(&mut self, saga: SagaId) -> SagaReport {
        match self.ask(Request::Saga(saga)) {
            Some(Reply::Report(Some(report))) => report,
            reply => panic!("{reply:?}"),
        }
    }

    fn refusal(&mut self, request: Request) -> Reason {
        match self.ask(request) {
            Some(Reply::Entity(Err(error))) => error.reason,
            reply => panic!("{reply:?}"),
        }
    }

    fn is_staged(&self, part: PartId) -> bool {
        self.core.image().stagings.contains_key(&part)
    }

    fn owns(&self, id: EntityId) -> bool {
        self.core.image().entities.contains_key(&id)
    }
}

#[test]
fn from_prepare_on_the_entity_serves_no_write() {
    let mut bench = Bench::new();
    let id = bench.create();
    bench.prepare(&[id]);
    let moving = Reason::AlreadyMoving { to: THERE };
    assert_eq!(bench.refusal(Request::Put(id, Bytes::new())), moving);
    assert_eq!(bench.refusal(Request::Delete(id)), moving);
    let Some(Reply::Entity(Ok(record))) = bench.ask(Request::Get(id)) else { panic!() };
    assert_eq!(record.status, EntityStatus::Frozen);
}

#[test]
fn the_decision_removes_the_row_and_is_recorded_in_one_transaction() {
    let mut bench = Bench::new();
    let id = bench.create();
    let part = bench.prepare(&[id]);
    bench.staged(part, 1, &[id]);
    assert_eq!(bench.kinds, [RecordKind::Commit]);
    assert!(!bench.owns(id));
    let phase = &bench.core.image().parts[&part].phase;
    assert!(matches!(phase, PartPhase::Committed { snapshots, .. } if snapshots.len() == 1));
    assert_eq!(
        bench.sent,
        [Message::Commit { part, attempt: 0, stage: StageId::from_u128(1), entities: vec![id] }]
    );
}

#[test]
fn activate_makes_the_entity_live_and_records_the_outcome_in_one_transaction() {
    let mut bench = Bench::new();
    let stage = bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    assert!(!bench.owns(entity(5)));
    bench.commit(theirs(1), stage, &[entity(5)]);
    assert_eq!(bench.kinds, [RecordKind::Activate]);
    assert_eq!(bench.core.image().entities[&entity(5)].epoch, OwnershipEpoch(3));
    assert!(bench.core.image().activations.contains_key(&theirs(1)));
    assert_eq!(bench.sent, [Message::Activated { part: theirs(1), attempt: None, stage }]);
}

#[test]
fn the_end_comes_after_the_acknowledgement_and_only_then_is_it_reported() {
    let mut bench = Bench::new();
    let id = bench.create();
    let part = bench.prepare(&[id]);
    bench.staged(part, 1, &[id]);
    assert_eq!(bench.report(part.saga).entities[0].outcome, Outcome::Pending);
    bench.pass(1_000);
    assert_eq!(bench.report(part.saga).state, SagaState::InDoubt);
    bench.activated(part, 9);
    assert!(bench.kinds.is_empty(), "of another staging");
    bench.activated(part, 1);
    assert_eq!(bench.kinds, [RecordKind::End]);
    let report = bench.report(part.saga);
    assert_eq!(report.state, SagaState::Done);
    assert_eq!(report.entities[0].outcome, Outcome::Committed { epoch: OwnershipEpoch(1) });
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn a_message_waits_for_the_record_of_its_own_step() {
    // STAGE is an effect of the step that records PREPARE, and so for all others: the shell keeps
    // the effects of a step until its records are durable.
    let mut bench = Bench::new();
    let id = bench.create();
    bench.prepare(&[id]);
    assert!(matches!(bench.sent[..], [Message::Stage { .. }]));
    bench.stage(theirs(1), vec![copy(5, 1)]);
    assert_eq!(bench.kinds, [RecordKind::Stage]);
}

#[test]
fn everything_is_idempotent_by_the_name_of_the_part() {
    let mut bench = Bench::new();
    let stage = bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    for _ in 0..3 {
        assert_eq!(bench.stage(theirs(1), vec![copy(5, 3)]), Some(stage));
        assert!(bench.kinds.is_empty());
    }
    for repeated in 0..3 {
        bench.commit(theirs(1), stage, &[entity(5)]);
        assert_eq!(bench.kinds.is_empty(), repeated > 0);
        assert_eq!(bench.sent, [Message::Activated { part: theirs(1), attempt: None, stage }]);
    }
    assert_eq!(bench.stage(theirs(1), vec![copy(5, 3)]), Some(stage));
    assert!(bench.kinds.is_empty());
}

#[test]
fn staged_and_discarded_copies_never_count_as_seen() {
    let mut bench = Bench::new();
    bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    bench.hear(Message::Abort { part: theirs(1) });
    assert_eq!(bench.kinds, [RecordKind::Discard]);
    assert!(bench.stage(theirs(2), vec![copy(5, 3)]).is_some(), "an aborted number is used again");
}

#[test]
fn what_was_active_at_that_epoch_or_later_is_not_staged_again() {
    let mut bench = Bench::new();
    let stage = bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    bench.commit(theirs(1), stage, &[entity(5)]);
    assert_eq!(bench.stage(theirs(2), vec![copy(5, 4)]), None, "it is active here");
    let part = bench.prepare(&[entity(5)]);
    bench.staged(part, 9, &[entity(5)]);
    assert_eq!(bench.stage(theirs(3), vec![copy(5, 3)]), None, "it was active here at 3");
    assert!(bench.stage(theirs(4), vec![copy(5, 5)]).is_some(), "it comes back");
}

#[test]
fn a_higher_epoch_discards_a_lower_copy_and_an_equal_one_never_replaces() {
    let mut bench = Bench::new();
    bench.stage(theirs(1), vec![copy(5, 3), copy(6, 3)]).unwrap();
    assert_eq!(bench.stage(theirs(2), vec![copy(5, 3)]), None);
    assert!(bench.is_staged(theirs(1)));
    bench.stage(theirs(3), vec![copy(5, 4)]).unwrap();
    assert_eq!(bench.core.image().stagings[&theirs(1)].entities, [copy(6, 3)]);
    bench.stage(theirs(4), vec![copy(6, 4)]).unwrap();
    assert!(!bench.is_staged(theirs(1)));
}

#[test]
fn a_late_pair_of_old_messages_revives_nothing() {
    let mut bench = Bench::new();
    let old = bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    bench.hear(Message::Abort { part: theirs(1) });
    let new = bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    assert_ne!(old, new);
    bench.commit(theirs(1), old, &[entity(5)]);
    assert_eq!(bench.sent, [Message::UnknownStage { part: theirs(1), stage: old }]);
    assert!(!bench.owns(entity(5)));
}

#[test]
fn a_staged_copy_does_not_end_by_time_view_retirement_or_restart() {
    let mut bench = Bench::new();
    let stage = bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    bench.pass(600_000);
    bench.view(None);
    bench.pass(600_000);
    assert_eq!(bench.ask(Request::RetireBubble(HERE)), {
        Some(Reply::Bubbles(Err(Reason::BubbleNotEmpty)))
    });
    bench.restart();
    assert!(bench.is_staged(theirs(1)));
    assert_eq!(bench.core.deadline(), None, "nobody can be asked");
    bench.view(Some(1));
    assert_eq!(bench.sent, [Message::Doubt { parts: vec![theirs(1)] }]);
    let committed = DoubtAnswer::Committed { stage, entities: vec![entity(5)] };
    bench.hear(Message::DoubtAnswers { answers: vec![(theirs(1), committed)] });
    assert_eq!(bench.kinds, [RecordKind::Activate]);
}

#[test]
fn unknown_means_discard_and_undecided_means_keep() {
    let mut bench = Bench::new();
    bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    let answers = vec![(theirs(1), DoubtAnswer::Undecided)];
    bench.hear(Message::DoubtAnswers { answers });
    assert!(bench.is_staged(theirs(1)));
    let answers = vec![(theirs(1), DoubtAnswer::Unknown)];
    bench.hear(Message::DoubtAnswers { answers });
    assert!(!bench.is_staged(theirs(1)));
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn a_decided_part_is_sent_again_pauses_without_its_destination_and_resumes() {
    let mut bench = Bench::new();
    let id = bench.create();
    let part = bench.prepare(&[id]);
    bench.staged(part, 1, &[id]);
    let commit =
        Message::Commit { part, attempt: 0, stage: StageId::from_u128(1), entities: vec![id] };
    bench.pass(1_000);
    assert_eq!(bench.sent.first(), Some(&commit));
    bench.view(None);
    assert_eq!(bench.core.deadline(), None, "paused");
    bench.pass(600_000);
    assert!(bench.sent.is_empty() && bench.kinds.is_empty());
    bench.view(Some(2));
    assert_eq!(bench.sent.first(), Some(&commit), "to any life of that process");
    bench.restart();
    assert!(!bench.owns(id));
    bench.view(Some(2));
    assert_eq!(bench.sent, [commit]);
}

#[test]
fn undecided_is_never_unknown_and_aborted_is_unknown() {
    let mut bench = Bench::new();
    let id = bench.create();
    let part = bench.prepare(&[id]);
    assert_eq!(bench.doubts(part), DoubtAnswer::Undecided);
    let other = PartId { source: ME, saga: SagaId::from_u128(77), part: 0 };
    assert_eq!(bench.doubts(other), DoubtAnswer::Unknown);
    bench.staged(part, 1, &[id]);
    let committed = DoubtAnswer::Committed { stage: StageId::from_u128(1), entities: vec![id] };
    assert_eq!(bench.doubts(part), committed);
    bench.activated(part, 1);
    assert_eq!(bench.doubts(part), committed, "for a while after its end");
    let id = bench.create();
    let part = bench.prepare(&[id]);
    bench.pass(1_000);
    assert_eq!(bench.doubts(part), DoubtAnswer::Unknown);
}

#[test]
fn an_outcome_is_kept_for_300_s_and_an_activation_until_its_source_forgot() {
    let mut bench = Bench::new();
    let id = bench.create();
    let part = bench.prepare(&[id]);
    bench.staged(part, 1, &[id]);
    bench.activated(part, 1);
    let stage = bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    bench.commit(theirs(1), stage, &[entity(5)]);
    bench.pass(299_000);
    assert!(bench.core.image().moved.contains_key(&id));
    bench.pass(2_000);
    let told = Message::DoubtAnswers { answers: vec![(part, DoubtAnswer::Unknown)] };
    assert_eq!(bench.sent, [told, Message::Doubt { parts: vec![theirs(1)] }]);
    assert_eq!(bench.doubts(part), DoubtAnswer::Unknown);
    assert!(!bench.core.image().moved.contains_key(&id));
    assert!(bench.core.image().activations.contains_key(&theirs(1)));
    let answers = vec![(theirs(1), DoubtAnswer::Unknown)];
    bench.hear(Message::DoubtAnswers { answers });
    assert!(bench.core.image().activations.is_empty());
    assert!(bench.owns(entity(5)));
}

#[test]
fn the_envelope_is_fenced_by_the_current_view() {
    let mut bench = Bench::new();
    bench.view(Some(1));
    let entities = vec![copy(5, 3)];
    let stage = |part| Message::Stage { part, attempt: 0, to: HERE, entities: entities.clone() };
    let term = view(1, None).term;
    bench.give(Input::Received { from: other(1), term, message: stage(theirs(1)) });
    assert_eq!(bench.sent, [Message::StaleTerm { term: view(2, None).term }]);
    assert_eq!(bench.stale, 1);
    let term = view(2, None).term;
    bench.give(Input::Received { from: other(9), term, message: stage(theirs(1)) });
    assert_eq!(bench.stale, 2, "another life of the sender than the view lists");
    let term = view(3, None).term;
    bench.give(Input::Received { from: other(1), term, message: stage(theirs(1)) });
    assert!(!bench.is_staged(theirs(1)), "waits for the newer view");
    bench.view(Some(1));
    assert!(bench.is_staged(theirs(1)));
}

#[test]
fn a_view_change_aborts_what_is_undecided_of_its_two_processes_and_sends_the_rest_again() {
    for life in [None, Some(2)] {
        let mut bench = Bench::new();
        let id = bench.create();
        let part = bench.prepare(&[id]);
        bench.view(Some(1));
        assert!(matches!(bench.sent[..], [Message::Stage { .. }]), "again, in the new view");
        bench.view(life);
        assert_eq!(bench.kinds, [RecordKind::Abort]);
        let outcome = Outcome::Aborted { reason: Reason::ViewChanged };
        assert_eq!(bench.report(part.saga).entities[0].outcome, outcome);
        bench.staged(part, 1, &[id]);
        assert!(bench.kinds.is_empty() && bench.owns(id), "too late");
    }
}

#[test]
fn the_answer_to_stage_and_commit_list_the_exact_subset() {
    let mut bench = Bench::new();
    let (a, b, c) = (bench.create(), bench.create(), bench.create());
    let part = bench.prepare(&[a, b, c]);
    let refused = vec![(b, Reason::StagingFailed("no room".into()))];
    let stage = Some(StageId::from_u128(1));
    let (attempt, accepted) = (bench.attempt, vec![a]);
    bench.hear(Message::Staged { part, attempt, stage, accepted, refused: refused.clone() });
    let commit =
        Message::Commit { part, attempt: 0, stage: StageId::from_u128(1), entities: vec![a] };
    assert_eq!(bench.sent, [commit]);
    assert!(!bench.owns(a) && bench.owns(b) && bench.owns(c));
    let Some(Reply::Entity(Ok(_))) = bench.ask(Request::Put(b, Bytes::new())) else { panic!() };
    let report = bench.report(part.saga);
    assert_eq!(report.entities[0].outcome, Outcome::Pending);
    assert_eq!(report.entities[1].outcome, Outcome::Aborted { reason: refused[0].1.clone() });
    assert!(matches!(report.entities[2].outcome, Outcome::Aborted { .. }));
}

#[test]
fn activate_takes_exactly_the_list_and_discards_the_rest() {
    for flaw in [None, Some(Flaw::CommitWithoutList)] {
        let mut bench = Bench::with(flaw);
        let stage = bench.stage(theirs(1), vec![copy(5, 3), copy(6, 3)]).unwrap();
        bench.commit(theirs(1), stage, &[entity(5)]);
        assert!(bench.owns(entity(5)) && !bench.is_staged(theirs(1)));
        assert_eq!(bench.owns(entity(6)), flaw.is_some(), "6 stayed at its source");
    }
}

#[test]
fn prepare_alone_is_aborted_by_recovery() {
    let mut bench = Bench::new();
    let id = bench.create();
    let part = bench.prepare(&[id]);
    bench.restart();
    assert_eq!(bench.kinds, [RecordKind::Abort]);
    assert_eq!(bench.core.audit().active, 1);
    bench.view(Some(1));
    assert_eq!(bench.doubts(part), DoubtAnswer::Unknown);
}

#[test]
fn an_unknown_stage_is_never_taken_back_and_raises_an_alarm() {
    let mut bench = Bench::new();
    let id = bench.create();
    let part = bench.prepare(&[id]);
    let stage = StageId::from_u128(1);
    bench.hear(Message::UnknownStage { part, stage });
    assert_eq!(bench.alarms, 0, "nothing was decided");
    bench.staged(part, 1, &[id]);
    bench.hear(Message::UnknownStage { part, stage });
    assert_eq!(bench.alarms, 1);
    assert!(!bench.owns(id));
    assert_eq!(bench.report(part.saga).state, SagaState::InDoubt);
    let phase = &bench.core.image().parts[&part].phase;
    assert!(matches!(phase, PartPhase::Committed { snapshots, .. } if snapshots.len() == 1));
}

#[test]
fn only_the_two_processes_of_a_part_can_speak_of_it() {
    let mut bench = Bench::new();
    bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    let mine = PartId { source: ME, ..theirs(1) };
    bench.stage_only(mine, vec![copy(6, 1)]);
    assert!(bench.sent.is_empty() && bench.kinds.is_empty());
    let third = PartId { source: ProcessId::from_u128(3), ..theirs(1) };
    bench.hear(Message::Abort { part: third });
    bench.hear(Message::DoubtAnswers { answers: vec![(third, DoubtAnswer::Unknown)] });
    assert!(bench.is_staged(theirs(1)));
}

#[test]
fn limits_refuse_the_whole_request_and_count_each_way_apart() {
    let mut bench = Bench::new();
    let ids: Vec<EntityId> = (0..5).map(|_| bench.create()).collect();
    let overloaded = |limit: &str| Reason::Overloaded { limit: limit.into() };
    let never = Reason::LimitExceeded { limit: "outgoing_entities".into(), maximum: 4 };
    assert_eq!(bench.try_move(&ids, THERE), Err(never));
    assert!(bench.kinds.is_empty());
    bench.prepare(&ids[..4]);
    assert_eq!(bench.try_move(&ids[4..], THERE), Err(overloaded("outgoing_entities")));
    let copies = |from: u128, count: u128| (from..from + count).map(|n| copy(n, 1)).collect();
    assert!(bench.stage(theirs(1), copies(100, 3)).is_some(), "outgoing ones do not count");
    assert_eq!(bench.stage(theirs(2), copies(200, 2)), None);
    let Message::Staged { refused, .. } = &bench.sent[0] else { panic!() };
    assert!(refused.iter().all(|(_, reason)| *reason == overloaded("incoming_entities")));
    assert!(bench.stage(theirs(3), copies(300, 1)).is_some());
}

#[test]
fn of_two_moves_of_one_entity_one_wins() {
    let mut bench = Bench::new();
    let id = bench.create();
    bench.prepare(&[id]);
    let second = bench.try_move(&[id], ALSO_HERE).unwrap();
    let reason = Reason::AlreadyMoving { to: THERE };
    assert_eq!(bench.report(second).entities[0].outcome, Outcome::Aborted { reason });
    assert_eq!(bench.report(second).state, SagaState::Done);
}

#[test]
fn problems_of_single_entities_are_their_outcomes() {
    let mut bench = Bench::new();
    let id = bench.create();
    let wrong = Expected { id, epoch: Some(OwnershipEpoch(4)) };
    let entities = vec![Expected { id: entity(404), epoch: None }, wrong, wrong];
    let request = MigrateRequest { entities, to: THERE, idempotency_key: Some("k".into()) };
    let ask =
        |request: &MigrateRequest| Request::Migrate { request: request.clone(), host: Some(OTHER) };
    let Some(Reply::Saga(Ok(saga))) = bench.ask(ask(&request)) else { panic!() };
    let outcomes: Vec<Outcome> =
        bench.report(saga).entities.into_iter().map(|entity| entity.outcome).collect();
    let (expected, found) = (OwnershipEpoch(4), OwnershipEpoch(0));
    let reasons = [Reason::UnknownEntity, Reason::EpochMismatch { expected, found }];
    assert_eq!(outcomes, reasons.map(|reason| Outcome::Aborted { reason }));
    bench.restart();
    bench.view(Some(1));
    assert_eq!(bench.ask(ask(&request)), Some(Reply::Saga(Ok(saga))), "the key is durable");
    let other = MigrateRequest { to: HERE, ..request };
    let Some(Reply::Saga(Err(error))) = bench.ask(ask(&other)) else { panic!() };
    assert_eq!(error.0, Reason::IdempotencyMismatch);
    let same = bench.try_move(&[id], HERE).unwrap();
    let reason = Reason::SameBubble;
    assert_eq!(bench.report(same).entities[0].outcome, Outcome::Aborted { reason });
    assert_eq!(bench.try_move(&[id], BubbleId::from_u128(99)), Err(Reason::UnknownBubble));
}

#[test]
fn a_claimed_bubble_freezes_its_entities_which_can_still_move_out() {
    let mut bench = Bench::new();
    let id = bench.create();
    bench.give(Input::BubbleClaimed(HERE, OTHER));
    let claimed = Reason::BubbleClaimed { by: OTHER };
    assert_eq!(bench.refusal(Request::Put(id, Bytes::new())), claimed);
    assert_eq!(bench.core.audit().frozen, 1);
    let saga = bench.try_move(&[id], ALSO_HERE).unwrap();
    assert!(matches!(bench.report(saga).entities[0].outcome, Outcome::Committed { .. }));
    bench.give(Input::BubbleReleased(HERE));
    assert_eq!(bench.core.audit().active, 1);
}

#[test]
fn a_supplied_id_must_be_new_here() {
    let mut bench = Bench::new();
    bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
    let new = NewEntities::One(Some(entity(5)));
    let create = Request::Create { bubble: HERE, new, state: Bytes::new() };
    let Some(Reply::Created(Err(error))) = bench.ask(create) else { panic!() };
    assert_eq!(error.reason, Reason::EntityExists);
}

#[test]
fn leaving_refuses_new_work_and_aborts_what_is_undecided() {
    let mut bench = Bench::new();
    let (a, b) = (bench.create(), bench.create());
    let decided = bench.prepare(&[a]);
    bench.staged(decided, 1, &[a]);
    let undecided = bench.prepare(&[b]);
    assert_eq!(bench.ask(Request::Leave), None);
    assert_eq!(bench.kinds, [RecordKind::Abort]);
    assert_eq!(bench.report(undecided.saga).state, SagaState::Done);
    assert_eq!(bench.try_move(&[b], ALSO_HERE), Err(Reason::ViewChanged));
    bench.activated(decided, 1);
    assert_eq!(bench.replies, [Reply::Left(true)]);
}

#[test]
fn a_journal_that_lists_a_decided_entity_twice_is_put_right_by_epoch() {
    let mut bench = Bench::new();
    let id = bench.create();
    let row = bench.core.image().entities[&id].clone();
    let part = bench.prepare(&[id]);
    bench.staged(part, 1, &[id]);
    let mut image = bench.core.image().clone();
    image.apply(&Write::Entity(id, Some(row)));
    let bench = Bench::over(image, None);
    assert!(!bench.owns(id));
}

#[test]
fn a_full_window_is_tried_again_soon_and_no_phase_runs_out_meanwhile() {
    let mut bench = Bench::new();
    let id = bench.create();
    bench.delivery = Delivery::WindowFull;
    let part = bench.prepare(&[id]);
    for _ in 0..100 {
        bench.pass(20);
        assert!(matches!(bench.sent[..], [Message::Stage { .. }]));
    }
    bench.delivery = Delivery::Sent;
    bench.pass(20);
    bench.staged(part, 1, &[id]);
    assert_eq!(bench.kinds, [RecordKind::Commit]);
    let id = bench.create();
    bench.delivery = Delivery::NoSession;
    let part = bench.prepare(&[id]);
    bench.pass(1_000);
    let outcome = Outcome::Aborted { reason: Reason::Unreachable };
    assert_eq!(bench.report(part.saga).entities[0].outcome, outcome);
}

/// A session that ends takes with it what was on its way. The repetition notices, and from there on
/// the move waits for a session, not for an answer.
#[test]
fn a_session_that_is_lost_on_the_way_does_not_cost_the_move() {
    let mut bench = Bench::new();
    for n in 0..20 {
        let id = bench.create();
        let part = bench.prepare(&[id]);
        bench.pass(5);
        bench.staged(part, n, &[id]);
        bench.pass(5);
        bench.activated(part, n);
    }
    let id = bench.create();
    let part = bench.prepare(&[id]);
    bench.delivery = Delivery::NoSession;
    bench.pass(50);
    assert!(matches!(bench.sent[..], [Message::Stage { .. }]), "repeated within its 100 ms");
    bench.pass(500);
    assert_eq!(bench.report(part.saga).state, SagaState::Running);
    bench.delivery = Delivery::Sent;
    bench.give(Input::Reachable(OTHER));
    assert!(matches!(bench.sent[..], [Message::Stage { .. }]));
    bench.pass(90);
    bench.staged(part, 1, &[id]);
    assert_eq!(bench.kinds, [RecordKind::Commit]);
}

/// A process that was held up itself finds its timer rung and the answer waiting: the answer is
/// taken first, whatever came before it.
#[test]
fn an_answer_that_waits_behind_an_overdue_timer_is_in_time() {
    let mut bench = Bench::new();
    let id = bench.create();
    let part = bench.prepare(&[id]);
    bench.now += Duration::from_secs(2);
    bench.create();
    assert_eq!(bench.kinds, [RecordKind::Create], "nothing is given up but when the timer rings");
    bench.staged(part, 1, &[id]);
    assert_eq!(bench.kinds, [RecordKind::Commit]);
}

/// A session made on demand: the first message finds none, and goes out as soon as there is one.
#[test]
fn what_found_no_session_goes_out_when_one_comes_up_and_its_phase_counts_from_there() {
    let mut bench = Bench::new();
    let id = bench.create();
    bench.delivery = Delivery::NoSession;
    let part = bench.prepare(&[id]);
    bench.pass(30);
    bench.give(Input::Reachable(ME));
    assert_eq!(bench.sent, [], "another process's session");
    bench.delivery = Delivery::Sent;
    bench.give(Input::Reachable(OTHER));
    assert!(matches!(bench.sent[..], [Message::Stage { .. }]), "{:?}", bench.sent);
    // What is on its way is not sent again because of another session.
    bench.give(Input::Reachable(OTHER));
    assert_eq!(bench.sent, []);
    bench.pass(980);
    assert_eq!(bench.report(part.saga).state, SagaState::Running);
    bench.staged(part, 1, &[id]);
    bench.delivery = Delivery::NoSession;
    bench.pass(1_000);
    bench.delivery = Delivery::Sent;
    bench.give(Input::Reachable(OTHER));
    assert!(matches!(bench.sent[..], [Message::Commit { .. }]), "{:?}", bench.sent);
}

#[test]
fn a_move_for_which_the_links_have_no_room_says_so() {
    let mut bench = Bench::new();
    let id = bench.create();
    bench.delivery = Delivery::NoRoom;
    let part = bench.prepare(&[id]);
    bench.pass(1_000);
    let reason = Reason::Overloaded { limit: "sessions".to_owned() };
    assert_eq!(bench.report(part.saga).entities[0].outcome, Outcome::Aborted { reason });
}

#[test]
fn an_open_question_for_a_place_is_put_to_who_comes_within_reach() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(Request::Locate(entity(77))), None);
    let [Message::Locate { query, .. }] = bench.sent[..] else { panic!("{:?}", bench.sent) };
    bench.give(Input::Reachable(OTHER));
    assert_eq!(bench.sent, [Message::Locate { query, entity: entity(77) }]);
    bench.hear(Message::Located { query, found: None });
    bench.give(Input::Reachable(OTHER));
    assert_eq!(bench.sent, []);
}

#[test]
fn a_decided_move_is_stuck_when_a_member_leaves_it_unacknowledged_for_long() {
    let mut bench = Bench::new();
    let ids = [bench.create()];
    let part = bench.prepare(&ids);
    bench.staged(part, 7, &ids);
    assert_eq!(bench.core.stuck(), 0);
    let half = STUCK_AFTER.as_millis() as u64 / 2;
    // It is in doubt from its limit on.
    bench.pass(half);
    bench.pass(half);
    assert_eq!(bench.core.stuck(), 0, "not for so long yet");
    bench.pass(half);
    assert_eq!(bench.core.stuck(), 1);
    // Without its destination nothing is expected of it.
    bench.give(Input::View(view(2, None)));
    assert_eq!(bench.core.stuck(), 0);
    bench.pass(4 * half);
    assert_eq!(bench.core.stuck(), 0);
    bench.give(Input::View(view(3, Some(1))));
    bench.epoch = 3;
    bench.pass(half);
    assert_eq!(bench.core.stuck(), 0, "it counts anew");
    bench.pass(half);
    bench.pass(half);
    assert_eq!(bench.core.stuck(), 1);
    bench.activated(part, 7);
    assert_eq!(bench.core.stuck(), 0);
}

#[test]
fn one_request_creates_so_many_bytes_and_no_more() {
    let mut bench = Bench::new();
    let mut create = |count| {
        let (new, state) = (NewEntities::Many(count), Bytes::from(vec![0; 512 * 1024]));
        bench.ask(Request::Create { bubble: HERE, new, state })
    };
    let Some(Reply::Created(Err(error))) = create(513) else { panic!("more than 256 MiB") };
    let (limit, maximum) = ("bytes_per_request".to_owned(), 256 * 1024 * 1024);
    assert_eq!(error.reason, Reason::LimitExceeded { limit, maximum });
    assert!(matches!(create(512), Some(Reply::Created(Ok(ids))) if ids.len() == 512));
}
