use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Incarnation, Peer, ProcessId};

use super::{MembershipCore, Output};
use crate::agreement::ValueId;
use crate::limits::{GOSSIP_EVERY, GOSSIP_ROUNDS, IDLE_REPEATS, MAX_ANNOUNCED, pause};
use crate::message::{Announcement, Facts, Protocol};

/// How what is known of the next view gets about. In a full mesh everybody sends news of its own to
/// everybody at once. Along the rings, news go to one neighbour after the other, a short while
/// apart, with all that is known by then, so that a thousand votes travel as one set. Either way
/// all is repeated, ever more rarely, until a view is decided.
#[derive(Debug, Default)]
pub(super) struct Gossip {
    next: Option<Duration>,
    last: Duration,
    /// Messages along the rings that the last news are still worth.
    rounds: u32,
    repeats: u32,
    /// Neighbours in the order in which they are told.
    order: Vec<ProcessId>,
    turn: usize,
    /// What each has been sent and need not be sent again, until all is repeated.
    sent: BTreeMap<ProcessId, Sent>,
}

#[derive(Debug, Default)]
struct Sent {
    values: BTreeSet<ValueId>,
    waiting: BTreeMap<ProcessId, (Incarnation, u32, bool)>,
}

impl Gossip {
    /// A new view: nothing is known of its successor.
    pub(super) fn reset(&mut self, order: Vec<ProcessId>) {
        *self = Self { order, last: self.last, ..Self::default() };
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.next
    }

    fn due_by(&mut self, at: Duration) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl MembershipCore {
    /// This process itself has something to say.
    pub(super) fn own_news(&mut self, now: Duration) {
        self.gossip.rounds = GOSSIP_ROUNDS;
        self.gossip.repeats = 0;
        let earliest = if self.is_full_mesh() { now } else { self.gossip.last + GOSSIP_EVERY };
        self.gossip.due_by(earliest.max(now));
    }

    /// It has heard something new, which others may not have heard.
    pub(super) fn heard_news(&mut self, now: Duration) {
        self.gossip.repeats = 0;
        if self.is_full_mesh() {
            self.gossip.due_by(now + pause(1));
        } else {
            self.gossip.rounds = GOSSIP_ROUNDS;
            self.gossip.due_by((self.gossip.last + GOSSIP_EVERY).max(now));
        }
    }

    /// True if anything is known of the successor of the installed view.
    fn has_facts(&self) -> bool {
        self.cut.is_open()
            || self.agreement.as_ref().is_some_and(|agreement| !agreement.is_idle())
            || self.waiting.values().any(|waiting| waiting.announced)
    }

    pub(super) fn gossip_if_due(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.gossip.next.is_none_or(|next| next > now) {
            return;
        }
        self.gossip.next = None;
        if self.seat.is_none() {
            return;
        }
        self.gossip.last = now;
        let open = self.has_facts();
        let attempt = self.gossip.rounds > 0;
        if !open && !attempt {
            return;
        }
        if self.is_full_mesh() {
            self.gossip.rounds = 0;
            self.gossip.sent.clear();
            for to in self.gossip.order.clone() {
                self.send_facts(to, true, out);
            }
            self.repeat_later(now, open);
        } else if self.gossip.rounds > 0 {
            self.gossip.rounds -= 1;
            self.tell_next(false, out);
            if self.gossip.rounds > 0 {
                self.gossip.next = Some(now + GOSSIP_EVERY);
            } else {
                self.repeat_later(now, open);
            }
        } else {
            self.gossip.sent.clear();
            self.tell_next(true, out);
            self.repeat_later(now, open);
        }
    }

    fn repeat_later(&mut self, now: Duration, open: bool) {
        // Without anything to be decided nobody waits for it.
        let wanted = self.round.is_wanted() || self.cut.is_open();
        if open && (wanted || self.gossip.repeats < IDLE_REPEATS) {
            let first = u32::from(!self.is_full_mesh()) * 4;
            self.gossip.next = Some(now + pause(self.gossip.repeats + first));
            self.gossip.repeats = self.gossip.repeats.saturating_add(1);
        }
    }

    /// Tells the next neighbour in turn with whom there is a session.
    fn tell_next(&mut self, all: bool, out: &mut Vec<Output>) {
        let count = self.gossip.order.len();
        for _ in 0..count {
            self.gossip.turn = (self.gossip.turn + 1) % count;
            let to = self.gossip.order[self.gossip.turn];
            if self.sessions.contains_key(&to) && !self.is_down(to) {
                return self.send_facts(to, all, out);
            }
        }
    }

    /// What a process of the view that has just come within reach has missed.
    pub(super) fn facts_to(&mut self, to: ProcessId, out: &mut Vec<Output>) {
        let listed = self.view().is_some_and(|view| view.index_of(to).is_some());
        if listed && self.seat.is_some() && self.has_facts() {
            self.gossip.sent.remove(&to);
            self.send_facts(to, true, out);
        }
    }

    /// Sends what is known. In haste: who has voted passes on votes, not why they were given.
    fn send_facts(&mut self, to: ProcessId, all: bool, out: &mut Vec<Output>) {
        let (Some(view), Some(agreement)) = (self.durable.view.clone(), &self.agreement) else {
            return;
        };
        let sent = self.gossip.sent.entry(to).or_default();
        let ballots = agreement.facts(|value| sent.values.contains(value));
        sent.values.extend(agreement.values().map(|(id, _)| *id));
        let mut facts = Facts { ballots, ..Facts::default() };
        if all || agreement.voted().is_none() {
            facts.reports = self.cut.facts(&view);
            let announced = self.waiting.values().filter(|waiting| waiting.announced);
            for waiting in announced {
                let key = (waiting.member.incarnation, waiting.asked, waiting.gone);
                if facts.waiting.len() < MAX_ANNOUNCED
                    && sent.waiting.insert(waiting.member.process, key) != Some(key)
                {
                    facts.waiting.push(Announcement {
                        member: waiting.member.clone(),
                        asked: waiting.asked,
                        gone: waiting.gone,
                    });
                }
            }
        }
        self.send(to, Protocol::Facts(Arc::new(facts)), out);
    }

    /// Somebody of this very view tells what it knows.
    pub(super) fn take_facts(
        &mut self,
        now: Duration,
        from: Peer,
        facts: &Facts,
        out: &mut Vec<Output>,
    ) {
        let Some(view) = self.durable.view.clone() else { return };
        if view.index_of(from.process).is_none() || self.seat.is_none() {
            return;
        }
        let (mut news, behind) = self.cut.learn(&view, &facts.reports);
        if news {
            self.watching.changed_at = now;
        }
        for announcement in &facts.waiting {
            news |= self.note_announcement(now, announcement);
        }
        if let Some(agreement) = &mut self.agreement {
            let progress = agreement.learn(&facts.ballots);
            news |= progress.news;
            self.follow(now, progress, true, out);
        }
        if self.view() != Some(&view) {
            return;
        }
        if news {
            self.heard_news(now);
        }
        if behind {
            // It lacks a later attempt, which nobody may be repeating any more.
            self.facts_to(from.process, out);
        }
    }
}
