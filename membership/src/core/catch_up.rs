use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Peer, ProcessId};

use super::{MembershipCore, Output};
use crate::Stamp;
use crate::View;
use crate::agreement::{Agreement, Change};
use crate::limits::{CATCH_UP_PAUSE, MAX_MEMBERS};
use crate::message::{Facts, Protocol};

/// Bounds what is sent to those who are behind, and asked of those who are ahead.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    answered: BTreeMap<ProcessId, Duration>,
    asked: BTreeMap<ProcessId, Duration>,
}

fn is_due(times: &mut BTreeMap<ProcessId, Duration>, process: ProcessId, now: Duration) -> bool {
    match times.get(&process) {
        Some(&last) if now < last + CATCH_UP_PAUSE => false,
        _ => {
            times.insert(process, now);
            true
        }
    }
}

impl MembershipCore {
    /// A view from outside: installed directly if it is of this cluster and newer, however many
    /// lie between.
    pub(super) fn take_view(&mut self, now: Duration, view: Arc<View>, out: &mut Vec<Output>) {
        if view.size() > MAX_MEMBERS
            || view.cluster_name() != self.start.cluster_name
            || self.durable.cluster.is_some_and(|own| own != view.cluster())
        {
            return;
        }
        let Some(installed) = self.view() else {
            if view.is_well_formed(None) {
                self.see(now, view, out);
            }
            return;
        };
        // Whatever it has decided alone since: an old copy whose history parted from this one, and
        // is an epoch behind by now, has another predecessor than this view, and never installs it.
        if let Some(listed) = view.member(self.me.process)
            && listed.incarnation > self.me.incarnation
            && view.is_well_formed(None)
        {
            return self.stop_rolled_back(listed.incarnation, out);
        }
        if view.epoch() <= installed.epoch() {
            return;
        }
        // Only of a direct successor is the chain of hashes known.
        let direct = view.epoch() == installed.epoch().next();
        let previous = installed.id();
        if view.is_well_formed(direct.then_some(&previous)) {
            self.install(now, view, out);
        }
    }

    /// The successor of the installed view in short; of any other view it is asked for in full.
    pub(super) fn take_decision(
        &mut self,
        now: Duration,
        from: Peer,
        stamp: Option<Stamp>,
        before: Stamp,
        change: &Change,
        out: &mut Vec<Output>,
    ) {
        let view = self.view().filter(|view| view.stamp() == before);
        match view.and_then(|view| change.apply(view)) {
            Some(next) if Some(next.stamp()) == stamp => self.install(now, next, out),
            _ => self.send(from.process, Protocol::Query, out),
        }
    }

    /// Asks a process that knows a newer view for it.
    pub(super) fn query(&mut self, now: Duration, to: ProcessId, out: &mut Vec<Output>) {
        if is_due(&mut self.catch_up.asked, to, now) {
            self.send(to, Protocol::Query, out);
        }
    }

    /// Answers a process that is behind with the newest view: in short if it has the predecessor.
    pub(super) fn bring_up(
        &mut self,
        now: Duration,
        to: ProcessId,
        at: Option<Stamp>,
        out: &mut Vec<Output>,
    ) {
        if !is_due(&mut self.catch_up.answered, to, now) {
            return;
        }
        match &self.last_change {
            Some((before, change)) if at == Some(*before) => {
                let (before, change) = (*before, change.clone());
                self.send(to, Protocol::Decided { before, change }, out);
            }
            _ => self.send_view(to, out),
        }
    }

    /// What must never be done; see [`crate::Flaw::AnswersPastEpoch`].
    pub(super) fn answer_past_epoch(
        &self,
        from: Peer,
        stamp: Option<Stamp>,
        message: &Protocol,
        out: &mut Vec<Output>,
    ) {
        let (Some(before), Protocol::Facts(facts)) = (&self.before, message) else { return };
        if Some(before.stamp()) != stamp {
            return;
        }
        let mut agreement = Agreement::new(Arc::clone(before), self.me.process, None, None);
        agreement.learn(&facts.ballots);
        let facts = Facts { ballots: agreement.own_facts(|_| false), ..Facts::default() };
        out.push(Output::Send {
            to: from.process,
            stamp,
            message: Protocol::Facts(Arc::new(facts)),
        });
    }
}
