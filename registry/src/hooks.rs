use lampyrid_wire::{BubbleId, ProcessId, Term};

/// What the registry, the coordinator and the broadcaster ask of, and report to, their
/// surroundings. Called from actor handlers: implementations must not block.
pub trait Hooks: Send + Sync + 'static {
    /// True if entities live in the bubble here, so that it must not be given up.
    fn has_entities(&self, bubble: BubbleId) -> bool;

    /// A bubble this process asked for, or hosted, is hosted by `by`: its entities here are to be
    /// listed frozen until they are moved out.
    fn claimed(&self, bubble: BubbleId, by: ProcessId);

    /// `peer` is in a newer view than ours; membership should fetch it.
    fn newer_view(&self, peer: ProcessId, term: Term);
}

/// Hooks of a process without entities.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn has_entities(&self, _bubble: BubbleId) -> bool {
        false
    }

    fn claimed(&self, _bubble: BubbleId, _by: ProcessId) {}

    fn newer_view(&self, _peer: ProcessId, _term: Term) {}
}
