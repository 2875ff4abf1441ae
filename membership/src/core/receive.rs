use std::time::Duration;

use lampyrid_wire::Peer;

use super::{MembershipCore, Output};
use crate::flaw::Flaw;
use crate::message::Protocol;
use crate::stamp::Standing;
use crate::{EdgeInput, Stamp};

impl MembershipCore {
    /// The fence: nothing of another view than the installed one reaches a rule. Messages of older
    /// and foreign views are answered with the newest view and nothing else.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        from: Peer,
        stamp: Option<Stamp>,
        message: Protocol,
        out: &mut Vec<Output>,
    ) {
        if from.process == self.me.process || self.barred.contains(&from.process) {
            return;
        }
        match Standing::compare(stamp, self.stamp()) {
            // Only a copy of a data directory that went on alone comes to such a view. It is told of
            // this one, and ends if it is listed there at a higher incarnation.
            Standing::Foreign => match message {
                Protocol::View(view) => self.take_view(now, view, out),
                _ => self.bring_up(now, from.process, stamp, out),
            },
            Standing::Newer => match message {
                Protocol::View(view) => {
                    self.take_view(now, view, out);
                    self.acknowledge(from, stamp, out);
                }
                Protocol::Decided { before, change } => {
                    self.take_decision(now, from, stamp, before, &change, out);
                    self.acknowledge(from, stamp, out);
                }
                Protocol::JoinRefused { hints, .. } => self.join_refused(&hints),
                _ => self.query(now, from.process, out),
            },
            Standing::Stale => match (stamp, message) {
                (None, Protocol::Join { member, seen, asked }) => {
                    self.take_join(now, from, member, seen, asked, out);
                }
                // A process without any view may ask to be let in, or for the view; no more.
                (None, message) if !matches!(message, Protocol::Query) => {}
                (stamp, message) => {
                    if self.flaws.has(Flaw::AnswersPastEpoch) {
                        self.answer_past_epoch(from, stamp, &message, out);
                    }
                    self.bring_up(now, from.process, stamp, out);
                }
            },
            Standing::Current => {
                if stamp.is_some() {
                    self.note_installed(from.process);
                }
                self.receive_current(now, from, message, out);
            }
        }
    }

    fn acknowledge(&mut self, from: Peer, stamp: Option<Stamp>, out: &mut Vec<Output>) {
        if !self.ended && stamp.is_some() && self.stamp() == stamp {
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
                if let Some(place) = self.place_of_listed(from)
                    && self.cut.report(place, attempt, [])
                {
                    self.stale = true;
                }
                self.send(process, Protocol::Answer { sequence }, out);
            }
            Protocol::Answer { sequence } => {
                if self.place_of_listed(from).is_some() {
                    let input = EdgeInput::Answer(sequence);
                    out.push(Output::Edge { subject: process, input });
                }
            }
            Protocol::Facts(facts) => self.take_facts(now, from, &facts, out),
            Protocol::Decided { .. } => self.send(process, Protocol::Installed, out),
            Protocol::View(view) => {
                if Some(view.stamp()) == self.stamp() {
                    self.send(process, Protocol::Installed, out);
                }
            }
            Protocol::Installed => {}
            Protocol::Query => self.send_view(process, out),
            Protocol::Join { member, seen, asked } => {
                self.take_join(now, from, member, seen, asked, out);
            }
            Protocol::JoinRefused { hints, .. } => self.join_refused(&hints),
        }
    }

    /// The place of a peer that is a member in this very life.
    fn place_of_listed(&self, peer: Peer) -> Option<u16> {
        let view = self.view()?;
        let place = view.index_of(peer.process)?;
        let same = view.members().get(place)?.incarnation == peer.incarnation;
        u16::try_from(place).ok().filter(|_| same)
    }
}
