use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What is to happen, in order of time, and of pushing within one moment. Nothing is taken out
/// before its time: whoever no longer wants an event ignores it when it comes.
#[derive(Debug)]
pub(super) struct Queue<E> {
    heap: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    /// The events themselves, so that the heap moves small entries only.
    slots: Vec<Option<E>>,
    free: Vec<usize>,
    serial: u64,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), serial: 0 }
    }

    /// Its number, which no other event has.
    pub(super) fn push(&mut self, at: Duration, event: E) -> u64 {
        self.serial += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() - 1
            }
        };
        self.heap.push(Reverse((at, self.serial, slot)));
        self.serial
    }

    /// The next event that is due by `end`: its moment, its number, and it.
    pub(super) fn pop_until(&mut self, end: Duration) -> Option<(Duration, u64, E)> {
        let Reverse((at, ..)) = *self.heap.peek()?;
        if at > end {
            return None;
        }
        let Reverse((at, serial, slot)) = self.heap.pop()?;
        let event = self.slots[slot].take()?;
        self.free.push(slot);
        Some((at, serial, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_in_the_order_of_pushing_and_no_later_than_asked_for() {
        let mut queue = Queue::new();
        let at = Duration::from_millis;
        queue.push(at(5), 'c');
        let first = queue.push(at(2), 'a');
        queue.push(at(2), 'b');
        queue.push(at(9), 'd');
        assert_eq!(queue.pop_until(at(5)), Some((at(2), first, 'a')));
        queue.push(at(5), 'e');
        let rest: Vec<char> =
            std::iter::from_fn(|| queue.pop_until(at(5))).map(|(_, _, event)| event).collect();
        assert_eq!(rest, ['b', 'c', 'e']);
    }
}
