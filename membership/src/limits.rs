//! Every bound and every time of this crate, in one place, with their relations asserted.

use std::time::Duration;

/// Bytes of a member's name or admin URL.
pub const MAX_TEXT: usize = 512;

/// Who observes each member, at most: d of Rapid (USENIX ATC 2018). Up to one more member
/// everybody observes everybody, and everybody has a link with everybody.
pub const OBSERVERS: usize = 10;

/// Members a view may have. Places are 16 bit numbers; a view of so many is some 200 KB on the wire.
pub const MAX_MEMBERS: usize = 2_048;

/// Views of up to so many members know no fast votes: any crash makes a fast quorum impossible in
/// them. Their tie-breaker owns the first rank instead, without asking for promises.
pub const PRE_OWNED_MEMBERS: usize = 4;

/// Joiners and restarted processes that may wait at once.
pub const MAX_WAITING: usize = 2 * MAX_MEMBERS;

/// Announcements of waiting processes in one message; more follow in the next.
pub const MAX_ANNOUNCED: usize = 256;

/// Ranks of one decision that are kept in mind, counted from the highest.
pub const MAX_RANKS: usize = 8;

/// Values of one decision that are kept in mind: one fast vote each, and those of the ranks.
pub const MAX_VALUES: usize = MAX_MEMBERS + MAX_RANKS;

/// The highest round of a rank that is taken seriously; far beyond what backoff allows in a
/// lifetime, and far from where adding one would overflow.
pub const MAX_ROUND: u64 = 1 << 48;

/// Addresses in one hint, and addresses that are sought beyond the last view's members.
pub const MAX_HINTS: usize = 64;

/// Sessions the core keeps in mind.
pub const MAX_SESSIONS: usize = 2 * MAX_MEMBERS;

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

/// The same for one with whom there was no session yet.
pub const LOOK_FOR_FIRST: Duration = Duration::from_millis(100);

/// What a member without a session has, from the moment it is observed, to be reached at all.
pub const FIRST_CONTACT: Duration = Duration::from_millis(2_000);

/// Limit of a fresh probe that somebody else's report asked for.
pub const FRESH_PROBE_LIMIT: Duration = Duration::from_millis(500);

/// The core of a member with company takes a step at least this often; without a step for
/// [`HOLD`] its process was frozen.
pub const PULSE: Duration = Duration::from_millis(250);

/// How long a report stands although its subject answers again: longer than any agreement that it
/// may be part of takes.
pub const ACCUSATION_HOLDS: Duration = Duration::from_millis(5_000);

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

/// The same where facts travel along the rings.
pub const SPARSE_TURN: Duration = Duration::from_millis(1_000);

/// How long equal fast votes may take to come together before a classic round is started.
pub const FAST_PATIENCE: Duration = Duration::from_millis(250);

/// The same where facts travel along the rings.
pub const SPARSE_FAST_PATIENCE: Duration = Duration::from_millis(2_000);

/// How long a proposer tries one rank where facts travel along the rings.
pub const SPARSE_ROUND_LIMIT: Duration = Duration::from_millis(10_000);

/// What lies between two messages with facts where they travel along the rings, to one neighbour
/// each.
pub const GOSSIP_EVERY: Duration = Duration::from_millis(50);

/// To how many neighbours in turn the last news are sent along the rings.
pub const GOSSIP_ROUNDS: u32 = 6;

/// How often facts are repeated when nothing new is heard and nothing is wanted.
pub const IDLE_REPEATS: u32 = 8;

/// How long the reports of a sparse view have to be still before a view is proposed from them:
/// some messages along the rings, so that all see the same cut.
pub const SPARSE_QUIET: Duration = Duration::from_millis(300);

/// How long no new joiner may have come before those who wait are admitted together.
pub const JOIN_QUIET: Duration = Duration::from_millis(30);

/// The longest the first of them waits for others.
pub const JOIN_PATIENCE: Duration = Duration::from_millis(1_000);

/// A change that is known and undecided for so long, in a sparse view, means isolation.
pub const UNDECIDED_LIMIT: Duration = Duration::from_millis(3_000);

/// The shortest pause between two answers to one process that is behind.
pub const CATCH_UP_PAUSE: Duration = Duration::from_millis(200);

/// First pause before something unanswered is sent again; it doubles.
pub const REPEAT_FIRST: Duration = Duration::from_millis(50);

/// The longest such pause, and the longest between two tries of anything here.
pub const REPEAT_LAST: Duration = Duration::from_millis(1_000);

/// How long a decision is repeated to those whom it removed.
pub const FAREWELL: Duration = Duration::from_millis(3_000);

/// A waiting process that has not asked again for so long waits no more.
pub const WAITING_EXPIRES: Duration = Duration::from_millis(3_500);

/// A member that is removed within this from its admission flaps.
pub const FLAP_SPAN: Duration = Duration::from_secs(10);

/// How long a process that has flapped once has to wait; doubled each time.
pub const FLAP_PAUSE: Duration = Duration::from_secs(1);

/// The longest such wait.
pub const FLAP_PAUSE_LAST: Duration = Duration::from_secs(16);

/// A leaver goes after this, agreed or not.
pub const LEAVE_LIMIT: Duration = Duration::from_millis(5_000);

/// How long the last member that leaves stays for its last answers to arrive: two repeats of who
/// asks for them.
pub const LINGER: Duration = Duration::from_millis(200);

const _: () = {
    assert!(crate::cut::high_mark(OBSERVERS) == 9 && crate::cut::low_mark(OBSERVERS) == 4);
    assert!(OBSERVERS <= 16, "reports name observers by the bits of a u16");
    assert!(MAX_MEMBERS <= 1 << 15, "places, and twice as many, are u16");
    assert!(MAX_WAITING >= MAX_MEMBERS && MAX_SESSIONS >= MAX_MEMBERS);
    assert!(SPARSE_QUIET.as_millis() > 2 * GOSSIP_EVERY.as_millis());
    assert!(JOIN_QUIET.as_millis() < JOIN_PATIENCE.as_millis());
    assert!(SPARSE_ROUND_LIMIT.as_millis() > SPARSE_FAST_PATIENCE.as_millis());
    // Whoever waits for fast votes in vain is not isolated for it before a classic round starts.
    assert!(SPARSE_FAST_PATIENCE.as_millis() < UNDECIDED_LIMIT.as_millis());
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
