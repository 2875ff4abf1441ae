use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{
    BubbleId, EntityId, Incarnation, OwnershipEpoch, Peer, ProcessId, SagaId, Term,
};

use crate::{
    Attempt, Audit, BarReport, BatchError, BubbleMoveReport, DrainReport, EntityError, EntityPage,
    EntityRecord, Message, MigrateRequest, Move, NewEntities, PartId, Phase, Reason, Record,
    SagaReport, StatusFilter, Veto, Whereabouts,
};

/// Names a caller's request until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// What the core needs to know of the installed view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// True if this process is a member and in touch with a quorum.
    pub active: bool,
    /// The view's fence.
    pub term: Term,
    /// Its members and their lives.
    pub members: BTreeMap<ProcessId, Incarnation>,
}

/// Names a question to the host's hook until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HookCall {
    /// The request that it is about.
    pub saga: SagaId,
    /// Which of its questions.
    pub number: u32,
}

/// What became of a call of `pre_migrate`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HookAnswer {
    /// It answered: these are not to move.
    Vetoes(Vec<Veto>),
    /// It was cut off at its limit.
    TimedOut,
    /// It panicked.
    Failed,
}

/// What a caller asks.
#[derive(Clone, Debug)]
pub enum Request {
    /// Create entities in a bubble hosted here.
    Create {
        /// The bubble.
        bubble: BubbleId,
        /// How many, or which.
        new: NewEntities,
        /// The state of each.
        state: Bytes,
    },
    /// Read one.
    Get(EntityId),
    /// Change one's state.
    Put(EntityId, Bytes),
    /// End one.
    Delete(EntityId),
    /// List them.
    List(StatusFilter, Option<EntityId>, usize),
    /// Move some; `host` is what the registry says of the bubble.
    Migrate {
        /// The request.
        request: MigrateRequest,
        /// The process that hosts the bubble, if any does.
        host: Option<ProcessId>,
    },
    /// How does a saga stand?
    Saga(SagaId),
    /// Answer when the saga is done, or when that time has passed.
    Wait(SagaId, Duration),
    /// Count.
    Audit,
    /// Which bubbles are hosted here?
    Bubbles,
    /// Host one more; a fresh id if none is given. One that is hosted here already stays.
    CreateBubble(Option<BubbleId>),
    /// Host it no longer.
    RetireBubble(BubbleId),
    /// Move a whole bubble; `host` is what the registry says of it.
    MoveBubble {
        /// The bubble.
        bubble: BubbleId,
        /// The process it goes to.
        to: ProcessId,
        /// The process that hosts it, if any does.
        host: Option<ProcessId>,
    },
    /// How does the last move of that bubble from here stand?
    BubbleMove(BubbleId),
    /// Answer when it is over, or when that time has passed.
    WaitBubble(BubbleId, Duration),
    /// Give it up, if it is still possible.
    CancelMove(BubbleId),
    /// Give everything away.
    Drain,
    /// Stay after all.
    CancelDrain,
    /// Answer when the drain is over, or when that time has passed.
    WaitDrain(Duration),
    /// Bar a process for ever.
    Bar(ProcessId),
    /// How does that stand, and what is known of the process?
    BarReport(ProcessId),
    /// Which are barred?
    Bars,
    /// Where is it?
    Locate(EntityId),
    /// Refuse new work; answer when nothing is under way any more, or at the limit.
    Leave,
}

/// The answer to a [`Request`], variant by variant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To create.
    Created(Result<Vec<EntityId>, EntityError>),
    /// To get, put and delete (which answers with what was deleted).
    Entity(Result<EntityRecord, EntityError>),
    /// To list.
    Page(EntityPage),
    /// To migrate.
    Saga(Result<SagaId, BatchError>),
    /// To saga and wait.
    Report(Option<SagaReport>),
    /// To audit.
    Audit(Audit),
    /// To the question for bubbles, and to retiring one.
    Bubbles(Result<Vec<BubbleId>, Reason>),
    /// To creating one.
    Bubble(Result<BubbleId, Reason>),
    /// To moving a bubble, and to giving that up.
    BubbleMove(Result<BubbleMoveReport, Reason>),
    /// To the question for a bubble's move, and to waiting for it.
    BubbleReport(Option<BubbleMoveReport>),
    /// To asking for a drain, and to giving it up.
    Drain(Result<DrainReport, Reason>),
    /// To waiting for it.
    DrainReport(DrainReport),
    /// To barring one.
    Bar(Result<BarReport, Reason>),
    /// To the question which are barred.
    Bars(Vec<BarReport>),
    /// To locate.
    Located(Option<Whereabouts>),
    /// To leave: true if nothing is left under way.
    Left(bool),
}

/// A call on the host's own store, to be done in the order given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreCall {
    /// Stop serving it and hand over its state; answer with [`Input::StoreFrozen`].
    Freeze(PartId, EntityId, OwnershipEpoch),
    /// Serve it again.
    Unfreeze(EntityId, OwnershipEpoch),
    /// Serve all again that is frozen still: a new life of the core, in which nothing leaves yet.
    UnfreezeAll,
    /// It left or ended.
    Detach(EntityId, OwnershipEpoch),
    /// It is here at that epoch; answer with [`Input::StoreAttached`].
    Attach(EntityId, BubbleId, OwnershipEpoch, Bytes),
    /// Read it; answer with [`Input::StoreAnswered`].
    Read(CallId, EntityId, OwnershipEpoch),
    /// Write it; answer with [`Input::StoreAnswered`].
    Write(CallId, EntityId, OwnershipEpoch, Bytes),
}

/// What the links did with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It is on its way.
    Sent,
    /// The peer has not yet worked off what was sent before: soon again.
    WindowFull,
    /// There is no session with the peer.
    NoSession,
    /// There is none, and the links have no room for one.
    NoRoom,
}

/// What happens to the core.
#[derive(Clone, Debug)]
pub enum Input {
    /// View or status changed.
    View(Membership),
    /// A message came in.
    Received {
        /// From whom, as its session knows.
        from: Peer,
        /// The view it was sent in.
        term: Term,
        /// The message.
        message: Message,
    },
    /// What became of a message that carries a part: the time limits count from when it was handed
    /// to the links.
    Sent(Attempt, Delivery),
    /// A session with that process came up.
    Reachable(ProcessId),
    /// A caller asks.
    Request(CallId, Request),
    /// Another live process hosts a bubble that is hosted here too.
    BubbleClaimed(BubbleId, ProcessId),
    /// It does no longer.
    BubbleReleased(BubbleId),
    /// Who hosts these bubbles, as the registry knows.
    Hosts(BTreeMap<BubbleId, Option<ProcessId>>),
    /// The registry holds exactly this set of this process, but for those that others host.
    Registered {
        /// The set.
        hosted: BTreeSet<BubbleId>,
        /// Of these, the ones that others host.
        claimed: BTreeMap<BubbleId, ProcessId>,
    },
    /// The host's store froze an entity, or says why not.
    StoreFrozen(PartId, EntityId, Result<Bytes, String>),
    /// The host's store has that entity at that epoch, or says why not.
    StoreAttached(EntityId, OwnershipEpoch, Result<(), String>),
    /// The host's store read or wrote; the state as it is now.
    StoreAnswered(CallId, EntityId, Result<Bytes, String>),
    /// The host's hook was asked, and this came of it.
    HookAnswered(HookCall, HookAnswer),
    /// The deadline has come.
    Wake,
}

/// What the core wants done once the records of its step, and of all steps before, are durable.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send, in the view that is installed at the moment of sending unless `term` says another.
    Send {
        /// To whom.
        to: ProcessId,
        /// What.
        message: Message,
        /// `None`: the current view, always, but for a flaw that tests inject.
        term: Option<Term>,
        /// Report with [`Input::Sent`].
        report: Option<Attempt>,
    },
    /// Answer a caller.
    Reply(CallId, Reply),
    /// That peer is behind: bring it the newer view.
    Stale(Peer, Term),
    /// Call the host's store.
    Store(StoreCall),
    /// Ask the host's hook; answer with [`Input::HookAnswered`], exactly once.
    AskHook(HookCall, Move),
    /// Tell the host's hook, in its own time.
    Moved(Move),
    /// A phase took that long.
    Measured(Phase, Duration),
    /// What is hosted here has changed: register it, and report with [`Input::Registered`].
    Hosting,
    /// Look these up in the registry: [`Input::Hosts`].
    FindHosts(Vec<BubbleId>),
    /// A saga is over or in doubt: tell whoever observes.
    SagaChanged(SagaId),
    /// Nothing is left here: leave.
    Drained,
    /// These are barred for ever: no session with them, and they are never admitted.
    Barred(Vec<ProcessId>),
    /// Something that needs a person: a COMMIT that its destination does not know.
    Alarm(PartId, &'static str),
}

impl Effect {
    /// True if it answers a caller.
    pub(crate) fn is_reply(&self) -> bool {
        matches!(self, Self::Reply(..))
    }
}

/// What one step wants: the records are one durable transaction, the effects wait for it and for
/// all transactions before it; but see [`RecordKind::End`](crate::RecordKind::End).
#[derive(Debug, Default)]
pub struct Step {
    /// The records, in order.
    pub records: Vec<Record>,
    /// The effects, in order.
    pub effects: Vec<Effect>,
}
