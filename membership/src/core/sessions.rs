use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_wire::{Member, Peer, ProcessId};

use super::{MembershipCore, Output, StopReason};
use crate::limits::{MAX_HINTS, MAX_SESSIONS};
use crate::message::Protocol;
use crate::{LinkEvent, RefusalReason, Status, View};

impl MembershipCore {
    pub(super) fn link(&mut self, now: Duration, event: LinkEvent, out: &mut Vec<Output>) {
        match event {
            LinkEvent::Up(peer) => {
                let known = self.sessions.contains_key(&peer.process);
                if known || self.sessions.len() < MAX_SESSIONS {
                    self.sessions.insert(peer.process, peer);
                    self.edge_up(peer, out);
                    self.greet(now, peer, out);
                }
            }
            LinkEvent::Down(peer) => {
                if self.sessions.get(&peer.process) == Some(&peer) {
                    self.sessions.remove(&peer.process);
                    self.edge_down(now, peer, out);
                }
            }
            LinkEvent::Refused { reason: RefusalReason::Twin, .. } => {
                self.stop_rolled_back(self.me.incarnation, out);
            }
            // A bar is for ever, and made by a command that one member was given: its word is
            // enough. Not so for one that a quorum holds to: it is told soon that it is out.
            LinkEvent::Refused { address, reason: RefusalReason::Barred }
                if self.view().is_some()
                    && self.leaving.is_none()
                    && self.judge_status() != Status::Active =>
            {
                self.stop(StopReason::Barred { by: address }, out);
            }
            LinkEvent::Refused { .. } => {}
            LinkEvent::OwnId(peer) => {
                let other_start = peer.nonce != self.start.nonce;
                if other_start && peer.incarnation >= self.me.incarnation {
                    self.stop_rolled_back(peer.incarnation, out);
                }
            }
        }
    }

    /// What a session that is new has missed.
    fn greet(&mut self, now: Duration, peer: Peer, out: &mut Vec<Output>) {
        if self.owed.contains_key(&peer.process) {
            self.send_view(peer.process, out);
        }
        self.facts_to(peer.process, out);
        if self.seeks_admission() {
            self.ask(now, peer.process, out);
        } else if self.judge_status() != Status::Active {
            // It may know a view that was agreed on meanwhile.
            self.send(peer.process, Protocol::Query, out);
        }
    }

    /// True if it is worth asking the processes of the view to agree: as far as can be seen, enough
    /// of them are there. Members of a sparse view see only their neighbours and trust the reports;
    /// who has started again counts those it has heard of.
    pub(super) fn quorum_in_reach(&self, view: &View) -> bool {
        let me = self.me.process;
        if !view.topology().is_full() && self.is_member() {
            return true;
        }
        view.is_quorum(self.sessions.keys().chain(self.waiting.keys()).chain([&me]))
    }

    /// Sessions to keep and addresses to seek, as they follow from view and status.
    pub(super) fn refresh_links(&mut self, out: &mut Vec<Output>) {
        let view = self.durable.view.clone();
        let mut keep: BTreeMap<ProcessId, &Member> = BTreeMap::new();
        let mut seek: BTreeSet<SocketAddr> = BTreeSet::new();
        keep.extend(view.iter().flat_map(|view| self.links_of(view)).map(|it| (it.process, it)));
        for member in self.farewells() {
            keep.entry(member.process).or_insert(member);
        }
        for waiting in self.waiting.values().filter(|it| it.asked_here || self.is_full_mesh()) {
            keep.insert(waiting.member.process, &waiting.member);
        }
        keep.remove(&self.me.process);
        if self.judge_status() != Status::Active {
            seek.extend(keep.values().map(|member| member.address));
            // Who has no place in a large view, or only neighbours that are gone as well, asks
            // those who coordinate next.
            seek.extend(view.iter().flat_map(|view| {
                let order = view.topology().coordinators().iter().take(MAX_HINTS);
                let members = order.filter_map(|&place| view.members().get(usize::from(place)));
                members.filter(|member| member.process != self.me.process).map(|it| it.address)
            }));
            seek.extend(self.start.seeds.iter().chain(self.seeking.hints.iter()));
            seek.remove(&self.me.address);
        }
        // This is asked in nearly each step and hardly ever changes: copied only if it has.
        let kept = self.kept.as_ref().is_some_and(|kept| kept.iter().eq(keep.values().copied()));
        let new = (!kept).then(|| keep.into_values().cloned().collect::<Vec<Member>>());
        if let Some(keep) = new {
            self.kept = Some(keep.clone());
            out.push(Output::Keep(keep));
        }
        if self.sought.as_ref().is_none_or(|sought| !sought.iter().eq(seek.iter())) {
            let seek: Vec<SocketAddr> = seek.into_iter().collect();
            self.sought = Some(seek.clone());
            out.push(Output::Seek(seek));
        }
    }
}
