use std::time::Duration;

use super::{MembershipCore, Output};
use crate::View;
use crate::limits::{LEAVE_LIMIT, LINGER};

/// This process wants to go.
#[derive(Debug)]
pub(super) struct Leaving {
    /// It goes then at the latest.
    pub(super) until: Duration,
    /// It goes then, if nothing comes in between: nothing is left to do.
    pub(super) lingers: Option<Duration>,
}

impl MembershipCore {
    /// Announces it, by its own word in its reports.
    pub(super) fn leave(&mut self, now: Duration) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Leaving { until: now + LEAVE_LIMIT, lingers: None });
        if self.is_member() {
            self.announce_leave(now);
        }
    }

    pub(super) fn announce_leave(&mut self, now: Duration) {
        if let Some(seat) = self.seat
            && self.cut.leave(seat)
        {
            self.watching.changed_at = now;
            self.own_news(now);
        }
    }

    /// True if the view without this process is safe without it: a quorum of that view is known to
    /// have installed it. Where links reach neighbours only, most of those stand for the others.
    fn is_settled_without_us(&self, view: &View) -> bool {
        // A later view was decided by a quorum of the one without us, which had installed it.
        if self.before.as_ref().is_some_and(|before| before.index_of(self.me.process).is_none()) {
            return true;
        }
        if view.topology().is_full() {
            return view.is_quorum(&self.installed_by);
        }
        let Some(before) = &self.before else { return true };
        let neighbours: Vec<_> = self
            .links_of(before)
            .filter(|member| view.index_of(member.process).is_some())
            .collect();
        let have = neighbours.iter().filter(|member| self.installed_by.contains(&member.process));
        have.count() * 2 > neighbours.len()
    }

    /// Goes once a quorum of the view without it has installed that view, if nobody is left who
    /// could agree on one, or when it has waited long enough. Until then it stays an acceptor.
    pub(super) fn go_if_left(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.leaving.is_none() {
            return;
        }
        let member = self.is_member() && (self.has_company() || !self.outside.is_empty());
        let done = match self.view() {
            None => true,
            Some(view) if view.index_of(self.me.process).is_none() => {
                self.is_settled_without_us(view)
            }
            Some(_) if !self.is_member() => true,
            // The last ones simply stop, and later recover as after a loss of power; but first
            // those who left before them may see that this view is installed.
            Some(view) => {
                let leaves =
                    |p| view.place_of(p).is_some_and(|place| self.cut.leaving().contains(place));
                let going = |p| p == self.me.process || leaves(p) || self.is_down(p);
                view.members().iter().map(|member| member.process).all(going)
                    && !self.owed.keys().any(|process| self.sessions.contains_key(process))
            }
        };
        let Some(leaving) = &mut self.leaving else { return };
        // The last answers of a member have to reach those who wait for them.
        let linger = if member { LINGER } else { Duration::ZERO };
        let goes = done.then(|| leaving.lingers.unwrap_or(now + linger));
        leaving.lingers = goes;
        if goes.is_some_and(|at| now >= at) || now >= leaving.until {
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
