use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::ProcessId;

use super::{MembershipCore, Output};
use crate::View;
use crate::agreement::{Acceptor, Electorate, Proposer, Rank, Ruling, Selection, Vote};
use crate::flaw::Flaw;
use crate::limits::{MAX_ROUND, REPEAT_LAST, ROUND_LIMIT, TURN, pause};
use crate::message::Protocol;

/// The pace of this process as a proposer.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// When it may start, if it has something to propose.
    turn: Option<Duration>,
    /// When the running phase asks those again who have not answered.
    resend: Option<Duration>,
    resends: u32,
    /// When it gives the running rank up.
    give_up: Option<Duration>,
    /// Ranks given up in this view.
    failures: u32,
    /// The highest round heard of.
    highest: u64,
    round_trip: Duration,
    sync: Duration,
    /// Draws of the jitter so far.
    draws: u64,
    /// Subjects in doubt whose observers were asked to probe afresh.
    pub(super) reinforced: BTreeSet<ProcessId>,
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

    /// What separates two proposers' turns.
    fn turn_length(&self) -> Duration {
        (2 * self.round_trip + self.sync).clamp(TURN, REPEAT_LAST)
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
    /// Starts, repeats or gives up a proposal of its own, as the time demands.
    pub(super) fn consider_proposal(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Some(view) = self.durable.view.clone() else { return };
        let Some(index) = view.index_of(self.me.process) else { return };
        if self.proposer.rank().is_some() {
            if self.round.give_up.is_some_and(|at| now >= at) {
                self.abandon(now);
            } else {
                return self.resend_if_due(now, out);
            }
        }
        if !self.linked_quorum(&view) || self.wish(now, out).is_none() {
            self.round.turn = None;
            return;
        }
        let turn = match self.round.turn {
            Some(turn) => turn,
            None => now + self.round.turn_length() * self.position(now, &view),
        };
        self.round.turn = Some(turn);
        if now < turn {
            return;
        }
        let promised = self.durable.promised.map_or(0, |rank| rank.round);
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let rank = Rank { round: promised.max(self.round.highest) + 1, index };
        assert!(Some(rank) > self.durable.promised, "a proposer starts above its own promise");
        self.durable.promised = Some(rank);
        self.persist(out);
        self.proposer.prepare(rank);
        self.start_phase(now);
        self.round.give_up = Some(now + ROUND_LIMIT);
        self.ask_electorate(out);
        let own = self.durable.voted.clone();
        self.promise(now, self.me.process, rank, own, out);
    }

    pub(super) fn proposing_deadline(&self) -> Option<Duration> {
        let pace = if self.proposer.rank().is_some() {
            self.round.resend.into_iter().chain(self.round.give_up).min()
        } else {
            self.round.turn
        };
        pace.into_iter().chain(self.cut.deadline(self.last_step)).min()
    }

    /// Phase 1 at an acceptor.
    pub(super) fn prepare(
        &mut self,
        now: Duration,
        from: ProcessId,
        rank: Rank,
        out: &mut Vec<Output>,
    ) {
        if !self.owns(from, rank) {
            return;
        }
        let ruling = self.acceptor().promise(rank);
        if !self.rule(now, from, rank, ruling, out) {
            return;
        }
        let voted = self.durable.voted.clone();
        self.send(from, Protocol::Promise { rank, voted }, out);
    }

    /// Phase 2 at an acceptor. What the rank brings is voted for, even a view without oneself.
    pub(super) fn accept(
        &mut self,
        now: Duration,
        from: ProcessId,
        rank: Rank,
        value: &Arc<View>,
        out: &mut Vec<Output>,
    ) {
        if !self.owns(from, rank) || !self.is_successor(value) {
            return;
        }
        let ruling = self.acceptor().vote(rank, value);
        if self.rule(now, from, rank, ruling, out) {
            self.send(from, Protocol::Voted { rank }, out);
        }
    }

    /// A promise for the rank being tried, perhaps its own.
    pub(super) fn promise(
        &mut self,
        now: Duration,
        from: ProcessId,
        rank: Rank,
        voted: Option<Vote>,
        out: &mut Vec<Output>,
    ) {
        let Some(view) = self.durable.view.clone() else { return };
        if voted.as_ref().is_some_and(|vote| !self.is_successor(&vote.value)) {
            return;
        }
        let live = self.live_set(&view);
        let electorate = Electorate { view: &view, flaws: self.flaws, live: &live };
        let Some(selection) = self.proposer.promised(from, rank, voted, &electorate) else {
            return;
        };
        let value = match selection {
            Selection::Forced(value) => Some(value),
            Selection::Free => {
                self.wish(now, out).and_then(|members| view.successor(members)).map(Arc::new)
            }
        };
        let Some(value) = value else { return self.abandon(now) };
        match self.acceptor().vote(rank, &value) {
            Ruling::Granted | Ruling::Repeated => {}
            Ruling::Refused(_) => return self.abandon(now),
        }
        self.persist(out);
        self.proposer.propose(value);
        self.start_phase(now);
        self.ask_electorate(out);
        self.vote_of(now, self.me.process, rank, out);
    }

    /// A vote in the rank being tried, perhaps its own.
    pub(super) fn vote_of(
        &mut self,
        now: Duration,
        from: ProcessId,
        rank: Rank,
        out: &mut Vec<Output>,
    ) {
        let Some(view) = self.durable.view.clone() else { return };
        let live = self.live_set(&view);
        let electorate = Electorate { view: &view, flaws: self.flaws, live: &live };
        if let Some(decided) = self.proposer.voted(from, rank, &electorate) {
            self.install(now, decided, out);
        }
    }

    /// An acceptor has promised more.
    pub(super) fn rejected(&mut self, now: Duration, rank: Rank, promised: Rank) {
        self.round.highest = self.round.highest.max(promised.round.min(MAX_ROUND));
        if self.proposer.rank() == Some(rank) && promised > rank {
            self.abandon(now);
        }
    }

    /// Carries out an acceptor's ruling; true if it is to be answered with yes.
    fn rule(
        &mut self,
        now: Duration,
        from: ProcessId,
        rank: Rank,
        ruling: Ruling,
        out: &mut Vec<Output>,
    ) -> bool {
        self.round.highest = self.round.highest.max(rank.round);
        match ruling {
            Ruling::Refused(promised) => {
                self.send(from, Protocol::Reject { rank, promised }, out);
                return false;
            }
            Ruling::Granted => {
                self.persist(out);
                self.yield_to(now, rank);
            }
            Ruling::Repeated => {}
        }
        true
    }

    /// Somebody else is at it with a higher rank: let it finish.
    fn yield_to(&mut self, now: Duration, rank: Rank) {
        if self.proposer.rank().is_some_and(|own| own < rank) {
            self.abandon(now);
        }
        if let (Some(turn), Some(view)) = (self.round.turn, self.durable.view.clone()) {
            let wait = self.round.turn_length() * self.position(now, &view).max(1);
            self.round.turn = Some(turn.max(now + wait));
        }
    }

    fn abandon(&mut self, now: Duration) {
        self.proposer = Proposer::Idle;
        self.round.give_up = None;
        self.round.resend = None;
        let wait = pause(self.round.failures);
        self.round.failures = self.round.failures.saturating_add(1);
        let seed = self.start.jitter;
        let jitter = self.round.jitter(seed, wait);
        self.round.turn = Some(now + wait / 2 + jitter / 2);
    }

    fn start_phase(&mut self, now: Duration) {
        self.round.resends = 0;
        self.round.resend = Some(now + pause(1));
    }

    fn resend_if_due(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.round.resend.is_some_and(|at| now >= at) {
            self.round.resends += 1;
            self.round.resend = Some(now + pause(self.round.resends + 1));
            self.ask_electorate(out);
        }
    }

    /// Sends the running phase to every process that has not answered it.
    fn ask_electorate(&self, out: &mut Vec<Output>) {
        let Some(view) = self.view() else { return };
        for (place, member) in view.members().iter().enumerate() {
            if self.proposer.has_answer_of(member.process) {
                continue;
            }
            let message = match &self.proposer {
                Proposer::Idle => return,
                Proposer::Preparing { rank, .. } => Protocol::Prepare { rank: *rank },
                Proposer::Accepting { rank, value, .. } => {
                    let value = self.value_for(place, value, view);
                    Protocol::Accept { rank: *rank, value }
                }
            };
            self.send(member.process, message, out);
        }
    }

    /// The one value of the rank, whoever is asked.
    fn value_for(&self, place: usize, value: &Arc<View>, view: &View) -> Arc<View> {
        if self.flaws.has(Flaw::TwoValuesOneRank)
            && place % 2 == 1
            && let Some(other) = view.successor(view.members().to_vec())
        {
            return Arc::new(other);
        }
        Arc::clone(value)
    }

    fn owns(&self, from: ProcessId, rank: Rank) -> bool {
        rank.round <= MAX_ROUND
            && self.view().is_some_and(|view| {
                view.index_of(self.me.process).is_some()
                    && view.index_of(from) == Some(usize::from(rank.index))
            })
    }

    fn acceptor(&mut self) -> Acceptor<'_> {
        Acceptor { promised: &mut self.durable.promised, voted: &mut self.durable.voted }
    }

    /// The members believed alive; what quorums are *not* counted against.
    fn live_set(&self, view: &View) -> BTreeSet<ProcessId> {
        let here = |p: ProcessId| p == self.me.process || self.is_live(p);
        view.members().iter().map(|member| member.process).filter(|&p| here(p)).collect()
    }
}
