use lampyrid_tests::load::Tally;

use crate::fleet::Fleet;
use crate::floors::Floors;
use crate::plan::Plan;
use crate::{table, work};

/// Bytes of each state: small ones, where the messages cost, and large ones, where the bytes do.
const STATE_BYTES: [usize; 2] = [256, 16 * 1024];

/// Entities of the large size.
const LARGE: usize = 5_000;

/// Swings of each, one after the other, so that a bad minute hits both.
const ROUNDS: usize = 6;

/// Share of the rate in the clear that has to be left.
const SHARE: f64 = 0.75;

/// The same moves with mutual TLS and in the clear, in turns.
pub(crate) fn measure(plan: &Plan, _: &Floors) {
    for bytes in STATE_BYTES {
        let entities = if bytes == STATE_BYTES[0] { plan.entities } else { LARGE };
        let fleets = [Fleet::start(2, 1, false), Fleet::secured(2, 1)];
        fleets.iter().for_each(|fleet| work::create(fleet, 0, entities, bytes));
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            let from = round % 2;
            for (fleet, rates) in fleets.iter().zip(&mut rates) {
                let swung: Tally = work::swing(fleet, from, 1 - from, plan.batch, plan.in_flight);
                assert_eq!(swung.committed, entities as u64, "{}", work::troubles(&swung));
                work::tell(&format!("{bytes} B: {:.0}/s", swung.rate()));
                rates.push(swung.rate());
            }
        }
        let [plain, secured] = rates.map(work::median);
        let ratio = secured / plain;
        table::line(
            &format!("mutual TLS, {bytes} B: moves a second, median of {ROUNDS}"),
            &table::number(secured),
            &format!("{} in the clear", table::number(plain)),
            &format!("{:.0} %", ratio * 100.0),
            &table::verdict("at least 75 %", ratio >= SHARE),
        );
    }
}
