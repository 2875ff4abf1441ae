use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lampyrid_membership::{Status, ViewEvent, ViewHandle, ViewState};
use lampyrid_wire::{
    Alarm, BubbleId, Channel, Clock, Credit, Envelope, Epoch, Inbound, Outbound, Peer, ProcessId,
    SendError, Slot, Term, encode,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::hook_runner::HookRunner;
use crate::journal::{Report, Writer};
use crate::outbox::Outbox;
use crate::span_book::SpanBook;
use crate::store::StoreCalls;
use crate::{
    BatchError, CallId, Core, CoreConfig, Delivery, Directory, Effect, EntityError, Flaw, Input,
    JournalError, JournalSource, Limits, Membership, Message, MigrationCounters, MoveHooks, Reason,
    Reply, Request, SagaObserver, SpanSink, Step, Storage, fault, trace,
};

/// Steps whose effects may wait for a sync at once; beyond it callers are refused.
const WAITING_STEPS_MAX: usize = 8_192;

/// What the migration actor needs.
pub struct MigrationArguments {
    /// This life of this process, as its frames name it.
    pub me: Arc<dyn Fn() -> Peer + Send + Sync>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Sends to other processes.
    pub outbound: Arc<dyn Outbound>,
    /// The installed view.
    pub view: ViewHandle,
    /// The journal.
    pub journal: JournalSource,
    /// Where the states of active entities are.
    pub storage: Storage,
    /// What the host has a say in, if it wants to.
    pub hooks: Option<Arc<dyn MoveHooks>>,
    /// What may be under way at once.
    pub limits: Limits,
    /// Where the running actor is found.
    pub slot: Slot<MigrationMessage>,
    /// Called when a peer is behind that view of ours, so that membership brings it the newer one.
    pub on_stale: Arc<dyn Fn(Peer, Term) + Send + Sync>,
    /// Called when what is hosted here has changed: register it, and report with
    /// [`crate::MigrationHandle::registered`].
    pub on_hosting: Arc<dyn Fn() + Send + Sync>,
    /// Told of sagas that are over or in doubt.
    pub sagas: Arc<dyn SagaObserver>,
    /// Draws moves as spans of time, if somebody wants to see them.
    pub spans: Option<Arc<dyn SpanSink>>,
    /// What the registry knows of bubbles.
    pub directory: Arc<dyn Directory>,
    /// Called when a drain is over: leave.
    pub on_drained: Arc<dyn Fn() + Send + Sync>,
    /// Called with all processes that are barred for ever, when there is one more and at every
    /// start.
    pub on_barred: Arc<dyn Fn(Vec<ProcessId>) + Send + Sync>,
    /// What is counted, over restarts.
    pub counters: Arc<MigrationCounters>,
}

impl std::fmt::Debug for MigrationArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MigrationArguments")
    }
}

/// What the migration actor is told.
#[derive(Debug)]
pub enum MigrationMessage {
    /// A frame from another process.
    Inbound(Inbound),
    /// The view or the status changed.
    View(ViewEvent),
    /// A caller asks; [`crate::MigrationHandle`] is the way to.
    Call(Request, oneshot::Sender<Reply>),
    /// A session with that process came up: what found none is sent again at once.
    Reachable(ProcessId),
    /// Another live process hosts a bubble that is hosted here: its entities are frozen here, but
    /// may be moved out.
    BubbleClaimed(BubbleId, ProcessId),
    /// It does no longer.
    BubbleReleased(BubbleId),
    /// The registry holds exactly this set of this process; of the second, others host.
    Registered(BTreeSet<BubbleId>, BTreeMap<BubbleId, ProcessId>),
    /// Everything up to that transaction is durable, or the journal failed.
    Journal(Result<u64, JournalError>),
    /// The host's hook or store answered.
    Stored(Input),
    /// The timer rang.
    Wake,
}

impl ractor::Message for MigrationMessage {}

/// Why the actor cannot start or go on. Its supervisor restarts it, and it goes on from what the
/// journal replays; a journal that cannot be opened again ends the process.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MigrationFault {
    /// The journal cannot be opened and replayed. Restarting again does not help: end the process
    /// with a non-zero code and this text.
    #[error("the journal cannot be opened: {0}")]
    Unopenable(JournalError),
    /// A transaction failed: whether it is durable is known after a replay.
    #[error("the journal failed: {0}")]
    Journal(JournalError),
    /// The thread for the host's store cannot start.
    #[error("the thread for the host's store cannot start: {0}")]
    StoreThread(String),
}

impl MigrationFault {
    /// True if all that is amiss is a full disk: start the actor again until there is room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (Self::Unopenable(error) | Self::Journal(error)) = self else { return false };
        matches!(error, JournalError::Full(_))
    }
}

/// Runs the [`Core`]: turns messages and timers into inputs, and effects into frames and answers,
/// once what they depend on is durable.
#[derive(Debug, Default)]
pub struct MigrationActor;

/// The actor's state.
pub struct MigrationState {
    arguments: MigrationArguments,
    core: Core,
    writer: Writer,
    store: Option<StoreCalls>,
    hooks: Option<HookRunner>,
    /// With each step the frame that caused it, which counts against its sender until it has been
    /// dealt with.
    outbox: Outbox<Credit>,
    spans: SpanBook,
    callers: BTreeMap<CallId, oneshot::Sender<Reply>>,
    next_call: u64,
    alarm: Alarm,
    myself: ActorRef<MigrationMessage>,
}

impl Actor for MigrationActor {
    type Msg = MigrationMessage;
    type State = MigrationState;
    type Arguments = MigrationArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: MigrationArguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let told = myself.clone();
        let report: Report = Box::new(move |report| {
            // An actor that is gone has a successor, which replays.
            let _ = told.cast(MigrationMessage::Journal(report));
        });
        let (writer, replayed) =
            Writer::start(&arguments.journal, report).map_err(MigrationFault::Unopenable)?;
        let image = replayed.await.unwrap_or(Err(JournalError::Stopped));
        let image = image.map_err(MigrationFault::Unopenable)?;
        let store = match &arguments.storage {
            Storage::Durable => None,
            Storage::Host(store) => {
                let told = myself.clone();
                let report = move |input| {
                    let _ = told.cast(MigrationMessage::Stored(input));
                };
                let fault = |error: std::io::Error| MigrationFault::StoreThread(error.to_string());
                Some(store.start(report).map_err(fault)?)
            }
        };
        // Of the life before, if there was one.
        arguments.counters.set_journal_waits(None);
        let config = CoreConfig {
            me: (arguments.me)().process,
            limits: arguments.limits,
            seed: seed(),
            host_store: store.is_some(),
            hooks: arguments.hooks.is_some(),
            flaw: None::<Flaw>,
        };
        let hooks = arguments.hooks.clone().map(|hooks| {
            let (clock, counters) = (&arguments.clock, &arguments.counters);
            let limit = arguments.limits.hook_limit;
            HookRunner::start(hooks, Arc::clone(clock), limit, Arc::clone(counters))
        });
        let mut step = Step::default();
        let core = Core::recover(config, image, arguments.clock.now(), &mut step);
        let mut state = MigrationState {
            spans: SpanBook::new(arguments.spans.clone()),
            arguments,
            core,
            writer,
            store,
            hooks,
            outbox: Outbox::default(),
            callers: BTreeMap::new(),
            next_call: 0,
            alarm: Alarm::new(),
            myself,
        };
        state.queue(step, Credit::none())?;
        let view = state.arguments.view.current();
        state.take_view(&view)?;
        state.arguments.slot.fill(state.myself.clone());
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MigrationMessage::Inbound(inbound) => state.take_frame(inbound)?,
            MigrationMessage::View(event) => state.take_view(&event.state)?,
            MigrationMessage::Reachable(process) => {
                state.step(Input::Reachable(process), Credit::none())?;
            }
            MigrationMessage::Call(request, reply) => state.take_call(request, reply)?,
            MigrationMessage::BubbleClaimed(bubble, by) => {
                state.step(Input::BubbleClaimed(bubble, by), Credit::none())?;
            }
            MigrationMessage::BubbleReleased(bubble) => {
                state.step(Input::BubbleReleased(bubble), Credit::none())?;
            }
            MigrationMessage::Registered(hosted, claimed) => {
                state.step(Input::Registered { hosted, claimed }, Credit::none())?;
            }
            MigrationMessage::Journal(report) => {
                let number = report.map_err(MigrationFault::Journal)?;
                let now = state.arguments.clock.now();
                state.outbox.synced(number);
                state.spans.synced(now, number);
                let waits = (!state.outbox.is_synced()).then_some(now);
                state.arguments.counters.set_journal_waits(waits);
                state.release()?;
            }
            MigrationMessage::Stored(input) => state.step(input, Credit::none())?,
            MigrationMessage::Wake => {
                state.alarm.rang();
                MigrationCounters::add(&state.arguments.counters.alarms_fired, 1);
                state.step(Input::Wake, Credit::none())?;
            }
        }
        let stuck = state.core.stuck() as u64;
        state.arguments.counters.stuck.store(stuck, Ordering::Relaxed);
        state.set_alarm();
        Ok(())
    }
}

/// Drawn from the operating system.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    seed[16..].copy_from_slice(Uuid::new_v4().as_bytes());
    seed
}

impl MigrationState {
    fn step(&mut self, input: Input, credit: Credit) -> Result<(), MigrationFault> {
        let mut step = Step::default();
        self.core.step(self.arguments.clock.now(), input, &mut step);
        self.queue(step, credit)
    }

    /// Takes a step's wishes and performs what can be performed.
    fn queue(&mut self, step: Step, credit: Credit) -> Result<(), MigrationFault> {
        self.enqueue(step, credit)?;
        self.release()
    }

    /// Hands the records to the journal and the effects to those that wait for it, in order.
    fn enqueue(&mut self, step: Step, credit: Credit) -> Result<(), MigrationFault> {
        let (view, core) = (self.epoch(), &self.core);
        step.records.iter().for_each(|record| trace::recorded(view, record));
        let now = self.arguments.clock.now();
        let closed = self.spans.step(now, view, &step, |saga| core.report(saga));
        let waited = !self.outbox.is_synced();
        let taken = self.outbox.take(step, credit);
        self.spans.hold(now, taken.as_ref().map(|(number, _)| *number), closed);
        if let Some((number, records)) = taken {
            let counters = &self.arguments.counters;
            MigrationCounters::add(&counters.transactions, 1);
            MigrationCounters::add(&counters.records, records.len());
            if !waited {
                counters.set_journal_waits(Some(now));
            }
            self.writer.append(number, records).map_err(MigrationFault::Journal)?;
        }
        Ok(())
    }

    /// Performs the effects of which everything before is durable.
    fn release(&mut self) -> Result<(), MigrationFault> {
        while let Some((effects, _credit)) = self.outbox.next() {
            for effect in effects {
                self.perform(effect)?;
            }
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Result<(), MigrationFault> {
        match effect {
            Effect::Send { to, message, term, report } => {
                let sent = self.send(to, &message, term);
                if let Some(part) = report {
                    // What this step wants comes after the rest of the step that sent.
                    let mut next = Step::default();
                    let now = self.arguments.clock.now();
                    self.core.step(now, Input::Sent(part, sent), &mut next);
                    self.enqueue(next, Credit::none())?;
                }
            }
            Effect::Reply(call, reply) => {
                if let Some(caller) = self.callers.remove(&call) {
                    // A caller that is gone needs no answer.
                    let _ = caller.send(reply);
                }
            }
            Effect::Stale(peer, term) => {
                MigrationCounters::add(&self.arguments.counters.stale, 1);
                (self.arguments.on_stale)(peer, term);
            }
            Effect::Store(call) => {
                if let Some(store) = &self.store {
                    store
                        .send(call)
                        .map_err(|_| MigrationFault::StoreThread("it has stopped".to_owned()))?;
                }
            }
            Effect::AskHook(call, planned) => {
                if let Some(hooks) = &self.hooks {
                    let myself = self.myself.clone();
                    hooks.ask(planned, move |answer| {
                        // A successor knows nothing of the question.
                        let answered = Input::HookAnswered(call, answer);
                        let _ = myself.cast(MigrationMessage::Stored(answered));
                    });
                }
            }
            Effect::Moved(moved) => {
                if let Some(hooks) = &self.hooks {
                    hooks.tell(moved);
                }
            }
            Effect::Hosting => (self.arguments.on_hosting)(),
            Effect::SagaChanged(id) => {
                trace::changed(self.epoch(), id, || self.core.report(id));
                if self.arguments.sagas.is_wanted()
                    && let Some(report) = self.core.report(id)
                {
                    self.arguments.sagas.changed(report);
                }
            }
            Effect::Drained => (self.arguments.on_drained)(),
            Effect::Barred(processes) => {
                tracing::warn!(?processes, "these processes are barred for ever");
                (self.arguments.on_barred)(processes);
            }
            Effect::FindHosts(bubbles) => {
                let directory = &self.arguments.directory;
                let host = |bubble| (bubble, directory.host_of(bubble));
                let hosts = bubbles.into_iter().map(host).collect();
                let mut next = Step::default();
                self.core.step(self.arguments.clock.now(), Input::Hosts(hosts), &mut next);
                self.enqueue(next, Credit::none())?;
            }
            Effect::Measured(phase, took) => self.arguments.counters.phase(phase).record(took),
            Effect::Alarm(part, why) => {
                MigrationCounters::add(&self.arguments.counters.lost_copies, 1);
                let (saga, view) = (part.saga, self.epoch().0);
                tracing::error!(%saga, view, part = part.part, why, "a person has to look");
            }
        }
        Ok(())
    }

    fn send(&self, to: ProcessId, message: &Message, term: Option<Term>) -> Delivery {
        fault::message(message, false);
        let term = term.or_else(|| self.core.term());
        let frame = Envelope::seal((self.arguments.me)(), term, message)
            .and_then(|envelope| encode(&envelope));
        let counters = &self.arguments.counters;
        let sent = match frame {
            Ok(frame) => {
                let bytes = frame.len();
                let sent = self.arguments.outbound.send(to, Channel::Migration, frame.into());
                if let Err(error) = &sent {
                    let saga = message.part().map(|part| tracing::field::display(part.saga));
                    let view = self.epoch().0;
                    tracing::debug!(%to, saga, view, message = message.name(), %error, "not sent");
                } else {
                    trace::sent(self.epoch(), message);
                    MigrationCounters::add(&counters.messages_sent, 1);
                    MigrationCounters::add(&counters.bytes_sent, bytes);
                }
                match sent {
                    Ok(()) => Delivery::Sent,
                    Err(SendError::Overloaded(_)) => Delivery::WindowFull,
                    Err(SendError::NoRoom(_)) => Delivery::NoRoom,
                    Err(SendError::NoLink(_) | SendError::TooLarge { .. }) => Delivery::NoSession,
                }
            }
            Err(error) => {
                tracing::error!(message = message.name(), %error, "not sent");
                Delivery::NoSession
            }
        };
        if sent != Delivery::Sent {
            MigrationCounters::add(&counters.sends_failed, 1);
        }
        fault::message(message, true);
        sent
    }

    fn take_frame(&mut self, inbound: Inbound) -> Result<(), MigrationFault> {
        let from = inbound.from;
        let counters = &self.arguments.counters;
        MigrationCounters::add(&counters.messages_received, 1);
        MigrationCounters::add(&counters.bytes_received, inbound.frame.len());
        let opened = Envelope::received(&inbound).ok();
        let opened = opened.and_then(|e| Some((e.term?, e.open::<Message>().ok()?)));
        let Some((term, message)) = opened else {
            MigrationCounters::add(&counters.undecodable, 1);
            tracing::warn!(%from, "a frame is no migration message of this version");
            return Ok(());
        };
        self.spans.received(self.arguments.clock.now(), self.epoch(), &message);
        self.step(Input::Received { from, term, message }, inbound.credit)
    }

    /// The installed view's, for logs and spans.
    fn epoch(&self) -> Epoch {
        self.core.term().map(|term| term.epoch).unwrap_or_default()
    }

    fn take_view(&mut self, state: &ViewState) -> Result<(), MigrationFault> {
        let Some(view) = &state.view else { return Ok(()) };
        let members = view.members().iter().map(|member| member.key()).collect();
        let active = state.status == Status::Active;
        let membership = Membership { active, term: view.term(), members };
        self.step(Input::View(membership), Credit::none())
    }

    fn take_call(
        &mut self,
        request: Request,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), MigrationFault> {
        let isolated = self.arguments.view.permit().is_err();
        let overloaded = self.outbox.len() >= WAITING_STEPS_MAX;
        let limit = || Reason::Overloaded { limit: "waiting_steps".to_owned() };
        let is_behind = self.store.as_ref().is_some_and(StoreCalls::is_behind);
        let refusal = match (isolated, overloaded) {
            (true, _) => refuse(&request, Reason::Isolated),
            (false, true) => refuse(&request, limit()),
            (false, false) if is_behind => refuse_of_store(&request),
            (false, false) => None,
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(refusal);
            return Ok(());
        }
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.callers.insert(call, reply);
        self.step(Input::Request(call, request), Credit::none())
    }

    fn set_alarm(&mut self) {
        let myself = self.myself.clone();
        self.alarm.set(&self.arguments.clock, self.core.deadline(), move || {
            let _ = myself.cast(MigrationMessage::Wake);
        });
    }
}

/// The refusal of a request that the host's store would have work with, when it has too much;
/// `None` for all others.
fn refuse_of_store(request: &Request) -> Option<Reply> {
    let reason = Reason::Overloaded { limit: "store_calls".to_owned() };
    match request {
        Request::Get(_) => Some(Reply::Entity(Err(EntityError { reason, moved_to: None }))),
        Request::Create { .. }
        | Request::Put(..)
        | Request::Delete(_)
        | Request::Migrate { .. } => refuse(request, reason),
        _ => None,
    }
}

/// The refusal of a request that changes something; `None` for all others.
fn refuse(request: &Request, reason: Reason) -> Option<Reply> {
    let error = EntityError { reason: reason.clone(), moved_to: None };
    match request {
        Request::Create { .. } => Some(Reply::Created(Err(error))),
        Request::Put(..) | Request::Delete(_) => Some(Reply::Entity(Err(error))),
        Request::Migrate { .. } => Some(Reply::Saga(Err(BatchError(reason)))),
        Request::Bar(_) => Some(Reply::Bar(Err(reason))),
        Request::Drain | Request::CancelDrain => Some(Reply::Drain(Err(reason))),
        Request::MoveBubble { .. } | Request::CancelMove(_) => Some(Reply::BubbleMove(Err(reason))),
        _ => None,
    }
}
