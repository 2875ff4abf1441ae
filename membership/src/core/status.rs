use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::ProcessId;

use super::{MembershipCore, Output};
use crate::limits::HOLD;
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
        if status == Status::Active {
            out.push(Output::HoldUntil(self.has_company().then_some(now + HOLD)));
        }
        let state = ViewState {
            me: self.me.clone(),
            status,
            view: self.view().cloned(),
            waiting_for: if status == Status::Isolated { self.missing() } else { Vec::new() },
        };
        if self.published.as_ref() == Some(&state) {
            return;
        }
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

    pub(super) fn judge_status(&self) -> Status {
        let Some(view) = self.view() else { return Status::Joining };
        if self.is_member() && self.live_quorum(view) { Status::Active } else { Status::Isolated }
    }

    /// The members without which it cannot go on.
    pub(super) fn missing(&self) -> Vec<ProcessId> {
        let Some(view) = self.view() else { return Vec::new() };
        let here = |p: ProcessId| p == self.me.process || self.is_live(p);
        view.members().iter().map(|member| member.process).filter(|&p| !here(p)).collect()
    }
}
