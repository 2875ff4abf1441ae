use std::collections::BTreeMap;

use lampyrid::EntityId;
use lampyrid_tests::load::{Answer, Held, Order};

use crate::fleet::Fleet;

/// Every copy of every entity at the running processes, with the place of the process.
pub(crate) type Census = BTreeMap<EntityId, Vec<(usize, Held)>>;

pub(crate) fn take(fleet: &Fleet) -> Census {
    let mut census = Census::new();
    for at in 0..fleet.size() {
        let mut after = None;
        loop {
            let (page, next) = match fleet.get(at).ask(Order::Dump(after)) {
                Answer::Page(page, next) => (page, next),
                other => panic!("{other:?}"),
            };
            for held in page {
                census.entry(held.id).or_default().push((at, held));
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    census
}
