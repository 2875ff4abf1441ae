use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_membership::View;
use lampyrid_wire::ProcessId;

use super::{ConnId, Link, LinkCore, Output, Traffic};
use crate::links::limits::{LEAST_STAY, LOOK_PAUSE, PARTING};

/// The sessions that membership does not ask for, and how they end.
///
/// A session that is neither kept nor sought is *spare*, on either side, and each side judges it by
/// itself. What this process wished for, or membership once kept, is there for frames of registry
/// and migration only: it ends when none has passed for the idle time, whatever membership says on
/// it meanwhile. What others brought (a joiner, a member with a wish of its own) may be of use to
/// them in ways that do not show here, so it ends when nothing at all has passed. Thus whoever
/// wished ends the session, and the other side does so only when that one does not.
#[derive(Debug)]
pub(super) struct Demand {
    most: usize,
    idle: Duration,
    view: Option<Arc<View>>,
    /// When to look again for spare sessions that are of no use.
    pub(super) look_at: Option<Duration>,
    last_look: Option<Duration>,
    /// The wish for which the look that is under way is to make room.
    turned_away: Option<ProcessId>,
}

impl Demand {
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self { most, idle, view: None, look_at: None, last_look: None, turned_away: None }
    }

    pub(super) fn lists(&self, process: ProcessId) -> bool {
        self.view.as_ref().is_some_and(|view| view.index_of(process).is_some())
    }

    /// Looks are so far apart: no session outlives its time by more.
    fn pause(&self) -> Duration {
        self.idle / 8
    }
}

impl LinkCore {
    pub(super) fn view(&mut self, now: Duration, view: Arc<View>, out: &mut Vec<Output>) {
        self.targets.wish_within(&view);
        self.demand.view = Some(view);
        self.prune(now, out);
    }

    pub(super) fn wish(&mut self, now: Duration, process: ProcessId, out: &mut Vec<Output>) {
        if process == self.me.process || self.live.contains_key(&process) {
            // It is there by now, or about to be.
            return out.push(Output::Room(process));
        }
        if self.targets.wishes(process) || self.on_demand() < self.demand.most {
            return self.follow_wish(now, process, out);
        }
        if self.demand.last_look.is_some_and(|last| now < last + LOOK_PAUSE) {
            return out.push(Output::NoRoom(process));
        }
        self.demand.turned_away = Some(process);
        self.look(now, out);
    }

    fn follow_wish(&mut self, now: Duration, process: ProcessId, out: &mut Vec<Output>) {
        let view = self.demand.view.as_ref();
        if let Some(member) = view.and_then(|view| view.member(process)) {
            self.targets.wish(now, member);
            out.push(Output::Room(process));
        }
    }

    /// How many sessions on demand there are, or are wished for.
    fn on_demand(&self) -> usize {
        let wished = self.targets.wished().filter(|process| !self.live.contains_key(process));
        wished.count() + self.live.values().filter(|link| link.is_on_demand()).count()
    }

    /// Sees to it that spare sessions are looked at.
    pub(super) fn look_later(&mut self, now: Duration) {
        let any = self.live.values().any(Link::is_spare);
        self.demand.look_at = match self.demand.look_at {
            _ if !any => None,
            None => Some(now + self.demand.pause()),
            set => set,
        };
    }

    pub(super) fn look_if_due(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.demand.look_at.is_some_and(|at| at <= now) {
            self.look(now, out);
        }
    }

    fn look(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.demand.last_look = Some(now);
        self.demand.look_at = None;
        self.look_later(now);
        let spare = self.live.values().filter(|link| link.is_spare());
        out.push(Output::Look(spare.map(|link| link.conn).collect()));
    }

    /// Ends what was of no use for long; then, if somebody waits for room, what was of the least.
    pub(super) fn traffic(
        &mut self,
        now: Duration,
        seen: &[(ConnId, Traffic)],
        out: &mut Vec<Output>,
    ) {
        let seen: BTreeMap<ConnId, Traffic> = seen.iter().copied().collect();
        let mut over = Vec::new();
        let mut least: Option<(Duration, ConnId)> = None;
        for link in self.live.values().filter(|link| link.is_spare()) {
            let Some(traffic) = seen.get(&link.conn) else { continue };
            let used = link.last_use(traffic);
            if now >= used + link.patience(traffic, self.demand.idle) {
                over.push(link.conn);
            } else if link.is_on_demand() && now >= used + LEAST_STAY {
                least = Some(least.map_or((used, link.conn), |least| least.min((used, link.conn))));
            }
        }
        for conn in over {
            self.close(now, conn, "it was of no use any more", out);
        }
        if let Some(process) = self.demand.turned_away.take() {
            if self.on_demand() >= self.demand.most
                && let Some((_, conn)) = least
            {
                self.close(now, conn, "another session was wanted more", out);
            }
            if self.on_demand() < self.demand.most {
                self.follow_wish(now, process, out);
            } else {
                out.push(Output::NoRoom(process));
            }
        }
        self.look_later(now);
    }
}

impl Link {
    /// It carries frames and membership has not asked for it.
    fn is_spare(&self) -> bool {
        self.spare_since.is_some() && self.up_since.is_some()
    }

    /// It is here, or stays, for what this process has to send.
    fn is_on_demand(&self) -> bool {
        self.spare_since.is_some() && (self.wished || self.was_kept)
    }

    /// When it was of use last.
    fn last_use(&self, traffic: &Traffic) -> Duration {
        let passed = if self.is_on_demand() { traffic.concern } else { traffic.any };
        [self.spare_since, self.up_since, passed].into_iter().flatten().max().unwrap_or_default()
    }

    /// How long it may stay without use.
    fn patience(&self, traffic: &Traffic, idle: Duration) -> Duration {
        let parting = self.was_kept && !self.wished && traffic.concern.is_none();
        if parting { idle.min(PARTING) } else { idle }
    }
}

#[cfg(test)]
mod tests;
