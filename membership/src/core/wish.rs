use std::time::Duration;

use lampyrid_wire::{Member, ProcessId};

use super::{MembershipCore, Output};
use crate::agreement::Change;
use crate::cut::Tally;
use crate::flaw::Flaw;
use crate::limits::{JOIN_PATIENCE, JOIN_QUIET, MAX_MEMBERS, SPARSE_QUIET};
use crate::{EdgeInput, Places, View};

impl MembershipCore {
    /// What this process would have change, if anything is to and nothing is in doubt.
    pub(super) fn wish(&mut self, now: Duration, out: &mut Vec<Output>) -> Option<Change> {
        let view = self.durable.view.clone()?;
        if self.reconnects(now) {
            return None;
        }
        let tally = self.tally(now, &view);
        self.reinforce(&tally, &view, out);
        let held = self.quiet_until().is_some_and(|until| now < until);
        if !tally.unstable.is_empty() || held {
            return None;
        }
        let mut change = Change { removed: self.cut.leaving().clone(), put: Vec::new() };
        change.removed.join(&tally.stable);
        if let Some(seat) = self.seat
            && !self.cut.leaving().contains(seat)
        {
            // Nobody wishes for a view without itself, unless it leaves.
            change.removed = change.removed.iter().filter(|&place| place != seat).collect();
        }
        let renewals = self.renewals(&view);
        for place in renewals.iter().filter(|&place| !change.removed.contains(place)) {
            if let Some(member) = view.members().get(usize::from(place))
                && let Some(newest) = self.renewal(member.process)
            {
                change.put.push(newest.clone());
            }
        }
        let size = view.size() - change.removed.len();
        let joiners = self
            .waiting
            .values()
            .filter(|waiting| waiting.announced && !waiting.gone)
            .map(|waiting| &waiting.member)
            .filter(|member| view.index_of(member.process).is_none());
        change.put.extend(joiners.take(MAX_MEMBERS.saturating_sub(size)).cloned());
        if change.is_nothing() {
            return None;
        }
        change.put.sort_unstable();
        let mut kept = Places::all(view.size());
        kept.leave_out(&change.removed);
        kept.join(self.cut.leaving());
        let allowed = view.is_quorum_of_places(&kept)
            || self.flaws.has(Flaw::LiveSetQuorum)
            || self.flaws.has(Flaw::AnyHalf)
            || self.flaws.has(Flaw::TieBreakerOfProposal);
        let anybody = change.size_after(&view) > 0;
        (allowed && anybody).then_some(change)
    }

    /// Until when news may still be on their way that belong to the same change.
    pub(super) fn quiet_until(&self) -> Option<Duration> {
        let reports = (!self.is_full_mesh() && self.cut.is_open() && self.is_member())
            .then(|| self.watching.changed_at + SPARSE_QUIET);
        [reports, self.joins_quiet_at()].into_iter().flatten().max()
    }

    /// When those who wait to be admitted are likely to be all that come together.
    pub(super) fn joins_quiet_at(&self) -> Option<Duration> {
        let quiet = if self.is_full_mesh() { JOIN_QUIET } else { SPARSE_QUIET };
        let open = || {
            self.waiting.values().filter(|waiting| {
                !waiting.gone && self.flapping.may_return(waiting.member.process) <= self.last_step
            })
        };
        let newest = open().map(|waiting| waiting.since).max()?;
        let oldest = open().map(|waiting| waiting.since).min()?;
        Some((newest + quiet).min(oldest + JOIN_PATIENCE))
    }

    pub(super) fn tally(&mut self, now: Duration, view: &View) -> Tally {
        // Only a member observes; whoever has started again removes nobody for absence.
        if !self.is_member() {
            return Tally::default();
        }
        let renewed = self.renewals(view);
        let implied = !self.flaws.has(Flaw::NoImplicitReports);
        self.cut.tally(now, view, &renewed, implied)
    }

    /// The places of members known to have started again.
    pub(super) fn renewals(&self, view: &View) -> Places {
        let me = (!self.is_member()).then_some(&self.me);
        self.waiting
            .values()
            .filter(|waiting| waiting.announced && !waiting.gone)
            .map(|waiting| &waiting.member)
            .chain(me)
            .filter(|member| self.renewal(member.process).is_some())
            .filter_map(|member| view.place_of(member.process))
            .collect()
    }

    /// The record of a member that has announced a higher incarnation.
    pub(super) fn renewal(&self, process: ProcessId) -> Option<&Member> {
        let listed = self.view()?.member(process)?.incarnation;
        let newest = if process == self.me.process {
            &self.me
        } else {
            let waiting = self.waiting.get(&process)?;
            if waiting.gone || !waiting.announced {
                return None;
            }
            &waiting.member
        };
        (newest.incarnation > listed).then_some(newest)
    }

    /// An observer that has not reported a subject in doubt probes it afresh, once.
    fn reinforce(&mut self, tally: &Tally, view: &View, out: &mut Vec<Output>) {
        self.round.reinforced.retain(|&subject| tally.unstable.contains(subject));
        let Some(seat) = self.seat else { return };
        for subject in tally.unstable.iter() {
            let silent = view.topology().observers(subject).contains(&seat)
                && !self.cut.reports(seat, subject);
            if !silent || !self.round.reinforced.insert(subject) {
                continue;
            }
            if let Some(member) = view.members().get(usize::from(subject)) {
                let (subject, input) = (member.process, EdgeInput::ProbeNow);
                out.push(Output::Edge { subject, input });
            }
        }
    }

    /// Notes since when a change is known that is not decided.
    pub(super) fn note_undecided(&mut self, now: Duration) {
        let Some(view) = self.durable.view.clone() else { return };
        let known = self.is_member()
            && !view.topology().is_full()
            && (!self.cut.leaving().is_empty() || !self.tally(now, &view).stable.is_empty());
        if !known {
            self.undecided_since = None;
        } else if self.undecided_since.is_none() {
            self.undecided_since = Some(now);
        }
    }

    /// This process's place among those that may propose: members outside the cut in the order of
    /// the coordinator ring, then the others.
    pub(super) fn position(&mut self, now: Duration, view: &View) -> u32 {
        let tally = self.tally(now, view);
        let renewed = self.renewals(view);
        let in_cut = |place: u16| {
            tally.stable.contains(place)
                || self.cut.leaving().contains(place)
                || renewed.contains(place)
        };
        let order = view.topology().coordinators();
        let (first, second): (Vec<u16>, Vec<u16>) = order.iter().partition(|&&p| !in_cut(p));
        let place = first.into_iter().chain(second).position(|p| Some(p) == self.seat);
        u32::try_from(place.unwrap_or(view.size())).unwrap_or(u32::MAX)
    }
}
