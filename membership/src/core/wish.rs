use std::collections::BTreeSet;
use std::time::Duration;

use lampyrid_wire::{Member, ProcessId};

use super::{MembershipCore, Output};
use crate::cut::Tally;
use crate::flaw::Flaw;
use crate::limits::MAX_MEMBERS;
use crate::message::Protocol;
use crate::{COORDINATOR_ROLE, EdgeInput, View};

impl MembershipCore {
    /// The members of the view this process would have follow, if anything is to change and
    /// nothing is in doubt.
    pub(super) fn wish(&mut self, now: Duration, out: &mut Vec<Output>) -> Option<Vec<Member>> {
        let view = self.durable.view.clone()?;
        if self.reconnects(now) {
            return None;
        }
        let tally = self.tally(now, &view);
        self.reinforce(&tally, out);
        if !tally.unstable.is_empty() {
            return None;
        }
        let leaving = self.cut.leaving();
        let mut members = Vec::new();
        for member in view.members() {
            let process = member.process;
            let own = process == self.me.process;
            let removed = tally.stable.contains(&process) && !own;
            if leaving.contains(&process) || removed {
                continue;
            }
            let newest = if own { Some(&self.me) } else { self.renewal(process) };
            members.push(newest.unwrap_or(member).clone());
        }
        for waiting in self.waiting.values() {
            if view.index_of(waiting.member.process).is_none() && members.len() < MAX_MEMBERS {
                members.push(waiting.member.clone());
            }
        }
        members.sort_unstable();
        let kept: Vec<ProcessId> =
            members.iter().map(|member| member.process).chain(leaving.iter().copied()).collect();
        let allowed = view.is_quorum(&kept)
            || self.flaws.has(Flaw::LiveSetQuorum)
            || self.flaws.has(Flaw::AnyHalf);
        let changed = members != view.members();
        (changed && allowed && !members.is_empty()).then_some(members)
    }

    pub(super) fn tally(&mut self, now: Duration, view: &View) -> Tally {
        // Only a member observes; whoever has started again removes nobody for absence.
        if !self.is_member() {
            return Tally::default();
        }
        let renewed: BTreeSet<ProcessId> = view
            .members()
            .iter()
            .map(|member| member.process)
            .filter(|&process| self.renewal(process).is_some())
            .collect();
        self.cut.tally(now, view, &renewed)
    }

    /// The record of a member that has announced a higher incarnation.
    pub(super) fn renewal(&self, process: ProcessId) -> Option<&Member> {
        let listed = self.view()?.member(process)?.incarnation;
        let waiting = &self.waiting.get(&process)?.member;
        (waiting.incarnation > listed).then_some(waiting)
    }

    /// Has every observer that has not reported a subject in doubt probe it afresh, once.
    pub(super) fn reinforce(&mut self, tally: &Tally, out: &mut Vec<Output>) {
        self.round.reinforced.retain(|subject| tally.unstable.contains_key(subject));
        for (&subject, silent) in &tally.unstable {
            if !self.round.reinforced.insert(subject) {
                continue;
            }
            for &observer in silent {
                if observer == self.me.process {
                    let input = EdgeInput::ProbeNow;
                    out.push(Output::Edge { subject, input });
                } else {
                    self.send(observer, Protocol::Reinforce { subject }, out);
                }
            }
        }
    }

    /// This process's place among those that may propose: members outside the cut in the order of
    /// the coordinator ring, then the others.
    pub(super) fn position(&mut self, now: Duration, view: &View) -> u32 {
        let tally = self.tally(now, view);
        let in_cut = |process: ProcessId| {
            tally.stable.contains(&process)
                || self.cut.leaving().contains(&process)
                || self.renewal(process).is_some()
                || (process == self.me.process && !self.is_member())
        };
        let ring = view.ring(COORDINATOR_ROLE);
        let (first, second): (Vec<ProcessId>, Vec<ProcessId>) =
            ring.order().iter().partition(|&&process| !in_cut(process));
        let place = first.into_iter().chain(second).position(|p| p == self.me.process);
        u32::try_from(place.unwrap_or(view.size())).unwrap_or(u32::MAX)
    }
}
