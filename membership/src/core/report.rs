use std::time::Duration;

use lampyrid_wire::{Peer, ProcessId};

use super::MembershipCore;
use super::Output;
use crate::limits::pause;
use crate::message::{Protocol, Reports};

/// When something unanswered is sent again: at once after news, then with doubling pauses.
#[derive(Debug, Default)]
pub(super) struct Repeat {
    next: Option<Duration>,
    tries: u32,
}

impl Repeat {
    /// There is news: due at once.
    pub(super) fn restart(&mut self, now: Duration) {
        *self = Self { next: Some(now), tries: 0 };
    }

    /// There is news, but it can wait for the first pause.
    pub(super) fn restart_later(&mut self, now: Duration) {
        *self = Self { next: Some(now + pause(0)), tries: 1 };
    }

    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.next
    }

    /// True if due; the next time is then set.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        match self.next {
            Some(next) if next <= now => {
                self.next = Some(now + pause(self.tries));
                self.tries = self.tries.saturating_add(1);
                true
            }
            _ => false,
        }
    }
}

impl MembershipCore {
    fn own_reports(&self) -> Reports {
        Reports {
            attempt: self.watching.attempt,
            down: self.cut.reported_by(self.me.process),
            leaving: self.cut.leaving().clone(),
            waiting: self
                .waiting
                .values()
                .filter(|waiting| waiting.asked_here)
                .map(|waiting| waiting.member.clone())
                .collect(),
        }
    }

    fn has_reports(&self) -> bool {
        !self.cut.reported_by(self.me.process).is_empty()
            || !self.cut.leaving().is_empty()
            || self.waiting.values().any(|waiting| waiting.asked_here)
    }

    /// Sends what is undecided to every process of the view, until it is decided.
    pub(super) fn report_if_due(&mut self, now: Duration, out: &mut Vec<Output>) {
        if !self.reporting.is_due(now) {
            return;
        }
        let Some(view) = self.durable.view.clone() else { return self.reporting.stop() };
        if view.index_of(self.me.process).is_none() {
            return self.reporting.stop();
        }
        let reports = self.own_reports();
        for member in view.members() {
            self.send(member.process, Protocol::Reports(reports.clone()), out);
        }
        if !self.has_reports() {
            self.reporting.stop();
        }
    }

    pub(super) fn report_to(&self, to: ProcessId, out: &mut Vec<Output>) {
        let listed = |p: ProcessId| self.view().is_some_and(|view| view.index_of(p).is_some());
        if self.has_reports() && listed(to) && listed(self.me.process) {
            self.send(to, Protocol::Reports(self.own_reports()), out);
        }
    }

    pub(super) fn report_deadline(&self) -> Option<Duration> {
        self.reporting.next()
    }

    /// Somebody reports, in this very view.
    pub(super) fn take_reports(&mut self, now: Duration, from: Peer, reports: Reports) {
        let Some(view) = self.durable.view.clone() else { return };
        if view.lists(from.process, from.incarnation) {
            self.cut.report(&view, from.process, reports.attempt, reports.down);
            for process in reports.leaving {
                if self.cut.leave(&view, process) {
                    self.reporting.restart(now);
                }
            }
        }
        if view.index_of(from.process).is_some() {
            for member in reports.waiting {
                self.note_waiting(now, member, false);
            }
        }
    }
}
