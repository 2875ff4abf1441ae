use std::time::Duration;

use lampyrid_wire::OwnershipEpoch;

use crate::TimeLimits;

/// What may be under way at once and how long it may take. Reaching a limit is
/// [`crate::Reason::Overloaded`] with its name, or [`crate::Reason::Timeout`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Entities one request may name, or create.
    pub entities_per_request: usize,
    /// The largest state of an entity, in bytes.
    pub state_bytes: usize,
    /// Entities that may be on their way out at once.
    pub out_entities: usize,
    /// Bytes of state that may be on their way out at once.
    pub out_bytes: usize,
    /// Entities that may be staged at once; those of departed sources are counted apart, so that
    /// two full processes cannot refuse each other for ever.
    pub in_entities: usize,
    /// A destination may have at most this many times as much on its way to it as is left free for
    /// all others, entities and bytes each: so one that takes nothing never uses up all there is.
    /// Never more than five eighths of all. `usize::MAX` for no such limits. (Dynamic thresholds,
    /// after Choudhury and Hahne, 1998.)
    pub out_share: usize,
    /// Bytes that may be staged at once; those of departed sources are counted apart.
    pub in_bytes: usize,
    /// How the limits of a peer's phases follow its round trips.
    pub time_limits: TimeLimits,
    /// How long one phase of a move may take, from the moment its message was sent, as long as too
    /// little is known of the peer; and how long a session with it is waited for.
    pub phase: Duration,
    /// How long a whole part of a saga may take before it was decided; three times the limit of a
    /// phase, if that is more.
    pub saga: Duration,
    /// How long one call of a hook may take; it is cut off then.
    pub hook_limit: Duration,
    /// Calls of `pre_migrate` at once; each is about 512 entities of one request at most.
    pub hook_calls: usize,
    /// How long outcomes, forwarding addresses and idempotency keys are kept, at least.
    pub retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entities_per_request: 10_000,
            state_bytes: 1024 * 1024,
            out_entities: 16_384,
            out_bytes: 256 * 1024 * 1024,
            in_entities: 16_384,
            in_bytes: 256 * 1024 * 1024,
            out_share: 3,
            time_limits: TimeLimits::Adaptive,
            phase: Duration::from_secs(1),
            saga: Duration::from_secs(3),
            hook_limit: Duration::from_millis(100),
            hook_calls: 256,
            retention: Duration::from_secs(300),
        }
    }
}

/// Bytes of state after which a part of a saga is full, so that its frame stays near 64 KiB: what
/// keeps small messages quick beside bulk. A single larger state is a part of its own.
pub(crate) const PART_BYTES: usize = 60 * 1024;

/// Bytes of state that one request creates at most, as many as may be on their way to another
/// process: it is one transaction, which everybody else's wait for.
pub(crate) const CREATE_BYTES: usize = 256 * 1024 * 1024;

/// Entities of one part, whatever their size.
pub(crate) const PART_ENTITIES: usize = 512;

/// Entities that the host's hook is asked about in one call.
pub(crate) const HOOK_ENTITIES: usize = 512;

/// How much of all that may be on its way out may be on its way to one destination, as a fraction: a
/// request of the largest size, and beside one that takes nothing still more than the window of
/// another.
pub(crate) const LANE_SHARE: (usize, usize) = (5, 8);

/// Parts that may be between PREPARE and END at once towards one destination, whatever their sagas.
/// Each has one frame on its way at most; with as many answers to the peer's own parts, and what
/// the peer has dealt with but not given back yet, that is less than the links' window of 256.
pub(crate) const WINDOW_PARTS: usize = 64;

/// Entities after which no further part is prepared towards one destination.
pub(crate) const WINDOW_ENTITIES: usize = 8 * PART_ENTITIES;

/// Bytes of state after which no further part is prepared towards one destination, half of the
/// links' window: freezing more than goes out at once only makes it wait frozen. One part of any
/// size always goes.
pub(crate) const WINDOW_BYTES: usize = 512 * 1024;

/// Unanswered attempts of one part whose times are remembered.
pub(crate) const ATTEMPTS_MAX: usize = 8;

/// Wait before trying again to send what found the peer's window full.
pub(crate) const WINDOW_RETRY: Duration = Duration::from_millis(20);

/// Wait before the first repetition of an unanswered message; doubled each time.
pub(crate) const RESEND_FIRST: Duration = Duration::from_millis(250);

/// Longest wait between two repetitions.
pub(crate) const RESEND_MAX: Duration = Duration::from_secs(1);

/// A move that was decided, and whose destination has been in the view for so long without
/// acknowledging it, is stuck: a person has to look, and the process says that it is not ready.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Messages of a newer view that may wait here for that view.
pub(crate) const HELD_MESSAGES: usize = 256;

/// Bytes of state in the messages that wait for a newer view.
pub(crate) const HELD_BYTES: usize = 16 * 1024 * 1024;

/// Entities (and requests) whose outcomes and forwarding addresses are kept at most; beyond it the
/// oldest go before their time.
pub(crate) const RETAINED_MAX: usize = 200_000;

/// Retained rows purged by one step at most, so that no step is long.
pub(crate) const PURGE_PER_STEP: usize = 32;

/// The highest ownership epoch that is staged. No entity moves that often; a peer that claims so
/// must not bring its moves to the end of the numbers.
pub(crate) const EPOCH_MAX: OwnershipEpoch = OwnershipEpoch(u64::MAX / 2);

/// Bubbles that may be on their way from one process at once.
pub(crate) const BUBBLE_MOVES_MAX: usize = 64;

/// Entities of one bubble that are asked to move at once. A step that admits them stays short, and
/// bubbles that move at the same time have their share of what may be under way.
pub(crate) const BUBBLE_BATCH: usize = 2_048;

/// Bubbles that one process hosts or takes at most; the registry accepts no more.
pub(crate) const BUBBLES_MAX: usize = 4_096;

/// Processes that can be barred: each is an operator's decision, and never forgotten.
pub(crate) const BARRED_MAX: usize = 1_024;

/// How often a drain looks for what does not go on.
pub(crate) const DRAIN_LOOK: Duration = Duration::from_millis(250);

/// How long a member may take nothing of what it should before a drain tries another: longer than
/// the limit of a part, so that one lost message does not count.
pub(crate) const DRAIN_STALL: Duration = Duration::from_secs(4);

/// How long a member that failed a drain is passed over.
pub(crate) const SHUNNED_FOR: Duration = Duration::from_secs(10);

/// How long a bubble that has no entity left may wait for others of a drain, to be released in one
/// change of the registry: the cooldown of a broadcast, which it would wait for otherwise.
pub(crate) const RELEASE_TOGETHER: Duration = Duration::from_secs(1);

/// Parts asked about in one message.
pub(crate) const DOUBTS_PER_MESSAGE: usize = 64;

/// Callers that may wait for the end of sagas at once, and for locations.
pub(crate) const WAITERS_MAX: usize = 65_536;

/// Longest idempotency key, in bytes.
pub(crate) const KEY_BYTES: usize = 256;

const _: () = assert!(PART_BYTES < lampyrid_wire::MAX_FRAME_BYTES / 8);
const _: () =
    assert!(PART_ENTITIES * 64 + 1024 * 1024 + PART_BYTES < lampyrid_wire::MAX_FRAME_BYTES);
