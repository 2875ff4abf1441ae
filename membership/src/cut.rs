use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::UNSTABLE_PATIENCE;
use crate::{Places, View};

/// Reports from which on a subject of `d` observers is stable.
#[must_use]
pub(crate) const fn high_mark(d: usize) -> usize {
    if d <= 4 { d } else { d - d.div_ceil(10) }
}

/// Reports from which on a subject of `d` observers is unstable; below it is noise.
#[must_use]
pub(crate) const fn low_mark(d: usize) -> usize {
    // Rounds 0.4 d to the nearest whole.
    let rounded = (4 * d + 5) / 10;
    if d <= 1 {
        d
    } else if rounded < 2 {
        2
    } else {
        rounded
    }
}

/// Counts reports per distinct observer, for one view (multi-process cut detection as in Rapid,
/// USENIX ATC 2018). Members are named by their place in it.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    reports: BTreeMap<u16, Observer>,
    leaving: Places,
    unstable_since: BTreeMap<u16, Duration>,
    /// The last count, as long as nothing it follows from has changed: a core asks several times
    /// in each of its steps.
    counted: Option<Count>,
}

/// A count of all reports, and what it was made from besides these.
#[derive(Debug)]
struct Count {
    renewed: Places,
    implied: bool,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Observer {
    attempt: u64,
    down: BTreeSet<u16>,
}

/// All reports of a view as they are passed on.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ReportFacts {
    /// Subjects that observers of the first attempt cannot reach: bit i is the subject's observer i.
    pub down: Vec<(u16, u16)>,
    /// Observers of a later attempt: who, which, and all it cannot reach. It replaces all before.
    pub later: Vec<(u16, u64, Places)>,
    /// Members that said they leave.
    pub leaving: Places,
}

/// What the reports amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Members to be removed.
    pub(crate) stable: Places,
    /// Members in doubt.
    pub(crate) unstable: Places,
}

impl Cut {
    /// Takes an observer's reports: more of the same attempt, or those of a later one in place of
    /// all before. True if that changed anything.
    pub(crate) fn report(
        &mut self,
        observer: u16,
        attempt: u64,
        down: impl IntoIterator<Item = u16>,
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
        for subject in down.into_iter().filter(|&subject| subject != observer) {
            changed |= known.down.insert(subject);
        }
        if changed {
            self.counted = None;
        }
        changed
    }

    /// Notes that a member said it leaves: complete by its own word. True if that is news.
    pub(crate) fn leave(&mut self, place: u16) -> bool {
        self.counted = None;
        self.leaving.insert(place)
    }

    /// The members that said they leave.
    #[must_use]
    pub(crate) fn leaving(&self) -> &Places {
        &self.leaving
    }

    /// True if that observer reports that subject.
    #[must_use]
    pub(crate) fn reports(&self, observer: u16, subject: u16) -> bool {
        self.reports.get(&observer).is_some_and(|known| known.down.contains(&subject))
    }

    /// True if anybody is reported, or leaves.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        !self.leaving.is_empty() || self.reports.values().any(|known| !known.down.is_empty())
    }

    /// What is known, to be passed on.
    #[must_use]
    pub(crate) fn facts(&self, view: &View) -> ReportFacts {
        let topology = view.topology();
        let mut down: BTreeMap<u16, u16> = BTreeMap::new();
        let mut later = Vec::new();
        for (&observer, known) in &self.reports {
            if known.attempt > 0 {
                later.push((observer, known.attempt, known.down.iter().copied().collect()));
                continue;
            }
            for &subject in &known.down {
                let slot = topology.observers(subject).iter().position(|&it| it == observer);
                if let Some(slot) = slot {
                    *down.entry(subject).or_default() |= 1 << slot;
                }
            }
        }
        ReportFacts { down: down.into_iter().collect(), later, leaving: self.leaving.clone() }
    }

    /// Takes what somebody knows. Returns whether anything was new, and whether it lacked a later
    /// attempt that is known here.
    pub(crate) fn learn(&mut self, view: &View, facts: &ReportFacts) -> (bool, bool) {
        let topology = view.topology();
        let (mut news, mut behind) = (false, false);
        for &(subject, slots) in &facts.down {
            for (slot, &observer) in topology.observers(subject).iter().enumerate() {
                if slots >> slot & 1 == 1 {
                    behind |= self.reports.get(&observer).is_some_and(|known| known.attempt > 0);
                    news |= self.report(observer, 0, [subject]);
                }
            }
        }
        for (observer, attempt, down) in &facts.later {
            if usize::from(*observer) < view.size() && down.fits(view.size()) {
                behind |= self.reports.get(observer).is_some_and(|known| known.attempt > *attempt);
                let known = self.reports.get(observer).map_or(0, |known| known.attempt);
                news |= self.report(*observer, *attempt, down.iter()) || known < *attempt;
            }
        }
        if facts.leaving.fits(view.size()) {
            let more = self.leaving.join(&facts.leaving);
            if more {
                self.counted = None;
            }
            news |= more;
        }
        (news, behind)
    }

    /// Counts. `renewed` are the members known to have started again: inside the cut, but to be
    /// replaced rather than removed. A subject that has been unstable for
    /// [`UNSTABLE_PATIENCE`] is left out: by then its other observers have probed it afresh.
    /// `implied`: observers in the cut count as reporting what they observe.
    pub(crate) fn tally(
        &mut self,
        now: Duration,
        view: &View,
        renewed: &Places,
        implied: bool,
    ) -> Tally {
        let known = self.counted.take();
        let known = known.filter(|it| it.implied == implied && it.renewed == *renewed);
        let count = known.unwrap_or_else(|| Count {
            renewed: renewed.clone(),
            implied,
            tally: self.count(view, renewed, implied),
        });
        let mut tally = count.tally.clone();
        self.counted = Some(count);
        self.unstable_since.retain(|subject, _| tally.unstable.contains(*subject));
        for subject in tally.unstable.iter() {
            self.unstable_since.entry(subject).or_insert(now);
        }
        tally.unstable = tally
            .unstable
            .iter()
            .filter(|subject| {
                let since = self.unstable_since.get(subject);
                since.is_some_and(|&since| now < since + UNSTABLE_PATIENCE)
            })
            .collect();
        tally
    }

    /// What the reports amount to, however long subjects have been in doubt.
    fn count(&self, view: &View, renewed: &Places, implied: bool) -> Tally {
        let topology = view.topology();
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for (&observer, known) in &self.reports {
            for &subject in &known.down {
                let observes = topology.observers(subject).contains(&observer);
                *counts.entry(subject).or_default() += usize::from(observes);
            }
        }
        let doubted: Places = counts
            .into_iter()
            .filter(|&(subject, count)| {
                let d = topology.observers(subject).len();
                d > 0 && count >= low_mark(d)
            })
            .map(|(subject, _)| subject)
            .collect();
        let in_cut = |place: u16| {
            implied
                && (doubted.contains(place)
                    || self.leaving.contains(place)
                    || renewed.contains(place))
        };
        let mut tally = Tally::default();
        for subject in doubted.iter() {
            if self.leaving.contains(subject) || renewed.contains(subject) {
                continue;
            }
            let observers = topology.observers(subject);
            let reporting = |&&it: &&u16| self.reports(it, subject) || in_cut(it);
            if observers.iter().filter(reporting).count() >= high_mark(observers.len()) {
                tally.stable.insert(subject);
            } else {
                tally.unstable.insert(subject);
            }
        }
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
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{ClusterId, Incarnation, Member, ProcessId};

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn view(size: u128) -> View {
        let member = |number| Member {
            process: ProcessId::from_u128(number),
            incarnation: Incarnation(1),
            name: String::new(),
            address: "127.0.0.1:1".parse().unwrap(),
            admin: None,
        };
        View::first(ClusterId::from_u128(5), "c", member(1))
            .successor((1..=size).map(member).collect())
            .unwrap()
    }

    fn places<const N: usize>(places: [u16; N]) -> Places {
        places.into_iter().collect()
    }

    fn tally(cut: &mut Cut, view: &View) -> Tally {
        cut.tally(NOW, view, &Places::default(), true)
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
        cut.report(0, 1, [1]);
        cut.report(1, 1, [0]);
        cut.report(0, 1, [1]);
        assert_eq!(tally(&mut cut, &view), Tally::default());
        cut.report(2, 1, [1]);
        assert_eq!(tally(&mut cut, &view).stable, places([1]));
    }

    #[test]
    fn two_dead_of_four_report_each_other_implicitly() {
        let view = view(4);
        let mut cut = Cut::default();
        cut.report(0, 0, [2, 3]);
        cut.report(1, 0, [2]);
        assert_eq!(tally(&mut cut, &view).unstable, places([2]));
        cut.report(1, 0, [3]);
        assert_eq!(tally(&mut cut, &view).stable, places([2, 3]));
        let stuck = cut.tally(NOW, &view, &Places::default(), false);
        assert!(stuck.stable.is_empty(), "without implied reports nobody is removed");
    }

    #[test]
    fn a_later_attempt_takes_back_and_an_earlier_one_counts_no_more() {
        let view = view(2);
        let mut cut = Cut::default();
        assert!(cut.report(0, 5, [1]));
        assert!(cut.report(0, 6, []));
        assert!(!cut.report(0, 5, [1]));
        assert_eq!(tally(&mut cut, &view), Tally::default());
    }

    #[test]
    fn a_subject_in_doubt_holds_up_others_for_a_bounded_time() {
        let view = view(5);
        let mut cut = Cut::default();
        for observer in [0, 1] {
            cut.report(observer, 0, [4]);
        }
        assert_eq!(tally(&mut cut, &view).unstable, places([4]));
        assert_eq!(cut.deadline(NOW), Some(UNSTABLE_PATIENCE));
        let late = cut.tally(UNSTABLE_PATIENCE, &view, &Places::default(), true);
        assert_eq!(late, Tally::default());
        assert_eq!(cut.deadline(UNSTABLE_PATIENCE), None);
    }

    #[test]
    fn a_leaver_and_a_renewed_member_count_as_observers_but_are_not_removed_for_absence() {
        let view = view(4);
        let mut cut = Cut::default();
        cut.leave(0);
        cut.report(2, 0, [3, 0]);
        cut.report(0, 0, [3]);
        let tally = cut.tally(NOW, &view, &places([1]), true);
        assert_eq!(tally.stable, places([3]));
        assert!(tally.unstable.is_empty());
    }

    #[test]
    fn what_is_passed_on_says_the_same_and_a_later_attempt_takes_back_there_as_well() {
        let view = view(20);
        let subject = 7;
        let observers = view.topology().observers(subject).to_vec();
        let (mut one, mut other) = (Cut::default(), Cut::default());
        for &observer in &observers[..9] {
            one.report(observer, 0, [subject]);
        }
        one.leave(3);
        assert_eq!(other.learn(&view, &one.facts(&view)), (true, false));
        assert_eq!(tally(&mut other, &view).stable, places([subject]));
        assert_eq!(other.learn(&view, &one.facts(&view)), (false, false));
        other.report(observers[0], 4, []);
        assert_eq!(other.learn(&view, &one.facts(&view)), (false, true));
        assert_eq!(one.learn(&view, &other.facts(&view)), (true, false));
        assert_eq!(tally(&mut one, &view).unstable, places([subject]));
    }
}
