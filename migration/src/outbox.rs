use std::collections::VecDeque;

use crate::{Effect, Record, RecordKind, Step};

/// The effects of steps, in order, each held back until everything it depends on is durable.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    /// Numbers of transactions: handed out to be made durable, and durable.
    appended: u64,
    durable: u64,
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    after: u64,
    effects: Vec<Effect>,
    with: Option<T>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { appended: 0, durable: 0, waiting: VecDeque::new() }
    }
}

impl<T> Outbox<T> {
    /// Takes a step; what it gives back has to be made durable, under that number. `with` is kept
    /// until the step's last effects are given out.
    pub(crate) fn take(&mut self, step: Step, with: T) -> Option<(u64, Vec<Record>)> {
        let Step { records, mut effects } = step;
        let before = self.appended;
        self.appended += u64::from(!records.is_empty());
        if !records.is_empty() && records.iter().all(|record| record.kind == RecordKind::End) {
            // END only spares a recovery the question whether the destination has what COMMIT made
            // durable. Who waits for the outcome need not wait for that.
            let (told, rest) = effects.into_iter().partition(Effect::is_reply);
            self.hold(before, told, None);
            effects = rest;
        }
        self.hold(self.appended, effects, Some(with));
        (!records.is_empty()).then_some((self.appended, records))
    }

    fn hold(&mut self, after: u64, effects: Vec<Effect>, with: Option<T>) {
        if !effects.is_empty() {
            self.waiting.push_back(Waiting { after, effects, with });
        }
    }

    /// Everything up to that number is durable.
    pub(crate) fn synced(&mut self, number: u64) {
        self.durable = number;
    }

    /// The next effects that wait for nothing any more.
    pub(crate) fn next(&mut self) -> Option<(Vec<Effect>, Option<T>)> {
        let is_ready = |waiting: &Waiting<T>| waiting.after <= self.durable;
        let ready = self.waiting.front().is_some_and(is_ready);
        let waiting = if ready { self.waiting.pop_front() } else { None };
        waiting.map(|waiting| (waiting.effects, waiting.with))
    }

    /// True if all that was handed out is durable.
    pub(crate) fn is_synced(&self) -> bool {
        self.durable == self.appended
    }

    /// Steps of which effects wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CallId, Reply};

    fn step(kinds: &[RecordKind], call: u64) -> Step {
        let record = |&kind| Record { kind, writes: Vec::new() };
        let effects = vec![Effect::Hosting, Effect::Reply(CallId(call), Reply::Left(true))];
        Step { records: kinds.iter().map(record).collect(), effects }
    }

    /// The calls that are answered now, and how many other effects there are.
    fn given(outbox: &mut Outbox<()>) -> (Vec<u64>, usize) {
        let all: Vec<Effect> =
            std::iter::from_fn(|| outbox.next()).flat_map(|(effects, _)| effects).collect();
        let call = |effect: &Effect| match effect {
            Effect::Reply(call, _) => Some(call.0),
            _ => None,
        };
        let calls: Vec<u64> = all.iter().filter_map(call).collect();
        let others = all.len() - calls.len();
        (calls, others)
    }

    #[test]
    fn effects_wait_for_their_records_and_for_all_before() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.take(step(&[], 0), ()), None);
        assert_eq!(given(&mut outbox), (vec![0], 1));
        assert_eq!(outbox.take(step(&[RecordKind::Prepare], 1), ()).map(|(at, _)| at), Some(1));
        assert_eq!(outbox.take(step(&[], 2), ()), None);
        assert_eq!((given(&mut outbox), outbox.is_synced()), ((vec![], 0), false));
        outbox.synced(1);
        assert!(outbox.is_synced());
        assert_eq!(given(&mut outbox), (vec![1, 2], 2));
    }

    #[test]
    fn an_answer_waits_for_what_came_before_an_end_but_not_for_the_end() {
        let mut outbox = Outbox::default();
        outbox.take(step(&[RecordKind::Abort], 1), ());
        outbox.take(step(&[RecordKind::End], 2), ());
        outbox.take(step(&[RecordKind::End, RecordKind::Purge], 3), ());
        assert_eq!(given(&mut outbox), (vec![], 0));
        outbox.synced(1);
        assert_eq!(given(&mut outbox), (vec![1, 2], 1));
        outbox.synced(2);
        assert_eq!(given(&mut outbox), (vec![], 1));
        outbox.synced(3);
        assert_eq!(given(&mut outbox), (vec![3], 1));
        assert_eq!(outbox.len(), 0);
    }
}
