//! The rules of the migration saga as one state machine per process.
//!
//! The core changes its rows at once, in memory; the records of a step are the same changes for
//! the journal, and its effects are performed only when they are durable. So the memory is always
//! what a replay of the records would give, and recovery is the constructor.

mod accounts;
mod asking;
mod bars;
mod batches;
mod census;
mod decide;
mod destination;
mod drain;
mod entities;
mod flaw;
mod flight;
mod giving;
#[cfg(test)]
mod hook_tests;
mod ids;
#[cfg(any(test, feature = "testkit"))]
mod inspect;
mod io;
mod lane;
#[cfg(test)]
mod lane_tests;
mod locate;
mod recovery;
#[cfg(test)]
mod recovery_tests;
mod requests;
mod resend;
mod retention;
mod saga;
mod source;
#[cfg(test)]
mod store_tests;
mod taking;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "testkit"))]
mod timeless;
mod timers;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, Peer, ProcessId, SagaId, Term};

pub use flaw::Flaw;
pub use io::{
    CallId, Delivery, Effect, HookAnswer, HookCall, Input, Membership, Reply, Request, Step,
    StoreCall,
};
#[cfg(any(test, feature = "testkit"))]
pub use timeless::{TIMELESS, minted};

use crate::pace::Peers;
use crate::{Attempt, Audit, Image, Limits, Message, PartId, Record, RecordKind, Write};
use accounts::{Hold, Load};
use bars::Bars;
use census::Census;
use destination::{Copied, Doubting};
use flight::Flight;
use giving::Hosting;
use ids::Ids;
use lane::Lane;
use locate::Query;
use retention::Kept;
use saga::Saga;
use timers::{Timer, Timers};

/// How a core is set up.
#[derive(Clone, Copy, Debug)]
pub struct CoreConfig {
    /// This process.
    pub me: ProcessId,
    /// What may be under way.
    pub limits: Limits,
    /// Seed of all identifiers it mints: fresh at every start.
    pub seed: [u8; 32],
    /// True if the states of active entities are in the host's own store, not in the journal.
    pub host_store: bool,
    /// True if the host has hooks, which are asked before anything is locked.
    pub hooks: bool,
    /// A rule to break; for tests of the tests.
    pub flaw: Option<Flaw>,
}

/// All entities, sagas and stagings of one process.
#[derive(Clone, Debug)]
pub struct Core {
    config: CoreConfig,
    ids: Ids,
    now: Duration,
    image: Image,
    view: Option<Membership>,
    /// No new work: the process is leaving.
    closing: bool,
    /// Who waits for the end of the work under way.
    leaving: Option<CallId>,
    /// Entities that a part of a saga has.
    moving: BTreeMap<EntityId, Hold>,
    census: Census,
    /// Parts that have been in doubt for too long.
    stuck: BTreeSet<PartId>,
    /// Open parts at the source.
    flights: BTreeMap<PartId, Flight>,
    sagas: BTreeMap<SagaId, Saga>,
    /// What goes where: sagas, and parts that are open.
    lanes: BTreeMap<ProcessId, Lane>,
    /// Lanes in which a part may have come to its turn.
    stirred: BTreeSet<ProcessId>,
    /// All of them together.
    out: Load,
    /// How long peers take.
    peers: Peers,
    /// Which staging holds an entity's staged copy.
    staged: BTreeMap<EntityId, Copied>,
    /// Open stagings.
    doubting: BTreeMap<PartId, Doubting>,
    /// What is staged, by its source.
    staged_from: BTreeMap<ProcessId, Load>,
    /// Epochs of activated records.
    activated: BTreeSet<(EntityId, OwnershipEpoch)>,
    /// Only for [`Flaw::SeenCountsStaged`].
    seen: BTreeMap<EntityId, OwnershipEpoch>,
    claims: BTreeMap<BubbleId, ProcessId>,
    /// Whole bubbles that come and go.
    hosting: Hosting,
    bars: Bars,
    held: VecDeque<(Peer, Term, Message)>,
    held_bytes: usize,
    queries: BTreeMap<u64, Query>,
    /// The query of a caller.
    asking: BTreeMap<CallId, u64>,
    next_query: u64,
    waiters: BTreeMap<CallId, SagaId>,
    /// Questions to the host's store without an answer; of a write, the epoch it is at.
    store_calls: BTreeMap<CallId, Option<OwnershipEpoch>>,
    /// Entities that the host's store did not take over when it was last told to.
    unattached: BTreeSet<EntityId>,
    /// Questions to the host's hook without an answer.
    hook_calls: BTreeSet<HookCall>,
    timers: Timers,
    kept_sagas: Kept,
    /// Outcomes of parts whose destination this is.
    kept_activations: VecDeque<(Duration, PartId)>,
    counts: Audit,
}

impl Core {
    /// Performs one step: changes the rows, and says in `out` what must be recorded and what is to
    /// be done once that is durable.
    pub fn step(&mut self, now: Duration, input: Input, out: &mut Step) {
        self.now = now;
        // What was due before has its turn when the timer rings: behind all that has come in by
        // then, for an answer may be among it.
        let since = if matches!(input, Input::Wake) { Duration::ZERO } else { now };
        match input {
            Input::View(view) => self.on_view(view, out),
            Input::Received { from, term, message } => self.on_received(from, term, message, out),
            Input::Sent(attempt, delivery) => self.on_sent(attempt, delivery),
            Input::Reachable(process) => self.on_reachable(process, out),
            Input::Request(call, request) => self.on_request(call, request, out),
            Input::BubbleClaimed(bubble, by) => {
                // Of one that is on its way here the registry is asked when it has arrived.
                if !self.takes(bubble) {
                    self.claims.insert(bubble, by);
                }
            }
            Input::BubbleReleased(bubble) => {
                self.claims.remove(&bubble);
            }
            Input::Hosts(hosts) => self.on_hosts(&hosts, out),
            Input::Registered { hosted, claimed } => self.on_registered(&hosted, &claimed, out),
            Input::StoreFrozen(part, entity, state) => {
                self.on_frozen(part, entity, state, out);
            }
            Input::StoreAttached(entity, epoch, Ok(())) => self.on_attached(entity, epoch, out),
            Input::StoreAttached(entity, epoch, Err(_)) => self.on_not_attached(entity, epoch),
            Input::StoreAnswered(call, entity, state) => {
                self.on_store_answer(call, entity, state, out);
            }
            Input::HookAnswered(call, answer) => self.on_hook_answer(call, answer, out),
            Input::Wake => {}
        }
        let mut doubtful: BTreeMap<ProcessId, Vec<PartId>> = BTreeMap::new();
        while let Some(timer) = self.timers.pop(since, now) {
            match timer {
                Timer::Part(part) => self.on_part_timer(part, out),
                Timer::Staging(part) => doubtful.entry(part.source).or_default().push(part),
                Timer::Call(call) => self.on_call_timer(call, out),
                Timer::Giving(bubble) => {
                    self.hosting.due.insert(bubble);
                }
                Timer::Taking(bubble) => self.on_taking_timer(bubble, out),
                Timer::Drain => self.drain_due(),
                Timer::Bars => self.bars_due(out),
            }
        }
        self.ask_about(doubtful, out);
        self.drive_moves(out);
        self.drive_drain(out);
        self.pump(out);
        // What had nothing to move is over already.
        self.drive_moves(out);
        self.pump(out);
        self.purge(out);
        self.purge_moves(out);
        self.end_if_left(out);
    }

    /// When the core wants [`Input::Wake`]; `None` if nothing is under way.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The fence of the installed view.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.view.as_ref().map(|view| view.term)
    }

    /// All rows as they will be once every record handed out is durable.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// True if nothing is under way: no open part, no staging, nobody waiting.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let asking = !self.hook_calls.is_empty() || self.timers.next().is_some();
        self.flights.is_empty() && self.doubting.is_empty() && !asking
    }

    /// Changes rows, and notes the record of it.
    fn record(&mut self, kind: RecordKind, writes: Vec<Write>, out: &mut Step) {
        for write in &writes {
            self.census.note(&self.image, write);
            self.image.apply(write);
            if let Write::Entity(id, None) = write {
                self.unattached.remove(id);
            }
        }
        out.records.push(Record { kind, writes });
    }

    /// Sends to a member of the view while active; otherwise whoever needs it sends again later.
    fn send(&self, to: ProcessId, message: Message, report: Option<Attempt>, out: &mut Step) {
        if self.reaches(to) {
            let term = report
                .filter(|_| self.flawed(Flaw::PrepareViewAsTerm))
                .and_then(|attempt| self.image.parts.get(&attempt.part))
                .map(|row| row.view);
            out.effects.push(Effect::Send { to, message, term, report });
        }
    }

    /// True while this process is active and `to` is in its view.
    fn reaches(&self, to: ProcessId) -> bool {
        let member = |view: &Membership| view.active && view.members.contains_key(&to);
        self.view.as_ref().is_some_and(member) && !self.is_barred(to)
    }

    fn is_active(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.active)
    }
}
