use std::time::Duration;

use super::{MembershipCore, Output};
use crate::limits::LEAVE_LIMIT;

/// This process wants to go.
#[derive(Debug)]
pub(super) struct Leaving {
    /// It goes then at the latest.
    pub(super) until: Duration,
}

impl MembershipCore {
    /// Announces it, by its own word in its reports.
    pub(super) fn leave(&mut self, now: Duration) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Leaving { until: now + LEAVE_LIMIT });
        if let Some(view) = self.durable.view.clone()
            && self.is_member()
        {
            self.cut.leave(&view, self.me.process);
            self.reporting.restart(now);
        }
    }

    /// Goes once a quorum of the view without it has installed that view, if nobody is left who
    /// could agree on one, or when it has waited long enough. Until then it stays an acceptor.
    pub(super) fn go_if_left(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Some(leaving) = &self.leaving else { return };
        let done = match self.view() {
            None => true,
            Some(view) if view.index_of(self.me.process).is_none() => {
                view.is_quorum(&self.installed_by)
            }
            Some(_) if !self.is_member() => true,
            // The last ones simply stop, and later recover as after a loss of power.
            Some(view) => view.members().iter().map(|member| member.process).all(|p| {
                p == self.me.process || self.cut.leaving().contains(&p) || self.is_down(p)
            }),
        };
        if done || now >= leaving.until {
            self.ended = true;
            if let Some(mut state) = self.published.clone() {
                state.status = crate::Status::Left;
                state.waiting_for.clear();
                self.published = Some(state.clone());
                out.push(Output::Publish { state, change: None });
            }
            out.push(Output::Left);
        }
    }
}
