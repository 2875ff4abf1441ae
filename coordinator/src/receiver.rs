use std::collections::BTreeSet;

use lampyrid_membership::View;
use lampyrid_registry::{TopologyUpdate, Version};
use lampyrid_wire::ProcessId;

use crate::{BucketClock, MessageOrder, Order, Skew};

/// What is to be counted and logged about an update that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// How it stands to those before it, if not simply the next.
    Order(ProcessId, Order),
    /// It is this many milliseconds old, which is late.
    Late(ProcessId, i64),
    /// The sender's wall clock is beyond the tolerance.
    Skew(ProcessId, Skew),
}

/// Judges the updates that come in: order, age, clocks, and which copy is the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receiver {
    order: MessageOrder,
    clock: BucketClock,
    /// The parts of the newest update that have come.
    seen: Option<(Version, BTreeSet<u16>)>,
}

/// What to do with an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// First of its kind: store it and pass it on.
    First,
    /// The coordinator repeats it, so it has not heard that it is stored: store it (again).
    Repeated,
    /// Refused.
    Refused,
}

impl Receiver {
    /// Judges `update`, which `from` sent. It is of the installed view and its coordinator.
    pub(crate) fn judge(
        &mut self,
        view: &View,
        from: ProcessId,
        update: &TopologyUpdate,
        wall: i64,
        reports: &mut Vec<Report>,
    ) -> Verdict {
        let version = update.version();
        let direct = from == update.coordinator;
        let seen_before = match &mut self.seen {
            Some((newest, parts)) if *newest == version => Some(parts.insert(update.part)),
            _ => None,
        };
        if seen_before == Some(true) {
            return Verdict::First;
        }
        let Some(coordinator) = view.member(update.coordinator) else { return Verdict::Refused };
        let order =
            self.order.observe(update.coordinator, coordinator.incarnation, update.sequence);
        let verdict = match &order {
            order if order.is_taken() => Verdict::First,
            Order::Duplicate if direct => Verdict::Repeated,
            _ => Verdict::Refused,
        };
        if verdict == Verdict::First {
            self.seen = Some((version, BTreeSet::from([update.part])));
            self.time(from, update.sent_at, wall, reports);
        }
        if order != Order::Next {
            reports.push(Report::Order(from, order));
        }
        verdict
    }

    fn time(&mut self, from: ProcessId, sent_at: i64, wall: i64, reports: &mut Vec<Report>) {
        if MessageOrder::is_late(sent_at, wall) {
            reports.push(Report::Late(from, wall.saturating_sub(sent_at)));
        }
        let skew = self.clock.observe(from, sent_at, wall);
        if skew.beyond {
            reports.push(Report::Skew(from, skew));
        }
    }

    /// The skews of the peers heard from.
    pub(crate) fn clock(&self) -> &BucketClock {
        &self.clock
    }

    /// Forgets whoever is not in `view`.
    pub(crate) fn retain(&mut self, view: &View) {
        self.order.retain(|process, incarnation| view.lists(process, incarnation));
        self.clock.retain(|process| view.member(process).is_some());
    }
}
