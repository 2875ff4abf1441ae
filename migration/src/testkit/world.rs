use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, EntityId, Epoch, Incarnation, Peer, ProcessId, SagaId, Term,
    ViewId,
};

use super::bubbles::Registry;
use super::check::Truth;
use super::crash::{Comeback, CrashPoint};
use super::random::Random;
use super::stored::Stored;
use crate::outbox::Outbox;
use crate::{
    CallId, Core, CoreConfig, Delivery, DoubtAnswer, Effect, Flaw, Image, Input, Limits,
    Membership, Message, PartId, Record, Request, SagaReport, Step,
};

/// Bubbles of each process.
pub(crate) const BUBBLES: usize = 2;

/// Bytes of a state at most, where journals are real ones: more than a page of the store.
const PADDING: usize = 6_000;

/// Messages remembered for late repetition.
const LOG_MAX: usize = 1_000;

/// A process that runs: its core, the transactions that are not synced, and the effects that wait
/// for them.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) core: Core,
    pub(crate) unsynced: VecDeque<(u64, Vec<Record>)>,
    pub(crate) outbox: Outbox<()>,
}

/// A process: what is on its disk, and its life, if it has one now.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) incarnation: Incarnation,
    pub(crate) disk: Image,
    pub(crate) synced: u64,
    pub(crate) live: Option<Live>,
    /// Stopped for a while: it does nothing, and what is sent to it waits.
    pub(crate) frozen: bool,
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    Create,
    Put(EntityId, u64),
    Delete(EntityId),
    /// At that time, under that key; those entities had nothing under way.
    Migrate(Duration, Option<String>, Vec<EntityId>),
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
    /// Entities of which something on a disk changed since the last check.
    pub(crate) touched: BTreeSet<EntityId>,
    /// Decided parts on disks that still carry a copy of an entity.
    pub(crate) decided: BTreeMap<EntityId, BTreeSet<(usize, PartId)>>,
    pub(crate) asked: BTreeMap<(usize, CallId), Asked>,
    pub(crate) reports: Vec<SagaReport>,
    /// Sagas by the keys of their requests, and since when those are known.
    pub(crate) keys: BTreeMap<(usize, String), (SagaId, Duration)>,
    /// What cores and callers noticed at once.
    pub(crate) noticed: Option<String>,
    pub(crate) registry: Registry,
    pub(crate) loss: usize,
    pub(crate) repeat: usize,
    pub(crate) delay: u64,
    /// A kind of message that hardly ever arrives.
    pub(crate) mostly_lost: Option<&'static str>,
    pub(crate) flaw: Option<Flaw>,
    /// Kinds of message that never arrive.
    pub(crate) cut: &'static [&'static str],
    /// Where processes crash, one after the other, and how they come back.
    pub(crate) crashes: VecDeque<CrashPoint>,
    pub(crate) comeback: Comeback,
    /// When somebody last crashed.
    pub(crate) crashed: Duration,
    /// Tells what happens.
    pub(crate) tells: bool,
    pub(crate) next_call: u64,
    pub(crate) next_version: u64,
    /// Bytes that states have at most, beside their version.
    pub(crate) padding: usize,
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
            frozen: false,
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
            touched: BTreeSet::new(),
            decided: BTreeMap::new(),
            asked: BTreeMap::new(),
            reports: Vec::new(),
            keys: BTreeMap::new(),
            noticed: None,
            registry: Registry::default(),
            loss: 0,
            repeat: 0,
            delay: 20,
            mostly_lost: None,
            flaw,
            cut: &[],
            crashes: VecDeque::new(),
            comeback: Comeback::Never,
            crashed: Duration::ZERO,
            tells: false,
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

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            eprintln!("{:>9.3} {}", self.now.as_secs_f64(), what());
        }
    }

    /// Starts a process, or only its actor, from its disk, if that can be read.
    pub(crate) fn start(&mut self, process: usize) {
        let Some(disk) = self.find(process) else { return };
        self.tell(|| format!("{process} starts as life {}", self.processes[process].incarnation));
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
        let live = Live { core, unsynced: VecDeque::new(), outbox: Outbox::default() };
        self.processes[process].live = Some(live);
        self.processes[process].frozen = false;
        self.absorb(process, step);
        let view = self.processes[process].view.clone();
        self.give_view(process, view);
    }

    /// Ends a process; what was not synced is gone, and its callers get no answer.
    pub(crate) fn crash(&mut self, process: usize) {
        self.tell(|| format!("{process} crashes, unsynced {:?}", self.unsynced(process)));
        self.processes[process].live = None;
        self.crashed = self.now;
        self.asked.retain(|(of, _), _| *of != process);
    }

    /// Installs a view: active if this very life is in it.
    pub(crate) fn give_view(&mut self, process: usize, view: Membership) {
        let it = &mut self.processes[process];
        let listed = view.members.get(&it.id) == Some(&it.incarnation);
        let view = Membership { active: view.active && listed, ..view };
        it.view = view.clone();
        self.input(process, Input::View(view));
        self.admitted(process);
    }

    /// True if it runs, and is not stopped.
    pub(crate) fn runs(&self, process: usize) -> bool {
        let it = &self.processes[process];
        it.live.is_some() && !it.frozen
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

    fn absorb(&mut self, process: usize, mut step: Step) {
        let too_early = self.flaw == Some(Flaw::SendBeforeSync);
        let kinds = || step.records.iter().map(|record| record.kind).collect::<Vec<_>>();
        if !step.records.is_empty() {
            self.tell(|| format!("{process} records {:?}", kinds()));
        }
        let Some(live) = &mut self.processes[process].live else { return };
        let mut early = Vec::new();
        if too_early {
            let is_send = |effect: &Effect| matches!(effect, Effect::Send { .. });
            (early, step.effects) = step.effects.into_iter().partition(is_send);
        }
        live.unsynced.extend(live.outbox.take(step, ()));
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
            let next = (process, it.synced + 1);
            let here = self.crashes.front().filter(|at| (at.process, at.transaction) == next);
            let after = here.map(|at| at.after);
            if after.is_some() {
                self.crashes.pop_front();
            }
            if after == Some(false) {
                self.crash(process);
                return;
            }
            live.outbox.synced(number);
            it.synced += 1;
            self.write(process, &records);
            if after == Some(true) {
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
            let Some((effects, _)) = live.outbox.next() else { return };
            for effect in effects {
                self.perform(process, effect);
            }
        }
    }

    fn peer(&self, process: usize) -> Peer {
        let it = &self.processes[process];
        let nonce = BootNonce(it.incarnation.0);
        Peer { process: it.id, incarnation: it.incarnation, nonce }
    }

    fn number_of(&self, id: ProcessId) -> Option<usize> {
        self.processes.iter().position(|other| other.id == id)
    }

    fn perform(&mut self, process: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message, term, report } => {
                let live = self.processes[process].live.as_ref();
                let Some(term) = term.or(live.and_then(|live| live.core.term())) else { return };
                let from = self.peer(process);
                let delivery = match self.random.below(100) {
                    n if n < self.loss / 4 => Delivery::WindowFull,
                    n if n < self.loss / 2 => Delivery::NoSession,
                    _ => Delivery::Sent,
                };
                let to = self.number_of(to);
                if let Some(to) = to.filter(|_| delivery == Delivery::Sent) {
                    self.transmit(Frame { at: self.now, from, to, term, message });
                }
                if let Some(part) = report {
                    self.input(process, Input::Sent(part, delivery));
                }
            }
            Effect::Reply(call, reply) => self.answered(process, call, reply),
            // No disk is ever lost here, so nobody should have to look.
            Effect::Alarm(part, why) => {
                let alarm = || format!("process {process} raises an alarm of {part}: {why}");
                self.noticed.get_or_insert_with(alarm);
            }
            Effect::Hosting => self.registry.pending.push_back(process),
            Effect::FindHosts(bubbles) => {
                let host = |bubble| (bubble, self.host_of(bubble));
                let hosts = bubbles.into_iter().map(host).collect();
                self.input(process, Input::Hosts(hosts));
            }
            Effect::Drained => self.registry.drained.push(process),
            Effect::Stale(..) | Effect::Barred(_) | Effect::Store(_) | Effect::Measured(..) => {}
            Effect::AskHook(..) | Effect::Moved(_) | Effect::SagaChanged(_) => {}
        }
    }

    fn transmit(&mut self, frame: Frame) {
        if self.log.len() < LOG_MAX {
            self.log.push(frame.clone());
        }
        if self.cut.contains(&frame.message.name()) {
            return;
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

    /// Delivers one message; to a process that is down it is lost, at one that is stopped it waits.
    pub(crate) fn deliver(&mut self, frame: Frame) {
        if self.processes[frame.to].frozen {
            let at = self.now + Duration::from_millis(1 + self.delay);
            self.net.push(Frame { at, ..frame });
            return;
        }
        let Frame { from, to, term, message, .. } = frame;
        self.tell(|| {
            let up = if self.processes[to].live.is_some() { "" } else { " (down)" };
            format!("{to}{up} hears of {from} in view {}: {message:?}", term.epoch)
        });
        if self.flaw == Some(Flaw::UnknownBeforeReplay) && self.processes[to].live.is_none() {
            self.answer_before_replay(from, to, term, message);
            return;
        }
        self.input(to, Input::Received { from, term, message });
    }

    /// Its actor is about to start again, and speaks of a journal that it has not read yet.
    fn answer_before_replay(&mut self, from: Peer, to: usize, term: Term, message: Message) {
        let view = &self.processes[to].view;
        let fits = view.active && view.term == term;
        let (Message::Doubt { parts }, true, Some(back)) =
            (message, fits, self.number_of(from.process))
        else {
            return;
        };
        let answers = parts.into_iter().map(|part| (part, DoubtAnswer::Unknown)).collect();
        let message = Message::DoubtAnswers { answers };
        self.transmit(Frame { at: self.now, from: self.peer(to), to: back, term, message });
    }

    /// The process on whose disk the entity's row is.
    #[must_use]
    pub fn owner(&self, id: EntityId) -> Option<usize> {
        self.processes.iter().position(|process| process.disk.entities.contains_key(&id))
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
