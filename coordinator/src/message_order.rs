use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use lampyrid_wire::{Incarnation, ProcessId};

/// The age in milliseconds beyond which a message is reported late.
pub const LATE_MS: i64 = 1_000;

/// The most senders followed at once; far more than a view has members.
pub const MAX_SENDERS: usize = 4_096;

/// How a numbered message stands to those before it from the same life of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The next one, or the first seen of that life, whatever its number.
    Next,
    /// Newer, but these numbers were not seen. A message that carries state is still to be taken.
    Gap(RangeInclusive<u64>),
    /// The newest one again: refused.
    Duplicate,
    /// Older than the newest: refused, for it may be one of a gap that newer state has overtaken.
    Reordered,
    /// From an earlier life of the sender: refused.
    Superseded,
    /// There are [`MAX_SENDERS`] already: refused.
    TooManySenders,
}

impl Order {
    /// True if a message that carries state is to be taken.
    #[must_use]
    pub const fn is_taken(&self) -> bool {
        matches!(self, Self::Next | Self::Gap(_))
    }
}

/// Follows the message numbers of each sender, per incarnation.
#[derive(Debug, Clone, Default)]
pub struct MessageOrder {
    newest: BTreeMap<ProcessId, (Incarnation, u64)>,
}

impl MessageOrder {
    /// Judges one message and, if it is newer, remembers its number.
    pub fn observe(&mut self, sender: ProcessId, incarnation: Incarnation, sequence: u64) -> Order {
        let full = self.newest.len() >= MAX_SENDERS;
        let order = match self.newest.get(&sender) {
            None if full => return Order::TooManySenders,
            None => Order::Next,
            Some(&(life, _)) if incarnation < life => return Order::Superseded,
            Some(&(life, _)) if incarnation > life => Order::Next,
            Some(&(_, newest)) if sequence == newest => return Order::Duplicate,
            Some(&(_, newest)) if sequence < newest => return Order::Reordered,
            Some(&(_, newest)) if sequence == newest + 1 => Order::Next,
            Some(&(_, newest)) => Order::Gap(newest + 1..=sequence - 1),
        };
        self.newest.insert(sender, (incarnation, sequence));
        order
    }

    /// True if a message is so old by the two wall clocks that it is worth a report; never a reason
    /// to refuse it.
    #[must_use]
    pub const fn is_late(sent_ms: i64, received_ms: i64) -> bool {
        received_ms.saturating_sub(sent_ms) > LATE_MS
    }

    /// Forgets the senders for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(ProcessId, Incarnation) -> bool) {
        self.newest.retain(|&sender, &mut (incarnation, _)| keep(sender, incarnation));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENDER: ProcessId = ProcessId::from_u128(1);

    fn observe(order: &mut MessageOrder, incarnation: u64, sequence: u64) -> Order {
        order.observe(SENDER, Incarnation(incarnation), sequence)
    }

    #[test]
    fn zero_is_an_ordinary_number() {
        let mut order = MessageOrder::default();
        assert_eq!(observe(&mut order, 1, 0), Order::Next);
        assert_eq!(observe(&mut order, 1, 0), Order::Duplicate);
        assert_eq!(observe(&mut order, 1, 1), Order::Next);
        assert_eq!(observe(&mut order, 1, 0), Order::Reordered);
    }

    #[test]
    fn a_gap_names_what_is_missing_and_newer_state_is_taken() {
        let mut order = MessageOrder::default();
        observe(&mut order, 1, 3);
        let gap = observe(&mut order, 1, 7);
        assert_eq!(gap, Order::Gap(4..=6));
        assert!(gap.is_taken());
        assert_eq!(observe(&mut order, 1, 5), Order::Reordered);
        assert_eq!(observe(&mut order, 1, u64::MAX), Order::Gap(8..=u64::MAX - 1));
        assert_eq!(observe(&mut order, 1, u64::MAX), Order::Duplicate);
    }

    #[test]
    fn a_new_incarnation_starts_afresh_and_the_old_one_is_over() {
        let mut order = MessageOrder::default();
        observe(&mut order, 1, 900);
        assert_eq!(observe(&mut order, 2, 0), Order::Next);
        assert_eq!(observe(&mut order, 1, 901), Order::Superseded);
        assert_eq!(observe(&mut order, 2, 1), Order::Next);
    }

    #[test]
    fn late_is_more_than_a_second_by_the_wall_clocks() {
        assert!(!MessageOrder::is_late(0, 1_000));
        assert!(MessageOrder::is_late(0, 1_001));
        assert!(!MessageOrder::is_late(5_000, 0));
        assert!(MessageOrder::is_late(i64::MIN, i64::MAX));
    }

    #[test]
    fn senders_are_bounded_and_make_room_when_forgotten() {
        let mut order = MessageOrder::default();
        for sender in 0..MAX_SENDERS as u128 {
            order.observe(ProcessId::from_u128(sender), Incarnation(1), 0);
        }
        let one_more = ProcessId::from_u128(MAX_SENDERS as u128);
        assert_eq!(order.observe(one_more, Incarnation(1), 0), Order::TooManySenders);
        order.retain(|sender, _| sender == SENDER);
        assert_eq!(order.observe(one_more, Incarnation(1), 0), Order::Next);
        assert_eq!(order.observe(SENDER, Incarnation(1), 0), Order::Duplicate);
    }

    proptest! {
        #[test]
        fn what_is_taken_rises_strictly_and_every_number_is_taken_or_reported(
            numbers in prop::collection::vec(0_u64..40, 1..100),
        ) {
            let mut order = MessageOrder::default();
            let mut newest = None;
            for number in numbers {
                let judged = observe(&mut order, 1, number);
                prop_assert_eq!(judged.is_taken(), newest.is_none_or(|newest| number > newest));
                if let Order::Gap(missing) = &judged {
                    prop_assert_eq!(Some(*missing.start()), newest.map(|newest| newest + 1));
                    prop_assert_eq!(missing.end() + 1, number);
                }
                if judged.is_taken() {
                    newest = Some(number);
                }
            }
        }
    }
}
