use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, EntityId, Epoch, Incarnation, Peer, ProcessId, Term, ViewId,
};

use super::check::Truth;
use super::random::Random;
use super::stored::Stored;
use crate::{
    CallId, Core, CoreConfig, Delivery, Effect, Expected, Flaw, Image, Input, Limits, Membership,
    Message, MigrateRequest, NewEntities, Outcome, Record, Reply, Request, SagaReport, SagaState,
    Step,
};

/// Bubbles of each process.
pub(crate) const BUBBLES: usize = 2;

/// Bytes of a state at most, where journals are real ones: more than a page of the store.
const PADDING: usize = 6_000;

/// Messages remembered for late repetition.
const LOG_MAX: usize = 4_000;

/// A process that runs: its core, the transactions that are not synced, and the effects that wait
/// for them.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) core: Core,
    pub(crate) unsynced: VecDeque<(u64, Vec<Record>)>,
    pub(crate) waiting: VecDeque<(u64, Vec<Effect>)>,
    pub(crate) appended: u64,
    pub(crate) durable: u64,
}

/// A process: what is on its disk, and its life, if it has one now.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) incarnation: Incarnation,
    pub(crate) disk: Image,
    pub(crate) synced: u64,
    pub(crate) live: Option<Live>,
    pub(crate) view: Membership,
    /// Where its journal is, if it is a real one; `disk` is what is in it as far as is known.
    pub(crate) store: Option<Stored>,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) at: Duration,
    pub(crate) from: Peer,
    pub(crate) to: usize,
    pub(crate) term: Term,
    pub(crate) message: Message,
}

/// What a call was about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Create,
    Put(EntityId, u64),
    Delete(EntityId),
    Migrate,
    Wait,
    Other,
}

/// All processes, the network, and what is known to be true.
#[derive(Debug)]
pub struct World {
    pub(crate) random: Random,
    pub(crate) now: Duration,
    pub(crate) processes: Vec<Process>,
    pub(crate) net: Vec<Frame>,
    pub(crate) log: Vec<Frame>,
    pub(crate) view: Membership,
    pub(crate) truth: BTreeMap<EntityId, Truth>,
    pub(crate) asked: BTreeMap<(usize, CallId), Asked>,
    pub(crate) reports: Vec<SagaReport>,
    /// A broken invariant that was noticed outside of a check.
    pub(crate) noticed: Option<String>,
    pub(crate) loss: usize,
    pub(crate) repeat: usize,
    pub(crate) delay: u64,
    /// A kind of message that hardly ever arrives.
    pub(crate) mostly_lost: Option<&'static str>,
    pub(crate) flaw: Option<Flaw>,
    /// Crash that process at that transaction of its disk: before or after it is durable.
    pub(crate) crash_at: Option<(usize, u64, bool)>,
    next_call: u64,
    next_version: u64,
    /// Bytes that states have at most, beside their version.
    padding: usize,
    releasing: bool,
    pub(crate) steps: u64,
}

impl World {
    /// That many processes, all members of the first view.
    #[must_use]
    pub fn new(seed: u64, size: usize, flaw: Option<Flaw>) -> Self {
        Self::with(seed, size, flaw, false)
    }

    /// The same with real journals, in stores on disks that can fail, and larger states.
    pub(crate) fn stored(seed: u64, size: usize) -> Self {
        Self::with(seed, size, None, true)
    }

    fn with(seed: u64, size: usize, flaw: Option<Flaw>, stored: bool) -> Self {
        let ids = (0..size).map(|n| ProcessId::from_u128(n as u128 + 1));
        let view = Membership {
            active: true,
            term: term(1),
            members: ids.clone().map(|id| (id, Incarnation(1))).collect(),
        };
        let processes = ids.map(|id| Process {
            id,
            incarnation: Incarnation(1),
            disk: Image::default(),
            synced: 0,
            live: None,
            view: view.clone(),
            store: stored.then(|| Stored::new(seed ^ id.0.as_u128() as u64)),
        });
        let mut world = Self {
            random: Random::new(seed),
            now: Duration::ZERO,
            processes: processes.collect(),
            net: Vec::new(),
            log: Vec::new(),
            view,
            truth: BTreeMap::new(),
            asked: BTreeMap::new(),
            reports: Vec::new(),
            noticed: None,
            loss: 0,
            repeat: 0,
            delay: 20,
            mostly_lost: None,
            flaw,
            crash_at: None,
            next_call: 0,
            next_version: 1,
            padding: if stored { PADDING } else { 0 },
            releasing: false,
            steps: 0,
        };
        for process in 0..size {
            world.start(process);
            for bubble in 0..BUBBLES {
                let id = bubble_of(process, bubble);
                world.request(process, Request::CreateBubble(Some(id)), Asked::Other);
            }
            world.sync(process, usize::MAX);
        }
        world
    }

    /// Starts a process, or only its actor, from its disk, if that can be read.
    pub(crate) fn start(&mut self, process: usize) {
        let Some(disk) = self.find(process) else { return };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.random.number().to_be_bytes());
        let config = CoreConfig {
            me: self.processes[process].id,
            limits: Limits::default(),
            seed,
            host_store: false,
            hooks: false,
            flaw: self.flaw,
        };
        let mut step = Step::default();
        let core = Core::recover(config, disk, self.now, &mut step);
        let (unsynced, waiting) = (VecDeque::new(), VecDeque::new());
        let live = Live { core, unsynced, waiting, appended: 0, durable: 0 };
        self.processes[process].live = Some(live);
        self.absorb(process, step);
        let view = self.processes[process].view.clone();
        self.give_view(process, view);
    }

    /// Ends a process; what was not synced is gone, and its callers get no answer.
    pub(crate) fn crash(&mut self, process: usize) {
        self.processes[process].live = None;
        self.asked.retain(|(of, _), _| *of != process);
    }

    /// Installs a view: active if this very life is in it.
    pub(crate) fn give_view(&mut self, process: usize, view: Membership) {
        let it = &mut self.processes[process];
        let listed = view.members.get(&it.id) == Some(&it.incarnation);
        let view = Membership { active: view.active && listed, ..view };
        it.view = view.clone();
        self.input(process, Input::View(view));
    }

    /// One step of a core.
    pub(crate) fn input(&mut self, process: usize, input: Input) {
        self.steps += 1;
        let now = self.now;
        let Some(live) = &mut self.processes[process].live else { return };
        let mut step = Step::default();
        live.core.step(now, input, &mut step);
        self.absorb(process, step);
    }

    fn absorb(&mut self, process: usize, step: Step) {
        let too_early = self.flaw == Some(Flaw::SendBeforeSync);
        let Some(live) = &mut self.processes[process].live else { return };
        if !step.records.is_empty() {
            live.appended += 1;
            live.unsynced.push_back((live.appended, step.records));
        }
        let (early, effects): (Vec<_>, Vec<_>) = step
            .effects
            .into_iter()
            .partition(|effect| too_early && matches!(effect, Effect::Send { .. }));
        if !effects.is_empty() {
            live.waiting.push_back((live.appended, effects));
        }
        for effect in early {
            self.perform(process, effect);
        }
        self.release(process);
    }

    /// Makes that many transactions durable, in one sync.
    pub(crate) fn sync(&mut self, process: usize, count: usize) {
        if self.processes[process].store.is_some() {
            return self.sync_stored(process, count);
        }
        for _ in 0..count {
            let it = &mut self.processes[process];
            let Some(live) = &mut it.live else { return };
            let Some((number, records)) = live.unsynced.pop_front() else { break };
            let here = self.crash_at.filter(|at| at.0 == process && at.1 == it.synced + 1);
            if let Some((_, _, false)) = here {
                self.crash_at = None;
                self.crash(process);
                return;
            }
            for write in records.iter().flat_map(|record| &record.writes) {
                it.disk.apply(write);
            }
            it.synced += 1;
            live.durable = number;
            if let Some((_, _, true)) = here {
                self.crash_at = None;
                self.crash(process);
                return;
            }
        }
        self.release(process);
    }

    pub(crate) fn release(&mut self, process: usize) {
        if std::mem::replace(&mut self.releasing, true) {
            // The steps that effects cause have their turn after those effects.
            return;
        }
        self.release_all(process);
        self.releasing = false;
    }

    fn release_all(&mut self, process: usize) {
        loop {
            let Some(live) = &mut self.processes[process].live else { return };
            if live.waiting.front().is_none_or(|(after, _)| *after > live.durable) {
                return;
            }
            let Some((_, effects)) = live.waiting.pop_front() else { return };
            for effect in effects {
                self.perform(process, effect);
            }
        }
    }

    fn perform(&mut self, process: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message, term, report } => {
                let it = &self.processes[process];
                let current = it.live.as_ref().and_then(|live| live.core.term());
                let Some(term) = term.or(current) else { return };
                let from = Peer {
                    process: it.id,
                    incarnation: it.incarnation,
                    nonce: BootNonce(it.incarnation.0),
                };
                let to = self.processes.iter().position(|other| other.id == to);
                let delivery = match self.random.below(100) {
                    n if n < self.loss / 4 => Delivery::WindowFull,
                    n if n < self.loss / 2 => Delivery::NoSession,
                    _ => Delivery::Sent,
                };
                if let Some(to) = to.filter(|_| delivery == Delivery::Sent) {
                    self.transmit(Frame { at: self.now, from, to, term, message });
                }
                if let Some(part) = report {
                    self.input(process, Input::Sent(part, delivery));
                }
            }
            Effect::Reply(call, reply) => self.answered(process, call, reply),
            Effect::Stale(..) | Effect::Store(_) | Effect::Measured(..) | Effect::Alarm(..) => {}
            Effect::AskHook(..) | Effect::Moved(_) => {}
        }
    }

    fn transmit(&mut self, frame: Frame) {
        if self.log.len() < LOG_MAX {
            self.log.push(frame.clone());
        }
        let loss = match self.mostly_lost == Some(frame.message.name()) {
            true => 95,
            false => self.loss,
        };
        let copies = 1 + usize::from(self.random.percent(self.repeat));
        for _ in 0..copies {
            if !self.random.percent(loss) {
                let at = self.now + Duration::from_millis(self.random.number() % self.delay.max(1));
                self.net.push(Frame { at, ..frame.clone() });
            }
        }
    }

    /// Delivers one message; to a process that is down it is lost.
    pub(crate) fn deliver(&mut self, frame: Frame) {
        let Frame { from, to, term, message, .. } = frame;
        self.input(to, Input::Received { from, term, message });
    }

    pub(crate) fn request(&mut self, process: usize, request: Request, asked: Asked) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        if self.processes[process].live.is_some() {
            self.asked.insert((process, call), asked);
            self.input(process, Input::Request(call, request));
        }
        call
    }

    fn answered(&mut self, process: usize, call: CallId, reply: Reply) {
        let Some(asked) = self.asked.remove(&(process, call)) else { return };
        match (asked, reply) {
            (Asked::Create, Reply::Created(Ok(ids))) => {
                for id in ids {
                    self.truth.insert(id, Truth::default());
                }
            }
            (Asked::Put(id, version), Reply::Entity(Ok(_))) => {
                if let Some(truth) = self.truth.get_mut(&id) {
                    truth.acknowledged = truth.acknowledged.max(version);
                }
            }
            (Asked::Delete(id), Reply::Entity(Ok(_))) => {
                if let Some(truth) = self.truth.get_mut(&id) {
                    truth.deleted = true;
                }
            }
            (Asked::Migrate, Reply::Saga(Ok(saga))) => {
                let until = self.now + Duration::from_secs(60);
                self.request(process, Request::Wait(saga, until), Asked::Wait);
            }
            (Asked::Wait, Reply::Report(Some(report))) if report.state == SagaState::Done => {
                self.reports.push(report);
            }
            _ => {}
        }
    }

    /// Creates one entity in a random bubble of the process.
    pub(crate) fn create(&mut self, process: usize) {
        let bubble = bubble_of(process, self.random.below(BUBBLES));
        let state = Bytes::copy_from_slice(&0_u64.to_be_bytes());
        let request = Request::Create { bubble, new: NewEntities::One(None), state };
        self.request(process, request, Asked::Create);
    }

    /// Writes a new version of an entity, wherever the caller believes it to be.
    pub(crate) fn put(&mut self, process: usize, id: EntityId) {
        let version = self.next_version;
        self.next_version += 1;
        let mut state = version.to_be_bytes().to_vec();
        if self.padding > 0 {
            state.resize(state.len() + self.random.below(self.padding), version as u8);
        }
        let state = Bytes::from(state);
        self.request(process, Request::Put(id, state), Asked::Put(id, version));
    }

    /// Ends an entity.
    pub(crate) fn delete(&mut self, process: usize, id: EntityId) {
        if let Some(truth) = self.truth.get_mut(&id) {
            truth.delete_asked = true;
        }
        self.request(process, Request::Delete(id), Asked::Delete(id));
    }

    /// Moves entities to a bubble.
    pub(crate) fn migrate(&mut self, process: usize, ids: &[EntityId], to: (usize, usize)) {
        let request = MigrateRequest {
            entities: ids.iter().map(|&id| Expected { id, epoch: None }).collect(),
            to: bubble_of(to.0, to.1),
            idempotency_key: None,
        };
        let host = Some(self.processes[to.0].id);
        self.request(process, Request::Migrate { request, host }, Asked::Migrate);
    }

    /// The process on whose disk the entity's row is.
    pub(crate) fn owner(&self, id: EntityId) -> Option<usize> {
        self.processes.iter().position(|process| process.disk.entities.contains_key(&id))
    }

    /// Nothing to deliver, to sync or to wait for.
    pub(crate) fn is_quiet(&self) -> bool {
        self.net.is_empty()
            && self.processes.iter().all(|process| {
                process.live.as_ref().is_some_and(|live| {
                    live.unsynced.is_empty() && live.waiting.is_empty() && live.core.is_idle()
                })
            })
    }

    /// What was reported as committed, as (entity, epoch).
    pub(crate) fn take_committed(&mut self) -> Vec<(EntityId, u64)> {
        let reports = std::mem::take(&mut self.reports);
        let entities = reports.into_iter().flat_map(|report| report.entities);
        entities
            .filter_map(|entity| match entity.outcome {
                Outcome::Committed { epoch } => Some((entity.id, epoch.0)),
                Outcome::Pending | Outcome::Aborted { .. } => None,
            })
            .collect()
    }
}

/// A bubble's id.
pub(crate) fn bubble_of(process: usize, bubble: usize) -> BubbleId {
    BubbleId::from_u128(((process as u128 + 1) << 8) | (bubble as u128 + 1))
}

/// The term of the view with that number.
pub(crate) fn term(epoch: u64) -> Term {
    let mut view = [0; 32];
    view[..8].copy_from_slice(&epoch.to_be_bytes());
    Term { cluster: ClusterId::from_u128(1), epoch: Epoch(epoch), view: ViewId(view) }
}
