use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{BubbleId, Clock, EntityId, ProcessId, SagaId, Slot};
use tokio::sync::oneshot;

use crate::{
    Audit, BarReport, BatchError, BubbleMoveReport, DrainReport, EntityError, EntityPage,
    EntityRecord, MigrateRequest, MigrationCounters, MigrationMessage, MovedTo, NewEntities,
    Reason, Reply, Request, SagaReport, StatusFilter, Whereabouts,
};

/// How long a caller waits for the actor, beyond the time it asked to wait for.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait before looking again for an actor that is being restarted.
const RESTART_PAUSE: Duration = Duration::from_millis(10);

/// What the registry knows of bubbles.
pub trait Directory: Send + Sync + 'static {
    /// The member of the installed view that hosts the bubble.
    fn host_of(&self, bubble: BubbleId) -> Option<ProcessId>;
}

/// Asks the migration actor. Every call answers within 10 s (or that, and the time it was asked to
/// wait): with [`Reason::JournalFailed`] if the actor ended before it answered, which leaves open
/// whether a change took effect. Dropping a call's future drops the answer, never the work.
#[derive(Clone)]
pub struct MigrationHandle {
    slot: Slot<MigrationMessage>,
    clock: Arc<dyn Clock>,
    directory: Arc<dyn Directory>,
    counters: Arc<MigrationCounters>,
}

impl std::fmt::Debug for MigrationHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MigrationHandle")
    }
}

impl MigrationHandle {
    /// A handle on the actor that is found in `slot`.
    #[must_use]
    pub fn new(
        slot: Slot<MigrationMessage>,
        clock: Arc<dyn Clock>,
        directory: Arc<dyn Directory>,
        counters: Arc<MigrationCounters>,
    ) -> Self {
        Self { slot, clock, directory, counters }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<MigrationCounters> {
        &self.counters
    }

    /// Creates entities in a bubble hosted here: all or none, durable before the answer.
    ///
    /// # Errors
    /// Nothing was created, unless the reason is [`Reason::JournalFailed`].
    pub async fn create(
        &self,
        bubble: BubbleId,
        new: NewEntities,
        state: Bytes,
    ) -> Result<Vec<EntityId>, EntityError> {
        match self.call(Request::Create { bubble, new, state }).await {
            Some(Reply::Created(answer)) => answer,
            _ => Err(unanswered()),
        }
    }

    /// Reads an entity that lives here, frozen or not.
    ///
    /// # Errors
    /// [`Reason::UnknownEntity`], with where it went if it left a while ago.
    pub async fn get(&self, id: EntityId) -> Result<EntityRecord, EntityError> {
        self.entity(Request::Get(id)).await
    }

    /// Replaces an entity's state, durable before the answer.
    ///
    /// # Errors
    /// Nothing changed, unless the reason is [`Reason::JournalFailed`].
    pub async fn put(&self, id: EntityId, state: Bytes) -> Result<EntityRecord, EntityError> {
        self.entity(Request::Put(id, state)).await
    }

    /// Ends an entity, durable before the answer, which is what it was.
    ///
    /// # Errors
    /// Nothing changed, unless the reason is [`Reason::JournalFailed`].
    pub async fn delete(&self, id: EntityId) -> Result<EntityRecord, EntityError> {
        self.entity(Request::Delete(id)).await
    }

    /// This process's entities after `after`, ordered by id and without their states, at most `limit`
    /// and 10,000 of them.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn list(
        &self,
        filter: StatusFilter,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<EntityPage, Reason> {
        match self.call(Request::List(filter, after, limit)).await {
            Some(Reply::Page(page)) => Ok(page),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Starts to move entities into a bubble. The saga's id is durable when it is given.
    ///
    /// # Errors
    /// Nothing was started, unless the reason is [`Reason::JournalFailed`].
    pub async fn migrate(&self, request: MigrateRequest) -> Result<SagaId, BatchError> {
        let host = self.directory.host_of(request.to);
        match self.call(Request::Migrate { request, host }).await {
            Some(Reply::Saga(answer)) => answer,
            _ => Err(BatchError(Reason::JournalFailed)),
        }
    }

    /// How a saga stands; `None` if it was never here or is forgotten.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn saga(&self, id: SagaId) -> Result<Option<SagaReport>, Reason> {
        match self.call(Request::Saga(id)).await {
            Some(Reply::Report(report)) => Ok(report),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// How a saga stands when it is done, or after `limit`. Waiting never aborts anything.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn wait(&self, id: SagaId, limit: Duration) -> Result<Option<SagaReport>, Reason> {
        let request = Request::Wait(id, self.clock.now() + limit);
        match self.call_within(request, limit + CALL_LIMIT).await {
            Some(Reply::Report(report)) => Ok(report),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Counts entities and moves.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn audit(&self) -> Result<Audit, Reason> {
        match self.call(Request::Audit).await {
            Some(Reply::Audit(audit)) => Ok(audit),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// The bubbles hosted here, sorted.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn hosted_bubbles(&self) -> Result<Vec<BubbleId>, Reason> {
        match self.call(Request::Bubbles).await {
            Some(Reply::Bubbles(answer)) => answer,
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Hosts one more bubble, with a fresh id if none is given. Needs no view. One that is hosted
    /// here already stays as it is.
    ///
    /// # Errors
    /// [`Reason::UnknownBubble`] for the nil id; [`Reason::JournalFailed`].
    pub async fn create_bubble(&self, id: Option<BubbleId>) -> Result<BubbleId, Reason> {
        match self.call(Request::CreateBubble(id)).await {
            Some(Reply::Bubble(answer)) => answer,
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Hosts a bubble no longer.
    ///
    /// # Errors
    /// [`Reason::BubbleNotEmpty`], [`Reason::UnknownBubble`], [`Reason::JournalFailed`].
    pub async fn retire_bubble(&self, id: BubbleId) -> Result<(), Reason> {
        match self.call(Request::RetireBubble(id)).await {
            Some(Reply::Bubbles(answer)) => answer.map(|_| ()),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Starts to move a bubble that is hosted here, with all its entities, to another member; a
    /// repetition gives the move that is under way. Of a bubble that is hosted there already, the
    /// entities that were left here follow it.
    ///
    /// # Errors
    /// Nothing was started, unless the reason is [`Reason::JournalFailed`].
    pub async fn move_bubble(
        &self,
        bubble: BubbleId,
        to: ProcessId,
    ) -> Result<BubbleMoveReport, Reason> {
        let host = self.directory.host_of(bubble);
        match self.call(Request::MoveBubble { bubble, to, host }).await {
            Some(Reply::BubbleMove(answer)) => answer,
            _ => Err(Reason::JournalFailed),
        }
    }

    /// How the last move of a bubble from here stands; `None` if there was none or it is forgotten.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn bubble_move(&self, bubble: BubbleId) -> Result<Option<BubbleMoveReport>, Reason> {
        match self.call(Request::BubbleMove(bubble)).await {
            Some(Reply::BubbleReport(report)) => Ok(report),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// The same when the move is over, or after `limit`. Waiting never aborts anything.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn wait_for_bubble(
        &self,
        bubble: BubbleId,
        limit: Duration,
    ) -> Result<Option<BubbleMoveReport>, Reason> {
        let request = Request::WaitBubble(bubble, self.clock.now() + limit);
        match self.call_within(request, limit + CALL_LIMIT).await {
            Some(Reply::BubbleReport(report)) => Ok(report),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Gives a bubble's move up. What has moved stays where it went; the rest stays here.
    ///
    /// # Errors
    /// [`Reason::AlreadyMoving`]: it is too late; [`Reason::UnknownBubble`]: there was no move.
    pub async fn cancel_move(&self, bubble: BubbleId) -> Result<BubbleMoveReport, Reason> {
        match self.call(Request::CancelMove(bubble)).await {
            Some(Reply::BubbleMove(answer)) => answer,
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Gives everything away and then has the process leave; a repetition goes on with the drain
    /// that is under way. It survives restarts of the actor and of the process.
    ///
    /// # Errors
    /// Nothing was started, unless the reason is [`Reason::JournalFailed`].
    pub async fn drain(&self) -> Result<DrainReport, Reason> {
        match self.call(Request::Drain).await {
            Some(Reply::Drain(answer)) => answer,
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Gives a drain up: what has not gone stays.
    ///
    /// # Errors
    /// [`Reason::Draining`]: everything has gone, and the process leaves.
    pub async fn cancel_drain(&self) -> Result<DrainReport, Reason> {
        match self.call(Request::CancelDrain).await {
            Some(Reply::Drain(answer)) => answer,
            _ => Err(Reason::JournalFailed),
        }
    }

    /// How a drain stands when it is over, or after `limit`. Waiting never ends it.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn wait_for_drain(&self, limit: Duration) -> Result<DrainReport, Reason> {
        let request = Request::WaitDrain(self.clock.now() + limit);
        match self.call_within(request, limit + CALL_LIMIT).await {
            Some(Reply::DrainReport(report)) => Ok(report),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Bars a process for ever: every member refuses it from now on, durably, and then takes back
    /// what left for it and was never acknowledged, two ownership epochs on. What that process owns
    /// or has changed is given up. A repetition goes on with what is under way.
    ///
    /// # Errors
    /// [`Reason::StillMember`] while it is in the view. Nothing was changed, unless the reason is
    /// [`Reason::JournalFailed`].
    pub async fn bar(&self, process: ProcessId) -> Result<BarReport, Reason> {
        match self.call(Request::Bar(process)).await {
            Some(Reply::Bar(answer)) => answer,
            _ => Err(Reason::JournalFailed),
        }
    }

    /// How the barring of a process stands, and whether anything here is about it; of any process,
    /// and changes nothing.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn bar_report(&self, process: ProcessId) -> Result<BarReport, Reason> {
        match self.call(Request::BarReport(process)).await {
            Some(Reply::Bar(answer)) => answer,
            _ => Err(Reason::JournalFailed),
        }
    }

    /// The processes that are barred.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn bars(&self) -> Result<Vec<BarReport>, Reason> {
        match self.call(Request::Bars).await {
            Some(Reply::Bars(reports)) => Ok(reports),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Tells the actor that the registry holds this set of this process; of `claimed`, others host.
    pub fn registered(&self, hosted: BTreeSet<BubbleId>, claimed: BTreeMap<BubbleId, ProcessId>) {
        // One that is being restarted asks for it again.
        let _ = self.slot.cast(MigrationMessage::Registered(hosted, claimed));
    }

    /// Where an entity is, as far as this process and, within 1 s, the members of its view know:
    /// the highest epoch wins.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn locate(&self, id: EntityId) -> Result<Option<MovedTo>, Reason> {
        match self.call(Request::Locate(id)).await {
            Some(Reply::Located(found)) => Ok(found.map(|found| found.place)),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// The same, and how sure that is.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn whereabouts(&self, id: EntityId) -> Result<Option<Whereabouts>, Reason> {
        match self.call(Request::Locate(id)).await {
            Some(Reply::Located(found)) => Ok(found),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Refuses new work for good, aborts what is undecided, and answers when everything is over
    /// and durable (true), or after 3 s (false: the rest goes on after the next start).
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn prepare_to_leave(&self) -> Result<bool, Reason> {
        match self.call(Request::Leave).await {
            Some(Reply::Left(all)) => Ok(all),
            _ => Err(Reason::JournalFailed),
        }
    }

    /// Tells the actor that another live process hosts a bubble that is hosted here.
    pub fn bubble_claimed(&self, bubble: BubbleId, by: ProcessId) {
        // An actor that is not running is told again by whoever watches the registry.
        let _ = self.slot.cast(MigrationMessage::BubbleClaimed(bubble, by));
    }

    /// Tells the actor that it does no longer.
    pub fn bubble_released(&self, bubble: BubbleId) {
        let _ = self.slot.cast(MigrationMessage::BubbleReleased(bubble));
    }

    async fn entity(&self, request: Request) -> Result<EntityRecord, EntityError> {
        match self.call(request).await {
            Some(Reply::Entity(answer)) => answer,
            _ => Err(unanswered()),
        }
    }

    async fn call(&self, request: Request) -> Option<Reply> {
        self.call_within(request, CALL_LIMIT).await
    }

    async fn call_within(&self, request: Request, limit: Duration) -> Option<Reply> {
        let until = self.clock.now() + limit;
        let actor = loop {
            if let Some(actor) = self.slot.get().filter(is_running) {
                break actor;
            }
            let now = self.clock.now();
            if now >= until {
                return None;
            }
            self.clock.sleep_until((now + RESTART_PAUSE).min(until)).await;
        };
        let (sender, reply) = oneshot::channel();
        actor.cast(MigrationMessage::Call(request, sender)).ok()?;
        tokio::select! {
            reply = reply => reply.ok(),
            () = self.clock.sleep_until(until) => None,
        }
    }
}

/// True from when it was put in until it ends.
fn is_running(actor: &ractor::ActorRef<MigrationMessage>) -> bool {
    use ractor::ActorStatus::{Draining, Stopped, Stopping};
    !matches!(actor.get_status(), Draining | Stopping | Stopped)
}

fn unanswered() -> EntityError {
    EntityError { reason: Reason::JournalFailed, moved_to: None }
}
