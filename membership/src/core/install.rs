use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Member, ProcessId};

use super::{MembershipCore, Output};
use crate::View;
use crate::agreement::{Agreement, Change};
use crate::cut::Cut;
use crate::flaw::Flaw;
use crate::limits::{FAREWELL, SPARSE_QUIET};

impl MembershipCore {
    /// Installs a view: one durable write that closes the old epoch, before any act in the new
    /// one. The caller has checked that it is newer, well formed and of this cluster.
    pub(super) fn install(&mut self, now: Duration, view: Arc<View>, out: &mut Vec<Output>) {
        let before = self.durable.view.clone();
        if let Some(before) = &before {
            assert!(view.epoch() > before.epoch(), "installed epochs only rise");
            assert!(view.cluster() == before.cluster(), "a cluster is never left for another");
        }
        let listed = view.member(self.me.process).map(|member| member.incarnation);
        if let Some(known) = listed
            && known > self.me.incarnation
        {
            return self.stop_rolled_back(known, out);
        }
        let raised = listed.is_none() && self.must_rise(before.as_deref(), &view);
        let new_cluster = self.durable.cluster.is_none();
        self.durable.cluster = Some(view.cluster());
        self.durable.view = Some(Arc::clone(&view));
        if raised {
            self.durable.incarnation = self.durable.incarnation.next();
        }
        self.begin_agreement(&view, None);
        self.persist(out);
        if new_cluster {
            out.push(Output::SetCluster(view.cluster()));
        }
        if raised {
            self.become_incarnation(out);
        }
        self.last_change = before
            .as_ref()
            .filter(|before| before.epoch().next() == view.epoch())
            .map(|before| (before.stamp(), Change::to(before, &view)));
        self.flapping.note(now, before.as_deref(), &view);
        self.before.clone_from(&before);
        self.cut = Cut::default();
        self.round.reset();
        self.undecided_since = None;
        self.catch_up = super::CatchUp::default();
        self.watching.begin_view();
        self.tell_everybody_of(now, before.as_deref(), &view);
        self.waiting.clear();
        self.restart_seeking(now);
        self.refresh_watch(out);
        self.report_again(now);
        if self.leaving.is_some() && self.is_member() {
            self.announce_leave(now);
        }
    }

    /// Takes up the agreement on the successor of an installed view: a new one, or the one that
    /// was durable.
    pub(super) fn begin_agreement(&mut self, view: &Arc<View>, durable: Option<()>) {
        let mut flaws = self.flaws;
        self.seat = view.place_of(self.me.process);
        if flaws.has(Flaw::CountsIncarnations) && !view.lists(self.me.process, self.me.incarnation)
        {
            flaws.offset = u16::try_from(view.size()).unwrap_or(0);
        }
        let (promised, voted) = match durable {
            Some(()) => (self.durable.promised, self.durable.voted.clone()),
            None => (None, None),
        };
        self.agreement =
            Some(Agreement::with_flaws(Arc::clone(view), self.me.process, promised, voted, flaws));
        self.gossip.reset(self.gossip_order(view));
    }

    /// Neighbours in a pseudo-random order of this process's own.
    fn gossip_order(&self, view: &View) -> Vec<ProcessId> {
        let Some(seat) = self.seat else { return Vec::new() };
        let neighbours = view.topology().neighbours(seat);
        let mut order: Vec<ProcessId> = neighbours
            .iter()
            .filter_map(|&place| view.members().get(usize::from(place)))
            .map(|member| member.process)
            .collect();
        if !view.topology().is_full() {
            let role = format!("gossip {}", self.me.process);
            order = crate::Ring::new(view.cluster(), &role, order).order().to_vec();
        }
        order
    }

    /// A view without this process: does its incarnation end with it? It does if the incarnation
    /// was a member, or may have been one in a view that was skipped. One that has only been
    /// waiting goes on waiting.
    fn must_rise(&self, before: Option<&View>, view: &View) -> bool {
        let was_member =
            before.is_some_and(|before| before.lists(self.me.process, self.me.incarnation));
        self.leaving.is_none()
            && (was_member || self.may_have_been_listed(before.map(View::epoch), view.epoch()))
    }

    /// Old and new members and those who wait have to hear of the view. In a full mesh that is
    /// everybody; along the rings, the neighbours by the old view and by the new one.
    pub(super) fn tell_everybody_of(&mut self, now: Duration, before: Option<&View>, view: &View) {
        let farewell = now + FAREWELL;
        self.owed.clear();
        self.installed_by.clear();
        self.installed_by.insert(self.me.process);
        let waiting: Vec<Member> = self
            .waiting
            .values()
            .filter(|waiting| waiting.asked_here || view.topology().is_full())
            .map(|waiting| waiting.member.clone())
            .collect();
        let old: Vec<Member> =
            before.into_iter().flat_map(|before| self.links_of(before)).cloned().collect();
        let mut at_once = false;
        for member in old.iter().chain(&waiting) {
            self.owed.insert(member.process, Some(farewell));
        }
        let linked: Vec<ProcessId> = self.links_of(view).map(|member| member.process).collect();
        self.owed.extend(linked.into_iter().map(|process| (process, None)));
        for member in &waiting {
            at_once = true;
            if view.index_of(member.process).is_some() {
                self.owed.insert(member.process, None);
            }
        }
        self.owed.remove(&self.me.process);
        self.outside = old
            .into_iter()
            .chain(waiting)
            .filter(|member| self.owed.contains_key(&member.process))
            .collect();
        // Members of the old view mostly find out by themselves; those who wait cannot.
        if at_once {
            self.telling.restart(now);
        } else if view.topology().is_full() {
            self.telling.restart_later(now);
        } else {
            self.telling.restart(now + SPARSE_QUIET);
        }
    }

    /// The members of a view with whom this process has links in it: all in a full mesh, else its
    /// neighbours; if it is not in it, none.
    pub(super) fn links_of<'a>(
        &self,
        view: &'a View,
    ) -> impl Iterator<Item = &'a Member> + use<'a> {
        let full = view.topology().is_full();
        let all = if full { view.members() } else { &[] };
        let seat = view.place_of(self.me.process).filter(|_| !full);
        let neighbours = seat.map_or(&[][..], |seat| view.topology().neighbours(seat));
        all.iter().chain(neighbours.iter().filter_map(|&at| view.members().get(usize::from(at))))
    }

    /// Those whom the installed view removed or did not admit yet, or who are no neighbours by it,
    /// and who have not heard of it: their sessions are kept a little longer.
    pub(super) fn farewells(&self) -> impl Iterator<Item = &Member> {
        self.outside.iter().filter(|member| self.owed.contains_key(&member.process))
    }

    /// Repeats the decision until everybody has it.
    pub(super) fn tell_if_due(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.owed.retain(|_, until| until.is_none_or(|until| now < until));
        if !self.owed.keys().any(|process| self.sessions.contains_key(process)) {
            return self.telling.stop();
        }
        if self.telling.next().is_none() {
            self.telling.restart_later(now);
        }
        if self.telling.is_due(now) {
            let owed: BTreeSet<ProcessId> = self.owed.keys().copied().collect();
            for process in owed {
                let was_member =
                    self.before.as_ref().is_some_and(|before| before.index_of(process).is_some());
                match &self.last_change {
                    Some((before, _)) if was_member => {
                        let before = *before;
                        self.bring_up(now, process, Some(before), out);
                    }
                    _ => self.send_view(process, out),
                }
            }
        }
    }

    pub(super) fn telling_deadline(&self) -> Option<Duration> {
        let farewell = self.owed.values().flatten().min().copied();
        [self.telling.next(), farewell].into_iter().flatten().min()
    }

    /// The sender's stamp shows that it has installed this view.
    pub(super) fn note_installed(&mut self, process: ProcessId) {
        if self.installed_by.insert(process) {
            self.owed.remove(&process);
            self.stale = true;
        }
    }
}
