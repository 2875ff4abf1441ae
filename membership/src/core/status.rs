use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::ProcessId;

use super::{MembershipCore, Output};
use crate::flaw::Flaw;
use crate::limits::{HOLD, UNDECIDED_LIMIT};
use crate::{Status, ViewChange, ViewState};

impl MembershipCore {
    pub(super) fn refresh_status(&mut self, now: Duration, out: &mut Vec<Output>) {
        let status = self.judge_status();
        let was = self.published.as_ref().map(|state| (state.status, state.view.clone()));
        if let Some((Status::Isolated, Some(before))) = was
            && status == Status::Active
            && Some(&before) == self.view()
            && before.lists(self.me.process, self.me.incarnation)
        {
            // Back, and the view still stands: drop what was reported, observe afresh.
            self.next_attempt(now);
            self.refresh_watch(out);
        }
        self.hold(now, status, out);
        let waiting_for = if status == Status::Isolated { self.missing() } else { Vec::new() };
        if let Some(shown) = &self.published
            && shown.status == status
            && shown.view.as_ref() == self.view()
            && shown.me == self.me
            && shown.waiting_for == waiting_for
        {
            return;
        }
        let state =
            ViewState { me: self.me.clone(), status, view: self.view().cloned(), waiting_for };
        let change = match (&state.view, self.is_member()) {
            (Some(view), true) if self.told.as_ref() != Some(view) => {
                let change = ViewChange::between(self.told.as_deref(), Arc::clone(view));
                self.told = Some(Arc::clone(view));
                Some(change)
            }
            _ => None,
        };
        self.published = Some(state.clone());
        out.push(Output::Publish { state, change });
    }

    /// The status holds for a while from this step on.
    pub(super) fn hold(&self, now: Duration, status: Status, out: &mut Vec<Output>) {
        if status == Status::Active {
            out.push(Output::HoldUntil(self.has_company().then_some(now + HOLD)));
        }
    }

    pub(super) fn judge_status(&self) -> Status {
        let Some(view) = self.view() else { return Status::Joining };
        let listed =
            self.is_member() || (self.flaws.has(Flaw::CoordinatorByProcess) && self.seat.is_some());
        let in_touch = if view.topology().is_full() {
            self.live_quorum(view)
        } else {
            self.sees_most() && !self.is_stuck()
        };
        if listed && in_touch { Status::Active } else { Status::Isolated }
    }

    /// True if a change has been known and undecided for too long.
    fn is_stuck(&self) -> bool {
        self.undecided_until().is_some_and(|until| self.last_step >= until)
    }

    /// Where edges show only some of the members: when a change that is not decided by then means
    /// that there is no quorum in reach.
    pub(super) fn undecided_until(&self) -> Option<Duration> {
        self.undecided_since.filter(|_| !self.is_full_mesh()).map(|since| since + UNDECIDED_LIMIT)
    }

    /// The members without which it cannot go on.
    pub(super) fn missing(&self) -> Vec<ProcessId> {
        let Some(view) = self.view() else { return Vec::new() };
        let here =
            |p: ProcessId| p == self.me.process || self.is_live(p) || self.waiting.contains_key(&p);
        if !self.is_full_mesh() && self.is_member() {
            // It knows of those only whom it observes.
            return self.subjects().filter(|&p| view.index_of(p).is_some() && !here(p)).collect();
        }
        view.members().iter().map(|member| member.process).filter(|&p| !here(p)).collect()
    }
}
