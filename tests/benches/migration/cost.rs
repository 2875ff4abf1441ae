use std::time::Duration;

use lampyrid_tests::proc;

use crate::fleet::Fleet;
use crate::table;

/// What all processes of a fleet have used so far, together.
pub(crate) struct Cost {
    cpu: Duration,
    written: u64,
    message_bytes: u64,
    link_bytes: u64,
    transactions: u64,
}

impl Cost {
    pub(crate) fn so_far(fleet: &Fleet) -> Self {
        let mut all = Self {
            cpu: Duration::ZERO,
            written: 0,
            message_bytes: 0,
            link_bytes: 0,
            transactions: 0,
        };
        for mover in fleet.running() {
            let usage = mover.usage();
            all.cpu += proc::cpu(mover.pid());
            all.written += proc::written(mover.pid());
            all.message_bytes += usage.message_bytes;
            all.link_bytes += usage.link_bytes;
            all.transactions += usage.transactions;
        }
        all
    }

    /// A line on what each move has cost since `before`.
    pub(crate) fn report(&self, before: &Self, name: &str, moves: u64, state_bytes: usize) {
        let each = |new: u64, old: u64| (new - old) as f64 / moves.max(1) as f64;
        let cpu = (self.cpu - before.cpu).as_secs_f64() * 1e6 / moves.max(1) as f64;
        let wire = each(self.link_bytes, before.link_bytes);
        let encoded = each(self.message_bytes, before.message_bytes);
        let disk = each(self.written, before.written);
        let transactions = each(self.transactions, before.transactions);
        table::line(
            &format!("{name}: of each move, both sides"),
            &format!(
                "{cpu:.1} us of processor, {wire:.0} B on the wire ({encoded:.0} B encoded), \
                 {disk:.0} B to disk, {transactions:.3} transactions"
            ),
            &format!("{state_bytes} B of state"),
            &format!(
                "wire {:.1}, disk {:.1}",
                wire / state_bytes as f64,
                disk / state_bytes as f64
            ),
            "",
        );
    }
}
