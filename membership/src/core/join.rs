use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Epoch, Member, Peer, ProcessId, Term};

use super::report::Repeat;
use super::{MembershipCore, Output};
use crate::limits::{MAX_HINTS, MAX_MEMBERS, MAX_TEXT, MAX_WAITING, WAITING_EXPIRES};
use crate::message::{JoinRefusal, Protocol};
use crate::{Status, View};

/// A process that asked to be admitted, or announced that it has started again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) member: Member,
    /// It asked this process itself, which therefore announces it to the others.
    pub(super) asked_here: bool,
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
        self.send(to, Protocol::Join { member: self.me.clone(), seen }, out);
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
        let expiry = self.waiting.values().map(|waiting| waiting.heard + WAITING_EXPIRES).min();
        [self.seeking.repeat.next(), expiry].into_iter().flatten().min()
    }

    /// Somebody asks to be admitted. The envelope's term was found to be this view's, or none.
    pub(super) fn take_join(
        &mut self,
        now: Duration,
        from: Peer,
        member: Member,
        seen: Option<Term>,
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
        if !self.note_waiting(now, member, true) {
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

    /// Notes who waits; false if there is no room. The highest incarnation of a process counts.
    pub(super) fn note_waiting(&mut self, now: Duration, member: Member, asked_here: bool) -> bool {
        let Some(view) = self.view() else { return false };
        if !is_modest(&member) {
            return false;
        }
        let listed = view.member(member.process).map(|listed| listed.incarnation);
        if listed.is_some_and(|listed| listed >= member.incarnation)
            || member.process == self.me.process
        {
            return true;
        }
        let full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.get_mut(&member.process) {
            Some(known) if known.member.incarnation > member.incarnation => {}
            Some(known) => {
                let news = known.member != member || (asked_here && !known.asked_here);
                let asked_here = known.asked_here || asked_here;
                *known = Waiting { member, asked_here, heard: now };
                if news && asked_here {
                    self.reporting.restart(now);
                }
            }
            None if full => return false,
            None => {
                self.waiting.insert(member.process, Waiting { member, asked_here, heard: now });
                if asked_here {
                    self.reporting.restart(now);
                }
            }
        }
        true
    }

    pub(super) fn expire_waiting(&mut self, now: Duration) {
        self.waiting.retain(|_, waiting| now < waiting.heard + WAITING_EXPIRES);
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

/// True if the record's texts are within bounds: it will be in every view.
fn is_modest(member: &Member) -> bool {
    member.name.len() <= MAX_TEXT && member.admin.as_ref().is_none_or(|url| url.len() <= MAX_TEXT)
}
