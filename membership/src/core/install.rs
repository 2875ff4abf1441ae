use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::Member;

use super::{MembershipCore, Output};
use crate::View;
use crate::agreement::Proposer;
use crate::cut::Cut;
use crate::limits::FAREWELL;

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
        self.durable.promised = None;
        self.durable.voted = None;
        if raised {
            self.durable.incarnation = self.durable.incarnation.next();
        }
        self.persist(out);
        if new_cluster {
            out.push(Output::SetCluster(view.cluster()));
        }
        if raised {
            self.become_incarnation(out);
        }
        self.cut = Cut::default();
        self.proposer = Proposer::Idle;
        self.round.reset();
        self.reporting.stop();
        self.tell_everybody_of(now, before.as_deref(), &view);
        self.telling.restart(now);
        self.waiting.clear();
        self.restart_seeking(now);
        self.refresh_watch(out);
        self.report_again(now);
        if self.leaving.is_some() && self.is_member() {
            self.cut.leave(&view, self.me.process);
            self.reporting.restart(now);
        }
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

    /// Old and new members and those who wait have to hear of the view.
    pub(super) fn tell_everybody_of(&mut self, now: Duration, before: Option<&View>, view: &View) {
        let farewell = now + FAREWELL;
        self.owed.clear();
        self.installed_by.clear();
        self.installed_by.insert(self.me.process);
        let waiting = self.waiting.values().map(|waiting| &waiting.member);
        let old = before.map(View::members).unwrap_or_default().iter();
        for member in old.chain(waiting) {
            self.owed.insert(member.process, Some(farewell));
        }
        for member in view.members() {
            self.owed.insert(member.process, None);
        }
        self.owed.remove(&self.me.process);
        let waiting = self.waiting.values().map(|waiting| &waiting.member);
        let old = before.map(View::members).unwrap_or_default().iter();
        self.outside = old
            .chain(waiting)
            .filter(|member| view.index_of(member.process).is_none())
            .cloned()
            .collect();
    }

    /// Those whom the installed view removed or did not admit yet, and who have not heard of it:
    /// their sessions are kept a little longer.
    pub(super) fn farewells(&self) -> Vec<Member> {
        self.outside
            .iter()
            .filter(|member| self.owed.contains_key(&member.process))
            .cloned()
            .collect()
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
            for &process in self.owed.keys() {
                self.send_view(process, out);
            }
        }
    }

    pub(super) fn telling_deadline(&self) -> Option<Duration> {
        let farewell = self.owed.values().flatten().min().copied();
        [self.telling.next(), farewell].into_iter().flatten().min()
    }

    /// The sender's term shows that it has installed this view.
    pub(super) fn note_installed(&mut self, process: lampyrid_wire::ProcessId) {
        self.owed.remove(&process);
        self.installed_by.insert(process);
    }
}
