use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Epoch, Member, Peer, ProcessId, Term};

use super::repeat::Repeat;
use super::{MembershipCore, Output};
use crate::agreement::is_modest;
use crate::limits::{MAX_HINTS, MAX_MEMBERS, MAX_WAITING, WAITING_EXPIRES};
use crate::message::{Announcement, JoinRefusal, Protocol};
use crate::{Status, View};

/// A process that asked to be admitted, or announced that it has started again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) member: Member,
    /// It asked this process itself, which therefore announces it to the others.
    pub(super) asked_here: bool,
    /// It is to be told to others, or was heard of from others.
    pub(super) announced: bool,
    /// How often it has asked.
    pub(super) asked: u32,
    /// It has stopped asking.
    pub(super) gone: bool,
    /// When it first asked, or was first heard of.
    pub(super) since: Duration,
    heard: Duration,
}

/// This process's own way in.
#[derive(Debug, Default)]
pub(super) struct Seeking {
    repeat: Repeat,
    /// The newest view seen by a process that has never installed one.
    seen: Option<Arc<View>>,
    /// Addresses that others gave, beyond seeds and members.
    pub(super) hints: BTreeSet<SocketAddr>,
    /// The epoch after which this incarnation was first asked to be admitted.
    asked_in: Option<Epoch>,
    /// How often this incarnation has asked.
    asked: u32,
}

impl MembershipCore {
    /// True if it wants to be listed and is not.
    pub(super) fn seeks_admission(&self) -> bool {
        self.leaving.is_none() && !self.is_member()
    }

    /// The newest view known, installed or only seen.
    fn seen(&self) -> Option<Arc<View>> {
        self.view().cloned().or_else(|| self.seeking.seen.clone())
    }

    pub(super) fn ask(&mut self, now: Duration, to: ProcessId, out: &mut Vec<Output>) {
        let seen = self.seen().map(|view| view.term());
        if let Some(term) = seen {
            self.seeking.asked_in.get_or_insert(term.epoch);
        }
        self.seeking.asked = self.seeking.asked.saturating_add(1);
        let (member, asked) = (self.me.clone(), self.seeking.asked);
        self.send(to, Protocol::Join { member, seen, asked }, out);
        if self.seeking.repeat.next().is_none() {
            self.seeking.repeat.restart_later(now);
        }
    }

    /// Asks everybody in reach, with pauses.
    pub(super) fn ask_if_due(&mut self, now: Duration, out: &mut Vec<Output>) {
        if !self.seeks_admission() || self.sessions.is_empty() {
            return self.seeking.repeat.stop();
        }
        if self.seeking.repeat.next().is_none() {
            self.seeking.repeat.restart(now);
        }
        if !self.seeking.repeat.is_due(now) {
            return;
        }
        let peers: Vec<ProcessId> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.ask(now, peer, out);
        }
    }

    pub(super) fn join_deadline(&self) -> Option<Duration> {
        let here = self.waiting.values().filter(|waiting| waiting.asked_here && !waiting.gone);
        let expiry = here.map(|waiting| waiting.heard + WAITING_EXPIRES).min();
        let held = self.waiting.values().filter(|waiting| !waiting.announced);
        let held = held
            .map(|waiting| self.flapping.may_return(waiting.member.process))
            .filter(|&at| at > self.last_step)
            .min();
        [self.seeking.repeat.next(), expiry, held].into_iter().flatten().min()
    }

    /// Somebody asks to be admitted. The envelope's term was found to be this view's, or none.
    pub(super) fn take_join(
        &mut self,
        now: Duration,
        from: Peer,
        member: Member,
        seen: Option<Term>,
        asked: u32,
        out: &mut Vec<Output>,
    ) {
        if (from.process, from.incarnation) != member.key() {
            return;
        }
        if !is_modest(&member) {
            return self.refuse_join(from.process, JoinRefusal::RecordTooLarge, out);
        }
        let Some(view) = self.durable.view.clone() else {
            return self.refuse_join(from.process, JoinRefusal::NotMember, out);
        };
        let own = view.term();
        match seen {
            Some(seen) if seen.cluster != own.cluster => {
                return self.refuse_join(from.process, JoinRefusal::OtherCluster, out);
            }
            Some(seen) if seen.epoch > own.epoch => {
                return self.refuse_join(from.process, JoinRefusal::Stale, out);
            }
            Some(seen) if seen == own => {}
            _ => return self.send_view(from.process, out),
        }
        let listed = view.member(member.process);
        if listed.is_some_and(|listed| listed.incarnation >= member.incarnation) {
            // It is in already, or its data directory was rolled back: the view tells it which.
            return self.send_view(from.process, out);
        }
        if listed.is_none() && view.size() >= MAX_MEMBERS {
            return self.refuse_join(from.process, JoinRefusal::Full, out);
        }
        if view.index_of(self.me.process).is_none() {
            return self.refuse_join(from.process, JoinRefusal::NotMember, out);
        }
        let process = member.process;
        self.flapping.asks(from);
        if !self.note_asking(now, member, asked) {
            return self.refuse_join(process, JoinRefusal::TooManyWaiting, out);
        }
        if listed.is_none() && self.judge_status() != Status::Active {
            self.refuse_join(process, JoinRefusal::Isolated, out);
        }
    }

    fn refuse_join(&self, to: ProcessId, reason: JoinRefusal, out: &mut Vec<Output>) {
        let hints = match self.view() {
            Some(view) => view.members().iter().map(|member| member.address).collect(),
            None => self.start.seeds.clone(),
        };
        let hints = hints.into_iter().take(MAX_HINTS).collect();
        self.send(to, Protocol::JoinRefused { reason, hints }, out);
    }

    pub(super) fn join_refused(&mut self, hints: &[SocketAddr]) {
        if self.seeks_admission() {
            self.hint(hints.iter().copied());
        }
    }

    fn hint(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        for address in addresses {
            if self.seeking.hints.len() < MAX_HINTS {
                self.seeking.hints.insert(address);
            }
        }
    }

    /// A process asks here; false if there is no room. It is announced once no more come with it.
    fn note_asking(&mut self, now: Duration, member: Member, asked: u32) -> bool {
        let full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.get_mut(&member.process) {
            Some(known) if known.member.incarnation > member.incarnation => {}
            Some(known) if known.member == member && !known.gone => {
                known.asked = known.asked.max(asked);
                known.asked_here = true;
                known.heard = now;
            }
            None if full => return false,
            _ => {
                let waiting = Waiting {
                    member,
                    asked_here: true,
                    announced: false,
                    asked,
                    gone: false,
                    since: now,
                    heard: now,
                };
                self.waiting.insert(waiting.member.process, waiting);
            }
        }
        true
    }

    /// They are not heard any more, and do not wait to be let in.
    pub(super) fn bar(&mut self, processes: BTreeSet<ProcessId>) {
        self.waiting.retain(|process, _| !processes.contains(process));
        self.barred = processes;
    }

    /// Somebody else announces who waits; true if that is news.
    pub(super) fn note_announcement(&mut self, now: Duration, told: &Announcement) -> bool {
        let Some(view) = self.view() else { return false };
        let listed = view.member(told.member.process).map(|listed| listed.incarnation);
        if !is_modest(&told.member)
            || told.member.process == self.me.process
            || self.barred.contains(&told.member.process)
            || listed.is_some_and(|listed| listed >= told.member.incarnation)
        {
            return false;
        }
        let key = |member: &Member, asked: u32, gone: bool| (member.incarnation, asked, gone);
        let theirs = key(&told.member, told.asked, told.gone);
        let known = self.waiting.get(&told.member.process);
        match known {
            Some(known) if theirs <= key(&known.member, known.asked, known.gone) => return false,
            None if self.waiting.len() >= MAX_WAITING => return false,
            _ => {}
        }
        let same = known.is_some_and(|known| known.member == told.member && !known.gone);
        let waiting = Waiting {
            member: told.member.clone(),
            asked_here: same && !told.gone && known.is_some_and(|known| known.asked_here),
            announced: true,
            asked: told.asked,
            gone: told.gone,
            since: known.filter(|_| same).map_or(now, |known| known.since),
            heard: now,
        };
        let news = !same || told.gone || known.is_some_and(|known| !known.announced);
        self.waiting.insert(told.member.process, waiting);
        news
    }

    /// Announces those who asked here, all at once when the last of a batch has come; withdraws
    /// those who ask no more.
    pub(super) fn refresh_waiting(&mut self, now: Duration) {
        let quiet = self.joins_quiet_at().is_none_or(|at| now >= at);
        let mut news = false;
        let flapping = &self.flapping;
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.asked_here) {
            if !waiting.gone && now >= waiting.heard + WAITING_EXPIRES {
                waiting.gone = true;
                waiting.announced = true;
                news = true;
            } else if quiet
                && !waiting.announced
                && now >= flapping.may_return(waiting.member.process)
            {
                waiting.announced = true;
                news = true;
            }
        }
        if news {
            self.own_news(now);
        }
    }

    /// A process that has installed nothing yet is shown a view of some cluster.
    pub(super) fn see(&mut self, now: Duration, view: Arc<View>, out: &mut Vec<Output>) {
        if let Some(listed) = view.member(self.me.process) {
            if listed.incarnation > self.me.incarnation {
                return self.stop_rolled_back(listed.incarnation, out);
            }
            return self.install(now, view, out);
        }
        if let Some(seen) = &self.seeking.seen {
            // One cluster at a time, as long as anybody of it is in reach.
            let reachable =
                seen.members().iter().any(|member| self.sessions.contains_key(&member.process));
            let other = seen.cluster() != view.cluster();
            if (other && reachable) || (!other && seen.epoch() >= view.epoch()) {
                return;
            }
        }
        let before = self.seeking.seen.as_ref().map(|seen| seen.epoch());
        if self.may_have_been_listed(before, view.epoch()) {
            self.durable.incarnation = self.durable.incarnation.next();
            self.persist(out);
            self.become_incarnation(out);
        }
        self.hint(view.members().iter().map(|member| member.address));
        self.seeking.seen = Some(view);
        self.seeking.repeat.restart(now);
    }

    /// True if this incarnation asked to be admitted and views were skipped since: one of them may
    /// have listed it.
    pub(super) fn may_have_been_listed(&self, before: Option<Epoch>, now: Epoch) -> bool {
        let asked = self.seeking.asked_in.is_some();
        asked && before.is_none_or(|before| before.next() < now)
    }

    /// The incarnation was raised, durably.
    pub(super) fn become_incarnation(&mut self, out: &mut Vec<Output>) {
        self.me.incarnation = self.durable.incarnation;
        self.seeking.asked_in = None;
        self.seeking.asked = 0;
        out.push(Output::SetIncarnation(self.me.incarnation));
    }

    /// After an install: members ask no more, others ask in the new view at once.
    pub(super) fn restart_seeking(&mut self, now: Duration) {
        self.seeking.seen = None;
        self.seeking.repeat.stop();
        if self.is_member() {
            self.seeking = Seeking::default();
        } else if !self.sessions.is_empty() {
            self.seeking.repeat.restart(now);
        }
    }
}
