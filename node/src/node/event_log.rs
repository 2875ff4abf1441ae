use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lampyrid_membership::{Status, ViewState};
use lampyrid_migration::{SagaObserver, SagaReport};
use lampyrid_registry::TopologySnapshot;
use lampyrid_wire::{Epoch, Incarnation, ProcessId};
use tokio::sync::watch;

use crate::supervision::Restart;

/// Events that are kept for those who come back, and that one may fall behind. What is older is
/// left out, and that is told by [`NodeEvent::Gap`].
pub const MAX_EVENTS_KEPT: usize = 1_024;

/// The most memory that kept events take, about: in a cluster of many bubbles each topology is large.
const MAX_BYTES_KEPT: usize = 16 * 1024 * 1024;

/// Bits of an id that number the events of one life; above is the incarnation.
const NUMBER_BITS: u32 = 40;

/// What happened in a process.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A view was installed, or the status changed.
    View(Arc<ViewState>),
    /// Another process coordinates, or none that this one is in touch with.
    Coordinator {
        /// The view in which it does.
        epoch: Epoch,
        /// Who.
        coordinator: Option<ProcessId>,
    },
    /// What hosts what has changed.
    Topology(Arc<TopologySnapshot>),
    /// A saga of this process is over, or in doubt.
    Saga(Arc<SagaReport>),
    /// An actor failed and is started again.
    Restart(Restart),
    /// Events were left out here; what follows begins with the current state.
    Gap,
}

impl NodeEvent {
    /// How much memory it takes, about.
    fn bytes(&self) -> usize {
        const EACH: usize = 128;
        const ID: usize = 16;
        match self {
            Self::View(state) => EACH * (1 + state.view.as_ref().map_or(0, |view| view.size())),
            Self::Topology(all) => {
                EACH + all.processes.iter().map(|(_, all)| EACH + ID * all.len()).sum::<usize>()
            }
            Self::Saga(report) => EACH * (1 + report.entities.len()),
            Self::Restart(restart) => EACH + restart.reason.len(),
            Self::Coordinator { .. } | Self::Gap => EACH,
        }
    }
}

/// An event and its number.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedEvent {
    /// Rises from event to event, over restarts of the process as well.
    pub id: u64,
    /// What happened.
    pub event: NodeEvent,
}

/// The events of a process: the last ones, and those to come.
#[derive(Clone)]
pub struct EventLog(Arc<Handle>);

/// What those who note events hold; when the last is gone, listeners come to an end.
struct Handle {
    shared: Arc<Shared>,
    /// The last id.
    news: watch::Sender<u64>,
}

struct Shared {
    inner: Mutex<Inner>,
    wanted: AtomicBool,
    gaps: AtomicU64,
}

struct Inner {
    next: u64,
    /// The last one that is not kept any more.
    evicted: u64,
    kept: VecDeque<NumberedEvent>,
    /// Of all that are kept.
    bytes: usize,
    /// The last ids of what was given first, to whom it may concern: whoever names one has seen
    /// all of it.
    seen_all: VecDeque<u64>,
    view: Option<Arc<ViewState>>,
    coordinator: Option<ProcessId>,
    topology: Option<Arc<TopologySnapshot>>,
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventLog")
    }
}

impl EventLog {
    /// Of the life of a process that began as that incarnation.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        let evicted = incarnation.0 << NUMBER_BITS;
        let inner = Inner {
            next: evicted + 1,
            evicted,
            kept: VecDeque::new(),
            bytes: 0,
            seen_all: VecDeque::new(),
            view: None,
            coordinator: None,
            topology: None,
        };
        let shared = Shared {
            inner: Mutex::new(inner),
            wanted: AtomicBool::new(false),
            gaps: AtomicU64::new(0),
        };
        Self(Arc::new(Handle { shared: Arc::new(shared), news: watch::Sender::new(evicted) }))
    }

    /// Notes the view and status from now on, and who coordinates if that is another.
    pub fn note_view(&self, state: Arc<ViewState>) {
        let mut inner = self.0.shared.lock();
        let coordinator = state.coordinator().filter(|_| state.status == Status::Active);
        let epoch = state.view.as_deref().map_or(Epoch(0), |view| view.epoch());
        inner.view = Some(Arc::clone(&state));
        self.0.push(&mut inner, NodeEvent::View(state));
        if inner.coordinator != coordinator {
            inner.coordinator = coordinator;
            self.0.push(&mut inner, NodeEvent::Coordinator { epoch, coordinator });
        }
    }

    /// Notes what hosts what, if that is something else than before.
    pub fn note_topology(&self, snapshot: TopologySnapshot) {
        let mut inner = self.0.shared.lock();
        if inner.topology.as_deref() != Some(&snapshot) {
            let snapshot = Arc::new(snapshot);
            inner.topology = Some(Arc::clone(&snapshot));
            self.0.push(&mut inner, NodeEvent::Topology(snapshot));
        }
    }

    /// Notes that an actor is started again.
    pub fn note_restart(&self, restart: Restart) {
        let mut inner = self.0.shared.lock();
        self.0.push(&mut inner, NodeEvent::Restart(restart));
    }

    /// Everything after the event `after`, if that is known still; else, or without it, the current
    /// state first. Nothing is missed between what is given first and what comes later.
    #[must_use]
    pub fn subscribe(&self, after: Option<u64>) -> EventStream {
        let shared = Arc::clone(&self.0.shared);
        shared.wanted.store(true, Ordering::Relaxed);
        let (backlog, last) = shared.begin(after);
        EventStream { backlog, last, shared, news: self.0.news.subscribe() }
    }

    /// How often events were left out for somebody.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.0.shared.gaps.load(Ordering::Relaxed)
    }
}

impl SagaObserver for EventLog {
    /// Sagas are noted from the first subscription on: without one they may not cost anything.
    fn is_wanted(&self) -> bool {
        self.0.shared.wanted.load(Ordering::Relaxed)
    }

    fn changed(&self, report: SagaReport) {
        let mut inner = self.0.shared.lock();
        self.0.push(&mut inner, NodeEvent::Saga(Arc::new(report)));
    }
}

impl Handle {
    fn push(&self, inner: &mut Inner, event: NodeEvent) {
        let event = inner.number(event);
        self.news.send_replace(event.id);
        inner.keep(event);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one who listens is given first, and the id after which it goes on.
    fn begin(&self, after: Option<u64>) -> (VecDeque<NumberedEvent>, u64) {
        let mut inner = self.lock();
        let backlog = match after {
            Some(last) if inner.knows(last) => return (VecDeque::new(), last),
            Some(_) => {
                self.gaps.fetch_add(1, Ordering::Relaxed);
                let gap = inner.number(NodeEvent::Gap);
                std::iter::once(gap).chain(inner.current()).collect()
            }
            None => inner.current().collect(),
        };
        let last = inner.next - 1;
        if inner.seen_all.len() == MAX_EVENTS_KEPT {
            inner.seen_all.pop_front();
        }
        inner.seen_all.push_back(last);
        (backlog, last)
    }

    /// The first event after `last`: nothing if there is none yet, and an error if it is not kept.
    fn after(&self, last: u64) -> Result<Option<NumberedEvent>, Missed> {
        let inner = self.lock();
        if last < inner.evicted {
            return Err(Missed);
        }
        let at = inner.kept.partition_point(|event| event.id <= last);
        Ok(inner.kept.get(at).cloned())
    }
}

/// Events that one who listens has not seen are not kept any more.
struct Missed;

impl Inner {
    /// Whether one who has seen that event last needs only what came after it. Not so in the middle
    /// of what is given first.
    fn knows(&self, last: u64) -> bool {
        let is_kept = || self.kept.binary_search_by_key(&last, |event| event.id).is_ok();
        last == self.evicted
            || (last > self.evicted && (is_kept() || self.seen_all.contains(&last)))
    }

    /// The last ones, as many as there is room for, but at least one.
    fn keep(&mut self, event: NumberedEvent) {
        self.bytes += event.event.bytes();
        self.kept.push_back(event);
        while self.kept.len() > MAX_EVENTS_KEPT
            || (self.bytes > MAX_BYTES_KEPT && self.kept.len() > 1)
        {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= oldest.event.bytes();
            self.evicted = oldest.id;
        }
    }

    fn number(&mut self, event: NodeEvent) -> NumberedEvent {
        let id = self.next;
        self.next += 1;
        NumberedEvent { id, event }
    }

    /// Under numbers of its own, which nobody else is told.
    fn current(&mut self) -> impl Iterator<Item = NumberedEvent> + use<> {
        let epoch = self.view.as_deref().and_then(|state| state.view.as_deref());
        let epoch = epoch.map_or(Epoch(0), |view| view.epoch());
        let coordinator = self.coordinator;
        let state = [
            self.view.clone().map(NodeEvent::View),
            self.view.is_some().then_some(NodeEvent::Coordinator { epoch, coordinator }),
            self.topology.clone().map(NodeEvent::Topology),
        ];
        state.into_iter().flatten().map(|event| self.number(event)).collect::<Vec<_>>().into_iter()
    }
}

/// Events in order, for one who listens. It holds none of them: who falls behind costs nothing.
pub struct EventStream {
    backlog: VecDeque<NumberedEvent>,
    /// The id of the last one that was given, or is in the backlog.
    last: u64,
    shared: Arc<Shared>,
    news: watch::Receiver<u64>,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventStream")
    }
}

impl EventStream {
    /// The next event; `None` when the process is gone. One who falls behind by more than
    /// [`MAX_EVENTS_KEPT`] gets a [`NodeEvent::Gap`] and the current state. Cancellation safe.
    pub async fn next(&mut self) -> Option<NumberedEvent> {
        let mut ended = false;
        loop {
            if let Some(event) = self.backlog.pop_front() {
                return Some(event);
            }
            match self.shared.after(self.last) {
                Ok(Some(event)) => {
                    self.last = event.id;
                    return Some(event);
                }
                Ok(None) if ended => return None,
                Ok(None) => ended = self.news.changed().await.is_err(),
                // An id that was never given: told as a gap.
                Err(Missed) => (self.backlog, self.last) = self.shared.begin(Some(0)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_membership::View;
    use lampyrid_migration::SagaState;
    use lampyrid_wire::{BubbleId, ClusterId, Member, SagaId};

    use super::*;

    fn state(process: u128, status: Status) -> Arc<ViewState> {
        let me = Member {
            process: ProcessId::from_u128(process),
            incarnation: Incarnation(1),
            name: "a".to_owned(),
            address: "127.0.0.1:1".parse().unwrap(),
            admin: None,
        };
        let view = View::first(ClusterId::from_u128(1), "c", me.clone());
        Arc::new(ViewState { me, status, view: Some(Arc::new(view)), waiting_for: Vec::new() })
    }

    fn saga(number: u128) -> SagaReport {
        SagaReport {
            saga: SagaId::from_u128(number),
            state: SagaState::Done,
            to: BubbleId::from_u128(1),
            view_epoch: Epoch(1),
            entities: Vec::new(),
        }
    }

    async fn take(stream: &mut EventStream, count: usize) -> Vec<NumberedEvent> {
        let mut all: Vec<NumberedEvent> = Vec::new();
        for _ in 0..count {
            all.push(stream.next().await.unwrap());
        }
        assert!(
            all.is_sorted_by_key(|event| event.id) && all.windows(2).all(|w| w[0].id < w[1].id)
        );
        all
    }

    fn sagas(of: &[NumberedEvent]) -> Vec<u128> {
        let number = |event: &NumberedEvent| match &event.event {
            NodeEvent::Saga(report) => Some(report.saga.0.as_u128()),
            _ => None,
        };
        of.iter().filter_map(number).collect()
    }

    #[tokio::test]
    async fn the_current_state_comes_first_and_then_everything_in_order() {
        let log = EventLog::new(Incarnation(3));
        log.note_view(state(1, Status::Active));
        log.note_topology(TopologySnapshot::default());
        assert!(!log.is_wanted());
        let mut stream = log.subscribe(None);
        assert!(log.is_wanted());
        let first = take(&mut stream, 3).await;
        assert!(matches!(first[0].event, NodeEvent::View(_)), "{first:?}");
        let me = Some(ProcessId::from_u128(1));
        assert_eq!(first[1].event, NodeEvent::Coordinator { epoch: Epoch(1), coordinator: me });
        assert!(matches!(first[2].event, NodeEvent::Topology(_)), "{first:?}");
        assert!(first[0].id > 3 << NUMBER_BITS);
        log.note_topology(TopologySnapshot::default());
        log.changed(saga(7));
        log.note_view(state(1, Status::Isolated));
        let then = take(&mut stream, 3).await;
        assert_eq!(sagas(&then), [7], "the topology was the same");
        let lost = NodeEvent::Coordinator { epoch: Epoch(1), coordinator: None };
        assert_eq!(then[2].event, lost);
        drop(log);
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn one_who_comes_back_misses_nothing_and_gets_nothing_twice() {
        let log = EventLog::new(Incarnation(1));
        log.note_view(state(1, Status::Active));
        let mut stream = log.subscribe(None);
        let last = take(&mut stream, 2).await[1].id;
        log.changed(saga(1));
        drop(stream);
        log.changed(saga(2));
        let mut back = log.subscribe(Some(last));
        log.changed(saga(3));
        let all = take(&mut back, 3).await;
        assert_eq!(sagas(&all), [1, 2, 3]);
        let mut back = log.subscribe(Some(all[1].id));
        assert_eq!(sagas(&take(&mut back, 1).await), [3]);
        assert_eq!(log.gaps(), 0);
        // One that was cut off within the current state gets it anew.
        let first = log.subscribe(None).next().await.unwrap().id;
        let mut back = log.subscribe(Some(first));
        let all = take(&mut back, 3).await;
        assert_eq!(all[0].event, NodeEvent::Gap);
        assert!(matches!(all[1].event, NodeEvent::View(_)), "{all:?}");
    }

    #[tokio::test]
    async fn what_is_not_kept_any_more_is_told_as_a_gap() {
        let log = EventLog::new(Incarnation(2));
        log.note_view(state(1, Status::Active));
        let mut slow = log.subscribe(None);
        let last = take(&mut slow, 2).await[1].id;
        for number in 0..=MAX_EVENTS_KEPT as u128 {
            log.changed(saga(number));
        }
        // From another life, from the future, and too old.
        for after in [1, 1 << NUMBER_BITS, u64::MAX, last] {
            let mut back = log.subscribe(Some(after));
            let all = take(&mut back, 3).await;
            assert_eq!(all[0].event, NodeEvent::Gap, "{after}");
            assert!(matches!(all[1].event, NodeEvent::View(_)));
        }
        assert_eq!(take(&mut slow, 1).await[0].event, NodeEvent::Gap);
        assert_eq!(log.gaps(), 5);
        assert_eq!(log.0.shared.lock().kept.len(), MAX_EVENTS_KEPT);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_bytes_as_well() {
        let log = EventLog::new(Incarnation(1));
        log.note_view(state(1, Status::Active));
        let mut slow = log.subscribe(None);
        take(&mut slow, 2).await;
        let bubbles = vec![BubbleId::from_u128(1); 60_000];
        for sequence in 0..100 {
            let processes = vec![(ProcessId::from_u128(1), bubbles.clone())];
            log.note_topology(TopologySnapshot { epoch: Epoch(1), sequence, processes });
        }
        let (kept, bytes) = {
            let inner = log.0.shared.lock();
            (inner.kept.len(), inner.bytes)
        };
        assert!(kept < 20 && bytes <= MAX_BYTES_KEPT, "{kept} of {bytes} bytes");
        // Whoever has missed some is told, and has the newest.
        let all = take(&mut slow, 4).await;
        assert_eq!(all[0].event, NodeEvent::Gap);
        assert!(matches!(&all[3].event, NodeEvent::Topology(last) if last.sequence == 99));
    }

    #[tokio::test]
    async fn what_was_noted_last_is_told_before_the_end() {
        let log = EventLog::new(Incarnation(1));
        log.note_view(state(1, Status::Active));
        let mut stream = log.subscribe(None);
        take(&mut stream, 2).await;
        log.changed(saga(1));
        log.changed(saga(2));
        drop(log);
        assert_eq!(sagas(&take(&mut stream, 2).await), [1, 2]);
        assert_eq!(stream.next().await, None);
    }
}
