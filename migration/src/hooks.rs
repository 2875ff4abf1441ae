use async_trait::async_trait;
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, ProcessId, SagaId};

/// A move that is about to begin, or is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The request that it belongs to.
    pub saga: SagaId,
    /// The bubble the entities go to.
    pub to: BubbleId,
    /// The process that hosts that bubble; this process itself for a local move.
    pub destination: ProcessId,
    /// The entities, and the ownership epoch of each: before the move, or after it.
    pub entities: Vec<(EntityId, OwnershipEpoch)>,
}

/// An entity that is not to move now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Veto {
    /// Which.
    pub entity: EntityId,
    /// Why, for whoever asked to move it.
    pub why: String,
}

/// What a host has a say in. Both are called in tasks of their own, several at once, and each call
/// has a hard limit ([`crate::Limits::hook_limit`], 100 ms): at the limit its future is dropped, so
/// it must be safe to drop at any await. One that never awaits cannot be cut off: it is answered for
/// all the same, and goes on by itself.
#[async_trait]
pub trait MoveHooks: Send + Sync + 'static {
    /// May these entities, at most 512 of one request, move? Nothing is locked yet: they serve on,
    /// and whether they can move is looked at again afterwards.
    ///
    /// Those named in the answer stay, with [`crate::Reason::Refused`]. At the limit all of them
    /// stay, with [`crate::Reason::HookTimedOut`]; after a panic, with
    /// [`crate::Reason::HookFailed`].
    async fn pre_migrate(&self, planned: &Move) -> Vec<Veto>;

    /// These have moved: the destination has acknowledged them and that is durable. Called beside
    /// the moves, never waited for, once for each part of a request; not at all if the process ends
    /// just then, or while 1,024 calls wait.
    async fn post_migrate(&self, moved: &Move);
}
