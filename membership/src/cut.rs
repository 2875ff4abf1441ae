use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lampyrid_wire::ProcessId;

use crate::View;
use crate::limits::UNSTABLE_PATIENCE;

/// Who observes `subject` in `view`. Everybody else, as long as views are small; the one place
/// that sparse rings have to change.
#[must_use]
pub(crate) fn observers(view: &View, subject: ProcessId) -> Vec<ProcessId> {
    view.members().iter().map(|member| member.process).filter(|&p| p != subject).collect()
}

/// Reports from which on a subject of `d` observers is stable.
#[must_use]
pub(crate) fn high_mark(d: usize) -> usize {
    if d <= 4 { d } else { d - d.div_ceil(10) }
}

/// Reports from which on a subject of `d` observers is unstable; below it is noise.
#[must_use]
pub(crate) fn low_mark(d: usize) -> usize {
    // Rounds 0.4 d to the nearest whole.
    if d <= 1 { d } else { ((4 * d + 5) / 10).max(2) }
}

/// Counts reports per distinct observer, for one view (multi-process cut detection as in Rapid,
/// USENIX ATC 2018).
#[derive(Debug, Default)]
pub(crate) struct Cut {
    reports: BTreeMap<ProcessId, Observer>,
    leaving: BTreeSet<ProcessId>,
    unstable_since: BTreeMap<ProcessId, Duration>,
}

#[derive(Debug, Default)]
struct Observer {
    attempt: u64,
    down: BTreeSet<ProcessId>,
}

/// What the reports amount to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Members to be removed.
    pub(crate) stable: BTreeSet<ProcessId>,
    /// Members in doubt, with the observers that have not reported them.
    pub(crate) unstable: BTreeMap<ProcessId, Vec<ProcessId>>,
}

impl Cut {
    /// Takes an observer's reports: more of the same attempt, or those of a later one in place of
    /// all before. True if that changed anything. The caller has checked that `observer` is a
    /// member at its listed incarnation.
    pub(crate) fn report(
        &mut self,
        view: &View,
        observer: ProcessId,
        attempt: u64,
        down: impl IntoIterator<Item = ProcessId>,
    ) -> bool {
        let known = self.reports.entry(observer).or_default();
        if attempt < known.attempt {
            return false;
        }
        let mut changed = false;
        if attempt > known.attempt {
            changed = !known.down.is_empty();
            *known = Observer { attempt, down: BTreeSet::new() };
        }
        for subject in down {
            if subject != observer && view.index_of(subject).is_some() {
                changed |= known.down.insert(subject);
            }
        }
        changed
    }

    /// Notes that a member said it leaves: complete by its own word. True if that is news.
    pub(crate) fn leave(&mut self, view: &View, process: ProcessId) -> bool {
        view.index_of(process).is_some() && self.leaving.insert(process)
    }

    /// The members that said they leave.
    #[must_use]
    pub(crate) fn leaving(&self) -> &BTreeSet<ProcessId> {
        &self.leaving
    }

    /// What `observer` has reported.
    #[must_use]
    pub(crate) fn reported_by(&self, observer: ProcessId) -> BTreeSet<ProcessId> {
        self.reports.get(&observer).map(|known| known.down.clone()).unwrap_or_default()
    }

    /// Counts. `renewed` are the members known to have started again: inside the cut, but to be
    /// replaced rather than removed. A subject that has been unstable for
    /// [`UNSTABLE_PATIENCE`] is left out: by then its other observers have probed it afresh.
    pub(crate) fn tally(
        &mut self,
        now: Duration,
        view: &View,
        renewed: &BTreeSet<ProcessId>,
    ) -> Tally {
        let explicit: BTreeMap<ProcessId, usize> = view
            .members()
            .iter()
            .map(|member| (member.process, self.reporters_of(view, member.process).len()))
            .collect();
        let marks = |subject: ProcessId| {
            let d = observers(view, subject).len();
            (low_mark(d), high_mark(d))
        };
        let doubted = |subject: ProcessId| {
            let count = explicit.get(&subject).copied().unwrap_or_default();
            count > 0 && count >= marks(subject).0
        };
        let in_cut: BTreeSet<ProcessId> = view
            .members()
            .iter()
            .map(|member| member.process)
            .filter(|&p| doubted(p) || self.leaving.contains(&p) || renewed.contains(&p))
            .collect();
        let mut tally = Tally::default();
        for &subject in in_cut.iter().filter(|&&subject| doubted(subject)) {
            if self.leaving.contains(&subject) || renewed.contains(&subject) {
                continue;
            }
            let mut reporters = self.reporters_of(view, subject);
            let all = observers(view, subject);
            reporters.extend(all.iter().copied().filter(|observer| in_cut.contains(observer)));
            if reporters.len() >= marks(subject).1 {
                tally.stable.insert(subject);
            } else {
                let silent = all.into_iter().filter(|p| !reporters.contains(p)).collect();
                tally.unstable.insert(subject, silent);
            }
        }
        self.unstable_since.retain(|subject, _| tally.unstable.contains_key(subject));
        for &subject in tally.unstable.keys() {
            self.unstable_since.entry(subject).or_insert(now);
        }
        tally.unstable.retain(|subject, _| {
            self.unstable_since.get(subject).is_some_and(|&since| now < since + UNSTABLE_PATIENCE)
        });
        tally
    }

    /// When the next subject in doubt stops holding up proposals.
    #[must_use]
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        self.unstable_since
            .values()
            .map(|&since| since + UNSTABLE_PATIENCE)
            .filter(|&end| end > now)
            .min()
    }

    fn reporters_of(&self, view: &View, subject: ProcessId) -> BTreeSet<ProcessId> {
        observers(view, subject)
            .into_iter()
            .filter(|p| self.reports.get(p).is_some_and(|known| known.down.contains(&subject)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{ClusterId, Incarnation, Member};

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn p(number: u128) -> ProcessId {
        ProcessId::from_u128(number)
    }

    fn view(size: u128) -> View {
        let member = |number| Member {
            process: p(number),
            incarnation: Incarnation(1),
            name: String::new(),
            address: "127.0.0.1:1".parse().unwrap(),
            admin: None,
        };
        View::first(ClusterId::from_u128(5), "c", member(1))
            .successor((1..=size).map(member).collect())
            .unwrap()
    }

    fn tally(cut: &mut Cut, view: &View) -> Tally {
        cut.tally(NOW, view, &BTreeSet::new())
    }

    #[test]
    fn the_marks_are_those_of_the_specification() {
        let marks: Vec<_> = (1..=10).map(|d| (high_mark(d), low_mark(d))).collect();
        let expected =
            [(1, 1), (2, 2), (3, 2), (4, 2), (4, 2), (5, 2), (6, 3), (7, 3), (8, 4), (9, 4)];
        assert_eq!(marks, expected);
    }

    #[test]
    fn one_broken_link_removes_nobody_and_a_dead_process_is_removed() {
        let view = view(3);
        let mut cut = Cut::default();
        cut.report(&view, p(1), 1, [p(2)]);
        cut.report(&view, p(2), 1, [p(1)]);
        cut.report(&view, p(1), 1, [p(2)]);
        assert_eq!(tally(&mut cut, &view), Tally::default());
        cut.report(&view, p(3), 1, [p(2)]);
        assert_eq!(tally(&mut cut, &view).stable, BTreeSet::from([p(2)]));
    }

    #[test]
    fn two_dead_of_four_report_each_other_implicitly() {
        let view = view(4);
        let mut cut = Cut::default();
        cut.report(&view, p(1), 1, [p(3), p(4)]);
        cut.report(&view, p(2), 1, [p(3)]);
        let before = tally(&mut cut, &view);
        assert_eq!(before.unstable, BTreeMap::from([(p(3), vec![p(4)])]));
        cut.report(&view, p(2), 1, [p(4)]);
        assert_eq!(tally(&mut cut, &view).stable, BTreeSet::from([p(3), p(4)]));
    }

    #[test]
    fn a_later_attempt_takes_back_and_an_earlier_one_counts_no_more() {
        let view = view(2);
        let mut cut = Cut::default();
        assert!(cut.report(&view, p(1), 5, [p(2)]));
        assert!(cut.report(&view, p(1), 6, []));
        assert!(!cut.report(&view, p(1), 5, [p(2)]));
        assert_eq!(tally(&mut cut, &view), Tally::default());
    }

    #[test]
    fn a_subject_in_doubt_holds_up_others_for_a_bounded_time() {
        let view = view(5);
        let mut cut = Cut::default();
        for observer in [1, 2] {
            cut.report(&view, p(observer), 1, [p(5)]);
        }
        let first = tally(&mut cut, &view);
        assert_eq!(first.unstable[&p(5)], vec![p(3), p(4)]);
        assert_eq!(cut.deadline(NOW), Some(UNSTABLE_PATIENCE));
        assert_eq!(cut.tally(UNSTABLE_PATIENCE, &view, &BTreeSet::new()), Tally::default());
        assert_eq!(cut.deadline(UNSTABLE_PATIENCE), None);
    }

    #[test]
    fn a_leaver_and_a_renewed_member_count_as_observers_but_are_not_removed_for_absence() {
        let view = view(4);
        let mut cut = Cut::default();
        cut.leave(&view, p(1));
        cut.report(&view, p(3), 1, [p(4), p(1)]);
        cut.report(&view, p(1), 1, [p(4)]);
        let tally = cut.tally(NOW, &view, &BTreeSet::from([p(2)]));
        assert_eq!(tally.stable, BTreeSet::from([p(4)]));
        assert!(tally.unstable.is_empty());
    }
}
