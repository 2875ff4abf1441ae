//! Every bound and every time of this crate, in one place, with their relations asserted.

use std::time::Duration;

/// Bytes of a member's name or admin URL.
pub const MAX_TEXT: usize = 512;

/// Members a view may have. Up to 11 everybody observes everybody anyway; until sparse rings exist
/// larger views are observed in full as well, which costs N x (N - 1) probes a quarter second.
pub const MAX_MEMBERS: usize = 64;

/// Joiners and restarted processes that may wait at once.
pub const MAX_WAITING: usize = 64;

/// The highest round of a rank that is taken seriously; far beyond what backoff allows in a
/// lifetime, and far from where adding one would overflow.
pub const MAX_ROUND: u64 = 1 << 48;

/// Addresses in one hint, and addresses that are sought beyond the last view's members.
pub const MAX_HINTS: usize = 64;

/// Sessions the core keeps in mind.
pub const MAX_SESSIONS: usize = 256;

/// A probe on every observed edge, this often.
pub const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Silence on an edge that is an alert, before it is widened by what was observed.
pub const EDGE_LIMIT: Duration = Duration::from_millis(1_200);

/// The most to which round trips may widen [`EDGE_LIMIT`].
pub const EDGE_LIMIT_CEILING: Duration = Duration::from_millis(3_000);

/// How late a timer may be before its owner counts as stalled and accuses nobody for that stretch.
pub const LATE: Duration = Duration::from_millis(100);

/// Limit of the one connect that follows the loss of a session.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(300);

/// What a subject whose address still accepts has to return as a live session.
pub const RETURN_LIMIT: Duration = Duration::from_millis(300);

/// The pause between two connects to such an address: one that refuses by then is dead after all.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a member without a session has, from the moment it is observed, to be reached at all.
pub const FIRST_CONTACT: Duration = Duration::from_millis(2_000);

/// Limit of a fresh probe that somebody else's report asked for.
pub const FRESH_PROBE_LIMIT: Duration = Duration::from_millis(500);

/// The core of a member with company takes a step at least this often; without a step for
/// [`HOLD`] its process was frozen.
pub const PULSE: Duration = Duration::from_millis(250);

/// How long a status is to be believed after a step. Nobody accuses a process that was silent for
/// less.
pub const HOLD: Duration = EDGE_LIMIT;

/// The longest a proposal waits for own reconnect attempts, so that crashes at one time are one
/// view change.
pub const RECONNECT_HOLD: Duration = Duration::from_millis(50);

/// The longest a subject between L and H holds up a proposal. By then every observer has probed
/// afresh; those that found it healthy outvote those that did not.
pub const UNSTABLE_PATIENCE: Duration = Duration::from_millis(2_000);

/// The least that separates the turns of two proposers.
pub const TURN: Duration = Duration::from_millis(50);

/// How long a proposer tries one rank before it starts again above it.
pub const ROUND_LIMIT: Duration = Duration::from_millis(1_000);

/// First pause before something unanswered is sent again; it doubles.
pub const REPEAT_FIRST: Duration = Duration::from_millis(50);

/// The longest such pause, and the longest between two tries of anything here.
pub const REPEAT_LAST: Duration = Duration::from_millis(1_000);

/// How long a decision is repeated to those whom it removed.
pub const FAREWELL: Duration = Duration::from_millis(3_000);

/// A waiting process that has not asked again for so long waits no more.
pub const WAITING_EXPIRES: Duration = Duration::from_millis(3_500);

/// A leaver goes after this, agreed or not.
pub const LEAVE_LIMIT: Duration = Duration::from_millis(5_000);

/// How long the last member that leaves stays for its last answers to arrive: two repeats of who
/// asks for them.
pub const LINGER: Duration = Duration::from_millis(200);

const _: () = {
    assert!(PROBE_EVERY.as_millis() * 4 <= EDGE_LIMIT.as_millis());
    assert!(PULSE.as_millis() + LATE.as_millis() < HOLD.as_millis());
    assert!(HOLD.as_millis() <= EDGE_LIMIT.as_millis());
    assert!(EDGE_LIMIT.as_millis() + PROBE_EVERY.as_millis() <= 1_500);
    assert!(LINGER.as_millis() > 3 * REPEAT_FIRST.as_millis());
    assert!(WAITING_EXPIRES.as_millis() > 3 * REPEAT_LAST.as_millis());
};

/// The pause after `tries` tries: doubling from [`REPEAT_FIRST`] to [`REPEAT_LAST`].
pub(crate) fn pause(tries: u32) -> Duration {
    REPEAT_FIRST.saturating_mul(1_u32 << tries.min(8)).min(REPEAT_LAST)
}
