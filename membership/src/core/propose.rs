use std::collections::BTreeSet;
use std::time::Duration;

use super::{MembershipCore, Output};
use crate::View;
use crate::agreement::{Change, Progress};
use crate::limits::{
    FAST_PATIENCE, REPEAT_LAST, ROUND_LIMIT, SPARSE_FAST_PATIENCE, SPARSE_ROUND_LIMIT, SPARSE_TURN,
    TURN, pause,
};

/// The pace of this process as a proposer.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// When it may start a classic round, if it has something to propose.
    turn: Option<Duration>,
    /// The turn was set in the hope of equal fast votes.
    hopeful: bool,
    /// When it gives the running rank up.
    give_up: Option<Duration>,
    /// Ranks given up in this view.
    failures: u32,
    round_trip: Duration,
    sync: Duration,
    /// Draws of the jitter so far.
    draws: u64,
    /// Subjects in doubt that were probed afresh.
    pub(super) reinforced: BTreeSet<u16>,
}

impl Round {
    /// A new view: nothing is proposed yet. The measured pace stays.
    pub(super) fn reset(&mut self) {
        let Self { round_trip, sync, draws, .. } = *self;
        *self = Self { round_trip, sync, draws, ..Self::default() };
    }

    pub(super) fn note_round_trip(&mut self, sample: Duration) {
        self.round_trip = (self.round_trip * 7 + sample) / 8;
    }

    pub(super) fn note_sync(&mut self, sample: Duration) {
        self.sync = (self.sync * 7 + sample) / 8;
    }

    /// True while this process wants a view to be decided.
    pub(super) fn is_wanted(&self) -> bool {
        self.turn.is_some() || self.give_up.is_some()
    }

    /// What separates two proposers' turns.
    fn turn_length(&self, sparse: bool) -> Duration {
        let least = if sparse { SPARSE_TURN } else { TURN };
        (2 * self.round_trip + self.sync).clamp(least, REPEAT_LAST)
    }

    /// A pseudo-random part of `most` (the finaliser of SplitMix64, Steele et al., 2014).
    fn jitter(&mut self, seed: u64, most: Duration) -> Duration {
        self.draws += 1;
        let mut x = seed.wrapping_add(self.draws.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        most.mul_f64((x >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

impl MembershipCore {
    /// Votes fast, or starts or gives up a classic round of its own, as the time demands.
    pub(super) fn consider_proposal(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Some(view) = self.durable.view.clone() else { return };
        if self.seat.is_none() {
            return;
        }
        if self.agreement.as_ref().is_some_and(|agreement| agreement.trying().is_some()) {
            if self.round.give_up.is_none_or(|at| now < at) {
                return;
            }
            self.abandon(now);
        }
        let wish = if self.quorum_in_reach(&view) { self.wish(now, out) } else { None };
        let Some(wish) = wish else {
            self.round.turn = None;
            return;
        };
        if self.is_member() && self.propose_early(now, &wish, &view, out) {
            return;
        }
        self.set_turn(now, &view);
        if self.round.turn.is_none_or(|turn| now < turn) {
            return;
        }
        let Some(agreement) = &mut self.agreement else { return };
        let progress = agreement.start();
        self.start_round(now);
        self.follow(now, progress, false, out);
    }

    /// What needs no promises: the one fast vote, or the first rank of its owner. True if the
    /// view changed by it.
    fn propose_early(
        &mut self,
        now: Duration,
        wish: &Change,
        view: &View,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(agreement) = &mut self.agreement else { return false };
        let first = agreement.may_propose_first();
        if !first && !agreement.may_vote_fast() {
            return false;
        }
        let Some(value) = wish.apply(view) else { return false };
        let progress =
            if first { agreement.propose_first(value) } else { agreement.vote_fast(value) };
        if first {
            self.start_round(now);
        }
        self.follow(now, progress, false, out);
        first || self.view().is_some_and(|now| **now != *view)
    }

    /// A classic round waits for this process's place in the order of proposers, and for equal
    /// fast votes as long as they can still decide.
    fn set_turn(&mut self, now: Duration, view: &View) {
        let sparse = !view.topology().is_full();
        let hopeful = self.is_member() && !self.is_fast_hopeless(now, view);
        if self.round.turn.is_some() && (hopeful || !self.round.hopeful) {
            return;
        }
        let patience = match (hopeful, sparse) {
            (false, _) => Duration::ZERO,
            (true, false) => FAST_PATIENCE,
            (true, true) => SPARSE_FAST_PATIENCE,
        };
        let turn = now + patience + self.round.turn_length(sparse) * self.position(now, view);
        self.round.turn = Some(self.round.turn.map_or(turn, |set| set.min(turn)));
        self.round.hopeful = hopeful;
    }

    fn is_fast_hopeless(&mut self, now: Duration, view: &View) -> bool {
        let mut gone = self.tally(now, view).stable;
        gone.join(&self.renewals(view));
        self.agreement.as_ref().is_none_or(|agreement| agreement.is_fast_hopeless(&gone))
    }

    pub(super) fn proposing_deadline(&self) -> Option<Duration> {
        let trying = self.agreement.as_ref().is_some_and(|it| it.trying().is_some());
        let pace = if trying { self.round.give_up } else { self.round.turn };
        let quiet = self.quiet_until().filter(|&until| until > self.last_step);
        pace.into_iter().chain(quiet).chain(self.cut.deadline(self.last_step)).min()
    }

    /// Carries out what a step of the agreement asks for. `by_others`: it was their messages that
    /// moved it.
    pub(super) fn follow(
        &mut self,
        now: Duration,
        mut progress: Progress,
        by_others: bool,
        out: &mut Vec<Output>,
    ) {
        loop {
            if progress.persist {
                self.persist(out);
                self.own_news(now);
                if by_others {
                    self.yield_to_others(now);
                }
            }
            if progress.outranked {
                self.abandon(now);
            }
            if let Some(decided) = progress.decided {
                return self.install(now, decided, out);
            }
            if !progress.free {
                return;
            }
            let value = match (self.wish(now, out), self.view()) {
                (Some(wish), Some(view)) => wish.apply(view),
                _ => None,
            };
            let (Some(value), Some(agreement)) = (value, &mut self.agreement) else {
                return self.abandon(now);
            };
            progress = agreement.propose(value);
        }
    }

    /// Somebody else is at it with a higher rank: let it finish.
    fn yield_to_others(&mut self, now: Duration) {
        if let (Some(turn), Some(view)) = (self.round.turn, self.durable.view.clone()) {
            let sparse = !view.topology().is_full();
            let wait = self.round.turn_length(sparse) * self.position(now, &view).clamp(1, 8);
            self.round.turn = Some(turn.max(now + wait));
            self.round.hopeful = false;
        }
    }

    fn abandon(&mut self, now: Duration) {
        if let Some(agreement) = &mut self.agreement {
            agreement.give_up();
        }
        self.round.give_up = None;
        let wait = pause(self.round.failures) * if self.is_full_mesh() { 1 } else { 20 };
        self.round.failures = self.round.failures.saturating_add(1);
        let seed = self.start.jitter;
        let jitter = self.round.jitter(seed, wait);
        self.round.turn = Some(now + wait / 2 + jitter / 2);
        self.round.hopeful = false;
    }

    fn start_round(&mut self, now: Duration) {
        let limit = if self.is_full_mesh() { ROUND_LIMIT } else { SPARSE_ROUND_LIMIT };
        self.round.give_up = Some(now + limit);
    }
}
