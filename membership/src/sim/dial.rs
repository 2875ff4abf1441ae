use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_wire::Member;

use super::sessions::Pair;
use super::{Event, Sim};

/// First pause after a dial that brought nothing; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);

/// The longest such pause.
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// Of sorted `these` those not in sorted `others`.
fn without(these: &[usize], others: &[usize]) -> Vec<usize> {
    these.iter().copied().filter(|at| others.binary_search(at).is_err()).collect()
}

impl Sim {
    /// Whoever was kept and is no longer wanted is hung up on; whoever is new is dialled.
    pub(super) fn keep(&mut self, place: usize, members: &[Member]) {
        let mut keep: Vec<usize> =
            members.iter().filter_map(|member| self.place(member.process)).collect();
        keep.sort_unstable();
        let Some(run) = &mut self.processes[place].run else { return };
        let before = std::mem::replace(&mut run.keep, keep);
        let dropped = without(&without(&before, &run.keep), &run.seek);
        let new = without(&run.keep, &before);
        for other in dropped {
            self.close_session(Pair::of(place, other));
        }
        for other in new {
            self.dial_soon(place, other);
        }
    }

    pub(super) fn seek(&mut self, place: usize, addresses: &[SocketAddr]) {
        let mut seek: Vec<usize> =
            addresses.iter().filter_map(|&sought| self.at_address(sought)).collect();
        seek.sort_unstable();
        let Some(run) = &mut self.processes[place].run else { return };
        let before = std::mem::replace(&mut run.seek, seek);
        for other in without(&run.seek, &before) {
            self.dial_soon(place, other);
        }
    }

    /// Of two members the lower id dials; who seeks dials whomever.
    fn wants(&self, of: usize, to: usize) -> bool {
        let Some(run) = &self.processes[of].run else { return false };
        let sought = run.seek.binary_search(&to).is_ok();
        let dials = self.processes[of].id < self.processes[to].id;
        of != to && (sought || (dials && run.keep.binary_search(&to).is_ok()))
    }

    /// The first dial comes at once, unless one is due already.
    pub(super) fn dial_soon(&mut self, of: usize, to: usize) {
        if self.wants(of, to) && !self.is_current(Pair::of(of, to)) {
            let soon = self.random.between(100, 3_000);
            if let Some(run) = &mut self.processes[of].run
                && !run.dials.contains_key(&to)
            {
                run.dials.insert(to, 0);
                let boot = run.boot;
                self.after(soon, Event::Dial { of, boot, to });
            }
        }
    }

    pub(super) fn dial(&mut self, of: usize, to: usize) {
        let pair = Pair::of(of, to);
        let wanted = self.wants(of, to) && !self.is_current(pair);
        let reached = wanted && self.can_meet(of, to);
        if reached {
            // A session with an earlier start of either gives way.
            self.close_session(pair);
            self.open_session(of, to);
        }
        let Some(run) = &mut self.processes[of].run else { return };
        if reached || !wanted {
            run.dials.remove(&to);
            return;
        }
        let attempts = run.dials.entry(to).or_insert(0);
        *attempts += 1;
        let boot = run.boot;
        let full = FIRST_BACKOFF.saturating_mul(1 << (*attempts - 1).min(16)).min(LAST_BACKOFF);
        let pause = full * 3 / 4 + self.random.between(0, 1_000) * (full.as_millis() as u32) / 4;
        self.after(pause, Event::Dial { of, boot, to });
    }

    fn can_meet(&mut self, of: usize, to: usize) -> bool {
        let (Some(one), Some(other)) = (&self.processes[of].run, &self.processes[to].run) else {
            return false;
        };
        let same = one.cluster.is_none() || other.cluster.is_none() || one.cluster == other.cluster;
        same && !self.is_frozen(to) && !self.network.fails_connect(self.now, of, to)
    }
}
