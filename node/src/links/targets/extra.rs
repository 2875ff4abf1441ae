//! Targets beside those that membership names: members that something is to be sent to, and what a
//! process without room hints at.

use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_membership::View;
use lampyrid_wire::{Incarnation, Member, ProcessId};

use super::{Aim, Target, Targets};
use crate::links::limits::{MAX_HINTED, WISH_LIMIT};

impl Targets {
    /// Wants a session with a member for a while, or for longer.
    pub(crate) fn wish(&mut self, now: Duration, member: &Member) {
        let fresh = Target::new(member.address, member.incarnation);
        let target = self.targets.entry(Aim::OnDemand(member.process)).or_insert(fresh);
        target.until = Some(now + WISH_LIMIT);
    }

    /// The session is up, or not wanted any more.
    pub(crate) fn unwish(&mut self, process: ProcessId) {
        self.targets.remove(&Aim::OnDemand(process));
    }

    pub(crate) fn wishes(&self, process: ProcessId) -> bool {
        self.targets.contains_key(&Aim::OnDemand(process))
    }

    /// Members that are wished for.
    pub(crate) fn wished(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.targets.keys().filter_map(|aim| match aim {
            Aim::OnDemand(process) => Some(*process),
            Aim::Member(_) | Aim::Sought(_) | Aim::Hinted(_) => None,
        })
    }

    /// Drops the wishes for processes that this view does not list, and brings the others to where
    /// it lists them.
    pub(crate) fn wish_within(&mut self, view: &View) {
        self.targets.retain(|aim, target| {
            let Aim::OnDemand(process) = aim else { return true };
            let Some(member) = view.member(*process) else { return false };
            if (member.address, member.incarnation) != (target.address, target.incarnation) {
                let until = target.until;
                *target = Target { until, ..Target::new(member.address, member.incarnation) };
            }
            true
        });
    }

    /// Gives up the wishes whose time is over.
    pub(crate) fn expire(&mut self, now: Duration) {
        self.targets.retain(|_, target| target.until.is_none_or(|until| now < until));
    }

    /// When the next wish is given up.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.targets.values().filter_map(|target| target.until).min()
    }

    /// Dials these addresses too, in place of those hinted at before.
    pub(super) fn follow_hints(&mut self, others: &[SocketAddr]) {
        let hinted = others.iter().take(MAX_HINTED);
        let target = |&address| (Aim::Hinted(address), Target::new(address, Incarnation(0)));
        self.replace(|aim| matches!(aim, Aim::Hinted(_)), hinted.map(target).collect());
    }

    /// Whether an address is sought, or hinted at in place of one that is.
    pub(crate) fn follows(&self, address: SocketAddr) -> bool {
        self.seeks(address) || self.targets.contains_key(&Aim::Hinted(address))
    }
}
