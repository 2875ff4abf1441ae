use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{BubbleId, Epoch, SagaId};

use crate::{
    DoubtAnswer, Effect, Message, MoveSpan, PartId, Record, RecordKind, SagaReport, SagaState,
    SpanSink, SpanWork, Step, Write,
};

/// Messages of which it is known when they came in. They wait here for their step, which comes
/// at once unless they are ahead of the view; beyond it a span begins with its step.
const RECEIVED_MAX: usize = 1_024;

/// What is under way of the sagas that somebody follows. Costs a comparison while nobody does.
#[derive(Default)]
pub(crate) struct SpanBook {
    sink: Option<Arc<dyn SpanSink>>,
    /// Admitted here. As many as there are sagas under way, which limits bound.
    sagas: BTreeMap<SagaId, Admitted>,
    received: BTreeMap<(PartId, Side), Received>,
    /// Over, but not durable yet: under the number of the transaction.
    waiting: VecDeque<(u64, Closed)>,
}

/// A span that is over.
#[derive(Debug)]
pub(crate) struct Closed {
    saga: SagaId,
    view: Epoch,
    began: Duration,
    /// `None`: when it is durable.
    ended: Option<Duration>,
    doubted: Option<Duration>,
    work: SpanWork,
}

#[derive(Clone, Copy)]
struct Admitted {
    at: Duration,
    doubted: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Stage,
    Activate,
}

#[derive(Clone, Copy)]
struct Received {
    at: Duration,
    view: Epoch,
    attempt: u32,
    to: BubbleId,
}

impl SpanBook {
    pub(crate) fn new(sink: Option<Arc<dyn SpanSink>>) -> Self {
        Self { sink, ..Self::default() }
    }

    fn follows(&self, saga: SagaId) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.follows(saga))
    }

    /// A message came in.
    pub(crate) fn received(&mut self, now: Duration, view: Epoch, message: &Message) {
        if self.sink.is_none() {
            return;
        }
        let seen = Received { at: now, view, attempt: 0, to: BubbleId::from_u128(0) };
        match message {
            Message::Stage { part, attempt, to, .. } => {
                let seen = Received { attempt: *attempt, to: *to, ..seen };
                self.note(*part, Side::Stage, seen);
            }
            Message::Commit { part, .. } => self.note(*part, Side::Activate, seen),
            Message::DoubtAnswers { answers } => {
                for (part, answer) in answers {
                    if matches!(answer, DoubtAnswer::Committed { .. }) {
                        self.note(*part, Side::Activate, seen);
                    }
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, part: PartId, side: Side, seen: Received) {
        if !self.follows(part.saga) {
            return;
        }
        if self.received.len() >= RECEIVED_MAX {
            self.received.clear();
        }
        self.received.insert((part, side), seen);
    }

    /// What began or ended with a step, before its records are handed out. `report` says how a saga
    /// stands.
    pub(crate) fn step(
        &mut self,
        now: Duration,
        view: Epoch,
        step: &Step,
        report: impl Fn(SagaId) -> Option<SagaReport>,
    ) -> Vec<Closed> {
        let mut closed = Vec::new();
        if self.sink.is_none() {
            return closed;
        }
        step.records.iter().for_each(|record| self.record(now, view, record, &mut closed));
        let mut changed = BTreeSet::new();
        for effect in &step.effects {
            match effect {
                Effect::SagaChanged(id) if self.follows(*id) => {
                    changed.insert(*id);
                }
                // What was refused has no record.
                Effect::Send {
                    message: Message::Staged { part, stage: None, refused, .. },
                    ..
                } if self.follows(part.saga) => {
                    closed.extend(self.staged(*part, 0, refused.len()));
                }
                _ => {}
            }
        }
        closed.extend(changed.into_iter().filter_map(|id| self.saga(now, id, report(id)?)));
        closed
    }

    fn record(&mut self, now: Duration, view: Epoch, record: &Record, closed: &mut Vec<Closed>) {
        if !matches!(record.kind, RecordKind::Admit | RecordKind::Stage | RecordKind::Activate) {
            return;
        }
        for write in &record.writes {
            match write {
                Write::Saga(id, Some(_)) if self.follows(*id) => {
                    self.sagas.insert(*id, Admitted { at: now, doubted: None });
                }
                Write::Staging(part, Some(row)) if self.follows(part.saga) => {
                    closed.extend(self.staged(*part, row.entities.len(), row.refused.len()));
                }
                Write::Activation(part, Some(row)) if self.follows(part.saga) => {
                    let seen = self.received.remove(&(*part, Side::Activate));
                    let (began, view) = seen.map_or((now, view), |seen| (seen.at, seen.view));
                    let work = SpanWork::Activate { part: *part, entities: row.entities.len() };
                    closed.push(Closed::at(part.saga, view, began, work));
                }
                _ => {}
            }
        }
    }

    fn staged(&mut self, part: PartId, staged: usize, refused: usize) -> Option<Closed> {
        let seen = self.received.remove(&(part, Side::Stage))?;
        let Received { at, view, attempt, to } = seen;
        let work = SpanWork::Stage { part, attempt, to, staged, refused };
        Some(Closed::at(part.saga, view, at, work))
    }

    fn saga(&mut self, now: Duration, id: SagaId, report: SagaReport) -> Option<Closed> {
        // Nobody knows when one began that was taken up from the journal.
        let replayed = !self.sagas.contains_key(&id);
        match report.state {
            SagaState::Running => None,
            SagaState::InDoubt => {
                if let Some(admitted) = self.sagas.get_mut(&id) {
                    admitted.doubted.get_or_insert(now);
                }
                None
            }
            SagaState::Done => {
                let admitted = self.sagas.remove(&id);
                let Admitted { at, doubted } =
                    admitted.unwrap_or(Admitted { at: now, doubted: None });
                let view = report.view_epoch;
                let work = SpanWork::Saga { report, in_doubt_ago: None, replayed };
                Some(Closed { ended: Some(now), doubted, ..Closed::at(id, view, at, work) })
            }
        }
    }

    /// Tells of them once that transaction is durable; at once, if there is none.
    pub(crate) fn hold(&mut self, now: Duration, number: Option<u64>, closed: Vec<Closed>) {
        for span in closed {
            match number {
                Some(number) => self.waiting.push_back((number, span)),
                None => self.tell(now, span),
            }
        }
    }

    /// Everything up to that transaction is durable.
    pub(crate) fn synced(&mut self, now: Duration, number: u64) {
        while self.waiting.front().is_some_and(|(at, _)| *at <= number) {
            if let Some((_, span)) = self.waiting.pop_front() {
                self.tell(now, span);
            }
        }
    }

    fn tell(&self, now: Duration, closed: Closed) {
        let Some(sink) = &self.sink else { return };
        let Closed { saga, view, began, ended, doubted, mut work } = closed;
        let ended = ended.unwrap_or(now);
        if let SpanWork::Saga { in_doubt_ago, .. } = &mut work {
            *in_doubt_ago = doubted.map(|at| now.saturating_sub(at));
        }
        let (took, ended_ago) = (ended.saturating_sub(began), now.saturating_sub(ended));
        sink.ended(MoveSpan { saga, view, took, ended_ago, work });
    }
}

impl Closed {
    fn at(saga: SagaId, view: Epoch, began: Duration, work: SpanWork) -> Self {
        Self { saga, view, began, ended: None, doubted: None, work }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use lampyrid_wire::{EntityId, OwnershipEpoch, ProcessId, StageId};

    use super::*;
    use crate::{ActivationRow, Reason, SagaRow, Snapshot, StagingRow};

    /// Follows all sagas but one.
    #[derive(Default)]
    struct Sink(Mutex<Vec<MoveSpan>>);

    const LEFT_OUT: SagaId = SagaId::from_u128(9);

    impl SpanSink for Sink {
        fn follows(&self, saga: SagaId) -> bool {
            saga != LEFT_OUT
        }

        fn ended(&self, span: MoveSpan) {
            self.0.lock().unwrap().push(span);
        }
    }

    impl Sink {
        fn take(&self) -> Vec<MoveSpan> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn book() -> (Arc<Sink>, SpanBook) {
        let sink = Arc::<Sink>::default();
        (Arc::clone(&sink), SpanBook::new(Some(sink)))
    }

    fn part(saga: SagaId) -> PartId {
        PartId { source: ProcessId::from_u128(1), saga, part: 0 }
    }

    fn wrote(kind: RecordKind, write: Write) -> Step {
        Step { records: vec![Record { kind, writes: vec![write] }], effects: Vec::new() }
    }

    fn admitted(saga: SagaId) -> Step {
        let (to, view_epoch) = (BubbleId::from_u128(1), Epoch(1));
        let row = SagaRow { to, view_epoch, entities: Vec::new(), refused: Vec::new(), key: None };
        wrote(RecordKind::Admit, Write::Saga(saga, Some(Arc::new(row))))
    }

    fn report(saga: SagaId, state: SagaState) -> SagaReport {
        let (to, view_epoch) = (BubbleId::from_u128(1), Epoch(1));
        SagaReport { saga, state, to, view_epoch, entities: Vec::new() }
    }

    /// One step, durable under that number once it is synced.
    fn step(book: &mut SpanBook, now: u64, step: &Step, state: SagaState, number: Option<u64>) {
        let closed = book.step(at(now), Epoch(2), step, |saga| Some(report(saga, state)));
        book.hold(at(now), number, closed);
    }

    #[test]
    fn a_saga_lasts_from_its_admission_to_its_last_outcome_and_is_told_once_durable() {
        let (sink, mut book) = book();
        let saga = SagaId::from_u128(1);
        let changed = Step { effects: vec![Effect::SagaChanged(saga)], ..Step::default() };
        step(&mut book, 10, &admitted(saga), SagaState::Running, Some(1));
        step(&mut book, 12, &changed, SagaState::InDoubt, None);
        step(&mut book, 13, &changed, SagaState::InDoubt, None);
        step(&mut book, 15, &changed, SagaState::Done, Some(2));
        book.synced(at(16), 1);
        assert_eq!(sink.take(), []);
        book.synced(at(17), 2);
        let spans = sink.take();
        let [MoveSpan { took, ended_ago, work, .. }] = spans.as_slice() else {
            panic!("{spans:?}")
        };
        assert_eq!((*took, *ended_ago), (at(5), at(2)));
        let whole = report(saga, SagaState::Done);
        let doubt = Some(at(5));
        let wanted = SpanWork::Saga { report: whole, in_doubt_ago: doubt, replayed: false };
        assert_eq!(*work, wanted);
    }

    #[test]
    fn one_that_was_taken_up_again_says_so_and_is_told_once() {
        let (sink, mut book) = book();
        let changed = Effect::SagaChanged(SagaId::from_u128(1));
        let twice = Step { effects: vec![changed.clone(), changed], ..Step::default() };
        step(&mut book, 10, &twice, SagaState::Done, None);
        let spans = sink.take();
        assert_eq!(spans.len(), 1, "{spans:?}");
        assert!(matches!(spans[0].work, SpanWork::Saga { replayed: true, .. }), "{spans:?}");
    }

    #[test]
    fn a_destination_works_from_the_message_to_the_sync() {
        let (sink, mut book) = book();
        let part = part(SagaId::from_u128(1));
        let (to, stage) = (BubbleId::from_u128(3), StageId::from_u128(4));
        let (id, epoch) = (EntityId::from_u128(5), OwnershipEpoch(1));
        let copy = Snapshot { id, epoch, state: bytes::Bytes::new() };
        let message = Message::Stage { part, attempt: 7, to, entities: vec![copy.clone()] };
        let row = StagingRow { stage, to, entities: vec![copy], refused: Vec::new() };
        let staged = wrote(RecordKind::Stage, Write::Staging(part, Some(Arc::new(row))));
        book.received(at(1), Epoch(1), &message);
        step(&mut book, 1, &staged, SagaState::Running, Some(1));
        // Said again what is there already: nothing is done.
        book.received(at(2), Epoch(1), &message);
        step(&mut book, 2, &Step::default(), SagaState::Running, None);
        book.synced(at(3), 1);
        let commit = Message::Commit { part, attempt: 0, stage, entities: vec![id] };
        book.received(at(4), Epoch(2), &commit);
        let row = ActivationRow { stage, entities: vec![(id, epoch)] };
        let active = wrote(RecordKind::Activate, Write::Activation(part, Some(Arc::new(row))));
        step(&mut book, 4, &active, SagaState::Running, Some(2));
        book.synced(at(6), 2);
        let told: Vec<_> = sink.take().into_iter().map(|s| (s.took, s.view, s.work)).collect();
        let stage = SpanWork::Stage { part, attempt: 7, to, staged: 1, refused: 0 };
        let activate = SpanWork::Activate { part, entities: 1 };
        assert_eq!(told, [(at(2), Epoch(1), stage), (at(2), Epoch(2), activate)]);
    }

    #[test]
    fn a_refusal_is_told_at_once_and_who_is_not_followed_never() {
        let (sink, mut book) = book();
        let to = BubbleId::from_u128(3);
        for saga in [SagaId::from_u128(1), LEFT_OUT] {
            let part = part(saga);
            let message = Message::Stage { part, attempt: 0, to, entities: Vec::new() };
            book.received(at(1), Epoch(1), &message);
            let refused = vec![(EntityId::from_u128(5), Reason::NotHosted)];
            let message =
                Message::Staged { part, attempt: 0, stage: None, accepted: Vec::new(), refused };
            let send = Effect::Send { to: part.source, message, term: None, report: None };
            let effects = vec![send, Effect::SagaChanged(LEFT_OUT)];
            let records = admitted(LEFT_OUT).records;
            step(&mut book, 1, &Step { records, effects }, SagaState::Done, None);
        }
        let spans = sink.take();
        assert_eq!(spans.len(), 1, "{spans:?}");
        assert!(
            matches!(spans[0].work, SpanWork::Stage { staged: 0, refused: 1, .. }),
            "{spans:?}"
        );
        assert!(book.sagas.is_empty() && book.received.is_empty());
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let (_, mut book) = book();
        for saga in 1_000..1_000 + 2 * RECEIVED_MAX as u128 {
            let (part, to) = (part(SagaId::from_u128(saga)), BubbleId::from_u128(3));
            let message = Message::Stage { part, attempt: 0, to, entities: Vec::new() };
            book.received(at(1), Epoch(1), &message);
        }
        assert!(book.received.len() <= RECEIVED_MAX);
    }
}
