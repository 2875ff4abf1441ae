use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Peer, Term};

use super::{MembershipCore, Output};
use crate::limits::MAX_MEMBERS;
use crate::message::Protocol;
use crate::{EdgeInput, Fence};

impl MembershipCore {
    /// The fence: nothing of another view than the installed one reaches a rule. Messages of older
    /// views are answered with the newest view and nothing else.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        from: Peer,
        term: Option<Term>,
        message: Protocol,
        out: &mut Vec<Output>,
    ) {
        if from.process == self.me.process {
            return;
        }
        match Fence::compare(term, self.term()) {
            Fence::OtherCluster => {}
            Fence::Newer => match message {
                Protocol::View(view) => {
                    self.take_view(now, view, out);
                    self.acknowledge(from, term, out);
                }
                Protocol::JoinRefused { hints, .. } => self.join_refused(&hints),
                _ => self.send(from.process, Protocol::Query, out),
            },
            Fence::Stale => match (term, message) {
                (None, Protocol::Join { member, seen }) => {
                    self.take_join(now, from, member, seen, out);
                }
                // A process without any view may ask to be let in, or for the view; no more.
                (None, message) if !matches!(message, Protocol::Query) => {}
                _ => self.send_view(from.process, out),
            },
            Fence::Current => {
                if term.is_some() {
                    self.note_installed(from.process);
                }
                self.receive_current(now, from, message, out);
            }
        }
    }

    fn acknowledge(&mut self, from: Peer, term: Option<Term>, out: &mut Vec<Output>) {
        if !self.ended && term.is_some() && self.term() == term {
            self.note_installed(from.process);
            self.send(from.process, Protocol::Installed, out);
        }
    }

    fn receive_current(
        &mut self,
        now: Duration,
        from: Peer,
        message: Protocol,
        out: &mut Vec<Output>,
    ) {
        let process = from.process;
        match message {
            Protocol::Probe { sequence, attempt } => {
                if let Some(view) = self.durable.view.clone()
                    && view.lists(process, from.incarnation)
                {
                    self.cut.report(&view, process, attempt, []);
                }
                self.send(process, Protocol::Answer { sequence }, out);
            }
            Protocol::Answer { sequence } => {
                let listed = self.view().is_some_and(|view| view.lists(process, from.incarnation));
                if listed {
                    let input = EdgeInput::Answer(sequence);
                    out.push(Output::Edge { subject: process, input });
                }
            }
            Protocol::Reports(reports) => self.take_reports(now, from, reports),
            Protocol::Reinforce { subject } => {
                out.push(Output::Edge { subject, input: EdgeInput::ProbeNow });
            }
            Protocol::Prepare { rank } => self.prepare(now, process, rank, out),
            Protocol::Promise { rank, voted } => self.promise(now, process, rank, voted, out),
            Protocol::Reject { rank, promised } => self.rejected(now, rank, promised),
            Protocol::Accept { rank, value } => self.accept(now, process, rank, &value, out),
            Protocol::Voted { rank } => self.vote_of(now, process, rank, out),
            Protocol::View(view) => {
                if Some(view.term()) == self.term() {
                    self.send(process, Protocol::Installed, out);
                }
            }
            Protocol::Installed => {}
            Protocol::Query => self.send_view(process, out),
            Protocol::Join { member, seen } => self.take_join(now, from, member, seen, out),
            Protocol::JoinRefused { hints, .. } => self.join_refused(&hints),
        }
    }

    /// True if `value` can follow the installed view at all.
    pub(super) fn is_successor(&self, value: &Arc<crate::View>) -> bool {
        self.view().is_some_and(|view| {
            value.cluster() == view.cluster()
                && value.cluster_name() == view.cluster_name()
                && value.epoch() == view.epoch().next()
                && value.size() <= MAX_MEMBERS
                && value.is_well_formed(Some(&view.id()))
        })
    }
}
